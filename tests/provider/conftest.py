"""The operators and the sensor against the emulator, without Airflow's processes around them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom.data
import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.client import Client
from gcp_dicom_emulator.seeding import create_store

from airflow_dicom.hooks.endpoint import EMULATOR_CONNECTION

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


class TaskStateStore(dict):
    """What the operators use of Airflow 3.3's task state store."""

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self[key] = json.loads(json.dumps(value))


@pytest.fixture(scope="module")
def emulator(running_dicom_emulator: Emulator) -> Emulator:
    running_dicom_emulator.reset()
    return running_dicom_emulator


@pytest.fixture(autouse=True)
def environment(emulator: Emulator, monkeypatch) -> None:
    for name, value in (emulator.environment() | EMULATOR_CONNECTION).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("airflow_dicom.triggers.dicom.MIN_SECONDS_DEFERRED", 0.0)


@pytest.fixture(scope="module")
def seeded(emulator: Emulator) -> Emulator:
    """The emulator with a store, a BigQuery dataset, and a bucket that holds three instances and one file that is no DICOM."""
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
    state: TaskStateStore = field(default_factory=TaskStateStore)
    deferred: int = 0
    #: Whether to lose what a deferral wants to remember, as ``dag.test()`` of Airflow up to 3.3.2 does.
    forgetful: bool = False

    def run(self, task: Any) -> Any:
        context = {"ti": self.ti, "task_state_store": self.state, "task": task}
        try:
            return task.execute(context)
        except TaskDeferred as deferral:
            self.deferred += 1
            event = asyncio.run(self._event(deferral.trigger))
            remembered = {} if self.forgetful else deferral.kwargs or {}
            return getattr(task, deferral.method_name)(context, event=event, **remembered)

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
