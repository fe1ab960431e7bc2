"""The sensor."""

from __future__ import annotations

from airflow_dicom.sensors.dicom_operation import DicomOperationSensor

__all__ = ["DicomOperationSensor"]
