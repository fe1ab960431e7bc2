"""Runs that must succeed."""

from __future__ import annotations

from typing import Any

import pytest

from demo.stack import Stack


def run_to_success(stack: Stack, dag_id: str, conf: dict[str, Any] | None = None) -> str:
    """Run a DAG, and return the run's id; fail the test with the tasks' logs if it does not succeed."""
    stack.api.wait_for_dag(dag_id)
    run_id = stack.api.trigger(dag_id, conf)
    if (state := stack.api.wait(dag_id, run_id)) != "success":
        tasks = stack.api.task_instances(dag_id, run_id)
        logs = [
            stack.api.log(dag_id, run_id, name, max(task["try_number"], 1)) for name, task in tasks.items() if task["try_number"]
        ]
        states = {name: task["state"] for name, task in tasks.items()}
        pytest.fail("\n".join([f"{dag_id} {run_id}: {state}, {states}", *logs, stack.log("scheduler")[-4000:]]))
    return run_id
