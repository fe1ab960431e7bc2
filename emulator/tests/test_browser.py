"""The pages behind the one at ``/``."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import requests
from pydicom.data import get_testdata_file

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.pytest_plugin import DicomStore
from gcp_dicom_emulator.rest.faults import Fault
from tests.test_page import HOSTILE, Page, with_values

pytestmark = pytest.mark.slow


def behind(page: Page, emulator: Emulator, part: str) -> Page:
    """Follow the only link whose address has a part."""
    [address] = [address for address in page.addresses if part in address]
    return Page(emulator.url + address)


def query(store: DicomStore, sql: str) -> None:
    body = {"query": sql, "useLegacySql": False}
    requests.post(f"{store.emulator.url}/bigquery/v2/projects/demo/queries", json=body).raise_for_status()


def failed_import(store: DicomStore, *names: str) -> str:
    """Import what is not DICOM; return the operation."""
    for name in names:
        store.emulator.storage.objects.put_bytes(store.bucket, f"bad/{name}", b"no DICOM")
    url = store.emulator.url
    body = {"gcsSource": {"uri": f"gs://{store.bucket}/bad/**"}}
    name = requests.post(f"{url}/v1/{store.name}:import", json=body).json()["name"]
    while not requests.get(f"{url}/v1/{name}").json().get("done"):
        time.sleep(0.02)
    return name


class TestBucket:
    def test_folders_lead_to_objects_and_those_to_their_bytes(self, dicom_store: DicomStore):
        emulator = dicom_store.emulator
        put = emulator.storage.objects.put_bytes
        for name in ("a/b/1.txt", "a/b/2.txt", "a/3.txt", "top.txt", "a"):
            put("clinic", name, name.encode())
        page = behind(Page(emulator.url), emulator, "bucket=clinic")
        assert "1 to 3 of 3" in page.text
        assert "3 objects" in page.text
        page = behind(page, emulator, "prefix=a%2F")
        assert "3.txt" in page.text
        assert "top.txt" not in page.text
        page = behind(page, emulator, "prefix=a%2Fb%2F")
        assert "1 to 2 of 2" in page.text
        [address] = [address for address in page.addresses if "2.txt" in address]
        answer = requests.get(emulator.url + address)
        assert answer.content == b"a/b/2.txt"
        assert answer.headers["Content-Security-Policy"] == "sandbox"

    def test_has_pages(self, dicom_store: DicomStore):
        emulator, names = dicom_store.emulator, {f"{number:03}.txt" for number in range(450)}
        for name in names:
            emulator.storage.objects.put_bytes("clinic", name, b"")
        page, shown, counts = behind(Page(emulator.url), emulator, "bucket=clinic"), set(), []
        while True:
            counts.append(next(word for word in page.words if " of 450" in word).strip(" ·"))
            shown |= names & set(page.words)
            if page.next_address is None:
                break
            page = Page(emulator.url + page.next_address)
        assert counts == ["1 to 200 of 450", "201 to 400 of 450", "401 to 450 of 450"]
        assert shown == names

    @pytest.mark.parametrize("name", [HOSTILE, "a b?c#d%2F&e=f", "ä/\U0001f600", "//x/", "quote\"'.html", "…/../.."])
    def test_any_name_leads_to_its_bytes(self, dicom_store: DicomStore, name: str):
        emulator = dicom_store.emulator
        emulator.storage.objects.put_bytes("clinic", name, b"its bytes")
        page = behind(Page(emulator.url), emulator, "bucket=clinic")
        for _ in range(name.count("/")):
            if any("alt=media" in address for address in page.addresses):
                break
            page = Page(emulator.url + [address for address in page.addresses if "prefix=" in address][-1])
        assert "script" not in page.tags
        [address] = [address for address in page.addresses if "alt=media" in address]
        assert requests.get(emulator.url + address).content == b"its bytes"

    def test_an_empty_one(self, dicom_store: DicomStore):
        assert "none of 0" in behind(Page(dicom_store.emulator.url), dicom_store.emulator, "bucket=clinic").text


class TestTable:
    def test_columns_and_rows(self, dicom_store: DicomStore):
        query(
            dicom_store,
            "CREATE TABLE dicom.numbers AS SELECT n, [n, n + 1] AS pair, STRUCT('x' AS a, n AS b) AS both_,"
            " CAST(NULL AS STRING) AS missing, TIMESTAMP '2026-01-02 03:04:05+00' AS seen FROM UNNEST(GENERATE_ARRAY(100, 219)) AS n",
        )
        emulator = dicom_store.emulator
        page = behind(Page(emulator.url), emulator, "table=numbers")
        for shown in (
            "INTEGER",
            "REPEATED",
            "both_.a",
            "RECORD",
            '["100", "101"]',
            '{"a": "x", "b": "100"}',
            "NULL",
            "2026-01-02T",
        ):
            assert shown in page.text
        assert "1 to 50 of 120" in page.text
        assert "150" not in page.words
        page = Page(emulator.url + (page.next_address or ""))
        assert "51 to 100 of 120" in page.text
        assert "150" in page.words
        assert "101 to 120 of 120" in Page(emulator.url + (page.next_address or "")).text

    def test_long_values_are_cut(self, dicom_store: DicomStore):
        query(dicom_store, "CREATE TABLE dicom.long AS SELECT REPEAT('x', 5000) AS x")
        text = behind(Page(dicom_store.emulator.url), dicom_store.emulator, "table=long").text
        assert "x" * 300 in text
        assert "x" * 301 not in text

    def test_a_view_has_its_query(self, dicom_store: DicomStore):
        query(dicom_store, "CREATE VIEW dicom.seen AS SELECT 1 AS one")
        text = behind(Page(dicom_store.emulator.url), dicom_store.emulator, "table=seen").text
        assert "SELECT 1 AS one" in text
        assert "INTEGER" in text

    def test_nothing_is_html(self, dicom_store: DicomStore):
        query(dicom_store, f'CREATE TABLE dicom.hostile AS SELECT "{HOSTILE}" AS x')
        page = behind(Page(dicom_store.emulator.url), dicom_store.emulator, "table=hostile")
        assert "script" not in page.tags
        assert HOSTILE in page.words


class TestStudy:
    def test_has_its_instances(self, seeded_dicom_store: DicomStore):
        emulator = seeded_dicom_store.emulator
        [row] = emulator._state.query("SELECT * FROM dicom_instances ORDER BY study LIMIT 1")
        page = behind(Page(emulator.url), emulator, f"study={row['study']}")
        for shown in (row["study"], row["series"], row["instance"], "1 to 1 of 1"):
            assert shown in page.text
        [address] = [address for address in page.addresses if address.endswith("/metadata")]
        browser = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}
        [attributes] = requests.get(emulator.url + address, headers=browser).json()
        assert attributes["00080018"]["Value"] == [row["instance"]]

    def test_nothing_is_html(self, dicom_store: DicomStore, tmp_path: Path):
        dicom_store.seed(with_values(tmp_path / "ct.dcm", SeriesDescription=HOSTILE, Modality="<b>"))
        page = behind(Page(dicom_store.emulator.url), dicom_store.emulator, "study=")
        assert {"script", "iframe", "link"}.isdisjoint(page.tags)
        assert HOSTILE in page.text
        assert all(address.startswith("/") for address in page.addresses)


class TestStore:
    def test_leads_to_its_studies_and_back(self, seeded_dicom_store: DicomStore):
        emulator = seeded_dicom_store.emulator
        page = behind(Page(emulator.url), emulator, "/_emulator/store?")
        assert seeded_dicom_store.name in page.text
        assert "1 to 3 of 3" in page.text
        assert "3 studies · 3 series · 3 instances" in page.text
        study = Page(emulator.url + next(address for address in page.addresses if "study=" in address))
        assert "1 to 3 of 3" in behind(study, emulator, "/_emulator/store?").text

    def test_has_pages(self, dicom_store: DicomStore, tmp_path: Path):
        for number in range(50):
            with_values(tmp_path / f"{number}.dcm", StudyInstanceUID=f"1.{number + 1}", SOPInstanceUID=f"2.{number + 1}")
        dicom_store.seed(tmp_path)
        page = Page(f"{dicom_store.emulator.url}/_emulator/store?store={dicom_store.name}")
        assert "1 to 48 of 50" in page.text
        assert page.next_address is not None
        page = Page(dicom_store.emulator.url + page.next_address)
        assert "49 to 50 of 50" in page.text
        assert sum("study=" in address for address in page.addresses) == 2
        assert "none of 50" in Page(f"{dicom_store.emulator.url}/_emulator/store?store={dicom_store.name}&start=60").text

    def test_may_be_empty(self, dicom_store: DicomStore):
        assert "empty" in Page(f"{dicom_store.emulator.url}/_emulator/store?store={dicom_store.name}").text


class TestJob:
    def test_it_shows_query_state_and_bill(self, dicom_store: DicomStore):
        url = dicom_store.emulator.url
        configuration = {
            "query": {"query": f"SELECT '{HOSTILE}'", "useLegacySql": False, "priority": "BATCH"},
            "labels": {"cohort": "ct"},
        }
        body = {"jobReference": {"projectId": "p", "jobId": "j", "location": "EU"}, "configuration": configuration}
        requests.post(f"{url}/bigquery/v2/projects/p/jobs", json=body).raise_for_status()
        while requests.get(f"{url}/bigquery/v2/projects/p/jobs/j").json()["status"]["state"] != "DONE":
            time.sleep(0.02)
        page = Page(f"{url}/_emulator/job?project=p&job=j&location=EU")
        assert {"p:EU.j", "DONE", "BATCH", "cohort: ct", f"SELECT '{HOSTILE}'"} <= set(page.words)
        assert "script" not in page.tags

    def test_there_is_none(self, dicom_store: DicomStore):
        assert requests.get(f"{dicom_store.emulator.url}/_emulator/job?project=p&job=j").status_code == 404


class TestLogs:
    def test_browsers_get_a_table(self, dicom_store: DicomStore):
        name = failed_import(dicom_store, "one.txt", f"{HOSTILE}.txt")
        address = f"{dicom_store.emulator.url}/_emulator/logs?operation={name}"
        page = Page(address, {"Accept": "text/html,*/*;q=0.8"})
        assert "1 to 2 of 2" in page.text
        assert "script" not in page.tags
        assert {"gs://clinic/bad/one.txt", f"gs://clinic/bad/{HOSTILE}.txt"} <= set(page.words)
        entries = requests.get(address).json()["entries"]
        assert {entry["jsonPayload"]["source"] for entry in entries} <= set(page.words)
        assert {entry["jsonPayload"]["error"]["message"] for entry in entries} <= set(page.words)

    def test_case_14_an_operation_that_failed_as_a_whole_shows_why(self, dicom_store: DicomStore):
        url, body = dicom_store.emulator.url, {"gcsSource": {"uri": f"gs://missing/{HOSTILE}/**"}}
        name = requests.post(f"{url}/v1/{dicom_store.name}:import", json=body).json()["name"]
        while not (operation := requests.get(f"{url}/v1/{name}").json()).get("done"):
            time.sleep(0.02)
        page = Page(operation["metadata"]["logsUrl"], {"Accept": "text/html"})
        assert operation["error"]["message"] in page.words
        assert f"error {operation['error']['code']}" in page.words
        assert "google.cloud.healthcare.v1.dicom.DicomService.ImportDicomData" in page.words
        assert f'"uri": "gs://missing/{HOSTILE}/**"' in page.text
        assert f'"name": "{dicom_store.name}"' in page.text
        assert operation["metadata"]["endTime"][:19].replace("T", " ") in page.words
        assert "No errors of single files" in page.text
        assert "script" not in page.tags

    def test_case_14_one_that_did_some_of_it_shows_its_counters_above_its_log(self, dicom_store: DicomStore):
        dicom_store.upload(get_testdata_file("CT_small.dcm"), prefix="bad/")
        name = failed_import(dicom_store, "one.txt")
        page = Page(f"{dicom_store.emulator.url}/_emulator/logs?operation={name}", {"Accept": "text/html"})
        assert page.words.index("1 success, 1 failure") < page.words.index("gs://clinic/bad/one.txt")

    def test_case_14_one_that_runs_says_so(self, dicom_store: DicomStore):
        url = dicom_store.emulator.url
        dicom_store.emulator.faults.add(Fault("hang"))
        body = {"gcsSource": {"uri": f"gs://{dicom_store.bucket}/**"}}
        name = requests.post(f"{url}/v1/{dicom_store.name}:import", json=body).json()["name"]
        page = Page(f"{url}/_emulator/logs?operation={name}", {"Accept": "text/html"})
        assert "running" in page.words
        assert "ended (UTC)" not in page.words

    def test_without_errors(self, dicom_store: DicomStore):
        address = f"{dicom_store.emulator.url}/_emulator/logs?operation=x"
        assert "No errors" in (page := Page(address, {"Accept": "text/html"})).text
        assert "Operation not found: x" in page.words
        assert requests.get(address, headers={"Accept": "application/json"}).json() == {"entries": []}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("bucket", 404),
        ("store", 404),
        ("store?store=projects/demo", 404),
        ("bucket?bucket=missing", 404),
        ("bucket?bucket=clinic&start=-1", 400),
        ("bucket?bucket=clinic&start=99999999999999999999", 400),
        ("bucket?bucket=clinic&start=²", 400),
        ("bucket?bucket=clinic&start=9223372036854775807", 200),
        ("table", 400),
        ("table?project=demo&dataset=dicom&table=missing", 404),
        ("table?project=demo&dataset=missing&table=missing", 404),
        ("study", 404),
        ("study?store=x&study=y", 404),
        ("study?store=x&study=y&start=5", 200),
    ],
)
def test_what_is_not_there(dicom_store: DicomStore, path: str, status: int):
    assert requests.get(f"{dicom_store.emulator.url}/_emulator/{path}").status_code == status


@pytest.mark.parametrize(
    "path", ["bucket?bucket=clinic", "logs?operation=x", "table?project=demo&dataset=dicom&table=x", "study"]
)
def test_pages_of_others_get_nothing(dicom_store: DicomStore, path: str):
    url = f"{dicom_store.emulator.url}/_emulator/{path}"
    assert requests.get(url, headers={"Host": "evil.example"}).status_code == 403
    assert requests.get(url, headers={"Origin": "http://evil.example", "User-Agent": "Mozilla/5.0"}).status_code == 403
