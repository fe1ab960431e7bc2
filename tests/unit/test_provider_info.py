"""What Airflow's provider manager finds."""

from __future__ import annotations

from airflow.providers_manager import ProvidersManager


def test_airflow_finds_the_links() -> None:
    manager = ProvidersManager()
    assert "airflow-dicom" in manager.providers
    assert "airflow_dicom.links.dicom.DicomOperationLink" in manager.extra_links_class_names
