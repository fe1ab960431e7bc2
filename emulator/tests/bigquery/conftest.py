"""A server with Cloud Storage and BigQuery, and Google's own clients pointed at it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from gcp_dicom_emulator.bigquery import BigQueryService
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.server import Server
from gcp_dicom_emulator.storage.service import StorageService

_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Running:
    """A running server.

    :param url: its base URL.
    :param storage: its Cloud Storage.
    :param bigquery: its BigQuery.
    """

    url: str
    storage: StorageService
    bigquery: BigQueryService

    def text(self, bucket: str, name: str) -> str:
        """Return an object's content."""
        return self.storage.objects.get(bucket, name).path.read_text()

    def names(self, bucket: str) -> list[str]:
        """Return the names of a bucket's objects."""
        return [item.name for item in self.storage.objects.list(bucket)]


def value_of(client: bigquery.Client, expression: str) -> Any:
    """Return the value of an expression, as the client reads it."""
    ((value,),) = [tuple(row) for row in client.query_and_wait(f"SELECT {expression}", retry=None, job_retry=None)]
    return value


@pytest.fixture(scope="package")
def running() -> Iterator[Running]:
    state = State()
    storage = StorageService(state)
    service = BigQueryService(state, storage.objects)
    server = Server([storage, service])
    server.start()
    yield Running(f"http://127.0.0.1:{server.port}", storage, service)
    server.stop()
    service.close()
    storage.close()
    state.close()


@pytest.fixture
def emulator(running: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """The server, with the variables that point clients at it."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", running.url)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", running.url)
    return running


@pytest.fixture
def client(emulator: Running) -> Iterator[bigquery.Client]:
    with bigquery.Client(project="p", credentials=AnonymousCredentials()) as client:
        yield client


@pytest.fixture
def dataset(client: bigquery.Client) -> str:
    """The name of a new dataset of project ``p``."""
    name = f"d{next(_NUMBERS)}"
    client.create_dataset(name)
    return name


@pytest.fixture
def bucket(emulator: Running) -> str:
    """The name of a new bucket."""
    name = f"bucket-{next(_NUMBERS)}"
    emulator.storage.objects.create_bucket(name)
    return name
