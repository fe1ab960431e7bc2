"""Export DICOM instances to Cloud Storage, or their metadata to BigQuery."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow_dicom.delivery import missing_lines, path_of_object
from airflow_dicom.exceptions import DicomArgumentError, DicomUnexpectedCount
from airflow_dicom.gcs_uris import check_object_uri, parse_gs_uri
from airflow_dicom.links.dicom import BigQueryTableLink, FilterFileLink, GcsPrefixLink
from airflow_dicom.operation import Operation, Policy
from airflow_dicom.operators.base import DicomOperationOperator, as_int

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from google.cloud.storage import Bucket
    from openlineage.client.generated.base import Dataset

    from airflow_dicom.resource_names import DicomStoreName

_TABLE = re.compile(r"(?:bq://)?(?P<project>(?:[a-z0-9.-]+:)?[^.`\s/:]+)\.(?P<dataset>[^.`\s/:]+)\.(?P<table>[^.`\s/:]+)")
_SCHEMAS = {"flattened": "schemaFlattened", "json": "schemaJson"}
#: The XCom key of the filter that ``verify="objects"`` writes of what is missing.
MISSING_FILTER_URI_KEY = "missing_filter_uri"

#: How many missing lines an exception shows.
_SAMPLE = 5

_DICOM = "application/dicom"
_WRITE_DISPOSITIONS = ("WRITE_EMPTY", "WRITE_TRUNCATE", "WRITE_APPEND")


class DicomExportOperator(DicomOperationOperator):
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
    :param include_source_store: whether to add a column with the store's name
    :param filter_uri: a filter file: one object with a line ``/studies/UID[/series/UID[/instances/UID]]`` per thing to export;
        by default everything is exported (templated)
    :param expected_instances: how many instances must be exported; ``None`` when nobody knows. The service ignores a filter's lines
        that match nothing: this catches it (templated)
    :param verify: ``"counters"`` believes the operation's counters. ``"objects"`` also lists the objects at ``gcs_uri_prefix`` that
        were written since the start, and compares them with the filter's lines; the worker keeps both in its memory. The lines of
        which nothing arrived fail the task; they are written to an object beside the filter, for a filter of the next export, whose
        URI is the XCom ``missing_filter_uri``

    The other parameters are those of :class:`~airflow_dicom.operators.base.DicomOperationOperator`.
    """

    template_fields: Sequence[str] = (
        *DicomOperationOperator.template_fields,
        "gcs_uri_prefix",
        "mime_type",
        "bigquery_table",
        "write_disposition",
        "filter_uri",
        "expected_instances",
    )
    operator_extra_links = (
        *DicomOperationOperator.operator_extra_links,
        GcsPrefixLink(),
        BigQueryTableLink(),
        FilterFileLink(),
    )

    def __init__(
        self,
        *,
        gcs_uri_prefix: str | None = None,
        mime_type: str | None = None,
        bigquery_table: str | None = None,
        write_disposition: str = "WRITE_EMPTY",
        bigquery_schema: Literal["flattened", "json"] = "flattened",
        include_source_store: bool = False,
        filter_uri: str | None = None,
        expected_instances: int | str | None = None,
        verify: Literal["counters", "objects"] = "counters",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.gcs_uri_prefix = gcs_uri_prefix
        self.mime_type = mime_type
        self.bigquery_table = bigquery_table
        self.write_disposition = write_disposition
        self.bigquery_schema = bigquery_schema
        self.include_source_store = include_source_store
        self.filter_uri = filter_uri
        self.expected_instances = expected_instances
        self.verify = verify
        # Airflow looks for the URL of each link that a task has.
        given = ((gcs_uri_prefix, GcsPrefixLink()), (bigquery_table, BigQueryTableLink()), (filter_uri, FilterFileLink()))
        self.operator_extra_links = (
            *DicomOperationOperator.operator_extra_links,
            *(link for argument, link in given if argument is not None),
        )

    @property
    def repeatable(self) -> bool:
        """Whether a repeated request does no harm: objects are overwritten, but ``WRITE_APPEND`` would double the rows."""
        return not self.bigquery_table or self.write_disposition != "WRITE_APPEND"

    def policy(self) -> Policy:
        """Return how to judge the operation's end."""
        policy = super().policy()
        return Policy(policy.max_failures, policy.on_empty, as_int(self.expected_instances, "expected_instances"))

    def request(self) -> dict[str, Any]:
        """Return an ``ExportDicomDataRequest``."""
        if bool(self.gcs_uri_prefix) == bool(self.bigquery_table):
            given = "both" if self.gcs_uri_prefix else "neither"
            raise DicomArgumentError(f"An export has one destination: give gcs_uri_prefix or bigquery_table; {given} is given.")
        self._check_verify()
        try:
            body = self._gcs_destination() if self.gcs_uri_prefix else self._bigquery_destination()
            if self.filter_uri:
                check_object_uri(self.filter_uri, argument="filter_uri")
                body["filterConfig"] = {"resourcePathsGcsUri": self.filter_uri}
        except DicomArgumentError:
            raise
        except ValueError as error:
            raise DicomArgumentError(str(error)) from error
        return body

    def start(self, store: DicomStoreName, body: dict[str, Any]) -> dict[str, Any]:
        """Send the request."""
        return self.hook.export_dicom(str(store), body, repeatable=self.repeatable)

    def destination(self) -> dict[str, Any]:
        """Return the destination as it was given."""
        if self.gcs_uri_prefix:
            return {"gcs_uri_prefix": self.gcs_uri_prefix}
        return {"bigquery_table": self._table()}

    def subject(self) -> str:
        """Return what was exported where."""
        filtered = f", filtered by {self.filter_uri}" if self.filter_uri else ""
        return f"Export of {self.store} to {self.gcs_uri_prefix or self._table()}{filtered}"

    def check_delivery(self, context: Context, operation: Operation) -> None:
        """Compare the objects at the destination with the filter, or without one, with the operation's counters."""
        if self.verify != "objects":
            return
        arrived = self._arrived(operation)
        if not self.filter_uri:
            if len(arrived) < operation.success:
                raise DicomUnexpectedCount(
                    f"{self.subject()}: operation {operation.name} exported {operation.success} instances, {len(arrived)} objects of "
                    "it are there. Does something delete or move them? Retry the task.",
                    operation,
                )
            return
        bucket, name = self._bucket_and_name(self.filter_uri)
        with bucket.blob(name).open("r") as lines:
            missing = missing_lines((line.rstrip("\r\n") for line in lines), arrived)
        if not missing:
            self.log.info("%d objects are there, some for each line of the filter.", len(arrived))
            return
        missing_uri = f"{self.filter_uri}.missing-{operation.name.rpartition('/')[2]}"
        bucket, name = self._bucket_and_name(missing_uri)
        bucket.blob(name).upload_from_string("".join(f"{line}\n" for line in missing), content_type="text/plain")
        context["ti"].xcom_push(key=MISSING_FILTER_URI_KEY, value=missing_uri)
        sample = "\n".join(f"  {line}" for line in missing[:_SAMPLE])
        raise DicomUnexpectedCount(
            f"{self.subject()}: of {len(missing)} lines of the filter nothing has arrived:\n{sample}\n"
            f"{'  …' + chr(10) if len(missing) > _SAMPLE else ''}Operation: {operation.name}\nCounters: {operation.progress()}\n"
            f"All of them are in {missing_uri}, which is a filter: pass it as filter_uri to export only these. What the store does "
            "not hold cannot be exported.",
            operation,
        )

    def _arrived(self, operation: Operation) -> set[str]:
        """Return the paths of the instances whose objects were written since the operation was started."""
        assert self.gcs_uri_prefix is not None
        bucket, prefix = self._bucket_and_name(self.gcs_uri_prefix)
        prefix = f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""
        since = datetime.datetime.fromisoformat(operation.create_time)
        blobs = bucket.list_blobs(prefix=prefix, fields="items(name,updated),nextPageToken")
        paths = {path_of_object(blob.name, prefix) for blob in blobs if blob.updated >= since}
        return {path for path in paths if path is not None}

    def _bucket_and_name(self, uri: str) -> tuple[Bucket, str]:
        from airflow.providers.google.cloud.hooks.gcs import GCSHook

        bucket, name = parse_gs_uri(uri, argument="uri")
        hook = GCSHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        return hook.get_conn().bucket(bucket), name

    def _check_verify(self) -> None:
        if self.verify not in ("counters", "objects"):
            raise DicomArgumentError(f"verify is {self.verify!r}; it is 'counters' or 'objects'.")
        if self.verify == "objects" and (not self.gcs_uri_prefix or not (self.mime_type or _DICOM).startswith(_DICOM)):
            raise DicomArgumentError("verify='objects' goes with gcs_uri_prefix, and objects that are DICOM files.")

    def push_links(self, context: Context) -> None:
        """Link to the destination and the filter."""
        if self.gcs_uri_prefix:
            GcsPrefixLink.push(context, GcsPrefixLink.url(self.gcs_uri_prefix))
        else:
            BigQueryTableLink.push(context, BigQueryTableLink.url(self._table()))
        if self.filter_uri:
            FilterFileLink.push(context, FilterFileLink.url(self.filter_uri))

    def lineage(self) -> tuple[list[Dataset], list[Dataset]]:
        """Return the store and the filter, and the destination."""
        from airflow_dicom import openlineage

        inputs = [openlineage.dicom_store(self.store)]
        if self.filter_uri:
            inputs.append(openlineage.gcs_object(self.filter_uri))
        if self.gcs_uri_prefix:
            return inputs, [openlineage.gcs_folder(self.gcs_uri_prefix)]
        return inputs, [openlineage.bigquery_table(self._table())]

    def _gcs_destination(self) -> dict[str, Any]:
        assert self.gcs_uri_prefix is not None
        _, folder = parse_gs_uri(self.gcs_uri_prefix, argument="gcs_uri_prefix")
        if "*" in folder or "?" in folder:
            raise DicomArgumentError(f"gcs_uri_prefix is {self.gcs_uri_prefix!r}; it is a folder to write to, without wildcards.")
        destination = {"uriPrefix": self.gcs_uri_prefix}
        if self.mime_type:
            destination["mimeType"] = self.mime_type
        return {"gcsDestination": destination}

    def _bigquery_destination(self) -> dict[str, Any]:
        if self.mime_type:
            raise DicomArgumentError("mime_type goes with gcs_uri_prefix; a BigQuery table gets metadata only.")
        if self.write_disposition not in _WRITE_DISPOSITIONS:
            raise DicomArgumentError(
                f"write_disposition is {self.write_disposition!r}; it is one of {', '.join(_WRITE_DISPOSITIONS)}."
            )
        if self.bigquery_schema not in _SCHEMAS:
            raise DicomArgumentError(f"bigquery_schema is {self.bigquery_schema!r}; it is one of {', '.join(_SCHEMAS)}.")
        destination: dict[str, Any] = {
            "tableUri": f"bq://{self._table()}",
            "writeDisposition": self.write_disposition,
            _SCHEMAS[self.bigquery_schema]: {},
        }
        if self.include_source_store:
            destination["includeSourceStore"] = True
        return {"bigqueryDestination": destination}

    def _table(self) -> str:
        match = _TABLE.fullmatch(self.bigquery_table or "")
        if not match:
            raise DicomArgumentError(
                f"bigquery_table is {self.bigquery_table!r}; it must be project.dataset.table, with or without bq:// before it."
            )
        return ".".join(match.groups())
