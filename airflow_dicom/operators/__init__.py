"""The operators."""

from __future__ import annotations

from airflow_dicom.operators._operation import DicomOperationOperator
from airflow_dicom.operators.dicom_deidentify import DicomDeidentifyDatasetOperator, DicomDeidentifyOperator
from airflow_dicom.operators.dicom_delete import DicomDeleteOperator
from airflow_dicom.operators.dicom_export import DicomExportOperator
from airflow_dicom.operators.dicom_import import DicomImportOperator
from airflow_dicom.operators.dicom_storage_class import DicomSetBlobStorageSettingsOperator
from airflow_dicom.operators.dicom_store import (
    DicomCreateStoreOperator,
    DicomDeleteStoreOperator,
    DicomGetStoreOperator,
    DicomListStoresOperator,
    DicomUpdateStoreOperator,
)
from airflow_dicom.operators.dicom_web import DicomSearchOperator, DicomStoreInstancesOperator
from airflow_dicom.operators.filter_file import FilterFileFromBigQueryOperator
from airflow_dicom.operators.filter_file_from_paths import FilterFileFromPathsOperator
from airflow_dicom.operators.healthcare_dataset import (
    DicomCreateDatasetOperator,
    DicomDeleteDatasetOperator,
    DicomGetDatasetOperator,
    DicomListDatasetsOperator,
    DicomUpdateDatasetOperator,
)

__all__ = [
    "DicomCreateDatasetOperator",
    "DicomCreateStoreOperator",
    "DicomDeidentifyDatasetOperator",
    "DicomDeidentifyOperator",
    "DicomDeleteDatasetOperator",
    "DicomDeleteOperator",
    "DicomDeleteStoreOperator",
    "DicomExportOperator",
    "DicomGetDatasetOperator",
    "DicomGetStoreOperator",
    "DicomImportOperator",
    "DicomListDatasetsOperator",
    "DicomListStoresOperator",
    "DicomOperationOperator",
    "DicomSearchOperator",
    "DicomSetBlobStorageSettingsOperator",
    "DicomStoreInstancesOperator",
    "DicomUpdateDatasetOperator",
    "DicomUpdateStoreOperator",
    "FilterFileFromBigQueryOperator",
    "FilterFileFromPathsOperator",
]
