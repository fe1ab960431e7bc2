from __future__ import annotations

import re
import time
from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException, AirflowTaskTimeout
from gcp_dicom_emulator.rest.faults import Fault

from airflow_dicom.exceptions import (
    DicomArgumentError,
    DicomEmptyResult,
    DicomOperationError,
    DicomOperationNotFound,
    DicomPartialFailure,
    DicomUnexpectedCount,
    FilterFileError,
    HealthcareApiError,
)
from airflow_dicom.hooks.endpoint import EMULATOR_CONNECTION
from airflow_dicom.operators import DicomExportOperator, DicomImportOperator, FilterFileFromBigQueryOperator
from airflow_dicom.sensors import DicomOperationSensor

from .conftest import FILES, STORE, STORE_NAME, Runner

OPERATION = re.compile(r"projects/demo/locations/us-central1/datasets/radiology/operations/\d+")


def import_task(**changes) -> DicomImportOperator:
    return DicomImportOperator(**({"task_id": "t", **STORE, "gcs_uri": "gs://source/good/*", "poll_interval": 0.02} | changes))


def export_task(**changes) -> DicomExportOperator:
    return DicomExportOperator(**({"task_id": "t", **STORE, "poll_interval": 0.02} | changes))


def filter_task(**changes) -> FilterFileFromBigQueryOperator:
    arguments = {"task_id": "t", "project_id": "demo", "filter_uri": "gs://target/filter.txt", "poll_interval": 0.02}
    return FilterFileFromBigQueryOperator(**(arguments | changes))


@pytest.fixture(scope="module")
def filled(seeded):
    """The seeded emulator with its instances imported and their metadata exported."""
    patch = pytest.MonkeyPatch()
    for name, value in (seeded.environment() | EMULATOR_CONNECTION).items():
        patch.setenv(name, value)
    Runner().run(import_task(deferrable=False))
    Runner().run(export_task(bigquery_table="demo.dicom.metadata", deferrable=False))
    patch.undo()
    return seeded


def names(emulator, bucket: str, prefix: str) -> list[str]:
    return [found.name for found in emulator.storage.objects.list(bucket, prefix=prefix)]


def test_import(seeded, runner, deferrable):
    result = runner.run(import_task(deferrable=deferrable))
    assert OPERATION.fullmatch(result.pop("operation"))
    assert result.pop("logs_url")
    assert result == {"done": True, "success": len(FILES), "failure": 0, "dicom_store": STORE_NAME}
    assert {"dicom_store_link", "dicom_operation_link", "dicom_logs_link", "dicom_gcs_link"} <= runner.ti.xcoms.keys()


def test_failed_files_fail_the_task_or_are_allowed(seeded, runner, deferrable):
    with pytest.raises(DicomPartialFailure, match="1 instances failed; max_failures allows 0"):
        runner.run(import_task(gcs_uri="gs://source/**", deferrable=deferrable))
    result = runner.run(import_task(gcs_uri="gs://source/**", max_failures="1", deferrable=deferrable))
    assert (result["success"], result["failure"]) == (len(FILES), 1)


def test_without_waiting_the_sensor_waits(seeded, runner, deferrable):
    started = runner.run(import_task(wait_for_completion=False, deferrable=deferrable))
    assert OPERATION.fullmatch(started["operation"])
    assert runner.deferred == 0
    for operation in (started, started["operation"]):
        sensor = DicomOperationSensor(task_id="s", operation=operation, poke_interval=0.02, deferrable=deferrable)
        result = Runner().run(sensor)
        assert result == {
            "operation": started["operation"],
            "done": True,
            "success": len(FILES),
            "failure": 0,
            "logs_url": result["logs_url"],
        }


def test_export_to_cloud_storage(filled, runner, deferrable):
    result = runner.run(export_task(gcs_uri_prefix="gs://target/all", deferrable=deferrable))
    assert result["gcs_uri_prefix"] == "gs://target/all"
    assert result["success"] == len(FILES)
    exported = {filled.storage.objects.get("target", name).path.read_bytes() for name in names(filled, "target", "all/")}
    assert exported == {filled.storage.objects.get("source", f"good/{name}").path.read_bytes() for name in FILES}


@pytest.mark.parametrize("schema", ["flattened", "json"])
def test_export_to_bigquery(filled, runner, deferrable, schema):
    table = f"demo.dicom.{schema}_{deferrable}"
    arguments = {"bigquery_schema": schema, "include_source_store": True, "deferrable": deferrable}
    result = runner.run(export_task(bigquery_table=f"bq://{table}", **arguments))
    assert result["bigquery_table"] == table
    assert rows(table) == len(FILES)
    with pytest.raises(DicomOperationError):
        Runner().run(export_task(bigquery_table=table, **arguments))
    assert rows(table) == len(FILES), "WRITE_EMPTY leaves a table with rows as it is"
    Runner().run(export_task(bigquery_table=table, write_disposition="WRITE_TRUNCATE", **arguments))
    assert rows(table) == len(FILES)
    Runner().run(export_task(bigquery_table=table, write_disposition="WRITE_APPEND", **arguments))
    assert rows(table) == 2 * len(FILES)


def rows(table: str) -> int:
    from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook

    client = BigQueryHook(use_legacy_sql=False).get_client(project_id="demo")
    ((count,),) = client.query_and_wait(f"SELECT COUNT(*) FROM `{table}`")
    return count


SQL = "SELECT StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID FROM `demo.dicom.metadata`"


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ({"sql": SQL}, 3),
        ({"sql": f"{SQL} WHERE Modality = @modality;", "query_parameters": {"modality": "CT"}}, 1),
        ({"sql": "SELECT CONCAT('/studies/', StudyInstanceUID) AS p FROM demo.dicom.metadata -- all of them"}, 3),
        ({"sql": f"{SQL} UNION ALL {SQL}"}, 3),
        ({"table": "demo.dicom.metadata", "level": "series", "where": "Modality IN ('CT', 'MR')"}, 2),
        ({"table": "demo.dicom.metadata", "level": "study"}, 3),
    ],
    ids=["uids", "parameters", "paths", "duplicates", "table, series, where", "table, study"],
)
def test_filter_file(filled, runner, deferrable, arguments, count):
    assert runner.run(filter_task(deferrable=deferrable, **arguments)) == "gs://target/filter.txt"
    assert runner.ti.xcoms["path_count"] == count
    text = filled.storage.objects.get("target", "filter.txt").path.read_text()
    assert len(text.splitlines()) == count
    assert text.endswith("\n")
    assert names(filled, "target", "filter.txt") == ["filter.txt"], "nothing is left beside it"


def test_filtered_export_is_what_the_filter_names(filled, runner, deferrable):
    filter_uri = runner.run(filter_task(table="demo.dicom.metadata", where="Modality = 'MR'", deferrable=deferrable))
    arguments = {"gcs_uri_prefix": f"gs://target/mr{deferrable}", "filter_uri": filter_uri, "deferrable": deferrable}
    runner = Runner()
    result = runner.run(export_task(expected_instances=1, **arguments))
    assert result["success"] == 1
    (name,) = names(filled, "target", f"mr{deferrable}/")
    exported = filled.storage.objects.get("target", name).path.read_bytes()
    assert exported == filled.storage.objects.get("source", "good/MR_small.dcm").path.read_bytes()
    assert runner.ti.xcoms["dicom_filter_link"].endswith("/_emulator/bucket?bucket=target&prefix=filter.txt")
    with pytest.raises(DicomUnexpectedCount, match="1 instances were handled; expected_instances is 2"):
        Runner().run(export_task(expected_instances="2", **arguments))


def test_a_filter_that_names_nothing(filled, runner, deferrable):
    filled.storage.objects.put_bytes("target", "nothing.txt", b"/studies/1.2.3\nnonsense\n")
    arguments = {"gcs_uri_prefix": "gs://target/nothing", "filter_uri": "gs://target/nothing.txt", "deferrable": deferrable}
    with pytest.raises(DicomEmptyResult, match="the service ignores a filter's lines"):
        runner.run(export_task(**arguments))
    with pytest.raises(AirflowSkipException):
        Runner().run(export_task(on_empty="skip", **arguments))
    assert Runner().run(export_task(on_empty="succeed", **arguments))["success"] == 0
    assert names(filled, "target", "nothing/") == []


def test_an_empty_query(filled, runner, deferrable):
    name = f"empty{deferrable}.txt"
    arguments = {"sql": f"{SQL} WHERE FALSE", "filter_uri": f"gs://target/{name}", "deferrable": deferrable}
    with pytest.raises(DicomEmptyResult, match="the query selects nothing"):
        runner.run(filter_task(**arguments))
    with pytest.raises(AirflowSkipException):
        Runner().run(filter_task(on_empty="skip", **arguments))
    assert names(filled, "target", name) == []
    filled.storage.objects.put_bytes("target", name, b"/studies/1.2.3\n")
    with pytest.raises(AirflowSkipException):
        Runner().run(filter_task(on_empty="skip", **arguments))
    assert names(filled, "target", name) == [], "what an earlier run selected"
    Runner().run(filter_task(on_empty="succeed", **arguments))
    assert filled.storage.objects.get("target", name).size == 0


BAD_REQUESTS = {
    "no such store": (import_task, {"dicom_store_id": "nowhere"}, HealthcareApiError, "nowhere"),
    "no such dataset": (import_task, {"dataset_id": "nowhere"}, HealthcareApiError, "nowhere"),
    "no such source bucket": (import_task, {"gcs_uri": "gs://nowhere/*"}, (HealthcareApiError, DicomOperationError), "nowhere"),
    "nothing matches": (import_task, {"gcs_uri": "gs://source/none/*"}, DicomEmptyResult, "No instance was handled"),
    "no gs://": (
        import_task,
        {"gcs_uri": "source/*"},
        DicomArgumentError,
        "gcs_uri is 'source/\\*'; it must be a Cloud Storage URI",
    ),
    "forbidden wildcard": (import_task, {"gcs_uri": "gs://source/**/x"}, DicomArgumentError, r"\*\* must be at the end"),
    "bad store id": (import_task, {"dicom_store_id": "a/b"}, DicomArgumentError, "dicom_store_id is 'a/b'"),
    "bad number": (import_task, {"max_failures": "few"}, DicomArgumentError, "max_failures is 'few'"),
    "a number that a template left empty": (import_task, {"max_failures": ""}, DicomArgumentError, "max_failures is ''"),
    "no whole number": (import_task, {"max_failures": 1.5}, DicomArgumentError, r"max_failures is 1\.5"),
    "bad storage class": (import_task, {"blob_storage_class": "HOT"}, HealthcareApiError, "400"),
    "both destinations": (
        export_task,
        {"gcs_uri_prefix": "gs://target/x", "bigquery_table": "demo.dicom.x"},
        DicomArgumentError,
        "both are given",
    ),
    "neither destination": (export_task, {}, DicomArgumentError, "neither is given"),
    "no such destination bucket": (
        export_task,
        {"gcs_uri_prefix": "gs://nowhere/x"},
        (HealthcareApiError, DicomOperationError),
        "nowhere",
    ),
    "one wrong URI of many": (import_task, {"gcs_uri": ["gs://source/a", "source/b"]}, DicomArgumentError, r"source/b"),
    "prefix with a wildcard": (
        export_task,
        {"gcs_uri_prefix": "gs://target/x/*"},
        DicomArgumentError,
        "gcs_uri_prefix is 'gs://target/x/\\*'; it is a folder",
    ),
    "bad prefix": (export_task, {"gcs_uri_prefix": "target/x"}, DicomArgumentError, "gcs_uri_prefix is 'target/x'"),
    "bad table": (export_task, {"bigquery_table": "dicom.metadata"}, DicomArgumentError, r"project\.dataset\.table"),
    "bad disposition": (
        export_task,
        {"bigquery_table": "demo.dicom.x", "write_disposition": "APPEND"},
        DicomArgumentError,
        "write_disposition is 'APPEND'",
    ),
    "no such BigQuery dataset": (
        export_task,
        {"bigquery_table": "demo.nowhere.x"},
        (HealthcareApiError, DicomOperationError),
        "nowhere",
    ),
    "no such filter": (
        export_task,
        {"gcs_uri_prefix": "gs://target/x", "filter_uri": "gs://target/nowhere.txt"},
        (HealthcareApiError, DicomOperationError),
        r"nowhere\.txt",
    ),
    "filter with a wildcard": (
        export_task,
        {"gcs_uri_prefix": "gs://target/x", "filter_uri": "gs://target/*.txt"},
        DicomArgumentError,
        "filter_uri is",
    ),
    "mime type of rows": (
        export_task,
        {"bigquery_table": "demo.dicom.x", "mime_type": "application/dicom"},
        DicomArgumentError,
        "mime_type goes with gcs_uri_prefix",
    ),
    "syntax error": (filter_task, {"sql": "SELEC x"}, FilterFileError, "^BigQuery refused the query"),
    "wrong column": (
        filter_task,
        {"table": "demo.dicom.metadata", "where": "Modalty = 'CT'"},
        FilterFileError,
        r"(?s)^BigQuery refused the query: [^/\n]*Modalty.*\n  4  Modalty = 'CT'",
    ),
    "no SELECT": (filter_task, {"sql": "DROP TABLE IF EXISTS demo.dicom.nowhere"}, DicomArgumentError, "must be one SELECT"),
    "no such table": (filter_task, {"sql": "SELECT x FROM demo.dicom.nowhere"}, FilterFileError, "nowhere"),
    "no paths": (
        filter_task,
        {"sql": "SELECT PatientID FROM demo.dicom.metadata"},
        FilterFileError,
        "not a DICOM resource path: ",
    ),
    "a long UID": (
        filter_task,
        {"sql": "SELECT CONCAT('/studies/1.', REPEAT('1', 63))"},
        FilterFileError,
        "not a DICOM resource path: /studies/1.1111",
    ),
    "a leading zero": (
        filter_task,
        {"sql": "SELECT '/studies/1.02.3'"},
        FilterFileError,
        "not a DICOM resource path: /studies/1.02.3",
    ),
    "no path columns": (
        filter_task,
        {"sql": "SELECT Modality, PatientID FROM demo.dicom.metadata"},
        DicomArgumentError,
        "the query returns the columns Modality, PatientID",
    ),
    "legacy SQL": (filter_task, {"sql": "SELECT x FROM [demo:dicom.metadata]"}, DicomArgumentError, r"`demo\.dicom\.metadata`"),
    "both sources": (filter_task, {"sql": "SELECT 1", "table": "a.b.c"}, DicomArgumentError, "both are given"),
    "neither source": (filter_task, {}, DicomArgumentError, "neither is given"),
    "no such filter bucket": (
        filter_task,
        {"sql": SQL, "filter_uri": "gs://nowhere/f"},
        DicomArgumentError,
        "no bucket 'nowhere'. Create it first",
    ),
    "bad on_empty": (filter_task, {"sql": SQL, "on_empty": "ignore"}, DicomArgumentError, "on_empty is 'ignore'"),
}


@pytest.mark.parametrize(("make", "arguments", "error", "says"), BAD_REQUESTS.values(), ids=list(BAD_REQUESTS))
def test_bad_input_has_a_clear_error_and_no_half_result(filled, runner, deferrable, make, arguments, error, says):
    before = names(filled, "target", "")
    with pytest.raises(error, match=says):
        runner.run(make(deferrable=deferrable, **arguments))
    assert names(filled, "target", "") == before


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (import_task, {}),
        (export_task, {"gcs_uri_prefix": "gs://target/resumed"}),
        (filter_task, {"table": "demo.dicom.metadata"}),
    ],
    ids=["import", "export", "filter"],
)
def test_a_resumed_task_needs_nothing_but_the_event(filled, make, arguments):
    runner = Runner(forgetful=True)
    result = runner.run(make(deferrable=True, **arguments))
    assert runner.deferred == 1
    if make is filter_task:
        assert runner.ti.xcoms["expected_instances"] == len(FILES)
    else:
        assert result["success"] == len(FILES)


def test_a_filter_needs_no_more_than_rights_on_the_buckets_objects(filled, runner, deferrable):
    """``roles/storage.objectUser`` lacks ``storage.buckets.get``, which Google's client asks for by itself, and can do without."""
    filled.faults.add(Fault("status", "storage.buckets.get", code=403, times=None))
    try:
        runner.run(filter_task(table="demo.dicom.metadata", deferrable=deferrable))
    finally:
        filled.faults.clear()


def test_a_filters_bucket_that_may_not_be_listed(filled, runner, deferrable):
    filled.faults.add(Fault("status", "storage.objects.list", code=403, times=None))
    try:
        with pytest.raises(FilterFileError, match=r"roles/storage\.objectUser"):
            runner.run(filter_task(table="demo.dicom.metadata", deferrable=deferrable))
    finally:
        filled.faults.clear()


def test_an_export_shows_the_links_of_what_it_was_given(filled, runner, deferrable):
    task = export_task(gcs_uri_prefix="gs://target/links", deferrable=deferrable)
    runner.run(task)
    shown = {link.name: runner.ti.xcoms.get(link.xcom_key) for link in DicomExportOperator.operator_extra_links}
    assert {name for name, url in shown.items() if url} == {"DICOM store", "Operation", "Operation logs", "Cloud Storage"}


def test_case_21_a_subclass_keeps_its_links():
    class Mine(DicomExportOperator):
        operator_extra_links = (*DicomExportOperator.operator_extra_links[:1],)

    mine = Mine(task_id="t", **STORE, gcs_uri_prefix="gs://target/x")
    assert [link.name for link in mine.operator_extra_links] == ["DICOM store"]


class TestSensor:
    def sensor(self, **changes) -> DicomOperationSensor:
        return DicomOperationSensor(**({"task_id": "s", "poke_interval": 0.02, "timeout": 30} | changes))

    def test_an_unknown_operation(self, seeded, runner, deferrable):
        operation = "projects/demo/locations/us-central1/datasets/radiology/operations/1"
        with pytest.raises((DicomOperationNotFound, HealthcareApiError), match=operation):
            runner.run(self.sensor(operation=operation, deferrable=deferrable, soft_fail=True))

    @pytest.mark.parametrize("operation", ["", "123", "{'operation': 'x'}", STORE_NAME])
    def test_no_operation(self, seeded, runner, deferrable, operation):
        with pytest.raises(DicomArgumentError, match="is not the name of a long-running operation"):
            runner.run(self.sensor(operation=operation, deferrable=deferrable))

    def test_timeout_and_soft_fail(self, seeded, runner, deferrable):
        seeded.healthcare.operation_seconds = 30
        try:
            started = runner.run(import_task(wait_for_completion=False))
            begun = time.monotonic()
            with pytest.raises(AirflowSensorTimeout):
                runner.run(self.sensor(operation=started, timeout=0.3, deferrable=deferrable))
            assert time.monotonic() - begun < 10
        finally:
            seeded.healthcare.operation_seconds = 0

    def test_a_refusal_is_believed_once_it_is_repeated(self, seeded, runner, deferrable):
        """Right after a submit, a replica of the service may not know the operation yet."""
        started = runner.run(import_task(wait_for_completion=False))
        fault = seeded.faults.add(Fault("status", "*.operations.get", code=404, times=2))
        try:
            assert runner.run(self.sensor(operation=started, deferrable=deferrable))["done"]
        finally:
            seeded.faults.clear()
        assert fault.fired == 2

    def test_case_11_the_time_that_ends_it_is_named_and_execution_timeout_is_tried_again(self, seeded, runner):
        seeded.healthcare.operation_seconds = 30
        try:
            started = runner.run(import_task(wait_for_completion=False))
            limited = self.sensor(operation=started, execution_timeout=timedelta(seconds=0.3), deferrable=True)
            with pytest.raises(AirflowTaskTimeout, match=r"execution_timeout=0:00:00\.3"):
                runner.run(limited)
        finally:
            seeded.healthcare.operation_seconds = 0

    def test_failures_are_judged(self, seeded, runner, deferrable):
        started = runner.run(import_task(gcs_uri="gs://source/bad/*", wait_for_completion=False))
        with pytest.raises(DicomPartialFailure):
            runner.run(self.sensor(operation=started, deferrable=deferrable, soft_fail=True))
        result = runner.run(self.sensor(operation=started, deferrable=deferrable, max_failures=None))
        assert (result["success"], result["failure"]) == (0, 1)


@pytest.mark.parametrize("closing", ["reset", "fin"])
def test_a_request_whose_answer_is_lost_is_not_sent_again_by_the_library(seeded, closing):
    """httplib2 sends a request again when the connection closes without an answer."""
    import socket
    import threading

    from airflow_dicom.exceptions import HealthcareApiTransientError
    from airflow_dicom.hooks.healthcare import HealthcareHook

    received = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    received.append(connection.recv(65536))
                    if closing == "reset":
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        threading.Thread(target=serve, daemon=True).start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HEALTHCARE_EMULATOR_HOST", f"http://127.0.0.1:{server.getsockname()[1]}")
            with pytest.raises(HealthcareApiTransientError, match="got no answer"):
                HealthcareHook().call("dicomStores.export", repeatable=False, name=STORE_NAME, body={})
        server.shutdown(socket.SHUT_RDWR)
    assert len(received) == 1
