"""De-identification: what arrives, and that nothing arrives twice."""

from __future__ import annotations

import io
import json
import re

import pydicom
import pytest
from gcp_dicom_emulator.client import Client
from gcp_dicom_emulator.pytest_plugin import DicomStore
from gcp_dicom_emulator.rest.faults import Fault

from airflow_dicom.exceptions import DicomArgumentError, DicomRepeatRefused
from airflow_dicom.operators import DicomDeidentifyOperator

from .conftest import Runner, TaskInstance

BASIC = "ATTRIBUTE_CONFIDENTIALITY_BASIC_PROFILE"


@pytest.fixture
def research(seeded_dicom_store: DicomStore) -> str:
    """An empty store beside the seeded one."""
    name = seeded_dicom_store.name.replace("images", "research")
    with Client(seeded_dicom_store.emulator.url) as client:
        client.create(f"/v1/{name.rpartition('/dicomStores/')[0]}/dicomStores?dicomStoreId=research", {})
    return name


def task(store: DicomStore, **changes) -> DicomDeidentifyOperator:
    arguments = {"destination_store": store.name.replace("images", "research"), "config": BASIC, "poll_interval": 0.02}
    return DicomDeidentifyOperator(task_id="t", **store.arguments, **(arguments | changes))


def held(store: DicomStore, name: str) -> list[pydicom.Dataset]:
    found = store.emulator.healthcare.instances.pages(name, None, 1000)
    return [pydicom.dcmread(io.BytesIO(one.path.read_bytes())) for page in found for one in page]


def test_nothing_that_identifies_is_left(seeded_dicom_store, research, runner, deferrable):
    result = runner.run(task(seeded_dicom_store, deferrable=deferrable))
    assert re.search(r"/operations/\d+$", result.pop("operation"))
    assert result.pop("logs_url")
    assert result == {"done": True, "success": 3, "failure": 0, "destination_store": research}
    before = {str(one.PatientName) for one in held(seeded_dicom_store, seeded_dicom_store.name)}
    for one in held(seeded_dicom_store, research):
        assert str(one.PatientName) not in before
        assert one.PatientIdentityRemoved == "YES"
        assert one.SOPInstanceUID not in seeded_dicom_store.instances()
    assert {"dicom_store_link", "dicom_destination_link", "dicom_operation_link"} <= runner.ti.xcoms.keys()
    assert "research" in runner.ti.xcoms["dicom_destination_link"]


def test_only_what_the_filter_names(seeded_dicom_store, research, runner, deferrable):
    study = held(seeded_dicom_store, seeded_dicom_store.name)[0].StudyInstanceUID
    seeded_dicom_store.emulator.storage.objects.put_bytes("clinic", "filter.txt", f"/studies/{study}\n".encode())
    result = runner.run(task(seeded_dicom_store, filter_uri="gs://clinic/filter.txt", deferrable=deferrable))
    assert result["success"] == 1
    assert runner.ti.xcoms["dicom_filter_link"]


@pytest.mark.parametrize("empty", ["", None])
def test_a_filter_that_is_lost_is_not_everything(seeded_dicom_store, research, runner, empty):
    lost = task(seeded_dicom_store, filter_uri="{{ params.filter }}", deferrable=False)
    lost.filter_uri = empty
    with pytest.raises(DicomArgumentError, match="filter_uri was given"):
        runner.run(lost)
    assert held(seeded_dicom_store, research) == []


def test_a_config_in_a_bucket(seeded_dicom_store, research, runner):
    config = {"dicom": {"removeList": {"tags": ["PatientName"]}}}
    seeded_dicom_store.emulator.storage.objects.put_bytes("clinic", "config.json", json.dumps(config).encode())
    runner.run(task(seeded_dicom_store, config="gs://clinic/config.json", deferrable=False))
    names = [str(one.get("PatientName", "")) for one in held(seeded_dicom_store, research)]
    assert names == ["", "", ""]


def test_a_lost_answer_is_not_asked_for_again(seeded_dicom_store, research, runner):
    """A second request would copy all instances once more, under new UIDs."""
    seeded_dicom_store.emulator.faults.add(Fault("lose_answer", method="*deidentify"))
    with pytest.raises(Exception, match="got no answer"):
        runner.run(task(seeded_dicom_store, deferrable=False))
    runner.retry()
    with pytest.raises(DicomRepeatRefused, match=r"dicomstore://demo/us-central1/radiology/research"):
        runner.run(task(seeded_dicom_store, deferrable=False))
    with Client(seeded_dicom_store.emulator.url) as client:
        dataset = research.rpartition("/dicomStores/")[0]
        while not all(one.get("done") for one in client.call("GET", f"/v1/{dataset}/operations")["operations"]):
            pass
    assert len(held(seeded_dicom_store, research)) == 3


def test_a_retry_takes_up_what_was_done(seeded_dicom_store, research):
    runner = Runner(TaskInstance(max_tries=1))
    first = runner.run(task(seeded_dicom_store, deferrable=False))
    runner.retry()
    assert runner.run(task(seeded_dicom_store, deferrable=False))["operation"] == first["operation"]
    assert len(held(seeded_dicom_store, research)) == 3


def test_literals_are_refused_when_the_file_is_parsed(seeded_dicom_store):
    for wrong in ({"config": "basic"}, {"destination_store": "research"}, {"filter_uri": "gs://clinic"}):
        with pytest.raises(DicomArgumentError, match=next(iter(wrong))):
            task(seeded_dicom_store, **wrong)


def test_fields_of_another_version_of_the_api(seeded_dicom_store, research, runner):
    tags = {"dicomTagConfig": {"profileType": BASIC}}
    with pytest.raises(DicomArgumentError, match="which only v1beta1 knows"):
        Runner().run(task(seeded_dicom_store, config=tags, deferrable=False))
    assert runner.run(task(seeded_dicom_store, config=tags, api_version="v1beta1", deferrable=False))["success"] == 3


def test_the_destination_is_not_the_source(seeded_dicom_store, runner):
    """Patients' instances, and copies that look like other patients', would lie side by side."""
    with pytest.raises(DicomArgumentError, match="destination_store is the source itself"):
        runner.run(task(seeded_dicom_store, destination_store=seeded_dicom_store.name, deferrable=False))
    assert len(seeded_dicom_store.instances()) == 3
