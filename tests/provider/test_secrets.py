"""Nothing of a connection's key leaves it: not into a log, a trigger's arguments, an XCom or the task state store."""

from __future__ import annotations

import json
import logging

import pytest
from gcp_dicom_emulator.keyfile import private_key

from airflow_dicom.exceptions import HealthcareApiError
from airflow_dicom.sensors import DicomOperationSensor
from tests.keyfile import connection

from .conftest import Runner
from .test_operators import export_task, filled, filter_task, import_task  # noqa: F401  filled is a fixture

KEY = private_key()


@pytest.fixture
def keyfile(emulator, monkeypatch) -> str:
    monkeypatch.setenv("AIRFLOW_CONN_KEYFILE", connection(emulator.url, KEY))
    return "keyfile"


@pytest.mark.usefixtures("filled")
def test_no_secret_leaves_the_connection(keyfile, runner, deferrable, caplog):
    caplog.set_level(logging.DEBUG)
    arguments = {"gcp_conn_id": keyfile, "deferrable": deferrable}
    seen = []

    class Watching(Runner):
        @staticmethod
        async def _event(trigger):
            seen.append(trigger.serialize())
            return await Runner._event(trigger)

    runner = Watching()
    results = [
        runner.run(import_task(**arguments)),
        runner.run(export_task(gcs_uri_prefix="gs://target/secret", **arguments)),
        runner.run(filter_task(table="demo.dicom.metadata", **arguments)),
    ]
    operation = results[0]["operation"]
    sensor = DicomOperationSensor(task_id="s", operation=operation, poke_interval=0.02, **arguments)
    results.append(runner.run(sensor))
    assert len(seen) >= (3 if deferrable else 0)
    everything = json.dumps([results, seen, runner.ti.xcoms, runner.state.values, caplog.text], default=str)
    lines = [line for line in KEY.splitlines() if not line.startswith("-----")]
    assert not [line for line in lines if line in everything]
    assert "access_token" not in everything
    assert "Bearer " not in everything


@pytest.mark.usefixtures("filled")
def test_a_rejected_token_is_replaced(keyfile, emulator, runner, deferrable, caplog):
    from gcp_dicom_emulator.rest.faults import Fault

    caplog.set_level(logging.INFO, "gcp_dicom_emulator")
    fault = emulator.faults.add(Fault("status", "*.operations.get", code=401, times=2))
    try:
        assert runner.run(import_task(gcp_conn_id=keyfile, deferrable=deferrable))["done"]
    finally:
        emulator.faults.clear()
    assert fault.fired > 0
    assert caplog.text.count("issued an access token") >= 1 + fault.fired


@pytest.mark.usefixtures("filled")
def test_a_triggerer_takes_up_a_key_that_was_replaced(keyfile, emulator, monkeypatch):
    """The account is looked up once for all waits; a key that is no longer accepted has it looked up again."""

    class Rotating(Runner):
        @staticmethod
        async def _event(trigger):
            hook = trigger.hook()
            with monkeypatch.context() as withdrawn:
                withdrawn.setenv("AIRFLOW_CONN_KEYFILE", connection(f"{emulator.url}/withdrawn", KEY))
                async with hook:
                    with pytest.raises(HealthcareApiError, match="No access token"):
                        await trigger.poll(hook)
            return await Runner._event(trigger)

    assert Rotating().run(import_task(gcp_conn_id=keyfile, deferrable=True))["done"]
