"""The operators and the sensor against the emulator, without Airflow's processes around them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pydicom.data
import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.client import Client
from gcp_dicom_emulator.seeding import create_store

from airflow_dicom.hooks.endpoint import EMULATOR_CONNECTION
from airflow_dicom.links.dicom import known

STORE = {"project_id": "demo", "location": "us-central1", "dataset_id": "radiology", "dicom_store_id": "images"}
STORE_NAME = "projects/demo/locations/us-central1/datasets/radiology/dicomStores/images"
FILES = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm")


@dataclass
class TaskInstance:
    """What the operators use of a task instance."""

    dag_id: str = "dag"
    task_id: str = "task"
    run_id: str = "run"
    map_index: int = -1
    max_tries: int = 0
    try_number: int = 1
    xcoms: dict[str, Any] = field(default_factory=dict)
    #: The XComs of other tasks.
    upstream: dict[str, dict[str, Any]] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, task_ids: str, key: str) -> Any:
        return self.upstream.get(task_ids, {}).get(key)


class StoreRefuses(Exception):
    """As Airflow's ``AirflowRuntimeError`` of a server that answers 404."""


@dataclass
class TaskStateStore:
    """Airflow 3.3's task state store, as one try of a task sees it.

    :param values: what all tries have stored.
    :param replaced: whether another try has begun: the server knows only the latest, finds nothing for the others, and takes nothing.
    """

    values: dict[str, Any] = field(default_factory=dict)
    replaced: bool = False

    def get(self, key: str, default: Any = None) -> Any:
        return default if self.replaced else self.values.get(key, default)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        if self.replaced:
            raise StoreRefuses(key)
        self.values[key] = json.loads(json.dumps(value))


@dataclass
class DagRun:
    """What the operators use of a run."""

    start_date: str = "2026-01-01T00:00:00+00:00"
    clear_number: int = 0


@pytest.fixture(scope="module")
def emulator(running_dicom_emulator: Emulator) -> Emulator:
    running_dicom_emulator.reset()
    return running_dicom_emulator


@pytest.fixture(autouse=True)
def environment(emulator: Emulator, monkeypatch) -> None:
    for name, value in (emulator.environment() | EMULATOR_CONNECTION).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("airflow_dicom.triggers.dicom.MIN_SECONDS_DEFERRED", 0.0)
    monkeypatch.setattr("airflow_dicom.polling.LONGEST_PAUSE", 0.05)


@pytest.fixture(scope="module")
def seeded(emulator: Emulator) -> Emulator:
    """The emulator with a store, a BigQuery dataset, and a bucket that holds three instances and one file that is not DICOM."""
    with Client(emulator.url) as client:
        create_store(client, STORE_NAME)
    emulator.bigquery.catalog.create_dataset("demo", "dicom")
    objects = emulator.storage.objects
    objects.create_bucket("source")
    objects.create_bucket("target")
    for name in FILES:
        objects.put_bytes("source", f"good/{name}", Path(pydicom.data.get_testdata_file(name)).read_bytes())
    objects.put_bytes("source", "bad/note.txt", b"no DICOM")
    return emulator


@dataclass
class Runner:
    """Runs a task as Airflow would: ``execute``, and the trigger and its method when it defers."""

    ti: TaskInstance = field(default_factory=TaskInstance)
    #: ``None`` before Airflow 3.3.
    state: TaskStateStore | None = field(default_factory=TaskStateStore)
    dag_run: DagRun = field(default_factory=DagRun)
    deferred: int = 0
    #: Whether to lose what a deferral wants to remember, as ``dag.test()`` of Airflow up to 3.3.2 does.
    forgetful: bool = False
    #: How often Airflow has put the same try off.
    reschedules: int = 0

    def retry(self) -> None:
        """Go on to the next try, as Airflow does when one has failed or was lost."""
        self._next(self.ti.max_tries)

    def clear(self, retries: int = 0, *, run_ended: bool = False) -> None:
        """Go on to the next try, as Airflow does when a person clears the task.

        :param retries: the task's ``retries``.
        :param run_ended: whether the whole run had ended.
        """
        start = f"{self.dag_run.start_date}+" if run_ended else self.dag_run.start_date
        self.dag_run = DagRun(start, self.dag_run.clear_number + 1)
        self._next(self.ti.try_number + retries)

    def _next(self, max_tries: int) -> None:
        self.ti = replace(self.ti, try_number=self.ti.try_number + 1, max_tries=max_tries, xcoms={})
        if self.state is not None:
            self.state.replaced = True
            self.state = TaskStateStore(self.state.values)

    def run(self, task: Any, resumed: Any = None) -> Any:
        """Run a task.

        :param resumed: the task as it is rendered, or as the DAG's file has it, when it resumes.
        """
        context = {"ti": self.ti, "task": task, "dag_run": self.dag_run, "task_reschedule_count": self.reschedules}
        if self.state is not None:
            context["task_state_store"] = self.state
        try:
            return self._part(task, task.execute, context)
        except TaskDeferred as deferral:
            self.deferred += 1
            event = asyncio.run(self._event(deferral.trigger))
            remembered = {} if self.forgetful else deferral.kwargs or {}
            again = resumed or task
            return self._part(again, getattr(again, deferral.method_name), context, event=event, **remembered)

    def _part(self, task: Any, method: Any, context: Any, **arguments: Any) -> Any:
        """Run a part of a task; then ask for its links and store them, as Airflow 3 does however it ended."""
        try:
            return method(context, **arguments)
        finally:
            if find_spec("airflow.sdk"):
                for key, url in known(task).items():
                    self.ti.xcom_push(key, url)

    @staticmethod
    async def _event(trigger: Any) -> Any:
        (event,) = [event.payload async for event in trigger.run()]
        return event


@pytest.fixture
def runner() -> Runner:
    return Runner()


@pytest.fixture(params=[False, True], ids=["synchronous", "deferrable"])
def deferrable(request) -> bool:
    return request.param
