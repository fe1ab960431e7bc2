"""Faults that users have met, by their numbers: worker and triggerer are one account, and ask one endpoint."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from airflow.providers.google.common.hooks.base_google import GoogleBaseHook
from gcp_dicom_emulator.keyfile import keyfile, private_key
from google.auth.exceptions import RefreshError

from airflow_dicom import polling
from airflow_dicom.exceptions import BigQueryApiTransientError, HealthcareApiError, HealthcareApiTransientError
from airflow_dicom.hooks.bigquery_jobs import BigQueryJobHook
from airflow_dicom.hooks.dicomweb import DicomWebHook
from airflow_dicom.hooks.endpoint import BIGQUERY_EMULATOR_HOST, HEALTHCARE_EMULATOR_HOST, resolve_endpoint
from airflow_dicom.hooks.healthcare import HealthcareHook
from airflow_dicom.operators import FilterFileFromBigQueryOperator
from airflow_dicom.sensors import DicomOperationSensor
from airflow_dicom.triggers.dicom import DicomOperationTrigger

from .conftest import Runner

OLD_KEY, NEW_KEY = private_key(), private_key()
NAME = "projects/demo/locations/l/datasets/d/operations/1"
DONE = {"name": NAME, "done": True, "metadata": {"counter": {"success": "3"}}, "response": {}}


@dataclass
class Api:
    """The Healthcare API, as far as it answers for one operation."""

    url: str = ""
    #: The answers to come, a status and a text each; the operation, done, after them.
    answers: list[tuple[int, str]] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    #: What to answer by the request's headers; ``None`` for what is next.
    judge: Callable[[dict[str, str]], tuple[int, str] | None] = lambda headers: None


@pytest.fixture
def api(emulator, monkeypatch) -> Iterator[Api]:
    """That API; access tokens come from the emulator."""
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            api.requests.append((self.path.partition("?")[0], headers))
            status, text = api.judge(headers) or (api.answers.pop(0) if api.answers else (200, json.dumps(DONE)))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.setattr(polling, "backoff", lambda *_: 0.01)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv(HEALTHCARE_EMULATOR_HOST, api.url)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield api
        server.shutdown()


def connect(emulator, monkeypatch, key: str, universe: str = "googleapis.com", **extra: str) -> None:
    """Give Airflow a connection with a service account's key."""
    key_file = keyfile(emulator.url, key) | {"universe_domain": universe}
    extra = {"keyfile_dict": json.dumps(key_file), "project": "demo", **extra}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps({"conn_type": "google_cloud_platform", "extra": extra}))


def trigger() -> DicomOperationTrigger:
    return DicomOperationTrigger(operation=NAME, poll_interval=0.02)


def of_worker_and_trigger(api: Api) -> list[tuple[str, dict[str, str]]]:
    """Let a worker and a trigger ask; return what came."""
    api.requests.clear()
    assert HealthcareHook().get_operation(NAME)["done"]
    assert asyncio.run(Runner._event(trigger()))["status"] == "done"
    return api.requests


def refused_by_worker_and_trigger(api: Api) -> str:
    """Let a worker and a trigger ask in vain; return what both say."""
    with pytest.raises(HealthcareApiError) as refused:
        HealthcareHook().get_operation(NAME)
    event = asyncio.run(Runner._event(trigger()))
    assert event["message"] == str(refused.value)
    assert not api.requests
    return str(refused.value)


@pytest.mark.parametrize("extra", [{}, {"quota_project_id": "who-pays"}])
def test_case_09_worker_and_trigger_send_the_same_headers(emulator, api, monkeypatch, extra):
    connect(emulator, monkeypatch, NEW_KEY, **extra)
    if extra and "quota_project_id" not in inspect.signature(GoogleBaseHook).parameters:
        assert "22.0 is the first that does" in refused_by_worker_and_trigger(api)
        return
    (worker_path, worker), (trigger_path, trigger) = of_worker_and_trigger(api)
    assert worker_path == trigger_path == f"/v1/{NAME}"
    assert worker.get("x-goog-user-project") == trigger.get("x-goog-user-project") == extra.get("quota_project_id")
    for headers in (worker, trigger):
        assert headers["authorization"].startswith("Bearer ")


def test_case_09_worker_and_trigger_ask_the_same_endpoint(emulator, api, monkeypatch):
    """An emulator outranks the connection, which outranks the universe."""
    assert len(of_worker_and_trigger(api)) == 2
    monkeypatch.setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "example.org")
    connect(emulator, monkeypatch, NEW_KEY, "example.org")
    assert len(of_worker_and_trigger(api)) == 2
    monkeypatch.delenv(HEALTHCARE_EMULATOR_HOST)
    of_google = "https://healthcare.example.org"
    assert HealthcareHook().api_endpoint == resolve_endpoint(HEALTHCARE_EMULATOR_HOST, "healthcare") == of_google
    connect(emulator, monkeypatch, NEW_KEY, "example.org", api_endpoint=api.url)
    assert len(of_worker_and_trigger(api)) == 2


@pytest.mark.parametrize(("asked", "own"), [("example.org", "googleapis.com"), ("googleapis.com", "example.org")])
def test_case_09_worker_and_trigger_refuse_credentials_of_another_universe(emulator, api, monkeypatch, asked, own):
    monkeypatch.setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", asked)
    connect(emulator, monkeypatch, NEW_KEY, own)
    assert f"of the universe {own}; {asked} is asked" in refused_by_worker_and_trigger(api)


def test_case_10_an_edited_connection_reaches_the_trigger(emulator, api, monkeypatch):
    """The old account has lost its role when the connection gets another one."""
    connect(emulator, monkeypatch, OLD_KEY)
    old = ""

    def refuse_the_old_account(headers: dict[str, str]) -> tuple[int, str] | None:
        if headers["authorization"] != old:
            return None
        connect(emulator, monkeypatch, NEW_KEY)
        return 403, '{"error": {"message": "no role"}}'

    async def two_waits() -> list[dict[str, Any]]:
        nonlocal old
        first = trigger()
        async with first.hook() as hook:  # whose session, and account, are shared
            await hook.get_operation(NAME)
            old = api.requests[-1][1]["authorization"]
            api.judge = refuse_the_old_account
            return [await Runner._event(trigger()) for _ in range(2)]

    assert [event["status"] for event in asyncio.run(two_waits())] == ["done", "done"]
    refused = [headers for _, headers in api.requests if headers["authorization"] == old]
    assert len(refused) == 2, "once answered, once refused"


@pytest.mark.parametrize("page", ["<html>Sign in to the hotel</html>", "", '["a", "list"]', '{"signed in": false}'])
def test_case_18_a_proxys_page_does_not_end_a_wait(api, monkeypatch, page):
    api.answers = [(200, page)]
    sensor = DicomOperationSensor(task_id="s", operation=NAME, poke_interval=0.02, timeout=30, deferrable=False)
    assert Runner().run(sensor)["done"]
    api.answers = [(200, page)]
    assert asyncio.run(Runner._event(trigger()))["status"] == "done"


def test_case_18_a_proxys_page_is_not_what_dicomweb_answers(api):
    page, store = "<html>Sign in to the hotel</html>", NAME.replace("operations", "dicomStores")
    hook = DicomWebHook()
    for ask in (lambda: list(hook.search(store, "/studies")), lambda: hook.metadata(store, "/studies/1")):
        api.answers = [(200, page), (200, '[{"00080060": {"vr": "CS"}}]')]
        assert ask() == [{"00080060": {"vr": "CS"}}]
    api.answers = [(200, page)]
    with pytest.raises(
        HealthcareApiTransientError, match=r"(?s)other than JSON: 200, '<html>Sign.*look at the destination first"
    ):
        hook.store(store, [b"an instance"])
    api.answers = [(409, page)]
    with pytest.raises(HealthcareApiError, match="other than JSON: 409, '<html>Sign"):
        hook.store(store, [b"an instance"])


TOO_MANY = json.dumps({"error": {"code": 403, "message": "Exceeded rate limits", "errors": [{"reason": "jobRateLimitExceeded"}]}})


def test_bigquery_says_too_many_requests_by_403_to_a_worker_as_well(api, monkeypatch):
    monkeypatch.setenv(BIGQUERY_EMULATOR_HOST, api.url)
    job = {"jobReference": {"projectId": "demo", "jobId": "j"}, "status": {"state": "DONE"}}
    for ask in (lambda hook: hook.get_job(job["jobReference"]), lambda hook: hook.insert_job(job["jobReference"], {})):
        api.answers = [(403, TOO_MANY), (403, TOO_MANY), (200, json.dumps(job))]
        assert ask(BigQueryJobHook()) == job


def test_a_query_for_which_there_were_too_many_requests_is_not_a_wrong_query(seeded, api, monkeypatch):
    monkeypatch.setenv(BIGQUERY_EMULATOR_HOST, api.url)
    api.judge = lambda headers: (403, TOO_MANY)
    task = FilterFileFromBigQueryOperator(task_id="t", table="demo.dicom.t", filter_uri="gs://target/f.txt", deferrable=False)
    with pytest.raises(BigQueryApiTransientError, match="Exceeded rate limits\nIt was sent 6 times"):
        Runner().run(task)


def test_dicomweb_does_not_try_again_what_the_credentials_refuse(api, monkeypatch):
    """As the other hooks for workers do."""
    tries = []

    def refuse(*_: Any, **__: Any) -> None:
        tries.append(1)
        raise RefreshError("invalid_grant: the account is disabled", retryable=False)

    monkeypatch.setattr("google.auth.transport.requests.AuthorizedSession.request", refuse)
    with pytest.raises(HealthcareApiError, match=r"no access token: .*invalid_grant") as refused:
        list(DicomWebHook().search(NAME.replace("operations", "dicomStores"), "/studies"))
    assert not isinstance(refused.value, HealthcareApiTransientError)
    assert len(tries) == 1
