"""What a wait in the triggerer costs Airflow: requests to its execution API, processor time, and starts of a worker.

Deferred imports beside deferrable tasks that do nothing, both mapped over a list of another task, in turn on one real Airflow; then
sensors. Airflow's settings are its defaults where they decide how often it asks. Requests are counted in the API server's access log,
processor time with that of children that have ended.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import psutil

from demo.data import Cloud, Source
from demo.stack import Stack
from tests.benchmarks.figures import Row, row, show
from tests.benchmarks.worker import slow

DAGS = Path(__file__).parent / "overhead_dags"
DAG_IDS = {
    "bare deferrable task": "overhead_bare",
    "deferred import": "overhead_import",
    "sensor": "overhead_sensors",
    "mapped sensor": "overhead_mapped_sensors",
}
#: Seconds that each operation runs, and that a bare task waits.
SECONDS = 10

#: What the demo sets for quick reactions, and what a task's requests come of, as Airflow has it.
_DEFAULTS = {
    "WORKERS__MIN_HEARTBEAT_INTERVAL": "5",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "300",
    "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    "DAG_PROCESSOR__REFRESH_INTERVAL": "300",
}

_REQUEST = re.compile(r"request finished.*?method=(\w+).*?path=(/execution/\S+)")


class Cost(NamedTuple):
    """What all tasks of one run cost together.

    :param requests: the requests to the execution API, by what they are about.
    :param seconds: of processor time, by the kind of process.
    """

    requests: Counter[str]
    seconds: dict[str, float]


def cost_of_run(stack: Stack, dag_id: str) -> Cost:
    """Run a DAG, and return what its tasks ``work`` cost."""
    before, read = processor_time(stack), len(stack.log("api-server"))
    run_id = stack.api.trigger(dag_id)
    if stack.api.wait(dag_id, run_id) != "success":
        errors = [line for line in stack.log("scheduler").splitlines() if "[error" in line or "Error" in line]
        raise RuntimeError("\n".join([f"{dag_id} failed:", *errors[-20:]]))
    time.sleep(3)  # the last processes end
    after = processor_time(stack)
    ids = [ti["id"] for name, ti in stack.api.task_instances(dag_id, run_id).items() if not name.startswith("work")]
    found = _REQUEST.findall(stack.log("api-server")[read:])
    requests = Counter(kind_of(*one) for one in found if not is_of_others(*one, ids))
    return Cost(requests, {kind: after[kind] - before[kind] for kind in after})


def is_of_others(method: str, path: str, ids: list[str]) -> bool:
    """Tell whether a request was made by another task than those that are measured.

    :param ids: the others' ids.
    """
    pushes = method == "POST" and "/xcoms/" in path and not path.split("/")[5].startswith("work")
    return pushes or any(one in path for one in ids)


def kind_of(method: str, path: str) -> str:
    """Return what a request is about, without the names in it."""
    parts = path.removeprefix("/execution/").split("/")
    if parts[0] == "task-instances":
        return f"{method} {'/'.join(['task-instances', *parts[2:]])}"
    if parts[0] == "xcoms":
        return f"{method} xcom {parts[-1]}"
    return f"{method} {parts[0]}"


def processor_time(stack: Stack) -> dict[str, float]:
    """Return the seconds that each kind of process has used, with its children, those that have ended too; without the emulator."""
    seconds = {}
    for name in stack.processes.keys() - {"emulator"}:
        main, *children = stack.family(name)
        total = 0.0
        for process in (main, *children):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        seconds[name] = total
        if name == "scheduler":
            times = main.cpu_times()
            seconds["scheduler"] = times.user + times.system
            seconds["workers"] = total - seconds["scheduler"]
    return seconds


def run(tasks: int = 20, runs: int = 3) -> list[Row]:
    """Measure and return the lines of the table.

    :param tasks: how many are mapped.
    :param runs: how often each DAG runs, in turn.
    """
    costs: dict[str, list[Cost]] = {whose: [] for whose in DAG_IDS}
    stack = Stack(DAGS, {**_DEFAULTS, "CORE__PARALLELISM": "4"})
    stack.environment["OVERHEAD_TASKS"] = str(tasks)
    with stack:
        Cloud(stack.emulator_url).fill(Source.of_pydicom())
        slow(stack, "*.dicomStores.import", SECONDS)
        for dag_id in DAG_IDS.values():
            stack.api.wait_for_dag(dag_id)
        for number in range(runs + 1):
            for whose, dag_id in DAG_IDS.items():
                cost = cost_of_run(stack, dag_id)
                print(
                    f"  {whose}: {cost.requests.total() / tasks:g} requests, {sum(cost.seconds.values()) / tasks:.2f} s",
                    flush=True,
                )
                if number:  # the first run compiles modules
                    costs[whose].append(cost)
    rows = [line for whose, found in costs.items() for line in rows_of(whose, found, tasks)]
    bare, ours = ([sum(cost.seconds.values()) for cost in costs[whose]] for whose in ("bare deferrable task", "deferred import"))
    rows.append(row("wait: CPU, times the bare task's", "deferred import", "", [b / a for a, b in zip(bare, ours, strict=True)]))
    show(rows)
    return rows


def rows_of(whose: str, costs: list[Cost], tasks: int) -> list[Row]:
    """Return the lines of one kind of task, per task."""

    def per_task(values: list[float]) -> list[float]:
        return [value / tasks for value in values]

    starts = "PATCH task-instances/run"
    rows = [
        row("wait: requests to the execution API", whose, "", per_task([cost.requests.total() for cost in costs])),
        row("wait: starts of a worker", whose, "", per_task([cost.requests[starts] for cost in costs])),
        row("wait: CPU, all processes", whose, "s", per_task([sum(cost.seconds.values()) for cost in costs])),
    ]
    rows += [
        row(f"wait: CPU, of which {kind}", whose, "s", per_task([cost.seconds[kind] for cost in costs]))
        for kind in sorted(costs[0].seconds)
    ]
    print(
        f"  {whose}: " + ", ".join(f"{kind} {count / tasks:g}" for kind, count in sorted(costs[-1].requests.items())), flush=True
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    run(options.tasks, options.runs)


if __name__ == "__main__":
    main()
