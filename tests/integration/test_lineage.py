"""What the real OpenLineage provider writes of each operator to a file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from demo.data import DATASET, LOCATION, PROJECT, Cloud
from demo.stack import Stack

from .rig import until
from .runs import run_to_success

pytestmark = pytest.mark.only_on_newest_airflow

Names = set[tuple[str, str]]

STORE = ("dicomstore", f"{PROJECT}/{LOCATION}/{DATASET}/lineage")
TABLE = ("bigquery", "demo.dicom.lineage")
BUCKET = "gs://demo-dicom"

EXPECTED: dict[str, tuple[Names, Names]] = {
    "import_instances": ({(BUCKET, "incoming/test_files")}, {STORE}),
    "export_metadata": ({STORE}, {TABLE}),
    "build_filter": ({TABLE}, {(BUCKET, "lineage/query.txt")}),
    "write_filter": (set(), {(BUCKET, "lineage/paths.txt")}),
    "export_instances": ({STORE, (BUCKET, "lineage/query.txt")}, {(BUCKET, "lineage/exported")}),
}


def completed(stack: Stack, run_id: str) -> dict[str, dict[str, Any]]:
    """Return the events of tasks of the run that have succeeded, by task."""
    path = stack.home / "lineage.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {
        event["job"]["name"].removeprefix("lineage."): event
        for event in events
        if event["eventType"] == "COMPLETE"
        and event["job"]["name"].startswith("lineage.")
        and event["run"]["facets"]["parent"]["job"]["name"] == "lineage"
        and event["run"]["facets"]["airflow"]["dagRun"]["run_id"] == run_id
    }


def names(datasets: list[dict[str, Any]]) -> Names:
    return {(dataset["namespace"], dataset["name"]) for dataset in datasets}


@pytest.fixture(scope="module")
def events(stack: Stack, cloud: Cloud) -> dict[str, dict[str, Any]]:
    stores = cloud.healthcare().projects().locations().datasets().dicomStores()
    parent = f"projects/{PROJECT}/locations/{LOCATION}/datasets/{DATASET}"
    stores.create(parent=parent, dicomStoreId="lineage", body={}).execute()
    run_id = run_to_success(stack, "lineage")
    until(lambda: completed(stack, run_id).keys() >= EXPECTED.keys(), "the events are written")
    return completed(stack, run_id)


@pytest.mark.parametrize("task_id", EXPECTED)
def test_inputs_and_outputs(events: dict[str, dict[str, Any]], task_id: str) -> None:
    event = events[task_id]
    assert (names(event["inputs"]), names(event["outputs"])) == EXPECTED[task_id]


def test_the_work_at_google_has_a_name(events: dict[str, dict[str, Any]]) -> None:
    work = {task_id: event["run"]["facets"].get("externalQuery") for task_id, event in events.items()}
    assert "/operations/" in work["import_instances"]["externalQueryId"]
    assert "/operations/" in work["export_metadata"]["externalQueryId"]
    assert work["build_filter"]["externalQueryId"].startswith("airflow_dicom_")
    assert work["build_filter"]["source"] == "bigquery"
    assert work["write_filter"] is None
