"""The example DAGs that make, fill and empty stores of their own, or begin when something arrives."""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from demo.data import BUCKET, INCOMING, PROJECT, Cloud, Source
from demo.stack import Stack
from demo.ui import POOL

from .rig import faults, until
from .runs import run_to_success, wait_for_success
from .stores import PARENT, SMALL, in_store, instances_in, make_store, names, objects

pytestmark = pytest.mark.only_on_newest_airflow

STORE = "examples-stores"
FOLDERS = ("77654033", "98892001", "98892003")


@pytest.fixture(scope="module", autouse=True)
def store(cloud: Cloud) -> None:
    """A DICOM store of their own: the other tests count what is in theirs."""
    make_store(cloud, STORE)


def test_scratch_store(stack: Stack, cloud: Cloud, source: Source) -> None:
    table = f"{PROJECT}.dicom.scratch"
    run_id = run_to_success(stack, "dicom_scratch_store", {"bigquery_table": table})
    ((rows,),) = cloud.bigquery().query_and_wait(f"SELECT COUNT(*) FROM `{table}`")
    assert rows == len(instances_in(source, SMALL))
    made = stack.api.xcom("dicom_scratch_store", run_id, "make")["name"]
    stores = cloud.healthcare().projects().locations().datasets().dicomStores()
    left = stores.list(parent=made.partition("/dicomStores/")[0]).execute()["dicomStores"]
    assert made not in [store["name"] for store in left]


@pytest.fixture
def pool_of_two(stack: Stack) -> Iterator[None]:
    """Two slots for the example's pool, which also deferred tasks take; the documentation's blocks may have made one."""
    with contextlib.suppress(urllib.error.HTTPError):
        stack.api.call("DELETE", f"/pools/{POOL['name']}")
    stack.api.call("POST", "/pools", POOL)
    yield
    stack.api.call("DELETE", f"/pools/{POOL['name']}")


def test_mapped_import_through_a_pool(stack: Stack, cloud: Cloud, source: Source, pool_of_two: None) -> None:
    before = in_store(cloud, STORE)
    stack.api.wait_for_dag("dicom_mapped_import")
    faults(stack, "POST", {"kind": "slow", "method": "*.dicomStores.import", "times": None, "seconds": 8})
    try:
        run_id = stack.api.trigger("dicom_mapped_import", {"dicom_store_id": STORE})
        at_a_time: set[int] = set()

        def ended() -> bool:
            tasks = stack.api.call("GET", f"/dags/dicom_mapped_import/dagRuns/{urllib.parse.quote(run_id)}/taskInstances")
            states = [task["state"] for task in tasks["task_instances"] if task["task_id"] == "import_folder"]
            at_a_time.add(sum(state in ("queued", "running", "deferred") for state in states))
            return bool(states) and all(state in ("success", "failed", "upstream_failed") for state in states)

        until(ended, "the folders are imported")
    finally:
        faults(stack, "DELETE")
    wait_for_success(stack, "dicom_mapped_import", run_id)
    assert max(at_a_time) == 2
    imported = instances_in(source, rf"test_files/dicomdirtests/({'|'.join(FOLDERS)})/")
    assert in_store(cloud, STORE) == before + len(imported)


def test_import_on_arrival(stack: Stack, cloud: Cloud, source: Source) -> None:
    [name] = source.instances[next(iter(instances_in(source, r"test_files/dicomdirtests/77654033/CT2/")))]
    stack.api.wait_for_dag("dicom_import_on_arrival")
    conf = {"dicom_store_id": STORE, "wait_for": "arriving/complete", "files": "arriving/**.dcm"}
    run_id = stack.api.trigger("dicom_import_on_arrival", conf)

    def waits() -> bool:
        return bool(stack.api.task_instances("dicom_import_on_arrival", run_id)["arrived"]["state"] == "deferred")

    until(waits, "the sensor waits")
    bucket = cloud.storage().bucket(BUCKET)
    bucket.blob("arriving/a/1.dcm").upload_from_filename(source.files[name])
    bucket.blob("arriving/complete").upload_from_string("")
    wait_for_success(stack, "dicom_import_on_arrival", run_id)
    assert stack.api.xcom("dicom_import_on_arrival", run_id, "import_instances")["success"] == 1


def test_an_import_starts_who_waits_for_the_store(stack: Stack, cloud: Cloud, source: Source) -> None:
    stack.api.wait_for_dag("dicom_asset_metadata")
    run_to_success(stack, "dicom_asset_import")

    def runs() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = stack.api.call("GET", "/dags/dicom_asset_metadata/dagRuns")["dag_runs"]
        return found

    until(lambda: bool(runs()), "the DAG that waits for the store has started")
    [started] = runs()
    events = stack.api.call(
        "GET", f"/dags/dicom_asset_metadata/dagRuns/{urllib.parse.quote(started['dag_run_id'])}/upstreamAssetEvents"
    )
    assert [event["extra"]["success"] for event in events["asset_events"]] == [len(instances_in(source, SMALL))]
    assert started["run_type"] == "asset_triggered"
    wait_for_success(stack, "dicom_asset_metadata", started["dag_run_id"])
    rows = cloud.bigquery().query_and_wait(f"SELECT SOPInstanceUID FROM `{PROJECT}.dicom.metadata`")
    assert {row[0] for row in rows} >= {uids[2] for uids in instances_in(source, SMALL)}


def test_archive_and_retention(stack: Stack, cloud: Cloud, source: Source) -> None:
    """Side by side, each in a store with three instances of its own."""
    files = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm")
    wanted = {uids for uids, names in source.instances.items() if {f"test_files/{file}" for file in files} & set(names)}
    runs = {}
    for dag_id in ("dicom_archive_lifecycle", "dicom_retention"):
        make_store(cloud, dag_id.replace("_", "-"), *[f"gs://{BUCKET}/{INCOMING}test_files/{file}" for file in files])
        stack.api.wait_for_dag(dag_id)
        runs[dag_id] = stack.api.trigger(dag_id, {"dicom_store_id": dag_id.replace("_", "-"), "days": 1})
    for dag_id, run_id in runs.items():
        wait_for_success(stack, dag_id, run_id)

    (dated,) = cloud.bigquery().query_and_wait(f"SELECT COUNT(*) FROM `{PROJECT}.dicom.lifecycle` WHERE StudyDate IS NOT NULL")
    assert stack.api.xcom("dicom_archive_lifecycle", runs["dicom_archive_lifecycle"], "archive")["success"] == dated[0] > 0
    kept = {name.partition("/")[2] for name in names(cloud, "retained/")}
    assert kept <= objects(wanted)
    assert len(kept) == dated[0]
    as_sent = {source.files[f"test_files/{file}"].read_bytes() for file in files}
    for blob in cloud.storage().list_blobs(BUCKET, prefix="retained/"):
        assert blob.download_as_bytes() in as_sent
    stores = cloud.healthcare().projects().locations().datasets().dicomStores()
    left = stores.getDICOMStoreMetrics(name=f"{PARENT}/dicomStores/dicom-retention").execute()
    assert int(left.get("instanceCount", 0)) == len(wanted) - len(kept)
