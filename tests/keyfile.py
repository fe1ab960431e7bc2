"""A connection with a service account's key, whose tokens come from the emulator."""

from __future__ import annotations

import json

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def private_key() -> str:
    """Return a new private key as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def keyfile(emulator_url: str, key: str) -> dict[str, str]:
    """Return a service account's key file."""
    return {
        "type": "service_account",
        "project_id": "demo",
        "private_key_id": "1",
        "private_key": key,
        "client_email": "tests@demo.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"{emulator_url}/token",
    }


def connection(emulator_url: str, key: str) -> str:
    """Return the connection as ``AIRFLOW_CONN_…`` takes it."""
    extra = {"keyfile_dict": json.dumps(keyfile(emulator_url, key)), "project": "demo"}
    return json.dumps({"conn_type": "google_cloud_platform", "extra": extra})
