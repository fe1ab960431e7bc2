"""Airflow's triggerer, which dies at a point on a message's way: that which the file ``kill-at`` in its directory names.

Nobody but the tests starts it. It kills itself and all its processes, as ``kill -9`` does, once: the file is gone then.
"""

from __future__ import annotations

import os
import runpy
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
from airflow.jobs.triggerer_job_runner import TriggerRunnerSupervisor

from airflow_dicom.hooks.rest_async import PubSubAsyncHook
from airflow_dicom.triggers.events import DicomNotificationTrigger

_MAIN = os.getpid()


def kill_at(point: str) -> None:
    """Die if this is the point."""
    file = Path(os.environ["AIRFLOW_HOME"]) / "kill-at"
    if not file.exists() or file.read_text() != point:
        return
    file.unlink()
    for process in psutil.Process(_MAIN).children(recursive=True):
        if process.pid != os.getpid():
            process.kill()
    os.kill(_MAIN, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _killed(method: Callable[..., Any], before: str, after: str) -> Callable[..., Any]:
    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        kill_at(before)
        answer = await method(self, *args, **kwargs)
        if answer != []:  # no message was pulled
            kill_at(after)
        return answer

    return call


def _killed_as_it_yields(method: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    async def events(self: Any, stream: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for event in method(self, stream):
            kill_at("yielding")
            yield event

    return events


def _killed_as_it_stores(method: Callable[..., None]) -> Callable[..., None]:
    def store(self: Any, *args: Any, **kwargs: Any) -> None:
        kill_at("storing")
        method(self, *args, **kwargs)
        kill_at("stored")

    return store


if __name__ == "__main__":
    PubSubAsyncHook.pull = _killed(PubSubAsyncHook.pull, "pulling", "pulled")  # type: ignore[method-assign]
    PubSubAsyncHook.acknowledge = _killed(PubSubAsyncHook.acknowledge, "acknowledging", "acknowledged")  # type: ignore[method-assign]
    DicomNotificationTrigger.filter_shared_stream = _killed_as_it_yields(  # type: ignore[method-assign]
        DicomNotificationTrigger.filter_shared_stream
    )
    TriggerRunnerSupervisor.on_trigger_event = _killed_as_it_stores(  # type: ignore[method-assign]
        TriggerRunnerSupervisor.on_trigger_event
    )
    runpy.run_module("airflow", run_name="__main__", alter_sys=True)
