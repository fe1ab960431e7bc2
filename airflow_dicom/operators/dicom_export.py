"""Export DICOM instances to Cloud Storage, or their metadata to BigQuery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.export_destination import REPEATS, SCHEMAS, ExportDestination, check_mime_type, table_name
from airflow_dicom.gcs_uris import check_folder_uri
from airflow_dicom.links.dicom import BigQueryTableLink, GcsPrefixLink
from airflow_dicom.operators._connection import NOT_GIVEN, OneOf
from airflow_dicom.operators._filtered import FilteredOperator
from airflow_dicom.operators._verification import check_objects
from airflow_dicom.work.plan import Plan

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_dicom.operation import Operation
    from airflow_dicom.typing import Templated


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
        were written since the start, and compares them with the filter's lines; neither is held in the worker's memory. Lines of
        which nothing arrived are written to an object beside the filter, for a filter of the next export, whose URI is the XCom
        ``missing_filter_uri``. They fail the task, unless instances that failed, and may (``max_failures``), explain them (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._filtered.FilteredOperator` and
    :class:`~airflow_dicom.operators.DicomOperationOperator`.
    """

    template_fields: Sequence[str] = (
        "gcs_uri_prefix",
        "mime_type",
        "bigquery_table",
        "write_disposition",
        "bigquery_schema",
        "verify",
        *FilteredOperator.template_fields,
    )
    operator_extra_links = (
        *FilteredOperator.operator_extra_links,
        GcsPrefixLink(),
        BigQueryTableLink(),
    )
    switches: ClassVar[Sequence[str]] = ("include_source_store",)
    at_the_end: ClassVar[Sequence[str]] = ("verify",)
    checks = {
        "gcs_uri_prefix": lambda uri: check_folder_uri(uri, argument="gcs_uri_prefix"),
        "mime_type": check_mime_type,
        "bigquery_table": table_name,
        "write_disposition": OneOf("write_disposition", *REPEATS),
        "bigquery_schema": OneOf("bigquery_schema", *SCHEMAS),
        "verify": OneOf("verify", "counters", "objects"),
    }

    def __init__(
        self,
        *,
        gcs_uri_prefix: Templated | None = None,
        mime_type: Templated | None = NOT_GIVEN,
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
        self.mime_type: Any
        self._narrow(mime_type=mime_type)
        self.bigquery_table: Any = bigquery_table
        self.write_disposition: Any = write_disposition
        self.bigquery_schema: Any = bigquery_schema
        self.include_source_store = include_source_store
        self.verify: Any = verify
        self._check_literals()

    def plan_of_all(self, context: Context) -> Plan:
        """Return the request with an ``ExportDicomDataRequest``."""
        try:
            to = ExportDestination(**{field.name: getattr(self, field.name) for field in fields(ExportDestination)})
        except ValueError as error:
            raise DicomArgumentError(str(error)) from error
        link: type[GcsPrefixLink | BigQueryTableLink] = GcsPrefixLink if self.gcs_uri_prefix else BigQueryTableLink
        shown = to.uri.removeprefix("bq://")
        return Plan(
            method="dicomStores.export",
            name=str(self.store),
            body=to.body,
            subject=f"Export of {self.store} to {shown}",
            repeat=to.repeat,
            result=to.result,
            links={link.key: link.url(shown)},
            inputs=[self.store.uri],
            outputs=[to.uri],
        )

    def check_delivery(self, context: Context, plan: Plan, operation: Operation) -> None:
        """Compare the objects at the destination with the filter, or without one, with the operation's counters."""
        if self.verify == "objects":
            check_objects(self, context, plan, operation)
