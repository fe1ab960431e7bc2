"""Faults that users have met, by their numbers, and what the operators do now; in Airflow: ``integration/test_faults.py``.

Case 2 is in ``test_incremental.py``, cases 9 and 10 are in ``test_cases_account.py``, cases 11 and 21 in ``test_operators.py``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowTaskTimeout
from gcp_dicom_emulator.rest.faults import Fault

from airflow_dicom.exceptions import (
    BigQueryApiError,
    DicomArgumentError,
    DicomEmptyResult,
    DicomError,
    DicomOperationCancelled,
    DicomOperationError,
    DicomPartialFailure,
    DicomRepeatRefused,
    DicomUnexpectedCount,
    HealthcareApiError,
    HealthcareApiTransientError,
)
from airflow_dicom.operators import FilterFileFromPathsOperator
from airflow_dicom.operators._waiting import LeftToTheNextTry

from .conftest import FILES, STORE, STORE_NAME, Runner, StoreRefuses
from .test_never_twice import EXPORT, append, faults, wait_for_operations  # noqa: F401  faults is a fixture
from .test_operators import SQL, export_task, filled, filter_task, import_task, names, rows  # noqa: F401  filled is a fixture

pytestmark = pytest.mark.usefixtures("filled", "faults")


@pytest.fixture(params=[True, False], ids=["store", "no store"])
def any_runner(request) -> Runner:
    """A runner of Airflow 3.3, and one of an older Airflow: case 32."""
    return Runner() if request.param else Runner(state=None)


class Killed(BaseException):
    """As ``kill -9``."""


def run_and_die(runner: Runner, task, monkeypatch) -> None:
    """Run a task whose process is gone once it waits: nothing is cancelled, and nothing is stored any more."""

    def gone(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("airflow_dicom.operators._waiting.wait", gone)
        patch.setattr(task, "_cancel", lambda work, reason: False)
        with pytest.raises(Killed):
            runner.run(task)


def requests(emulator, method_id: str) -> list[str]:
    return [request.path for request in emulator.requests if request.method_id.endswith(method_id)]


@pytest.mark.parametrize("lost", ["skipped", "", "{{ params.forgotten }}", "{{ none }}"])
def test_case_01_a_filter_that_got_lost_is_not_the_whole_store(emulator, run_task, lost):
    emulator.requests.clear()
    with DAG("case1", schedule=None, params={"forgotten": ""}):
        selection = FilterFileFromPathsOperator(task_id="sel", filter_uri="gs://target/sel.txt", paths="", on_empty="skip")
        filter_uri = selection.output if lost == "skipped" else lost
        with pytest.raises(DicomArgumentError, match=r"^filter_uri (was given|is '')"):
            run_task(export_task(gcs_uri_prefix="gs://target/case1", filter_uri=filter_uri))
    assert not requests(emulator, "dicomStores.export")
    assert names(emulator, "target", "case1") == []


@pytest.mark.parametrize("argument", ["where", "except_table"])
def test_case_01_a_condition_that_got_lost_is_not_all_rows(run_task, argument):
    task = filter_task(table="demo.dicom.metadata", **{argument: "{{ params.forgotten }}"}, params={"forgotten": ""})
    with pytest.raises(DicomArgumentError, match=f"{argument} was given and is ''"):
        run_task(task)


def test_case_04_a_run_that_is_made_again_selects_anew(emulator, any_runner):
    def select(runner: Runner) -> list[str]:
        runner.run(filter_task(table="demo.dicom.case4", filter_uri="gs://target/case4.txt", deferrable=False, retries=1))
        return emulator.storage.objects.get("target", "case4.txt").path.read_text().splitlines()

    table = {"bigquery_table": "demo.dicom.case4", "write_disposition": "WRITE_TRUNCATE"}
    Runner().run(export_task(**table, deferrable=False))
    assert len(select(any_runner)) == len(FILES)
    from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook

    client = BigQueryHook(use_legacy_sql=False).get_client(project_id="demo")
    client.query_and_wait("DELETE FROM demo.dicom.case4 WHERE Modality = 'CT'")
    again = Runner() if any_runner.state is not None else Runner(state=None)
    again.dag_run.start_date = "2026-01-02T00:00:00+00:00"  # with its run, Airflow deletes what the store had
    assert len(select(again)) == len(FILES) - 1
    client.query_and_wait("DELETE FROM demo.dicom.case4 WHERE Modality = 'MR'")
    again.clear(retries=1)
    assert len(select(again)) == len(FILES) - 2


def test_case_05a_a_clear_does_not_start_a_second_append_beside_the_first(emulator, any_runner, monkeypatch):
    table = f"case5a_{any_runner.state is None}"
    emulator.faults.add(Fault("slow", EXPORT, seconds=3))
    emulator.requests.clear()
    run_and_die(any_runner, append(table, retries=0), monkeypatch)
    any_runner.clear()
    if any_runner.state is not None:
        assert any_runner.run(append(table, retries=0))["success"] == len(FILES)
    else:
        with pytest.raises(DicomRepeatRefused, match="runs in the dataset and may be what an earlier try"):
            any_runner.run(append(table, retries=0))
        wait_for_operations()
    assert len(requests(emulator, "dicomStores.export")) == 1
    assert rows(f"demo.dicom.{table}") == len(FILES)


def test_case_05b_another_request_does_not_hide_that_one_is_lost(emulator, runner):
    emulator.faults.add(Fault("lose_answer", EXPORT))
    with pytest.raises(HealthcareApiTransientError):
        runner.run(append("case5b"))
    runner.retry()
    with pytest.raises(
        DicomRepeatRefused, match=r"(?s)may have sent a request.*Look at the destination \(bq://demo\.dicom\.case5b"
    ):
        runner.run(append("case5b", include_source_store=True))
    wait_for_operations()
    assert rows("demo.dicom.case5b") == len(FILES)


def test_case_06_write_empty_is_not_sent_again_blindly_and_code_6_is_explained(emulator, any_runner):
    table = f"demo.dicom.case6_{any_runner.state is None}"
    any_runner.ti.max_tries = 1
    emulator.faults.add(Fault("lose_answer", EXPORT))
    emulator.requests.clear()
    with pytest.raises(HealthcareApiTransientError):
        any_runner.run(export_task(bigquery_table=table, deferrable=False, retries=1))
    assert len(requests(emulator, "dicomStores.export")) == 1
    wait_for_operations()
    any_runner.retry()
    with pytest.raises(DicomOperationError, match=r"(?s)code 6, .*\(.*: it may have written what is there\)"):
        any_runner.run(export_task(bigquery_table=table, deferrable=False, retries=1))
    assert rows(table) == len(FILES)


def test_case_07_an_export_whose_object_is_gone_is_made_again(emulator, runner, monkeypatch):
    arguments = {"gcs_uri_prefix": "gs://target/case7", "verify": "objects", "deferrable": False, "retries": 2}
    run_and_die(runner, export_task(**arguments), monkeypatch)
    wait_for_operations()
    gone, *_ = names(emulator, "target", "case7/")
    emulator.storage.objects.delete("target", gone)
    runner.retry()
    runner.run(export_task(**arguments))
    assert gone in names(emulator, "target", "case7/")


def test_case_07_what_was_missing_and_has_arrived_is_exported_by_the_retry(emulator, runner):
    from airflow_dicom.hooks.healthcare import HealthcareHook

    HealthcareHook().create_dicom_store(STORE_NAME.partition("/dicomStores/")[0], "case7")
    store = STORE | {"dicom_store_id": "case7"}
    Runner().run(import_task(**store, gcs_uri="gs://source/good/CT_small.dcm", deferrable=False))
    filter_uri = Runner().run(filter_task(table="demo.dicom.metadata", where="Modality IN ('CT', 'MR')", deferrable=False))
    arguments = store | {
        "gcs_uri_prefix": "gs://target/arrived",
        "filter_uri": filter_uri,
        "verify": "objects",
        "deferrable": False,
    }
    runner.ti.max_tries = 1
    with pytest.raises(DicomUnexpectedCount, match="1 lines of the filter"):
        runner.run(export_task(**arguments, retries=1))
    Runner().run(import_task(**store, gcs_uri="gs://source/good/MR_small.dcm", deferrable=False))
    runner.retry()
    assert runner.run(export_task(**arguments, retries=1))["success"] == 2


def test_case_08_a_job_is_asked_for_with_its_location(emulator, any_runner, monkeypatch):
    emulator.bigquery.catalog.create_dataset("demo", f"eu_{any_runner.state is None}", "europe-west4")
    table = f"demo.eu_{any_runner.state is None}.metadata"
    Runner().run(export_task(bigquery_table=table, deferrable=False))
    any_runner.ti.max_tries = 1
    emulator.requests.clear()
    run_and_die(any_runner, filter_task(table=table, deferrable=False, retries=1), monkeypatch)
    any_runner.retry()
    any_runner.run(filter_task(table=table, deferrable=False, retries=1))
    asked = requests(emulator, "bigquery.jobs.get")
    assert asked
    assert all("location=europe-west4" in path for path in asked)


def test_case_12_a_refused_poll_is_borne_and_a_refusal_has_one_text(emulator, deferrable):
    emulator.faults.add(Fault("slow", "bigquery.jobs.insert", seconds=1, times=None))
    refused_once = emulator.faults.add(Fault("status", "bigquery.jobs.get", code=403))
    Runner().run(filter_task(sql=SQL, deferrable=deferrable))
    assert refused_once.fired == 1
    emulator.faults.add(Fault("status", "bigquery.jobs.get", code=403, times=None))
    with pytest.raises(BigQueryApiError, match=r"(?s)^Filter file gs://target/filter\.txt: .*403.*roles/bigquery\.jobUser"):
        Runner().run(filter_task(sql=SQL, deferrable=deferrable))


def test_case_13_failures_that_may_be_explain_lines_that_are_missing(emulator, runner, deferrable):
    uri = "gs://target/case13.txt"
    Runner().run(filter_task(table="demo.dicom.metadata", filter_uri=uri, deferrable=False))
    # The plan has no pixels to compress.
    arguments = {
        "gcs_uri_prefix": f"gs://target/case13{deferrable}",
        "filter_uri": uri,
        "verify": "objects",
        "mime_type": "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90",
        "deferrable": deferrable,
    }
    result = runner.run(export_task(max_failures=1, **arguments))
    assert (result["success"], result["failure"]) == (2, 1)
    assert runner.ti.xcoms["missing_filter_uri"].startswith(f"{uri}.missing-")
    with pytest.raises(DicomOperationError):
        Runner().run(export_task(**arguments))


def test_case_14_another_runs_filter_is_refused(emulator, runner):
    uri = "gs://target/case14.txt"
    mine, theirs = Runner(), Runner()
    mine.run(filter_task(table="demo.dicom.metadata", where="Modality = 'CT'", filter_uri=uri, deferrable=False))
    theirs.run(filter_task(table="demo.dicom.metadata", where="Modality = 'MR'", filter_uri=uri, deferrable=False))
    with DAG("case14", schedule=None):
        export = export_task(gcs_uri_prefix="gs://target/case14", filter_uri=uri, expected_instances=1, deferrable=False)
        filter_task(task_id="select", sql=SQL) >> export
    runner.ti.upstream = {"select": mine.ti.xcoms}
    emulator.requests.clear()
    with pytest.raises(DicomArgumentError, match="was replaced since the task before this one made it"):
        runner.run(export)
    assert not requests(emulator, "dicomStores.export")
    runner.ti.upstream = {"select": theirs.ti.xcoms}
    assert runner.run(export)["success"] == 1


def signal_during_the_request(task) -> None:
    """Let Airflow's signal handler call ``on_kill`` in half a second."""
    signal.signal(signal.SIGUSR1, lambda *_: task.on_kill())
    threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGUSR1]).start()


@pytest.fixture
def usual_signals():
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("usual_signals")
def test_case_15_killed_while_the_answer_is_awaited(emulator, runner, monkeypatch):
    monkeypatch.setattr("airflow_dicom.work.ownership.task_state", lambda ti: "failed")
    emulator.faults.add(Fault("hold_answer", EXPORT, seconds=1.5))
    emulator.faults.add(Fault("hang", EXPORT))
    task = export_task(gcs_uri_prefix="gs://target/case15", deferrable=False)
    signal_during_the_request(task)
    with pytest.raises(DicomOperationCancelled):
        runner.run(task)


@pytest.mark.usefixtures("usual_signals")
def test_case_15_told_to_stop_while_the_answer_is_awaited(emulator, runner, monkeypatch):
    """A worker that shuts down leaves its work to the retry."""
    monkeypatch.setattr("airflow_dicom.work.ownership.task_state", lambda ti: "running")
    runner.ti.max_tries = 1
    emulator.faults.add(Fault("hold_answer", EXPORT, seconds=1.5))
    emulator.faults.add(Fault("slow", EXPORT, seconds=3))
    emulator.requests.clear()
    task = append("case15", retries=1)
    signal_during_the_request(task)
    with pytest.raises(LeftToTheNextTry):
        runner.run(task)
    runner.retry()
    assert runner.run(append("case15", retries=1))["success"] == len(FILES)
    assert not requests(emulator, "operations.cancel")
    assert rows("demo.dicom.case15") == len(FILES)


def test_case_15_what_was_started_is_cancelled_when_it_cannot_be_remembered(emulator, runner, monkeypatch):
    emulator.faults.add(Fault("hang", EXPORT))
    emulator.requests.clear()

    def refuse(*_, **__):
        raise StoreRefuses

    monkeypatch.setattr(runner.state, "set", refuse)
    with pytest.raises(StoreRefuses):
        runner.run(export_task(gcs_uri_prefix="gs://target/case15", deferrable=False))
    assert len(requests(emulator, "operations.cancel")) == 1


@pytest.mark.parametrize("retries", [1, 2])
def test_case_15_what_an_earlier_try_left_is_cancelled_by_the_last_try_that_cannot_say_what_it_wants(emulator, runner, retries):
    emulator.faults.add(Fault("hang", EXPORT))
    emulator.requests.clear()
    refusal = emulator.faults.add(Fault("status", "*.operations.get", code=403, times=None))
    runner.ti.max_tries = retries
    with pytest.raises(HealthcareApiError):
        runner.run(export_task(gcs_uri_prefix="gs://target/case15", deferrable=False))
    refusal.times = refusal.fired
    assert not requests(emulator, "operations.cancel")
    runner.retry()
    rendered = export_task(gcs_uri_prefix="gs://target/case15", deferrable=False)
    rendered.gcs_uri_prefix = "target/case15"
    with pytest.raises(DicomArgumentError):
        runner.run(rendered)
    assert len(requests(emulator, "operations.cancel")) == (retries == 1)


@pytest.mark.parametrize(("has_store", "retries", "cancels"), [(True, 0, 1), (True, 1, 0), (False, 1, 1)])
def test_case_15_what_the_service_does_not_tell_of_is_cancelled_unless_a_retry_takes_it_up(
    emulator, runner, deferrable, has_store, retries, cancels
):
    emulator.faults.add(Fault("hang", EXPORT))
    emulator.faults.add(Fault("status", "*.operations.get", code=403, times=3))
    emulator.requests.clear()
    runner.ti.max_tries = retries
    runner.state = runner.state if has_store else None
    with pytest.raises(HealthcareApiError, match="403"):
        runner.run(export_task(gcs_uri_prefix="gs://target/case15", deferrable=deferrable))
    assert len(requests(emulator, "operations.cancel")) == cancels


@pytest.mark.parametrize("replaced", [True, False])
@pytest.mark.parametrize("error", [HealthcareApiError("refused", status_code=403), AirflowTaskTimeout(), ValueError("a bug")])
def test_case_26_a_try_that_fails_cancels_what_no_other_try_has(emulator, runner, monkeypatch, replaced, error):
    emulator.faults.add(Fault("hang", EXPORT))
    emulator.requests.clear()

    def fail(*_):
        runner.state.replaced = replaced
        raise error

    monkeypatch.setattr("airflow_dicom.operators._waiting.wait", fail)
    with pytest.raises((DicomError, ValueError)):
        runner.run(export_task(gcs_uri_prefix="gs://target/case26", deferrable=False))
    assert len(requests(emulator, "operations.cancel")) == (0 if replaced else 1)


def test_case_15_an_interval_is_checked_before_the_request(emulator, runner, deferrable):
    emulator.requests.clear()
    with pytest.raises(DicomArgumentError, match="poll_interval is 'often'"):
        runner.run(import_task(poll_interval="often", deferrable=deferrable))
    assert not requests(emulator, "dicomStores.import")
    assert runner.run(import_task(poll_interval=timedelta(seconds=0.02), deferrable=deferrable))["done"]


def test_case_19_what_another_release_has_written(emulator, runner):
    """A task that release 0.1.0 deferred, or a later one, is resumed."""
    from airflow_dicom.triggers.dicom import DicomOperationTrigger

    started = runner.run(import_task(wait_for_completion=False))
    old = {
        "operation": started["operation"],
        "api_version": "v1",
        "gcp_conn_id": "google_cloud_default",
        "impersonation_chain": None,
        "poll_interval": 0.02,
        "deadline": None,
        "cancel_on_kill": True,
        "not_before": 1.0,
    }
    for kwargs in (old, old | {"of_a_release_to_come": 1}):
        event = asyncio.run(Runner._event(DicomOperationTrigger(**kwargs)))
        event["of_a_release_to_come"] = event["operation"]["of_a_release_to_come"] = 1
        task = import_task(deferrable=True)
        context = {"ti": runner.ti, "task": task, "dag_run": runner.dag_run, "task_state_store": runner.state}
        assert task.execute_complete(context, event=event, of_a_release_to_come=1)["success"] == len(FILES)


def test_case_19_objects_are_verified_of_an_operation_of_which_another_release_says_less(runner):
    from airflow_dicom.triggers.dicom import DicomOperationTrigger

    prefix = "gs://target/case19"
    started = runner.run(export_task(gcs_uri_prefix=prefix, wait_for_completion=False))
    event = asyncio.run(Runner._event(DicomOperationTrigger(operation=started["operation"], poll_interval=0.02)))
    del event["operation"]["create_time"]
    task = export_task(gcs_uri_prefix=prefix, verify="objects", deferrable=True)
    context = {"ti": runner.ti, "task": task, "dag_run": runner.dag_run, "task_state_store": runner.state}
    assert task.execute_complete(context, event=event)["success"] == len(FILES)


def test_case_24_a_failed_or_unfinished_task_has_written_nothing(emulator, runner):
    pytest.importorskip("airflow.providers.openlineage.extractors")
    task = export_task(gcs_uri_prefix="gs://target/case24", deferrable=False)
    emulator.faults.add(Fault("end_in_error", EXPORT, code=7))
    with pytest.raises(DicomOperationError):
        runner.run(task)
    found = task.get_openlineage_facets_on_failure(None)
    assert (len(found.inputs), found.outputs) == (1, [])
    begun = import_task(wait_for_completion=False)
    emulator.faults.add(Fault("slow", "*.dicomStores.import", seconds=2))
    runner.run(begun)
    assert begun.get_openlineage_facets_on_complete(None).outputs == []
    done = export_task(gcs_uri_prefix="gs://target/case24", deferrable=False)
    Runner().run(done)
    assert len(done.get_openlineage_facets_on_complete(None).outputs) == 1
    nothing = FilterFileFromPathsOperator(task_id="t", filter_uri="gs://target/case24.txt", paths=[])
    with pytest.raises(DicomEmptyResult):
        Runner().run(nothing)
    assert nothing.get_openlineage_facets_on_failure(None).outputs == []


def test_how_an_export_has_ended_is_not_hidden_by_a_bucket_that_cannot_be_listed(emulator, runner, deferrable):
    emulator.faults.add(Fault("fail_instances", EXPORT, code=1))
    emulator.faults.add(Fault("status", "storage.objects.list", code=403, times=None))
    with pytest.raises(DicomPartialFailure, match="1 instances failed"):
        runner.run(export_task(gcs_uri_prefix="gs://target/hidden", verify="objects", deferrable=deferrable))


def test_case_30_the_same_try_run_again_does_not_append_again(emulator, any_runner, monkeypatch):
    """Airflow from 3.1.7 on runs ``execute`` again where it could not read the DAG's file at the resume."""
    table = f"case30_{any_runner.state is None}"
    run_and_die(any_runner, append(table, retries=0), monkeypatch)
    wait_for_operations()
    any_runner.reschedules = 1
    if any_runner.state is not None:
        assert any_runner.run(append(table, retries=0))["success"] == len(FILES)
    else:
        with pytest.raises(DicomRepeatRefused, match=r"before Airflow 3\.3"):
            any_runner.run(append(table, retries=0))
    assert rows(f"demo.dicom.{table}") == len(FILES)


def test_case_31_before_airflow_3_the_wait_ends_before_airflow_ends_the_task(monkeypatch):
    """Airflow 2 counts ``execution_timeout`` from the task's start, over the whole deferral, and then fails it without a word."""
    from datetime import UTC, datetime

    from airflow_dicom.operators import _waiting

    class Started:
        start_date = datetime.now(UTC) - timedelta(seconds=10)

    started, hour = Started.start_date.timestamp(), timedelta(hours=1)
    monkeypatch.setattr(_waiting.importlib.util, "find_spec", lambda name: None)
    assert _waiting.deadline_of(hour, {"ti": Started}) == started + 3600 - 30
    assert _waiting.deadline_of(timedelta(seconds=15), {"ti": Started}) == started + 10
    assert _waiting.deadline_of(None, {"ti": Started}) is None
    monkeypatch.setattr(_waiting.importlib.util, "find_spec", lambda name: object())
    assert abs(_waiting.deadline_of(hour, {"ti": Started}) - time.time() - 3600) < 5


@pytest.mark.parametrize("cancels", [True, False])
def test_case_31_at_the_deadline_the_trigger_cancels_if_the_task_wants_that(emulator, runner, cancels):
    emulator.faults.add(Fault("hang", EXPORT))
    emulator.requests.clear()
    task = export_task(
        gcs_uri_prefix="gs://target/case31", deferrable=True, execution_timeout=timedelta(seconds=1), cancel_on_timeout=cancels
    )
    says = "It has been asked to stop" if cancels else "It goes on"
    with pytest.raises(DicomOperationError, match=says):
        runner.run(task)
    assert len(requests(emulator, "operations.cancel")) == cancels
