"""A service account's key file for an emulator, for code that accepts no other credentials."""

from __future__ import annotations

from gcp_dicom_emulator.environment import DEFAULT_PROJECT


def private_key() -> str:
    """Return a new RSA private key as PEM. It takes a moment; needs the package ``cryptography``."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def keyfile(url: str, key: str) -> dict[str, str]:
    """Return a key file whose tokens come from the emulator's ``/token``.

    :param url: the emulator's base URL.
    :param key: the private key, see :func:`private_key`. The emulator does not check what it signs.
    """
    return {
        "type": "service_account",
        "project_id": DEFAULT_PROJECT,
        "private_key_id": "1",
        "private_key": key,
        "client_email": f"tests@{DEFAULT_PROJECT}.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"{url}/token",
    }
