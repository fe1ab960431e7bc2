"""Export DICOM instances to Cloud Storage, or their metadata to BigQuery."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_dicom.exceptions import DicomArgumentError, DicomUnexpectedCount
from airflow_dicom.gcs_uris import check_folder_uri
from airflow_dicom.links.dicom import BigQueryTableLink, GcsPrefixLink
from airflow_dicom.operation import Operation
from airflow_dicom.operators._connection import NOT_GIVEN, one_of
from airflow_dicom.operators._filter_object import bucket_and_name
from airflow_dicom.operators._filtered import FilteredOperator
from airflow_dicom.work.plan import Plan, Repeat

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_dicom.typing import Templated

_TABLE = re.compile(r"(?:bq://)?(?P<project>(?:[a-z0-9.-]+:)?[^.`\s/:]+)\.(?P<dataset>[^.`\s/:]+)\.(?P<table>[^.`\s/:]+)")
_SCHEMAS = {"flattened": "schemaFlattened", "json": "schemaJson"}
#: What becomes of a second request, by ``write_disposition``.
_REPEATS = {"WRITE_EMPTY": Repeat.FAILS, "WRITE_TRUNCATE": Repeat.SAFE, "WRITE_APPEND": Repeat.DOUBLES}
#: The XCom key of the filter that ``verify="objects"`` writes of what is missing.
MISSING_FILTER_URI_KEY = "missing_filter_uri"

#: How many missing lines an exception shows.
_SAMPLE = 5

_DICOM = "application/dicom"


def _table_name(table: Any) -> str:
    """Return ``project.dataset.table``.

    :raises ValueError: it is not the name of a table.
    """
    match = _TABLE.fullmatch(table or "")
    if not match:
        raise ValueError(f"bigquery_table is {table!r}; it must be project.dataset.table, with or without bq:// before it.")
    return ".".join(match.groups())


class DicomExportOperator(FilteredOperator):
    """Write a DICOM store's instances to Cloud Storage, or one row of metadata each to BigQuery (``dicomStores.export``).

    Exactly one of ``gcs_uri_prefix`` and ``bigquery_table`` is given. Objects are named
    ``{gcs_uri_prefix}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm``; those that exist are overwritten. The store's
    service agent needs ``roles/storage.objectAdmin`` on the bucket, or ``roles/bigquery.dataEditor`` on the BigQuery dataset and
    ``roles/bigquery.jobUser`` on its project.

    .. seealso:: https://cloud.google.com/healthcare-api/docs/how-tos/dicom-import-export

    :param gcs_uri_prefix: ``gs://bucket/folder`` (templated)
    :param mime_type: format and transfer syntax of the objects, e.g. ``application/dicom; transfer-syntax=1.2.840.10008.1.2.1``;
        by default they are as they were stored, byte for byte (templated)
    :param bigquery_table: ``project.dataset.table``, with or without ``bq://``; the dataset must exist (templated)
    :param write_disposition: ``WRITE_EMPTY`` (the table must not have rows), ``WRITE_TRUNCATE`` or ``WRITE_APPEND`` (templated)
    :param bigquery_schema: ``"flattened"``, a column per DICOM attribute, or ``"json"``, all of them in the column ``Metadata``
        (templated)
    :param include_source_store: whether to add a column with the store's name
    :param verify: ``"counters"`` believes the operation's counters. ``"objects"`` also lists the objects at ``gcs_uri_prefix`` that
        were written since the start, and compares them with the filter's lines; the worker keeps both in its memory. Lines of which
        nothing arrived are written to an object beside the filter, for a filter of the next export, whose URI is the XCom
        ``missing_filter_uri``. They fail the task, unless instances that failed, and may (``max_failures``), explain them (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._filtered.FilteredOperator` and
    :class:`~airflow_dicom.operators.DicomOperationOperator`.
    """

    template_fields: Sequence[str] = (
        *FilteredOperator.template_fields,
        "gcs_uri_prefix",
        "mime_type",
        "bigquery_table",
        "write_disposition",
        "bigquery_schema",
        "verify",
    )
    operator_extra_links = (
        *FilteredOperator.operator_extra_links,
        GcsPrefixLink(),
        BigQueryTableLink(),
    )
    checks = {
        **FilteredOperator.checks,
        "gcs_uri_prefix": lambda uri: check_folder_uri(uri, argument="gcs_uri_prefix"),
        "bigquery_table": _table_name,
        "write_disposition": one_of("write_disposition", *_REPEATS),
        "bigquery_schema": one_of("bigquery_schema", *_SCHEMAS),
        "verify": one_of("verify", "counters", "objects"),
    }

    def __init__(
        self,
        *,
        gcs_uri_prefix: Templated | None = None,
        mime_type: Templated | None = None,
        bigquery_table: Templated | None = None,
        write_disposition: Templated = "WRITE_EMPTY",
        bigquery_schema: Templated = "flattened",
        include_source_store: bool = False,
        filter_uri: Templated | None = NOT_GIVEN,
        verify: Templated = "counters",
        **kwargs: Any,
    ) -> None:
        super().__init__(filter_uri=filter_uri, **kwargs)
        self.gcs_uri_prefix: Any = gcs_uri_prefix
        self.mime_type: Any = mime_type
        self.bigquery_table: Any = bigquery_table
        self.write_disposition: Any = write_disposition
        self.bigquery_schema: Any = bigquery_schema
        self.include_source_store = include_source_store
        self.verify: Any = verify
        self._check_literals()

    def plan_of_all(self, context: Context) -> Plan:
        """Return the request with an ``ExportDicomDataRequest``."""
        self._check_combination()
        if self.gcs_uri_prefix:
            target, result = self.gcs_uri_prefix, {"gcs_uri_prefix": self.gcs_uri_prefix}
            links = {GcsPrefixLink.key: GcsPrefixLink.url(target)}
        else:
            table = _table_name(self.bigquery_table)
            target, result = f"bq://{table}", {"bigquery_table": table}
            links = {BigQueryTableLink.key: BigQueryTableLink.url(table)}
        return Plan(
            method="dicomStores.export",
            name=str(self.store),
            body=self._gcs_destination() if self.gcs_uri_prefix else self._bigquery_destination(),
            subject=f"Export of {self.store} to {target.removeprefix('bq://')}",
            repeat=Repeat.SAFE if self.gcs_uri_prefix else _REPEATS[self.write_disposition],
            result=result,
            links=links,
            inputs=[self.store.uri],
            outputs=[target],
        )

    def check_delivery(self, context: Context, plan: Plan, operation: Operation) -> None:
        """Compare the objects at the destination with the filter, or without one, with the operation's counters."""
        if self.verify != "objects":
            return
        arrived = self._arrived(operation)
        if self.filter_uri:
            self._compare_with_filter(context, plan, operation, arrived)
        elif len(arrived) < operation.success:
            raise DicomUnexpectedCount(
                f"{plan.subject}: operation {operation.name} exported {operation.success} instances, {len(arrived)} objects of it are "
                "there. Does something delete or move them? A retry, or a clear, exports them again.",
                operation,
            )

    def _compare_with_filter(self, context: Context, plan: Plan, operation: Operation, arrived: set[str]) -> None:
        from airflow_dicom.delivery import missing_lines

        assert self.filter_uri is not None
        bucket, name = bucket_and_name(self, self.filter_uri)
        with bucket.blob(name).open("r") as lines:
            missing = missing_lines((line.rstrip("\r\n") for line in lines), arrived)
        if not missing:
            self.log.info("%d objects are there, some for each line of the filter.", len(arrived))
            return
        missing_uri = f"{self.filter_uri}.missing-{operation.name.rpartition('/')[2]}"
        bucket, name = bucket_and_name(self, missing_uri)
        bucket.blob(name).upload_from_string("".join(f"{line}\n" for line in missing), content_type="text/plain")
        context["ti"].xcom_push(key=MISSING_FILTER_URI_KEY, value=missing_uri)
        if len(missing) <= operation.failure:
            self.log.warning(
                "%d lines of the filter matched no exported object, and as many instances failed: %s", len(missing), missing_uri
            )
            return
        sample = "\n".join(f"  {line}" for line in missing[:_SAMPLE])
        raise DicomUnexpectedCount(
            f"{plan.subject}: {len(missing)} lines of the filter matched no exported object:\n{sample}\n"
            f"{'  …' + chr(10) if len(missing) > _SAMPLE else ''}Operation: {operation.name}\nCounters: {operation.progress()}\n"
            f"All of them are in {missing_uri}, which is a filter: pass it as filter_uri to export only these. What the store does "
            "not hold cannot be exported.",
            operation,
        )

    def _arrived(self, operation: Operation) -> set[str]:
        """Return the paths of the instances whose objects were written since the operation was started."""
        from airflow_dicom.delivery import path_of_object

        assert self.gcs_uri_prefix is not None
        bucket, prefix = bucket_and_name(self, self.gcs_uri_prefix)
        prefix = f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""
        since = datetime.datetime.fromisoformat(operation.create_time)
        blobs = bucket.list_blobs(prefix=prefix, fields="items(name,updated),nextPageToken")
        paths = {path_of_object(blob.name, prefix) for blob in blobs if blob.updated >= since}
        return {path for path in paths if path is not None}

    def _check_combination(self) -> None:
        if bool(self.gcs_uri_prefix) == bool(self.bigquery_table):
            given = "both" if self.gcs_uri_prefix else "neither"
            raise DicomArgumentError(f"An export has one destination: give gcs_uri_prefix or bigquery_table; {given} is given.")
        if self.verify == "objects" and (not self.gcs_uri_prefix or not (self.mime_type or _DICOM).startswith(_DICOM)):
            raise DicomArgumentError("verify='objects' goes with gcs_uri_prefix, and objects that are DICOM files.")
        if self.bigquery_table and self.mime_type:
            raise DicomArgumentError("mime_type goes with gcs_uri_prefix; a BigQuery table gets metadata only.")

    def _gcs_destination(self) -> dict[str, Any]:
        destination = {"uriPrefix": self.gcs_uri_prefix}
        if self.mime_type:
            destination["mimeType"] = self.mime_type
        return {"gcsDestination": destination}

    def _bigquery_destination(self) -> dict[str, Any]:
        destination: dict[str, Any] = {
            "tableUri": f"bq://{_table_name(self.bigquery_table)}",
            "writeDisposition": self.write_disposition,
            _SCHEMAS[self.bigquery_schema]: {},
        }
        if self.include_source_store:
            destination["includeSourceStore"] = True
        return {"bigqueryDestination": destination}
