"""What ``streamConfigs`` write to BigQuery, and that the newest rows are what a full export has."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from pydicom.data import get_testdata_file

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.client import Client
from gcp_dicom_emulator.pytest_plugin import DicomStore
from gcp_dicom_emulator.seeding import create_store

CT = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
#: How often something is stored, deleted or moved to another class; `make fuzz` does a thousand.
CHANGES = 35 * int(os.environ.get("FUZZ", "1"))
STUDY, SERIES, UID = (
    b"1.3.6.1.4.1.5962.1.2.1.20040119072730.12322",
    b"1.3.6.1.4.1.5962.1.3.1.1.20040119072730.12322",
    b"1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322",
)
NEWEST = """
SELECT SOPInstanceUID AS uid, StorageClass AS class FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID ORDER BY LastUpdated DESC) AS n
  FROM `demo.dicom.{}`
) WHERE n = 1 AND Type <> 'DELETE'
"""


@pytest.fixture
def store() -> Iterator[DicomStore]:
    with Emulator() as emulator:
        store = DicomStore(emulator)
        with Client(emulator.url) as client:
            create_store(client, store.name)
        emulator.bigquery.catalog.create_dataset("demo", "dicom")
        yield store


def stream(store: DicomStore, **tables: dict[str, Any]) -> requests.Response:
    configs = [{"bigqueryDestination": {"tableUri": f"bq://demo.dicom.{table}", **more}} for table, more in tables.items()]
    return requests.patch(
        f"{store.emulator.url}/v1/{store.name}?updateMask=streamConfigs", json={"streamConfigs": configs}, timeout=60
    )


def instance(number: int) -> bytes:
    """An instance of one of four studies, whose UIDs are as long as the original's."""
    parts = {STUDY: number % 4, SERIES: number % 8, UID: number}
    data = CT
    for uid, part in parts.items():
        data = data.replace(uid, f"{uid[:-10].decode()}.{part + 10**8}".encode())
    return data


def path(number: int) -> str:
    names = (
        f"{kind}/{uid[:-10].decode()}.{part + 10**8}"
        for kind, uid, part in (("studies", STUDY, number % 4), ("series", SERIES, number % 8), ("instances", UID, number))
    )
    return "/".join(names)


def ask(store: DicomStore, verb: str, below: str, **arguments: Any) -> dict[str, Any]:
    answer = requests.request(verb, f"{store.emulator.url}/v1/{store.name}{below}", timeout=60, **arguments)
    answer.raise_for_status()
    found = answer.json() if answer.content else {}
    while "/operations/" in found.get("name", "") and not found.get("done"):
        found = requests.get(f"{store.emulator.url}/v1/{found['name']}", timeout=60).json()
    return found


def add(store: DicomStore, number: int) -> None:
    kind = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
    ask(store, "POST", "/dicomWeb/studies", data=instance(number), headers=kind)


def change_class(store: DicomStore, number: int, storage_class: str) -> None:
    body = {"blobStorageSettings": {"blobStorageClass": storage_class}}
    ask(store, "POST", f"/dicomWeb/{path(number)}:setBlobStorageSettings", json=body)


def rows(store: DicomStore, sql: str) -> list[dict[str, Any]]:
    """Run a query once everything is appended."""
    deadline = time.monotonic() + 120
    while store.emulator.status()["rowsToStream"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    options = {"api_endpoint": store.emulator.url}
    with bigquery.Client("demo", credentials=AnonymousCredentials(), client_options=options) as client:
        return [dict(row) for row in client.query(sql).result()]


def test_a_row_for_each_change(store):
    assert stream(store, json={"schemaJson": {}, "includeSourceStore": True}).ok
    add(store, 1)
    change_class(store, 1, "ARCHIVE")
    ask(store, "DELETE", f"/dicomWeb/{path(1)}")
    found = rows(store, "SELECT * FROM dicom.json ORDER BY LastUpdated")
    assert [(row["Type"], row["StorageClass"]) for row in found] == [
        ("INSERT", "STANDARD"),
        ("UPDATE", "ARCHIVE"),
        ("DELETE", "ARCHIVE"),
    ]
    assert {row["SourceDicomStore"] for row in found} == {store.name}
    assert {row["BlobStorageSize"] for row in found} == {len(CT)}
    assert all(row["Metadata"]["00080060"] == {"vr": "CS", "Value": ["CT"]} for row in found)


def test_imports_are_streamed_and_columns_are_added(store):
    assert stream(store, flat={}).ok
    store.emulator.storage.objects.create_bucket(store.bucket, "demo")
    store.upload(*(str(get_testdata_file(name)) for name in ("CT_small.dcm", "rtplan.dcm")))
    ask(store, "POST", ":import", json={"gcsSource": {"uri": f"gs://{store.bucket}/CT*"}})
    ask(store, "POST", ":import", json={"gcsSource": {"uri": f"gs://{store.bucket}/*"}})
    found = rows(store, "SELECT Modality, RTPlanLabel, Type FROM dicom.flat ORDER BY Modality")
    assert found == [
        {"Modality": "CT", "RTPlanLabel": None, "Type": "INSERT"},
        {"Modality": "RTPLAN", "RTPlanLabel": "Plan1", "Type": "INSERT"},
    ]


def test_only_what_changes_after_the_configuration_is_streamed(store):
    add(store, 1)
    assert stream(store, flat={}).ok
    add(store, 2)
    assert stream(store).ok
    add(store, 3)
    assert len(rows(store, "SELECT SOPInstanceUID FROM dicom.flat")) == 1


def test_what_cannot_be_streamed_is_in_the_log(store, caplog):
    assert stream(store, flat={}).ok
    store.emulator.bigquery.catalog.delete_dataset("demo", "dicom", delete_contents=True)
    add(store, 1)
    assert rows(store, "SELECT 1 AS one") == [{"one": 1}]
    assert "nothing is streamed to bq://demo.dicom.flat" in caplog.text
    assert len(store.instances()) == 1


def test_configurations_that_make_no_sense(store):
    assert stream(store, **{f"t{number}": {} for number in range(6)}).status_code == 400
    assert stream(store, t={"schemaJson": {}, "schemaFlattened": {}}).status_code == 400
    twice = {"streamConfigs": [{"bigqueryDestination": {"tableUri": "bq://demo.dicom.t"}}] * 2}
    answer = requests.patch(f"{store.emulator.url}/v1/{store.name}?updateMask=streamConfigs", json=twice, timeout=60)
    assert answer.status_code == 400


def test_what_was_kept_is_appended_after_a_restart(tmp_path):
    with Emulator(tmp_path) as emulator:
        store = DicomStore(emulator)
        with Client(emulator.url) as client:
            create_store(client, store.name)
        emulator.bigquery.catalog.create_dataset("demo", "dicom")
        assert stream(store, flat={}).ok
        emulator.healthcare._streaming.close()
        add(store, 1)
        assert emulator.status()["rowsToStream"] == 1
    with Emulator(tmp_path) as emulator:
        assert len(rows(DicomStore(emulator), "SELECT SOPInstanceUID FROM dicom.flat")) == 1


@pytest.mark.slow
def test_the_newest_rows_are_what_a_full_export_has(store):
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    assert stream(store, json={"schemaJson": {}}, flat={}).ok
    there: dict[int, str] = {}
    for _ in range(CHANGES):
        number = rng.choice([*there, rng.randrange(1000)])
        if number not in there:
            add(store, number)
            there[number] = "STANDARD"
        elif rng.random() < 0.4:
            ask(store, "DELETE", f"/dicomWeb/{path(number)}")
            del there[number]
        else:
            there[number] = rng.choice(["NEARLINE", "ARCHIVE"])
            change_class(store, number, there[number])
    destination = {"tableUri": "bq://demo.dicom.full", "writeDisposition": "WRITE_TRUNCATE", "schemaJson": {}}
    ask(store, "POST", ":export", json={"bigqueryDestination": destination})
    key = lambda row: (row["uid"], row["class"])  # noqa: E731
    full = sorted(map(key, rows(store, "SELECT SOPInstanceUID AS uid, StorageClass AS class FROM dicom.full")))
    assert len(full) == len(there), seed
    for table in ("json", "flat"):
        assert sorted(map(key, rows(store, NEWEST.format(table)))) == full, seed
