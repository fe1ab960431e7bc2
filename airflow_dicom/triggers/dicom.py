"""Waiting in the triggerer. A trigger only reads, but for the request to cancel, which does no harm twice."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, ClassVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_dicom.bigquery_job import BigQueryJob
from airflow_dicom.exceptions import GoogleApiError, GoogleApiTransientError
from airflow_dicom.hooks.rest_async import AsyncRestHook, BigQueryJobAsyncHook, HealthcareAsyncHook
from airflow_dicom.links.dicom import DicomOperationLink
from airflow_dicom.operation import Operation, operation_name, split_names
from airflow_dicom.polling import DEADLINE_GRACE, LineBudget, PollClock, backoff
from airflow_dicom.store_metrics import Arrival, Counts
from airflow_dicom.work.ownership import trigger_was_killed

log = logging.getLogger(__name__)

#: Seconds that the request to cancel may take.
_CANCEL_TIMEOUT = 10.0

#: Seconds for which a trigger asks Airflow whether its task was killed, and the service to cancel: a busy Airflow needs minutes.
_KILL_PATIENCE = 600.0

#: Seconds for which a task stays deferred at least. Airflow's scheduler takes a task for killed whose trigger has fired before it has
#: read that the worker is done: the executor knows the deferred and the resumed task by the same key. Seen on 2.11 to 3.3.2;
#: apache/airflow#66374, #67287, #71580 and #72716 tell of it.
MIN_SECONDS_DEFERRED = 5.0

#: What all waits of a triggerer together write about their progress. Airflow needs milliseconds for each line; when it gets more than
#: it can take, writing blocks the loop.
_lines = LineBudget(per_second=3, burst=30)


class PollingTrigger(BaseTrigger):
    """Ask until it is done; every way out of :meth:`run` yields one event.

    Events: ``{"status": "done", …}``; ``{"status": "timeout", "cancelled"}`` at the deadline; ``{"status": "error", "message",
    "status_code"}`` when the API refuses to tell; each also says what was waited for, so that the task needs nothing else to go on.
    Transient errors never end the wait.

    The arguments lie in Airflow's database while workers and triggerers are upgraded: each has a default, and those that a release
    does not know are dropped.

    :param gcp_conn_id: the Google Cloud connection.
    :param impersonation_chain: the service account to impersonate, or a chain of them.
    :param poll_interval: seconds between two polls at first; see :class:`~airflow_dicom.polling.PollClock`.
    :param deadline: when to give up, in seconds since the epoch; ``None`` for never.
    :param cancel_on_kill: whether to cancel what is waited for when a person kills the task.
    :param cancel_on_timeout: whether to cancel it at the deadline; a worker that resumes the task may come too late.
    :param not_before: when to poll for the first time at the earliest, in seconds since the epoch; by default
        :data:`MIN_SECONDS_DEFERRED` from now, which is when the worker defers the task. A triggerer that starts the trigger again,
        later, gets the worker's time.
    """

    #: What is stored of a trigger, and given to it when a triggerer starts it: all that it needs, and no secret.
    arguments: ClassVar[Sequence[str]] = (
        "gcp_conn_id",
        "impersonation_chain",
        "poll_interval",
        "deadline",
        "cancel_on_kill",
        "cancel_on_timeout",
        "not_before",
    )

    def __init__(
        self,
        *,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        poll_interval: float = 10,
        deadline: float | None = None,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = False,
        not_before: float | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow 3.1 has no types here
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.cancel_on_kill = cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout
        self.not_before = time.time() + MIN_SECONDS_DEFERRED if not_before is None else not_before
        if unknown:
            log.warning("%s drops the arguments %s, which another release has written.", type(self).__name__, sorted(unknown))

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in self.arguments}

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
            if not hasattr(BaseTrigger, "on_kill"):  # Airflow before 3.3
                await self.on_kill()
            raise
        except GoogleApiError as error:
            event = {"status": "error", "message": str(error)[:1000], "status_code": error.status_code}
        except Exception as error:
            # Without an event the task would stay deferred, or fail without a word.
            self.log.exception("The trigger failed.")
            event = {"status": "error", "message": f"{type(error).__name__}: {error}"[:1000], "status_code": None}
        yield TriggerEvent({**self.awaited(), **event})  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Cancel if a person ended the task.

        Airflow 3.3 calls this also when a triggerer that stalled finds its triggers taken by another one, or when a trigger lingers
        after its own event. So the task is asked first; where nobody can tell, nothing is cancelled. Meanwhile Airflow cancels this
        again, each second, and after ``[triggerer] on_kill_timeout``; the request is sent nevertheless.
        """
        work = asyncio.ensure_future(self._cancel_if_killed())
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(work)

    async def _cancel_if_killed(self) -> None:
        if not self.cancel_on_kill:
            return
        try:
            async with asyncio.timeout(_KILL_PATIENCE):
                await self._cancel_when_airflow_tells()
        except Exception:
            self.log.exception("Could not cancel what the killed task was waiting for.")

    async def _cancel_when_airflow_tells(self) -> None:
        for attempt in itertools.count():
            try:
                if await trigger_was_killed(self):
                    await self._cancel("the task was killed")
                return
            except Exception as error:
                if isinstance(error, GoogleApiError) and not isinstance(error, GoogleApiTransientError):
                    raise
                pause = backoff(attempt)
                self.log.warning("Could not cancel yet: %s: %s Trying again in %.0f s.", type(error).__name__, error, pause)
            await asyncio.sleep(pause)

    async def _cancel(self, reason: str) -> None:
        async with asyncio.timeout(_CANCEL_TIMEOUT), self.hook() as hook:
            await self.cancel(hook)
        self.log.info("Asked the service to cancel %s: %s.", self.awaited(), reason)

    async def _wait(self) -> dict[str, Any]:
        clock = PollClock(self.poll_interval, self.deadline)
        pause = clock.first(at_least=max(0.0, self.not_before - time.time()))
        async with self.hook() as hook:
            while True:
                await asyncio.sleep(pause)
                try:
                    found = await self.poll(hook)
                except GoogleApiError as error:
                    pause = clock.pause_after(error)
                    self.log.warning("%s Trying again in %.0f s.", error, pause)
                else:
                    pause = clock.answered()
                    if found is not None:
                        return {"status": "done", **found}
                if clock.expired:
                    return {"status": "timeout", "cancelled": await self._cancel_at_deadline()}

    async def _cancel_at_deadline(self) -> bool:
        if not self.cancel_on_timeout:
            return False
        try:
            await self._cancel("execution_timeout is over")
        except (GoogleApiError, TimeoutError) as error:
            self.log.warning("Could not cancel %s: %s", self.awaited(), error)
            return False
        return True


class HealthcareTrigger(PollingTrigger):
    """Ask the Healthcare API.

    :param api_version: ``v1`` or ``v1beta1``.
    """

    arguments = (*PollingTrigger.arguments, "api_version")

    def __init__(self, *, api_version: str = "v1", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.api_version = api_version

    def hook(self) -> HealthcareAsyncHook:
        """Return the hook that polls."""
        return HealthcareAsyncHook(self.gcp_conn_id, self.impersonation_chain, api_version=self.api_version)


class DicomOperationTrigger(HealthcareTrigger):
    """Wait for a long-running operation of the Healthcare API.

    Logs the counters when they have changed; each change while few operations are waited for, fewer of them when there are many.

    :param operation: the operation's name, or several ones joined: see :func:`~airflow_dicom.operation.join_names`.
    """

    arguments = (*HealthcareTrigger.arguments, "operation")

    def __init__(self, *, operation: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.operation = operation
        self._seen: dict[str, Operation] = {}
        self._last: Operation | None = None
        self._last_change = time.monotonic()

    def awaited(self) -> dict[str, Any]:
        """Return the operation's name."""
        return {"name": self.operation}

    async def poll(self, hook: HealthcareAsyncHook) -> dict[str, Any] | None:
        """Ask once; log when counters changed."""
        for name in split_names(self.operation):
            if name not in self._seen or not self._seen[name].done:
                self._seen[name] = Operation.from_response(await hook.get_operation(name))
        operation = Operation.together(list(self._seen.values()))
        changed = self._last is None or operation.counters != self._last.counters
        if changed and _lines.spend():
            now = time.monotonic()
            self.log.info("%s (%s)", operation.progress(self._last, now - self._last_change), operation.name)
            self._last, self._last_change = operation, now
        return {"operation": asdict(operation)} if operation.done else None

    async def cancel(self, hook: HealthcareAsyncHook) -> None:
        """Cancel the operation, or those of them that are not done: each, whatever the service answers about another."""
        running = [name for name in split_names(self.operation) if name not in self._seen or not self._seen[name].done]
        answers = await asyncio.gather(*(hook.cancel_operation(name) for name in running), return_exceptions=True)
        if refused := [answer for answer in answers if isinstance(answer, BaseException)]:
            raise refused[0]


class DicomOperationStartTrigger(DicomOperationTrigger):
    """Wait for an operation without a worker before, which would have found out its name, the deadline, and where the link leads.

    Airflow 3.3 makes it of what the DAG's file says. What does not go well is left to a worker, by ``{"status": "worker"}``.

    :param operation: the operation's name, or the ``task_id`` and ``key`` of the XCom that has it, or a result that has it.
    """

    def __init__(self, *, operation: Any, **kwargs: Any) -> None:
        super().__init__(operation=operation, **kwargs)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Find out what a worker would have; wait; yield one event."""
        try:
            self.operation = operation_name(await self._given())
            self.deadline = self._deadline()
            await self._show()
        except Exception as error:
            self.log.info("A worker starts this task: %s: %s", type(error).__name__, error)
            yield TriggerEvent({"status": "worker"})  # type: ignore[no-untyped-call]
            return
        async for event in super().run():
            yield event

    async def _given(self) -> Any:
        if isinstance(self.operation, str):
            return self.operation
        from airflow.sdk.execution_time.xcom import XCom

        ti: Any = self.task_instance
        return await XCom.aget_one(**self.operation, dag_id=ti.dag_id, run_id=ti.run_id, map_index=-1)

    def _deadline(self) -> float | None:
        """Return the end of the sensor's ``timeout``. Airflow, which knows when the wait began, ends it itself a while later."""
        ends: datetime | None = getattr(self, "timeout_after", None)
        return ends.timestamp() - DEADLINE_GRACE if ends is not None else None

    async def _show(self) -> None:
        from airflow.sdk.bases.xcom import BaseXCom

        ti: Any = self.task_instance
        url = DicomOperationLink.url(self.operation)
        names = {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id, "map_index": ti.map_index}
        await BaseXCom.aset(DicomOperationLink.key, url, **names)


class DicomStoreMetricsTrigger(HealthcareTrigger):
    """Wait until a DICOM store holds enough, or grows no more.

    :param dicom_store: the store's name.
    :param least: how much must be there: the fields of :class:`~airflow_dicom.store_metrics.Counts`.
    :param still_for: seconds for which nothing may have been added; ``None`` for none.
    """

    arguments = (*HealthcareTrigger.arguments, "dicom_store", "least", "still_for")

    def __init__(
        self, *, dicom_store: str, least: dict[str, int] | None = None, still_for: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.dicom_store = dicom_store
        self.least = least or {}
        self.still_for = still_for
        self._arrival = Arrival(Counts(**self.least), still_for)

    def awaited(self) -> dict[str, Any]:
        """Return the store's name."""
        return {"dicom_store": self.dicom_store}

    async def poll(self, hook: HealthcareAsyncHook) -> dict[str, Any] | None:
        """Ask once; log when the counts changed."""
        counts = Counts.of(await hook.get_dicom_store_metrics(self.dicom_store))
        if self._arrival.has_news(counts) and _lines.spend():
            self.log.info("%s has %s.", self.dicom_store, counts)
        return {"counts": asdict(counts)} if self._arrival.is_over(counts, time.monotonic()) else None


class DicomOperationsTrigger(HealthcareTrigger):
    """Wait until no operation runs in a dataset.

    :param dataset: the dataset's name.
    """

    arguments = (*HealthcareTrigger.arguments, "dataset")

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset

    def awaited(self) -> dict[str, Any]:
        """Return the dataset's name."""
        return {"dataset": self.dataset}

    async def poll(self, hook: HealthcareAsyncHook) -> dict[str, Any] | None:
        """Ask once."""
        running = [one for one in await hook.list_operations(self.dataset) if not one.get("done")]
        return None if running else {}


class BigQueryJobTrigger(PollingTrigger):
    """Wait for a BigQuery job.

    :param project_id: the job's project.
    :param job_id: the job's id.
    :param location: the job's location.
    """

    arguments = (*PollingTrigger.arguments, "project_id", "job_id", "location")

    def __init__(self, *, project_id: str, job_id: str, location: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_id = project_id
        self.job_id = job_id
        self.location = location
        self._last_state = ""

    def awaited(self) -> dict[str, Any]:
        """Return what identifies the job."""
        return {"project_id": self.project_id, "job_id": self.job_id, "location": self.location}

    def hook(self) -> BigQueryJobAsyncHook:
        """Return the hook that polls."""
        return BigQueryJobAsyncHook(self.gcp_conn_id, self.impersonation_chain)

    async def poll(self, hook: BigQueryJobAsyncHook) -> dict[str, Any] | None:
        """Ask once; log when the state changed. The operator reads the result: errors and statistics are too long for an event."""
        job = BigQueryJob.from_response(await hook.get_job(self.project_id, self.job_id, self.location))
        if job.state != self._last_state and _lines.spend():
            self._last_state = job.state
            self.log.info("The query is %s (BigQuery job %s)", job.state.lower(), self.job_id)
        return {} if job.done else None

    async def cancel(self, hook: BigQueryJobAsyncHook) -> None:
        """Cancel the job."""
        await hook.cancel_job(self.project_id, self.job_id, self.location)
