"""What a task asks of Airflow: each message to its supervisor is a request to the API server, which all tasks share.

Airflow's own code runs the task, as in a worker. The supervisor adds two requests to each part: that it starts, and a heartbeat.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from airflow_dicom.operators import DicomImportOperator
from airflow_dicom.sensors import DicomOperationSensor

from .conftest import STORE

pytestmark = [pytest.mark.only_on_newest_airflow, pytest.mark.usefixtures("seeded")]

LINKS = ["SetXCom dicom_store_link", "SetXCom dicom_operation_link", "SetXCom dicom_gcs_link"]
LOGS = "SetXCom dicom_logs_link"
RETURNED = "SetXCom return_value"


class Supervisor:
    """Answers a task, and takes note of what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.xcoms: dict[str, Any] = {}

    def send(self, msg: Any) -> Any:
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse, OKResponse

        key = getattr(msg, "key", "")
        if msg.type != "MaskSecret":  # which the supervisor keeps to itself
            self.asked.append(f"{msg.type} {key}".strip())
        if msg.type == "SetXCom":
            self.xcoms[key] = msg.value
        if msg.type == "GetTaskStateStore":
            return ErrorResponse(error=ErrorType.TASK_STORE_NOT_FOUND)
        assert not msg.type.startswith("Get"), f"nobody needs {msg}"
        return OKResponse(ok=True)


class Airflow:
    """Runs the parts of a task."""

    def __init__(self, task: Any, supervisor: Supervisor) -> None:
        from airflow.sdk import DAG

        self.supervisor = supervisor
        self._dag = DAG("dag", schedule=None)
        self._dag.add_task(task)

    def run(self, try_number: int = 1) -> list[list[str]]:
        """Run a task; return what each of its parts has asked."""
        state, message = self._part(try_number)
        parts = [self._asked()]
        if state == "deferred":
            state, _ = self._part(try_number, message.next_method, asyncio.run(self._resumption(message)))
            parts.append(self._asked())
        assert state == "success"
        return parts

    def _asked(self) -> list[str]:
        asked, self.supervisor.asked = self.supervisor.asked, []
        return asked

    @staticmethod
    async def _resumption(message: Any) -> Any:
        from airflow.sdk._shared.module_loading import import_string
        from airflow.sdk.serde import deserialize, serialize

        trigger: Any = import_string(message.classpath)
        (event,) = [event.payload async for event in trigger(**deserialize(message.trigger_kwargs)).run()]
        return serialize({**deserialize(message.next_kwargs), "event": event})

    def _part(self, try_number: int, next_method: str | None = None, next_kwargs: Any = None) -> tuple[Any, Any]:
        import structlog
        from airflow.sdk.api.datamodels._generated import DagRun, TIRunContext
        from airflow.sdk.execution_time import task_runner

        now = datetime.now(UTC)
        dates = dict.fromkeys(("logical_date", "data_interval_start", "data_interval_end", "end_date", "partition_key"))
        run = DagRun(
            dag_id="dag",
            run_id="r",
            run_after=now,
            start_date=now,
            run_type="manual",
            state="running",
            consumed_asset_events=[],
            **dates,
        )
        server = TIRunContext(dag_run=run, max_tries=1, next_method=next_method, next_kwargs=next_kwargs)
        names = {"id": uuid4(), "task_id": "t", "dag_id": "dag", "run_id": "r", "try_number": try_number, "map_index": -1}
        ti = task_runner.RuntimeTaskInstance.model_construct(
            **names, task=self._dag.get_task("t"), _ti_context_from_server=server, max_tries=1, start_date=now, state="running"
        )
        context, log = ti.get_template_context(), structlog.get_logger()
        state, message, error = task_runner.run(ti, context, log)
        task_runner.finalize(ti, state, context, log, error)
        return state, message


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """``airflow(task)`` runs a task."""
    from airflow.sdk.execution_time import task_runner

    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield lambda task: Airflow(task, supervisor)
    signal.signal(signal.SIGTERM, before)


def import_task(**arguments: Any) -> DicomImportOperator:
    return DicomImportOperator(task_id="t", **STORE, gcs_uri="gs://source/good/**", poll_interval=0.02, **arguments)


def test_a_deferred_import(airflow):
    start, end = airflow(import_task(deferrable=True)).run()
    assert sorted(start) == sorted(["SetRenderedFields", "SetTaskStateStore airflow_dicom_request", "DeferTask", *LINKS])
    assert sorted(end) == sorted(["SetRenderedFields", RETURNED, "SucceedTask", LOGS])


def test_a_retry_asks_what_the_try_before_did(airflow):
    start, _ = airflow(import_task(deferrable=True)).run(try_number=2)
    assert "GetTaskStateStore airflow_dicom_request" in start


def test_the_links_are_there_while_it_is_deferred(airflow, seeded):
    one = airflow(import_task(deferrable=True))
    one._part(1)
    assert {key for key, url in one.supervisor.xcoms.items() if url.startswith(seeded.url)} == {
        link.removeprefix("SetXCom ") for link in LINKS
    }


def test_a_deferred_sensor(airflow, runner):
    started = runner.run(import_task(wait_for_completion=False))
    start, end = airflow(
        DicomOperationSensor(task_id="t", operation=started["operation"], poke_interval=0.02, deferrable=True)
    ).run()
    assert sorted(start) == ["DeferTask", "SetRenderedFields", "SetXCom dicom_operation_link"]
    assert sorted(end) == sorted(["SetRenderedFields", RETURNED, "SucceedTask", LOGS])


def test_what_fails_before_it_has_links_asks_for_none(airflow):
    one = airflow(import_task(deferrable=True, expected_instances="{{ 'x' }}"))
    state, _ = one._part(1)
    assert state in ("failed", "up_for_retry")
    assert not [asked for asked in one.supervisor.asked if "link" in asked]


def test_what_waits_in_its_worker_shows_its_links_at_once(airflow):
    (asked,) = airflow(import_task(deferrable=False)).run()
    assert asked[1:6] == ["SetTaskStateStore airflow_dicom_request", *[link for link in asked[2:5] if link in LINKS], RETURNED]
