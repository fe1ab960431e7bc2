"""The operators."""

from __future__ import annotations

from airflow_dicom.operators._operation import DicomOperationOperator
from airflow_dicom.operators.dicom_export import DicomExportOperator
from airflow_dicom.operators.dicom_import import DicomImportOperator
from airflow_dicom.operators.filter_file import FilterFileFromBigQueryOperator
from airflow_dicom.operators.filter_file_from_paths import FilterFileFromPathsOperator

__all__ = [
    "DicomExportOperator",
    "DicomImportOperator",
    "DicomOperationOperator",
    "FilterFileFromBigQueryOperator",
    "FilterFileFromPathsOperator",
]
