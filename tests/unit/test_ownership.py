"""Who may cancel, by what Airflow answers about the task (seen on 3.3): a person has ended it, or another try has taken over."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.triggers.base import BaseTrigger

from airflow_dicom.work import ownership
from airflow_dicom.work.journal import Journal, Try
from airflow_dicom.work.plan import Plan

PLAN = Plan("dicomStores.import", "store", {}, "Import")
NAME = "operations/1"
WORK: Any = SimpleNamespace(is_named=lambda name: name == NAME)
FIRST, LAST = Try(1, 2, retries=2), Try(3, 2, retries=2)


@dataclass
class TaskInstance:
    dag_id: str = "dag"
    task_id: str = "task"
    run_id: str = "run"
    map_index: int = -1


class Store(dict):
    """What Airflow answers to the try that it knows as the latest."""

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self[key] = value


class StoreOfReplacedTry:
    """What Airflow answers to another one."""

    def get(self, key: str) -> None:
        return None


@pytest.fixture
def airflow_says(monkeypatch):
    """Let Airflow's supervisor answer with this state, or raise this error."""
    runner: Any = pytest.importorskip("airflow.sdk.execution_time.task_runner")

    def says(answer: Any) -> None:
        def get_task_states(*, dag_id, task_ids, run_ids, map_index=None):
            if isinstance(answer, Exception):
                raise answer
            key = task_ids[0] if map_index in (None, -1) else f"{task_ids[0]}_{map_index}"
            return {} if answer == "no run" else {run_ids[0]: {key: answer}}

        monkeypatch.setattr(runner.RuntimeTaskInstance, "get_task_states", staticmethod(get_task_states))

    return says


def journal_of(now: Try) -> Journal:
    journal = Journal(Store(), now)
    journal.store(PLAN, NAME)
    return journal


@pytest.mark.parametrize("map_index", [-1, 0, 3])
@pytest.mark.parametrize("state", ["success", "failed", "skipped", "upstream_failed", "no run"])
def test_a_person_or_airflow_has_ended_the_task(airflow_says, state, map_index):
    airflow_says(state)
    assert ownership.worker_may_cancel(TaskInstance(map_index=map_index), journal_of(FIRST), WORK)


@pytest.mark.parametrize("state", ["restarting", "queued", "scheduled", "up_for_retry", "up_for_reschedule", "deferred", None])
def test_another_try_comes_and_finds_the_work(airflow_says, state):
    """Cleared, or retried while this try was stalled."""
    airflow_says(state)
    assert not ownership.worker_may_cancel(TaskInstance(), journal_of(LAST), WORK)


def test_told_to_stop_while_a_retry_is_left(airflow_says):
    airflow_says("running")
    assert not ownership.worker_may_cancel(TaskInstance(), journal_of(FIRST), WORK)


def test_told_to_stop_and_no_retry_is_left(airflow_says):
    airflow_says("running")
    assert ownership.worker_may_cancel(TaskInstance(), journal_of(LAST), WORK)
    assert ownership.worker_may_cancel(TaskInstance(), journal_of(Try(1, 0)), WORK)


def test_told_to_stop_just_before_the_last_try_goes_on_with_it(airflow_says):
    airflow_says("running")
    about_to_adopt = Journal(journal_of(FIRST)._store, LAST)
    assert ownership.worker_may_cancel(TaskInstance(), about_to_adopt, WORK)


def test_case_26_p1_a_worker_that_stalled_and_was_replaced(airflow_says):
    """The state, "running", is that of the try that has replaced this one; the store tells."""
    airflow_says("running")
    assert not ownership.worker_may_cancel(TaskInstance(), Journal(StoreOfReplacedTry(), LAST), WORK)
    taken_over = journal_of(LAST)
    taken_over.store(PLAN, "operations/2")
    assert not ownership.worker_may_cancel(TaskInstance(), taken_over, WORK)
    later = Journal(taken_over._store, replace(LAST, number=4, max_tries=5))
    later.store(PLAN, NAME)
    assert not ownership.worker_may_cancel(TaskInstance(), taken_over, WORK)


def test_case_26_p3_an_orphan_cannot_ask(airflow_says):
    airflow_says(BrokenPipeError())
    with pytest.raises(BrokenPipeError):
        ownership.worker_may_cancel(TaskInstance(), journal_of(LAST), WORK)


def test_before_airflow_3_3_a_try_owns_what_it_has_started():
    assert ownership.worker_may_cancel(TaskInstance(), Journal(None, FIRST), WORK)


class Trigger:
    task_instance: Any = TaskInstance()
    log = logging.getLogger("trigger")


@pytest.mark.parametrize(
    ("state", "killed", "killed_before_3_3"),
    [
        ("deferred", False, False),  # case 26: the triggerer stalled, and another one has the trigger
        ("failed", True, True),
        ("success", True, True),
        ("skipped", True, True),  # at dagrun_timeout
        ("no run", True, True),
        ("queued", False, True),  # cleared: from Airflow 3.3 on, the next try finds the work
        ("running", False, True),
        (None, False, True),
    ],
)
@pytest.mark.parametrize("has_store", [True, False])
async def test_case_26_a_trigger_asks_whether_its_task_was_ended(
    airflow_says, monkeypatch, has_store, state, killed, killed_before_3_3
):
    airflow_says(state)
    if has_store:
        monkeypatch.setattr(BaseTrigger, "on_kill", None, raising=False)
    else:
        monkeypatch.delattr(BaseTrigger, "on_kill", raising=False)
    assert await ownership.trigger_was_killed(Trigger()) is (killed if has_store else killed_before_3_3)


async def test_a_trigger_that_belongs_to_no_task_is_not_killed():
    class Alone:
        task_instance = None

    assert not await ownership.trigger_was_killed(Alone())


def test_what_hangs_does_not_hold_up_the_kill(monkeypatch):
    """A question from inside a signal handler may wait for ever for the request that the signal has interrupted."""
    monkeypatch.setattr(ownership, "_PATIENCE", 0.1)
    done, waiting = threading.Event(), threading.Event()
    started = time.monotonic()
    ownership.beside(waiting.wait)
    assert time.monotonic() - started < 5
    waiting.set()
    ownership.beside(done.set)
    assert done.is_set()
