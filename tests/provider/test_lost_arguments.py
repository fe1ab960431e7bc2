"""Arguments that were given and are nothing, or not what they should be, when the task runs: nothing more is done than was asked for.

The kind of case 1 in ``test_cases.py``: a template that renders to nothing, the XCom of a skipped task, a value of a mapped task.
"""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.operators import (
    DicomCreateStoreOperator,
    DicomDeidentifyOperator,
    DicomDeleteOperator,
    DicomDeleteStoreOperator,
    DicomExportOperator,
    DicomImportOperator,
    DicomListDatasetsOperator,
    DicomListStoresOperator,
    DicomSearchOperator,
    DicomSetBlobStorageSettingsOperator,
    DicomUpdateStoreOperator,
    FilterFileFromBigQueryOperator,
    FilterFileFromPathsOperator,
)
from airflow_dicom.sensors import DicomOperationSensor, DicomStoreMetricsSensor

pytestmark = pytest.mark.only_on_newest_airflow  # test_cases.py has one of the kind for each

#: Given as a template, and then rendered to this; or the XCom of a task that was skipped.
NOTHING = (None, "", " \n", "None", [], ())

PREFIX = {"gcs_uri_prefix": "gs://clinic/out"}
TABLE = {"bigquery_table": "demo.dicom.lost"}
FILTER = {"filter_uri": "gs://clinic/f.txt"}
OPERATION = "projects/demo/locations/l/datasets/d/operations/1"


def given(kind, store, argument: str, value, **others):
    """An operator with an argument that was a template in the DAG's file."""
    narrow = {name: value for name, value in store.arguments.items() if name != "dicom_store_id"}
    names = {
        FilterFileFromBigQueryOperator: {"project_id": "demo"},
        FilterFileFromPathsOperator: {},
        DicomListDatasetsOperator: {"project_id": "demo", "location": narrow["location"]},
        DicomListStoresOperator: narrow,
        DicomOperationSensor: {},
    }.get(kind, store.arguments)
    operator = kind(**{"task_id": "t", **names, **others, argument: "{{ x }}"})
    setattr(operator, argument, value)
    return operator


def refused(store, runner, operator, argument: str) -> None:
    """Check that the argument is named, and that nothing was asked of the store."""
    requests = store.emulator.requests
    requests.clear()
    with pytest.raises(DicomArgumentError, match=argument):
        runner.run(operator)
    changing = [one.path for one in requests if "dicomStores" in one.path and one.method != "GET"]
    assert not changing


@pytest.mark.parametrize("value", NOTHING, ids=repr)
@pytest.mark.parametrize(
    ("kind", "argument", "others"),
    [
        (DicomExportOperator, "filter_uri", PREFIX),
        (DicomExportOperator, "mime_type", PREFIX),
        (DicomExportOperator, "write_disposition", TABLE),
        (DicomExportOperator, "bigquery_schema", TABLE),
        (DicomExportOperator, "verify", PREFIX),
        (DicomImportOperator, "only_failed_of", {"gcs_uri": "gs://clinic/**"}),
        (DicomImportOperator, "blob_storage_class", {"gcs_uri": "gs://clinic/**"}),
        (DicomImportOperator, "max_failures", {"gcs_uri": "gs://clinic/**"}),
        (DicomSetBlobStorageSettingsOperator, "dicom_web_path", {"blob_storage_class": "ARCHIVE"}),
        (DicomSetBlobStorageSettingsOperator, "blob_storage_class", {}),
        (DicomDeleteOperator, "paths", {}),
        (DicomSearchOperator, "filters", {}),
        (DicomUpdateStoreOperator, "update_mask", {"body": {"labels": {"a": "b"}}}),
        (DicomUpdateStoreOperator, "body", {"update_mask": "labels"}),
        (DicomCreateStoreOperator, "if_exists", {}),
        (DicomDeleteStoreOperator, "if_missing", {}),
        (FilterFileFromBigQueryOperator, "where", {**FILTER, "table": "demo.dicom.metadata"}),
        (FilterFileFromBigQueryOperator, "level", {**FILTER, "table": "demo.dicom.metadata"}),
        (FilterFileFromBigQueryOperator, "priority", {**FILTER, "table": "demo.dicom.metadata"}),
        (DicomListStoresOperator, "label_filter", {}),
        (DicomStoreMetricsSensor, "min_instances", {"no_growth_for": 0.1, "deferrable": False}),
        (DicomOperationSensor, "operation", {"deferrable": False}),
        (DicomOperationSensor, "max_failures", {"operation": OPERATION, "deferrable": False}),
    ],
)
def test_nothing_is_not_everything(seeded_dicom_store, runner, kind, argument, others, value):
    refused(seeded_dicom_store, runner, given(kind, seeded_dicom_store, argument, value, **others), argument)


@pytest.mark.parametrize(
    "filters",
    [
        {"Modality": []},
        {"Modality": [None]},
        {"Modality": ["CT", ""]},
        {"PatientID": "  "},
        {"PatientID": {}},
        {"Modality": "CT", "limit": 5},
        "{'Modality': 'CT'}",
        ["Modality=CT"],
    ],
    ids=repr,
)
def test_filters_that_would_match_everything(seeded_dicom_store, runner, filters):
    refused(seeded_dicom_store, runner, given(DicomSearchOperator, seeded_dicom_store, "filters", filters), "filters")


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        ([["1", None]], "item 1: .*among its UIDs"),
        (["/studies/1", ("1", "2", None)], "item 2: .*among its UIDs"),
        ([["1", 2.5]], "item 1"),
        ([None], "item 1"),
        (["/studies/1", ""], None),
        (None, "paths is None"),
        (7, "paths is 7"),
        ("None", "item 1: 'None'"),
    ],
    ids=repr,
)
def test_a_uid_that_got_lost_is_not_the_whole_study(seeded_dicom_store, runner, paths, says):
    task = FilterFileFromPathsOperator(task_id="t", filter_uri="gs://clinic/lost.txt", paths="{{ x }}")
    task.paths = paths
    if says is None:
        runner.run(task)
        assert seeded_dicom_store.objects("lost") == {"lost.txt": b"/studies/1\n"}
        return
    with pytest.raises(DicomArgumentError, match=says):
        runner.run(task)
    assert not seeded_dicom_store.objects("lost")


@pytest.mark.parametrize("paths", [[None], ["/studies/1", None], [["/studies/1"]], "/studies/1\n/studies/2"], ids=repr)
def test_what_is_to_be_deleted_is_all_paths_or_nothing_is(seeded_dicom_store, runner, paths):
    refused(seeded_dicom_store, runner, given(DicomDeleteOperator, seeded_dicom_store, "paths", paths), "paths")
    assert len(seeded_dicom_store.instances()) == 3


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"dicom": {}},
        {"dicom": None},
        {"dicom": {"filterProfile": ""}},
        {"dicom": {"filterProfile": "None"}},
        {"dicom": {"removeList": {"tags": []}}},
        {"dicom": {"removeList": {}}},
        {"dicom": {"removeList": {"tags": ["PatientName", None]}}},
        {"dicom": {"removeList": {"tags": ["PatientName", "None"]}}},
        {"image": {}},
    ],
    ids=repr,
)
def test_a_configuration_that_got_lost_does_not_keep_everything(seeded_dicom_store, runner, config):
    others = {"destination_store": seeded_dicom_store.name.replace("images", "research")}
    refused(seeded_dicom_store, runner, given(DicomDeidentifyOperator, seeded_dicom_store, "config", config, **others), "config")


def test_a_store_that_got_lost_is_not_the_store_of_the_default_arguments(seeded_dicom_store, runner):
    lost = given(DicomDeleteOperator, seeded_dicom_store, "dicom_store", "", paths="/studies/1")
    refused(seeded_dicom_store, runner, lost, "dicom_store was given")


def test_a_location_that_got_lost(seeded_dicom_store, runner):
    refused(seeded_dicom_store, runner, given(DicomListDatasetsOperator, seeded_dicom_store, "location", None), "location")


def test_fields_that_got_lost_among_others(seeded_dicom_store, runner):
    others = {"body": {"labels": {"a": "b"}}}
    for mask in (["labels", None], ["labels", ""], "labels,,"):
        lost = given(DicomUpdateStoreOperator, seeded_dicom_store, "update_mask", mask, **others)
        refused(seeded_dicom_store, runner, lost, "update_mask")


def test_a_result_that_is_not_of_an_operation(seeded_dicom_store, runner):
    for other in ({}, {"dicom_store": "x"}, {"operation": None}, ["a"]):
        refused(seeded_dicom_store, runner, given(DicomOperationSensor, seeded_dicom_store, "operation", other), "operation")


@pytest.mark.parametrize(
    ("kind", "argument", "uri", "others"),
    [
        (DicomExportOperator, "filter_uri", "gs://clinic/f.txt\n", PREFIX),
        (DicomExportOperator, "gcs_uri_prefix", "gs://clinic/out\n", {}),
        (DicomImportOperator, "gcs_uri", "gs://clinic/in/*.dcm\r\n", {}),
        (FilterFileFromPathsOperator, "filter_uri", "gs://clinic/a\nb.txt", {"paths": "/studies/1"}),
    ],
)
def test_a_line_break_that_a_template_has_left(seeded_dicom_store, runner, kind, argument, uri, others):
    refused(seeded_dicom_store, runner, given(kind, seeded_dicom_store, argument, uri, **others), f"{argument}.*no line breaks")


def test_a_project_by_its_number(seeded_dicom_store, runner):
    """Native rendering makes a number of it."""
    task = given(DicomSearchOperator, seeded_dicom_store, "project_id", 123456)
    assert str(task.store).startswith("projects/123456/locations/")


@pytest.mark.parametrize("argument", ["mime_type", "blob_storage_class", "only_failed_of"])
def test_none_in_the_file_means_that_there_is_none(seeded_dicom_store, runner, argument):
    kind = DicomExportOperator if argument == "mime_type" else DicomImportOperator
    source = PREFIX if argument == "mime_type" else {"gcs_uri": seeded_dicom_store.upload(__file__)[0], "max_failures": None}
    with DAG("d", schedule=None):
        task = kind(task_id="t", **seeded_dicom_store.arguments, **source, **{argument: None}, deferrable=False)
    runner.run(task)


def test_none_in_the_file_of_a_mapped_task_allows_any_number(seeded_dicom_store, runner):
    bad = seeded_dicom_store.upload(__file__)[0]
    with DAG("d", schedule=None):
        mapped = DicomImportOperator.partial(
            task_id="t", **seeded_dicom_store.arguments, max_failures=None, on_empty="succeed", deferrable=False
        ).expand(gcs_uri=[bad])
    assert runner.run(mapped.unmap({"gcs_uri": bad}))["failure"] == 1
