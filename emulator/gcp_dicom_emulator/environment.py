"""Where an emulator is, and how clients are told. Light to import: each of the command's calls does."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

#: The project of clients that are told of none, by ``environment``. Others work as well.
DEFAULT_PROJECT = "demo"


def base_url(host: str, port: int) -> str:
    """Return the base URL of an emulator that listens on an address; of one that listens on all, that on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def environment(url: str) -> dict[str, str]:
    """Return the environment variables that point clients at an emulator.

    :param url: its base URL. Google's clients take these variables with a scheme, but for that of Pub/Sub.
    """
    no_proxy = _no_proxy(urlsplit(url).hostname or "")
    return {
        "HEALTHCARE_EMULATOR_HOST": url,
        "STORAGE_EMULATOR_HOST": url,
        "BIGQUERY_EMULATOR_HOST": url,
        # Only this one is without a scheme: it is a target of gRPC.
        "PUBSUB_EMULATOR_HOST": urlsplit(url).netloc,
        "GOOGLE_CLOUD_PROJECT": DEFAULT_PROJECT,
        # gcsfs would ask a gRPC API at STORAGE_EMULATOR_HOST for each bucket's type, and wait a minute for the answer.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        "no_proxy": no_proxy,
        "NO_PROXY": no_proxy,
    }


def _no_proxy(host: str) -> str:
    """Return which hosts are to be reached without a proxy: those that the environment names, and one on this machine."""
    # Libraries differ in which of the two names they prefer.
    values = [os.environ.get(name, "").strip() for name in ("no_proxy", "NO_PROXY")]
    if "*" in values:
        return "*"  # which means every host only where it is alone
    named = [part.strip() for value in values for part in value.split(",")]
    return ",".join(dict.fromkeys(filter(None, [*named, host])))
