"""Where an API is: an emulator, what the connection says, or Google."""

from __future__ import annotations

import os

HEALTHCARE_EMULATOR_HOST = "HEALTHCARE_EMULATOR_HOST"
BIGQUERY_EMULATOR_HOST = "BIGQUERY_EMULATOR_HOST"
PUBSUB_EMULATOR_HOST = "PUBSUB_EMULATOR_HOST"

#: The variable that gives Airflow a connection for an emulator: no credentials, and the project ``demo``.
EMULATOR_CONNECTION = {"AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": "google-cloud-platform://?is_anonymous=True&project=demo"}

#: The variable that names another universe than Google's own cloud; Google's clients read it, too.
UNIVERSE_VARIABLE = "GOOGLE_CLOUD_UNIVERSE_DOMAIN"


def resolve_endpoint(emulator_variable: str, service: str, from_connection: str | None = None) -> str:
    """Return an API's base URL without a slash at its end; the same in a worker and in the triggerer.

    :param emulator_variable: the environment variable that names an emulator, with or without a scheme; it outranks the rest.
    :param service: the API's name, such as ``healthcare``: Google's own address is that below the universe's domain.
    :param from_connection: what the Airflow connection's extra says.
    """
    if emulator := emulator_url(emulator_variable):
        return emulator
    endpoint = from_connection or f"{service}.{universe()}"
    return (endpoint if "://" in endpoint else f"https://{endpoint}").rstrip("/")


def universe() -> str:
    """Return the domain of the cloud that is asked."""
    return os.environ.get(UNIVERSE_VARIABLE) or "googleapis.com"


def emulator_url(variable: str) -> str | None:
    """Return the base URL of the emulator that an environment variable names, without a slash at its end; ``None`` for Google."""
    emulator = os.environ.get(variable)
    if not emulator:
        return None
    return (emulator if "://" in emulator else f"http://{emulator}").rstrip("/")
