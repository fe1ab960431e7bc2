"""The emulator as one object: its services, its directory, its port."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

from airflow_dicom.emulator.bigquery.service import BigQueryService
from airflow_dicom.emulator.faults import Faults
from airflow_dicom.emulator.healthcare.service import HealthcareService
from airflow_dicom.emulator.server import LoggedRequest, Server
from airflow_dicom.emulator.state import State
from airflow_dicom.emulator.storage.service import StorageService
from airflow_dicom.emulator.tokens import TOKEN_PATH, token_page

#: The project of the Airflow connection that :meth:`Emulator.environment` describes. Any other works as well.
DEFAULT_PROJECT = "demo"


class Emulator:
    """Healthcare, Cloud Storage and BigQuery on one local port. Also a context manager that starts and stops it.

    :param data_dir: where to keep everything; ``None`` for a temporary directory that is removed at the end.
    :param host: the address to listen on.
    :param port: the port; 0 for a free one.
    :raises OSError: when ``data_dir`` cannot be used, be it that another emulator uses it.
    """

    def __init__(self, data_dir: Path | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._state = State(data_dir)
        self.faults = Faults()
        try:
            self.storage = StorageService(self._state)
            self.bigquery = BigQueryService(self._state, self.storage.objects, self.faults)
            self.healthcare = HealthcareService(self._state, self.storage.objects, self.bigquery, self.faults)
            self._state.sweep()
        except BaseException:
            self._state.close()
            raise
        self._services = (self.healthcare, self.bigquery, self.storage)
        pages = {
            "/_emulator/logs": self.healthcare.logs_page,
            "/_emulator/faults": self.faults.page,
            TOKEN_PATH: token_page,
        }
        self._server = Server(list(self._services), pages=pages, faults=self.faults, host=host, port=port)

    def start(self) -> None:
        """Bind the port and serve in the background; go on with what a killed emulator left.

        :raises OSError: when the port is taken. It is then stopped already.
        """
        try:
            self._server.start()
            self.healthcare.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop serving and all background work."""
        self._server.stop()
        for service in self._services:
            service.close()
        self._state.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    @property
    def url(self) -> str:
        """The base URL of all services."""
        return base_url(self._server.host, self.port)

    @property
    def requests(self) -> deque[LoggedRequest]:
        """The requests that were answered, the latest last."""
        return self._server.requests

    def environment(self) -> dict[str, str]:
        """Return the environment variables that point clients and Airflow at it."""
        return environment(self.url)


def base_url(host: str, port: int) -> str:
    """Return the base URL of an emulator that listens on an address."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def environment(url: str) -> dict[str, str]:
    """Return the environment variables that point clients and Airflow at an emulator.

    :param url: its base URL. Google's clients take these variables with a scheme.
    """
    extra = {"is_anonymous": True, "project": DEFAULT_PROJECT}
    return {
        "HEALTHCARE_EMULATOR_HOST": url,
        "STORAGE_EMULATOR_HOST": url,
        "BIGQUERY_EMULATOR_HOST": url,
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps({"conn_type": "google_cloud_platform", "extra": extra}),
    }
