"""The chains as one call, run as they are in a DAG."""

from __future__ import annotations

import io
from typing import Any

import pydicom
import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.task_groups import dicom_filtered_export, dicom_research_copy
from airflow_dicom.typing import DicomStoreArguments

pytestmark = pytest.mark.slow

TABLE = "demo.groups.metadata"


@pytest.fixture
def store(seeded_dicom_store, monkeypatch) -> Any:
    monkeypatch.setattr("airflow_dicom.polling.LONGEST_PAUSE", 0.05)
    seeded_dicom_store.emulator.bigquery.catalog.create_dataset("demo", "groups")
    return seeded_dicom_store


def arguments(store: Any) -> dict[str, Any]:
    return {"store": store.arguments, "bigquery_table": TABLE, "filter_uri": "gs://clinic/filters/{{ run_id }}.txt"}


@pytest.mark.parametrize(
    "select",
    [
        {"where": "Modality = 'CT'", "level": "study"},
        {"sql": f"SELECT StudyInstanceUID FROM `{TABLE}` WHERE Modality = 'CT'", "metadata_table": TABLE},
    ],
    ids=["a condition", "a query"],
)
def test_filtered_export(store, run_dag, select):
    with DAG("filtered", schedule=None) as dag:
        dicom_filtered_export(**arguments(store), select=select, gcs_uri_prefix="gs://clinic/out", deferrable=True)
    run = run_dag(dag)
    assert set(run.states.items()) == {(f"filtered_export.{task}", "success") for task in ("export_metadata", "select", "export")}
    (name,) = store.objects("out/")
    assert pydicom.dcmread(io.BytesIO(store.objects("out/")[name])).Modality == "CT"


def test_an_empty_selection_may_skip(store, run_dag):
    with DAG("nothing", schedule=None) as dag:
        select = {"where": "Modality = 'XX'", "on_empty": "skip"}
        dicom_filtered_export(**arguments(store), select=select, gcs_uri_prefix="gs://clinic/out", deferrable=False)
    assert run_dag(dag).states["filtered_export.export"] == "skipped"
    assert store.objects("out/") == {}


def research(store: Any) -> DicomStoreArguments:
    return {**store.arguments, "dicom_store_id": "research"}


def test_research_copy(store, run_dag):
    with DAG("copy", schedule=None) as dag:
        dicom_research_copy(
            **arguments(store),
            select={"where": "Modality = 'CT'"},
            research_store=research(store),
            config="ATTRIBUTE_CONFIDENTIALITY_BASIC_PROFILE",
            gcs_uri_prefix="gs://clinic/research",
            deferrable=True,
        )
    run = run_dag(dag)
    assert set(run.states.values()) == {"success"}
    assert run.results["research_copy.deidentify"]["success"] == 1
    (content,) = store.objects("research/").values()
    assert pydicom.dcmread(io.BytesIO(content)).PatientIdentityRemoved == "YES"
    # Once more, into the same store: what is there already is not taken for this run's.
    run = run_dag(dag)
    assert run.states["research_copy.export"] == "failed"


def test_a_copy_that_nobody_exports(store):
    with DAG("copy_only", schedule=None):
        group = dicom_research_copy(
            **arguments(store),
            select={},
            research_store=research(store),
            config="KEEP_ALL_PROFILE",
            group_id="g",
            deferrable=False,
        )
    assert set(group.children) == {f"g.{task}" for task in ("export_metadata", "select", "make_store", "deidentify")}
    assert group.children["g.deidentify"].upstream_task_ids == {"g.select", "g.make_store"}


def test_a_store_that_is_not_named_whole_is_refused(store):
    with DAG("open", schedule=None), pytest.raises(DicomArgumentError, match="research_store: project_id: not given"):
        dicom_research_copy(
            **arguments(store), select={}, research_store={"location": "l", "dataset_id": "d", "dicom_store_id": "s"}, config={}
        )
