"""What is tried again, and when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from gcp_dicom_emulator.rest.faults import Fault

from airflow_dicom.exceptions import DicomNotApproved, DicomRepeatRefused
from airflow_dicom.operators import DicomExportOperator, DicomImportOperator, FilterFileFromBigQueryOperator

retry_policy = pytest.importorskip("airflow_dicom.retry_policy", reason="Airflow 3.3", exc_type=ImportError)

FAIL, RETRY, DEFAULT = "fail", "retry", "default"


def decision(exception: BaseException) -> tuple[str, timedelta | None]:
    found = retry_policy.DicomRetryPolicy().evaluate(exception, 1, 3)
    return found.action.value, found.retry_delay


def failure(runner, task: Any) -> BaseException:
    with pytest.raises(Exception) as raised:  # noqa: PT011
        runner.run(task)
    return raised.value


def exporting(store, **changes: Any) -> DicomExportOperator:
    arguments = {**store.arguments, "gcs_uri_prefix": "gs://clinic/out", "poll_interval": 0.02, "deferrable": False} | changes
    return DicomExportOperator(task_id="t", **arguments)


@pytest.mark.parametrize(
    ("code", "wanted"),
    [(8, (RETRY, timedelta(minutes=30))), (3, (FAIL, None)), (7, (FAIL, None)), (13, (DEFAULT, None)), (14, (DEFAULT, None))],
)
def test_an_operation_that_ended_in_an_error(seeded_dicom_store, runner, code, wanted):
    seeded_dicom_store.emulator.faults.add(Fault("end_in_error", code=code))
    assert decision(failure(runner, exporting(seeded_dicom_store))) == wanted


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (429, (RETRY, timedelta(minutes=30))),
        (400, (FAIL, None)),
        (404, (FAIL, None)),
        (403, (DEFAULT, None)),
        (503, (DEFAULT, None)),
    ],
)
def test_a_request_that_was_refused(seeded_dicom_store, runner, monkeypatch, status, wanted):
    monkeypatch.setattr("airflow_dicom.hooks.healthcare.HealthcareHook.num_retries", 0)
    seeded_dicom_store.emulator.faults.add(Fault("status", "*.dicomStores.export", code=status))
    assert decision(failure(runner, exporting(seeded_dicom_store))) == wanted


def test_an_operation_that_vanished(seeded_dicom_store, runner, deferrable):
    seeded_dicom_store.emulator.faults.add(Fault("vanish", "*.dicomStores.export"))
    assert decision(failure(runner, exporting(seeded_dicom_store, deferrable=deferrable))) == (FAIL, None)


def test_a_missing_dataset_an_argument_and_a_query_end_the_same_again(seeded_dicom_store, runner):
    assert decision(failure(runner, exporting(seeded_dicom_store, gcs_uri_prefix="gs://missing/x"))) == (FAIL, None)  # code 5
    assert decision(failure(runner, exporting(seeded_dicom_store, bigquery_table="demo.d.t"))) == (FAIL, None)
    query = {"project_id": "demo", "sql": "SELECT x FROM nowhere.t", "filter_uri": "gs://clinic/f.txt"}
    assert decision(failure(runner, FilterFileFromBigQueryOperator(task_id="f", **query))) == (FAIL, None)


def test_what_a_person_must_decide_is_left_to_that_person():
    assert decision(DicomNotApproved("no")) == decision(DicomRepeatRefused("no")) == (FAIL, None)


def test_what_may_succeed_is_tried_again(seeded_dicom_store, runner):
    seeded_dicom_store.emulator.storage.objects.put_bytes("clinic", "bad/note.txt", b"text")
    arguments = {**seeded_dicom_store.arguments, "poll_interval": 0.02, "deferrable": False}
    partial = failure(runner, DicomImportOperator(task_id="t", gcs_uri="gs://clinic/bad/*", **arguments))
    assert decision(partial) == decision(ValueError("of something else")) == (DEFAULT, None)
