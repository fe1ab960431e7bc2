"""The example DAGs in a real scheduler, worker and triggerer: each runs to success and does what it says. Others are in
``test_examples_stores.py``, since each file is run by one process.
"""

from __future__ import annotations

from typing import Any

import pytest

from demo.data import BUCKET, INCOMING, PROJECT, Cloud, Source
from demo.stack import Stack

from .runs import run_to_success
from .stores import SMALL, in_store, instances_in, make_store, names, objects

pytestmark = pytest.mark.only_on_newest_airflow

STORE = "examples"
TABLE = f"{PROJECT}.dicom.examples"


@pytest.fixture(scope="module", autouse=True)
def store(cloud: Cloud) -> None:
    """A DICOM store of their own: the other tests count what is in theirs."""
    make_store(cloud, STORE)


def run(stack: Stack, dag_id: str, **conf: Any) -> str:
    """Run an example to success, with the defaults of its form but for what is given, and return the run's id."""
    return run_to_success(stack, dag_id, {"dicom_store_id": STORE, **conf})


def test_import_then_export_then_metadata(stack: Stack, cloud: Cloud, source: Source) -> None:
    small = instances_in(source, SMALL)
    run_id = run(stack, "dicom_import")
    assert stack.api.xcom("dicom_import", run_id, "import_instances")["success"] == len(small)
    assert in_store(cloud, STORE) == len(small)

    run(stack, "dicom_export", gcs_uri_prefix=f"gs://{BUCKET}/examples/all")
    assert names(cloud, "examples/all/") == objects(small)

    for _ in range(2):
        run(stack, "dicom_metadata_to_bigquery", bigquery_table=TABLE)
    rows = cloud.bigquery().query_and_wait(f"SELECT StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID FROM `{TABLE}`")
    assert sorted(tuple(row) for row in rows) == sorted(small)


def test_filtered_export(stack: Stack, cloud: Cloud, source: Source) -> None:
    run_id = run(
        stack,
        "dicom_filtered_export",
        gcs_uri=f"gs://{BUCKET}/{INCOMING}test_files/*_small.dcm",
        bigquery_table=TABLE,
        query=f"SELECT StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID FROM `{TABLE}` WHERE Modality = 'CT'",
        export_uri_prefix=f"gs://{BUCKET}/examples/filtered",
    )
    assert names(cloud, "examples/filtered/") == objects(instances_in(source, r"test_files/CT_small\.dcm"))
    assert stack.api.xcom("dicom_filtered_export", run_id, "build_filter", "expected_instances") == 1


def test_submit_and_wait(stack: Stack) -> None:
    run_id = run(stack, "dicom_submit_and_wait")
    submitted, waited = (stack.api.xcom("dicom_submit_and_wait", run_id, task_id) for task_id in ("submit", "wait"))
    assert submitted["operation"] == waited["operation"]
    assert waited["done"]
    assert waited["failure"] == 0
