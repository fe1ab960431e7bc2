"""What a filter's query may cost, and to what it is billed."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_dicom.exceptions import DicomArgumentError, FilterFileError
from airflow_dicom.operators import FilterFileFromBigQueryOperator
from airflow_dicom.provider_info import get_provider_info

from .conftest import Runner

# BigQuery knows nothing of Airflow
pytestmark = [pytest.mark.only_on_newest_airflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def table(seeded) -> str:
    """A metadata table with one row."""
    row = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3", "SOPInstanceUID": "1.4"}
    uids = ", ".join(f"'{value}' AS {name}" for name, value in row.items())
    reference = {"projectId": "demo", "jobId": "make", "location": "US"}
    query = {"query": f"CREATE TABLE dicom.cost AS SELECT {uids}", "useLegacySql": False}
    seeded.bigquery.work.insert_job({"jobReference": reference, "configuration": {"query": query}})
    while seeded.bigquery.jobs.is_running("demo", "make"):
        pass
    return "demo.dicom.cost"


def task(table: str, **changes: Any) -> FilterFileFromBigQueryOperator:
    arguments = {"table": table, "project_id": "demo", "filter_uri": "gs://target/cost.txt", "poll_interval": 0.02}
    return FilterFileFromBigQueryOperator(task_id="t", **(arguments | changes))


def test_what_is_given_is_sent(seeded, table, deferrable):
    runner = Runner()
    limits = {"maximum_bytes_billed": 20 << 20, "priority": "BATCH", "labels": {"cohort": "ct"}}
    runner.run(task(table, deferrable=deferrable, **limits))
    assert runner.ti.xcoms["expected_instances"] == 1
    link = runner.ti.xcoms["dicom_bigquery_job_link"]
    assert link.startswith(f"{seeded.url}/_emulator/job?project=demo&location=US&job=airflow_dicom_")
    export, count = (seeded.bigquery.jobs.list("demo", [], 2, 0)[index]["configuration"] for index in (1, 0))
    assert export["query"]["query"].startswith("EXPORT DATA")
    assert (export["query"]["maximumBytesBilled"], export["query"]["priority"]) == (str(20 << 20), "BATCH")
    assert count["query"]["maximumBytesBilled"] == str(20 << 20)
    assert export["labels"] == count["labels"] == {"cohort": "ct"}


def test_a_query_that_costs_more_is_refused(seeded, table, deferrable):
    with pytest.raises(FilterFileError, match=r"limit for bytes billed: 1000\.[^$]*Raise maximum_bytes_billed"):
        Runner().run(task(table, deferrable=deferrable, maximum_bytes_billed="1000", filter_uri="gs://target/no.txt"))
    assert list(seeded.storage.objects.list("target", "no.txt")) == []


def test_a_limit_that_is_lost_is_not_no_limit(seeded, table):
    lost = task(table, maximum_bytes_billed="{{ params.limit }}", deferrable=False)
    lost.maximum_bytes_billed = None
    with pytest.raises(DicomArgumentError, match="maximum_bytes_billed was given and is None"):
        Runner().run(lost)


@pytest.mark.parametrize(
    ("argument", "wrong"),
    [("priority", "SOON"), ("maximum_bytes_billed", "10 MB"), ("labels", "{'cohort': 'ct'}"), ("query_parameters", "{}")],
)
def test_what_cannot_be_is_refused_when_it_is_parsed(argument, wrong):
    with pytest.raises(DicomArgumentError, match=argument):
        task("p.d.t", **{argument: wrong})


def test_airflow_knows_the_link():
    assert "airflow_dicom.links.dicom.BigQueryJobLink" in get_provider_info()["extra-links"]
