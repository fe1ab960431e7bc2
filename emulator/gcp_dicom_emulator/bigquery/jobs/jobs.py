"""Jobs: run in the background, remembered in SQLite."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from gcp_dicom_emulator.bigquery.catalog import Catalog, now_ms
from gcp_dicom_emulator.bigquery.sql.query_errors import query_error
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.faults import Fault, Faults

log = logging.getLogger(__name__)

Resource = dict[str, Any]

#: Does a job's work; returns what becomes of ``configuration`` and ``statistics``.
Work = Callable[[Resource], tuple[Resource, Resource]]

#: The HTTP status with which a failed job's error is answered where the job itself is not.
_STATUS = {
    "notFound": 404,
    "duplicate": 409,
    "accessDenied": 403,
    "notImplemented": 501,
    "backendError": 503,
    "internalError": 500,
}

#: The locations that a request for a job need not name.
MULTI_REGIONS = ("US", "EU")
#: How many jobs run at once; others wait.
_CONCURRENT = 64


@dataclass
class _Running:
    """A job that runs.

    :param why: why it was cancelled.
    :param thread: the thread that runs its queries.
    """

    done: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    why: str = "User requested cancellation"
    thread: int | None = None


class Jobs:
    """The jobs of all projects.

    :param state: where they are kept.
    :param catalog: whose engine a cancelled job's query runs on.
    :param faults: tell how long something hangs.
    """

    def __init__(self, state: State, catalog: Catalog, faults: Faults) -> None:
        self._state = state
        self._catalog = catalog
        self._faults = faults
        self._running: dict[tuple[str, str], _Running] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=_CONCURRENT, thread_name_prefix="bigquery-job")
        self._end_interrupted()

    def _end_interrupted(self) -> None:
        """End the jobs that an earlier process did not."""
        for row in self._state.query(
            "SELECT resource FROM bigquery_jobs WHERE json_extract(resource, '$.status.state') <> 'DONE'"
        ):
            error = ApiError(503, "The job was interrupted: the emulator stopped while it ran.", reason="backendError")
            self._finish(json.loads(row["resource"]), error)

    def insert(self, resource: Resource, work: Work, fault: Fault | None = None) -> Resource:
        """Start a job and return its resource.

        :param resource: has ``jobReference`` and ``configuration``.
        :param work: does it.
        :param fault: what is to go wrong.
        :raises ApiError: 409 when the job's id is in use.
        """
        reference = resource["jobReference"]
        key = (reference["projectId"], reference["jobId"])
        now = now_ms()
        resource = {
            "kind": "bigquery#job",
            "etag": uuid.uuid4().hex,
            "id": f"{key[0]}:{reference['location']}.{key[1]}",
            "selfLink": f"https://bigquery.googleapis.com/bigquery/v2/projects/{key[0]}/jobs/{key[1]}?location={reference['location']}",
            "user_email": "emulator@example.com",
            **resource,
            "statistics": {"creationTime": str(now)},
            "status": {"state": "PENDING"},
        }
        with self._state.transaction() as connection:
            if self._find(*key) is not None:
                raise ApiError(409, f"Already Exists: Job {resource['id']}")
            connection.execute(
                "INSERT INTO bigquery_jobs VALUES (?, ?, ?, ?, ?)",
                (*key, reference["location"], now, json.dumps(resource)),
            )
        running = _Running()
        with self._lock:
            self._running[key] = running
        self._pool.submit(self._run, resource, work, running, fault)
        return resource

    def _run(self, resource: Resource, work: Work, running: _Running, fault: Fault | None) -> None:
        reference = resource["jobReference"]
        limit = int(resource["configuration"].get("jobTimeoutMs") or 0)
        timer = threading.Timer(limit / 1000, self._time_out, (running, limit))
        if limit > 0:
            timer.daemon = True
            timer.start()
        try:
            resource["statistics"]["startTime"] = str(now_ms())
            resource["status"] = {"state": "RUNNING"}
            running.thread = threading.get_ident()
            self._store(resource)
            try:
                if fault is not None:
                    _suffer(fault, self._faults, running.cancelled)
                if running.cancelled.is_set():
                    raise _stopped(running)
                configuration, statistics = work(resource)
                resource["configuration"] = configuration
                resource["statistics"] |= statistics
                error = None
            except ApiError as failure:
                error = failure
            except Exception as failure:
                log.exception("job %s failed", resource["id"])
                error = query_error(failure) if type(failure).__module__.endswith("duckdb") else ApiError(500, repr(failure))
            running.thread = None
            if error is not None and running.cancelled.is_set():
                error = _stopped(running)
            self._finish(resource, error)
        finally:
            timer.cancel()
            with self._lock:
                self._running.pop((reference["projectId"], reference["jobId"]), None)
            running.done.set()

    def _finish(self, resource: Resource, error: ApiError | None) -> None:
        resource["status"] = {"state": "DONE"}
        resource["statistics"].setdefault("startTime", resource["statistics"]["creationTime"])
        resource["statistics"]["endTime"] = str(now_ms())
        if error is not None:
            problem = {"reason": error.reason, "message": error.message}
            if error.reason == "invalidQuery":
                problem["location"] = "query"
            resource["status"] |= {"errorResult": problem, "errors": [problem]}
        self._store(resource)

    def _store(self, resource: Resource) -> None:
        reference = resource["jobReference"]
        with self._state.transaction() as connection:
            connection.execute(
                "UPDATE bigquery_jobs SET resource = ? WHERE project = ? AND job_id = ?",
                (json.dumps(resource), reference["projectId"], reference["jobId"]),
            )

    def _find(self, project: str, job_id: str) -> Resource | None:
        rows = self._state.query("SELECT resource FROM bigquery_jobs WHERE project = ? AND job_id = ?", (project, job_id))
        return json.loads(rows[0]["resource"]) if rows else None

    def get(self, project: str, job_id: str, location: str | None = None) -> Resource:
        """Return a job.

        :param location: where it is; may be left out for the multi-regions US and EU only.
        :raises ApiError: 404 when there is none, or none in the location.
        """
        job = self._find(project, job_id)
        if job is None or job["jobReference"]["location"].upper() not in ([location.upper()] if location else MULTI_REGIONS):
            raise ApiError(404, f"Not found: Job {project}:{location + '.' if location else ''}{job_id}")
        return job

    def list(self, project: str, states: list[str], limit: int, start: int) -> list[Resource]:
        """Return jobs, the newest first.

        :param states: ``PENDING``, ``RUNNING``, ``DONE``; empty for all.
        """
        wanted = [state.upper() for state in states] or ["PENDING", "RUNNING", "DONE"]
        marks = ", ".join("?" * len(wanted))
        rows = self._state.query(
            "SELECT resource FROM bigquery_jobs WHERE project = ? "
            f"AND json_extract(resource, '$.status.state') IN ({marks}) ORDER BY created DESC, job_id LIMIT ? OFFSET ?",
            (project, *wanted, limit, start),
        )
        return [json.loads(row["resource"]) for row in rows]

    def cancel(self, project: str, job_id: str, location: str | None) -> Resource:
        """Ask a job to stop, and return it; one that is done stays as it is.

        :raises ApiError: 404 when there is none.
        """
        self.get(project, job_id, location)
        with self._lock:
            running = self._running.get((project, job_id))
        if running is not None:
            self._stop(running)
        return self.get(project, job_id, location)

    def _time_out(self, running: _Running, limit: int) -> None:
        running.why = f"Job timed out after {limit / 1000:g}s"
        self._stop(running)

    def _stop(self, running: _Running) -> None:
        running.cancelled.set()
        # The job may be between two of its queries: ask until it hears.
        for _ in range(100):
            if running.thread is not None:
                self._catalog.engine.interrupt(running.thread)
            if running.done.wait(0.02):
                break

    def delete(self, project: str, job_id: str, location: str | None) -> None:
        """Forget a job that is done.

        :raises ApiError: 404 when there is none, 400 when it is not done.
        """
        if self.get(project, job_id, location)["status"]["state"] != "DONE":
            raise ApiError(400, f"Job {project}:{job_id} is not done and cannot be deleted.")
        with self._state.transaction() as connection:
            connection.execute("DELETE FROM bigquery_jobs WHERE project = ? AND job_id = ?", (project, job_id))

    def is_running(self, project: str, job_id: str) -> bool:
        """Say whether a job is not done yet."""
        with self._lock:
            return (project, job_id) in self._running

    def close(self) -> None:
        """Stop all jobs."""
        with self._lock:
            running = list(self._running.values())
        for job in running:
            job.cancelled.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for job in running:
            for _ in range(100):
                if job.thread is None or job.done.wait(0.02):
                    break
                self._catalog.engine.interrupt(job.thread)


def _suffer(fault: Fault, faults: Faults, cancelled: threading.Event) -> None:
    if fault.kind == "end_in_error":
        raise ApiError(503, "The emulator was asked to end the job in an error.", reason="backendError")
    if fault.kind == "slow":
        cancelled.wait(fault.seconds)
    while fault.kind == "hang" and faults.hanging and not cancelled.wait(0.1):
        pass


def _stopped(running: _Running) -> ApiError:
    return ApiError(400, f"Job execution was cancelled: {running.why}", reason="stopped")


def error_of(job: Resource) -> ApiError | None:
    """Return the error of a failed job as the answer to a request; ``None`` when it did not fail."""
    problem = job["status"].get("errorResult")
    if problem is None:
        return None
    return ApiError(_STATUS.get(problem["reason"], 400), problem["message"], reason=problem["reason"])
