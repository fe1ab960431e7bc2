"""What a retry does with the request of the try before; with a real scheduler, workers and kills: ``integration/test_faults.py``."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from gcp_dicom_emulator.rest.faults import Fault

from airflow_dicom.exceptions import (
    DicomOperationError,
    DicomOperationTimeout,
    DicomPartialFailure,
    DicomRepeatRefused,
    HealthcareApiError,
    HealthcareApiTransientError,
)

from .conftest import STORE, STORE_NAME, Runner, TaskInstance
from .test_operators import export_task, filled, import_task, rows  # noqa: F401  filled is a fixture

EXPORT = "*.dicomStores.export"


@pytest.fixture
def faults(emulator):
    yield emulator.faults
    emulator.faults.clear()


def append(table: str, **changes):
    arguments = {"bigquery_table": f"demo.dicom.{table}", "write_disposition": "WRITE_APPEND", "retries": 2, "deferrable": False}
    return export_task(**(arguments | changes))


def operations() -> int:
    from airflow_dicom.hooks.healthcare import HealthcareHook

    return len(HealthcareHook().list_operations(STORE_NAME.partition("/dicomStores/")[0]))


def wait_for_operations() -> None:
    """Wait for the operations that no task waits for."""
    from airflow_dicom.hooks.healthcare import HealthcareHook

    deadline = time.monotonic() + 60
    while not all(found.get("done") for found in HealthcareHook().list_operations(STORE_NAME.partition("/dicomStores/")[0])):
        assert time.monotonic() < deadline
        time.sleep(0.05)


class WithoutStore(Runner):
    """Airflow before 3.3."""

    def run(self, task):
        context = {"ti": self.ti, "task": task}
        return task.execute(context)


@pytest.mark.usefixtures("filled")
def test_a_retry_goes_on_with_the_operation_and_a_clear_starts_another(runner):
    before = operations()
    runner.ti.max_tries = 2
    first = runner.run(import_task(deferrable=False))
    runner.retry()
    assert runner.run(import_task(deferrable=False)) == first
    assert operations() == before + 1
    runner.clear(retries=2)
    assert runner.run(import_task(deferrable=False))["operation"] != first["operation"]
    assert operations() == before + 2


@pytest.mark.usefixtures("filled")
def test_another_request_starts_another_operation(runner):
    first = runner.run(import_task(deferrable=False))
    assert runner.run(import_task(deferrable=False, gcs_uri="gs://source/good/CT*"))["operation"] != first["operation"]


@pytest.mark.usefixtures("filled")
def test_an_append_whose_answer_was_lost_is_not_sent_again(runner, faults):
    fault = faults.add(Fault("lose_answer", EXPORT))
    with pytest.raises(HealthcareApiTransientError):
        runner.run(append("lost"))
    with pytest.raises(DicomOperationError, match="may have sent a request"):
        runner.run(append("lost"))
    assert fault.fired == 1
    wait_for_operations()
    assert rows("demo.dicom.lost") == 3
    runner.ti.max_tries, runner.ti.try_number = runner.ti.max_tries + 3, 3  # a person clears the task
    runner.run(append("lost"))
    assert rows("demo.dicom.lost") == 6


@pytest.mark.usefixtures("filled")
def test_an_append_that_failed_in_part_is_not_sent_again(runner, faults):
    faults.add(Fault("fail_instances", EXPORT, code=1))
    with pytest.raises(DicomPartialFailure):
        runner.run(append("in_part"))
    with pytest.raises(DicomOperationError, match="ended badly after it had written"):
        runner.run(append("in_part"))
    assert rows("demo.dicom.in_part") == 3


@pytest.mark.usefixtures("filled")
def test_an_append_that_was_refused_may_be_sent_again(runner):
    task = append("refused", **STORE | {"dicom_store_id": "nowhere"})
    for _ in range(2):
        with pytest.raises(HealthcareApiError, match="404"):
            runner.run(task)


@pytest.mark.usefixtures("filled")
def test_without_a_store_a_retry_of_an_append_is_refused_but_not_a_clear(faults):
    ti = TaskInstance(max_tries=2, try_number=1)
    WithoutStore(ti=ti).run(append("old"))
    ti.try_number = 2
    with pytest.raises(DicomOperationError, match=r"before Airflow 3\.3"):
        WithoutStore(ti=ti).run(append("old"))
    assert rows("demo.dicom.old") == 3
    ti.max_tries, ti.try_number = 4, 3  # cleared after the second try
    WithoutStore(ti=ti).run(append("old"))
    assert rows("demo.dicom.old") == 6
    WithoutStore(ti=TaskInstance(max_tries=2, try_number=2)).run(import_task(deferrable=False, retries=2))


@pytest.mark.usefixtures("filled")
def test_an_operation_that_vanished_is_lost_for_an_import_and_a_question_for_an_append(runner, faults):
    faults.add(Fault("vanish", "*.dicomStores.import"))
    faults.add(Fault("vanish", EXPORT))
    with pytest.raises(DicomOperationError, match="does not know the operation"):
        runner.run(import_task(deferrable=False))
    assert runner.run(import_task(deferrable=False))["success"] == 3
    other = Runner()
    with pytest.raises(DicomOperationError, match="does not know the operation"):
        other.run(append("vanished"))
    with pytest.raises(DicomRepeatRefused, match="does not tell what became of"):
        other.run(append("vanished"))
    wait_for_operations()
    assert rows("demo.dicom.vanished") == 3


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("code", [403, 404])
def test_a_retry_believes_no_single_refusal_to_tell_of_what_runs(faults, code):
    """Two operations would do the same at once, or a person would have to look at what is well."""
    waiting = {"deferrable": False, "retries": 1, "cancel_on_timeout": False}
    tasks = {
        "import": lambda **limit: import_task(gcs_uri="gs://source/good/**", **waiting, **limit),
        "append": lambda **limit: append(f"refused_{code}", **{**waiting, **limit}),
    }
    for make in tasks.values():
        runner, before = Runner(TaskInstance(max_tries=1)), operations()
        faults.add(Fault("hang", "*.dicomStores.*", times=1))
        with pytest.raises(DicomOperationTimeout, match="It goes on"):
            runner.run(make(execution_timeout=timedelta(seconds=0.3)))
        faults.clear()
        runner.retry()
        fault = faults.add(Fault("status", "*.operations.get", code=code, times=2))
        assert runner.run(make())["success"] == 3
        assert (fault.fired, operations() - before) == (2, 1)
