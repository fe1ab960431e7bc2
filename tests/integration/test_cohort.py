"""The example DAG of a research cohort, which asks a person, in a real scheduler, worker and triggerer."""

from __future__ import annotations

import io
import json
import re
import urllib.parse
from typing import Any

import pydicom
import pytest

from demo.data import BUCKET, INCOMING, PROJECT, Cloud, Source, Uids
from demo.stack import Stack

from .rig import until
from .runs import report, wait_for_success
from .stores import PARENT, instances_in, make_store, names

pytestmark = pytest.mark.only_on_newest_airflow

STORE = "cohort-source"


class Cohort:
    """A run of the cohort's DAG, and the person who answers."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        stack.api.wait_for_dag("dicom_research_cohort")
        conf = {"dicom_store_id": STORE, "bigquery_table": f"{PROJECT}.dicom.cohort", "where": "Modality = 'CT'"}
        self.run_id = stack.api.trigger("dicom_research_cohort", conf)
        run = f"/dags/dicom_research_cohort/dagRuns/{urllib.parse.quote(self.run_id)}"
        self.task = f"{run}/taskInstances/research_copy.approve/-1/hitlDetails"
        self.store = f"cohort-{self.run_id.replace(':', '-').replace('+', '-')}"

    def question(self) -> dict[str, Any]:
        """Wait until it is asked, and return what the form shows.

        Airflow takes a task for killed that is answered before its scheduler has read that the worker is done.
        """
        until(
            lambda: self.states()["research_copy.approve"] == "awaiting_input", "it asks", lambda: report(self.stack, *self.run)
        )
        key = f"task_id='research_copy.approve', run_id='{re.escape(self.run_id)}'"
        done = re.compile(f"Received executor event with state success for task instance .*{key}")
        until(lambda: done.search(self.stack.log("scheduler")), "the scheduler has read that it asks")
        detail: dict[str, Any] = self.stack.api.call("GET", self.task)
        return detail

    def answer(self, option: str) -> None:
        self.stack.api.call("PATCH", self.task, {"chosen_options": [option], "params_input": {}})

    @property
    def run(self) -> tuple[str, str]:
        return "dicom_research_cohort", self.run_id

    def states(self) -> dict[str, str]:
        return {name: task["state"] for name, task in self.stack.api.task_instances(*self.run).items()}

    def stores(self, cloud: Cloud) -> list[str]:
        """Return the names of the dataset's stores."""
        stores = cloud.healthcare().projects().locations().datasets().dicomStores()
        found = stores.list(parent=PARENT).execute()["dicomStores"]
        return [store["name"].rpartition("/")[2] for store in found]


def test_research_cohort(stack: Stack, cloud: Cloud, source: Source) -> None:
    """In one run after the other: approved; rejected; approved when the store has changed."""
    make_store(cloud, STORE, f"gs://{BUCKET}/{INCOMING}test_files/*_small.dcm")
    cohort = Cohort(stack)
    question = cohort.question()
    wanted = selected(cloud)
    assert set(wanted) >= instances_in(source, r"test_files/CT_small\.dcm")
    assert question["subject"] == f"De-identify {len(wanted)} instances?"
    assert f"| instances | {len(wanted)} |" in question["body"]
    assert "\n    Modality = 'CT'" in question["body"]
    assert cohort.store not in cohort.stores(cloud)  # nothing is made yet
    cohort.answer("Approve")
    wait_for_success(stack, *cohort.run)

    folder = f"research/{cohort.store}/"
    manifest = json.loads(cloud.storage().bucket(BUCKET).blob(f"{folder}manifest.json").download_as_bytes())
    assert manifest["where"] == "Modality = 'CT'"
    assert manifest["approved"]["instances"] == len(manifest["instances"]) == len(wanted)
    assert {one["name"] for one in manifest["instances"]} == {
        f"{folder}{name}" for name in names(cloud, folder) - {"manifest.json"}
    }
    before = [pydicom.dcmread(source.files[source.instances[uids][0]]) for uids in wanted]
    removed = {str(one[keyword].value).encode() for one in before for keyword in REMOVED if one.get(keyword)}
    assert len(removed) > 5
    for one in manifest["instances"]:
        content = cloud.storage().bucket(BUCKET).blob(one["name"]).download_as_bytes()
        assert len(content) == one["bytes"]
        assert [value for value in removed if value in content] == []
        left = pydicom.dcmread(io.BytesIO(content))
        assert left.PatientIdentityRemoved == "YES"
        assert left.pixel_array.tobytes() in {one.pixel_array.tobytes() for one in before}

    rejected = Cohort(stack)
    rejected.question()
    operations = deidentifications(cloud)
    rejected.answer("Reject")
    wait_for_success(stack, *rejected.run)
    done, skipped = ("export_metadata", "select", "approve"), ("make_store", "deidentify", "export")
    states = {f"research_copy.{name}": "success" for name in done} | {f"research_copy.{name}": "skipped" for name in skipped}
    assert rejected.states() == {**states, "manifest": "skipped"}
    assert deidentifications(cloud) == operations
    assert rejected.store not in rejected.stores(cloud)

    late = Cohort(stack)
    late.question()
    operations = deidentifications(cloud)
    remove(cloud, wanted[0])
    late.answer("Approve")
    assert stack.api.wait(*late.run) == "failed"
    assert late.states()["research_copy.deidentify"] == "failed"
    said = re.compile(rf"was approved with {len(wanted)} instances; .* now holds {len(wanted) - 1} of")
    until(lambda: said.search(stack.api.log(*late.run, "research_copy.deidentify")), "the log says why", timeout=20)
    assert deidentifications(cloud) == operations
    assert names(cloud, f"research/{late.store}/") == set()


#: What the basic profile takes away, of what those files have, and what is long enough to be looked for among bytes.
REMOVED = ("PatientName", "PatientID", "StudyDate", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "StudyID")


def selected(cloud: Cloud) -> list[Uids]:
    """Return the instances of the studies that have a CT, by the table that the run has just written."""
    table = f"`{PROJECT}.dicom.cohort`"
    studies = f"SELECT StudyInstanceUID FROM {table} WHERE Modality = 'CT'"
    uids = "StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID"
    rows = cloud.bigquery().query_and_wait(f"SELECT {uids} FROM {table} WHERE StudyInstanceUID IN ({studies})")
    return [tuple(row) for row in rows]


def deidentifications(cloud: Cloud) -> int:
    """Return how many operations the dataset has seen that de-identify."""
    operations = cloud.healthcare().projects().locations().datasets().operations()
    answer = operations.list(name=PARENT, pageSize=1000).execute()
    return sum("Deidentify" in one["metadata"]["apiMethodName"] for one in answer["operations"])


def remove(cloud: Cloud, uids: Uids) -> None:
    """Delete one instance."""
    study, series, instance = uids
    instances = cloud.healthcare().projects().locations().datasets().dicomStores().studies().series().instances()
    instances.delete(
        parent=f"{PARENT}/dicomStores/{STORE}", dicomWebPath=f"studies/{study}/series/{series}/instances/{instance}"
    ).execute()
