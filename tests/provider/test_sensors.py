"""The sensors of stores and datasets."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout
from gcp_dicom_emulator.rest.faults import Fault
from pydicom.data import get_testdata_file

from airflow_dicom.exceptions import DicomArgumentError, DicomOperationNotFound, HealthcareApiError
from airflow_dicom.operators import DicomDeidentifyDatasetOperator, DicomImportOperator
from airflow_dicom.sensors import DicomOperationSensor, DicomOperationsSensor, DicomStoreMetricsSensor
from airflow_dicom.triggers.dicom import DicomOperationsTrigger, DicomStoreMetricsTrigger

from .conftest import Runner

CT = Path(str(get_testdata_file("CT_small.dcm")))


def metrics(store, **changes) -> DicomStoreMetricsSensor:
    return DicomStoreMetricsSensor(task_id="t", **({"poke_interval": 0.02, "timeout": 20} | store.arguments | changes))


def later(seconds: float, action) -> threading.Timer:
    timer = threading.Timer(seconds, action)
    timer.start()
    return timer


def test_enough_is_there(seeded_dicom_store, runner, deferrable):
    result = runner.run(metrics(seeded_dicom_store, min_studies="3", min_series=3, min_instances=3, deferrable=deferrable))
    assert result == {"studies": 3, "series": 3, "instances": 3}
    assert runner.deferred == deferrable
    assert "dicom_store_link" in runner.ti.xcoms


def test_more_is_needed(dicom_store, runner, deferrable):
    timer = later(0.5, lambda: dicom_store.seed(CT))
    assert runner.run(metrics(dicom_store, min_instances=1, deferrable=deferrable))["instances"] == 1
    timer.join()
    with pytest.raises(AirflowSensorTimeout, match=r"did not have 2 studies, 0 series, 0 instances after|has timed out"):
        Runner().run(metrics(dicom_store, min_studies=2, timeout=0.5, deferrable=deferrable))


def test_no_growth(seeded_dicom_store, runner, deferrable):
    began = time.monotonic()
    runner.run(metrics(seeded_dicom_store, no_growth_for=timedelta(seconds=0.6), deferrable=deferrable))
    assert time.monotonic() - began >= 0.6


def test_a_store_that_is_not_there(dicom_store, runner, deferrable):
    with pytest.raises(HealthcareApiError, match="404"):
        runner.run(metrics(dicom_store, dicom_store_id="nowhere", min_studies=1, deferrable=deferrable))


def test_errors_of_the_service_are_waited_out(seeded_dicom_store, runner, deferrable):
    seeded_dicom_store.emulator.faults.add(Fault("status", method="*getDICOMStoreMetrics", code=503, times=1))
    assert runner.run(metrics(seeded_dicom_store, min_studies=1, deferrable=deferrable))["studies"] == 3


def test_conditions_that_make_no_sense(dicom_store, runner):
    with pytest.raises(DicomArgumentError, match="nothing to wait for"):
        runner.run(metrics(dicom_store))
    with pytest.raises(DicomArgumentError, match="min_studies is 'many'"):
        runner.run(metrics(dicom_store, min_studies="many"))
    with pytest.raises(DicomArgumentError, match="mode='reschedule'"):
        metrics(dicom_store, no_growth_for=1, mode="reschedule", deferrable=False)


def test_all_operations_of_a_dataset(dicom_store, runner, deferrable):
    dicom_store.upload(CT)
    faults = dicom_store.emulator.faults
    faults.add(Fault("hang", method="*import", times=2))
    for number in range(2):
        task = DicomImportOperator(
            task_id=f"i{number}", **dicom_store.arguments, gcs_uri="gs://clinic/*", wait_for_completion=False
        )
        Runner().run(task)
    parts = {name: value for name, value in dicom_store.arguments.items() if name != "dicom_store_id"}
    waiting = {"poke_interval": 0.02, "deferrable": deferrable, **parts}
    with pytest.raises(AirflowSensorTimeout, match=r"Operations still ran in projects/demo/|has timed out"):
        runner.run(DicomOperationsSensor(task_id="t", timeout=0.5, **waiting))
    timer = later(0.3, faults.clear)
    assert Runner().run(DicomOperationsSensor(task_id="t", timeout=20, **waiting)) == {"running": 0}
    timer.join()


def test_the_sensor_of_one_operation_takes_several(dicom_store, runner, deferrable):
    dicom_store.upload(CT, prefix="a/")
    dicom_store.upload(str(get_testdata_file("MR_small.dcm")), prefix="b/")
    task = DicomImportOperator(
        task_id="i", **dicom_store.arguments, gcs_uri=["gs://clinic/a/*", "gs://clinic/b/*"], wait_for_completion=False
    )
    started = Runner().run(task)
    result = runner.run(DicomOperationSensor(task_id="t", operation=started, poke_interval=0.02, deferrable=deferrable))
    assert (result["success"], result["operation"]) == (2, started["operation"])


def test_a_dataset_is_deidentified_into_a_new_one(seeded_dicom_store, runner, deferrable):
    source = seeded_dicom_store.name.rpartition("/dicomStores/")[0]
    arguments = {"dataset": source, "destination_dataset": f"{source}-research", "config": "MINIMAL_KEEP_LIST_PROFILE"}
    task = DicomDeidentifyDatasetOperator(task_id="t", **arguments, poll_interval=0.02, deferrable=deferrable)
    result = runner.run(task)
    assert (result["success"], result["destination_dataset"]) == (3, f"{source}-research")
    with pytest.raises(HealthcareApiError, match="409"):
        Runner().run(DicomDeidentifyDatasetOperator(task_id="t", **arguments, deferrable=deferrable))


@pytest.mark.parametrize(
    "trigger",
    [
        DicomStoreMetricsTrigger(dicom_store="projects/p", least={"studies": 2}, still_for=3.0, api_version="v1beta1"),
        DicomOperationsTrigger(dataset="projects/p", api_version="v1beta1"),
    ],
    ids=lambda trigger: type(trigger).__name__,
)
def test_triggers_survive_the_database(trigger):
    path, kwargs = trigger.serialize()
    again = type(trigger)(**kwargs)
    assert path == f"airflow_dicom.triggers.dicom.{type(trigger).__name__}"
    assert again.serialize() == (path, kwargs)
    assert asyncio.iscoroutinefunction(again.poll)


def test_a_sensor_that_is_rescheduled_believes_no_single_refusal(dicom_store, runner):
    """It asks again at once: until it is run the next time, it would have forgotten."""
    dicom_store.upload(CT)
    task = DicomImportOperator(task_id="i", **dicom_store.arguments, gcs_uri="gs://clinic/*", deferrable=False)
    imported = runner.run(task)["operation"]
    for times, code in ((2, 404), (2, 403), (None, 404)):
        sensor = DicomOperationSensor(task_id="t", operation=imported, mode="reschedule", deferrable=False)
        fault = dicom_store.emulator.faults.add(Fault("status", method="*operations.get", code=code, times=times))
        if times is None:
            with pytest.raises(DicomOperationNotFound):
                sensor.poke({"ti": runner.ti})
        else:
            assert sensor.poke({"ti": runner.ti}).xcom_value["success"] == 1
        assert fault.fired == (times or 3)
