"""Imports from several places, and which files failed."""

from __future__ import annotations

import json
from collections import UserList
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from gcp_dicom_emulator.rest.faults import Fault
from pydicom.data import get_testdata_file

from airflow_dicom.exceptions import (
    DicomArgumentError,
    DicomOperationCancelled,
    DicomOperationError,
    DicomOperationTimeout,
    DicomPartialFailure,
    DicomUnexpectedCount,
)
from airflow_dicom.hooks.cloud_logging import CloudLoggingHook
from airflow_dicom.hooks.healthcare import HealthcareHook
from airflow_dicom.operators import DicomImportOperator

from .conftest import Runner, TaskInstance

pytestmark = pytest.mark.only_on_newest_airflow  # the lists know nothing of Airflow

FILES = [str(get_testdata_file(name)) for name in ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm")]
FAILED = "gs://clinic/failed/run.jsonl"


@pytest.fixture
def store(dicom_store):
    for number, file in enumerate(FILES):
        dicom_store.upload(file, prefix=f"in{number}/")
    objects = dicom_store.emulator.storage.objects
    objects.put_bytes("clinic", "in0/note.txt", b"text")
    objects.put_bytes("clinic", "in2/empty.dcm", b"")
    return dicom_store


def task(store, **changes) -> DicomImportOperator:
    arguments = {"gcs_uri": [f"gs://clinic/in{number}/**" for number in range(3)], "poll_interval": 0.02}
    return DicomImportOperator(task_id="t", **store.arguments, **(arguments | changes))


def test_a_list_is_one_result(store, runner, deferrable):
    uris = [f"gs://clinic/in{number}/*.dcm" for number in (0, 1)]
    result = runner.run(task(store, gcs_uri=uris, expected_instances=2, deferrable=deferrable))
    assert (result["success"], result["failure"], result["done"]) == (2, 0, True)
    assert len(result["operation"].rpartition("/")[2].split(",")) == 2
    assert len(store.instances()) == 2
    with pytest.raises(DicomUnexpectedCount):
        Runner().run(task(store, gcs_uri=uris, expected_instances=3, deferrable=deferrable))


def test_what_is_named_twice_is_imported_once(store, seen, runner, deferrable):
    uris = ["gs://clinic/in0/*.dcm", "gs://clinic/in1/*.dcm", "gs://clinic/in0/*.dcm"]
    assert runner.run(task(store, gcs_uri=uris, expected_instances=2, deferrable=deferrable))["success"] == 2
    assert seen() == sorted(set(uris))


def test_what_a_mapped_task_has_returned(store, seen, runner, deferrable):
    class OfMappedTask(UserList):
        """As Airflow's lazy sequences: neither a list nor JSON."""

    uris = OfMappedTask(["gs://clinic/in0/*.dcm", "gs://clinic/in1/*.dcm"])
    arguments = {"failed_uris": FAILED, "deferrable": deferrable}
    runner.ti.max_tries = 1
    assert runner.run(task(store, gcs_uri=uris, **arguments))["success"] == 2
    runner.retry()
    runner.run(task(store, gcs_uri=uris, **arguments))
    assert seen()[:2] == list(uris)


def test_a_list_of_one_is_that_one(store, runner):
    alone = Runner().run(task(store, gcs_uri="gs://clinic/in1/**", deferrable=False))
    assert "," not in alone["operation"]
    assert runner.run(task(store, gcs_uri=["gs://clinic/in1/**"], deferrable=False)).keys() == alone.keys()


def test_a_retry_takes_up_all_of_them(store):
    runner = Runner(TaskInstance(max_tries=1))
    first = runner.run(task(store, max_failures=None, deferrable=False))
    runner.retry()
    assert runner.run(task(store, max_failures=None, deferrable=False)) == first


def test_one_of_them_fails(store, runner, deferrable):
    store.emulator.faults.add(Fault("end_in_error", method="*import", code=1))
    with pytest.raises(DicomOperationCancelled):
        runner.run(task(store, max_failures=None, deferrable=deferrable))
    assert len(store.instances()) == 3, "the others were waited for"


def test_a_timeout_cancels_all(store, runner):
    store.emulator.faults.add(Fault("hang", method="*import", times=None))
    with pytest.raises(DicomOperationTimeout):
        runner.run(task(store, deferrable=False, execution_timeout=timedelta(seconds=0.5)))
    operations = store.emulator.healthcare.operations.of_dataset(store.name.rpartition("/dicomStores/")[0], None, 3)[0]
    assert [operation["metadata"].get("cancelRequested") for operation in operations] == [True] * 3


def test_a_timeout_cancels_all_of_which_the_trigger_could_cancel_none(store, runner):
    store.emulator.faults.add(Fault("hang", method="*import", times=None))
    store.emulator.faults.add(Fault("status", method="*operations.cancel", code=403, times=3))
    with pytest.raises(DicomOperationTimeout, match="has been asked to stop"):
        runner.run(task(store, deferrable=True, execution_timeout=timedelta(seconds=0.5)))
    operations = store.emulator.healthcare.operations.of_dataset(store.name.rpartition("/dicomStores/")[0], None, 3)[0]
    assert [operation["metadata"].get("cancelRequested") for operation in operations] == [True] * 3


def test_which_files_failed(store, runner, deferrable):
    with pytest.raises(DicomPartialFailure, match=r"Failed files, 2 of 2, are in gs://clinic/failed/run\.jsonl") as caught:
        runner.run(task(store, failed_uris=FAILED, deferrable=deferrable))
    assert "gs://clinic/in0/note.txt: " in str(caught.value)
    lines = [json.loads(line) for line in store.objects("failed/")["failed/run.jsonl"].splitlines()]
    assert {line["uri"] for line in lines} == {"gs://clinic/in0/note.txt", "gs://clinic/in2/empty.dcm"}
    assert all(line["message"] and line["code"] == 3 for line in lines)
    assert runner.ti.xcoms["failed_uris"] == FAILED
    assert sorted(one["uri"] for one in runner.ti.xcoms["failed_sample"]) == sorted(line["uri"] for line in lines)


def test_only_those_again(store, runner, deferrable):
    assert Runner().run(task(store, failed_uris=FAILED, max_failures=None, deferrable=deferrable))["failure"] == 2
    store.upload(get_testdata_file("CT_small.dcm"))
    store.emulator.storage.objects.put_bytes("clinic", "in0/note.txt", store.objects()["CT_small.dcm"])
    store.emulator.storage.objects.put_bytes("clinic", "in2/empty.dcm", store.objects()["in1/MR_small.dcm"])
    again = task(store, gcs_uri=None, only_failed_of=FAILED, deferrable=deferrable)
    assert runner.run(again)["success"] == 2


@pytest.fixture
def seen(monkeypatch) -> Callable[[], list[str]]:
    """Return what was asked for since the last call."""
    sent: list[str] = []
    send = DicomImportOperator.send

    def spy(self: DicomImportOperator, request: Any) -> Any:
        sent.append(request.parameters["body"]["gcsSource"]["uri"])
        return send(self, request)

    def seen() -> list[str]:
        found = sorted(sent)
        sent.clear()
        return found

    monkeypatch.setattr(DicomImportOperator, "send", spy)
    return seen


BROKEN = ["gs://clinic/in0/note.txt", "gs://clinic/in2/empty.dcm"]
EVERYTHING = [f"gs://clinic/in{number}/**" for number in range(3)]


def test_a_retry_imports_only_what_failed(store, seen, deferrable):
    runner, arguments = Runner(TaskInstance(max_tries=3)), {"failed_uris": FAILED, "deferrable": deferrable}
    with pytest.raises(DicomPartialFailure):
        runner.run(task(store, **arguments))
    assert seen() == EVERYTHING
    store.upload(get_testdata_file("CT_small.dcm"))
    store.emulator.storage.objects.put_bytes("clinic", "in0/note.txt", store.objects()["CT_small.dcm"])
    runner.retry()
    with pytest.raises(DicomPartialFailure, match="1 instances failed"):
        runner.run(task(store, **arguments))
    assert seen() == BROKEN
    store.emulator.storage.objects.put_bytes("clinic", "in2/empty.dcm", store.objects()["CT_small.dcm"])
    runner.retry()
    assert runner.run(task(store, **arguments))["success"] == 1
    assert seen() == BROKEN[1:]


def everything_again(store, seen, runner, **changes) -> None:
    """Run a task again, and see it import everything."""
    seen()
    with pytest.raises(DicomPartialFailure):
        runner.run(task(store, failed_uris=FAILED, deferrable=False, **changes))
    assert len(seen()) == 3


def test_all_is_imported_again(store, seen):
    def failed() -> Runner:
        runner = Runner(TaskInstance(max_tries=1))
        with pytest.raises(DicomPartialFailure):
            runner.run(task(store, failed_uris=FAILED, deferrable=False))
        return runner

    cleared = failed()
    cleared.clear(retries=1)
    everything_again(store, seen, cleared)
    for what in ({"expected_instances": 5}, {"gcs_uri": [*EVERYTHING[:2], "gs://clinic/in2/*"]}):
        changed = failed()
        changed.retry()
        everything_again(store, seen, changed, **what)
    of_another_run = failed()
    of_another_run.ti.run_id = "another"
    of_another_run.retry()
    everything_again(store, seen, of_another_run)


def test_a_source_that_was_refused_is_imported_again_beside_files_that_failed(store, seen):
    runner = Runner(TaskInstance(max_tries=1))
    store.emulator.faults.add(Fault("end_in_error", method="*import", code=3))
    uris = ["gs://clinic/in1/**", "gs://clinic/in0/**"]  # the first ends in an error of its own; of the second, one file fails
    with pytest.raises(DicomOperationError, match="code 3"):
        runner.run(task(store, gcs_uri=uris, failed_uris=FAILED, max_failures=1, deferrable=False))
    runner.retry()
    seen()
    runner.run(task(store, gcs_uri=uris, failed_uris=FAILED, max_failures=1, deferrable=False))
    assert seen() == sorted(uris)


def test_a_retry_imports_all_where_not_all_failed_files_are_known(store, seen, monkeypatch):
    runner = Runner(TaskInstance(max_tries=1))
    files = CloudLoggingHook.failed_files
    monkeypatch.setattr(
        CloudLoggingHook, "failed_files", lambda hook, name: [one for one in files(hook, name) if "in0" in one["uri"]]
    )
    with pytest.raises(DicomPartialFailure):
        runner.run(task(store, failed_uris=FAILED, deferrable=False))
    runner.retry()
    everything_again(store, seen, runner)


def test_a_retry_imports_all_where_it_may_not_read(store, seen):
    runner = Runner(TaskInstance(max_tries=1))
    with pytest.raises(DicomPartialFailure):
        runner.run(task(store, failed_uris=FAILED, deferrable=False))
    runner.retry()
    store.emulator.faults.add(Fault("status", "storage.objects.get", code=403))
    everything_again(store, seen, runner)


def test_how_many_are_new(store, runner, deferrable):
    arguments = {"gcs_uri": "gs://clinic/in1/**", "count_new": True, "deferrable": deferrable}
    first = runner.run(task(store, **arguments))
    assert (first["success"], first["new_instances"], first["duplicates"]) == (1, 1, 0)
    result = Runner().run(task(store, **arguments | {"gcs_uri": ["gs://clinic/in0/*.dcm", "gs://clinic/in1/**"]}))
    assert (result["success"], result["new_instances"], result["duplicates"]) == (2, 1, 1)


def test_how_many_are_new_is_not_told_where_it_cannot_be(store, monkeypatch):
    """The store grew by more than this import, or the try goes on with the operation of another."""
    metrics = HealthcareHook.get_dicom_store_metrics
    numbers = iter([0, 7])
    monkeypatch.setattr(HealthcareHook, "get_dicom_store_metrics", lambda *_: {"instanceCount": next(numbers)})
    arguments = {"gcs_uri": "gs://clinic/in1/**", "count_new": True, "deferrable": False}
    runner = Runner(TaskInstance(max_tries=1))
    result = runner.run(task(store, **arguments))
    assert (result["new_instances"], result["duplicates"]) == (None, None)
    monkeypatch.setattr(HealthcareHook, "get_dicom_store_metrics", metrics)
    runner.retry()
    result = runner.run(task(store, **arguments))
    assert (result["success"], result["new_instances"]) == (1, None)


def test_that_logging_does_not_tell_changes_nothing(store, runner, deferrable):
    def refuse(self, operation):
        raise RuntimeError("no roles/logging.viewer")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow_dicom.hooks.cloud_logging.CloudLoggingHook.failed_files", refuse)
        with pytest.raises(DicomPartialFailure, match="2 instances failed"):
            runner.run(task(store, failed_uris=FAILED, deferrable=deferrable))
    assert "failed_uris" not in runner.ti.xcoms


def test_nothing_is_written_when_nothing_failed(store, runner):
    runner.run(task(store, gcs_uri="gs://clinic/in1/**", failed_uris=FAILED, deferrable=False))
    assert store.objects("failed/") == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"gcs_uri": None}, "one source"),
        ({"gcs_uri": []}, "one source|empty list"),
        ({"gcs_uri": ["gs://clinic/in1/**", "gs://clinic/"]}, "gs://clinic/"),
        ({"gcs_uri": ["gs://clinic/in1/**", None]}, "None"),
        ({"only_failed_of": FAILED}, "one source"),
        ({"gcs_uri": None, "only_failed_of": FAILED}, "there is no such object"),
        ({"gcs_uri": None, "only_failed_of": "gs://clinic/in0/note.txt"}, "line 1 does not name a file"),
        ({"gcs_uri": None, "only_failed_of": "gs://clinic/in2/empty.dcm"}, "names no file"),
    ],
)
def test_bad_sources(store, runner, arguments, words):
    with pytest.raises(DicomArgumentError, match=words):
        runner.run(task(store, deferrable=False, **arguments))
    assert list(store.instances()) == []


def test_the_list_of_an_earlier_run_goes_when_nothing_failed(store, deferrable):
    with pytest.raises(DicomPartialFailure):
        Runner().run(task(store, failed_uris=FAILED, deferrable=deferrable))
    arguments = {"gcs_uri": "gs://clinic/in1/**", "failed_uris": FAILED, "deferrable": deferrable}
    store.emulator.faults.add(Fault("end_in_error", method="*import", code=3))
    with pytest.raises(DicomOperationError, match="code 3"):
        Runner().run(task(store, **arguments))
    assert len(store.objects("failed/")) == 1, "an import that ended before its files says nothing about them"
    Runner().run(task(store, **arguments))
    assert store.objects("failed/") == {}
    with pytest.raises(DicomArgumentError, match="there is no such object"):
        Runner().run(task(store, gcs_uri=None, only_failed_of=FAILED, deferrable=deferrable))


def test_that_a_list_cannot_be_removed_changes_nothing(store, runner, capsys):
    store.emulator.faults.add(Fault("status", "storage.objects.delete", code=403))
    result = runner.run(task(store, gcs_uri="gs://clinic/in1/**", failed_uris=FAILED, deferrable=False))
    assert result["success"] == 1
    assert "names those of an earlier try or run" in capsys.readouterr().out


@pytest.mark.parametrize("code", [403, 503])
def test_an_import_that_is_done_does_not_fail_since_nobody_counts(store, runner, deferrable, code, monkeypatch):
    """The store's numbers before are known; those after are refused, or do not come."""
    monkeypatch.setattr("airflow_dicom.polling.backoff", lambda *_: 0.01)
    metrics, calls = HealthcareHook.get_dicom_store_metrics, []

    def refuse_the_second(hook, name):
        calls.append(name)
        if len(calls) == 2:
            store.emulator.faults.add(Fault("status", method="*getDICOMStoreMetrics", code=code, times=None))
        return metrics(hook, name)

    monkeypatch.setattr(HealthcareHook, "get_dicom_store_metrics", refuse_the_second)
    result = runner.run(task(store, gcs_uri="gs://clinic/in1/**", count_new=True, deferrable=deferrable))
    assert (result["success"], result["new_instances"], result["duplicates"]) == (1, None, None)


def test_a_list_that_is_gone_when_the_import_of_its_files_is_done(store, runner, monkeypatch):
    """Another run of the first import, of which no file has failed, removes it while this one waits."""
    Runner().run(task(store, failed_uris=FAILED, max_failures=None, deferrable=False))
    again = task(store, gcs_uri=None, only_failed_of=FAILED, max_failures=None, on_empty="succeed", deferrable=True)
    run_trigger = runner._event

    async def run_trigger_and_remove_the_list(trigger):
        Runner().run(task(store, gcs_uri="gs://clinic/in1/**", failed_uris=FAILED, deferrable=False))
        return await run_trigger(trigger)

    monkeypatch.setattr(Runner, "_event", staticmethod(run_trigger_and_remove_the_list))
    assert runner.run(again, resumed=task(store, gcs_uri=None, only_failed_of=FAILED, deferrable=True))["failure"] == 2
    assert store.objects("failed/") == {}


def test_a_list_is_not_written_over_while_it_says_what_to_import(store, runner):
    """Cloud Logging may know a part of the files that fail: a retry would import only those."""
    with pytest.raises(DicomArgumentError, match=r"failed_uris is .*, which only_failed_of reads"):
        runner.run(task(store, gcs_uri=None, only_failed_of=FAILED, failed_uris=FAILED, deferrable=False))
