"""A connection with a service account's key, whose tokens come from the emulator."""

from __future__ import annotations

import json

from gcp_dicom_emulator.keyfile import keyfile


def connection(emulator_url: str, key: str) -> str:
    """Return the connection as ``AIRFLOW_CONN_…`` takes it."""
    extra = {"keyfile_dict": json.dumps(keyfile(emulator_url, key)), "project": "demo"}
    return json.dumps({"conn_type": "google_cloud_platform", "extra": extra})
