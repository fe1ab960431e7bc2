"""Storage classes, as the store tells them afterwards."""

from __future__ import annotations

import pytest
from gcp_dicom_emulator.client import Client
from gcp_dicom_emulator.pytest_plugin import DicomStore

from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.operators import DicomSetBlobStorageSettingsOperator


def task(store: DicomStore, **changes) -> DicomSetBlobStorageSettingsOperator:
    arguments = {"blob_storage_class": "COLDLINE", "poll_interval": 0.02} | changes
    return DicomSetBlobStorageSettingsOperator(task_id="t", **store.arguments, **arguments)


def paths(store: DicomStore) -> list[str]:
    pages = store.emulator.healthcare.instances.pages(store.name, None, 1000)
    return [f"/studies/{one.study}/series/{one.series}/instances/{one.instance}" for page in pages for one in page]


def classes(store: DicomStore) -> list[str]:
    with Client(store.emulator.url) as client:
        infos = [client.call("GET", f"/v1/{store.name}/dicomWeb{path}:getStorageInfo") for path in paths(store)]
    return [info["blobStorageInfo"]["storageClass"] for info in infos]


def test_all(seeded_dicom_store, runner, deferrable):
    result = runner.run(task(seeded_dicom_store, deferrable=deferrable))
    assert (result["success"], result["blob_storage_class"]) == (3, "COLDLINE")
    assert classes(seeded_dicom_store) == ["COLDLINE"] * 3


@pytest.mark.parametrize("level", [2, 4, 6], ids=["study", "series", "instance"])
def test_one_thing(seeded_dicom_store, runner, deferrable, level):
    path = "/".join(paths(seeded_dicom_store)[0].split("/")[: level + 1])
    assert runner.run(task(seeded_dicom_store, dicom_web_path=path, deferrable=deferrable))["success"] == 1
    assert classes(seeded_dicom_store) == ["COLDLINE", "STANDARD", "STANDARD"]


def test_filter(seeded_dicom_store, runner, deferrable):
    lines = "".join(f"{path}\n" for path in paths(seeded_dicom_store)[1:])
    seeded_dicom_store.emulator.storage.objects.put_bytes("clinic", "filter.txt", lines.encode())
    arguments = {"filter_uri": "gs://clinic/filter.txt", "expected_instances": "2", "blob_storage_class": "ARCHIVE"}
    assert runner.run(task(seeded_dicom_store, deferrable=deferrable, **arguments))["success"] == 2
    assert classes(seeded_dicom_store) == ["STANDARD", "ARCHIVE", "ARCHIVE"]


def test_bad_arguments(seeded_dicom_store, runner):
    for wrong in ({"blob_storage_class": "COLD"}, {"dicom_web_path": "studies/1"}):
        with pytest.raises(DicomArgumentError, match=next(iter(wrong))):
            task(seeded_dicom_store, **wrong)
    with pytest.raises(DicomArgumentError, match="not both"):
        runner.run(task(seeded_dicom_store, dicom_web_path="/studies/1", filter_uri="gs://clinic/f", deferrable=False))
    lost = task(seeded_dicom_store, dicom_web_path="{{ x }}", deferrable=False)
    lost.dicom_web_path = ""
    with pytest.raises(DicomArgumentError, match="dicom_web_path was given"):
        runner.run(lost)
    assert classes(seeded_dicom_store) == ["STANDARD"] * 3
