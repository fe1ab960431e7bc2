"""Waiting in the triggerer. A trigger only reads; what it starts or stops is up to the operator and to ``on_kill``."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_dicom.exceptions import HealthcareApiError
from airflow_dicom.hooks.rest_async import AsyncRestHook, BigQueryJobAsyncHook, HealthcareAsyncHook
from airflow_dicom.operation import Operation
from airflow_dicom.polling import PollClock
from airflow_dicom.triggers.legacy import HAS_ON_KILL, task_was_killed

#: Seconds that the request to cancel may take when a task is killed.
_CANCEL_TIMEOUT = 10.0

#: Seconds for which a task stays deferred at least. Airflow's scheduler takes a task for killed whose trigger has fired before it has
#: read that the worker is done: the executor knows the deferred and the resumed task by the same key.
MIN_SECONDS_DEFERRED = 5.0

#: Lines a second that all waits of a triggerer together write about their progress. Airflow needs milliseconds for each; when it gets
#: more than it can take, writing blocks the loop.
_LINES_PER_SECOND = 3


class _PollingTrigger(BaseTrigger):
    """Ask until it is done; every way out of :meth:`run` yields one event.

    Events: ``{"status": "done", …}``; ``{"status": "timeout"}`` at the deadline; ``{"status": "error", "message", "status_code"}``
    when the API refuses to tell; each also says what was waited for, so that the task needs nothing else to go on. Transient errors
    never end the wait.

    :param gcp_conn_id: the Google Cloud connection.
    :param impersonation_chain: the service account to impersonate, or a chain of them.
    :param poll_interval: seconds between two polls at first; see :class:`~airflow_dicom.polling.PollClock`.
    :param deadline: when to give up, in seconds since the epoch; ``None`` for never.
    :param cancel_on_kill: whether to cancel what is waited for when a person kills the task.
    :param not_before: when to poll for the first time at the earliest, in seconds since the epoch; by default
        :data:`MIN_SECONDS_DEFERRED` from now, which is when the worker defers the task. A triggerer that starts the trigger again,
        later, gets the worker's time.
    """

    def __init__(
        self,
        *,
        gcp_conn_id: str,
        impersonation_chain: str | Sequence[str] | None,
        poll_interval: float,
        deadline: float | None,
        cancel_on_kill: bool,
        not_before: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow 3.1 has no types here
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.cancel_on_kill = cancel_on_kill
        self.not_before = time.time() + MIN_SECONDS_DEFERRED if not_before is None else not_before

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments: all that the triggerer needs, and no secret."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "gcp_conn_id": self.gcp_conn_id,
                "impersonation_chain": self.impersonation_chain,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "cancel_on_kill": self.cancel_on_kill,
                "not_before": self.not_before,
            },
        )

    def awaited(self) -> dict[str, Any]:
        """Return what is waited for: a part of each event."""
        raise NotImplementedError

    def hook(self) -> AsyncRestHook:
        """Return the hook that polls."""
        raise NotImplementedError

    async def poll(self, hook: Any) -> dict[str, Any] | None:
        """Ask once; return what the event holds when it is done."""
        raise NotImplementedError

    async def cancel(self, hook: Any) -> None:
        """Ask the service to stop what is waited for."""
        raise NotImplementedError

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait; yield one event."""
        try:
            event = await self._wait()
        except asyncio.CancelledError:
            if not HAS_ON_KILL:
                await self._cancel_if_killed()
            raise
        except HealthcareApiError as error:
            event = {"status": "error", "message": str(error)[:1000], "status_code": error.status_code}
        except Exception as error:
            # Without an event the task would stay deferred, or fail without a word.
            self.log.exception("The trigger failed.")
            event = {"status": "error", "message": f"{type(error).__name__}: {error}"[:1000], "status_code": None}
        yield TriggerEvent({**self.awaited(), **event})  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Cancel, since a person marked or cleared the task. Airflow 3.3 calls it; never for a restart of the triggerer."""
        if self.cancel_on_kill:
            async with asyncio.timeout(_CANCEL_TIMEOUT), self.hook() as hook:
                await self.cancel(hook)

    async def _cancel_if_killed(self) -> None:
        """Do what Airflow 3.3 does: call :meth:`on_kill` when a person killed the task."""

        async def on_kill_if_killed() -> None:
            try:
                async with asyncio.timeout(2 * _CANCEL_TIMEOUT):
                    if self.cancel_on_kill and await task_was_killed(self):
                        await self.on_kill()
            except Exception:
                self.log.exception("Could not cancel what the killed task was waiting for.")

        work = asyncio.ensure_future(on_kill_if_killed())
        while not work.done():
            # Airflow cancels again, each second, what does not end at once.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(work)

    async def _wait(self) -> dict[str, Any]:
        clock = PollClock(self.poll_interval, self.deadline)
        pause = clock.first(at_least=max(0.0, self.not_before - time.time()))
        async with self.hook() as hook:
            while True:
                await asyncio.sleep(pause)
                try:
                    found = await self.poll(hook)
                except HealthcareApiError as error:
                    pause = clock.pause_after(error)
                    self.log.warning("%s Trying again in %.0f s.", error, pause)
                else:
                    pause = clock.answered()
                    if found is not None:
                        return {"status": "done", **found}
                if clock.expired:
                    return {"status": "timeout"}


class DicomOperationTrigger(_PollingTrigger):
    """Wait for a long-running operation of the Healthcare API.

    Logs the counters when they have changed; each change while few operations are waited for, fewer of them when there are many.

    :param operation: the operation's name.
    :param api_version: ``v1`` or ``v1beta1``.
    """

    def __init__(self, *, operation: str, api_version: str = "v1", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.operation = operation
        self.api_version = api_version
        self._last: Operation | None = None
        self._last_change = time.monotonic()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        path, kwargs = super().serialize()
        return path, {"operation": self.operation, "api_version": self.api_version, **kwargs}

    def awaited(self) -> dict[str, Any]:
        """Return the operation's name."""
        return {"name": self.operation}

    def hook(self) -> HealthcareAsyncHook:
        """Return the hook that polls."""
        return HealthcareAsyncHook(self.gcp_conn_id, self.impersonation_chain, api_version=self.api_version)

    async def poll(self, hook: HealthcareAsyncHook) -> dict[str, Any] | None:
        """Ask once; log when counters changed, but the less often the more operations are waited for."""
        operation = Operation.from_response(await hook.get_operation(self.operation))
        changed = self._last is None or operation.counters != self._last.counters
        if changed and random.random() * hook.users < _LINES_PER_SECOND * self.poll_interval:
            now = time.monotonic()
            self.log.info("%s (%s)", operation.progress(self._last, now - self._last_change), operation.name)
            self._last, self._last_change = operation, now
        return {"operation": asdict(operation)} if operation.done else None

    async def cancel(self, hook: HealthcareAsyncHook) -> None:
        """Cancel the operation."""
        await hook.cancel_operation(self.operation)
        self.log.info("Cancelled %s, since the task was killed.", self.operation)


class BigQueryJobTrigger(_PollingTrigger):
    """Wait for a BigQuery job.

    :param project_id: the job's project.
    :param job_id: the job's id.
    :param location: the job's location.
    """

    def __init__(self, *, project_id: str, job_id: str, location: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_id = project_id
        self.job_id = job_id
        self.location = location
        self._last_state = ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        path, kwargs = super().serialize()
        return path, {**self.awaited(), **kwargs}

    def awaited(self) -> dict[str, Any]:
        """Return what identifies the job."""
        return {"project_id": self.project_id, "job_id": self.job_id, "location": self.location}

    def hook(self) -> BigQueryJobAsyncHook:
        """Return the hook that polls."""
        return BigQueryJobAsyncHook(self.gcp_conn_id, self.impersonation_chain)

    async def poll(self, hook: BigQueryJobAsyncHook) -> dict[str, Any] | None:
        """Ask once; log when the state changed. The operator reads the result: errors and statistics are too long for an event."""
        job = await hook.get_job(self.project_id, self.job_id, self.location)
        if job["status"]["state"] != self._last_state:
            self._last_state = job["status"]["state"]
            self.log.info("BigQuery job %s: %s", self.job_id, self._last_state)
        return {} if job["status"]["state"] == "DONE" else None

    async def cancel(self, hook: BigQueryJobAsyncHook) -> None:
        """Cancel the job."""
        await hook.cancel_job(self.project_id, self.job_id, self.location)
        self.log.info("Cancelled BigQuery job %s, since the task was killed.", self.job_id)
