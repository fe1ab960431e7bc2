"""A sensor that begins in the triggerer: which ones do, what the trigger finds out by itself, and what it leaves to a worker."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.operators import DicomImportOperator
from airflow_dicom.sensors import DicomOperationSensor
from airflow_dicom.triggers.dicom import DicomOperationStartTrigger

from .conftest import STORE, Runner

pytestmark = pytest.mark.only_on_newest_airflow

NAME = "projects/demo/locations/us-central1/datasets/radiology/operations/1"


class Mine(DicomOperationSensor):
    """A user's own."""


def sensor(*, kind: Any = DicomOperationSensor, dag: dict[str, Any] | None = None, **arguments: Any) -> DicomOperationSensor:
    with DAG("d", schedule=None, **(dag or {})):
        started = DicomImportOperator(task_id="started", **STORE, gcs_uri="gs://b/**", wait_for_completion=False)
        if arguments.get("operation") == "output":
            arguments["operation"] = started.output
        return kind(task_id="s", **({"operation": NAME, "deferrable": True} | arguments))


@pytest.mark.parametrize("operation", [NAME, {"operation": NAME}, "output"])
def test_begins_in_the_triggerer(operation):
    task = sensor(operation=operation, timeout=60, poke_interval=5, gcp_conn_id="mine")
    assert task.start_from_trigger
    arguments = task.start_trigger_args
    assert arguments.timeout == timedelta(seconds=360)
    assert arguments.trigger_kwargs["operation"] == (
        {"task_id": "started", "key": "return_value"} if operation == "output" else NAME
    )
    assert arguments.trigger_kwargs["gcp_conn_id"] == "mine"


@pytest.mark.parametrize(
    "arguments",
    [
        {"deferrable": False},
        {"operation": "{{ params.operation }}"},
        {"operation": "nonsense"},
        {"gcp_conn_id": "{{ var.value.connection }}"},
        {"max_failures": "{{ params.most }}"},
        {"impersonation_chain": ["a", "{{ params.b }}"]},
        {"max_failures": "many"},
        {"kind": Mine},
        {"execution_timeout": timedelta(hours=1)},
        {"pre_execute": print},
        {"on_execute_callback": print},
        {"max_active_tis_per_dag": 1},
        {"dag": {"params": {"x": 1}}},
    ],
    ids=str,
)
def test_begins_in_a_worker(arguments):
    assert not sensor(**arguments).start_from_trigger


def test_mapped_sensors_begin_in_a_worker():
    with DAG("d", schedule=None):
        mapped = DicomOperationSensor.partial(task_id="s", deferrable=True).expand(operation=[NAME])
    assert not mapped.start_from_trigger


def test_what_airflow_stores_of_it():
    from airflow.models.trigger import Trigger
    from airflow.serialization.decoders import smart_decode_trigger_kwargs
    from airflow.serialization.serialized_objects import DagSerialization

    task = sensor(operation="output", impersonation_chain=["a", "b"])
    stored = DagSerialization.from_dict(DagSerialization.to_dict(task.dag)).get_task("s")
    assert stored.start_from_trigger
    kept = Trigger._decrypt_kwargs(Trigger.encrypt_kwargs(stored.start_trigger_args.trigger_kwargs))
    assert {key: smart_decode_trigger_kwargs(value) for key, value in kept.items()} == task.start_trigger_args.trigger_kwargs


class Triggerer:
    """Answers a trigger.

    :param pushed: the XComs of other tasks, by task id.
    """

    def __init__(self, **pushed: Any) -> None:
        self.pushed = pushed
        self.xcoms: dict[str, Any] = {}

    async def asend(self, msg: Any) -> Any:
        from airflow.sdk.execution_time.comms import OKResponse, XComResult

        if msg.type == "SetXCom":
            self.xcoms[msg.key] = msg.value
            return OKResponse(ok=True)
        return XComResult(key=msg.key, value=self.pushed.get(msg.task_id))

    def event(self, monkeypatch: pytest.MonkeyPatch, task: DicomOperationSensor, ends: datetime | None = None) -> dict[str, Any]:
        """Return the event of a sensor's trigger."""
        from airflow.sdk.execution_time import task_runner

        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", self, raising=False)
        trigger = DicomOperationStartTrigger(**task.start_trigger_args.trigger_kwargs)
        trigger.task_instance = SimpleNamespace(dag_id="d", task_id="s", run_id="r", map_index=-1)
        trigger.timeout_after = ends or datetime.now(UTC) + timedelta(seconds=330)

        async def run() -> Any:
            (event,) = [event.payload async for event in trigger.run()]
            return event

        return asyncio.run(run())


@pytest.fixture
def started(seeded) -> dict[str, Any]:
    task = DicomImportOperator(task_id="t", **STORE, gcs_uri="gs://source/good/**", wait_for_completion=False)
    return Runner().run(task)


def test_it_finds_the_operation_and_shows_the_link(monkeypatch, started, runner):
    triggerer, task = Triggerer(started=started), sensor(operation="output", poke_interval=0.02)
    event = triggerer.event(monkeypatch, task)
    assert event["status"] == "done"
    assert started["operation"].replace("/", "%2F") in triggerer.xcoms["dicom_operation_link"]
    result = task.execute_complete({"ti": runner.ti}, event)
    assert (result["operation"], result["success"]) == (started["operation"], 3)
    assert runner.ti.xcoms == {}


def test_it_ends_with_the_sensor_s_timeout(monkeypatch, started):
    task = sensor(operation="output", poke_interval=0.02, timeout=30)
    event = Triggerer(started=started | {"operation": NAME}).event(monkeypatch, task, datetime.now(UTC) + timedelta(seconds=299))
    assert event["status"] in ("timeout", "error")


@pytest.mark.parametrize("pushed", [None, "nonsense", {"other": 1}], ids=str)
def test_what_it_cannot_find_out_it_leaves_to_a_worker(monkeypatch, seeded, runner, pushed):
    task = sensor(operation="output")
    event = Triggerer(started=pushed).event(monkeypatch, task)
    assert event == {"status": "worker"}
    task.operation = pushed if pushed != {"other": 1} else "x"  # as Airflow renders it
    with pytest.raises(DicomArgumentError, match="is not the name of a long-running operation"):
        task.execute_complete({"ti": runner.ti}, event)
