"""A local emulator of the Healthcare API (DICOM), Cloud Storage and BigQuery."""

from __future__ import annotations

from airflow_dicom.emulator.emulator import Emulator

__all__ = ["Emulator"]
