"""Arguments that are of another kind than they should be, when the task runs: the error names them, and nothing was sent."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.operators import (
    DicomCreateStoreOperator,
    DicomDeleteStoreOperator,
    DicomExportOperator,
    DicomImportOperator,
    DicomListDatasetsOperator,
    DicomListStoresOperator,
    DicomSearchOperator,
    DicomUpdateStoreOperator,
    FilterFileFromBigQueryOperator,
)
from airflow_dicom.sensors import DicomOperationSensor, DicomOperationsSensor, DicomStoreMetricsSensor
from tests.provider.test_lost_arguments import FILTER, NOTHING, PREFIX, given, refused

pytestmark = pytest.mark.only_on_newest_airflow  # test_cases.py has one of the kind for each

TABLE = {**FILTER, "table": "demo.dicom.metadata"}
LABELS = {"body": {"labels": {"a": "b"}}}
#: Two operators that have what all have; one of them has a hook for BigQuery as well.
EVERY = [(DicomExportOperator, PREFIX), (FilterFileFromBigQueryOperator, TABLE)]


@pytest.mark.parametrize(
    ("kind", "argument", "values", "others"),
    [
        *((kind, "gcp_conn_id", (*NOTHING, 5), others) for kind, others in EVERY),
        *((kind, "impersonation_chain", (5, True, {"a": "b"}, [None], ["a", ""], b"x", {"a"}), others) for kind, others in EVERY),
        *((kind, "poll_interval", (timedelta(-1), -1, "5", True, None), others) for kind, others in EVERY),
        (DicomExportOperator, "api_version", (None, "", "v2", 1), PREFIX),
        (DicomOperationSensor, "api_version", ("v2",), {"operation": "x", "deferrable": False}),
        (DicomExportOperator, "mime_type", (5, ["image/png"], True), PREFIX),
        (DicomExportOperator, "mime_type", (5,), {**PREFIX, "verify": "objects"}),
        (DicomExportOperator, "approved_by", (["a"], {"a": "b"}, 5), {**PREFIX, **FILTER}),
        (DicomExportOperator, "max_failures", (-1, "a", 1.5, True), PREFIX),
        (DicomExportOperator, "expected_instances", (-1, "Filter", []), PREFIX),
        (DicomExportOperator, "location", ("None", " "), PREFIX),
        (DicomUpdateStoreOperator, "update_mask", (5, 0, False, True, [["labels"]], b"labels", [5]), LABELS),
        (
            DicomUpdateStoreOperator,
            "body",
            ({"labels": None}, {"labels": "None"}, {"labels": {"a": "b"}, "streamConfigs": None}),
            {},
        ),
        (DicomCreateStoreOperator, "body", (None, "", "a", {"notificationConfigs": None}), {}),
        (DicomListStoresOperator, "label_filter", (False,), {}),
        (DicomListDatasetsOperator, "location", ("a/b", "*", "a b"), {}),
        (FilterFileFromBigQueryOperator, "where", (False,), TABLE),
        *((FilterFileFromBigQueryOperator, name, (5, ["a"], "a b"), TABLE) for name in ("except_table", "metadata_table")),
        (FilterFileFromBigQueryOperator, "table", (5, ["a"], "a b", True), FILTER),
        *((FilterFileFromBigQueryOperator, name, (["a"], {"a": "b"}, True, 1.5), TABLE) for name in ("project_id", "location")),
        (FilterFileFromBigQueryOperator, "labels", (5, ["a"], b"a", "a"), TABLE),
        (FilterFileFromBigQueryOperator, "filter_uri", (*NOTHING, "gs://target"), TABLE),
        (FilterFileFromBigQueryOperator, "sql", (5, ["SELECT 1"]), FILTER),
        (FilterFileFromBigQueryOperator, "query_parameters", (5, "a", ["a"], [None], True, {"a": object()}), TABLE),
        *((DicomStoreMetricsSensor, f"min_{name}", (-1, "-1"), {"deferrable": False}) for name in ("studies", "instances")),
        (DicomStoreMetricsSensor, "no_growth_for", (timedelta(-1), "5"), {"deferrable": False}),
    ],
)
def test_the_error_names_the_argument(seeded_dicom_store, runner, kind, argument, values, others):
    for value in values:
        refused(seeded_dicom_store, runner, given(kind, seeded_dicom_store, argument, value, **others), argument)


def test_a_condition_that_native_rendering_makes_a_number_of_is_still_one(seeded_dicom_store, runner):
    """Without it, all rows would be selected."""
    task = given(FilterFileFromBigQueryOperator, seeded_dicom_store, "where", 0, **TABLE)
    runner.run(DicomExportOperator(task_id="m", **seeded_dicom_store.arguments, bigquery_table="demo.dicom.metadata"))
    with pytest.raises(Exception, match="BigQuery refused the query: WHERE clause"):
        runner.run(task)


@pytest.mark.parametrize("argument", ["project_id", "impersonation_chain"])
@pytest.mark.parametrize("kind", [DicomExportOperator, DicomSearchOperator, DicomOperationsSensor, DicomDeleteStoreOperator])
def test_what_replaces_the_connections_own_does_not_get_lost(seeded_dicom_store, runner, kind, argument):
    """The task would be about another project, or run as another account."""
    others = PREFIX if kind is DicomExportOperator else {"deferrable": False} if kind is DicomOperationsSensor else {}
    store = {**seeded_dicom_store.arguments}
    if kind is DicomOperationsSensor:
        del store["dicom_store_id"]
    for value in NOTHING:
        task = kind(task_id="t", **{**store, **others, argument: "{{ x }}"})
        setattr(task, argument, value)
        refused(seeded_dicom_store, runner, task, f"{argument} was given and is")


@pytest.mark.parametrize("nothing", [None, "", "None"])
def test_nothing_in_the_file_means_what_the_connection_says(seeded_dicom_store, runner, nothing):
    with DAG("d", schedule=None):
        others = {"project_id": nothing, "impersonation_chain": nothing, "deferrable": False}
        task = DicomExportOperator(task_id="t", **{**seeded_dicom_store.arguments, **PREFIX, **others})
    assert runner.run(task)["success"] == 3


@pytest.mark.parametrize(
    ("kind", "argument", "others"),
    [
        (DicomExportOperator, "include_source_store", {"bigquery_table": "demo.dicom.t"}),
        (DicomExportOperator, "wait_for_completion", PREFIX),
        (DicomExportOperator, "deferrable", PREFIX),
        (DicomExportOperator, "cancel_on_kill", PREFIX),
        (DicomImportOperator, "count_new", {"gcs_uri": "gs://clinic/**"}),
        (FilterFileFromBigQueryOperator, "collapse", TABLE),
        (FilterFileFromBigQueryOperator, "streamed", TABLE),
    ],
)
def test_a_template_is_not_true(seeded_dicom_store, kind, argument, others):
    """It would mean that, whatever it renders to: collapse, for one, exports more."""
    names = {"project_id": "demo"} if kind is FilterFileFromBigQueryOperator else seeded_dicom_store.arguments
    for value in ("{{ params.x }}", "False", [], 2):
        with pytest.raises(DicomArgumentError, match=f"{argument} is .*; it must be True or False, and is not templated"):
            kind(task_id="t", **names, **others, **{argument: value})


def test_a_switch_of_a_task_that_polls_is_looked_at_when_it_runs(seeded_dicom_store, runner):
    task = DicomStoreMetricsSensor(task_id="t", **seeded_dicom_store.arguments, min_studies=1, deferrable="{{ params.x }}")
    refused(seeded_dicom_store, runner, task, "deferrable")


def test_an_own_operator_adds_to_what_its_bases_check(seeded_dicom_store, runner):
    class Own(DicomExportOperator):
        checks = {"dataset_id": lambda value: value.index("radio")}

    task = Own(task_id="t", **seeded_dicom_store.arguments, **PREFIX, on_empty="{{ x }}")
    refused(seeded_dicom_store, runner, task, "on_empty")
    task.on_empty, task.dataset_id = "skip", "other"
    refused(seeded_dicom_store, runner, task, "dataset_id")


@pytest.mark.parametrize(
    ("kind", "argument", "value", "others"),
    [
        (DicomExportOperator, "verify", "objects", PREFIX),
        (DicomExportOperator, "expected_instances", "3", PREFIX),
        (DicomExportOperator, "expected_instances", "filter", {**PREFIX, **FILTER}),
        (DicomImportOperator, "failed_uris", "gs://clinic/failed.jsonl", {"gcs_uri": "gs://clinic/**"}),
        (DicomImportOperator, "count_new", True, {"gcs_uri": "gs://clinic/**"}),
    ],
)
def test_what_is_looked_at_in_the_end_needs_a_task_that_waits_for_it(seeded_dicom_store, runner, kind, argument, value, others):
    """It would not happen, and nobody would notice."""
    arguments = {**others, argument: value, "wait_for_completion": False}
    task = kind(task_id="t", **seeded_dicom_store.arguments, **arguments)
    refused(seeded_dicom_store, runner, task, f"{argument} is .*wait_for_completion")
