"""What the demo works on: the DICOM files of pydicom's own tests, which its wheel carries, in a bucket of the emulator."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.cloud import bigquery
    from google.cloud.storage import Client as StorageClient

PROJECT = "demo"
LOCATION = "us-central1"
DATASET = "radiology"
STORE = "images"
BUCKET = "demo-dicom"
INCOMING = "incoming/"
#: Where the files are that hold no instance, so that an import of the others succeeds.
BROKEN = "broken/"
BIGQUERY_DATASET = "dicom"
#: Where objects arrive of which Pub/Sub tells, and the names of both the topics and the subscriptions.
ARRIVING = "arriving/"
OBJECTS, INSTANCES = "dicom-objects", "dicom-instances"

#: StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID.
Uids = tuple[str, str, str]


@dataclass(frozen=True)
class Source:
    """The DICOM files of pydicom's wheel.

    :param files: all of them by their path in the wheel.
    :param instances: the names of the files that hold an instance; more than one where the wheel has it more than once.
    """

    files: dict[str, Path]
    instances: dict[Uids, list[str]]

    @classmethod
    @functools.cache
    def of_pydicom(cls) -> Source:
        """Find them, once. Some are broken on purpose: they have no header, no UIDs, or end too early."""
        import pydicom

        root = Path(pydicom.__file__).parent / "data"
        files = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if _is_dicom(path)}
        instances: dict[Uids, list[str]] = {}
        for name, path in files.items():
            for uids in _uids(path):
                instances.setdefault(uids, []).append(name)
        return cls(files, instances)

    @property
    def broken(self) -> list[str]:
        """The names of the files that hold no instance."""
        whole = {name for names in self.instances.values() for name in names}
        return [name for name in self.files if name not in whole]

    @property
    def objects(self) -> dict[str, Path]:
        """All files by their name in the bucket."""
        broken = set(self.broken)
        return {(BROKEN if name in broken else INCOMING) + name: path for name, path in self.files.items()}


class Cloud:
    """Google's own clients, pointed at the emulator.

    :param url: the emulator's URL.
    """

    def __init__(self, url: str) -> None:
        from google.auth.credentials import AnonymousCredentials

        self._url = url
        self._credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]

    def storage(self) -> StorageClient:
        """Return a client of Cloud Storage."""
        from google.cloud.storage import Client

        return Client(PROJECT, self._credentials, client_options={"api_endpoint": self._url})

    def bigquery(self) -> bigquery.Client:
        """Return a client of BigQuery."""
        from google.cloud import bigquery

        return bigquery.Client(PROJECT, self._credentials, client_options={"api_endpoint": self._url})

    def healthcare(self) -> Any:
        """Return a client of the Healthcare API."""
        from googleapiclient.discovery import build

        options = {"api_endpoint": self._url}
        return build("healthcare", "v1", credentials=self._credentials, client_options=options, static_discovery=True)

    def fill(self, source: Source) -> None:
        """Create bucket, BigQuery dataset, Healthcare dataset and DICOM store, and put the files into the bucket."""
        bucket = self.storage().create_bucket(BUCKET)
        for name, path in source.objects.items():
            bucket.blob(name).upload_from_filename(path)
        self.bigquery().create_dataset(BIGQUERY_DATASET)
        with self.healthcare() as healthcare:
            datasets = healthcare.projects().locations().datasets()
            location = f"projects/{PROJECT}/locations/{LOCATION}"
            operation = datasets.create(parent=location, datasetId=DATASET, body={}).execute()
            while not operation.get("done"):
                operation = datasets.operations().get(name=operation["name"]).execute()
            stores = datasets.dicomStores()
            stores.create(parent=f"{location}/datasets/{DATASET}", dicomStoreId=STORE, body={}).execute()

    def announce_arrivals(self, ack_deadline: int = 60) -> None:
        """Let Pub/Sub tell of what arrives in the bucket and in the store, as the examples want it that start by themselves.

        :param ack_deadline: for how many seconds whoever pulls a message has it alone.
        """
        import requests

        for name in (OBJECTS, INSTANCES):
            topic = f"projects/{PROJECT}/topics/{name}"
            requests.put(f"{self._url}/v1/{topic}", json={}, timeout=60).raise_for_status()
            subscription = f"{self._url}/v1/projects/{PROJECT}/subscriptions/{name}"
            requests.put(subscription, json={"topic": topic, "ackDeadlineSeconds": ack_deadline}, timeout=60).raise_for_status()
        self.storage().bucket(BUCKET).notification(
            OBJECTS, PROJECT, event_types=["OBJECT_FINALIZE"], blob_name_prefix=ARRIVING, payload_format="NONE"
        ).create()
        with self.healthcare() as healthcare:
            healthcare.projects().locations().datasets().dicomStores().patch(
                name=f"projects/{PROJECT}/locations/{LOCATION}/datasets/{DATASET}/dicomStores/{STORE}",
                updateMask="notificationConfigs",
                body={"notificationConfigs": [{"pubsubTopic": f"projects/{PROJECT}/topics/{INSTANCES}"}]},
            ).execute()


def fill(url: str) -> None:
    """Fill the emulator with the files of pydicom's wheel.

    :param url: the emulator's URL.
    """
    Cloud(url).fill(Source.of_pydicom())


def _is_dicom(path: Path) -> bool:
    return path.is_file() and (path.suffix == ".dcm" or path.name.startswith("DICOMDIR") or _is_part10(path))


def _is_part10(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _uids(path: Path) -> Iterator[Uids]:
    import pydicom
    from pydicom.errors import InvalidDicomError

    if path.name == "rtplan_truncated.dcm":  # it ends within an element, and pydicom reads it as far as it goes
        return
    try:
        with warnings.catch_warnings(action="ignore"):
            dataset = pydicom.dcmread(path, specific_tags=["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
        yield dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    except (InvalidDicomError, AttributeError):
        return
