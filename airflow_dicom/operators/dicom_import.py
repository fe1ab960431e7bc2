"""Import DICOM instances from Cloud Storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.gcs_uris import check_import_uri, folder_of_import
from airflow_dicom.links.dicom import GcsPrefixLink
from airflow_dicom.operators.base import DicomOperationOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from openlineage.client.generated.base import Dataset

    from airflow_dicom.resource_names import DicomStoreName


class DicomImportOperator(DicomOperationOperator):
    """Copy DICOM files from Cloud Storage into a DICOM store (``dicomStores.import``).

    Instances that the store has already are ignored by the service, so that the import can be repeated. Files that are no DICOM
    count as failed. The store's service agent needs ``roles/storage.objectViewer`` on the bucket.

    .. seealso:: https://cloud.google.com/healthcare-api/docs/how-tos/dicom-import-export

    :param gcs_uri: ``gs://bucket/object``. ``*`` stands for characters other than ``/``, ``?`` for one, ``**`` (at the end, or
        before a file extension, and alone) for any, as in ``gs://bucket/folder/**.dcm`` (templated)
    :param blob_storage_class: ``STANDARD``, ``NEARLINE``, ``COLDLINE`` or ``ARCHIVE``; by default the service's (templated)

    The other parameters are those of :class:`~airflow_dicom.operators.base.DicomOperationOperator`.
    """

    template_fields: Sequence[str] = (*DicomOperationOperator.template_fields, "gcs_uri", "blob_storage_class")
    operator_extra_links = (*DicomOperationOperator.operator_extra_links, GcsPrefixLink())

    def __init__(self, *, gcs_uri: str, blob_storage_class: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gcs_uri = gcs_uri
        self.blob_storage_class = blob_storage_class

    def request(self) -> dict[str, Any]:
        """Return an ``ImportDicomDataRequest``."""
        try:
            check_import_uri(self.gcs_uri)
        except ValueError as error:
            raise DicomArgumentError(str(error)) from error
        body: dict[str, Any] = {"gcsSource": {"uri": self.gcs_uri}}
        if self.blob_storage_class:
            body["blobStorageSettings"] = {"blobStorageClass": self.blob_storage_class}
        return body

    def start(self, store: DicomStoreName, body: dict[str, Any]) -> dict[str, Any]:
        """Send the request."""
        return self.hook.import_dicom(str(store), body)

    def destination(self) -> dict[str, Any]:
        """Return the store's name."""
        return {"dicom_store": str(self.store)}

    def subject(self) -> str:
        """Return what was imported where."""
        return f"Import of {self.gcs_uri} into {self.store}"

    def push_links(self, context: Context) -> None:
        """Link to the source's folder."""
        GcsPrefixLink.push(context, GcsPrefixLink.url(folder_of_import(self.gcs_uri)))

    def lineage(self) -> tuple[list[Dataset], list[Dataset]]:
        """Return the source's folder, and the store."""
        from airflow_dicom import openlineage

        return [openlineage.gcs_folder(folder_of_import(self.gcs_uri))], [openlineage.dicom_store(self.store)]
