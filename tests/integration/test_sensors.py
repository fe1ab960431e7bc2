"""The sensor of operations says the same wherever it waits. On Airflow 3.3 it begins in the triggerer, and a worker only ends it."""

from __future__ import annotations

import re

import pytest

from demo.stack import Stack

from .rig import faults, until

pytestmark = pytest.mark.only_on_newest_airflow

MODES = ("deferrable", "synchronous")

TEXTS = {
    "bad": r"DicomPartialFailure: .*instances failed; max_failures allows 0",
    "late": r"AirflowSensorTimeout: .*(was still running after timeout=12\.0 s|Sensor has timed out)",
    "lost": r"DicomArgumentError: operation: None is not the name of a long-running operation",
}

#: How often each sensor that defers takes a worker: where it ends, and where it begins if only a worker knows what it is about.
STARTS = {"good": 1, "bad": 1, "late": 1, "lost": 1, "templated": 2, "mapped": 2}


@pytest.fixture(scope="module", params=MODES)
def run(request: pytest.FixtureRequest, stack: Stack) -> tuple[str, str]:
    """A run that has ended: the DAG's id and its own."""
    faults(stack, "POST", {"kind": "hang", "method": "*setBlobStorageSettings", "times": 1})
    dag_id = f"sensors_{request.param}"
    stack.api.wait_for_dag(dag_id)
    run_id = stack.api.trigger(dag_id)
    stack.api.wait(dag_id, run_id)
    return dag_id, run_id


def starts(stack: Stack, ti_id: str) -> int:
    """Return how often a worker has started a task instance."""
    return len(re.findall(rf"PATCH.*/task-instances/{ti_id}/run", stack.log("api-server")))


def test_what_it_returns_and_shows(stack: Stack, run: tuple[str, str]) -> None:
    tasks = stack.api.task_instances(*run)
    assert {name: tasks[name]["state"] for name in STARTS} == {
        **dict.fromkeys(("good", "templated", "mapped"), "success"),
        **dict.fromkeys(TEXTS, "failed"),
    }
    started = stack.api.xcom(*run, "import_good")
    for name in ("good", "templated"):
        result = stack.api.xcom(*run, name)
        assert result.pop("logs_url")
        assert result == {"operation": started["operation"], "done": True, "success": 1, "failure": 0}
        assert all(stack.api.links(*run, name).values())
    assert stack.api.links(*run, "late")["Operation"]


@pytest.mark.parametrize("name", TEXTS)
def test_what_it_says(stack: Stack, run: tuple[str, str], name: str) -> None:
    def log() -> str:
        return stack.api.log(*run, name).replace('", "exc_value": "', ": ")

    until(lambda: re.search(TEXTS[name], log()), f"the log of {name} says why it failed", log, timeout=20)


def test_how_often_it_takes_a_worker(stack: Stack, run: tuple[str, str]) -> None:
    tasks = stack.api.task_instances(*run)
    found = {name: starts(stack, tasks[name]["id"]) for name in STARTS}
    assert found == (STARTS if run[0] == "sensors_deferrable" else dict.fromkeys(STARTS, 1))


def test_cleared_it_forgets_what_it_has_returned(stack: Stack, run: tuple[str, str]) -> None:
    dag_id, run_id = run
    first = stack.api.task_instances(dag_id, run_id)["good"]["id"]
    stack.api.clear(dag_id, run_id, "good")
    stack.api.wait(dag_id, run_id)
    again = stack.api.task_instances(dag_id, run_id)["good"]
    assert (again["state"], again["try_number"]) == ("success", 2)
    assert again["id"] != first
    assert starts(stack, again["id"]) == 1
    assert stack.api.xcom(dag_id, run_id, "good")["success"] == 1
    assert stack.api.links(dag_id, run_id, "good")["Operation logs"]
