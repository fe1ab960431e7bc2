"""The operators."""

from __future__ import annotations

from airflow_dicom.operators._operation import DicomOperationOperator
from airflow_dicom.operators.dicom_deidentify import DicomDeidentifyOperator
from airflow_dicom.operators.dicom_export import DicomExportOperator
from airflow_dicom.operators.dicom_import import DicomImportOperator
from airflow_dicom.operators.dicom_storage_class import DicomSetBlobStorageSettingsOperator
from airflow_dicom.operators.filter_file import FilterFileFromBigQueryOperator
from airflow_dicom.operators.filter_file_from_paths import FilterFileFromPathsOperator

__all__ = [
    "DicomDeidentifyOperator",
    "DicomExportOperator",
    "DicomImportOperator",
    "DicomOperationOperator",
    "DicomSetBlobStorageSettingsOperator",
    "FilterFileFromBigQueryOperator",
    "FilterFileFromPathsOperator",
]
