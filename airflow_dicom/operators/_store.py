"""Which DICOM store an operator is about."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_dicom.operators._dataset import HealthcareOperator
from airflow_dicom.resource_names import DatasetName, DicomStoreName

if TYPE_CHECKING:
    from airflow_dicom.hooks.dicomweb import DicomWebHook
    from airflow_dicom.typing import Templated


class StoreOperator(HealthcareOperator):
    """An operator on one DICOM store.

    :param dicom_store_id: the DICOM store (templated)
    :param dicom_store: instead of ``project_id``, ``location``, ``dataset_id`` and ``dicom_store_id``: the store's name,
        ``projects/…/locations/…/datasets/…/dicomStores/…`` (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._dataset.HealthcareOperator`.
    """

    template_fields: Sequence[str] = ("dicom_store_id", "dicom_store", *HealthcareOperator.template_fields)

    def __init__(self, *, dicom_store_id: Templated | None = None, dicom_store: Templated | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dicom_store_id: Any = dicom_store_id
        self.dicom_store: Any = dicom_store

    @cached_property
    def store(self) -> DicomStoreName:
        """The DICOM store's resource name.

        :raises DicomArgumentError: a part of it is missing or has a character that no resource name has.
        """
        return self._resource_name(DicomStoreName, "dicom_store", dicom_store_id=self.dicom_store_id)

    @cached_property
    def dicomweb(self) -> DicomWebHook:
        """The hook for the worker that asks the store by DICOMweb."""
        from airflow_dicom.hooks.dicomweb import DicomWebHook

        return DicomWebHook(self.gcp_conn_id, self.impersonation_chain, api_version=self.api_version)

    @property
    def dataset_name(self) -> DatasetName:
        """The resource name of the store's dataset."""
        return self.store.dataset
