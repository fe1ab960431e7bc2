"""What Airflow's provider manager reads."""

from __future__ import annotations

from typing import Any

from airflow_dicom import __version__


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description; the entry point ``apache_airflow_provider`` names this function."""
    links, assets = "airflow_dicom.links.dicom", "airflow_dicom.assets"
    asset_uris = [
        {
            "schemes": ["dicomstore"],
            "handler": f"{assets}.sanitize_uri",
            "factory": f"{assets}.dicom_store_asset",
            "to_openlineage_converter": f"{assets}.convert_asset_to_openlineage",
        }
    ]
    return {
        "package-name": "airflow-dicom",
        "name": "DICOM on Google Cloud",
        "description": "Import, export and filter DICOM instances with the Google Cloud Healthcare API.",
        "versions": [__version__],
        "extra-links": [
            f"{links}.DicomStoreLink",
            f"{links}.DicomDestinationLink",
            f"{links}.DicomOperationLink",
            f"{links}.DicomLogsLink",
            f"{links}.GcsPrefixLink",
            f"{links}.BigQueryTableLink",
            f"{links}.BigQueryJobLink",
            f"{links}.FilterFileLink",
        ],
        "asset-uris": asset_uris,
        "dataset-uris": asset_uris,  # Airflow 2
    }
