"""What all services share: paths, bodies, errors, connections, and faults on request."""

from __future__ import annotations

import contextlib
import errno
import gc
import gzip
import io
import json
import re
import shutil
import socket
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core.exceptions import NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from googleapiclient.discovery import build
from googleapiclient.http import BatchHttpRequest
from pydicom.data import get_testdata_file

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.client import Client
from gcp_dicom_emulator.rest.faults import Fault
from gcp_dicom_emulator.rest.server import Call
from gcp_dicom_emulator.seeding import seed_store
from tests.schemas import WireChecker

STORES = "/v1/projects/p/locations/l/datasets/d/dicomStores"


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    with Emulator() as emulator:
        emulator.storage.objects.create_bucket("bucket")
        yield emulator


@pytest.fixture
def emulator(running: Emulator) -> Iterator[Emulator]:
    yield running
    running.faults.clear()


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


class Wire:
    """One connection, byte by byte."""

    def __init__(self, emulator: Emulator) -> None:
        self._socket = socket.create_connection(("127.0.0.1", emulator.port), timeout=60)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, method: str, path: str, body: bytes = b"", headers: str = "") -> tuple[int, bytes]:
        """Send a request; return the status and the body of the answer."""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self._socket.sendall(head.encode() + body)
        status = int(self._file.readline().split()[1])
        length = 0
        while line := self._file.readline().strip():
            name, _, value = line.partition(b": ")
            length = int(value) if name.lower() == b"content-length" else length
        return status, self._file.read(length)


def sqlite3_full() -> Exception:
    """What SQLite raises where the disk is full."""
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.execute("PRAGMA max_page_count = 1")
        try:
            database.execute("CREATE TABLE t (a)")
        except sqlite3.OperationalError as error:
            return error
    raise AssertionError


class TestPaths:
    def test_healthz(self, emulator: Emulator, http: requests.Session):
        answer = http.get(f"{emulator.url}/healthz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    @pytest.mark.parametrize(
        "path", ["/_nothing", "/v1", "/storage/v1/b/bucket/o/a/b", "/healthz/", "//", "/_emulator/x", "/x%0Ay"]
    )
    def test_an_unknown_one_is_404_in_google_s_envelope(self, emulator: Emulator, path: str):
        with Wire(emulator) as wire:
            status, body = wire.ask("GET", path)
        error = json.loads(body)["error"]
        assert (status, error["code"], error["status"]) == (404, 404, "NOT_FOUND")
        assert path in error["message"]
        assert error["errors"][0]["reason"] == "notFound"

    def test_an_unknown_verb_is_404(self, emulator: Emulator, http: requests.Session):
        assert http.request("PROPFIND", f"{emulator.url}/storage/v1/b").status_code == 404

    @pytest.mark.parametrize(
        ("verb", "path", "name"),
        [
            ("GET", f"{STORES.replace('dicom', 'fhir')}/s", "healthcare.projects.locations.datasets.fhirStores.get"),
            ("GET", "/storage/v1/b/bucket/iam", "storage.buckets.getIamPolicy"),
            ("GET", "/bigquery/v2/projects/p/datasets/d/models", "bigquery.models.list"),
        ],
    )
    def test_a_method_that_is_not_emulated_is_501_by_its_name(
        self, emulator: Emulator, http: requests.Session, verb: str, path: str, name: str
    ):
        answer = http.request(verb, emulator.url + path)
        error = answer.json()["error"]
        assert (answer.status_code, error["status"]) == (501, "UNIMPLEMENTED")
        assert name in error["message"]

    @pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), sqlite3_full()])
    def test_a_full_disk_is_nothing_to_try_again(
        self, emulator: Emulator, http: requests.Session, monkeypatch: pytest.MonkeyPatch, error: Exception
    ):
        def fail(call: Call) -> None:
            raise error

        monkeypatch.setitem(emulator._server._handlers, "storage.buckets.get", fail)
        answer = http.get(f"{emulator.url}/storage/v1/b/bucket")
        assert (answer.status_code, "full" in answer.json()["error"]["message"]) == (507, True)

    def test_that_is_no_utf_8_is_refused(self, emulator: Emulator, http: requests.Session):
        assert http.get(f"{emulator.url}/storage/v1/b/%FF").json()["error"]["code"] == 400

    def test_answered_requests_are_remembered(self, emulator: Emulator, http: requests.Session):
        http.get(f"{emulator.url}/storage/v1/b/missing?x=y")
        last = emulator.requests[-1]
        assert (last.method_id, last.path, last.status) == ("storage.buckets.get", "/storage/v1/b/missing?x=y", 404)

    def test_of_answered_requests_have_no_secrets(self, emulator: Emulator, http: requests.Session):
        http.get(f"{emulator.url}/nothing?access_token=ya29.x&project=p&key=AIza&monkey=1")
        assert emulator.requests[-1].path == "/nothing?access_token=...&project=p&key=...&monkey=1"

    @pytest.mark.parametrize("path", ["/b?project=p", "/projects/p/datasets"])
    def test_may_begin_behind_the_version(self, emulator: Emulator, http: requests.Session, path: str):
        """As Google's Node clients send it when an environment variable says where the emulator is."""
        assert http.get(emulator.url + path).status_code == 200


class TestEndpoints:
    """The emulator's own."""

    @pytest.mark.parametrize(
        ("verb", "path", "allowed"),
        [
            ("POST", "/", "GET"),
            ("DELETE", "/healthz", "GET"),
            ("GET", "/_emulator/reset", "POST"),
            ("PUT", "/_emulator/faults", "DELETE, GET, POST"),
            ("GET", "/token", "POST"),
            ("GET", "/oauth2/v4/token", "POST"),
        ],
    )
    def test_another_verb_is_405(self, emulator: Emulator, http: requests.Session, verb: str, path: str, allowed: str):
        answer = http.request(verb, emulator.url + path)
        assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
        assert answer.json()["error"]["code"] == 405

    @pytest.mark.parametrize("path", ["/", "/healthz", "/_emulator/status"])
    def test_head_stands_for_get(self, emulator: Emulator, http: requests.Session, path: str):
        answer = http.head(emulator.url + path)
        assert (answer.status_code, answer.content) == (200, b"")

    def test_are_answered_during_resets(self):
        """Before, or afterwards: never out of half of the old and half of the new."""
        with Emulator() as emulator, ThreadPoolExecutor() as threads:
            own = (
                "status",
                "thumbnail?blob=x",
                "logs?operation=x",
                "bucket?bucket=x",
                "table?project=x&dataset=x&table=x",
                "study",
            )
            paths = ("/", "/healthz", *(f"/_emulator/{path}" for path in own))
            answers = [threads.submit(requests.get, emulator.url + path) for path in paths * 12]
            for _ in range(20):
                emulator.reset()
            assert {answer.result().status_code for answer in answers} == {200, 404}

    def test_what_they_did_not_foresee_is_500_in_google_s_envelope(self, monkeypatch: pytest.MonkeyPatch):
        with Emulator() as emulator:
            monkeypatch.setattr(emulator._state, "query", lambda *_: 1 / 0)
            error = requests.get(f"{emulator.url}/_emulator/status").json()["error"]
        assert (error["code"], error["message"]) == (500, "ZeroDivisionError: division by zero")


class TestStrangers:
    """Pages of the web, which a browser on this machine shows."""

    BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"

    @pytest.mark.parametrize("origin", ["https://example.com", "http://127.0.0.1:1", "null"])
    @pytest.mark.parametrize("path", ["/_emulator/reset", "/storage/v1/b?project=p"])
    def test_write_nothing(self, emulator: Emulator, http: requests.Session, origin: str, path: str):
        answer = http.post(emulator.url + path, data='{"name": "theirs"}', headers={"Origin": origin, "User-Agent": self.BROWSER})
        assert answer.status_code == 403
        assert origin in answer.json()["error"]["message"]
        assert emulator.status()["buckets"] == 1

    def test_the_emulator_s_own_may(self, emulator: Emulator, http: requests.Session):
        headers = {"Origin": emulator.url, "User-Agent": self.BROWSER}
        assert http.patch(f"{emulator.url}/storage/v1/b/bucket", json={}, headers=headers).status_code == 200

    def test_an_origin_that_a_client_names_is_none(self, emulator: Emulator, http: requests.Session):
        """Google's client sends that of the page which is to go on with an upload."""
        url = f"{emulator.url}/upload/storage/v1/b/bucket/o?uploadType=resumable&name=origin"
        assert http.post(url, headers={"Origin": "https://example.com"}).status_code == 200

    @pytest.mark.parametrize("host", ["example.com", "127.0.0.1.example.com:9099", "EXAMPLE.com.", "a@example.com"])
    def test_whose_name_is_made_to_mean_this_machine_read_nothing(self, emulator: Emulator, http: requests.Session, host: str):
        answer = http.get(f"{emulator.url}/storage/v1/b/bucket", headers={"Host": host})
        assert answer.status_code == 403
        assert "--host" in answer.json()["error"]["message"]

    @pytest.mark.parametrize(
        "host",
        ["localhost", "127.0.0.1", "[::1]:80", "emulator:9099", "host.docker.internal", "a.localhost", "storage.googleapis.com"],
    )
    def test_names_that_nobody_else_can_have_are_fine(self, emulator: Emulator, http: requests.Session, host: str):
        assert http.get(f"{emulator.url}/storage/v1/b/bucket", headers={"Host": host}).status_code == 200

    def test_who_lets_others_reach_it_chooses_its_names(self):
        with Emulator(host="0.0.0.0") as emulator:
            assert emulator.url == f"http://127.0.0.1:{emulator.port}"  # which browsers take, unlike 0.0.0.0
            assert requests.get(f"{emulator.url}/healthz", headers={"Host": "example.com"}).status_code == 200

    def test_nothing_that_is_stored_runs_as_a_page_of_the_emulator(self, emulator: Emulator, http: requests.Session):
        url = f"{emulator.url}/upload/storage/v1/b/bucket/o?uploadType=media&name=page"
        http.post(url, data=b"<script>fetch('/')</script>", headers={"Content-Type": "text/html"}).raise_for_status()
        for path in ("/storage/v1/b/bucket/o/page?alt=media", "/storage/v1/b/bucket/o/page", "/_nothing", "/_emulator/logs"):
            answer = http.get(emulator.url + path)
            assert answer.headers["Content-Security-Policy"] == "sandbox"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


class TestQueries:
    """Parameters that all methods have, and those that none has."""

    @pytest.fixture
    def objects(self, running: Emulator) -> str:
        for name in ("f/a", "f/b", "f/c"):
            running.storage.objects.put_bytes("bucket", name, b"x", {"metadata": {"k": "v", "l": "w"}})
        return f"{running.url}/storage/v1/b/bucket/o?prefix=f/&maxResults=2"

    @pytest.mark.parametrize(
        ("selection", "expected"),
        [
            ("kind", {"kind": "storage#objects"}),
            ("items/name", {"items": [{"name": "f/a"}, {"name": "f/b"}]}),
            ("items(name,size),kind", {"kind": "storage#objects", "items": [{"name": n, "size": "1"} for n in ("f/a", "f/b")]}),
            ("items/metadata/k,items/name", {"items": [{"name": n, "metadata": {"k": "v"}} for n in ("f/a", "f/b")]}),
            ("items/metadata/k,items(metadata)", {"items": [{"metadata": {"k": "v", "l": "w"}}] * 2}),
            ("items/*/k", {"items": [{"metadata": {"k": "v"}}] * 2}),
            ("prefixes", {}),
        ],
    )
    def test_fields(self, objects: str, http: requests.Session, selection: str, expected: dict[str, Any]):
        found = http.get(objects, params={"fields": selection}).json()
        assert found == expected

    def test_fields_of_all(self, objects: str, http: requests.Session):
        assert http.get(objects, params={"fields": "*"}).json() == http.get(objects).json()
        assert http.get(objects, params={"fields": ""}).json() == http.get(objects).json()

    @pytest.mark.parametrize("selection", ["nmae", "items/nmae", "items(name", "items(name))", ",", "items//name", "(" * 5000])
    def test_fields_that_are_none(self, objects: str, http: requests.Session, selection: str):
        error = http.get(objects, params={"fields": selection}).json()["error"]
        assert error["code"] == 400
        assert error["message"].startswith("Invalid field selection")

    def test_fields_do_not_select_of_an_error(self, emulator: Emulator, http: requests.Session):
        assert http.get(f"{emulator.url}/storage/v1/b/missing?fields=name").json()["error"]["code"] == 404

    def test_another_alt_is_501(self, emulator: Emulator, http: requests.Session):
        assert http.get(f"{emulator.url}/storage/v1/b/bucket?alt=proto").json()["error"]["code"] == 501

    def test_the_healthcare_api_refuses_what_it_does_not_know(self, emulator: Emulator, http: requests.Session):
        """A misspelled parameter would be ignored otherwise, and the DAG fail on Google Cloud."""
        url = f"{emulator.url}/v1/projects/p/locations/l/datasets"
        error = http.get(f"{url}?pagesize=1").json()["error"]
        assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
        assert 'Unknown name "pagesize": Cannot bind query parameter.' in error["message"]

    def test_the_healthcare_api_takes_snake_case(self, emulator: Emulator, http: requests.Session, wire: WireChecker):
        url = f"{emulator.url}/v1/projects/p/locations/l/datasets"
        for name in ("snake-1", "snake-2"):
            http.post(f"{url}?dataset_id={name}&upload_protocol=x", json={}).raise_for_status()
        assert len(http.get(f"{url}?page_size=1&$.xgafv=2").json()["datasets"]) == 1
        wire.problems.clear()  # they are not in the discovery document


class TestBodies:
    def post(self, emulator: Emulator, path: str, body: bytes | Any) -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = requests.post(emulator.url + path, data=data)
        return answer.status_code, answer.json()["error"]

    @pytest.mark.parametrize(
        ("path", "body", "field", "says"),
        [
            (STORES, {"lables": {}}, "lables", 'Unknown name "lables": Cannot find field.'),
            (STORES, {"notificationConfig": {"topic": ""}}, "notificationConfig.topic", 'Unknown name "topic" at'),
            (STORES, {"labels": "x"}, "labels", "Invalid value at 'labels'"),
            ("/bigquery/v2/projects/p/datasets", {"datasetReferenz": {}}, "datasetReferenz", "Unknown name"),
        ],
    )
    def test_an_unknown_field_is_400_in_google_s_envelope(self, emulator: Emulator, path, body, field, says):
        status, error = self.post(emulator, path, body)
        (violations,) = [detail["fieldViolations"] for detail in error["details"]]
        assert (status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
        assert error["message"].startswith(f"Invalid JSON payload received. {says}")
        assert says in violations[0]["description"]
        assert field.split(".")[-1] in violations[0]["description"]

    def test_cloud_storage_ignores_unknown_fields(self, emulator: Emulator, http: requests.Session, wire: WireChecker):
        answer = http.patch(f"{emulator.url}/storage/v1/b/bucket", json={"nonsense": 1})
        assert answer.status_code == 200
        assert "nonsense" not in answer.json()
        assert wire.problems == {"storage.buckets.patch: request.nonsense: unknown field"}
        wire.problems.clear()

    def test_numbers_and_strings_stand_for_each_other(self, emulator: Emulator, http: requests.Session):
        """As Google's Node client sends a query's parameters, and its Python client a load's skipLeadingRows."""
        query: dict[str, Any] = {"query": "SELECT @n + @f", "useLegacySql": "false", "parameterMode": "NAMED"}
        query["queryParameters"] = [
            {"name": "n", "parameterType": {"type": "INT64"}, "parameterValue": {"value": 41}},
            {"name": "f", "parameterType": {"type": "INT64"}, "parameterValue": {"value": "1"}},
        ]
        answer = http.post(f"{emulator.url}/bigquery/v2/projects/p/queries", json=query | {"maxResults": "5"})
        assert answer.json()["rows"] == [{"f": [{"v": "42"}]}]

    @pytest.mark.parametrize("body", [b"{", b"\xff", b"[]", b'"text"', b"5", b"[" * 100_000])
    @pytest.mark.parametrize("path", [STORES, "/bigquery/v2/projects/p/datasets", "/storage/v1/b?project=p"])
    def test_that_is_no_object_is_refused(self, emulator: Emulator, path: str, body: bytes):
        assert self.post(emulator, path, body)[0] == 400

    @pytest.mark.parametrize("value", ["1e999", "1.5"])
    def test_integers_are_whole_and_finite(self, emulator: Emulator, value: str):
        body = f'{{"query": "SELECT 1", "maxResults": {value}}}'.encode()
        status, error = self.post(emulator, "/bigquery/v2/projects/p/queries", body)
        assert (status, "Invalid value at 'maxResults'" in error["message"]) == (400, True)

    def test_that_is_nested_too_deeply_is_refused(self, emulator: Emulator):
        nested = '{"arrayType": ' * 900 + "{}" + "}" * 900
        body = f'{{"query": "SELECT 1", "queryParameters": [{{"parameterType": {nested}}}]}}'.encode()
        assert self.post(emulator, "/bigquery/v2/projects/p/queries", body)[0] == 400

    def test_that_is_large_and_broken_does_not_hold_up_others(self, emulator: Emulator):
        started = time.monotonic()
        assert self.post(emulator, STORES, b'{"labels": {"a": 1}, ' * 20_000)[0] == 400
        assert time.monotonic() - started < 5

    def test_that_is_said_to_be_gzip_and_is_not_is_refused(self, emulator: Emulator, http: requests.Session):
        answer = http.post(emulator.url + STORES, data=b"{}", headers={"Content-Encoding": "gzip"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)

    def test_that_is_gzip_is_read(self, emulator: Emulator, http: requests.Session):
        body, headers = gzip.compress(b'{"labels": {"a": "b"}}'), {"Content-Encoding": "gzip"}
        assert http.patch(f"{emulator.url}/storage/v1/b/bucket", data=body, headers=headers).json()["labels"] == {"a": "b"}

    def test_without_any_is_an_empty_object(self, emulator: Emulator):
        assert "name" in self.post(emulator, "/storage/v1/b?project=p", b"")[1]["message"]


class TestConnections:
    def test_listens_on_127_0_0_1_only(self, emulator: Emulator):
        socket.create_connection(("127.0.0.1", emulator.port), timeout=60).close()
        # Linux routes all of 127.0.0.0/8 to itself, so that only what listens on 127.0.0.1 alone refuses this.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", emulator.port), timeout=60)

    def test_one_serves_many_requests_after_errors(self, emulator: Emulator):
        with Wire(emulator) as wire:
            assert wire.ask("GET", "/_nothing")[0] == 404
            assert wire.ask("POST", "/storage/v1/b?project=p", b"{")[0] == 400
            assert wire.ask("GET", "/storage/v1/b/bucket/iam")[0] == 501
            # An error before the body was read.
            assert wire.ask("POST", "/_nothing", b"x" * 1_000_000)[0] == 404
            assert wire.ask("POST", "/upload/storage/v1/b/bucket/o?uploadType=x", b"x" * 1_000_000)[0] == 400
            assert wire.ask("DELETE", "/storage/v1/b/bucket/o/missing")[0] == 404
            assert wire.ask("GET", "/healthz")[0] == 200

    def test_headers_may_be_large(self, emulator: Emulator):
        with Wire(emulator) as wire:
            assert wire.ask("GET", "/healthz", headers=f"Authorization: Bearer {'x' * 30_000}\r\n")[0] == 200
            many = "".join(f"X-Header-{n}: {'x' * 500}\r\n" for n in range(100))
            assert wire.ask("GET", "/healthz", headers=many)[0] == 200
            assert wire.ask("GET", f"/storage/v1/b/bucket?quotaUser={'x' * 30_000}")[0] == 200

    def test_headers_that_are_too_large_are_refused(self, emulator: Emulator):
        with Wire(emulator) as wire:
            assert wire.ask("GET", "/healthz", headers=f"X-Header: {'x' * 300_000}\r\n")[0] == 400

    def test_what_is_no_http_does_no_harm(self, emulator: Emulator, http: requests.Session):
        with socket.create_connection(("127.0.0.1", emulator.port), timeout=60) as raw:
            raw.sendall(b"\x16\x03\x01\x00\xa5\x01\x00\r\n\r\n")
            assert raw.recv(12) == b"HTTP/1.0 400"
        assert http.get(f"{emulator.url}/healthz").status_code == 200

    def test_a_client_that_goes_away_is_noted_without_alarm(self, emulator: Emulator, caplog: pytest.LogCaptureFixture):
        with socket.create_connection(("127.0.0.1", emulator.port), timeout=60) as raw:
            path = "/upload/storage/v1/b/bucket/o?uploadType=media&name=gone"
            raw.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nhalf".encode())
            time.sleep(0.1)
        deadline = time.monotonic() + 30
        while not (gone := [request for request in emulator.requests if request.path == path]):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert gone[0].status == 499
        assert "Traceback" not in caplog.text
        assert emulator.storage.objects.find("bucket", "gone") is None

    def test_a_body_may_come_in_pieces_of_unknown_number(self, emulator: Emulator, http: requests.Session):
        url = f"{emulator.url}/upload/storage/v1/b/bucket/o?uploadType=media&name=pieces"
        http.post(url, data=iter([b"one", b"two"])).raise_for_status()
        assert http.get(f"{emulator.url}/storage/v1/b/bucket/o/pieces?alt=media").content == b"onetwo"


class TestBatches:
    def test_of_google_cloud_storage(self, emulator: Emulator):
        client = storage.Client("p", AnonymousCredentials(), client_options={"api_endpoint": emulator.url})
        bucket = client.bucket("bucket")
        for name in ("batch a", "batch/ä?"):
            emulator.storage.objects.put_bytes("bucket", name, b"x")
        with client.batch():
            patched = bucket.blob("batch a")
            patched.metadata = {"k": "v"}
            patched.patch()
            bucket.delete_blob("batch/ä?")
        assert bucket.get_blob("batch a").metadata == {"k": "v"}
        assert bucket.get_blob("batch/ä?") is None
        with pytest.raises(NotFound), client.batch():
            bucket.delete_blob("missing")

    @pytest.mark.parametrize(
        ("api", "version", "path", "batch_path"),
        [("healthcare", "v1", "", "/batch"), ("bigquery", "v2", "/bigquery/v2/", "/batch/bigquery/v2")],
    )
    def test_of_google_api_python_client(self, emulator: Emulator, api: str, version: str, path: str, batch_path: str):
        options = {"api_endpoint": emulator.url + path}
        service = build(api, version, credentials=AnonymousCredentials(), client_options=options)
        answers: dict[str, tuple[Any, Any]] = {}
        # What the service itself makes goes to Google, whatever the endpoint.
        batch = BatchHttpRequest(lambda id, answer, error: answers.update({id: (answer, error)}), emulator.url + batch_path)
        if api == "healthcare":
            datasets = service.projects().locations().datasets()
            batch.add(
                datasets.create(parent="projects/p/locations/l", datasetId="batch", body={"timeZone": "UTC"}), request_id="a"
            )
            batch.add(datasets.get(name="projects/p/locations/l/datasets/none"), request_id="b")
        else:
            body = {"query": "SELECT 'Müll' AS v", "useLegacySql": False}
            batch.add(service.jobs().query(projectId="p", body=body), request_id="a")
            batch.add(service.datasets().get(projectId="p", datasetId="none"), request_id="b")
        batch.execute()
        assert answers["a"][1] is None
        assert answers["a"][0].get("name") or answers["a"][0]["rows"] == [{"f": [{"v": "Müll"}]}]
        assert answers["b"][1].status_code == 404

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("application/json", b"{}"),
            ("multipart/mixed; boundary=b", b"--b--\r\n"),
            ("multipart/mixed; boundary=b", b"--b\r\nContent-Type: application/http\r\n\r\nnonsense\r\n--b--"),
            ("multipart/mixed; boundary=b", b"--b\r\n\r\nGET /storage/v1/b/bucket/o/a?alt=media HTTP/1.1\r\n\r\n\r\n--b--"),
            ("multipart/mixed; boundary=b", b"--b\r\n\r\nPOST /batch HTTP/1.1\r\n\r\n\r\n--b--"),
            ("multipart/mixed; boundary=b", b"--b\r\n\r\nGET /healthz\r\n\r\n\r\n" * 101 + b"--b--"),
        ],
    )
    def test_what_is_none_is_refused(self, emulator: Emulator, http: requests.Session, kind: str, body: bytes):
        answer = http.post(f"{emulator.url}/batch/storage/v1", data=body, headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)

    def test_faults_happen_to_their_requests(self, emulator: Emulator, http: requests.Session):
        emulator.faults.add(Fault("status", "storage.buckets.get", code=503))
        part = b"--b\r\n\r\nGET /storage/v1/b/bucket\r\n\r\n\r\n"
        kind = {"Content-Type": "multipart/mixed; boundary=b"}
        answer = http.post(f"{emulator.url}/batch/storage/v1", data=part * 2 + b"--b--", headers=kind)
        assert re.findall(r"HTTP/1.1 (\d+)", answer.text) == ["503", "200"]


class TestFaults:
    @pytest.fixture
    def faults(self, emulator: Emulator) -> str:
        return f"{emulator.url}/_emulator/faults"

    def add(self, http: requests.Session, faults: str, **fault: Any) -> None:
        answer = http.post(faults, json=fault)
        assert answer.status_code == 200, answer.text

    def fired(self, http: requests.Session, faults: str) -> list[int]:
        return [fault["fired"] for fault in http.get(faults).json()["faults"]]

    def put(self, http: requests.Session, emulator: Emulator, name: str) -> requests.Response:
        return http.post(f"{emulator.url}/upload/storage/v1/b/bucket/o?uploadType=media&name={name}", data=b"x")

    def exists(self, emulator: Emulator, name: str) -> bool:
        return emulator.storage.objects.find("bucket", name) is not None

    def test_status_answers_without_doing_anything(self, emulator: Emulator, http: requests.Session, faults: str):
        self.add(http, faults, kind="status", code=429, seconds=3, method="storage.objects.insert", times=2)
        for _ in range(2):
            answer = self.put(http, emulator, "status")
            assert (answer.status_code, answer.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
            assert answer.headers["Retry-After"] == "3"
        assert not self.exists(emulator, "status")
        assert self.put(http, emulator, "status").status_code == 200
        assert self.fired(http, faults) == [2]

    def test_reset_closes_the_connection_without_doing_anything(self, emulator: Emulator, http: requests.Session, faults: str):
        self.add(http, faults, kind="reset", method="storage.objects.insert")
        with pytest.raises(requests.ConnectionError):
            self.put(http, emulator, "reset")
        assert not self.exists(emulator, "reset")
        assert self.fired(http, faults) == [1]
        assert self.put(http, emulator, "reset").status_code == 200

    def test_lose_answer_does_the_work_and_closes_the_connection(self, emulator: Emulator, http: requests.Session, faults: str):
        self.add(http, faults, kind="lose_answer", method="storage.objects.insert")
        with pytest.raises(requests.ConnectionError):
            self.put(http, emulator, "lost")
        assert self.exists(emulator, "lost")
        assert self.fired(http, faults) == [1]

    def test_lose_answer_of_an_error_closes_the_connection_too(self, emulator: Emulator, http: requests.Session, faults: str):
        self.add(http, faults, kind="lose_answer", method="storage.objects.get")
        with pytest.raises(requests.ConnectionError):
            http.get(f"{emulator.url}/storage/v1/b/bucket/o/missing")
        assert self.fired(http, faults) == [1]

    def test_a_lost_download_is_lost(self, emulator: Emulator, http: requests.Session, faults: str):
        self.put(http, emulator, "download")
        self.add(http, faults, kind="lose_answer", method="storage.objects.get")
        with pytest.raises(requests.ConnectionError):
            http.get(f"{emulator.url}/storage/v1/b/bucket/o/download?alt=media")
        assert http.get(f"{emulator.url}/storage/v1/b/bucket/o/download?alt=media").content == b"x"

    @pytest.mark.parametrize("kind", ["lose_answer", "hold_answer"])
    def test_answers_that_are_streamed_are_lost_and_held_from_their_first_byte(
        self, emulator: Emulator, http: requests.Session, faults: str, kind: str
    ):
        store = "projects/p/locations/l/datasets/streamed/dicomStores/s"
        with Client(emulator.url) as client:
            seed_store(client, store, Path(str(get_testdata_file("CT_small.dcm"))))
        [found] = http.get(f"{emulator.url}/v1/{store}/dicomWeb/instances").json()
        study, series, instance = (found[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
        url = f"{emulator.url}/v1/{store}/dicomWeb/studies/{study}/series/{series}/instances/{instance}/frames/1"
        http.headers["Accept"] = 'multipart/related; type="application/octet-stream"'
        assert http.get(url).headers["Transfer-Encoding"] == "chunked"
        self.add(http, faults, kind=kind, seconds=0.5, method="*.retrieveFrames")
        started = time.monotonic()
        if kind == "lose_answer":
            with pytest.raises(requests.ConnectionError):
                http.get(url, stream=True)
        else:
            assert http.get(url, stream=True).status_code == 200
            assert time.monotonic() - started >= 0.5
        assert self.fired(http, faults) == [1]

    @pytest.mark.parametrize("kind", ["delay", "hold_answer"])
    def test_delay_and_hold_answer_take_their_time(self, emulator: Emulator, http: requests.Session, faults: str, kind: str):
        self.add(http, faults, kind=kind, seconds=0.2, method="storage.objects.insert")
        start = time.monotonic()
        assert self.put(http, emulator, kind).status_code == 200
        assert time.monotonic() - start >= 0.2
        assert self.exists(emulator, kind)
        assert self.fired(http, faults) == [1]

    def test_a_delayed_request_has_done_nothing_yet_and_a_held_one_everything(
        self, emulator: Emulator, http: requests.Session, faults: str
    ):
        for kind, done in (("delay", False), ("hold_answer", True)):
            self.add(http, faults, kind=kind, seconds=600, method="storage.objects.insert")
            with pytest.raises(requests.Timeout):
                http.post(f"{emulator.url}/upload/storage/v1/b/bucket/o?uploadType=media&name=t-{kind}", data=b"", timeout=0.5)
            assert self.exists(emulator, f"t-{kind}") is done
        assert self.fired(http, faults) == [1, 1]

    def test_the_emulator_stops_though_a_request_is_delayed(self, caplog: pytest.LogCaptureFixture):
        with Emulator() as emulator:
            fault = emulator.faults.add(Fault("delay", seconds=600))
            with pytest.raises(requests.Timeout):
                requests.get(f"{emulator.url}/storage/v1/b/bucket", timeout=0.2)
            assert fault.fired == 1
        gc.collect()
        assert "destroyed" not in caplog.text

    def test_happen_only_where_they_are_meant(self, emulator: Emulator, http: requests.Session, faults: str):
        self.add(http, faults, kind="status", method="storage.objects.*", resource="*name=here*", times=None)
        assert [self.put(http, emulator, name).status_code for name in ("there", "here", "here")] == [200, 503, 503]
        assert http.get(f"{emulator.url}/storage/v1/b/bucket?quotaUser=name=here").status_code == 200
        assert self.fired(http, faults) == [2]

    def test_happen_in_the_order_they_were_added(self, emulator: Emulator, http: requests.Session, faults: str):
        self.add(http, faults, kind="status", code=503)
        self.add(http, faults, kind="status", code=500)
        codes = [http.get(f"{emulator.url}/storage/v1/b/bucket").status_code for _ in range(3)]
        assert codes == [503, 500, 200]
        assert self.fired(http, faults) == [1, 1]

    def test_are_removed(self, emulator: Emulator, http: requests.Session, faults: str):
        self.add(http, faults, kind="status", times=None)
        assert http.delete(faults).json() == {"faults": []}
        assert http.get(f"{emulator.url}/storage/v1/b/bucket").status_code == 200

    @pytest.mark.parametrize(
        "fault",
        [
            {},
            {"kind": "nonsense"},
            {"kind": "status", "nonsense": 1},
            {"kind": "status", "fired": 1},
            {"kind": "status", "code": "503"},
            {"kind": "status", "code": 99},
            {"kind": "status", "times": "1"},
            {"kind": "status", "times": True},
            {"kind": "status", "times": -1},
            {"kind": "status", "method": None},
            {"kind": "delay", "seconds": "1"},
            {"kind": "delay", "seconds": -1},
            [],
            "status",
        ],
    )
    def test_nonsense_is_refused(self, emulator: Emulator, http: requests.Session, faults: str, fault: Any):
        answer = http.post(faults, json=fault)
        assert answer.status_code == 400
        assert answer.json()["error"]
        assert http.get(faults).json() == {"faults": []}

    def test_that_is_no_json_is_refused(self, emulator: Emulator, http: requests.Session, faults: str):
        assert http.post(faults, data=b"\xff{").status_code == 400


class TestControl:
    """Reset, snapshot, restore and status."""

    def fill(self, emulator: Emulator) -> None:
        objects = emulator.storage.objects
        objects.create_bucket("clinic")
        objects.put_bytes("clinic", "a", b"text")
        emulator.bigquery.catalog.create_dataset("demo", "d")
        query = {"query": "CREATE TABLE d.t AS SELECT 1 AS n", "useLegacySql": False, "timeoutMs": 60_000}
        answer = requests.post(f"{emulator.url}/bigquery/v2/projects/demo/queries", json=query)
        assert answer.json()["jobComplete"] is True

    def rows(self, emulator: Emulator) -> list[dict[str, Any]]:
        return requests.get(f"{emulator.url}/bigquery/v2/projects/demo/datasets/d/tables/t/data").json()["rows"]

    def test_reset_removes_everything(self):
        with Emulator() as emulator:
            self.fill(emulator)
            emulator.faults.add(Fault("status", times=None))
            assert requests.post(f"{emulator.url}/_emulator/reset").status_code == 200
            assert not list(emulator.requests)
            assert requests.get(f"{emulator.url}/storage/v1/b/clinic").status_code == 404
            assert requests.get(f"{emulator.url}/bigquery/v2/projects/demo/datasets/d").status_code == 404
            assert [path for path in (emulator._state.directory / "blobs").rglob("*") if path.is_file()] == []
            self.fill(emulator)
            assert len(self.rows(emulator)) == 1

    def test_reset_does_not_wait_for_what_is_delayed(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("gcp_dicom_emulator.rest.server._PATIENCE", 0.1)
        with Emulator() as emulator:
            emulator.faults.add(Fault("delay", seconds=600))
            with pytest.raises(requests.Timeout):
                requests.get(f"{emulator.url}/storage/v1/b/bucket", timeout=0.2)
            started = time.monotonic()
            emulator.reset()
            assert time.monotonic() - started < 30

    def test_requests_during_resets_are_answered(self):
        with Emulator() as emulator, ThreadPoolExecutor() as threads:
            created = [
                threads.submit(requests.post, f"{emulator.url}/storage/v1/b?project=demo", json={"name": f"bucket-{n}"})
                for n in range(60)
            ]
            for _ in range(20):
                emulator.reset()
            assert {answer.result().status_code for answer in created} == {200}

    def test_a_snapshot_brings_everything_back(self, tmp_path: Path):
        with Emulator() as emulator:
            self.fill(emulator)
            snapshot = requests.get(f"{emulator.url}/_emulator/snapshot").content
            assert len(self.rows(emulator)) == 1
            emulator.storage.objects.put_bytes("clinic", "b", b"later")
            assert requests.post(f"{emulator.url}/_emulator/restore", data=snapshot).status_code == 200
            assert [found.name for found in emulator.storage.objects.list("clinic")] == ["a"]
            assert requests.get(f"{emulator.url}/storage/v1/b/clinic/o/a?alt=media").content == b"text"
            assert len(self.rows(emulator)) == 1
        # A directory that another emulator kept can take it as well.
        with Emulator(tmp_path / "other") as other:
            (tmp_path / "file.tar").write_bytes(snapshot)
            other.restore(tmp_path / "file.tar")
            assert other.status()["objects"] == 1

    def test_a_snapshot_is_refused_while_an_operation_runs(self):
        with Emulator(operation_seconds=60) as emulator:
            requests.post(f"{emulator.url}/v1/projects/p/locations/l/datasets?datasetId=d", json={}).raise_for_status()
            answer = requests.get(f"{emulator.url}/_emulator/snapshot")
            assert answer.status_code == 409
            assert "/operations/" in answer.json()["error"]["message"]
            assert emulator.status()["operationsUnderWay"] == 1

    @pytest.mark.parametrize("kind", ["text", "empty", "stranger", "outside", "link", "no database", "other version"])
    def test_what_is_no_snapshot_changes_nothing(self, tmp_path: Path, kind: str):
        with Emulator(tmp_path / "data") as emulator:
            self.fill(emulator)
            content = no_snapshot(tmp_path, kind)
            answer = requests.post(f"{emulator.url}/_emulator/restore", data=content)
            assert answer.status_code == 400
            assert "not a snapshot" in answer.json()["error"]["message"]
            assert emulator.status()["objects"] == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]

    @pytest.mark.parametrize("done", ["written", "whole", "half removed", "removed", "half moved"])
    def test_a_kill_amid_a_restore_leaves_all_of_the_old_or_the_new(self, tmp_path: Path, done: str):
        old, new = tmp_path / "old", tmp_path / "new"
        for directory, name in ((old, "old"), (new, "new")):
            with Emulator(directory) as emulator:
                emulator.storage.objects.create_bucket("clinic")
                emulator.storage.objects.put_bytes("clinic", name, name.encode())
        (new / "lock").unlink()
        new.rename(old / ("incoming" if done == "written" else "replacing"))
        if done in ("half removed", "removed", "half moved"):
            (old / "metadata.sqlite").unlink()
        if done in ("removed", "half moved"):
            shutil.rmtree(old / "blobs")
            (old / "replacing").rename(old / "moving")
        if done == "half moved":
            (old / "moving" / "metadata.sqlite").rename(old / "metadata.sqlite")
        expected = "old" if done == "written" else "new"
        with Emulator(old) as emulator:
            [found] = emulator.storage.objects.list("clinic")
            assert (found.name, found.path.read_text()) == (expected, expected)
        assert not {"incoming", "replacing", "moving"} & {path.name for path in old.iterdir()}

    def test_is_refused_where_it_does_not_run(self, tmp_path: Path):
        emulator = Emulator()
        with pytest.raises(RuntimeError, match="does not run"):
            emulator.reset()
        emulator.start()
        with pytest.raises(RuntimeError, match="starts once"):
            emulator.start()
        assert requests.get(f"{emulator.url}/healthz").status_code == 200
        emulator.stop()
        for use in (emulator.start, emulator.reset, lambda: emulator.snapshot(tmp_path / "snapshot")):
            with pytest.raises(RuntimeError):
                use()


def no_snapshot(directory: Path, kind: str) -> bytes:
    if kind == "text":
        return b"text"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        names = {"stranger": "stranger", "outside": "blobs/../../outside", "link": "blobs"}
        if kind == "other version":
            database = directory / "database"
            with contextlib.closing(sqlite3.connect(database)) as connection:
                connection.execute("CREATE TABLE objects (name TEXT)")
            archive.add(database, "metadata.sqlite")
            database.unlink()
        elif kind != "empty":
            entry = tarfile.TarInfo(names.get(kind, "metadata.sqlite"))
            entry.size = 5000
            if kind == "link":
                entry.type, entry.linkname, entry.size = tarfile.SYMTYPE, "/", 0
            archive.addfile(entry, io.BytesIO(b"x" * entry.size))
    return buffer.getvalue()


class TestOperations:
    """How they go on, and for how long they can be asked for."""

    def create_dataset(self, emulator: Emulator) -> str:
        answer = requests.post(f"{emulator.url}/v1/projects/p/locations/l/datasets?datasetId=d", json={})
        return f"{emulator.url}/v1/{answer.json()['name']}"

    def test_by_polls(self):
        with Emulator(operation_polls=3) as emulator:
            operation = self.create_dataset(emulator)
            assert [requests.get(operation).json().get("done", False) for _ in range(4)] == [False, False, True, True]

    def test_counters_move_by_polls(self):
        with Emulator(operation_polls=4) as emulator:
            emulator.storage.objects.create_bucket("clinic")
            for number in range(8):
                emulator.storage.objects.put_bytes("clinic", str(number), b"no DICOM")
            self.create_dataset(emulator)
            requests.post(f"{emulator.url}{STORES}?dicomStoreId=s", json={}).raise_for_status()
            body = {"gcsSource": {"uri": "gs://clinic/**"}}
            name = requests.post(f"{emulator.url}{STORES}/s:import", json=body).json()["name"]
            operations, pending = emulator.healthcare.operations, [9]
            for _ in range(4):
                deadline = time.monotonic() + 30
                # This look at it does not count as a poll.
                while not 0 < (now := int(operations.get(name)["metadata"].get("counter", {}).get("pending", 0))) < pending[-1]:
                    assert time.monotonic() < deadline, f"{pending} do not become fewer"
                    time.sleep(0.01)
                pending.append(now)
                answer = requests.get(f"{emulator.url}/v1/{name}").json()
            assert answer["done"] is True
            assert answer["metadata"]["counter"] == {"failure": "8"}

    def test_are_forgotten_after_their_retention(self):
        with Emulator(operation_retention=0.3) as emulator:
            operation = self.create_dataset(emulator)
            deadline = time.monotonic() + 30
            while requests.get(operation).status_code == 200:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert requests.get(operation).status_code == 404
