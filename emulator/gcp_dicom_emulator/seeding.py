"""Fill a running emulator from a folder, by the requests that any client would send."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gcp_dicom_emulator.client import Client, EmulatorError
from gcp_dicom_emulator.healthcare.names import StoreName

#: Seconds between two looks at an import.
_POLL = 0.02


class Seeded(NamedTuple):
    """What has come of a folder of DICOM.

    :param new: how many instances the store got.
    :param present: how many files were instances that the store held already, or that the folder holds twice.
    :param failed: how many files were not instances.
    """

    new: int
    present: int
    failed: int

    @property
    def instances(self) -> int:
        """How many files were instances."""
        return self.new + self.present


def seed_store(client: Client, store: str, source: Path) -> Seeded:
    """Import the DICOM files of a folder, or one file, into a store. Dataset and store are made where they are missing.

    :param store: ``projects/…/locations/…/datasets/…/dicomStores/…``.
    :param source: the folder, with all below it, or the file.
    :raises ValueError: ``store`` is not the name of a DICOM store.
    :raises OSError: a file cannot be read.
    :raises EmulatorError: the emulator does not answer, or refuses.
    """
    create_store(client, store)
    name = StoreName.parse(store)
    bucket = f"seed-{uuid.uuid4().hex}"
    client.call("POST", f"/storage/v1/b?project={name.project_id}", {"name": bucket})
    files = list(_files(source))
    try:
        for number, file in enumerate(files):
            client.upload(bucket, str(number), file)
        if not files:
            return Seeded(0, 0, 0)
        before = _instances(client, store)
        operation = client.call("POST", f"/v1/{name}:import", {"gcsSource": {"uri": f"gs://{bucket}/*"}})
        counter = _wait(client, operation["name"])["metadata"].get("counter", {})
        imported = int(counter.get("success", 0))
        # Somebody else may delete or store instances meanwhile.
        new = min(max(_instances(client, store) - before, 0), imported)
        return Seeded(new, imported - new, int(counter.get("failure", 0)))
    finally:
        for number in range(len(files)):
            _delete(client, f"/storage/v1/b/{bucket}/o/{number}")
        _delete(client, f"/storage/v1/b/{bucket}")


def seed_buckets(client: Client, source: Path, project: str) -> dict[str, int]:
    """Upload a folder of folders: each is a bucket, made where it is missing, and its files are objects.

    :param project: whose the buckets are.
    :return: how many objects were uploaded, by bucket.
    :raises ValueError: there are files beside the folders, which belong to no bucket.
    :raises OSError: a file cannot be read.
    :raises EmulatorError: the emulator does not answer, or refuses.
    """
    folders = sorted(source.iterdir())
    if strays := [path.name for path in folders if not path.is_dir() and not path.name.startswith(".")]:
        raise ValueError(f"{source} is to hold folders, one for each bucket, and has files: {', '.join(strays[:5])}.")
    uploaded = {}
    for folder in (path for path in folders if path.is_dir()):
        client.create(f"/storage/v1/b?project={project}", {"name": folder.name})
        files = list(_files(folder))
        for file in files:
            client.upload(folder.name, file.relative_to(folder).as_posix(), file)
        uploaded[folder.name] = len(files)
    return uploaded


def create_store(client: Client, store: str) -> None:
    """Make a DICOM store and its dataset where they are missing.

    :param store: ``projects/…/locations/…/datasets/…/dicomStores/…``.
    :raises ValueError: ``store`` is not the name of a DICOM store.
    :raises EmulatorError: the emulator does not answer, or refuses.
    """
    name = StoreName.parse(store)
    datasets = name.dataset.rpartition("/")[0]
    if operation := client.create(f"/v1/{datasets}?datasetId={name.dataset_id}", {}):
        _wait(client, operation["name"])
    client.create(f"/v1/{name.dataset}/dicomStores?dicomStoreId={name.dicom_store_id}", {})


def _files(source: Path) -> Iterator[Path]:
    if source.is_file():
        yield source
    else:
        yield from sorted(path for path in source.rglob("*") if path.is_file())


def _instances(client: Client, store: str) -> int:
    return int(client.call("GET", f"/v1/{store}:getDICOMStoreMetrics")["instanceCount"])


def _wait(client: Client, operation: str) -> dict[str, dict[str, dict[str, str]]]:
    while not (found := client.call("GET", f"/v1/{operation}")).get("done"):
        time.sleep(_POLL)
    return found


def _delete(client: Client, path: str) -> None:
    try:
        client.call("DELETE", path)
    except EmulatorError as error:
        if error.status is None:
            raise
