"""Runs that must succeed."""

from __future__ import annotations

from typing import Any

import pytest

from demo.stack import Stack


def run_to_success(stack: Stack, dag_id: str, conf: dict[str, Any] | None = None) -> str:
    """Run a DAG, and return the run's id; fail the test with the tasks' logs if it does not succeed."""
    stack.api.wait_for_dag(dag_id)
    run_id = stack.api.trigger(dag_id, conf)
    wait_for_success(stack, dag_id, run_id)
    return run_id


def wait_for_success(stack: Stack, dag_id: str, run_id: str) -> None:
    """Wait for a run's end; fail the test with the tasks' logs if it does not succeed."""
    if stack.api.wait(dag_id, run_id) != "success":
        pytest.fail(report(stack, dag_id, run_id))


def report(stack: Stack, dag_id: str, run_id: str) -> str:
    """Return what became of a run: the tasks' states, the logs of those that have begun, and the end of the scheduler's."""
    tasks = stack.api.task_instances(dag_id, run_id)
    states = {name: task["state"] for name, task in tasks.items()}
    # A task that has not begun, and waits for another one, has no log.
    begun = {name: task["try_number"] for name, task in tasks.items() if task["try_number"] and task["start_date"]}
    logs = [f"--- {name}\n{stack.api.log(dag_id, run_id, name, try_number)}" for name, try_number in begun.items()]
    return "\n".join([f"{dag_id} {run_id}: {states}", *logs, "--- scheduler", stack.log("scheduler")[-4000:]])
