"""What a real triggerer needs for hundreds and thousands of operations that are waited for, beside the Google provider's trigger.

For each case: an Airflow of its own (a database, a triggerer), its tasks already deferred, and a server that answers each poll over
TLS after 50 ms. The triggerer runs as anyone starts it, ``airflow triggerer --capacity …``; a second one, with as many triggers
that do nothing, says what of its cost is Airflow's. After everything is polled, five windows of one interval are measured; then
the triggerer is restarted; then some operations end.

Nobody but the triggerer runs: what a scheduler, an API server and workers need is not in the figures.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import itertools
import json
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from gcp_dicom_emulator.keyfile import private_key

from tests.benchmarks.figures import Row, percentile, row, show
from tests.keyfile import connection
from tests.tls import make_certificates, trusting

#: Seconds between two polls.
INTERVAL = 10
WINDOWS = 5
#: How many operations end, in one interval: what comes after an event is Airflow's, one transaction each.
ENDING = 300

ROOT = Path(__file__).parents[2]
PROBE_ID = 1_000_000
DAG = """
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator
with DAG("waiting", schedule=None):
    EmptyOperator(task_id="wait")
"""

#: For theirs: with a key, each of their clients would also ask Google, which is not here, for the account's allowed locations.
ANONYMOUS = '{"conn_type": "google_cloud_platform", "extra": {"is_anonymous": true, "project": "demo"}}'

OURS, THEIRS, IDLE = "airflow-dicom", "Google provider", "idle triggers"


@dataclass
class Case:
    """What was seen of one triggerer with so many triggers of one kind."""

    whose: str
    count: int
    runner_cpu: list[float] = field(default_factory=list)
    supervisor_cpu: list[float] = field(default_factory=list)
    lag_p99: list[float] = field(default_factory=list)
    lag_max: list[float] = field(default_factory=list)
    polls_per_second: list[float] = field(default_factory=list)
    late_p50: list[float] = field(default_factory=list)
    late_p99: list[float] = field(default_factory=list)
    late_max: list[float] = field(default_factory=list)
    memory: float = 0
    look_ups: int = 0
    connections: int = 0
    polled_again: float = 0
    burst: float = 0
    noticed: list[float] = field(default_factory=list)
    resumed: list[float] = field(default_factory=list)


class Server:
    """The server of :mod:`tests.benchmarks.poll_server` as a process."""

    def __init__(self, certificate: Path) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.poll_server", str(certificate)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = f"https://127.0.0.1:{self._read()}"

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ask(self, *words: object) -> Any:
        assert self._process.stdin is not None
        print(*words, file=self._process.stdin, flush=True)
        return json.loads(self._read())

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate()


class Triggerer:
    """A triggerer on an Airflow of its own.

    :param template: a home with a database that holds one DAG run; it is copied.
    :param home: where to copy it.
    """

    def __init__(self, template: Path, home: Path, server: Server, authority: Path, whose: str, capacity: int) -> None:
        shutil.copytree(template, home)
        self.home = home
        self.probe = home / "probe.txt"
        self.look_ups = home / "look_ups.txt"
        self._capacity = capacity
        self._environment = {
            **airflow_environment(home),
            # Airflow takes up 50 triggers a second unless told otherwise.
            "AIRFLOW__TRIGGERER__MAX_TRIGGER_TO_SELECT_PER_LOOP": "1000",
            "AIRFLOW__SECRETS__BACKEND": "tests.benchmarks.in_triggerer.CountedSecrets",
            "BENCHMARK_PROBE": str(self.probe),
            "BENCHMARK_LOOK_UPS": str(self.look_ups),
            "BENCHMARK_CONNECTION": ANONYMOUS if whose == THEIRS else connection(server.url, private_key()),
            "HEALTHCARE_EMULATOR_HOST": server.url,
            "BIGQUERY_EMULATOR_HOST": server.url,
            **trusting(authority),
        }

    def fill(self, whose: str, count: int) -> None:
        """Put deferred tasks and their triggers, and the probe, into the database."""
        command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.waiting", "--fill", whose, str(count)]
        subprocess.run(command, env=self._environment, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self) -> None:
        """Start it and wait for its second process, the one with the event loop."""
        self.probe.unlink(missing_ok=True)
        command = [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs", "--capacity", str(self._capacity)]
        with (self.home / "triggerer.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        self.supervisor = psutil.Process(self._process.pid)
        until(lambda: self.supervisor.children(), "the triggerer's loop runs")
        (self.runner,) = self.supervisor.children()

    def stop(self) -> None:
        """Stop it as an operator does."""
        family = [self.supervisor, *self.supervisor.children(recursive=True)]
        self._process.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(family, timeout=60)
        for process in left:
            process.kill()
        self._process.wait()

    def probed(self) -> list[list[float]]:
        """Return what the probe has written: time, tasks on the loop, lags in milliseconds."""
        if not self.probe.exists():
            return []
        return [
            [float(word) for word in line.split()]
            for line in self.probe.read_text().splitlines(keepends=True)
            if line[-1] == "\n"
        ]

    def on_loop(self) -> float:
        """Return how many tasks the loop runs."""
        probed = self.probed()
        return probed[-1][1] if probed else 0

    def resumed(self) -> dict[int, float]:
        """Return when the tasks left the state ``deferred``, by their operation's number."""
        with contextlib.closing(sqlite3.connect(self.home / "airflow.db", timeout=60)) as database:
            found = database.execute("SELECT map_index, updated_at FROM task_instance WHERE state != 'deferred'").fetchall()
        return {number: datetime.datetime.fromisoformat(f"{when}+00:00").timestamp() for number, when in found}


def airflow_environment(home: Path) -> dict[str, str]:
    """Return the environment of an Airflow whose files are all in one directory."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "GOOGLE_"))}
    return {
        **inherited,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__FERNET_KEY": "0" * 43 + "=",
        "AIRFLOW__API_AUTH__JWT_SECRET": "0" * 64,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=60",
        "PYTHONPATH": str(ROOT),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def make_template(home: Path) -> None:
    """Make an Airflow with one DAG run."""
    (home / "dags").mkdir(parents=True)
    (home / "dags" / "waiting.py").write_text(DAG)
    for arguments in (("db", "migrate"), ("dags", "reserialize"), ("dags", "trigger", "waiting")):
        command = [sys.executable, "-W", "ignore", "-m", "airflow", *arguments]
        subprocess.run(command, env=airflow_environment(home), cwd=ROOT, check=True, capture_output=True)
    with contextlib.closing(sqlite3.connect(home / "airflow.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")


def fill(whose: str, count: int) -> None:
    """Copy the one task instance of the database, and defer all copies."""
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session
    from sqlalchemy import text

    made = _triggers(whose)
    triggers = [(number, made(number)) for number in range(count)]
    triggers.append((PROBE_ID, ("tests.benchmarks.in_triggerer.ProbeTrigger", {})))
    with create_session() as session:
        rows = {number: Trigger(classpath=path, kwargs=kwargs) for number, (path, kwargs) in triggers}
        session.add_all(rows.values())
        session.flush()
        one = dict(session.execute(text("SELECT * FROM task_instance")).mappings().one())
        session.execute(text("DELETE FROM task_instance"))
        one |= {"state": "deferred", "next_method": "execute_complete", "next_kwargs": "{}", "try_number": 1}
        columns = ", ".join(one)
        values = ", ".join(f":{name}" for name in one)
        session.execute(
            text(f"INSERT INTO task_instance ({columns}) VALUES ({values})"),
            [{**one, "id": uuid.uuid4().hex, "map_index": number, "trigger_id": trigger.id} for number, trigger in rows.items()],
        )


def _triggers(whose: str) -> Callable[[int], tuple[str, dict[str, Any]]]:
    """Return what makes the trigger for an operation's number, as the database keeps it."""
    if whose == OURS:
        from airflow_dicom.triggers.dicom import DicomOperationTrigger

        return lambda number: DicomOperationTrigger(
            operation=f"projects/demo/locations/us-central1/datasets/radiology/operations/{number}",
            gcp_conn_id="google_cloud_default",
            impersonation_chain=None,
            poll_interval=INTERVAL,
            deadline=None,
            cancel_on_kill=True,
        ).serialize()
    if whose == THEIRS:
        from airflow.providers.google.cloud.triggers.bigquery import BigQueryInsertJobTrigger

        return lambda number: BigQueryInsertJobTrigger(
            conn_id="google_cloud_default", job_id=f"job-{number}", project_id="demo", location="US", poll_interval=INTERVAL
        ).serialize()
    return lambda number: ("tests.benchmarks.in_triggerer.IdleTrigger", {"number": number})


def until(condition: Callable[[], Any], what: str, timeout: float = 300, pause: float = 0.2) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"After {timeout} s it is not so that {what}.")
        time.sleep(pause)


def measure(template: Path, whose: str, count: int, windows: int = WINDOWS) -> Case:
    """Run one case."""
    case = Case(whose, count)
    with tempfile.TemporaryDirectory(prefix="waiting-") as folder:
        certificates = make_certificates(Path(folder))
        server = Server(certificates.server)
        triggerer = Triggerer(template, Path(folder) / "home", server, certificates.authority, whose, count + 10)
        try:
            triggerer.fill(whose, count)
            triggerer.start()
            try:
                _measure_waiting(case, server, triggerer, windows)
                if whose != IDLE:
                    triggerer.stop()
                    _measure_restart(case, server, triggerer)
                    _measure_ending(case, server, triggerer)
            except TimeoutError as error:
                raise RuntimeError((triggerer.home / "triggerer.log").read_text()[-5000:]) from error
            finally:
                triggerer.stop()
        finally:
            server.stop()
    return case


def _measure_waiting(case: Case, server: Server, triggerer: Triggerer, windows: int) -> None:
    until(lambda: triggerer.on_loop() >= case.count, "all triggers are on the loop")
    if case.whose != IDLE:
        _first_polls(server, case.count)
    time.sleep(INTERVAL + 3)
    server.ask("polls")
    last: dict[int, float] = {}
    for _ in range(windows):
        begun, before = time.time(), [_cpu(process) for process in (triggerer.runner, triggerer.supervisor)]
        time.sleep(INTERVAL)
        seconds = time.time() - begun
        after = [_cpu(process) for process in (triggerer.runner, triggerer.supervisor)]
        case.runner_cpu.append((after[0] - before[0]) / seconds * 100)
        case.supervisor_cpu.append((after[1] - before[1]) / seconds * 100)
        lags = [lag for when, _, *lags in triggerer.probed() if when > begun for lag in lags]
        case.lag_p99.append(percentile(lags, 99))
        case.lag_max.append(max(lags))
        if case.whose != IDLE:
            _read_polls(case, server.ask("polls"), last, seconds)
    case.memory = triggerer.runner.memory_full_info().uss / 1e6
    case.look_ups = len(triggerer.look_ups.read_text().splitlines()) if triggerer.look_ups.exists() else 0


def _read_polls(case: Case, answer: dict[str, Any], last: dict[int, float], seconds: float) -> None:
    late = []
    for when, number in answer["polls"]:
        if number in last:
            late.append(when - last[number] - INTERVAL)
        last[number] = when
    case.polls_per_second.append(len(answer["polls"]) / seconds)
    case.connections = answer["connections"]
    if late:
        case.late_p50.append(statistics.median(late))
        case.late_p99.append(percentile(late, 99))
        case.late_max.append(max(late))


def _measure_restart(case: Case, server: Server, triggerer: Triggerer) -> None:
    """Start a stopped triggerer again: when has it polled all, and how many in the busiest second beside the average?"""
    server.ask("polls")
    triggerer.start()
    seen = _first_polls(server, case.count)
    first: dict[int, float] = {}
    for when, number in seen:
        first.setdefault(number, when)
    on_loop = [when for when, tasks, *_ in triggerer.probed() if tasks >= case.count]
    begun = min(first.values())
    # The last trigger is on the loop a while after the first one polled: that is Airflow's.
    case.polled_again = max(first.values()) - (on_loop[0] if on_loop else begun)
    seconds = collections.Counter(int(when - begun) for when, _ in seen)
    case.burst = max(seconds.values()) / (case.count / INTERVAL)


def _first_polls(server: Server, count: int) -> list[tuple[float, int]]:
    """Wait until each operation has been polled, and return all polls until then."""
    seen: list[tuple[float, int]] = []

    def all_polled() -> bool:
        seen.extend(server.ask("polls")["polls"])
        return len({number for _, number in seen}) == count

    until(all_polled, "all operations are polled", timeout=600)
    return seen


def _measure_ending(case: Case, server: Server, triggerer: Triggerer) -> None:
    time.sleep(INTERVAL)
    ending = min(ENDING, case.count)
    ends = {int(number): end for number, end in server.ask("finish", ending, time.time(), INTERVAL).items()}
    until(lambda: triggerer.resumed().keys() >= ends.keys(), "all ends are noticed", pause=1)
    noticed = {int(number): when for number, when in server.ask("noticed").items()}
    resumed = triggerer.resumed()
    case.noticed = [noticed[number] - end for number, end in ends.items()]
    case.resumed = [resumed[number] - end for number, end in ends.items()]


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def rows_of(case: Case) -> list[Row]:
    """Return the lines of the table for a case."""
    name = f"{case.count:,} waiting"
    seconds = {
        f"{name}: late, median": case.late_p50,
        f"{name}: late, 99th percentile": case.late_p99,
        f"{name}: late, most": case.late_max,
        f"{name}: end noticed after, median": [statistics.median(case.noticed)] if case.noticed else [],
        f"{name}: end noticed after, most": [max(case.noticed)] if case.noticed else [],
        f"{name}: task resumed by Airflow after, most": [max(case.resumed)] if case.resumed else [],
        f"{name}: after a restart, all polled within": [case.polled_again] if case.noticed else [],
    }
    rows = [
        row(f"{name}: CPU of the loop's process", case.whose, "% of a core", case.runner_cpu),
        row(f"{name}: CPU of its supervisor", case.whose, "% of a core", case.supervisor_cpu),
        row(f"{name}: lag of the loop, 99th percentile", case.whose, "ms", case.lag_p99),
        row(f"{name}: lag of the loop, most", case.whose, "ms", case.lag_max),
        row(f"{name}: memory of the loop's process", case.whose, "MB", [case.memory]),
    ]
    if case.whose != IDLE:
        rows += [row(f"{name}: polls", case.whose, "per second", case.polls_per_second)]
        rows += [row(what, case.whose, "s", values) for what, values in seconds.items() if values]
        rows += [
            row(f"{name}: after a restart, busiest second", case.whose, "x average", [case.burst]),
            row(f"{name}: connection look-ups", case.whose, "", [case.look_ups]),
            row(f"{name}: TCP connections", case.whose, "", [case.connections]),
        ]
    return rows


def compared(cases: list[Case]) -> list[Row]:
    """Return the lines that need more than one case: what Airflow's own idle triggers cost, taken off."""
    by = {(case.whose, case.count): case for case in cases}
    rows = []
    for (whose, count), case in by.items():
        idle = by.get((IDLE, count))
        if whose != IDLE and idle:
            own = [cpu - statistics.median(idle.runner_cpu) for cpu in case.runner_cpu]
            rows.append(row(f"{count:,} waiting: CPU of the loop's process without Airflow's", whose, "% of a core", own))
            both = [
                runner + supervisor - statistics.median(idle.runner_cpu) - statistics.median(idle.supervisor_cpu)
                for runner, supervisor in zip(case.runner_cpu, case.supervisor_cpu, strict=True)
            ]
            rows.append(row(f"{count:,} waiting: CPU with its supervisor, without Airflow's", whose, "% of a core", both))
    for whose in (OURS, THEIRS):
        sizes = sorted(count for name, count in by if name == whose and (IDLE, count) in by)
        for small, large in itertools.pairwise(sizes):
            more = [by[name, large].memory - by[name, small].memory for name in (whose, IDLE)]
            kilobytes = [(more[0] - more[1]) / (large - small) * 1000]
            rows.append(row(f"memory per wait, {small:,} to {large:,}, without Airflow's", whose, "KB", kilobytes))
    return rows


def run(counts: list[int], their_counts: list[int], windows: int = WINDOWS) -> list[Row]:
    """Measure and return the lines of the table."""
    cases, rows = [], []
    with _template() as template:
        for whose, count in [
            *itertools.product((IDLE, OURS), counts),
            *((THEIRS, count) for count in their_counts),
        ]:
            case = measure(template, whose, count, windows)
            cases.append(case)
            rows += rows_of(case)
            show(rows_of(case))
    rows += compared(cases)
    show(compared(cases))
    return rows


@contextlib.contextmanager
def _template() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="waiting-") as folder:
        make_template(Path(folder) / "home")
        yield Path(folder) / "home"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="*", default=[100, 1000, 5000])
    parser.add_argument("--their-counts", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--fill", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fill:
        fill(options.fill[0], int(options.fill[1]))
    else:
        run(options.counts, options.their_counts, options.windows)


if __name__ == "__main__":
    main()
