"""A task that resumes after a deferral is judged by what was sent, whatever its templates and its DAG's file say by then."""

from __future__ import annotations

import pytest

from airflow_dicom.bigquery_job import BigQueryJob, job_name, job_reference
from airflow_dicom.exceptions import BigQueryApiTransientError, DicomPartialFailure
from airflow_dicom.sensors import DicomOperationSensor

from .conftest import FILES
from .test_operators import SQL, export_task, filled, filter_task, import_task, names  # noqa: F401  filled is a fixture

pytestmark = pytest.mark.usefixtures("filled")


def test_an_import_is_judged_by_what_was_sent(runner):
    def task(**arguments):
        return import_task(gcs_uri="gs://source/**", deferrable=True, **arguments)

    with pytest.raises(DicomPartialFailure, match="1 instances failed; max_failures allows 0"):
        runner.run(task(), resumed=task(max_failures=1))
    assert runner.run(task(max_failures=1), resumed=task())["failure"] == 1


def test_a_sensor_is_judged_by_what_it_waited_with(runner):
    started = import_task(gcs_uri="gs://source/**", deferrable=True, wait_for_completion=False)

    def task(**arguments):
        return DicomOperationSensor(task_id="s", operation=operation, deferrable=True, poke_interval=0.02, **arguments)

    operation = runner.run(started)
    with pytest.raises(DicomPartialFailure):
        runner.run(task(), resumed=task(max_failures=1))
    assert runner.run(task(max_failures=1), resumed=task())["failure"] == 1


def test_a_filter_goes_to_where_it_was_meant_to_go(emulator, runner):
    before = filter_task(filter_uri="gs://target/resume/before.txt", sql=SQL, deferrable=True)
    after = filter_task(filter_uri="gs://target/resume/after.txt", sql="SELECT 1", on_empty="skip", deferrable=True)
    assert runner.run(before, resumed=after) == "gs://target/resume/before.txt"
    assert names(emulator, "target", "resume/") == ["resume/before.txt"]


def test_the_number_that_a_filter_carries_is_read_once(emulator, runner):
    uri = "gs://target/carried.txt"
    runner.run(filter_task(filter_uri=uri, table="demo.dicom.metadata", deferrable=False))

    def task():
        return export_task(gcs_uri_prefix="gs://target/carried", filter_uri=uri, expected_instances="filter", deferrable=True)

    resumed = task()
    emulator.requests.clear()
    assert runner.run(task(), resumed=resumed)["success"] == len(FILES)
    assert [one.method_id for one in emulator.requests].count("storage.objects.get") == 1
    assert resumed.expected_instances == len(FILES)


def test_what_airflow_cannot_store_is_rendered_again(runner):
    task = import_task(deferrable=True)
    task.max_failures = object()
    assert "max_failures" not in task._rendered()
    assert task._rendered()["gcs_uri"] == task.gcs_uri


@pytest.mark.parametrize(
    "answer", [{}, {"jobReference": {"jobId": "x"}}, {"status": {"state": "DONE"}}, {"jobReference": {}, "status": "up"}]
)
def test_json_that_is_not_a_job_is_transient(answer):
    with pytest.raises(BigQueryApiTransientError, match="is not a BigQuery job"):
        BigQueryJob.from_response(answer)


@pytest.mark.parametrize(
    "reference", [{"projectId": "example.com:p", "location": "US", "jobId": "a-b"}, {"projectId": "p", "jobId": "x"}]
)
def test_a_jobs_name_says_where_it_is(reference):
    assert job_reference(job_name(reference)) == reference
