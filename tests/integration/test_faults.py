"""What becomes of tasks when workers, the triggerer or the emulator are killed, the network fails, or people press buttons.

Each test starts the tasks of several operators and modes at once, does something to all of them, and compares for each of them the
operations that the emulator saw, what arrived, and the task's state. ``make faults`` runs all, ``make test`` a part.
"""

from __future__ import annotations

import functools
import re
import signal
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
from airflow.triggers.base import BaseTrigger

from demo.data import Cloud
from demo.stack import Stack

from .rig import (
    EXPORTS,
    FEW_OPERATORS,
    INSTANCES,
    MORE_OPERATORS,
    OPERATORS,
    PATIENCE,
    SEVERAL,
    STARTS,
    Outcome,
    Rig,
    Task,
    hang,
    is_make_faults,
    once,
    report,
    stalled,
    start_of,
    starved,
    until,
)

#: Airflow 3.3 has the store in which a task leaves its operation's name for the next try.
HAS_TASK_STATE_STORE = hasattr(BaseTrigger, "on_kill")

POLLS = ("*.operations.get", "bigquery.jobs.get")
REQUESTS = ("import", *EXPORTS)
#: What a test does to tasks that wait.
Fault = Callable[[Rig, list[Task]], None]
#: Those that end what they started when they are killed.
OWNERS = (*REQUESTS, "filter")
ALL = (*OPERATORS, *MORE_OPERATORS)

#: The other tests are in ``make test``, too.
only_in_make_faults = pytest.mark.only_in_make_faults
#: Elsewhere each try has an operation of its own, and so the only say in it.
only_where_a_retry_adopts = pytest.mark.skipif(not HAS_TASK_STATE_STORE, reason="before Airflow 3.3 no try knows of another")


@pytest.fixture(scope="module")
def _rig(stack: Stack, cloud: Cloud, pytestconfig: pytest.Config) -> Rig:
    return Rig(stack, cloud, ALL if is_make_faults(pytestconfig) else FEW_OPERATORS)


@pytest.fixture
def rig(_rig: Rig) -> Iterator[Rig]:
    yield _rig
    _rig.no_faults()


def adopted(task: Task) -> Outcome:
    """Return the outcome of a task whose next try goes on with the operation; without the store it starts another."""
    if HAS_TASK_STATE_STORE or task.operator == "filter" or task.is_sensor:
        return once()
    return repeated(task)


def repeated(task: Task) -> Outcome:
    """Return the outcome of a task whose next try does not know the operation of the one before."""
    if task.operator == "bq_append":
        return once("failed")  # and not a second operation, whose rows would be double
    if task.operator == "bq_empty":
        return Outcome(["done", "error 6", "error 6"], INSTANCES, "failed")
    return twice(task)


def twice(task: Task, first: str = "done", state: str = "success") -> Outcome:
    """Return the outcome of a task that needed a second operation."""
    return Outcome([first, "done"], INSTANCES, state)


def test_worker_killed_before_the_answer(rig: Rig) -> None:
    """The one case in which nobody knows the operation: it was accepted, and the worker died before it read the name."""
    tasks = rig.start(REQUESTS, faults=lambda project: rig.fault("hold_answer", STARTS, f"*/projects/{project}/*", seconds=600))
    for task in tasks:
        until(task.operations, f"the operation of {task} is there", task.log)
    rig.kill_workers(tasks)
    rig.no_faults()

    rig.check("worker killed before the answer", tasks, repeated)
    append = next(task for task in tasks if task.operator == "bq_append")
    assert "could add to what is there" in append.log()


@only_in_make_faults
def test_worker_killed_after_the_start(rig: Rig) -> None:
    tasks = rig.start(REQUESTS, pause="started")
    rig.wait_until_paused(tasks)
    rig.kill_workers(tasks)

    rig.check("worker killed after the start", tasks, adopted)


@only_in_make_faults
def test_worker_killed_while_polling(rig: Rig) -> None:
    tasks = rig.start(ALL, ["synchronous"], faults=hang(rig))
    rig.wait_until_waiting(tasks)
    rig.kill_workers(tasks)
    rig.no_faults()

    rig.check("worker killed while polling", tasks, adopted)


@only_in_make_faults
def test_worker_killed_after_the_trigger(rig: Rig) -> None:
    tasks = rig.start(ALL, ["deferrable"], faults=hang(rig), pause="resumed")
    rig.wait_for_state(tasks, "deferred")
    rig.no_faults()
    rig.wait_until_paused(tasks)
    rig.kill_workers(tasks)

    rig.check("worker killed after the trigger fired", tasks, adopted)


def test_triggerer_killed_and_restarted(rig: Rig) -> None:
    tasks = rig.start(ALL, ["deferrable"], faults=hang(rig))
    rig.wait_until_waiting(tasks)
    rig.stack.kill("triggerer", signal.SIGKILL)
    rig.stack.restart("triggerer")
    rig.stack.kill("triggerer", signal.SIGTERM)
    rig.stack.restart("triggerer")
    assert {task.state() for task in tasks} == {"deferred"}
    rig.no_faults()
    rig.check("triggerer kill -9, then restart", tasks, lambda task: once())


@only_in_make_faults
def test_scheduler_dies(rig: Rig) -> None:
    """It ends by itself, as when the API answers 500, and is started again; what waits in the triggerer waits on."""
    tasks = rig.start(modes=["deferrable"], faults=hang(rig))
    rig.wait_until_waiting(tasks)
    psutil.Process(rig.stack.processes["scheduler"].pid).kill()
    until(lambda: "scheduler ended by SIGKILL" in "".join(report), "the scheduler is started again")
    rig.no_faults()
    rig.check("scheduler dies", tasks, lambda task: once())


@only_in_make_faults
@only_where_a_retry_adopts
def test_worker_stalls_and_recovers(rig: Rig) -> None:
    """Case P1: a worker that stood still until its retry has adopted the operation is told to stop, and has no say any more."""
    tasks = rig.start((*OWNERS, *SEVERAL), ["synchronous"], faults=hang(rig))
    rig.wait_until_waiting(tasks)
    runners = [task.runner() for task in tasks]
    with stalled(rig.stack, [process for task in tasks for process in task.workers()]):
        rig.miss_heartbeats(tasks)
        rig.wait_until_adopted(tasks)
    _, alive = psutil.wait_procs(runners, timeout=PATIENCE)
    assert not alive, "Airflow ends a try that was replaced"
    rig.no_faults()

    rig.check("worker stalls, its retry adopts", tasks, lambda task: once())


@only_in_make_faults
@only_where_a_retry_adopts
def test_orphan_is_told_to_stop(rig: Rig) -> None:
    """Case P3: a task whose supervisor was killed lives on beside its retry; it has no say either."""
    tasks = rig.start(OWNERS, ["synchronous"], faults=hang(rig))
    rig.wait_until_waiting(tasks)
    orphans = [task.runner() for task in tasks]
    for orphan in orphans:
        orphan.parent().kill()
    rig.miss_heartbeats(tasks)
    rig.wait_until_adopted(tasks)
    for orphan in orphans:
        orphan.terminate()
    psutil.wait_procs(orphans, timeout=30)
    rig.no_faults()

    rig.check("orphan is told to stop", tasks, lambda task: once())


@only_in_make_faults
@only_where_a_retry_adopts
def test_worker_is_told_to_stop(rig: Rig) -> None:
    """Case P7: at the end of a pod, say, the operation is left to the retry."""
    tasks = rig.start(OWNERS, ["synchronous"], faults=hang(rig))
    rig.wait_until_waiting(tasks)
    for runner in [task.runner() for task in tasks]:
        runner.terminate()
    rig.wait_until_adopted(tasks)
    rig.no_faults()

    rig.check("worker is told to stop", tasks, lambda task: once())


@only_in_make_faults
def test_triggerer_stalls_and_recovers(rig: Rig) -> None:
    """Cases 26 and P2: a triggerer that stood still until another has its triggers must not cancel what they wait for."""
    tasks = rig.start(modes=["deferrable"], faults=hang(rig))
    rig.wait_until_waiting(tasks)
    with rig.stack.second_triggerer():
        with stalled(rig.stack, rig.stack.family("triggerer")):
            for task in tasks:
                until(lambda task=task: task.triggers("starting") == 2, f"{task} waits in the other triggerer", task.log)
        for task in tasks:
            until(lambda task=task: task.triggers("completed") == 1, f"the first triggerer lets go of {task}", task.log)
        assert {task.state() for task in tasks} == {"deferred"}
        rig.no_faults()
        rig.check("triggerer stalls, another takes over", tasks, lambda task: once())


@only_in_make_faults
def test_emulator_restarted(rig: Rig) -> None:
    tasks = rig.start(faults=hang(rig))
    rig.wait_until_waiting(tasks)
    rig.stack.kill("emulator", signal.SIGKILL)
    time.sleep(3)
    rig.stack.restart("emulator")
    # BigQuery's jobs do not outlive the emulator: that one ends in an error, and the retry starts another.
    rig.check("service away, restarted", tasks, lambda task: twice(task, "error 13") if task.operator == "filter" else once())


@only_in_make_faults
def test_polls_fail_for_a_minute(rig: Rig) -> None:
    tasks = rig.start(faults=hang(rig))
    rig.wait_until_waiting(tasks)
    for method in POLLS:
        rig.fault("status", method, "*/projects/faults-*", times=None, code=503)
    time.sleep(60)
    assert all(count > 0 for count in rig.fired())
    assert not {task.state() for task in tasks} & {"failed", "up_for_retry", "success"}
    rig.no_faults()
    rig.check("60 s of 503 on polls", tasks, lambda task: once())


@only_in_make_faults
def test_token_expires(rig: Rig) -> None:
    tasks = rig.start(faults=hang(rig), gcp_conn_id="keyfile")
    rig.wait_until_waiting(tasks)
    for method in POLLS:
        rig.fault("status", method, "*/projects/faults-*", times=len(OPERATORS), code=401)
    until(lambda: rig.fired()[-len(POLLS) :] == [len(OPERATORS)] * len(POLLS), "the polls were refused")
    rig.no_faults()
    rig.check("token expires", tasks, lambda task: once())


@only_in_make_faults
def test_triggerer_killed_with_two_hundred_waiting(rig: Rig) -> None:
    project = "faults-many"
    logged_before = len(rig.stack.log("triggerer"))
    rig.fill(project)
    rig.fault("hang", STARTS, f"*/projects/{project}/*", times=None)
    operation = rig.submit(project)
    rig.stack.api.wait_for_dag(project)
    run_id = rig.stack.api.trigger(project, {"operation": operation})
    states = functools.partial(rig.states, project, run_id)
    until(lambda: states() == {"deferred": 200}, "200 tasks are deferred", lambda: str(states()), timeout=1200, pause=3)
    without_processor = 0.0
    for signal_number in (signal.SIGKILL, signal.SIGTERM):
        without_processor += starved(rig.stack.family("triggerer"))
        rig.stack.kill("triggerer", signal_number)
        rig.stack.restart("triggerer")
    time.sleep(30)
    assert states() == {"deferred": 200}
    rig.no_faults()
    until(lambda: states() == {"success": 200}, "200 tasks succeed", lambda: str(states()), timeout=1200, pause=3)
    ends = [end for end in rig.ends(project) if end != "done"]
    imports = len(rig.operations(project)) - 3  # the dataset, its first import, and the export that the sensors wait for
    report.append(
        f"{'triggerer kill -9, then restart':48} 50 imports and 150 sensors deferrable -> operations: {imports} imports"
    )
    assert not ends
    assert imports == 50
    log = rig.stack.log("triggerer")[logged_before:]
    # Each of the three processes imports Google's library once, in a thread, which may hold the interpreter's lock for a moment.
    blocked = sum(float(seconds) for seconds in re.findall(r"was blocked for ([\d.]+) seconds", log))
    without_processor += starved(rig.stack.family("triggerer"))
    report.append(
        f"the triggerer's loop stood still for {blocked:.1f} s; its processes had no processor for {without_processor:.1f} s"
    )
    assert blocked < 3 + without_processor
    assert "deadlock" not in log.lower()


@only_in_make_faults
@pytest.mark.parametrize("code", [429, 503])
def test_submit_is_refused_at_first(rig: Rig, code: int) -> None:
    operators = [operator for operator in (*REQUESTS, "filter") if code == 429 or operator != "bq_append"]

    def refuse(project: str) -> None:
        rig.fault("status", start_of(project), f"*/projects/{project}/*", times=2, code=code, seconds=1)

    tasks = rig.start(operators, faults=refuse)
    rig.check(f"{code} on submit, twice", tasks, lambda task: once())
    assert rig.fired() == [2] * len(tasks)


@only_in_make_faults
def test_answer_to_the_submit_lost(rig: Rig) -> None:
    tasks = rig.start(REQUESTS, faults=lambda project: rig.fault("lose_answer", STARTS, f"*/projects/{project}/*"))

    # What is safe to repeat is sent again at once, the others by the next try.
    rig.check("answer to the submit lost", tasks, repeated)
    assert rig.fired() == [1] * len(tasks)


@only_in_make_faults
def test_operation_ends_in_error(rig: Rig) -> None:
    def fail(project: str) -> None:
        rig.fault("end_in_error", start_of(project), f"*/projects/{project}/*", code=13)

    tasks = rig.start(("import", "gcs", "bq_truncate", "bq_append", "filter"), faults=fail)

    def expected(task: Task) -> Outcome:
        return Outcome(["error 13"], INSTANCES, "failed") if task.operator == "bq_append" else twice(task, "error 13")

    rig.check("operation ends in error, then retry", tasks, expected)
    assert rig.fired() == [1] * len(tasks)


@only_in_make_faults
def test_some_instances_fail(rig: Rig) -> None:
    tasks = rig.start(
        ("import", "gcs", "bq_truncate", "bq_append"),
        faults=lambda project: rig.fault("fail_instances", STARTS, f"*/projects/{project}/*", code=1),
    )

    def expected(task: Task) -> Outcome:
        return Outcome(["error 3"], INSTANCES, "failed") if task.operator == "bq_append" else twice(task, "error 3")

    rig.check("some instances fail, then retry", tasks, expected)


@only_in_make_faults
def test_cancelled_by_someone_else(rig: Rig) -> None:
    tasks = rig.start(("import", "gcs", "bq_truncate", "bq_append"), faults=hang(rig))
    rig.wait_until_waiting(tasks)
    for task in tasks:
        rig.cancel(task.operations()[0]["name"])

    def expected(task: Task) -> Outcome:
        return Outcome(["cancelled"], INSTANCES, "failed") if task.operator == "bq_append" else twice(task, "cancelled")

    rig.check("cancelled by someone else, then retry", tasks, expected)


@only_in_make_faults
def test_operation_vanishes(rig: Rig) -> None:
    tasks = rig.start(
        ("import", "gcs", "bq_truncate", "bq_append"),
        faults=lambda project: rig.fault("vanish", STARTS, f"*/projects/{project}/*"),
    )

    def expected(task: Task) -> Outcome:
        return Outcome([], INSTANCES, "failed") if task.operator == "bq_append" else once()

    rig.check("operation vanishes, then retry", tasks, expected)


@only_in_make_faults
def test_execution_timeout(rig: Rig) -> None:
    tasks = rig.start(ALL, dags="-timed", faults=hang(rig))

    def expected(task: Task) -> Outcome:
        # A sensor does not own what it waits for.
        return once("failed") if task.is_sensor else Outcome(["cancelled"], task.arrived(), "failed")

    rig.wait_for_state(tasks, "failed")
    assert not any("cancelled" in str(task.ends()) for task in tasks if task.is_sensor)
    rig.no_faults()
    rig.check("execution_timeout (sensor: timeout)", tasks, expected)


def test_marked_failed(rig: Rig) -> None:
    mark(rig, "failed")


@only_in_make_faults
def test_marked_success(rig: Rig) -> None:
    mark(rig, "success")


def mark(rig: Rig, state: str) -> None:
    tasks = rig.start(ALL, faults=hang(rig))
    rig.wait_until_waiting(tasks)
    for task in tasks:
        rig.stack.api.set_state(task.dag_id, task.run_id, "work", state)
    owned = [task for task in tasks if not task.is_sensor]
    for task in owned:
        until(lambda task=task: task.ends() == ["cancelled"], f"the operation of {task} is cancelled", task.log)
    assert not any("cancelled" in str(task.ends()) for task in tasks if task.is_sensor), "a sensor does not own what it waits for"
    rig.no_faults()

    def expected(task: Task) -> Outcome:
        return once(state) if task.is_sensor else Outcome(["cancelled"], task.arrived(), state)

    rig.check(f"marked {state} while waiting", tasks, expected)


@only_in_make_faults
def test_cleared_while_waiting(rig: Rig) -> None:
    operators = [operator for operator in ALL if operator not in ("bq_empty", "bq_append")]
    tasks = rig.start(operators, faults=hang(rig))
    rig.wait_until_waiting(tasks)
    for task in tasks:
        rig.stack.api.clear(task.dag_id, task.run_id, "work")
    owned = [task for task in tasks if not task.is_sensor]
    if HAS_TASK_STATE_STORE:
        rig.wait_until_adopted(owned)
    else:
        for task in owned:
            until(lambda task=task: task.ends()[0] == "cancelled", f"the operation of {task} is cancelled", task.log)
    rig.no_faults()

    def expected(task: Task) -> Outcome:
        """With a store, the next try goes on with what runs; without one, the operation is cancelled, and another one started."""
        return once() if HAS_TASK_STATE_STORE or task.is_sensor else twice(task, "cancelled")

    rig.check("cleared while waiting", tasks, expected)


@only_in_make_faults
def test_cleared_after_success(rig: Rig) -> None:
    operators = [operator for operator in OPERATORS if operator not in ("bq_empty", "bq_append")]
    tasks = rig.start(operators)
    rig.wait_for_state(tasks, "success")
    for task in tasks:
        rig.stack.api.clear(task.dag_id, task.run_id, "work")
    for task in tasks:
        until(lambda task=task: task.instance()["try_number"] == 2, f"{task} runs again", task.log)
    rig.check("cleared after success", tasks, lambda task: once() if task.is_sensor else twice(task))


# Two faults, one after the other. What the first one does is asserted above.


def a_worker_is_killed(rig: Rig, tasks: list[Task]) -> None:
    adopted_before = tasks[0].log().count("Going on with")
    rig.kill_workers(tasks)
    rig.wait_until_adopted(tasks, adopted_before + 1)


def the_triggerer_is_killed(rig: Rig, tasks: list[Task]) -> None:
    before = [task.triggers("starting") for task in tasks]
    rig.stack.kill("triggerer", signal.SIGKILL)
    rig.stack.restart("triggerer")
    for task, times in zip(tasks, before, strict=True):
        until(lambda task=task, times=times: task.triggers("starting") > times, f"{task} waits in the new triggerer", task.log)


def the_scheduler_dies(rig: Rig, tasks: list[Task]) -> None:
    before = "".join(report).count("scheduler ended by SIGKILL")
    psutil.Process(rig.stack.processes["scheduler"].pid).kill()
    until(lambda: "".join(report).count("scheduler ended by SIGKILL") > before, "the scheduler is started again")


def the_service_restarts(rig: Rig, tasks: list[Task]) -> None:
    rig.stack.kill("emulator", signal.SIGKILL)
    rig.stack.restart("emulator")


def polls_fail(rig: Rig, tasks: list[Task]) -> None:
    for method in POLLS:
        rig.fault("status", method, "*/projects/faults-*", times=len(tasks), code=503)
    until(lambda: sum(rig.fired()[-len(POLLS) :]) >= len(tasks), "polls have failed")


def they_are_cleared(rig: Rig, tasks: list[Task]) -> None:
    adopted_before = tasks[0].log().count("Going on with")
    for task in tasks:
        rig.stack.api.clear(task.dag_id, task.run_id, "work")
    rig.wait_until_adopted(tasks, adopted_before + 1)
    rig.wait_until_waiting(tasks)


def they_are_marked_failed(rig: Rig, tasks: list[Task]) -> None:
    for task in tasks:
        rig.stack.api.set_state(task.dag_id, task.run_id, "work", "failed")
    for task in tasks:
        until(lambda task=task: task.ends() == ["cancelled"], f"the operation of {task} is cancelled", task.log)


IN_WORKERS = [
    (a_worker_is_killed, a_worker_is_killed),
    (a_worker_is_killed, they_are_cleared),
    (a_worker_is_killed, they_are_marked_failed),
    (they_are_cleared, they_are_marked_failed),
    (polls_fail, a_worker_is_killed),
    (a_worker_is_killed, the_service_restarts),
    (a_worker_is_killed, polls_fail),
]
IN_TRIGGERERS = [
    (the_triggerer_is_killed, they_are_cleared),
    (the_triggerer_is_killed, they_are_marked_failed),
    (they_are_cleared, the_triggerer_is_killed),
    (polls_fail, the_triggerer_is_killed),
    (the_scheduler_dies, the_triggerer_is_killed),
    (the_triggerer_is_killed, the_service_restarts),
]


@only_in_make_faults
@only_where_a_retry_adopts
@pytest.mark.parametrize(
    ("mode", "first", "second"),
    [*(("synchronous", *pair) for pair in IN_WORKERS), *(("deferrable", *pair) for pair in IN_TRIGGERERS)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_two_faults(rig: Rig, mode: str, first: Fault, second: Fault) -> None:
    """Whatever comes after what: one operation, and where a person ended the task, it is cancelled."""
    operators = ["import", "bq_append", "deidentify", "storage_class", *([] if second is the_service_restarts else ["filter"])]
    tasks = rig.start(operators, [mode], faults=hang(rig))
    rig.wait_until_waiting(tasks)
    for fault in (first, second):
        fault(rig, tasks)
    is_marked = second is they_are_marked_failed
    if is_marked:
        rig.wait_for_state(tasks, "failed")
    rig.no_faults()
    words = f"{first.__name__}, {second.__name__}".replace("_", " ")
    rig.check(words, tasks, lambda task: Outcome(["cancelled"], task.arrived(), "failed") if is_marked else once())
