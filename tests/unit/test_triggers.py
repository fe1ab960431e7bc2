"""The triggers against a real HTTP server that gives scripted answers: what they ask, and that each way out is one event."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from airflow.triggers.base import BaseTrigger

from airflow_dicom import polling
from airflow_dicom.hooks import rest_async
from airflow_dicom.triggers import dicom
from airflow_dicom.triggers.dicom import BigQueryJobTrigger, DicomOperationTrigger

NAME = "projects/p/locations/l/datasets/d/operations/1"
RUNNING = {"name": NAME, "metadata": {"counter": {"success": "1"}}}
DONE = {"name": NAME, "done": True, "metadata": {"counter": {"success": "3"}}, "response": {}}


class ScriptedServer:
    """Answers one request after the other as it was told; the last answer again and again."""

    def __init__(self) -> None:
        self.answers: list = []
        self.requests: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer == "reset":
            request.transport.abort()
            return web.Response()
        if isinstance(answer, int):
            return web.Response(status=answer, text="no", headers={"Retry-After": "0"})
        if isinstance(answer, tuple):
            return web.json_response(answer[1], status=answer[0])
        return web.json_response(answer)


@pytest.fixture
async def server(monkeypatch) -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", scripted.handle)
    monkeypatch.setenv(
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", '{"conn_type": "google_cloud_platform", "extra": {"is_anonymous": true}}'
    )
    monkeypatch.setattr(dicom, "MIN_SECONDS_DEFERRED", 0.0)
    monkeypatch.setattr(polling, "backoff", lambda attempt, retry_after=None: 0.001)
    async with TestServer(application) as http:
        monkeypatch.setenv("HEALTHCARE_EMULATOR_HOST", f"127.0.0.1:{http.port}")
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{http.port}/")
        yield scripted


def operation_trigger(**changes) -> DicomOperationTrigger:
    arguments = {
        "operation": NAME,
        "gcp_conn_id": "google_cloud_default",
        "impersonation_chain": None,
        "poll_interval": 0.01,
        "deadline": None,
        "cancel_on_kill": True,
    }
    return DicomOperationTrigger(**(arguments | changes))


async def events_of(trigger) -> list[dict]:
    return [event.payload async for event in trigger.run()]


async def test_waits_until_the_operation_is_done(server):
    server.answers = [RUNNING, RUNNING, DONE]
    (event,) = await events_of(operation_trigger())
    assert event["status"] == "done"
    assert event["operation"]["success"] == 3
    assert server.requests == [f"GET /v1/{NAME}"] * 3


async def test_transient_answers_and_lost_connections_never_end_the_wait(server):
    server.answers = [503, 429, "reset", 408, 500, 504, 425, 502, DONE]
    (event,) = await events_of(operation_trigger())
    assert event["status"] == "done"
    assert len(server.requests) == 9


async def test_a_refusal_ends_it_with_an_event(server):
    server.answers = [404]
    (event,) = await events_of(operation_trigger())
    assert event["status"] == "error"
    assert event["status_code"] == 404
    assert event["name"] == NAME
    assert NAME in event["message"]


async def test_the_deadline_ends_it_with_an_event(server):
    server.answers = [RUNNING]
    assert await events_of(operation_trigger(deadline=time.time() + 0.1)) == [
        {"status": "timeout", "name": NAME, "cancelled": False}
    ]


async def test_case_18_what_cannot_be_read_is_transient(server, monkeypatch):
    """A proxy's page, with status 200, says nothing about the operation."""
    monkeypatch.setattr(polling, "backoff", lambda *_: 0.01)
    server.answers = [["no operation"], "page", DONE]
    (event,) = await events_of(operation_trigger())
    assert event["status"] == "done"


async def test_an_unknown_connection_ends_it_with_an_event(server):
    (event,) = await events_of(operation_trigger(gcp_conn_id="not_there"))
    assert event["status"] == "error"
    assert "not_there" in event["message"]


async def test_events_are_small(server):
    huge = "x" * 100_000
    server.answers = [DONE | {"error": {"code": 3, "message": huge}, "metadata": {"logsUrl": "https://logs/" + huge}}]
    (event,) = await events_of(operation_trigger())
    assert len(json.dumps(event)) < 2048


async def test_cancelling_the_coroutine_sends_nothing(server):
    """A triggerer that stops, or hands its triggers over, cancels the coroutine."""
    server.answers = [RUNNING]
    task = asyncio.ensure_future(events_of(operation_trigger()))
    for _ in range(500):
        await asyncio.sleep(0.02)
        if server.requests:
            break
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.requests
    assert all(request.startswith("GET ") for request in server.requests)


def kill(monkeypatch, *, seconds: float = 0) -> None:
    """Let Airflow say, after some seconds, that a person has ended the task."""

    async def trigger_was_killed(trigger) -> bool:
        await asyncio.sleep(seconds)
        return True

    monkeypatch.setattr(dicom, "trigger_was_killed", trigger_was_killed)


@pytest.fixture
def killed(monkeypatch) -> None:
    """A person has ended the task."""
    kill(monkeypatch)


async def test_case_26_a_trigger_that_was_replaced_cancels_nothing(server):
    """Airflow 3.3 calls ``on_kill`` of a triggerer that stalled, too."""
    await operation_trigger().on_kill()
    assert server.requests == []


async def test_on_kill_cancels_the_operation(server, killed):
    server.answers = [{}]
    await operation_trigger(api_version="v1beta1").on_kill()
    assert server.requests == [f"POST /v1beta1/{NAME}:cancel"]


async def test_on_kill_is_not_stopped_by_being_cancelled_again(server, monkeypatch):
    """Airflow 3.3 cancels a trigger again each second, also while ``on_kill`` asks what became of its task."""

    kill(monkeypatch, seconds=0.3)
    server.answers = [{}]
    work = asyncio.ensure_future(operation_trigger().on_kill())
    for _ in range(3):
        await asyncio.sleep(0.05)
        work.cancel()
    await asyncio.wait([work])
    assert server.requests == [f"POST /v1/{NAME}:cancel"]


async def test_on_kill_outlasts_airflows_timeout(server, monkeypatch):
    """Airflow's own answer may come later than that, on a busy machine."""
    kill(monkeypatch, seconds=1)
    server.answers = [{}]
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(operation_trigger().on_kill(), 0.1)
    assert server.requests == [f"POST /v1/{NAME}:cancel"]


async def test_on_kill_asks_again_where_airflow_or_the_service_fails(server, monkeypatch):
    failures = iter([RuntimeError("API_SERVER_ERROR"), OSError("no connection")])

    async def trigger_was_killed(trigger) -> bool:
        for failure in failures:
            raise failure
        return True

    monkeypatch.setattr(dicom, "trigger_was_killed", trigger_was_killed)
    monkeypatch.setattr(dicom, "backoff", lambda attempt: 0.01 * attempt)
    server.answers = [503, 503, {}]
    await operation_trigger().on_kill()
    assert set(server.requests) == {f"POST /v1/{NAME}:cancel"}
    assert server.answers == [{}]


async def test_on_kill_believes_a_refusal(server, killed):
    server.answers = [403]
    await operation_trigger().on_kill()
    assert server.requests == [f"POST /v1/{NAME}:cancel"]


async def test_on_kill_gives_up_where_nobody_tells(server, monkeypatch):
    kill(monkeypatch, seconds=60)
    monkeypatch.setattr(dicom, "_KILL_PATIENCE", 0.1)
    await operation_trigger().on_kill()
    assert server.requests == []


async def test_on_kill_can_be_switched_off(server, killed):
    await operation_trigger(cancel_on_kill=False).on_kill()
    assert server.requests == []


async def test_a_bigquery_job(server, killed):
    reference = {"projectId": "p", "jobId": "j", "location": "EU"}
    states = [{"jobReference": reference, "status": {"state": state}} for state in ("RUNNING", "DONE")]
    server.answers = [states[0], 503, states[1]]
    trigger = BigQueryJobTrigger(
        project_id="p",
        job_id="j",
        location="EU",
        gcp_conn_id="google_cloud_default",
        impersonation_chain=None,
        poll_interval=0.01,
        deadline=None,
        cancel_on_kill=True,
    )
    assert await events_of(trigger) == [{"status": "done", "project_id": "p", "job_id": "j", "location": "EU"}]
    assert server.requests == ["GET /bigquery/v2/projects/p/jobs/j?fields=jobReference,status&location=EU"] * 3
    await trigger.on_kill()
    assert server.requests[-1] == "POST /bigquery/v2/projects/p/jobs/j/cancel?location=EU"


async def test_bigquery_says_too_many_requests_by_403(server):
    too_many = (403, {"error": {"code": 403, "message": "Exceeded rate limits", "errors": [{"reason": "rateLimitExceeded"}]}})
    server.answers = [*[too_many] * 5, {"jobReference": {"projectId": "p", "jobId": "j"}, "status": {"state": "DONE"}}]
    trigger = BigQueryJobTrigger(project_id="p", job_id="j", location="EU", poll_interval=0.01)
    assert [event["status"] for event in await events_of(trigger)] == ["done"]


async def test_many_waits_share_one_session_and_one_look_up(server, monkeypatch):
    looked_up = []
    look_up = rest_async._Account.look_up
    monkeypatch.setattr(rest_async._Account, "look_up", lambda *arguments: looked_up.append(arguments) or look_up(*arguments))
    server.answers = [RUNNING] * 50 + [DONE]
    results = await asyncio.gather(*(events_of(operation_trigger()) for _ in range(30)))
    assert [event["status"] for (event,) in results] == ["done"] * 30
    assert len(looked_up) == 1
    assert rest_async._resources[asyncio.get_running_loop()].session is None, "closed by the last to leave"


@pytest.mark.parametrize(
    "trigger",
    [
        DicomOperationTrigger(
            operation=NAME,
            api_version="v1beta1",
            gcp_conn_id="other",
            impersonation_chain=["a", "b"],
            poll_interval=3.0,
            deadline=12.0,
            cancel_on_kill=False,
            not_before=5.0,
        ),
        BigQueryJobTrigger(
            project_id="p",
            job_id="j",
            location="EU",
            gcp_conn_id="other",
            impersonation_chain="a",
            poll_interval=3.0,
            deadline=12.0,
            cancel_on_kill=False,
            not_before=5.0,
        ),
    ],
    ids=lambda trigger: type(trigger).__name__,
)
def test_every_argument_survives_serialisation_and_reaches_the_hook(trigger):
    path, kwargs = trigger.serialize()
    again = type(trigger)(**json.loads(json.dumps(kwargs)))
    assert path == f"airflow_dicom.triggers.dicom.{type(trigger).__name__}"
    assert again.serialize() == (path, kwargs)
    own = {name: value for name, value in vars(trigger).items() if name in kwargs}
    assert own == kwargs
    hook = again.hook()
    assert (hook.gcp_conn_id, hook.impersonation_chain) == ("other", trigger.impersonation_chain)
    if isinstance(trigger, DicomOperationTrigger):
        assert hook.api_version == "v1beta1"


@pytest.mark.parametrize("killed", [True, False])
async def test_before_airflow_3_3_the_tasks_state_decides(server, monkeypatch, killed):
    """Airflow cancels the coroutine again each second until it has ended: the request to cancel is sent nevertheless."""

    async def trigger_was_killed(trigger) -> bool:
        await asyncio.sleep(0.3)
        return killed

    monkeypatch.delattr(BaseTrigger, "on_kill", raising=False)
    monkeypatch.setattr(dicom, "trigger_was_killed", trigger_was_killed)
    server.answers = [RUNNING]
    task = asyncio.ensure_future(events_of(operation_trigger()))
    await asyncio.sleep(0.2)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.05)
    with pytest.raises(asyncio.CancelledError):
        await task
    cancelled = [request for request in server.requests if request.startswith("POST")]
    assert cancelled == ([f"POST /v1/{NAME}:cancel"] if killed else [])


async def test_the_first_poll_waits_until_the_scheduler_knows_that_the_worker_is_done(server, monkeypatch):
    monkeypatch.setattr(dicom, "MIN_SECONDS_DEFERRED", 0.5)
    server.answers = [DONE]
    started = time.monotonic()
    (event,) = await events_of(operation_trigger())
    assert event["status"] == "done"
    assert time.monotonic() - started >= 0.5


async def test_a_trigger_that_is_started_again_does_not_wait_again(server, monkeypatch):
    monkeypatch.setattr(dicom, "MIN_SECONDS_DEFERRED", 60)
    _, kwargs = operation_trigger(not_before=time.time() - 1).serialize()
    server.answers = [DONE]
    (event,) = await asyncio.wait_for(events_of(DicomOperationTrigger(**kwargs)), 30)
    assert event["status"] == "done"


async def test_a_connection_that_cannot_be_read_for_a_moment_does_not_end_a_wait(server, monkeypatch):
    """It is looked up again every five minutes, and Airflow's secrets may be away just then; the old answer is still good."""
    monkeypatch.setattr(rest_async, "_ACCOUNT_LIFETIME", 0.0)
    look_up = rest_async._Account.look_up
    fails = iter([False, True, True, True, True, True, False])

    def sometimes(*arguments):
        if next(fails, False):
            raise RuntimeError("the secrets backend does not answer")
        return look_up(*arguments)

    monkeypatch.setattr(rest_async._Account, "look_up", sometimes)
    server.answers = [RUNNING] * 8 + [DONE]
    assert [event["status"] for event in await events_of(operation_trigger())] == ["done"]


async def test_a_connection_that_cannot_be_read_at_first_is_looked_up_again(server, monkeypatch):
    look_up = rest_async._Account.look_up
    fails = iter([True, True, False])

    def sometimes(*arguments):
        if next(fails, False):
            raise RuntimeError("the secrets backend does not answer")
        return look_up(*arguments)

    monkeypatch.setattr(rest_async._Account, "look_up", sometimes)
    server.answers = [DONE]
    assert [event["status"] for event in await events_of(operation_trigger())] == ["done"]
