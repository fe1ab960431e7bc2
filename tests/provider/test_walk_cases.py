"""Orders of events that the walk, or a person, has found to go wrong; each by name."""

from __future__ import annotations

import pytest

from .fake_airflow import Task
from .test_walk import quick  # noqa: F401  a fixture
from .walk import Walk

pytestmark = [pytest.mark.only_on_newest_airflow, pytest.mark.slow]


def begin(operator: str, *, retries: int = 0, deferrable: bool = False) -> tuple[Walk, Task]:
    """Return a walk whose first task has begun, and the task."""
    walk: Walk = type("Walk", (Walk,), {"operator": operator})()
    walk.make(deferrable=deferrable, retries=retries, calls=0)
    return walk, walk.tasks[0]


def insert(task: Task) -> None:
    """Let the filter operator's job be there, and its answer on the way."""
    task.worker.go_to("after set")  # the name, before it is sent
    task.worker.go_to("after jobs.insert")


@pytest.mark.parametrize("happens", ["times out", "is told to stop"])
@pytest.mark.parametrize("point", ["after jobs.insert", "before set", "after set"])
def test_a_job_whose_location_is_not_stored_yet_is_cancelled(point, happens):
    walk, task = begin("filter")
    insert(task)
    task.worker.go_to(point)
    walk.worker(0, happens)
    task.worker.go(1000)
    (job,) = walk.service.works.values()
    assert task.state == "failed"
    assert job.cancel_requested


def test_a_retry_that_went_on_with_a_job_without_a_location_cancels_it():
    walk, task = begin("filter", retries=1)
    insert(task)
    task.kill()
    task.start()
    task.worker.go_to("after jobs.get")
    task.worker.go_to("after set")
    walk.worker(0, "times out")
    task.worker.go(1000)
    (job,) = walk.service.works.values()
    assert task.state == "failed"
    assert job.cancel_requested


@pytest.mark.parametrize("trouble", ["", "unavailable"])
def test_the_first_operations_of_a_list_are_cancelled_when_the_next_one_cannot_be_started(trouble):
    walk, task = begin("import list")
    task.worker.go_to("after dicomStores.import")
    task.worker.go_to("before dicomStores.import")
    if trouble:
        walk.trouble_comes(trouble)
    else:
        walk.worker(0, "times out")
    task.worker.go(1000)
    (operation,) = walk.service.works.values()
    assert task.state == "failed"
    assert operation.cancel_requested


@pytest.mark.parametrize(
    ("operator", "asks"),
    [
        ("import", "operations.get"),
        ("import list", "operations.get"),
        ("WRITE_APPEND", "operations.get"),
        ("filter", "jobs.get"),
    ],
)
def test_what_the_last_try_cannot_ask_about_is_cancelled(operator, asks):
    """An earlier try started it; nobody comes after this one who could go on with it."""
    walk, task = begin(operator)
    task.worker.go_to(f"before {asks}")
    walk.clear(number=0, reset=False, run_ended=False, and_kill=False)
    task.start()
    task.worker.go_to(f"before {asks}")
    walk.trouble_comes("unavailable")
    task.worker.go(1000)
    assert task.state == "failed"
    assert [work.cancel_requested for work in walk.service.works.values()] == [True] * (3 if operator == "import list" else 1)


def test_a_retry_does_not_meet_the_first_operations_of_a_list():
    walk, task = begin("import list", retries=1)
    task.worker.go_to("after dicomStores.import")
    task.worker.go_to("before dicomStores.import")
    walk.trouble_comes("unavailable")
    task.worker.go(1000)
    (operation,) = walk.service.works.values()
    assert task.state == "up_for_retry"
    assert operation.cancel_requested


@pytest.mark.parametrize("deferrable", [False, True])
def test_that_one_operation_of_a_list_cannot_be_cancelled_does_not_keep_the_others(deferrable):
    walk, task = begin("import list", deferrable=deferrable)
    if deferrable:
        task.worker.go(1000)
        walk.service.refuses_first_cancel = True
    else:
        task.worker.go_to("before operations.get")
        walk.trouble_comes("forbidden")
    walk.mark(0, "failed")
    assert [work.cancel_requested for work in walk.service.works.values()] == [False, True, True]


def test_a_try_that_was_replaced_does_not_stop_what_ran_for_another_request():
    walk, task = begin("import")
    task.worker.go_to("before operations.get")  # the operation's name is stored
    walk.request = "b"
    task.clear(reset=True, run_ended=False)
    task.start()
    task.worker.go_to("after operations.get")  # the operation is for another request
    replaced = task.worker
    walk.request = "a"
    task.clear(reset=True, run_ended=False)
    replaced.go(1000)
    (operation,) = walk.service.works.values()
    assert not operation.cancel_requested
    task.start()
    task.worker.go(1000)
    assert task.state == "success"


def test_the_rest_of_a_list_is_not_sent_by_a_try_that_was_killed():
    walk, task = begin("import list")
    task.worker.go_to("after dicomStores.import")
    walk.mark(0, "failed")
    (operation,) = walk.service.works.values()
    assert operation.cancel_requested


def test_a_person_ends_a_try_that_is_about_to_stop_what_ran_for_another_request():
    walk, task = begin("import", retries=2)
    task.worker.go_to("before operations.get")
    walk.worker(0, "is told to stop")  # the operation is left to the retry
    walk.request = "b"
    task.start()
    task.worker.go_to("after operations.get")
    walk.mark(0, "success")
    (operation,) = walk.service.works.values()
    assert operation.cancel_requested
