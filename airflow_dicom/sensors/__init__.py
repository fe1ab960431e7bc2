"""The sensors."""

from __future__ import annotations

from airflow_dicom.sensors.dicom_operation import DicomOperationSensor
from airflow_dicom.sensors.dicom_store import DicomOperationsSensor, DicomStoreMetricsSensor

__all__ = ["DicomOperationSensor", "DicomOperationsSensor", "DicomStoreMetricsSensor"]
