"""Import DICOM instances from Cloud Storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_dicom.gcs_uris import check_import_uri, folder_of_import
from airflow_dicom.links.dicom import GcsPrefixLink
from airflow_dicom.operators._operation import DicomOperationOperator
from airflow_dicom.work.plan import Plan

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_dicom.typing import Templated


class DicomImportOperator(DicomOperationOperator):
    """Copy DICOM files from Cloud Storage into a DICOM store (``dicomStores.import``).

    Instances that the store has already are ignored by the service, so that the import can be repeated. Files that are not DICOM
    count as failed. The store's service agent needs ``roles/storage.objectViewer`` on the bucket.

    .. seealso:: https://cloud.google.com/healthcare-api/docs/how-tos/dicom-import-export

    :param gcs_uri: ``gs://bucket/object``. ``*`` stands for characters other than ``/``, ``?`` for one, ``**`` (at the end, or
        before a file extension, and alone) for any, as in ``gs://bucket/folder/**.dcm`` (templated)
    :param blob_storage_class: ``STANDARD``, ``NEARLINE``, ``COLDLINE`` or ``ARCHIVE``; by default the service's (templated)

    The other parameters are those of :class:`~airflow_dicom.operators.DicomOperationOperator`.
    """

    template_fields: Sequence[str] = (*DicomOperationOperator.template_fields, "gcs_uri", "blob_storage_class")
    operator_extra_links = (*DicomOperationOperator.operator_extra_links, GcsPrefixLink())
    checks = {**DicomOperationOperator.checks, "gcs_uri": check_import_uri}

    def __init__(self, *, gcs_uri: Templated, blob_storage_class: Templated | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gcs_uri: Any = gcs_uri
        self.blob_storage_class: Any = blob_storage_class
        self._check_literals()

    def plan(self, context: Context) -> Plan:
        """Return the request with an ``ImportDicomDataRequest``."""
        folder = folder_of_import(self.gcs_uri)
        body: dict[str, Any] = {"gcsSource": {"uri": self.gcs_uri}}
        if self.blob_storage_class:
            body["blobStorageSettings"] = {"blobStorageClass": self.blob_storage_class}
        return Plan(
            method="dicomStores.import",
            name=str(self.store),
            body=body,
            subject=f"Import of {self.gcs_uri} into {self.store}",
            result={"dicom_store": str(self.store)},
            links={GcsPrefixLink.key: GcsPrefixLink.url(folder)},
            inputs=[folder],
            outputs=[self.store.uri],
        )
