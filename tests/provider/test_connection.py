"""Who reads what of a connection and of the environment: the table of ``docs/guides/connection.md``, cell by cell."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.google.cloud.hooks.gcs import GCSHook
from gcp_dicom_emulator.environment import environment
from gcp_dicom_emulator.keyfile import keyfile, private_key
from google.api_core.exceptions import GoogleAPICallError
from google.auth import iam
from google.auth.exceptions import GoogleAuthError, RefreshError
from requests.exceptions import ProxyError, RequestException

from airflow_dicom import polling
from airflow_dicom.exceptions import GoogleApiError
from airflow_dicom.hooks.bigquery_jobs import BigQueryJobHook
from airflow_dicom.hooks.healthcare import HealthcareHook
from airflow_dicom.hooks.rest_async import BigQueryJobAsyncHook, HealthcareAsyncHook
from tests.tls import VARIABLES, front, make_certificates, trusting

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "connection.md"
NAME = "projects/demo/locations/l/datasets/d/operations/1"
KEY = private_key()
#: Whom nobody may impersonate.
REFUSED = "refused@demo"

#: The page's table is of today's clients of Google.
pytestmark = pytest.mark.skipif(not hasattr(iam, "_IAM_ENDPOINT"), reason="the lowest google-auth that is allowed asks otherwise")


async def healthcare_in_triggerer() -> None:
    async with HealthcareAsyncHook() as hook:
        await hook.get_operation(NAME)  # type: ignore[attr-defined]


async def bigquery_in_triggerer() -> None:
    async with BigQueryJobAsyncHook() as hook:
        await hook.get_job("demo", "job", None)  # type: ignore[attr-defined]


#: By the headings of the table.
CLIENTS: dict[str, Callable[[], object]] = {
    "Healthcare API, worker": lambda: HealthcareHook().get_operation(NAME),
    "Healthcare API, triggerer": lambda: asyncio.run(healthcare_in_triggerer()),
    "BigQuery, worker": lambda: BigQueryJobHook().get_job({"projectId": "demo", "jobId": "job"}),
    "BigQuery, triggerer": lambda: asyncio.run(bigquery_in_triggerer()),
    "Cloud Storage, worker": lambda: list(GCSHook().get_conn().list_buckets(retry=None)),
}


@pytest.fixture
def seen(emulator, monkeypatch) -> Iterator[list[tuple[str, dict[str, str]]]]:
    """What comes to the proxy that the environment names, or to ``localhost``: the host that is meant, and the headers."""
    seen: list[tuple[str, dict[str, str]]] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.headers["Host"].split(":")[0], {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            """``generateAccessToken`` of IAM, whose tokens name the account that they are of, and who passed it on."""
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            account = re.fullmatch(r".*/([^/]+):generateAccessToken", self.path)[1]  # type: ignore[index]
            if account == REFUSED:
                self.send_error(403, "Permission 'iam.serviceAccounts.getAccessToken' denied")
                return
            token = " ".join([account, *(delegate.split("/")[-1] for delegate in asked.get("delegates") or [])])
            body = json.dumps({"accessToken": token, "expireTime": "2100-01-01T00:00:00Z"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_CONNECT(self) -> None:
            seen.append((self.path.split(":")[0], {}))
            self.send_error(502)

        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.setattr(polling, "backoff", lambda *_: 0.01)
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
            monkeypatch.delenv(name.upper(), raising=False)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "127.0.0.1,localhost")  # tokens come from the emulator
        for service in ("HEALTHCARE", "BIGQUERY", "STORAGE"):
            monkeypatch.delenv(f"{service}_EMULATOR_HOST")
        iam_here = iam._IAM_ENDPOINT.replace("https://iamcredentials.googleapis.com", os.environ["http_proxy"])
        monkeypatch.setattr(iam, "_IAM_ENDPOINT", iam_here)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield seen
        server.shutdown()


@pytest.fixture
def connect(emulator, monkeypatch) -> Callable[..., None]:
    """Make a connection with a key of the emulator's."""

    def connect(universe: str = "googleapis.com", **extra: str) -> None:
        key = json.dumps(keyfile(emulator.url, KEY) | {"universe_domain": universe})
        fields = {"keyfile_dict": key, "project": "demo", "num_retries": 0, **extra}
        connection = json.dumps({"conn_type": "google_cloud_platform", "extra": fields})
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection)

    return connect


@pytest.fixture
def ask(connect, seen) -> Callable[..., dict[str, tuple[str, dict[str, str]]]]:
    """Have each client ask once, with a key in the connection; return what came to the proxy."""

    def ask(universe: str = "googleapis.com", **extra: str) -> dict[str, tuple[str, dict[str, str]]]:
        connect(universe, **extra)
        answers = {}
        for client, request in CLIENTS.items():
            seen.clear()
            with contextlib.suppress(GoogleApiError, GoogleAPICallError, ProxyError):  # the proxy has nothing to give
                request()
            # Threads of Google's libraries ask beside that where the account may be used, and what the bucket is.
            mine = ({"B": "bigquery", "H": "healthcare", "C": "storage"}[client[0]], "endpoint", "localhost")
            seen[:] = [one for one in seen if one[0].split(".")[0] in mine]
            answers[client] = seen[0]
        return answers

    return ask


@pytest.fixture
def table() -> dict[str, dict[str, bool]]:
    """The page's table: what is read, by row and client."""
    text = PAGE.read_text().partition("<!-- table -->\n")[2].partition("<!-- end of table -->")[0]
    heading, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().splitlines()]
    assert heading[1:] == list(CLIENTS)
    return {row[0]: {client: cell != "no" for client, cell in zip(CLIENTS, row[1:], strict=True)} for row in rows}


def hosts(answers: dict[str, tuple[str, dict[str, str]]]) -> dict[str, str]:
    return {client: host for client, (host, _) in answers.items()}


def test_proxies_are_read(ask, table):
    answers = hosts(ask())
    assert {client: re.fullmatch(r"\w+\.googleapis\.com", host) is not None for client, host in answers.items()} == table[
        "proxies"
    ]


def test_an_endpoint_is_read(ask, table):
    answers = hosts(ask(api_endpoint="http://endpoint.invalid"))
    assert {client: host == "endpoint.invalid" for client, host in answers.items()} == table["`api_endpoint`"]


def test_a_universe_is_read(ask, table, monkeypatch):
    monkeypatch.setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "universe.invalid")
    answers = hosts(ask("universe.invalid"))
    found = {client: host.endswith(".universe.invalid") for client, host in answers.items()}
    if not hasattr(GCSHook, "get_client_options"):  # the Google provider does not know it yet
        found["Cloud Storage, worker"] = True
    assert found == table["`GOOGLE_CLOUD_UNIVERSE_DOMAIN`"]


def test_emulators_credentials_and_quota_projects_are_read(ask, table, monkeypatch):
    for service in ("HEALTHCARE", "BIGQUERY", "STORAGE"):
        monkeypatch.setenv(f"{service}_EMULATOR_HOST", os.environ["http_proxy"].replace("127.0.0.1", "localhost"))
    answers = ask(quota_project_id="who-pays")
    assert {client: host == "localhost" for client, host in hosts(answers).items()} == table["`…_EMULATOR_HOST`"]
    headers = {client: headers for client, (_, headers) in answers.items()}
    found = {client: "Bearer" in sent.get("authorization", "") for client, sent in headers.items()}
    assert found == table["credentials, `impersonation_chain`"]
    found = {client: sent.get("x-goog-user-project") == "who-pays" for client, sent in headers.items()}
    assert found == table["`quota_project_id`"]


@pytest.mark.parametrize(("chain", "token"), [("b@demo", "b@demo"), ("a@demo, b@demo", "b@demo a@demo")])
def test_impersonation_is_read(ask, table, monkeypatch, chain, token):
    for service in ("HEALTHCARE", "BIGQUERY", "STORAGE"):
        monkeypatch.setenv(f"{service}_EMULATOR_HOST", os.environ["http_proxy"].replace("127.0.0.1", "localhost"))
    answers = ask(impersonation_chain=chain)
    found = {client: headers.get("authorization") == f"Bearer {token}" for client, (_, headers) in answers.items()}
    assert found == table["credentials, `impersonation_chain`"]


def test_the_connections_test_and_each_client_say_who_may_not_be_impersonated(connect, seen):
    said = "Unable to acquire impersonated credentials"
    connect(impersonation_chain=REFUSED)
    passed, message = HealthcareHook().test_connection()
    assert (passed, said in message) == (False, True)
    for request in CLIENTS.values():
        with pytest.raises((GoogleApiError, RefreshError), match=said):
            request()


@pytest.mark.parametrize("client", [client for client in CLIENTS if client.startswith(("Healthcare API, w", "BigQuery, w"))])
def test_the_number_of_retries_is_read(ask, seen, monkeypatch, client):
    monkeypatch.setattr("tests.provider.test_connection.CLIENTS", {client: CLIENTS[client]})
    ask(num_retries=2)
    assert len(seen) == 3


@pytest.mark.slow
@pytest.mark.parametrize("variable", [None, *VARIABLES])
def test_who_is_to_be_trusted_is_read(emulator, table, tmp_path, variable):
    """Behind TLS, a client that reads a variable goes without an answer where the others alone are set."""
    certificates = make_certificates(tmp_path)
    with front(emulator.url, certificates.server) as served:
        trusted = trusting(certificates.authority)
        trusted.pop(variable, None)
        fields = {"keyfile_dict": json.dumps(keyfile(served.url, KEY)), "project": "demo", "num_retries": 0}
        connection = json.dumps({"conn_type": "google_cloud_platform", "extra": fields})
        variables = {"AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": connection, **environment(served.url), **trusted}
        inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        # Libraries read some of them when they are loaded.
        # A thread of theirs may log at any time, so what is found is not read from what is printed.
        found = tmp_path / "found.json"
        command = [sys.executable, "-W", "ignore", "-m", "tests.provider.test_connection", found]
        subprocess.run(command, cwd=PAGE.parents[2], env={**inherited, **variables}, check=True)
    reached = json.loads(found.read_text())
    reads = table[f"`{variable}`"] if variable else dict.fromkeys(CLIENTS, False)
    assert {client: not trusts for client, trusts in reached.items()} == reads


def trusts(request: Callable[[], object]) -> bool:
    """Tell whether a client trusts who answers."""
    try:
        request()
    except (GoogleApiError, GoogleAPICallError, GoogleAuthError, RequestException) as error:
        return "CERTIFICATE_VERIFY_FAILED" not in str(error)
    return True


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps({client: trusts(request) for client, request in CLIENTS.items()}))
