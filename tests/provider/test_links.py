"""Where the links lead: to the emulator's pages where there is an emulator, and else to the console."""

from __future__ import annotations

import html
import re

import pytest
import requests
from gcp_dicom_emulator import Emulator
from pydicom.data import get_testdata_file

from airflow_dicom.links.dicom import BigQueryTableLink, DicomOperationLink, DicomStoreLink, FilterFileLink, GcsPrefixLink
from airflow_dicom.operators import DicomExportOperator, DicomImportOperator, FilterFileFromPathsOperator
from airflow_dicom.resource_names import DicomStoreName

from .conftest import STORE, STORE_NAME, Runner

NAME = DicomStoreName("demo", "us-central1", "radiology", "images")


def shown(url: str) -> str:
    """Return what a browser shows, whenever it does."""
    answer = requests.get(url, headers={"Accept": "text/html"})
    assert answer.status_code == 200, answer.text
    return re.sub(r"of \d\d:\d\d:\d\d UTC", "", html.unescape(answer.text))


def test_case_10_each_leads_to_a_page_of_the_emulator_that_shows_the_thing(seeded: Emulator):
    runner = Runner()

    def run(operator: type, **arguments: object) -> dict[str, str]:
        runner.ti.xcoms.clear()
        runner.run(operator(task_id="t", **arguments))
        return {key: value for key, value in runner.ti.xcoms.items() if key.endswith("_link")}

    links = run(DicomImportOperator, **STORE, gcs_uri="gs://source/good/**", poll_interval=0.02, deferrable=False)
    assert {url.startswith(seeded.url) for url in links.values()} == {True}
    assert "3 instances" in shown(links["dicom_store_link"])
    assert STORE_NAME in shown(links["dicom_store_link"])
    assert "ImportDicomData" in shown(links["dicom_operation_link"])
    assert "gs://source/good/**" in shown(links["dicom_operation_link"])
    assert "No errors of single files" in shown(links["dicom_logs_link"])
    assert "CT_small.dcm" in shown(links["dicom_gcs_link"])

    table = {**STORE, "bigquery_table": "demo.dicom.links", "poll_interval": 0.02, "deferrable": False}
    links = run(DicomExportOperator, **table)
    assert "1 to 3 of 3" in shown(links["dicom_bigquery_link"])
    assert "SOPInstanceUID" in shown(links["dicom_bigquery_link"])

    study = "/studies/1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
    links = run(FilterFileFromPathsOperator, paths=[study], filter_uri="gs://target/a b/50%.txt")
    assert "50%.txt" in shown(links["dicom_filter_link"])
    assert "1 to 1 of 1" in shown(links["dicom_filter_link"])

    export = {**STORE, "filter_uri": "gs://target/a b/50%.txt", "gcs_uri_prefix": "gs://target/ct & more"}
    links = run(DicomExportOperator, **export, poll_interval=0.02, deferrable=False)
    assert "1 to 1 of 1" in shown(links["dicom_gcs_link"])
    assert "gs://target/ct & more/" in shown(links["dicom_gcs_link"])
    assert "50%.txt" in shown(links["dicom_filter_link"])


def test_the_operations_of_a_list_are_on_the_page_that_shows_all(seeded: Emulator):
    runner = Runner()
    uris = ["gs://source/good/CT_small.dcm", "gs://source/good/MR_small.dcm"]
    done = runner.run(DicomImportOperator(task_id="t", **STORE, gcs_uri=uris, poll_interval=0.02, deferrable=False))
    page = shown(runner.ti.xcoms["dicom_operation_link"])
    dataset, _, ids = done["operation"].rpartition("/")
    assert len(ids.split(",")) == 2
    assert all(one in page for one in ids.split(","))
    assert page == shown(DicomOperationLink.url(f"{dataset}/{','.join(['1'] * 9999)}"))  # no browser takes 20 kB of address


@pytest.mark.parametrize("uri", ["gs://source", "gs://source/"])
def test_a_bucket_is_a_folder(seeded: Emulator, uri: str):
    assert "good/" in shown(GcsPrefixLink.url(uri))


def test_a_folder_is_not_all_that_begins_like_it(seeded: Emulator):
    seeded.storage.objects.put_bytes("source", "goodies/x.dcm", get_testdata_file("CT_small.dcm", read=False).encode())
    assert "goodies" not in shown(GcsPrefixLink.url("gs://source/good"))


@pytest.mark.parametrize("value", ["localhost:9099", "http://localhost:9099/"])
def test_the_variable_may_have_a_scheme(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("HEALTHCARE_EMULATOR_HOST", value)
    assert GcsPrefixLink.url("gs://b/a") == "http://localhost:9099/_emulator/bucket?bucket=b&prefix=a%2F"


@pytest.mark.parametrize("value", [None, ""])
def test_without_an_emulator_they_lead_to_the_console(monkeypatch: pytest.MonkeyPatch, value: str | None):
    monkeypatch.delenv("HEALTHCARE_EMULATOR_HOST")
    if value is not None:
        monkeypatch.setenv("HEALTHCARE_EMULATOR_HOST", value)
    console = "https://console.cloud.google.com"
    browser = f"{console}/healthcare/browser/locations/us-central1/datasets/radiology"
    assert DicomStoreLink.url(NAME) == f"{browser}/dicomStores/images/overview?project=demo"
    operation = "projects/demo/locations/us-central1/datasets/radiology/operations/1"
    assert DicomOperationLink.url(operation) == f"{browser}/operations?project=demo"
    assert GcsPrefixLink.url("gs://b/a b") == f"{console}/storage/browser/b/a%20b"
    assert BigQueryTableLink.url("p.d.t") == f"{console}/bigquery?project=p&p=p&d=d&t=t&page=table"
    assert FilterFileLink.url("gs://b/a/f.txt") == f"{console}/storage/browser/_details/b/a/f.txt"
