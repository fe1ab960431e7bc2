"""Stores and datasets: made, changed, found, listed, deleted, and never more than was asked for."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException
from gcp_dicom_emulator.pytest_plugin import DicomStore
from gcp_dicom_emulator.rest.faults import Fault

from airflow_dicom import polling
from airflow_dicom.exceptions import DicomArgumentError, HealthcareApiError
from airflow_dicom.operators import (
    DicomCreateDatasetOperator,
    DicomCreateStoreOperator,
    DicomDeleteDatasetOperator,
    DicomDeleteStoreOperator,
    DicomGetDatasetOperator,
    DicomGetStoreOperator,
    DicomListDatasetsOperator,
    DicomListStoresOperator,
    DicomUpdateDatasetOperator,
    DicomUpdateStoreOperator,
)

from .conftest import Runner, TaskInstance, TaskStateStore

DATASET = "projects/demo/locations/us-central1/datasets/scratch"
STORE = f"{DATASET}/dicomStores/work"


@pytest.fixture
def dataset(dicom_store: DicomStore, runner) -> str:
    runner.run(DicomCreateDatasetOperator(task_id="t", dataset=DATASET, body={"timeZone": "Europe/Berlin"}))
    return DATASET


def test_dataset(dicom_store, runner):
    parts = {"project_id": "demo", "location": "us-central1"}
    made = runner.run(DicomCreateDatasetOperator(task_id="t", dataset_id="scratch", **parts))
    assert made["name"] == DATASET
    changed = runner.run(DicomUpdateDatasetOperator(task_id="t", dataset=DATASET, body={"timeZone": "Europe/Berlin"}))
    assert changed["timeZone"] == "Europe/Berlin"
    assert runner.run(DicomGetDatasetOperator(task_id="t", dataset=DATASET))["timeZone"] == "Europe/Berlin"
    assert DATASET in runner.run(DicomListDatasetsOperator(task_id="t", **parts))
    runner.run(DicomDeleteDatasetOperator(task_id="t", dataset=DATASET))
    assert DATASET not in runner.run(DicomListDatasetsOperator(task_id="t", **parts))


def test_store(dataset, runner):
    body = {"labels": {"for": "tests"}}
    assert runner.run(DicomCreateStoreOperator(task_id="t", dicom_store=STORE, body=body))["labels"] == body["labels"]
    assert "work" in runner.ti.xcoms["dicom_store_link"]
    runner.run(DicomUpdateStoreOperator(task_id="t", dicom_store=STORE, body={"labels": {"for": "work"}}))
    assert runner.run(DicomGetStoreOperator(task_id="t", dicom_store=STORE))["labels"] == {"for": "work"}
    assert runner.run(DicomListStoresOperator(task_id="t", dataset=DATASET)) == [STORE]
    assert runner.run(DicomListStoresOperator(task_id="t", dataset=DATASET, label_filter="labels.for=tests")) == []
    runner.run(DicomDeleteStoreOperator(task_id="t", dicom_store=STORE))
    assert runner.run(DicomListStoresOperator(task_id="t", dataset=DATASET)) == []


def test_what_exists(dataset, runner, caplog):
    runner.run(DicomCreateStoreOperator(task_id="t", dicom_store=STORE, body={"labels": {"a": "1"}}))
    with pytest.raises(HealthcareApiError, match="409"):
        runner.run(DicomCreateStoreOperator(task_id="t", dicom_store=STORE))
    with pytest.raises(AirflowSkipException):
        runner.run(DicomCreateStoreOperator(task_id="t", dicom_store=STORE, if_exists="skip"))
    found = runner.run(DicomCreateStoreOperator(task_id="t", dicom_store=STORE, if_exists="ignore", body={"labels": {"a": "2"}}))
    assert found["labels"] == {"a": "1"}
    with pytest.raises(HealthcareApiError):
        runner.run(DicomCreateDatasetOperator(task_id="t", dataset=DATASET))
    assert runner.run(DicomCreateDatasetOperator(task_id="t", dataset=DATASET, if_exists="ignore"))["name"] == DATASET


def test_a_lost_answer(dataset, dicom_store, runner):
    """Only a task that takes what is there sends its request again: another would take its own store for somebody else's."""
    dicom_store.emulator.faults.add(Fault("lose_answer", method="*dicomStores.create", times=None))
    with pytest.raises(HealthcareApiError, match="got no answer"):
        runner.run(DicomCreateStoreOperator(task_id="t", dicom_store=STORE))
    dicom_store.emulator.faults.clear()
    assert runner.run(DicomCreateStoreOperator(task_id="t", dicom_store=STORE, if_exists="ignore"))["name"] == STORE


@pytest.mark.parametrize("if_missing", ["fail", "skip", "ignore"])
def test_a_deletion_whose_answer_was_lost_has_deleted(dataset, dicom_store, runner, if_missing):
    runner.run(DicomCreateStoreOperator(task_id="t", dicom_store=STORE, if_exists="ignore"))
    fault = dicom_store.emulator.faults.add(Fault("lose_answer", method="*dicomStores.delete"))
    runner.run(DicomDeleteStoreOperator(task_id="t", dicom_store=STORE, delete_contents=True, if_missing=if_missing))
    assert fault.fired == 1
    dicom_store.emulator.faults.add(Fault("lose_answer", method="*getDICOMStoreMetrics"))
    with pytest.raises(HealthcareApiError, match="404"):
        runner.run(DicomDeleteStoreOperator(task_id="t", dicom_store=STORE))


def test_what_is_missing(dataset, runner):
    with pytest.raises(HealthcareApiError, match="404"):
        runner.run(DicomDeleteStoreOperator(task_id="t", dicom_store=STORE))
    with pytest.raises(AirflowSkipException):
        runner.run(DicomDeleteStoreOperator(task_id="t", dicom_store=STORE, if_missing="skip"))
    runner.run(DicomDeleteStoreOperator(task_id="t", dicom_store=STORE, if_missing="ignore"))
    gone = DATASET.replace("scratch", "gone")
    runner.run(DicomDeleteDatasetOperator(task_id="t", dataset=gone, if_missing="ignore"))


def test_what_is_not_empty_stays(seeded_dicom_store, runner):
    name, dataset = seeded_dicom_store.name, seeded_dicom_store.name.rpartition("/dicomStores/")[0]
    with pytest.raises(DicomArgumentError, match="it holds 3 instances"):
        runner.run(DicomDeleteStoreOperator(task_id="t", dicom_store=name))
    with pytest.raises(DicomArgumentError, match=r"it holds radiology/dicomStores/images"):
        runner.run(DicomDeleteDatasetOperator(task_id="t", dataset=dataset, delete_contents="False"))
    assert len(seeded_dicom_store.instances()) == 3
    runner.run(DicomDeleteStoreOperator(task_id="t", dicom_store=name, delete_contents=True))
    runner.run(DicomDeleteDatasetOperator(task_id="t", dataset=dataset, delete_contents="True"))
    with pytest.raises(HealthcareApiError, match="404"):
        runner.run(DicomGetDatasetOperator(task_id="t", dataset=dataset))


def test_fields_are_emptied_only_on_purpose(dicom_store, runner):
    runner.run(DicomCreateDatasetOperator(task_id="t", dataset=DATASET, if_exists="ignore"))
    runner.run(DicomCreateStoreOperator(task_id="t", dicom_store=STORE, body={"labels": {"a": "b"}}))
    with pytest.raises(DicomArgumentError, match=r"body\.labels is None"):
        runner.run(DicomUpdateStoreOperator(task_id="t", dicom_store=STORE, body={"labels": None}))
    assert runner.run(DicomGetStoreOperator(task_id="t", dicom_store=STORE))["labels"] == {"a": "b"}
    for emptied in ({"body": {"labels": {}}}, {"body": {}, "update_mask": "labels"}):
        runner.run(DicomUpdateStoreOperator(task_id="t", dicom_store=STORE, body={"labels": {"a": "b"}}))
        assert not runner.run(DicomUpdateStoreOperator(task_id="t", dicom_store=STORE, **emptied)).get("labels")


def test_bad_arguments(dicom_store, runner):
    with pytest.raises(DicomArgumentError, match="if_exists"):
        DicomCreateStoreOperator(task_id="t", dicom_store=STORE, if_exists="maybe")
    with pytest.raises(DicomArgumentError, match="if_missing"):
        DicomDeleteStoreOperator(task_id="t", dicom_store=STORE, if_missing="maybe")
    with pytest.raises(DicomArgumentError, match="must name the fields to change"):
        runner.run(DicomUpdateStoreOperator(task_id="t", dicom_store=STORE, body={}))
    with pytest.raises(DicomArgumentError, match="dataset names the whole dataset"):
        runner.run(DicomGetDatasetOperator(task_id="t", dataset=DATASET, location="x"))
    lost = DicomListStoresOperator(task_id="t", dataset=DATASET, label_filter="{{ x }}")
    lost.label_filter = ""
    with pytest.raises(DicomArgumentError, match="label_filter was given"):
        runner.run(lost)


@pytest.mark.parametrize("code", [403, 404])
def test_one_refused_poll_does_not_end_the_wait_for_a_dataset(dicom_store, runner, code):
    """Right after the start, a replica may not know the operation yet."""
    fault = dicom_store.emulator.faults.add(Fault("status", method="*operations.get", code=code, times=2))
    assert runner.run(DicomCreateDatasetOperator(task_id="t", dataset=DATASET))["name"] == DATASET
    assert fault.fired == 2
    dicom_store.emulator.faults.add(Fault("status", method="*operations.get", code=code, times=None))
    with pytest.raises(HealthcareApiError, match=str(code)):
        runner.run(DicomCreateDatasetOperator(task_id="t", dataset=f"{DATASET}2"))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch) -> None:
    monkeypatch.setattr(polling, "backoff", lambda *_: 0.01)


def lose_answers(dicom_store: DicomStore, method: str, runner: Runner, task: Any) -> None:
    """Run a task of which the service does the work, and no answer comes; go on to its retry."""
    dicom_store.emulator.faults.add(Fault("lose_answer", method=method, times=None))
    with pytest.raises(HealthcareApiError, match="got no answer"):
        runner.run(task)
    dicom_store.emulator.faults.clear()
    runner.retry()


def try_again(state: TaskStateStore | None) -> Runner:
    return Runner(ti=TaskInstance(max_tries=3), state=state)


@pytest.mark.parametrize("if_exists", ["fail", "skip"])
@pytest.mark.parametrize("has_state", [True, False], ids=["store", "no store"])
def test_what_an_earlier_try_has_made_is_not_taken_for_somebody_elses(dataset, dicom_store, has_state, if_exists):
    """A task that is skipped takes those after it along: nothing would use the store that was made for them."""
    runner = try_again(TaskStateStore() if has_state else None)
    task = DicomCreateStoreOperator(task_id="t", dicom_store=STORE, if_exists=if_exists, retries=3)
    lose_answers(dicom_store, "*dicomStores.create", runner, task)
    for _ in range(2):
        with pytest.raises(HealthcareApiError, match=r"409(?s:.*)An earlier try of this task may have made it"):
            runner.run(task)
        runner.retry()
    runner.clear(retries=3)
    with pytest.raises(AirflowSkipException if if_exists == "skip" else HealthcareApiError) as raised:
        runner.run(task)
    assert "An earlier try" not in str(raised.value)


@pytest.mark.parametrize("if_exists", ["fail", "skip"])
def test_what_somebody_else_has_made_stays_that_in_a_retry(dataset, if_exists):
    runner = try_again(TaskStateStore())
    Runner().run(DicomCreateStoreOperator(task_id="other", dicom_store=STORE))
    for _ in range(2):
        with pytest.raises((AirflowSkipException, HealthcareApiError)) as raised:
            runner.run(DicomCreateStoreOperator(task_id="t", dicom_store=STORE, if_exists=if_exists, retries=3))
        assert "An earlier try" not in str(raised.value)
        runner.retry()


@pytest.mark.parametrize("if_missing", ["fail", "skip", "ignore"])
@pytest.mark.parametrize("delete_contents", [True, False])
def test_a_retry_finds_gone_what_an_earlier_try_has_deleted(dataset, dicom_store, if_missing, delete_contents):
    Runner().run(DicomCreateStoreOperator(task_id="other", dicom_store=STORE))
    task = DicomDeleteStoreOperator(
        task_id="t", dicom_store=STORE, delete_contents=delete_contents, if_missing=if_missing, retries=3
    )
    runner = try_again(TaskStateStore())
    lose_answers(dicom_store, "*dicomStores.delete", runner, task)
    runner.run(task)
    runner.clear(retries=3)
    if if_missing != "ignore":
        with pytest.raises((AirflowSkipException, HealthcareApiError)):
            runner.run(task)


def test_a_retry_of_what_was_missing_finds_it_missing_still(dataset):
    runner, task = (
        try_again(TaskStateStore()),
        DicomDeleteStoreOperator(task_id="t", dicom_store=STORE, delete_contents=True, retries=3),
    )
    for _ in range(2):
        with pytest.raises(HealthcareApiError, match="404"):
            runner.run(task)
        runner.retry()


@pytest.mark.parametrize("if_missing", ["fail", "skip"])
def test_before_airflow_3_3_a_retry_says_that_it_cannot_know(dataset, dicom_store, if_missing):
    Runner().run(DicomCreateStoreOperator(task_id="other", dicom_store=STORE))
    runner, task = try_again(None), DicomDeleteStoreOperator(task_id="t", dicom_store=STORE, if_missing=if_missing, retries=3)
    lose_answers(dicom_store, "*dicomStores.delete", runner, task)
    with pytest.raises(HealthcareApiError, match=r"404(?s:.*)An earlier try of this task may have deleted it"):
        runner.run(task)


def test_a_store_whose_numbers_are_late_is_not_empty(seeded_dicom_store, runner, monkeypatch):
    """Google does not say how soon its metrics follow; what is deleted is gone."""
    monkeypatch.setattr("airflow_dicom.hooks.healthcare.HealthcareHook.get_dicom_store_metrics", lambda *_: {})
    task = DicomDeleteStoreOperator(task_id="t", dicom_store=seeded_dicom_store.name)
    with pytest.raises(DicomArgumentError, match="is not deleted: it holds instances"):
        runner.run(task)
    assert len(seeded_dicom_store.instances()) == 3
    seeded_dicom_store.emulator.faults.add(Fault("status", method="*searchForInstances", code=403))
    with pytest.raises(HealthcareApiError, match="403"):
        runner.run(task)
    assert len(seeded_dicom_store.instances()) == 3
