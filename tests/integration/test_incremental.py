"""The incremental export: what is new, once; nothing on an empty day; what arrived late or failed, by the next run."""

from __future__ import annotations

import pytest

from demo.data import BUCKET, DATASET, LOCATION, PROJECT, Cloud
from demo.stack import Stack

from .rig import until

DAG_ID = "dicom_incremental_export"
PREFIX = "incremental-test"
PARENT = f"projects/{PROJECT}/locations/{LOCATION}/datasets/{DATASET}"


def run(stack: Stack, run_id: str) -> dict[str, str]:
    """Run the DAG and return the state of each task."""
    conf = {
        "dicom_store_id": "incremental",
        "metadata_table": "demo.dicom.incremental_test_metadata",
        "delivered_table_prefix": "demo.dicom.incremental_test_delivered",
        "ledger_table": "demo.dicom.incremental_test_ledger",
        "export_uri_prefix": f"gs://{BUCKET}/{PREFIX}",
        "filter_uri_prefix": f"gs://{BUCKET}/{PREFIX}-filters",
    }
    stack.api.trigger(DAG_ID, conf, run_id)
    stack.api.wait(DAG_ID, run_id)
    tasks = stack.api.task_instances(DAG_ID, run_id)
    failed = [task_id for task_id, task in tasks.items() if task["state"] == "failed"]
    assert not failed, "\n".join(stack.api.log(DAG_ID, run_id, task_id) for task_id in failed)
    return {task_id: task["state"] for task_id, task in tasks.items()}


@pytest.mark.only_on_newest_airflow
def test_incremental_export(stack: Stack, cloud: Cloud) -> None:
    datasets = cloud.healthcare().projects().locations().datasets()
    stores = datasets.dicomStores()
    stores.create(parent=PARENT, dicomStoreId="incremental", body={}).execute()
    storage = cloud.storage()

    def arrive(name: str) -> None:
        body = {"gcsSource": {"uri": f"gs://{BUCKET}/incoming/test_files/{name}"}}
        operation = stores.import_(name=f"{PARENT}/dicomStores/incremental", body=body).execute()["name"]
        until(lambda: datasets.operations().get(name=operation).execute().get("done"), f"{name} has arrived")

    def exported() -> dict[str, int]:
        return {blob.name: blob.generation for blob in storage.list_blobs(BUCKET, prefix=f"{PREFIX}/")}

    stack.api.wait_for_dag(DAG_ID)
    arrive("CT_small.dcm")
    arrive("MR_small.dcm")
    assert set(run(stack, "first").values()) == {"success"}
    first = exported()
    assert len(first) == 2

    states = run(stack, "nothing_new")
    assert states["select_new"] == states["export_new"] == states["add_to_ledger"] == "skipped"
    assert exported() == first

    arrive("rtplan.dcm")
    assert set(run(stack, "late").values()) == {"success"}
    late = exported()
    assert len(late) == 3
    assert first.items() <= late.items(), "what was exported is not exported again"

    # A run whose ledger was never written is made good by the next one.
    cloud.bigquery().query_and_wait("DELETE FROM demo.dicom.incremental_test_ledger WHERE run_id = 'late'")
    assert set(run(stack, "again").values()) == {"success"}
    rows = cloud.bigquery().query_and_wait(
        "SELECT COUNT(*), COUNT(DISTINCT SOPInstanceUID) FROM demo.dicom.incremental_test_ledger"
    )
    assert [tuple(row) for row in rows] == [(3, 3)]
