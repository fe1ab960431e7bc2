"""The operators and the sensor in a real scheduler, worker and triggerer."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest

from demo.data import BUCKET, Cloud, Source
from demo.stack import Stack

from .rig import until
from .runs import report
from .stores import SMALL

MODES = ("deferrable", "synchronous")


class Run(NamedTuple):
    """A DAG run that has ended."""

    dag_id: str
    run_id: str
    state: str
    tasks: dict[str, dict[str, Any]]


def run_in_both_modes(stack: Stack, dag: str) -> dict[str, Run]:
    ids = {mode: f"{dag}_{mode}" for mode in MODES}
    for dag_id in ids.values():
        stack.api.wait_for_dag(dag_id)
    started = {mode: stack.api.trigger(dag_id) for mode, dag_id in ids.items()}
    runs = {}
    for mode, run_id in started.items():
        state = stack.api.wait(ids[mode], run_id)
        runs[mode] = Run(ids[mode], run_id, state, stack.api.task_instances(ids[mode], run_id))
    return runs


@pytest.fixture(scope="module")
def runs(stack: Stack) -> dict[str, Run]:
    return run_in_both_modes(stack, "operators")


@pytest.fixture(scope="module")
def bad_runs(stack: Stack) -> dict[str, Run]:
    return run_in_both_modes(stack, "bad_inputs")


def names(cloud: Cloud, prefix: str) -> set[str]:
    return {blob.name.removeprefix(prefix) for blob in cloud.storage().list_blobs(BUCKET, prefix=prefix)}


@pytest.mark.parametrize("mode", MODES)
def test_every_task_succeeds(stack: Stack, runs: dict[str, Run], mode: str) -> None:
    run = runs[mode]
    states = {task["state"] for task in run.tasks.values()}
    assert (run.state, states) == ("success", {"success"}), report(stack, run.dag_id, run.run_id)


@pytest.mark.parametrize("mode", MODES)
def test_where_it_waits(stack: Stack, runs: dict[str, Run], mode: str) -> None:
    run = runs[mode]
    in_triggerer = {task_id for task_id in run.tasks if stack.trigger_log(run.dag_id, run.run_id, task_id)}
    assert in_triggerer == (run.tasks.keys() - {"submitted"} if mode == "deferrable" else set())


def test_both_modes_return_the_same(stack: Stack, runs: dict[str, Run]) -> None:
    results = {}
    for mode, run in runs.items():
        results[mode] = {task_id: stack.api.xcom(run.dag_id, run.run_id, task_id) for task_id in run.tasks}
        for task_id, result in results[mode].items():
            if isinstance(result, dict):
                assert re.search(r"/operations/\d+$", result.pop("operation")), task_id
                assert bool(result.pop("logs_url")) is result["done"], task_id
    as_text = {mode: re.sub(rf"{mode}|manual__[^\"']*", "X", repr(result)) for mode, result in results.items()}
    assert as_text["deferrable"] == as_text["synchronous"]
    results = results["deferrable"]
    assert results["import"] == {
        "done": True,
        "success": results["import"]["success"],
        "failure": 0,
        "dicom_store": "projects/demo/locations/us-central1/datasets/radiology/dicomStores/images",
    }
    assert results["import"]["success"] == len(("CT_small.dcm", "MR_small.dcm"))
    assert results["paths"] == f"gs://{BUCKET}/deferrable/filter.txt"


@pytest.mark.parametrize("mode", MODES)
def test_what_arrives(cloud: Cloud, source: Source, runs: dict[str, Run], mode: str) -> None:
    small = {uids for uids, files in source.instances.items() if any(re.fullmatch(SMALL, name) for name in files)}
    objects = {"{}/{}/{}.dcm".format(*uids) for uids in small}
    assert names(cloud, f"{mode}/{runs[mode].run_id}/") == objects
    assert names(cloud, f"{mode}/later/") == objects
    table = f"demo.dicom.operators_{mode}"
    columns = "StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, Modality"
    rows = [tuple(row) for row in cloud.bigquery().query_and_wait(f"SELECT {columns} FROM `{table}`")]
    assert {row[:3] for row in rows} == small
    assert len(rows) == len(small)
    mr_studies = {study for study, _, _, modality in rows if modality == "MR"}
    assert 0 < len(mr_studies) < len(small)
    lines = cloud.storage().bucket(BUCKET).blob(f"{mode}/filter.txt").download_as_text().splitlines()
    assert sorted(lines) == sorted(f"/studies/{study}" for study in mr_studies)
    assert names(cloud, f"{mode}/filtered/") == {name for name in objects if name.partition("/")[0] in mr_studies}


@pytest.mark.parametrize("mode", MODES)
def test_links(stack: Stack, runs: dict[str, Run], mode: str) -> None:
    run = runs[mode]
    expected = {
        "import": {"DICOM store", "Operation", "Operation logs", "Cloud Storage"},
        "to_bigquery": {"DICOM store", "Operation", "Operation logs", "BigQuery table"},
        "paths": {"Filter file", "BigQuery job"},
        "waited": {"Operation", "Operation logs"},
    }
    for task_id, link_names in expected.items():
        links = {name: url for name, url in stack.api.links(run.dag_id, run.run_id, task_id).items() if url}
        assert links.keys() == link_names, task_id
        assert all(url.startswith(stack.emulator_url) for url in links.values()), links


BAD_INPUTS = {
    "two_destinations": "one destination",
    "no_store": "nowhere",
    "broken_files": "instances failed; max_failures allows 0",
    "no_table": "nowhere",
    "no_operation": "does not know the operation",
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task_id", BAD_INPUTS)
def test_bad_input_fails_with_a_clear_text(stack: Stack, bad_runs: dict[str, Run], mode: str, task_id: str) -> None:
    run = bad_runs[mode]
    assert run.tasks[task_id]["state"] == "failed"
    # The state is there a moment before the last lines.
    until(
        lambda: BAD_INPUTS[task_id] in stack.api.log(run.dag_id, run.run_id, task_id),
        f"the log of {task_id} says why it failed",
        lambda: stack.api.log(run.dag_id, run.run_id, task_id),
        timeout=20,
    )


@pytest.mark.parametrize("mode", MODES)
def test_what_cannot_succeed_is_not_tried_again(bad_runs: dict[str, Run], mode: str) -> None:
    assert {task["try_number"] for task in bad_runs[mode].tasks.values()} == {1}


def test_airflow_knows_the_provider(stack: Stack) -> None:
    assert "airflow-dicom" in stack.airflow("providers", "list")
    links = stack.airflow("providers", "links")
    assert "airflow_dicom.links.dicom.DicomOperationLink" in links
