"""DICOMweb: the hook, and the operators on it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pydicom
import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException
from gcp_dicom_emulator.rest.faults import Fault
from pydicom.data import get_testdata_file

from airflow_dicom.exceptions import DicomArgumentError, DicomEmptyResult, DicomPartialFailure, HealthcareApiError
from airflow_dicom.hooks.dicomweb import DicomWebHook
from airflow_dicom.operators import DicomExportOperator, DicomSearchOperator, DicomStoreInstancesOperator

CT = str(get_testdata_file("CT_small.dcm"))
BYTES = Path(CT).read_bytes()


def search(store, **changes) -> DicomSearchOperator:
    return DicomSearchOperator(task_id="t", **store.arguments, **changes)


def path_of(match) -> str:
    study, series, instance = (match[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
    return f"/studies/{study}/series/{series}/instances/{instance}"


def test_the_hook(seeded_dicom_store):
    hook, name = DicomWebHook(), seeded_dicom_store.name
    (match,) = hook.search(name, "/instances", {"Modality": "CT"})
    path = path_of(match)
    assert b"".join(hook.retrieve(name, path)) == BYTES
    assert hook.metadata(name, path)[0]["00080018"] == match["00080018"]
    assert hook.delete(name, path) == {}
    assert list(hook.search(name, "/instances", {"Modality": "CT"})) == []
    stored = hook.store(name, [BYTES])
    assert (list(stored.stored), list(stored.refused)) == ([match["00080018"]["Value"][0]], [])
    again = hook.store(name, [BYTES, b"text"])
    assert (len(again.stored), len(again.refused)) == (0, 2)
    with pytest.raises(HealthcareApiError, match="404"):
        hook.metadata(name.replace("images", "nowhere"), path)
    with pytest.raises(ValueError, match="does not name one instance"):
        list(hook.retrieve(name, path.partition("/instances")[0]))


def test_pages(seeded_dicom_store, monkeypatch):
    monkeypatch.setattr("airflow_dicom.hooks.dicomweb._PAGE", 1)
    assert len(list(DicomWebHook().search(seeded_dicom_store.name, "/studies"))) == 3
    seeded_dicom_store.emulator.faults.add(Fault("status", method="*searchForStudies", code=503))
    assert len(list(DicomWebHook().search(seeded_dicom_store.name, "/studies"))) == 3


def test_a_lost_answer_is_not_stored_again(dicom_store):
    dicom_store.emulator.faults.add(Fault("lose_answer", method="*storeInstances"))
    with pytest.raises(HealthcareApiError, match="got no answer"):
        DicomWebHook().store(dicom_store.name, [BYTES])


def test_search_returns(seeded_dicom_store, runner):
    found = runner.run(search(seeded_dicom_store, level="series", filters={"Modality": "MR"}))
    assert [match["00080060"]["Value"] for match in found] == [["MR"]]
    assert len(runner.run(search(seeded_dicom_store))) == 3


def test_search_writes(seeded_dicom_store, runner):
    uri = "gs://clinic/found.jsonl"
    assert runner.run(search(seeded_dicom_store, level="instances", gcs_uri=uri)) == uri
    lines = [json.loads(line) for line in seeded_dicom_store.objects("found")["found.jsonl"].splitlines()]
    assert len({path_of(line) for line in lines}) == 3


@pytest.mark.parametrize("level", ["studies", "series", "instances"])
def test_search_makes_a_filter(seeded_dicom_store, runner, level):
    uri = "gs://clinic/filter.txt"
    filters = {"ModalitiesInStudy" if level == "studies" else "Modality": "CT"}
    assert runner.run(search(seeded_dicom_store, level=level, filters=filters, filter_uri=uri)) == uri
    assert runner.ti.xcoms["path_count"] == 1
    export = DicomExportOperator(
        task_id="e", **seeded_dicom_store.arguments, filter_uri=uri, gcs_uri_prefix="gs://clinic/out", poll_interval=0.02
    )
    assert runner.run(export)["success"] == 1
    (exported,) = seeded_dicom_store.objects("out/").values()
    assert pydicom.dcmread(io.BytesIO(exported)).Modality == "CT"


def test_search_finds_nothing(seeded_dicom_store, runner):
    nothing = {"filters": {"ModalitiesInStudy": "US"}}
    with pytest.raises(DicomEmptyResult, match="ModalitiesInStudy"):
        runner.run(search(seeded_dicom_store, **nothing))
    with pytest.raises(AirflowSkipException):
        runner.run(search(seeded_dicom_store, on_empty="skip", **nothing))
    assert runner.run(search(seeded_dicom_store, on_empty="succeed", **nothing)) == []


@pytest.mark.parametrize("argument", ["gcs_uri", "filter_uri"])
def test_what_an_earlier_search_has_written_goes_when_nothing_is_found(seeded_dicom_store, runner, argument):
    uri = {argument: "gs://clinic/found.txt"}
    runner.run(search(seeded_dicom_store, level="instances", **uri))
    with pytest.raises(AirflowSkipException):
        runner.run(search(seeded_dicom_store, filters={"ModalitiesInStudy": "US"}, on_empty="skip", **uri))
    assert seeded_dicom_store.objects("found") == {}


@pytest.mark.parametrize("filters", [None, {}, {"Modality": ""}, {"Modality": "CT", "StudyDate": None}])
def test_filters_that_are_lost_do_not_find_everything(seeded_dicom_store, runner, filters):
    lost = search(seeded_dicom_store, filters={"Modality": "{{ x }}"})
    lost.filters = filters
    with pytest.raises(DicomArgumentError, match="filters"):
        runner.run(lost)


def test_too_many_for_an_xcom(seeded_dicom_store, runner, monkeypatch):
    monkeypatch.setattr("airflow_dicom.operators.dicom_web._MOST", 2)
    with pytest.raises(DicomArgumentError, match="more than 2 matches"):
        runner.run(search(seeded_dicom_store))


def test_an_instance_that_is_named_twice_is_stored_once(dicom_store, runner):
    (uri,) = dicom_store.upload(CT)
    task = DicomStoreInstancesOperator(task_id="t", **dicom_store.arguments, gcs_uris=[uri, uri])
    assert runner.run(task) == {"dicom_store": dicom_store.name, "stored": 1, "already_there": 0}


def test_store_instances(dicom_store, runner):
    uris = dicom_store.upload(CT, str(get_testdata_file("MR_small.dcm")))
    task = DicomStoreInstancesOperator(task_id="t", **dicom_store.arguments, gcs_uris=uris)
    assert runner.run(task) == {"dicom_store": dicom_store.name, "stored": 2, "already_there": 0}
    assert runner.run(task) == {"dicom_store": dicom_store.name, "stored": 0, "already_there": 2}
    dicom_store.emulator.storage.objects.put_bytes("clinic", "note.txt", b"text")
    bad = DicomStoreInstancesOperator(task_id="t", **dicom_store.arguments, gcs_uris=[*uris, "gs://clinic/note.txt"])
    with pytest.raises(DicomPartialFailure, match=r"refused 1 of 3 files: gs://clinic/note\.txt"):
        runner.run(bad)
    with pytest.raises(DicomArgumentError, match="gcs_uris"):
        runner.run(DicomStoreInstancesOperator(task_id="t", **dicom_store.arguments, gcs_uris="gs://clinic/*"))
