"""What the fault tests work with: the emulator's faults over HTTP, runs of the fault DAGs, and the lines of the report."""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import re
import sqlite3
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from googleapiclient.errors import HttpError
from pydicom import dcmread
from pydicom.data import get_testdata_file

from demo.airflow_api import AIRFLOW_2, FINISHED
from demo.data import BUCKET, DATASET, LOCATION, STORE, Cloud
from demo.postgres import PostgresStack, installed
from demo.stack import Stack

MODES = ("deferrable", "synchronous")
EXPORTS = ("gcs", "bq_empty", "bq_truncate", "bq_append")
OPERATORS = ("import", *EXPORTS, "filter", "sensor")
#: What starts several operations each try.
SEVERAL = ("import_list", "delete")
#: What owns nothing of what it waits for.
SENSORS = ("sensor", "metrics_sensor", "operations_sensor")
#: What is not everywhere in the matrix: it takes the same ways as the others.
MORE_OPERATORS = (*SEVERAL, "deidentify", "storage_class", *SENSORS[1:])
#: What ``make test`` is content with.
FEW_OPERATORS = ("import", "bq_append", "filter")
INSTANCES = 2
#: Seconds that what must happen may take, also where three Airflows and others share two cores.
PATIENCE = 600

STARTS = "healthcare.projects.locations.datasets.dicomStores.*port"
#: What starts the work of the other operators, by a part of their projects' names.
OTHER_STARTS = {
    "filter": "bigquery.jobs.insert",
    "delete": "healthcare.projects.locations.datasets.dicomStores.studies.delete",
    "deidentify": "healthcare.projects.locations.datasets.dicomStores.deidentify",
    "storage-class": "healthcare.projects.locations.datasets.dicomStores.setBlobStorageSettings",
}

_CODES = {1: "cancelled"}
#: What the two instances are of.
STUDIES = [str(dcmread(str(get_testdata_file(f"{name}_small.dcm"))).StudyInstanceUID) for name in ("CT", "MR")]
_ids = itertools.count(1)

#: The lines of the report, in the order of the tests.
report: list[str] = []


def is_make_faults(config: pytest.Config) -> bool:
    """Tell whether all tests run, not only those of ``make test``."""
    return bool(config.getoption("markexpr") == "")


def kind_of_stack(config: pytest.Config) -> type[Stack]:
    """Return what the tests run on: ``make faults``, which is hard on a database, on Postgres where it is installed."""
    return PostgresStack if is_make_faults(config) and installed() else Stack


class Outcome(NamedTuple):
    """What became of a task.

    :param operations: how each operation (or BigQuery job) that the emulator saw has ended, the oldest first.
    :param arrived: rows, objects, instances or lines at the destination.
    :param state: the task's state.
    """

    operations: list[str]
    arrived: int
    state: str


def once(state: str = "success") -> Outcome:
    """Return the outcome of a task that did everything once."""
    return Outcome(["done"], INSTANCES, state)


@dataclass
class Task:
    """One operator in one mode, in one DAG run."""

    rig: Rig
    operator: str
    mode: str
    dag_id: str
    project: str
    run_id: str
    seen_before: set[str]
    conf: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.operator} {self.mode}"

    def instance(self) -> dict[str, Any]:
        """Return the task instance."""
        return self.rig.stack.api.task_instances(self.dag_id, self.run_id)["work"]

    @property
    def is_sensor(self) -> bool:
        return self.operator in SENSORS

    def state(self) -> str | None:
        state = self.instance()["state"]
        return None if state is None else str(state)

    def log(self) -> str:
        """Return the operations, and the logs of all tries."""
        texts = [f"operations: {self.ends()}"]
        for number in range(1, self.instance()["try_number"] + 1):
            with contextlib.suppress(urllib.error.HTTPError):  # a try that has not begun has none
                texts.append(self.rig.stack.api.log(self.dag_id, self.run_id, "work", number))
        return "\n".join(texts)

    def operations(self) -> list[dict[str, Any]]:
        """Return the operations, or BigQuery jobs, that were started for this task, the oldest first."""
        found = self.rig.jobs(self.project) if self.operator == "filter" else self.rig.operations(self.project)
        return [operation for operation in reversed(found) if operation["name"] not in self.seen_before]

    def ends(self) -> list[str]:
        """Return how the operations have ended, the oldest first; of those that one try starts together, the different ends."""
        ends = [_end(operation) for operation in self.operations()]
        if self.operator in SEVERAL:
            return [", ".join(dict.fromkeys(ends[start : start + 2])) for start in range(0, len(ends), 2)]
        return ends

    def arrived(self) -> int:
        """Return how much is at the destination; of a deletion, how much is gone."""
        rig = self.rig
        if self.operator == "delete":
            return INSTANCES - rig.instances(self.project)
        if self.operator in ("import", "import_list", "metrics_sensor"):
            return rig.instances(self.project)
        if self.operator == "gcs":
            return len(rig.objects(f"{self.project}/{self.run_id}/"))
        if self.operator == "filter":
            names = rig.objects(f"{self.project}/{self.run_id}/")
            assert all(name.endswith("/filter.txt") for name in names), f"{self} left {names}"
            return sum(len(rig.text(name).splitlines()) for name in names)
        if self.operator == "deidentify":
            return rig.instances(self.project, f"research-{self.run_id}")
        if self.is_sensor or self.operator == "storage_class":
            return INSTANCES
        return rig.rows(f"{self.project}.dicom.{self.run_id}")

    def outcome(self) -> Outcome:
        return Outcome(self.ends(), self.arrived(), str(self.state()))

    def workers(self) -> list[psutil.Process]:
        return self.rig.stack.worker_processes(self.instance())

    def runner(self) -> psutil.Process:
        """Return the process that runs the operator's code; its parent is Airflow's supervisor."""
        workers = self.workers()
        (runner,) = (process for process in workers if process.ppid() in {other.pid for other in workers})
        return runner

    def triggers(self, event: str) -> int:
        """Return how often a triggerer has logged for this task that its trigger was ``starting`` or ``completed``."""
        return len(re.findall(rf"trigger .*{event}", self.rig.stack.trigger_log(self.dag_id, self.run_id, "work")))


def _end(operation: dict[str, Any]) -> str:
    if not operation.get("done"):
        return "running"
    if error := operation.get("error"):
        return _CODES.get(error["code"], f"error {error['code']}")
    return "done"


class Rig:
    """A stack whose emulator suffers faults.

    :param operators: those that the tests start, of those that they name.
    """

    def __init__(self, stack: Stack, cloud: Cloud, operators: tuple[str, ...] = OPERATORS) -> None:
        self.operators = operators
        #: The projects in whose empty stores something arrives when the faults are over.
        self._late: list[str] = []
        self.stack = stack
        self.cloud = cloud
        self.healthcare = cloud.healthcare().projects().locations().datasets()
        for operator, mode in itertools.product({*operators, "gcs"}, MODES):
            self.fill(_project(operator, mode))
        self._export_table()

    # The emulator

    def fault(self, kind: str, method: str, resource: str = "*", **fields: Any) -> None:
        """Let the emulator do something wrong: once, or with all that a try starts together."""
        fields.setdefault("times", 2 if any(_project_part(operator) in resource for operator in SEVERAL) else 1)
        faults(self.stack, "POST", {"kind": kind, "method": method, "resource": resource, **fields})

    def fired(self) -> list[int]:
        """Return how often each fault has happened."""
        return [fault["fired"] for fault in faults(self.stack, "GET")["faults"]]

    def no_faults(self) -> None:
        """Let everything go well from now on, what hangs go on, and what is late arrive."""
        faults(self.stack, "DELETE")
        while self._late:
            self._import(self._late.pop())

    def operations(self, project: str) -> list[dict[str, Any]]:
        """Return a project's operations, the newest first."""
        found, operations = [], self.healthcare.operations()
        request = operations.list(name=_dataset(project), pageSize=1000)
        while request is not None:
            answer = request.execute()
            found += answer.get("operations", [])
            request = operations.list_next(request, answer)
        return found

    def jobs(self, project: str) -> list[dict[str, Any]]:
        """Return a project's export jobs in BigQuery, the newest first, in the shape of operations."""
        found = []
        for job in self.cloud.bigquery().list_jobs(project):
            if not job.job_id.startswith("airflow_dicom_"):
                continue  # it counts the lines of a filter that is written
            operation = {"name": job.job_id, "done": job.state == "DONE"}
            if job.error_result:
                operation["error"] = {"code": 1 if job.error_result["reason"] == "stopped" else 13}
            found.append(operation)
        return found

    def instances(self, project: str, store: str = STORE) -> int:
        metrics = self.healthcare.dicomStores().getDICOMStoreMetrics(name=f"{_dataset(project)}/dicomStores/{store}").execute()
        return int(metrics["instanceCount"])

    def objects(self, prefix: str) -> list[str]:
        return [blob.name for blob in self.cloud.storage().list_blobs(BUCKET, prefix=prefix)]

    def text(self, name: str) -> str:
        return str(self.cloud.storage().bucket(BUCKET).blob(name).download_as_text())

    def rows(self, table: str) -> int:
        from google.api_core.exceptions import NotFound

        try:
            ((count,),) = self.cloud.bigquery().query_and_wait(f"SELECT COUNT(*) FROM `{table}`")
        except NotFound:
            return 0
        return int(count)

    def submit(self, project: str) -> str:
        """Start an export and return the operation's name, for a sensor."""
        body = {"gcsDestination": {"uriPrefix": f"gs://{BUCKET}/{project}/submitted"}}
        name = f"{_dataset(project)}/dicomStores/{STORE}"
        return str(self.healthcare.dicomStores().export(name=name, body=body).execute()["name"])

    def cancel(self, operation: str) -> None:
        self.healthcare.operations().cancel(name=operation, body={}).execute()

    def fill(self, project: str) -> None:
        """Create a project's Healthcare dataset, its store, the instances in it, and a BigQuery dataset."""
        from google.cloud import bigquery

        self.healthcare.create(parent=f"projects/{project}/locations/{LOCATION}", datasetId=DATASET, body={}).execute()
        until(lambda: self.operations(project)[0].get("done"), f"{project} is there")
        stores = self.healthcare.dicomStores()
        stores.create(parent=_dataset(project), dicomStoreId=STORE, body={}).execute()
        self.cloud.bigquery().create_dataset(bigquery.DatasetReference(project, "dicom"))
        if not project.startswith("faults-import-"):
            self._import(project)
            until(lambda: self.operations(project)[0].get("done"), f"{project} is filled")

    def _import(self, project: str) -> str:
        """Start an import into a project's store; return the operation's name."""
        body = {"gcsSource": {"uri": f"gs://{BUCKET}/incoming/test_files/*_small.dcm"}}
        name = f"{_dataset(project)}/dicomStores/{STORE}"
        return str(self.healthcare.dicomStores().import_(name=name, body=body).execute()["name"])

    def _empty(self, project: str) -> None:
        """Delete what a project's store holds."""
        studies = self.healthcare.dicomStores().studies()
        for uid in STUDIES:
            with contextlib.suppress(HttpError):  # it is gone
                studies.delete(parent=f"{_dataset(project)}/dicomStores/{STORE}", dicomWebPath=f"studies/{uid}").execute()
        until(lambda: self.instances(project) == 0, f"{project} is empty")

    def _export_table(self) -> None:
        project = _project("gcs", "deferrable")
        body = {"bigqueryDestination": {"tableUri": "bq://demo.dicom.faults", "schemaFlattened": {}}}
        self.healthcare.dicomStores().export(name=f"{_dataset(project)}/dicomStores/{STORE}", body=body).execute()
        until(lambda: self.operations(project)[0].get("done"), "the table is there")

    # Airflow

    def start(
        self,
        operators: Iterable[str] = OPERATORS,
        modes: Iterable[str] = MODES,
        *,
        dags: str = "",
        faults: Callable[[str], None] | None = None,
        **conf: str,
    ) -> list[Task]:
        """Start a run for each operator and mode.

        :param dags: ``-timed`` for tasks that have a few seconds and one try only, ``-upgrade`` for those of release 0.1.0.
        :param faults: called with each project, to let something go wrong there.
        """
        run_id = f"run_{next(_ids)}"
        tasks = []
        for operator, mode in itertools.product([name for name in operators if name in self.operators], modes):
            project = _project(operator, mode)
            dag_id = f"{project}{dags}"
            if operator == "delete":
                self._import(project)
                until(lambda project=project: self.instances(project) == INSTANCES, f"{project} is filled again")
            elif operator == "metrics_sensor":
                self._empty(project)
            elif operator == "deidentify":
                stores = self.healthcare.dicomStores()
                stores.create(parent=_dataset(project), dicomStoreId=f"research-{run_id}", body={}).execute()
            before = {job["name"] for job in (self.jobs(project) if operator == "filter" else self.operations(project))}
            if faults is not None:
                faults(project)
            task = Task(self, operator, mode, dag_id, project, run_id, before, dict(conf))
            if operator == "metrics_sensor":
                self._late.append(project)
            elif task.is_sensor:
                task.conf["operation"] = self.submit(project)
            elif operator == "delete":
                task.conf |= {f"study_{number}": f"/studies/{uid}" for number, uid in enumerate(STUDIES, 1)}
            self.stack.api.wait_for_dag(dag_id)
            self.stack.api.trigger(dag_id, task.conf, run_id)
            tasks.append(task)
        return tasks

    def states(self, dag_id: str, run_id: str) -> dict[str, int]:
        """Return how many task instances of a run are in each state."""
        found = self.stack.api.call("GET", f"/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id)}/taskInstances?limit=100")
        total, instances = found["total_entries"], list(found["task_instances"])
        while len(instances) < total:
            path = f"/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id)}/taskInstances?limit=100&offset={len(instances)}"
            instances += self.stack.api.call("GET", path)["task_instances"]
        return dict(collections.Counter(str(instance["state"]) for instance in instances))

    def ends(self, project: str) -> list[str]:
        return [_end(operation) for operation in self.operations(project)]

    def wait_for_state(self, tasks: Iterable[Task], *states: str) -> None:
        for task in tasks:
            until(lambda task=task: task.state() in states, f"{task} is {' or '.join(states)}", task.log)

    def wait_until_waiting(self, tasks: Iterable[Task]) -> None:
        """Wait until each task waits: in the triggerer, or in a worker that has said what it waits for."""
        for task in tasks:
            until(lambda task=task: self._waits(task), f"{task} waits", task.log)

    def _waits(self, task: Task) -> bool:
        api, state = self.stack.api, task.state()
        if task.mode == "deferrable":
            return state == "deferred" and bool(self.stack.trigger_log(task.dag_id, task.run_id, "work"))
        if task.operator in SENSORS[1:]:
            return state == "running" and any(words in task.log() for words in ("has 0 studies", "1 operations run"))
        link = "dicom_filter_link" if task.operator == "filter" else "dicom_operation_link"
        return state == "running" and bool(task.operations()) and api.xcom(task.dag_id, task.run_id, "work", link) is not None

    def wait_until_paused(self, tasks: Iterable[Task]) -> None:
        """Wait until each task has stopped where its conf says.

        A busy Airflow may take a task that resumes for killed. Its next try may end without coming there; the report says so.
        """
        for task in tasks:
            until(lambda task=task: self._has_paused(task) or task.state() in FINISHED, f"{task} pauses", task.log)
            if not self._has_paused(task):
                report.append(f"{task} was not killed: Airflow took it for killed before it came there")

    def _has_paused(self, task: Task) -> bool:
        return self.stack.api.xcom(task.dag_id, task.run_id, "work", "pausing") == task.conf["pause"]

    def kill_workers(self, tasks: list[Task]) -> None:
        """``kill -9`` the processes that run the tasks."""
        victims = [process for task in tasks for process in task.workers()]
        assert victims, "no worker runs the tasks"
        for process in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.miss_heartbeats(tasks)

    def miss_heartbeats(self, tasks: Iterable[Task]) -> None:
        """Let Airflow take tasks whose heartbeats have ended for dead: at once, as if their time were up."""
        for task in tasks:
            the_try = f"dag_id = '{task.dag_id}' AND run_id = '{task.run_id}' AND state = 'running'"
            the_try += f" AND try_number = {task.instance()['try_number']}"
            until(lambda the_try=the_try: self._is_given_up(the_try), f"Airflow takes {task} for dead", task.log)

    def _is_given_up(self, the_try: str) -> bool:
        """Date a try's last heartbeat back, also one that arrived late; tell whether Airflow has seen it."""
        long_ago = "'2000-01-01 00:00:00.000000'"
        if AIRFLOW_2:
            jobs = f"SELECT job_id FROM task_instance WHERE {the_try}"
            self.stack.write(f"UPDATE job SET latest_heartbeat = {long_ago} WHERE id IN ({jobs})")
        else:
            self.stack.write(f"UPDATE task_instance SET last_heartbeat_at = {long_ago} WHERE {the_try}")
        return not self.stack.rows(f"SELECT 1 FROM task_instance WHERE {the_try}")

    def wait_until_adopted(self, tasks: Iterable[Task], times: int = 1) -> None:
        """Wait until a retry of each task waits for the operation that an earlier try started.

        :param times: how many retries of each.
        """
        for task in tasks:
            until(
                lambda task=task: task.log().count("Going on with") >= times, f"a retry of {task} adopts the operation", task.log
            )

    def check(self, fault: str, tasks: list[Task], expected: Callable[[Task], Outcome]) -> None:
        """Wait for the end of the tasks, write the report's lines, and assert what became of them."""
        for task in tasks:
            until(lambda task=task: task.state() in FINISHED, f"{task} ends", task.log)
        wrong = []
        for task in tasks:
            until(lambda task=task: "running" not in str(task.ends()), f"the operations of {task} end", task.log)
            outcome, wanted = task.outcome(), expected(task)
            mark = "" if outcome == wanted else f"  EXPECTED {wanted}"
            operations = ", ".join(outcome.operations) or "none"
            report.append(
                f"{fault:48} {task.operator:17} {task.mode:11} -> operations: {operations}; arrived: {outcome.arrived}; "
                f"task: {outcome.state}{mark}"
            )
            if mark:
                wrong.append(f"{report[-1]}\n{task.log()[-6000:]}")
        assert not wrong, "\n\n".join(wrong)


def starved(processes: Iterable[psutil.Process]) -> float:
    """Return for how many seconds the threads of processes were ready to run, and had no processor."""
    waited = 0
    for process in processes:
        for path in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                waited += int(path.read_text().split()[1])
    return waited / 1e9


def hang(rig: Rig) -> Callable[[str], None]:
    """Return what lets a project's next operation, or job, hang."""

    def add(project: str) -> None:
        rig.fault("hang", start_of(project), f"*/projects/{project}/*")

    return add


def start_of(project: str) -> str:
    """Return the method that starts an operation, or a job, for the task of a project."""
    return next((method for name, method in OTHER_STARTS.items() if f"-{name}-" in project), STARTS)


@contextlib.contextmanager
def stalled(stack: Stack, processes: list[psutil.Process]) -> Iterator[None]:
    """Let processes stand still (SIGSTOP), as a machine does that is paused or out of memory; afterwards they go on.

    They do not stand still amid a transaction: that would keep others from the database for as long.
    """
    _suspend(processes)
    while _keep_others_waiting(stack, processes):
        _resume(processes)
        time.sleep(0.1)
        _suspend(processes)
    try:
        yield
    finally:
        _resume(processes)


def _suspend(processes: list[psutil.Process]) -> None:
    for process in processes:
        process.suspend()


def _resume(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


def _keep_others_waiting(stack: Stack, processes: list[psutil.Process]) -> bool:
    """Tell whether processes that stand still may hold a lock on what others need; on SQLite, that is everything."""
    if isinstance(stack, PostgresStack):
        ports = {connection.laddr.port for process in processes for connection in process.net_connections("tcp")}
        busy = stack.rows("SELECT client_port FROM pg_stat_activity WHERE xact_start IS NOT NULL")
        return any(port in ports for (port,) in busy)
    with contextlib.closing(sqlite3.connect(stack.home / "airflow.db", timeout=1)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
    return False


def faults(stack: Stack, method: str, body: dict[str, Any] | None = None) -> Any:
    """Add (``POST``), list (``GET``) or remove (``DELETE``) the emulator's faults."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(f"{stack.emulator_url}/_emulator/faults", data, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def _project(operator: str, mode: str) -> str:
    return f"{_project_part(operator)}{mode}"


def _project_part(operator: str) -> str:
    """Return how the names of an operator's projects begin."""
    return f"faults-{operator.replace('_', '-')}-"


def _dataset(project: str) -> str:
    return f"projects/{project}/locations/{LOCATION}/datasets/{DATASET}"


def until(
    condition: Callable[[], Any],
    what: str,
    explain: Callable[[], str] | None = None,
    *,
    timeout: float = PATIENCE,
    pause: float = 1,
) -> None:
    """Wait until a condition holds.

    :param what: the condition in words.
    :param explain: returns what to show if it does not come to hold.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"After {timeout:.0f} s it is not so that {what}.\n{explain()[-8000:] if explain else ''}")
        time.sleep(pause)
