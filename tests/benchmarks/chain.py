"""Where the time of ``make demo`` goes: the start, the data, and each of the chain's four tasks, ours and Airflow's.

A task's slot is what :mod:`tests.benchmarks.worker` measures; of it, what a task that does nothing needs is Airflow's. Between the
two times that a task holds a slot it is deferred: its operation runs, the trigger waits for the next poll, and the scheduler starts
the task again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from demo import run as demo
from demo.data import Cloud, Source
from demo.stack import Stack
from tests.benchmarks.figures import Row, row, show
from tests.benchmarks.worker import DAGS, EMPTY, Slots

ROOT = Path(__file__).parents[2]
TASKS = ("import_instances", "export_metadata", "build_filter", "export_instances")


def once() -> dict[tuple[str, str], float]:
    """Run the demo once, and return the seconds of its parts by what they are and whose."""
    found: dict[tuple[str, str], float] = {}
    begun = time.monotonic()
    source = Source.of_pydicom()
    with tempfile.TemporaryDirectory() as folder:
        for path in (demo.DAGS / f"{demo.DAG_ID}.py", DAGS / "plain.py"):
            shutil.copy(path, folder)
        with Stack(Path(folder)) as stack:
            found["emulator and Airflow start", "both"] = time.monotonic() - begun
            _run_chain(stack, source, found)
            stopping = time.monotonic()
        found["all processes stop", "both"] = time.monotonic() - stopping
    return found


def _run_chain(stack: Stack, source: Source, found: dict[tuple[str, str], float]) -> None:
    begun = time.monotonic()
    Cloud(stack.emulator_url).fill(source)
    found["bucket filled", "emulator"] = time.monotonic() - begun
    watch = Slots(psutil.Process(stack.processes["scheduler"].pid))
    with watch.watched():
        stack.api.wait_for_dag(demo.DAG_ID)
        begun = time.monotonic()
        run_id = stack.api.trigger(demo.DAG_ID)
        if stack.api.wait(demo.DAG_ID, run_id) != "success":
            raise RuntimeError("the chain failed")
        total = found["the chain of four tasks", "all"] = time.monotonic() - begun
        stack.api.wait_for_dag("plain_bash")
        plain = [stack.api.trigger("plain_bash") for _ in range(3)]
        for plain_id in plain:
            stack.api.wait("plain_bash", plain_id)
    ids = {name: task["id"] for name, task in stack.api.task_instances(demo.DAG_ID, run_id).items()}
    idle = statistics.median(
        sum(watch.seconds(stack.api.task_instances("plain_bash", plain_id)["work"]["id"])) for plain_id in plain
    )
    found["slot of a task that does nothing", EMPTY] = idle
    ours, airflows, deferred = 0.0, 0.0, 0.0
    for name in TASKS:
        held = watch.held[ids[name]]
        slot = sum(watch.seconds(ids[name]))
        waiting = held[-1][1] - held[0][0] - slot
        found[f"{name}: slot held", "ours"] = max(0.0, slot - idle * len(held))
        found[f"{name}: slot held", "Airflow"] = min(slot, idle * len(held))
        found[f"{name}: deferred", "operation and poll"] = waiting
        ours, airflows, deferred = (
            ours + max(0.0, slot - idle * len(held)),
            airflows + min(slot, idle * len(held)),
            deferred + waiting,
        )
    found["the chain: slots held", "ours"] = ours
    found["the chain: slots held", "Airflow"] = airflows
    found["the chain: deferred", "operation and poll"] = deferred
    found["the chain: between tasks", "Airflow"] = total - _covered(
        [(held[0][0], held[-1][1]) for held in map(watch.held.get, ids.values()) if held]
    )


def _covered(spans: list[tuple[float, float]]) -> float:
    """Return the length of all spans together. They overlap: a task's process ends a while after the next task may start."""
    seconds, last = 0.0, float("-inf")
    for begin, end in sorted(spans):
        seconds += max(0.0, end - max(begin, last))
        last = max(last, end)
    return seconds


def whole(runs: int) -> list[Row]:
    """Run ``make demo`` in a fresh clone, at first with nothing installed and nothing cached, then again."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), f"{folder}/clone"], check=True)
        environment = os.environ | {"UV_CACHE_DIR": f"{folder}/uv", "PIP_NO_CACHE_DIR": "1"}
        seconds = []
        for _ in range(1 + runs):
            begun = time.monotonic()
            subprocess.run(["make", "-C", f"{folder}/clone", "demo"], env=environment, check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.monotonic() - begun)
    return [
        row("make demo: whole, in a fresh clone, packages downloaded", "both", "s", seconds[:1]),
        row("make demo: whole, again", "both", "s", seconds[1:]),
    ]


def run(runs: int = 5) -> list[Row]:
    """Measure and return the lines of the table."""
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(runs):
        with contextlib.redirect_stdout(io.StringIO()):
            parts = once()
        for key, seconds in parts.items():
            found.setdefault(key, []).append(seconds)
    rows = [row(f"make demo: {what}", whose, "s", values) for (what, whose), values in found.items()]
    rows += whole(min(runs, 2))
    show(rows)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    run(parser.parse_args().runs)


if __name__ == "__main__":
    main()
