"""How long a deferrable import holds a worker's slot, beside a deferrable query of the Google provider.

A real Airflow on the emulator; the DAGs run in turn. Their operations take two seconds, so that both tasks do defer. The slot is
held while the executor's worker process shows the task in its title: once from the start to the deferral, once from the
resumption to the end. Then, in fresh processes, where the time before the deferral goes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import runpy
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from demo.data import Cloud, Source
from demo.stack import Stack
from tests.benchmarks.figures import Row, row, show

DAGS = Path(__file__).parent / "dags"
OURS, THEIRS, EMPTY = "airflow-dicom", "Google provider", "BashOperator"
FILES = {OURS: "ours.py", THEIRS: "theirs.py"}
DAG_IDS = {OURS: "deferrable_import", THEIRS: "deferrable_query", EMPTY: "plain_bash"}

#: Seconds between two looks at the titles of processes.
_TICK = 0.01
#: Seconds for which a title may not be seen: it is read while it is written, or late on a busy machine.
_GAP = 0.3


class Slots:
    """Watches which task the executor's worker processes run, by their titles.

    :param scheduler: the process whose children they are.
    """

    def __init__(self, scheduler: psutil.Process) -> None:
        self._scheduler = scheduler
        self._stop = threading.Event()
        #: Of each task instance: when a worker took it up, and when it let it go, as often as it did.
        self.held: dict[str, list[list[float]]] = {}

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def seconds(self, task_instance: str) -> list[float]:
        """Return how long the task instance held a slot, each time."""
        return [end - begin for begin, end in self.held.get(task_instance, [])]

    def _watch(self) -> None:
        pids: list[int] = []
        listed = 0.0
        while not self._stop.wait(_TICK):
            now = time.monotonic()
            if now - listed > 0.2:
                pids, listed = [child.pid for child in self._scheduler.children()], now
            for task in filter(None, map(_task_of, pids)):
                held = self.held.setdefault(task, [[now, now]])
                if now - held[-1][1] < _GAP:
                    held[-1][1] = now
                else:
                    held.append([now, now])


def _task_of(pid: int) -> str:
    """Return the task instance that a worker's title shows; nothing for an idle worker, or another process."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").decode()
    except OSError:
        return ""
    name = title.rpartition(" ")[2]
    return name if "LocalExecutor" in title and "<idle>" not in title else ""


def slots(runs: int) -> list[Row]:
    """Run the DAGs in a real Airflow."""
    seconds: dict[tuple[str, int], list[float]] = {}
    with Stack(DAGS) as stack:
        Cloud(stack.emulator_url).fill(Source.of_pydicom())
        for method in ("*.dicomStores.import", "bigquery.jobs.insert"):
            slow(stack, method, seconds=2)
        for dag_id in DAG_IDS.values():
            stack.api.wait_for_dag(dag_id)
        watch = Slots(psutil.Process(stack.processes["scheduler"].pid))
        with watch.watched():
            for number in range(runs + 1):
                for whose, dag_id in DAG_IDS.items():
                    run_id = stack.api.trigger(dag_id)
                    if stack.api.wait(dag_id, run_id) != "success":
                        raise RuntimeError(stack.api.log(dag_id, run_id, "work"))
                    task = stack.api.task_instances(dag_id, run_id)["work"]["id"]
                    time.sleep(0.5)
                    if number:  # the first run compiles modules
                        for part, value in enumerate(watch.seconds(task)):
                            seconds.setdefault((whose, part), []).append(value)
        rows = split(stack, runs)
    for (whose, part), values in seconds.items():
        what = "whole task" if whose == EMPTY else ("start to deferral", "resumption to end")[part]
        rows.append(row(f"worker slot held: {what}", whose, "s", values))
    return rows


def split(stack: Stack, runs: int) -> list[Row]:
    """Run the steps of the tasks in fresh processes that have loaded what a worker has, and time each."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for whose in [OURS, THEIRS] * runs:
        command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.worker", "--steps", whose]
        done = subprocess.run(command, env={**stack.environment, "PYTHONPATH": "."}, check=True, capture_output=True, text=True)
        for step, value in json.loads(done.stdout.splitlines()[-1]).items():
            seconds.setdefault((whose, step), []).append(value)
    return [row(f"worker, of which: {step}", whose, "s", values) for (whose, step), values in seconds.items()]


def steps(whose: str) -> dict[str, float]:
    """Do what the task does, step after step, and return the seconds of each."""
    import airflow.sdk.execution_time.task_runner  # noqa: F401  what a worker's process has loaded
    from airflow.sdk.exceptions import TaskDeferred

    class TaskInstance:
        dag_id, task_id, run_id, map_index, max_tries, try_number = "d", "work", "r", -1, 0, 1

        def xcom_push(self, key: str, value: object) -> None:
            pass

    found: dict[str, float] = {}
    last = time.perf_counter()

    def lap(step: str) -> None:
        nonlocal last
        now = time.perf_counter()
        found[step], last = now - last, now

    scope = runpy.run_path(str(DAGS / FILES[whose]))
    task = scope["dag"].get_task("work")
    lap("DAG file parsed")
    if whose == OURS:
        hook = task.hook
        lap("hook imported and made")
        hook.get_credentials()
        lap("credentials")
        hook.get_conn()
    else:
        from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook

        hook = BigQueryHook()
        lap("hook imported and made")
        hook.get_credentials()
        lap("credentials")
        hook.get_client(project_id="demo", location="US")
    lap("client built")
    context: Any = {"ti": TaskInstance(), "task": task}
    try:
        task.execute(context)
    except TaskDeferred as deferred:
        lap("request sent, trigger made")
        method, trigger = deferred.method_name, deferred.trigger
    event: dict[str, Any] = {"status": "success", "message": "", "job_id": getattr(task, "job_id", "")}
    if whose == OURS:
        name = trigger.operation
        event = {"status": "done", "name": name, "operation": {"name": name, "done": True, "success": 1}}
    getattr(task, method)(context, event=event)
    lap("resumed")
    return found


def slow(stack: Stack, method: str, seconds: int) -> None:
    """Let the operations of a method take a while."""
    body = json.dumps({"kind": "slow", "method": method, "times": None, "seconds": seconds}).encode()
    urllib.request.urlopen(urllib.request.Request(f"{stack.emulator_url}/_emulator/faults", body)).read()


def run(runs: int = 5) -> list[Row]:
    """Measure and return the lines of the table."""
    rows = slots(runs)
    show(rows)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps:
        print(json.dumps(steps(options.steps)))
    else:
        run(options.runs)


if __name__ == "__main__":
    main()
