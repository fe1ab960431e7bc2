"""Examples of the whole life of a store, run on a temporary Airflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gcp_dicom_emulator.client import Client

from tests.scripts import load

pytestmark = pytest.mark.slow

DAGS = Path(__file__).parents[2] / "dags"


def dag_of(name: str) -> Any:
    return load(DAGS / f"{name}.py").dag


def old_and_new(store) -> dict[str, str]:
    """Return the instances' classes by their study's date."""
    with Client(store.emulator.url) as client:
        found = {}
        for page in store.emulator.healthcare.instances.pages(store.name, None, 100):
            for one in page:
                path = f"/v1/{store.name}/dicomWeb/studies/{one.study}/series/{one.series}/instances/{one.instance}"
                found[one.study] = client.call("GET", f"{path}:getStorageInfo")["blobStorageInfo"]["storageClass"]
        return found


def test_archive_lifecycle(seeded_dicom_store, run_dag):
    run = run_dag(dag_of("dicom_archive_lifecycle"), {"filters": "gs://clinic/filters"})
    assert run.state == "success"
    assert set(old_and_new(seeded_dicom_store).values()) == {"COLDLINE"}


def test_retention(seeded_dicom_store, run_dag):
    conf = {"filters": "gs://clinic/filters", "gcs_uri_prefix": "gs://clinic/kept"}
    before = {Path(name).stem for name in seeded_dicom_store.instances()}
    run = run_dag(dag_of("dicom_retention"), conf)
    assert run.state == "success"
    assert list(seeded_dicom_store.instances()) == []
    assert run.results["delete"]["success"] == len(before)
    assert len(seeded_dicom_store.objects("kept/")) == len(before)


def test_retention_of_what_is_young(seeded_dicom_store, run_dag):
    run = run_dag(dag_of("dicom_retention"), {"filters": "gs://clinic/filters", "days": 36500})
    assert run.states["delete"] == "skipped"
    assert len(seeded_dicom_store.instances()) == 3


def test_scratch_store(seeded_dicom_store, run_dag):
    seeded_dicom_store.emulator.storage.objects.put_bytes("clinic", "in/note.txt", b"text")
    run = run_dag(dag_of("dicom_scratch_store"), {"gcs_uri": "gs://clinic/in/*"})
    assert (run.states["fill"], run.states["delete"]) == ("failed", "success")
    with Client(seeded_dicom_store.emulator.url) as client:
        dataset = seeded_dicom_store.name.rpartition("/dicomStores/")[0]
        stores = client.call("GET", f"/v1/{dataset}/dicomStores")["dicomStores"]
    assert [store["name"] for store in stores] == [seeded_dicom_store.name]
