"""The whole emulator, and the clients that people use: google-api-python-client, and requests in place of curl."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from googleapiclient import discovery
from googleapiclient.errors import HttpError
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from gcp_dicom_emulator import Emulator

LOCATION = "projects/demo/locations/us-central1"
_NUMBERS = itertools.count(1)


def build_api(emulator: Emulator, version: str = "v1") -> Any:
    """Google's client, with nothing but its endpoint set."""
    options = {"api_endpoint": emulator.url}
    return discovery.build("healthcare", version, credentials=AnonymousCredentials(), client_options=options)


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Return what a condition returns, once it is true."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.01)
    raise AssertionError(f"{what} did not happen")


def http_error(request: Any) -> tuple[int, str, str]:
    """Execute a request that must fail; return its HTTP status code, canonical status and message."""
    with pytest.raises(HttpError) as caught:
        request.execute()
    error = requests.models.complexjson.loads(caught.value.content)["error"]
    assert error["code"] == caught.value.status_code
    return error["code"], error["status"], error["message"]


def sample(name: str) -> bytes:
    """A file of pydicom's data."""
    path = get_testdata_file(name)
    assert path is not None
    return Path(str(path)).read_bytes()


def instance(study: str, series: str, uid: str, **elements: Any) -> FileDataset:
    """A small instance."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = CTImageStorage
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = study, series, uid
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def encoded(dataset: FileDataset) -> bytes:
    """A data set as a file."""
    from io import BytesIO

    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@dataclass
class World:
    """A dataset with an empty store, an empty bucket and an empty dataset of BigQuery, all new.

    :param emulator: where they are.
    :param api: Google's client.
    """

    emulator: Emulator
    api: Any
    number: int = field(default_factory=lambda: next(_NUMBERS))

    def __post_init__(self) -> None:
        self.dataset = f"{LOCATION}/datasets/d{self.number}"
        self.store = f"{self.dataset}/dicomStores/s"
        self.bucket = f"bucket-{self.number}"
        self.tables = f"tables_{self.number}"

    def make(self) -> World:
        self.end(self.datasets.create(parent=LOCATION, datasetId=f"d{self.number}", body={}).execute())
        self.stores.create(parent=self.dataset, dicomStoreId="s", body={}).execute()
        self.emulator.storage.objects.create_bucket(self.bucket)
        self.emulator.bigquery.catalog.create_dataset("demo", self.tables)
        return self

    @property
    def datasets(self) -> Any:
        return self.api.projects().locations().datasets()

    @property
    def stores(self) -> Any:
        return self.datasets.dicomStores()

    @property
    def operations(self) -> Any:
        return self.datasets.operations()

    # Objects

    def put(self, name: str, data: bytes) -> None:
        self.emulator.storage.objects.put_bytes(self.bucket, name, data)

    def files(self, prefix: str = "") -> dict[str, bytes]:
        """The bucket's objects."""
        objects = self.emulator.storage.objects
        return {found.name: found.path.read_bytes() for found in objects.list(self.bucket, prefix)}

    def uri(self, name: str) -> str:
        return f"gs://{self.bucket}/{name}"

    # Operations

    def operation(self, name: str) -> dict[str, Any]:
        return dict(self.operations.get(name=name).execute())

    def end(self, started: dict[str, Any]) -> dict[str, Any]:
        """The operation, once it is done."""
        return dict(wait_for(lambda: (found := self.operation(started["name"])).get("done") and found, "the end"))

    def start_import(self, uri: str, **body: Any) -> dict[str, Any]:
        return dict(self.stores.import_(name=self.store, body={"gcsSource": {"uri": uri}, **body}).execute())

    def start_export(self, **body: Any) -> dict[str, Any]:
        return dict(self.stores.export(name=self.store, body=body).execute())

    def fill(self, *datasets: FileDataset | bytes) -> None:
        """Import files into the store."""
        for number, dataset in enumerate(datasets):
            self.put(f"fill/{number}", dataset if isinstance(dataset, bytes) else encoded(dataset))
        ended = self.end(self.start_import(self.uri("fill/**")))
        assert ended["metadata"]["counter"] == {"success": str(len(datasets))}
        for number in range(len(datasets)):
            self.emulator.storage.objects.delete(self.bucket, f"fill/{number}")

    def metrics(self) -> dict[str, str]:
        return dict(self.stores.getDICOMStoreMetrics(name=self.store).execute())

    def logs(self, operation: dict[str, Any]) -> list[dict[str, Any]]:
        """What the operation logged, from where its ``logsUrl`` says."""
        answer = requests.get(operation["metadata"]["logsUrl"], timeout=120)
        answer.raise_for_status()
        return [entry["jsonPayload"] for entry in answer.json()["entries"]]

    def curl(self, path: str, data: str | None = None, version: str = "v1") -> requests.Response:
        """Send what curl would: a body as it was typed."""
        url = f"{self.emulator.url}/{version}/{path}"
        if data is None:
            return requests.get(url, timeout=120)
        headers = {"Content-Type": "application/json; charset=utf-8"}
        return requests.post(url, data=data.encode(), headers=headers, timeout=120)

    # Tables

    def table(self, name: str) -> str:
        return f"bq://demo.{self.tables}.{name}"

    def columns(self, table: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.emulator.bigquery.catalog.get_table("demo", self.tables, table)["schema"]["fields"]
        return found

    def rows(self, table: str, select: str = "*", rest: str = "") -> list[tuple[Any, ...]]:
        """Rows of a table, by Google's BigQuery client."""
        from google.cloud import bigquery

        options = {"api_endpoint": self.emulator.url}
        with bigquery.Client(project="demo", credentials=AnonymousCredentials(), client_options=options) as client:
            found = client.query(f"SELECT {select} FROM `demo.{self.tables}.{table}` {rest}").result()
            return [tuple(row.values()) for row in found]


@pytest.fixture(scope="package")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(scope="package")
def apis(emulator: Emulator) -> dict[str, Any]:
    return {version: build_api(emulator, version) for version in ("v1", "v1beta1")}


@pytest.fixture
def world(emulator: Emulator, apis: dict[str, Any]) -> Iterator[World]:
    yield World(emulator, apis["v1"]).make()
    emulator.faults.clear()
    emulator.healthcare.operation_seconds = 0.0
    emulator.healthcare.partial_failure = "error"


@pytest.fixture(params=["v1", "v1beta1"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def versioned(world: World, apis: dict[str, Any], version: str) -> World:
    """The world, with the client of either version."""
    world.api = apis[version]
    return world
