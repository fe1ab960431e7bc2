"""A day at scale: imports, exports with filters and sensors, all deferred, on a cluster of which parts are killed each minute.

``make scale`` runs the whole day: 2,000 mapped imports, 500 exports with a filter each, 200 sensors; ``SCALE=10`` runs a tenth.
Postgres, Redis, Celery, two schedulers, triggerers and workers; the emulator's operations take tens of seconds. Each minute one of
the two schedulers, one of the two triggerers and one of the two workers is killed (``kill -9``, with all that it runs), at moments
that a seed has chosen, and started again as systemd would. Afterwards everything is counted: at the emulator, at the destinations,
and in Airflow's database.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from pydicom.data import get_testdata_file

from demo.airflow_api import FINISHED
from demo.cluster import TWICE, Cluster
from demo.data import BUCKET, DATASET, LOCATION, STORE, Cloud, Source
from tests.benchmarks.figures import Row, row, show
from tests.integration.rig import STARTS, STUDIES, Rig, until
from tests.integration.supervisor import supervised

#: What a whole day has.
IMPORTS, EXPORTS, SENSORS = 2000, 500, 200

#: Seconds that the operations take.
IMPORT_SECONDS, EXPORT_SECONDS = 40, 20

#: Seconds from one round of kills to the next.
PERIOD = 60.0

#: Seconds until the tasks of a whole day count as stuck.
PATIENCE = 5 * 3600

#: Seconds between two looks at the processes, and those without work before their sessions are counted.
_LOOK, _REST = 5.0, 30.0

#: How many sessions Celery's processes keep once they have had work, whatever the number of tasks: eight workers', two schedulers'.
_KEPT = 14

OURS = "airflow-dicom"
DAG_ID = "day"
#: A project for each kind of task, so that what the emulator has started tells who asked for it.
IMPORTING, EXPORTING, AWAITED = "scale-imports", "scale-exports", "scale-awaited"

_DAG = """
from datetime import timedelta

from airflow.sdk import DAG, task

from airflow_dicom.operators import DicomExportOperator, DicomImportOperator
from airflow_dicom.sensors import DicomOperationSensor

COMMON = dict(retries=50, retry_delay=timedelta(seconds=5), deferrable=True)
STORE = dict(location="{location}", dataset_id="{dataset}", dicom_store_id="{store}")

with DAG("day", schedule=None, catchup=False, max_active_tasks=100000, params={{"operations": []}}):

    @task(retries=50, retry_delay=timedelta(seconds=5))
    def operations(params):
        return params["operations"]

    DicomOperationSensor.partial(task_id="sensors", poke_interval=10, timeout=86400, **COMMON).expand(operation=operations())
    DicomImportOperator.partial(task_id="imports", project_id="scale-imports", **STORE, **COMMON).expand(
        gcs_uri=[f"gs://{bucket}/arrived/{{number}}.dcm" for number in range({imports})]
    )
    DicomExportOperator.partial(
        task_id="exports", project_id="scale-exports", expected_instances=1, **STORE, **COMMON
    ).expand_kwargs(
        [
            {{
                "gcs_uri_prefix": f"gs://{bucket}/exported/{{number}}",
                "filter_uri": f"gs://{bucket}/filters/{{number % {studies}}}.txt",
            }}
            for number in range({exports})
        ]
    )
"""


@dataclass
class Day:
    """What is asked for, and what was seen.

    :param part: 10 for a tenth of a day.
    :param imports: how many.
    :param exports: how many.
    :param sensors: how many.
    """

    part: int
    imports: int
    exports: int
    sensors: int
    #: The operations that were there already, by project.
    before: dict[str, set[str]] = field(default_factory=dict)
    state: str = ""
    seconds: float = 0
    killed: collections.Counter[str] = field(default_factory=collections.Counter)
    #: CPU seconds of each process that ran and of all it started, by its name and pid.
    cpu: dict[tuple[str, int], float] = field(default_factory=dict)
    #: Megabytes of a triggerer's processes, as often as they were seen.
    triggerers: list[float] = field(default_factory=list)
    #: Sessions in Postgres at rest, before and afterwards.
    sessions: list[int] = field(default_factory=list)
    most_sessions: int = 0

    @property
    def tasks(self) -> int:
        return self.imports + self.exports + self.sensors

    @property
    def awaited(self) -> int:
        """How many operations the sensors wait for: the emulator has one that hangs look up ten times a second."""
        return max(1, self.sensors // 10)


def run(part: int = 1, seed: int = 1) -> list[Row]:
    """Run one day, or a part of it; count, and return the lines of the table.

    :param part: 10 for a tenth.
    :param seed: chooses who is killed when.
    :raises AssertionError: something was done too often, or not at all.
    """
    day = Day(part, *(max(1, number // part) for number in (IMPORTS, EXPORTS, SENSORS)))
    with tempfile.TemporaryDirectory() as folder, _cluster(Path(folder), day) as cluster, supervised(cluster):
        cloud = Cloud(cluster.emulator_url)
        cloud.fill(Source.of_pydicom())
        rig = Rig(cluster, cloud, ())
        conf = _prepare(rig, day)
        cluster.api.wait_for_dag(DAG_ID)
        day.sessions.append(_at_rest(cluster))
        _run(rig, cluster, day, conf, random.Random(seed))
        day.sessions.append(_at_rest(cluster))
        rows = _count(rig, cluster, day)
    show(rows)
    return rows


def _cluster(folder: Path, day: Day) -> Cluster:
    names = {"bucket": BUCKET, "location": LOCATION, "dataset": DATASET, "store": STORE, "studies": len(STUDIES)}
    (folder / "day.py").write_text(_DAG.format(**names, imports=day.imports, exports=day.exports))
    settings = {"CORE__MAX_MAP_LENGTH": str(max(day.imports, day.exports)), "CORE__PARALLELISM": "12"}
    return Cluster(folder, settings, preloaded=True)


def _prepare(rig: Rig, day: Day) -> dict[str, Any]:
    """Put files, filters, stores and what the sensors wait for in place; return the run's conf."""
    bucket = rig.cloud.storage().bucket(BUCKET)
    file = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
    for number in range(day.imports):
        bucket.blob(f"arrived/{number}.dcm").upload_from_string(file)
    for number, uid in enumerate(STUDIES):
        bucket.blob(f"filters/{number}.txt").upload_from_string(f"/studies/{uid}\n")
    for project in (IMPORTING, EXPORTING, AWAITED):
        rig.fill(project)
    day.before = _started(rig)
    rig.fault("slow", STARTS, f"*/projects/{IMPORTING}/*", times=None, seconds=IMPORT_SECONDS)
    rig.fault("slow", STARTS, f"*/projects/{EXPORTING}/*", times=None, seconds=EXPORT_SECONDS)
    rig.fault("hang", STARTS, f"*/projects/{AWAITED}/*", times=None)
    awaited = [rig.submit(AWAITED) for _ in range(day.awaited)]
    return {"operations": [awaited[number % day.awaited] for number in range(day.sensors)]}


def _started(rig: Rig) -> dict[str, set[str]]:
    """Return the names of all operations, by project."""
    return {project: {operation["name"] for operation in rig.operations(project)} for project in (IMPORTING, EXPORTING, AWAITED)}


def _run(rig: Rig, cluster: Cluster, day: Day, conf: dict[str, Any], chance: random.Random) -> None:
    """Run the DAG while parts of the cluster are killed. What the sensors wait for ends when all else has."""
    patience = PATIENCE / day.part + 1200

    def wait(condition: Callable[[], bool], what: str) -> None:
        until(condition, what, lambda: _states(cluster), timeout=patience, pause=5)

    with _beside(lambda over: _watch(cluster, day, over)):
        begun = time.monotonic()
        run_id = cluster.api.trigger(DAG_ID, conf)
        with _beside(lambda over: _kill(cluster, day, chance, over)):
            wait(lambda: _ended(cluster, "task_id != 'sensors'") == day.imports + day.exports, "imports and exports have ended")
            wait(lambda: _number(cluster, "task_id = 'sensors' AND state = 'deferred'") == day.sensors, "the sensors wait")
            rig.no_faults()
            wait(lambda: _ended(cluster, "true") == day.tasks, "all has ended")
        day.state = cluster.api.wait(DAG_ID, run_id)
        day.seconds = time.monotonic() - begun


def _number(cluster: Cluster, condition: str) -> int:
    return int(cluster.rows(f"SELECT count(*) FROM task_instance WHERE dag_id = '{DAG_ID}' AND {condition}")[0][0])


def _ended(cluster: Cluster, condition: str) -> int:
    states = ", ".join(f"'{state}'" for state in sorted(FINISHED))
    return _number(cluster, f"task_id != 'operations' AND {condition} AND state IN ({states})")


def _states(cluster: Cluster) -> str:
    return str(cluster.rows("SELECT task_id, state, count(*) FROM task_instance GROUP BY 1, 2 ORDER BY 1, 2"))


@contextlib.contextmanager
def _beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Do something in a thread meanwhile, which ends when it is told to."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _kill(cluster: Cluster, day: Day, chance: random.Random, over: threading.Event) -> None:
    """Kill one of each two, each minute, with all it runs; the supervisor starts it again."""
    begun = time.monotonic()
    while True:
        chosen = sorted((chance.uniform(0, PERIOD), chance.choice((kind, f"{kind}-2"))) for kind in TWICE)
        for moment, name in chosen:
            if over.wait(max(0.0, begun + moment - time.monotonic())):
                return
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended, and is being started
                for member in cluster.family(name):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        member.kill()
                day.killed[name.removesuffix("-2")] += 1
        begun += PERIOD


def _watch(cluster: Cluster, day: Day, over: threading.Event) -> None:
    """Look each few seconds at what the processes have used."""
    while not over.wait(_LOOK):
        for name, process in list(cluster.processes.items()):
            cpu, memory = 0.0, 0.0
            with contextlib.suppress(psutil.NoSuchProcess):
                for member in cluster.family(name):
                    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                        # What children used that have ended counts for their parents.
                        cpu += sum(member.cpu_times()[:4])
                        memory += member.memory_full_info().uss / 1e6 if name.startswith("triggerer") else 0.0
                key = (name.removesuffix("-2"), process.pid)
                day.cpu[key] = max(cpu, day.cpu.get(key, 0.0))
            day.triggerers += [memory] if memory else []
        day.most_sessions = max(day.most_sessions, _sessions(cluster))


def _sessions(cluster: Cluster) -> int:
    """Return how many sessions Airflow has in Postgres."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'airflow' AND pid != pg_backend_pid()"
    return int(cluster.rows(query)[0][0])


def _at_rest(cluster: Cluster) -> int:
    """Return the number of sessions after some time without work."""
    until(lambda: not cluster.ended(), "everything runs")
    time.sleep(_REST)
    return _sessions(cluster)


def _count(rig: Rig, cluster: Cluster, day: Day) -> list[Row]:
    """Compare what was asked for with what was done; return the lines of the table."""
    assert day.state == "success", _states(cluster)
    started = {project: names - day.before[project] for project, names in _started(rig).items()}
    used = {}
    for task_id, project, asked in (("imports", IMPORTING, day.imports), ("exports", EXPORTING, day.exports)):
        results = _results(cluster, task_id)
        assert [result["success"] for result in results] == [1] * asked, f"{task_id} returned {results}"
        used[project] = {result["operation"] for result in results}
        assert len(used[project]) == asked, f"two of {task_id} have one operation"
        assert used[project] <= started[project]
    assert len(_results(cluster, "sensors")) == day.sensors
    assert len(started[AWAITED]) == day.awaited
    ends = collections.Counter(end for project in started for end in rig.ends(project))
    assert ends.keys() == {"done"}, f"operations have ended otherwise: {ends}"
    objects = collections.Counter(name.split("/")[1] for name in rig.objects("exported/"))
    assert objects == {str(number): 1 for number in range(day.exports)}
    until(lambda: cluster.rows("SELECT count(*) FROM trigger") == [(0,)], "no trigger is left")
    before, after = day.sessions
    assert after <= before + _KEPT, f"{after} sessions are left in Postgres; there were {before}"
    beyond = {project: len(started[project] - used[project]) for project in used}
    return _rows(day, beyond, _tries(cluster))


def _results(cluster: Cluster, task_id: str) -> list[dict[str, Any]]:
    """Return what the mapped tasks have returned."""
    query = f"SELECT value FROM xcom WHERE dag_id = '{DAG_ID}' AND task_id = '{task_id}' AND key = 'return_value'"
    return [value for (value,) in cluster.rows(query)]


def _tries(cluster: Cluster) -> int:
    query = f"SELECT sum(try_number) FROM task_instance WHERE dag_id = '{DAG_ID}' AND task_id != 'operations'"
    return int(cluster.rows(query)[0][0])


def _rows(day: Day, beyond: dict[str, int], tries: int) -> list[Row]:
    name = "a day" if day.part == 1 else f"1/{day.part} of a day"
    cpu: collections.Counter[str] = collections.Counter()
    for (process, _), seconds in day.cpu.items():
        cpu[process] += seconds
    before, after = day.sessions
    found: list[tuple[str, str, float]] = [
        ("imports", "tasks", day.imports),
        ("exports with a filter", "tasks", day.exports),
        ("sensors", "tasks", day.sensors),
        ("took", "min", day.seconds / 60),
        *((f"killed: {kind}s", "times", day.killed[kind]) for kind in TWICE),
        ("tasks that did not succeed", "tasks", 0),
        ("tries of a task", "tries", tries / day.tasks),
        ("imports started beyond those asked for", "operations", beyond[IMPORTING]),
        ("exports started beyond those asked for", "operations", beyond[EXPORTING]),
        ("sessions in Postgres, at rest before", "sessions", before),
        ("sessions in Postgres, at most", "sessions", day.most_sessions),
        ("sessions in Postgres, at rest afterwards", "sessions", after),
        ("memory of a triggerer, at most", "MB", max(day.triggerers)),
        ("CPU of all processes, for each task", "s", sum(cpu.values()) / day.tasks),
        *((f"CPU of {process}, for each task", "s", seconds / day.tasks) for process, seconds in cpu.most_common()),
    ]
    return [row(f"{name}: {what}", OURS, unit, [value]) for what, unit, value in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=int, default=1, help="10 for a tenth of the day")
    parser.add_argument("--seed", type=int, default=1, help="chooses who is killed when")
    options = parser.parse_args()
    run(options.part, options.seed)


if __name__ == "__main__":
    main()
