"""Fixtures for tests, which pytest has by itself where this package is installed. Loads nothing before one is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gcp_dicom_emulator import Emulator

#: What pydicom's wheel carries and ``seeded_dicom_store`` holds.
_SEEDS = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm")


@dataclass(frozen=True)
class DicomStore:
    """A DICOM store of the emulator, with a bucket and a BigQuery dataset beside it.

    :param emulator: the emulator.
    :param bucket: the bucket's name.
    :param bigquery_dataset: the BigQuery dataset's name.
    """

    emulator: Emulator
    project_id: str = "demo"
    location: str = "us-central1"
    dataset_id: str = "radiology"
    dicom_store_id: str = "images"
    bucket: str = "clinic"
    bigquery_dataset: str = "dicom"

    @property
    def name(self) -> str:
        """The store's name, as the Healthcare API writes it."""
        dataset = f"projects/{self.project_id}/locations/{self.location}/datasets/{self.dataset_id}"
        return f"{dataset}/dicomStores/{self.dicom_store_id}"

    @property
    def arguments(self) -> dict[str, str]:
        """What an operator needs to find the store: ``DicomImportOperator(..., **dicom_store.arguments)``."""
        return {
            "project_id": self.project_id,
            "location": self.location,
            "dataset_id": self.dataset_id,
            "dicom_store_id": self.dicom_store_id,
        }

    def upload(self, *files: Path | str, prefix: str = "") -> list[str]:
        """Upload files to the bucket, each by its own name behind ``prefix``; return their ``gs://`` URIs."""
        names = [prefix + Path(file).name for file in files]
        for name, file in zip(names, files, strict=True):
            self.emulator.storage.objects.put_bytes(self.bucket, name, Path(file).read_bytes())
        return [f"gs://{self.bucket}/{name}" for name in names]

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Return the bucket's objects by name."""
        return {found.name: found.path.read_bytes() for found in self.emulator.storage.objects.list(self.bucket, prefix)}

    def seed(self, source: Path) -> int:
        """Import a DICOM file, or a folder of them, into the store; return how many instances that were."""
        from gcp_dicom_emulator.client import Client
        from gcp_dicom_emulator.seeding import seed_store

        with Client(self.emulator.url) as client:
            return seed_store(client, self.name, source).instances

    def instances(self) -> Sequence[str]:
        """Return the SOPInstanceUIDs that the store holds."""
        pages = self.emulator.healthcare.instances.pages(self.name, None, 1000)
        return [found.instance for page in pages for found in page]


@pytest.fixture(scope="session")
def running_dicom_emulator() -> Iterator[Emulator]:
    """An emulator on a free port, with a temporary directory, for all tests."""
    from gcp_dicom_emulator import Emulator

    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def dicom_emulator(running_dicom_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """The emulator with nothing in it. Google's clients use it, since the environment says so."""
    running_dicom_emulator.reset()
    for name, value in running_dicom_emulator.environment().items():
        monkeypatch.setenv(name, value)
    return running_dicom_emulator


@pytest.fixture
def dicom_store(dicom_emulator: Emulator) -> DicomStore:
    """An empty DICOM store, an empty bucket and an empty BigQuery dataset."""
    from gcp_dicom_emulator.client import Client
    from gcp_dicom_emulator.seeding import create_store

    store = DicomStore(dicom_emulator)
    with Client(dicom_emulator.url) as client:
        create_store(client, store.name)
    dicom_emulator.storage.objects.create_bucket(store.bucket, store.project_id)
    dicom_emulator.bigquery.catalog.create_dataset(store.project_id, store.bigquery_dataset)
    return store


@pytest.fixture
def seeded_dicom_store(dicom_store: DicomStore) -> DicomStore:
    """The same with a CT and an MR image and an RT plan in the store, which pydicom carries."""
    from pydicom import data

    for name in _SEEDS:
        dicom_store.seed(Path(str(data.get_testdata_file(name))))
    return dicom_store
