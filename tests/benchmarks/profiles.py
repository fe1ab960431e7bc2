"""Where the time goes: profiles of what the benchmarks measure, by py-spy.

    python -m tests.benchmarks.profiles [part …]

Shares of the processor's time in one run; what a function calls counts as its own.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import requests
from gcp_dicom_emulator.environment import environment

from airflow_dicom.hooks.endpoint import EMULATOR_CONNECTION
from tests.benchmarks import emulator, filter_file, parsing

_PY_SPY = str(Path(sys.executable).parent / "py-spy")
_RATE = 500
_LINES = 15
#: What is on every stack, and says nothing.
_PLUMBING = re.compile(r"^$|\((<|threading|concurrent/|asyncio/|importlib/|functools|selectors)|^<module> \(\w+\.py")
#: Instances that the emulator gets.
_INSTANCES = 2000


def show(title: str, raw: Path) -> None:
    """Print a profile: the functions, and the modules that are imported, in which most time is spent.

    :param raw: stacks, the outermost frame first, each with the number of its samples.
    """
    within, total = collections.Counter[str](), 0
    for line in raw.read_text().splitlines():
        stack, _, samples = line.rpartition(" ")
        total += int(samples)
        within.update(dict.fromkeys({frame for frame in stack.split(";") if not _PLUMBING.search(frame)}, int(samples)))
    print(f"\n{title}: {total / _RATE:.1f} s of processor time", flush=True)
    for frame, samples in within.most_common(_LINES):
        print(f"  {100 * samples / total:5.1f} %  {frame}", flush=True)


@contextlib.contextmanager
def attached(title: str, pid: int) -> Iterator[None]:
    """Profile a process that runs already, all its threads, and print the profile."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        command = [_PY_SPY, "record", *_arguments(raw), "--duration", "3600", "--pid", str(pid)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as profiler:
            yield
            profiler.send_signal(signal.SIGINT)
        show(title, raw)


def profiled(title: str, *command: str) -> None:
    """Run a Python program under the profiler, and print the profile."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        whole = [_PY_SPY, "record", *_arguments(raw), "--", sys.executable, "-W", "ignore", *command]
        subprocess.run(whole, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        show(title, raw)


def _arguments(raw: Path) -> list[str]:
    return ["--rate", str(_RATE), "--function", "--nonblocking", "--format", "raw", "--output", str(raw)]


def parse() -> None:
    """A DAG file of ours, after one of Airflow's own."""
    code = f"from tests.benchmarks import parsing\nexec(parsing.BASE)\nexec({parsing.FILES[emulator.OURS]!r})"
    profiled("parsing", "-c", code)


def worker() -> None:
    """A worker's steps from the DAG file to the end of a resumed task."""
    from demo.data import Cloud, Source

    with emulator.running(emulator.OURS) as (url, _, _):
        os.environ.update(environment(url) | EMULATOR_CONNECTION)
        Cloud(url).fill(Source.of_pydicom())
        profiled("worker", "-m", "tests.benchmarks.worker", "--steps", emulator.OURS)


def filters() -> None:
    """The worker's part of a filter of a million lines."""
    with emulator.running(emulator.OURS) as (url, _, _), requests.Session() as session:
        os.environ.update(environment(url) | EMULATOR_CONNECTION)
        session.post(f"{url}/storage/v1/b", params={"project": "demo"}, json={"name": filter_file.BUCKET}).raise_for_status()
        code = "from tests.benchmarks.filter_file import by_operator; by_operator(1_000_000)"
        profiled("filter: the worker", "-c", code)


def instances() -> None:
    """The emulator while it stores, searches, retrieves, imports and exports."""
    with emulator.running(emulator.OURS) as (url, _, server), requests.Session() as session:
        store = emulator.make_store(session, url)
        root = f"{url}/v1/{store}/dicomWeb"
        with attached("emulator: instances stored by STOW-RS", server.pid):
            emulator.store(session, root, _INSTANCES)
        with attached("emulator: instances searched", server.pid):
            for _ in range(10):
                for search in emulator.SEARCHES.values():
                    search(session, root)
        with attached("emulator: instances retrieved by WADO-RS", server.pid):
            emulator.retrieve(session, root, _INSTANCES // emulator.PER_STUDY)
    with emulator.running(emulator.OURS) as (url, _, server), requests.Session() as session:
        work = emulator.Operations(session, url, _INSTANCES)
        with attached("emulator: objects uploaded", server.pid):
            work.upload()
        for what, do in {"imported": work.import_, "exported": work.export, "exported to BigQuery": work.export_metadata}.items():
            with attached(f"emulator: instances {what}", server.pid):
                do()


PARTS: dict[str, Callable[[], None]] = {"parsing": parse, "worker": worker, "filter": filters, "emulator": instances}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; by default all")
    for part in parser.parse_args().parts or PARTS:
        PARTS[part]()


if __name__ == "__main__":
    main()
