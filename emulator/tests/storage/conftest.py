"""An emulator, and unmodified clients pointed at it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import requests
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from gcp_dicom_emulator import Emulator

_NUMBERS = itertools.count()


@pytest.fixture(scope="package")
def shared_emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def emulator(shared_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """The emulator, with the variables that point clients at it, and no fault left behind."""
    for name, value in shared_emulator.environment().items():
        monkeypatch.setenv(name, value)
    yield shared_emulator
    shared_emulator.faults.clear()


@pytest.fixture
def client(emulator: Emulator) -> Iterator[storage.Client]:
    with storage.Client(project="demo", credentials=AnonymousCredentials()) as client:
        yield client


@pytest.fixture
def bucket(client: storage.Client) -> storage.Bucket:
    """A new bucket."""
    return client.create_bucket(f"bucket-{next(_NUMBERS)}")


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@pytest.fixture
def retry() -> Retry:
    """The clients' own retries, without their pauses."""
    return storage.retry.DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.01)
