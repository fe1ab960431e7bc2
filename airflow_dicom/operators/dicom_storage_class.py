"""Set the storage class of what a DICOM store holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.filter_paths import FilterPath
from airflow_dicom.operators._connection import NOT_GIVEN, OneOf
from airflow_dicom.operators._filtered import FilteredOperator
from airflow_dicom.work.plan import Plan

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_dicom.typing import Templated


class DicomSetBlobStorageSettingsOperator(FilteredOperator):
    """Move what a DICOM store holds to another storage class (``setBlobStorageSettings``).

    It moves all, one study, series or instance, or what a filter names.
    A colder class costs less to keep and more to read, and has a minimum time for which it is paid.

    .. seealso:: https://cloud.google.com/healthcare-api/docs/how-tos/dicom-storage-class

    :param blob_storage_class: ``STANDARD``, ``NEARLINE``, ``COLDLINE`` or ``ARCHIVE`` (templated)
    :param dicom_web_path: one thing in the store, ``/studies/UID[/series/UID[/instances/UID]]``; not together with ``filter_uri``.
        Given, but rendered to nothing, it is an error (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._filtered.FilteredOperator` and
    :class:`~airflow_dicom.operators.DicomOperationOperator`.
    """

    template_fields: Sequence[str] = ("blob_storage_class", "dicom_web_path", *FilteredOperator.template_fields)
    checks = {
        "blob_storage_class": OneOf("blob_storage_class", "STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"),
        "dicom_web_path": FilterPath.parse,
    }

    def __init__(self, *, blob_storage_class: Templated, dicom_web_path: Templated | None = NOT_GIVEN, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.blob_storage_class: Any = blob_storage_class
        self.dicom_web_path: str | None
        self._narrow(dicom_web_path=dicom_web_path)
        self._check_literals()

    def plan_of_all(self, context: Context) -> Plan:
        """Return the request with a ``SetBlobStorageSettingsRequest``."""
        if self.dicom_web_path and self.filter_uri:
            raise DicomArgumentError("Give dicom_web_path or filter_uri, not both: each says what the request is about.")
        below = f"/dicomWeb{self.dicom_web_path}" if self.dicom_web_path else ""
        return Plan(
            method=f"dicomStores.{'dicomWeb.studies.' if below else ''}setBlobStorageSettings",
            name=f"{self.store}{below}",
            parameter="resource",
            body={"blobStorageSettings": {"blobStorageClass": self.blob_storage_class}},
            subject=f"Storage class {self.blob_storage_class} for {self.store}{below}",
            result={"dicom_store": str(self.store), "blob_storage_class": self.blob_storage_class},
            inputs=[self.store.uri],
            outputs=[self.store.uri],
        )
