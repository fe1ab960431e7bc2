"""The ledger of the incremental export: what a run adds is what that run has selected and delivered."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from gcp_dicom_emulator.client import Client
from gcp_dicom_emulator.rest.faults import Fault
from gcp_dicom_emulator.seeding import create_store
from pydicom import dcmread
from pydicom.data import get_testdata_file

from airflow_dicom.exceptions import DicomPartialFailure
from tests.unit.test_dags import dag_of

from .conftest import FILES, STORE, STORE_NAME, Runner, TaskStateStore
from .test_operators import import_task, names

pytestmark = pytest.mark.slow

DAG_FILE = Path(__file__).parents[2] / "dags/dicom_incremental_export.py"
LEDGER = "demo.dicom.incremental_ledger"

#: Google's operator of old asks for it.
DAY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def bucket(emulator) -> None:
    emulator.storage.objects.create_bucket("demo-dicom")


def query(sql: str) -> list[tuple[str, ...]]:
    from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook

    client = BigQueryHook(use_legacy_sql=False).get_client(project_id="demo")
    return [tuple(row) for row in client.query_and_wait(sql)]


def ledger(table: str = LEDGER) -> set[tuple[str, ...]]:
    """Return the run and the instance of each row."""
    rows = query(f"SELECT run_id, SOPInstanceUID FROM `{table}`")
    assert len({instance for _, instance in rows}) == len(rows)
    return set(rows)


@pytest.mark.filterwarnings("ignore::airflow.exceptions.AirflowProviderDeprecationWarning")  # of Google's operator
@pytest.mark.usefixtures("seeded", "bucket")
def test_case_02_a_run_that_is_late_adds_what_it_has_delivered(emulator, run_task):
    dag = dag_of(DAG_FILE)
    with Client(emulator.url) as client:
        create_store(client, STORE_NAME.replace("/images", "/growing"))

    def run(run_id: str, *task_ids: str) -> None:
        for task_id in task_ids:
            task = dag.get_task(task_id)
            task.params["dicom_store_id"] = "growing"
            run_task(task, run_id=run_id, dag_run=None, logical_date=DAY)

    def arrive(name: str) -> None:
        Runner().run(import_task(**STORE | {"dicom_store_id": "growing"}, gcs_uri=f"gs://source/good/{name}", deferrable=False))

    until_export = ("create_ledger", "export_metadata", "select_new")
    arrive("CT_small.dcm")
    run("day 1", *until_export, "export_new")  # and add_to_ledger fails
    arrive("MR_small.dcm")
    run("day 2", *until_export)
    fault = emulator.faults.add(Fault("fail_instances", "*.dicomStores.export", code=2))
    with pytest.raises(DicomPartialFailure):
        run("day 2", "export_new")
    emulator.faults.clear()
    assert fault.fired == 1
    run("day 1", "read_filter", "add_to_ledger")  # a person clears it
    assert len(ledger()) == 1
    run("day 3", *until_export, "export_new", "read_filter", "add_to_ledger")
    assert {run_id for run_id, _ in ledger()} == {"day 1", "day 3"}
    assert len(ledger()) == 2, "what came on day 2 is not lost"
    assert len(names(emulator, "demo-dicom", "incremental/")) == 2
    run("day 3", "read_filter", "add_to_ledger")
    assert len(ledger()) == 2


@pytest.mark.only_on_newest_airflow
@pytest.mark.filterwarnings("ignore::airflow.exceptions.AirflowProviderDeprecationWarning")
@pytest.mark.usefixtures("seeded", "bucket")
def test_case_28_a_run_that_is_cleared_fills_the_ledger_again(emulator, run_task):
    """Google's operators remember beyond a clear what they have done, unless they are told not to."""
    dag, table = dag_of(DAG_FILE), "demo.dicom.cleared_ledger"
    with Client(emulator.url) as client:
        create_store(client, STORE_NAME.replace("/images", "/cleared"))
    Runner().run(import_task(**STORE | {"dicom_store_id": "cleared"}, gcs_uri="gs://source/good/*", deferrable=False))
    memory = {task_id: TaskStateStore() for task_id in ("create_ledger", "read_filter", "add_to_ledger")}

    def run() -> None:
        for task_id in ("create_ledger", "export_metadata", "select_new", "export_new", "read_filter", "add_to_ledger"):
            task = dag.get_task(task_id)
            for name, value in {"dicom_store_id": "cleared", "ledger_table": table}.items():
                task.params[name] = value
            run_task(task, run_id="cleared", dag_run=None, logical_date=DAY, task_state_store=memory.get(task_id))

    run()
    exported = ledger(table)
    assert len(exported) == len(FILES)
    query(f"DELETE FROM `{table}` WHERE true")
    run()
    assert ledger(table) == exported


@pytest.mark.only_on_newest_airflow
@pytest.mark.filterwarnings("ignore::airflow.exceptions.AirflowProviderDeprecationWarning")
@pytest.mark.usefixtures("seeded", "bucket")
def test_of_a_store_that_streams_no_metadata_are_exported(emulator, run_task):
    """As the guide has it: ``export_metadata`` is left out, and ``select_new`` reads the table to which the store streams."""
    dag, table, name = dag_of(DAG_FILE), "demo.dicom.streaming_ledger", STORE_NAME.replace("/images", "/streaming")
    select = dag.get_task("select_new")
    select.table, select.streamed = "demo.dicom.streamed", True
    with Client(emulator.url) as client:
        create_store(client, name)
        config = {"bigqueryDestination": {"tableUri": "bq://demo.dicom.streamed", "schemaFlattened": {}}}
        client.call("PATCH", f"/v1/{name}?updateMask=streamConfigs", {"streamConfigs": [config]})

    def arrive(file: str) -> None:
        Runner().run(import_task(**STORE | {"dicom_store_id": "streaming"}, gcs_uri=f"gs://source/good/{file}", deferrable=False))

    def run(run_id: str) -> None:
        while emulator.status()["rowsToStream"]:
            time.sleep(0.1)
        for task_id in ("create_ledger", "select_new", "export_new", "read_filter", "add_to_ledger"):
            task = dag.get_task(task_id)
            values = {"dicom_store_id": "streaming", "ledger_table": table, "export_uri_prefix": "gs://demo-dicom/streaming"}
            task.params.update(values)
            run_task(task, run_id=run_id, dag_run=None, logical_date=DAY)

    arrive("MR_small.dcm")
    with Client(emulator.url) as client:
        study = dcmread(get_testdata_file("MR_small.dcm")).StudyInstanceUID
        client.call("DELETE", f"/v1/{name}/dicomWeb/studies/{study}")
    arrive("CT_small.dcm")
    run("streamed 1")
    arrive("MR_small.dcm")
    run("streamed 2")
    assert sorted(run_id for run_id, _ in ledger(table)) == ["streamed 1", "streamed 2"]
    assert len(names(emulator, "demo-dicom", "streaming/")) == 2
