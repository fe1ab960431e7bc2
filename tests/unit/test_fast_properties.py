"""What keeps waits cheap, as counts: what was opened, looked up, written or asked for; never seconds.

What parsing loads is counted in ``test_imports.py``, the requests of a filter in ``tests/provider/test_filter_requests.py``.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from gcp_dicom_emulator import Emulator

from airflow_dicom import polling
from airflow_dicom.hooks import rest_async
from airflow_dicom.hooks.rest_async import HealthcareAsyncHook
from airflow_dicom.triggers import dicom
from airflow_dicom.triggers.dicom import DicomOperationTrigger

# the same on all
pytestmark = [pytest.mark.only_on_newest_airflow, pytest.mark.slow]

WAITS = 300
POLLS = 3


class Service:
    """Operations that end at their third poll, with counters that move."""

    def __init__(self) -> None:
        self.polls: dict[str, int] = {}
        self.connections: set[object] = set()

    async def handle(self, request: web.Request) -> web.Response:
        self.connections.add(request.transport)
        polls = self.polls[request.path] = self.polls.get(request.path, 0) + 1
        counter = {"success": str(polls)}
        done = {"done": True} if polls == POLLS else {}
        return web.json_response({"name": request.path, "metadata": {"counter": counter}, **done})


@pytest.fixture
async def service(monkeypatch) -> AsyncIterator[Service]:
    service = Service()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", service.handle)
    monkeypatch.setenv(
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", '{"conn_type": "google_cloud_platform", "extra": {"is_anonymous": true}}'
    )
    monkeypatch.setattr(dicom, "MIN_SECONDS_DEFERRED", 0.0)
    async with TestServer(application) as http:
        monkeypatch.setenv("HEALTHCARE_EMULATOR_HOST", f"127.0.0.1:{http.port}")
        yield service


def counted(monkeypatch, owner: Any, name: str) -> list[None]:
    """Return a list that grows by one with each call of a function."""
    calls: list[None] = []
    function = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *arguments, **kwargs: calls.append(None) or function(*arguments, **kwargs))
    return calls


async def wait(number: int) -> Any:
    trigger = DicomOperationTrigger(
        operation=f"projects/p/locations/l/datasets/d/operations/{number}",
        gcp_conn_id="google_cloud_default",
        impersonation_chain=None,
        poll_interval=0.5,
        deadline=None,
        cancel_on_kill=True,
    )
    (event,) = [event.payload async for event in trigger.run()]
    return event


async def test_many_waits_share_what_is_dear(service, monkeypatch):
    sessions = counted(monkeypatch, aiohttp.ClientSession, "__init__")
    look_ups = counted(monkeypatch, rest_async._Account, "look_up")
    tls_contexts = counted(monkeypatch, rest_async, "_ssl_context")
    environment = counted(monkeypatch, urllib.request, "getproxies")
    events = await asyncio.gather(*(wait(number) for number in range(WAITS)))
    assert [event["status"] for event in events] == ["done"] * WAITS
    assert sum(service.polls.values()) == WAITS * POLLS, "one request a poll"
    assert [len(calls) for calls in (sessions, look_ups, tls_contexts, environment)] == [1, 1, 1, 1]
    assert len(service.connections) <= 100


async def test_no_poll_needs_a_thread(service):
    hook = HealthcareAsyncHook()
    async with hook:
        await hook.get_operation("projects/p/locations/l/datasets/d/operations/1")
        loop, threads = asyncio.get_running_loop(), []
        run_in_executor = loop.run_in_executor
        loop.run_in_executor = lambda *arguments: threads.append(arguments) or run_in_executor(*arguments)
        await hook.get_operation("projects/p/locations/l/datasets/d/operations/1")
    assert threads == []


@pytest.fixture
def lines(monkeypatch) -> list[str]:
    """The lines that triggers write about the progress of their operations."""
    lines: list[str] = []
    logger = logging.getLogger("waits")
    monkeypatch.setattr(logger, "info", lambda text, *arguments: lines.append(text % arguments))
    monkeypatch.setattr(DicomOperationTrigger, "log", logger)
    return lines


async def test_many_waits_write_few_lines(service, lines):
    """All of them together a few a second, whose number does not grow with theirs."""
    await asyncio.gather(*(wait(number) for number in range(WAITS)))
    assert len(lines) < WAITS * POLLS / 10


async def test_one_wait_writes_each_change(service, lines, monkeypatch):
    monkeypatch.setattr(dicom, "_lines", polling.LineBudget(per_second=3, burst=30))
    await wait(1)
    assert len(lines) == POLLS


async def test_the_environments_proxy_is_used(service, monkeypatch):
    """It is looked up by us and once, so that it is not looked up for each poll."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    host = rest_async.resolve_endpoint("HEALTHCARE_EMULATOR_HOST", "")
    monkeypatch.setenv("HEALTHCARE_EMULATOR_HOST", "http://healthcare.invalid")
    monkeypatch.setenv("http_proxy", host)
    async with HealthcareAsyncHook() as hook:
        operation = await hook.get_operation("projects/p/operations/1")
    assert operation["metadata"]["counter"] == {"success": "1"}


def test_an_upload_costs_the_same_however_many_objects_there_are():
    """Counted in Python's function calls, of which one for each object would be thousands."""
    with Emulator() as emulator:
        objects = emulator.storage.objects
        objects.create_bucket("bucket")
        objects.put_bytes("bucket", "warm-up", b"x")
        first = calls_of(lambda: objects.put_bytes("bucket", "folder/first", b"x"))
        for number in range(2000):
            objects.put_bytes("bucket", f"folder/{number}", b"x")
        last = calls_of(lambda: objects.put_bytes("bucket", "folder/last", b"x"))
    assert abs(last - first) <= 10


def calls_of(function: Any) -> int:
    """Return how many functions, of Python or C, a call calls."""
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls
