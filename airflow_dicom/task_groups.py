"""Chains of operators as one call, with one set of arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import TaskGroup

from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.operators import (
    DicomCreateStoreOperator,
    DicomDeidentifyOperator,
    DicomExportOperator,
    FilterFileFromBigQueryOperator,
)

if TYPE_CHECKING:
    from airflow_dicom.typing import DicomStoreArguments, Templated


def dicom_filtered_export(
    *,
    store: DicomStoreArguments,
    bigquery_table: Templated,
    select: Mapping[str, Any],
    filter_uri: str,
    gcs_uri_prefix: Templated,
    export: Mapping[str, Any] | None = None,
    group_id: str = "filtered_export",
    **tasks: Any,
) -> TaskGroup:
    """Return the tasks ``export_metadata``, ``select`` and ``export``: those instances of a store that a query selects, in a bucket.

    The metadata of all instances replace the table's rows: let one run at a time write a table. The export must handle as many
    instances as the filter covers.

    :param store: the arguments that name the store.
    :param bigquery_table: for the metadata, ``project.dataset.table`` (templated)
    :param select: what to select: ``where`` and ``level``, or ``sql``, and other arguments of
        :class:`~airflow_dicom.operators.FilterFileFromBigQueryOperator`, such as ``on_empty``.
    :param filter_uri: the filter file, one name per run, such as ``gs://bucket/filters/{{ run_id }}.txt`` (templated)
    :param gcs_uri_prefix: the folder to export to (templated)
    :param export: other arguments of the last :class:`~airflow_dicom.operators.DicomExportOperator`, such as ``verify``.
    :param group_id: the name of the group, with which the tasks' ids begin.
    :param tasks: arguments of all tasks: ``gcp_conn_id``, ``deferrable``, ``retries``, …
    """
    with TaskGroup(group_id, tooltip=_first_line(dicom_filtered_export)) as group:
        selected = _select(store, bigquery_table, select, filter_uri, tasks)
        selected >> _export(store, gcs_uri_prefix, "filter", tasks, filter_uri=filter_uri, **(export or {}))
    return group


def dicom_research_copy(
    *,
    store: DicomStoreArguments,
    bigquery_table: Templated,
    select: Mapping[str, Any],
    filter_uri: str,
    research_store: DicomStoreArguments,
    config: dict[str, Any] | Templated,
    gcs_uri_prefix: Templated | None = None,
    approve: Mapping[str, Any] | None = None,
    group_id: str = "research_copy",
    **tasks: Any,
) -> TaskGroup:
    """Return ``export_metadata``, ``select``, ``approve``, ``make_store``, ``deidentify`` and ``export``: a copy for research.

    What a query selects is copied, without what identifies patients, into another store, which is made if it is not there, and from
    there to a bucket. Give each run a store of its own: all that it holds is exported, and must be as many instances as the filter
    covers.

    :param store: the arguments that name the store to copy from.
    :param bigquery_table: for the metadata, ``project.dataset.table``; its rows are replaced (templated)
    :param select: what to select, as :func:`dicom_filtered_export` takes it.
    :param filter_uri: the filter file, one name per run (templated)
    :param research_store: the arguments that name the store to write, the project as well.
    :param config: what to remove, as :class:`~airflow_dicom.operators.DicomDeidentifyOperator` takes it (templated)
    :param gcs_uri_prefix: the folder to export to; left out, nothing is exported (templated)
    :param approve: arguments of a :class:`~airflow_dicom.operators.filter_approval.FilterApprovalOperator`, such as ``subject`` and
        ``body``, that asks a person before anything is made or copied; left out, nobody is asked. Airflow 3.1.
    :param group_id: the name of the group, with which the tasks' ids begin.
    :param tasks: arguments of all tasks but ``approve``: ``gcp_conn_id``, ``deferrable``, ``retries``, …
    :raises DicomArgumentError: ``research_store`` leaves something open.
    """
    destination = _store_name(research_store)
    with TaskGroup(group_id, tooltip=_first_line(dicom_research_copy)) as group:
        selected = _select(store, bigquery_table, select, filter_uri, tasks)
        asked = None if approve is None else _approve(filter_uri, approve)
        made = _make_store(research_store, tasks)
        copied: Any = DicomDeidentifyOperator(
            task_id="deidentify",
            doc_md="Copies what the filter names, without what identifies patients.",
            **{**tasks, **store},
            filter_uri=filter_uri,
            expected_instances="filter",
            destination_store=destination,
            config=config,
            **({} if asked is None else {"approved_by": asked.task_id}),
        )
        if asked is None:
            selected >> made
        else:
            selected >> asked >> [made, copied]
        [selected, made] >> copied
        if gcs_uri_prefix is not None:
            number = f"{{{{ ti.xcom_pull('{selected.task_id}', key='expected_instances') }}}}"
            copied >> _export(research_store, gcs_uri_prefix, number, tasks, verify="objects")
    return group


def _approve(filter_uri: str, approve: Mapping[str, Any]) -> Any:
    from airflow_dicom.operators.filter_approval import FilterApprovalOperator

    return FilterApprovalOperator(
        task_id="approve",
        doc_md="Shows the numbers, and waits for an answer. Nothing is made or copied before.",
        filter_uri=filter_uri,
        **approve,
    )


def _make_store(store: Any, tasks: Mapping[str, Any]) -> Any:
    waiting = ("deferrable", "poll_interval")  # which it does not do
    return DicomCreateStoreOperator(
        task_id="make_store",
        doc_md="Makes the store to write. A retry takes the one that is there.",
        **{**{name: value for name, value in tasks.items() if name not in waiting}, **store},
        if_exists="ignore",
    )


def _select(store: Any, table: Any, select: Mapping[str, Any], filter_uri: str, tasks: Mapping[str, Any]) -> Any:
    """Make the tasks that write the metadata and the filter; return the second."""
    metadata: Any = DicomExportOperator(
        task_id="export_metadata",
        doc_md="Writes a row of metadata for each instance to the table.",
        **{**tasks, **store},
        bigquery_table=table,
        write_disposition="WRITE_TRUNCATE",
        on_empty=select.get("on_empty", "fail"),
    )
    source = {"metadata_table": table} if "sql" in select else {"table": table}
    selected: Any = FilterFileFromBigQueryOperator(
        task_id="select",
        doc_md="Writes a line for each study, series or instance that is selected.",
        **{"project_id": store.get("project_id"), **tasks, **source, **select},
        filter_uri=filter_uri,
    )
    metadata >> selected
    return selected


def _export(store: Any, gcs_uri_prefix: Any, expected: str, tasks: Mapping[str, Any], **more: Any) -> Any:
    return DicomExportOperator(
        task_id="export",
        doc_md="Exports the instances, and fails if they are fewer than were selected, or more.",
        **{**tasks, **store, "expected_instances": expected, **more},
        gcs_uri_prefix=gcs_uri_prefix,
    )


def _store_name(store: DicomStoreArguments) -> str:
    """Return a store's name, of arguments that may hold templates."""
    if whole := store.get("dicom_store"):
        return str(whole)
    parts = ("project_id", "location", "dataset_id", "dicom_store_id")
    if missing := [part for part in parts if not isinstance(store.get(part), str)]:
        raise DicomArgumentError(f"research_store: {', '.join(missing)}: not given as a text.")
    collections = ("projects", "locations", "datasets", "dicomStores")
    return "/".join(f"{collection}/{store[part]}" for collection, part in zip(collections, parts, strict=True))  # type: ignore[literal-required]


def _first_line(function: Any) -> str:
    return str(function.__doc__).partition("\n")[0]
