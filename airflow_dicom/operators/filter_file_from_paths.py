"""Make a filter file of paths that are at hand, without BigQuery."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.filter_paths import FilterPath
from airflow_dicom.gcs_uris import check_object_uri
from airflow_dicom.links import dicom as links
from airflow_dicom.links.dicom import FilterFileLink
from airflow_dicom.operators import _filter_object as filter_object
from airflow_dicom.operators._connection import ConnectionOperator, check_on_empty

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_dicom.typing import Templated


def _line_of(uids: Sequence[str]) -> str:
    """Return the line of one to three UIDs; a UID that got lost is not the end of them, which would name more."""
    if not isinstance(uids, Iterable):
        raise ValueError(f"{uids!r} is not a path.")
    if not all(isinstance(uid, str) for uid in uids):
        raise ValueError(f"{uids!r} has something other than text among its UIDs.")
    return str(FilterPath(*uids))


class FilterFileFromPathsOperator(ConnectionOperator):
    """Write paths to one object that ``filter_uri`` of an export takes; for paths that fit into the worker's memory.

    Each line is checked, and written once. Airflow's account needs ``roles/storage.objectUser`` on the bucket; the store's service
    agent needs ``roles/storage.objectViewer`` there. The return value and the XComs are those of
    :class:`~airflow_dicom.operators.filter_file.FilterFileFromBigQueryOperator`.

    :param filter_uri: the object to write, ``gs://bucket/name`` (templated)
    :param paths: what to name: a text with a line each, such as a file beside the DAG (``paths="{% include 'cohort.txt' %}"``), or a
        list, such as another task's output. An item is a path ``/studies/UID[/series/UID[/instances/UID]]``, or a list of one to three
        UIDs: study, series, instance (templated)
    :param on_empty: what it means that there are no paths: ``"fail"``, ``"skip"`` or ``"succeed"``, which writes an empty object;
        otherwise an object of an earlier run is removed (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._connection.ConnectionOperator`.
    """

    template_fields: Sequence[str] = ("filter_uri", "paths", "on_empty", *ConnectionOperator.template_fields)
    operator_extra_links = (FilterFileLink(),)
    checks = {"filter_uri": lambda uri: check_object_uri(uri, argument="filter_uri"), "on_empty": check_on_empty}

    def __init__(
        self,
        *,
        filter_uri: Templated,
        paths: Templated | Sequence[str | Sequence[str]],
        on_empty: Templated = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filter_uri: Any
        self._narrow(filter_uri=filter_uri)
        self.paths: Any = paths
        self.on_empty: Any = on_empty
        self._check_literals()

    def execute(self, context: Context) -> str:
        """Write the filter.

        :return: ``filter_uri``.
        :raises DicomArgumentError: an argument cannot be used, or a line is not a path.
        :raises DicomEmptyResult: there are no paths and ``on_empty`` is ``"fail"``.
        """
        self._check_arguments()
        paths = list(dict.fromkeys(self._parsed()))
        if not paths and self.on_empty != "succeed":
            filter_object.end_empty(self, self.filter_uri, f"Filter file {self.filter_uri}: there are no paths")
        filter_object.write_paths(self, context, self.filter_uri, paths)
        links.show(self, context, {FilterFileLink.key: FilterFileLink.url(self.filter_uri)})
        filter_uri: str = self.filter_uri
        return filter_uri

    def _parsed(self) -> Iterator[FilterPath]:
        if not isinstance(self.paths, Iterable):
            raise DicomArgumentError(
                f"paths is {self.paths!r}; it must be a text with a line each, or a list. Was a task skipped?"
            )
        items = self.paths.splitlines() if isinstance(self.paths, str) else self.paths
        for number, item in enumerate(items, start=1):
            if isinstance(item, str) and not item.strip():
                continue
            try:
                yield FilterPath.parse(item.strip() if isinstance(item, str) else _line_of(item))
            except (TypeError, ValueError) as error:
                raise DicomArgumentError(f"paths, item {number}: {error}") from error

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Tell the OpenLineage provider, where it is installed, what was written."""
        from airflow_dicom import openlineage

        return openlineage.lineage([], [self.filter_uri])

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Tell the OpenLineage provider that nothing was written: without this, it asks what a task that succeeds has written."""
        from airflow_dicom import openlineage

        return openlineage.lineage([], [])
