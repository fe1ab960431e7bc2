"""Long-running operations: they run in the background, count, can be cancelled, and outlive a restart."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.faults import Faults
from gcp_dicom_emulator.storage.times import timestamp

log = logging.getLogger(__name__)

_TABLES = """
CREATE TABLE IF NOT EXISTS operations (
    name TEXT PRIMARY KEY, dataset TEXT NOT NULL, sequence INTEGER NOT NULL, kind TEXT NOT NULL, request TEXT NOT NULL,
    resource TEXT NOT NULL, done INTEGER NOT NULL, phase TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS operations_dataset ON operations (dataset, sequence);
CREATE TABLE IF NOT EXISTS operation_logs (operation TEXT NOT NULL, entry TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS operation_logs_operation ON operation_logs (operation);
"""

#: HTTP status code -> ``google.rpc.Code``.
_RPC_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 412: 9, 429: 8, 501: 12, 503: 14}
CANCELLED, UNKNOWN, INVALID_ARGUMENT, UNAVAILABLE = 1, 2, 3, 14

_TYPE = "type.googleapis.com/google.cloud.healthcare"

#: How many operations run at once; others wait.
_CONCURRENT = 256

#: Seconds after which something that hangs, or waits for polls, looks whether it still is to.
_HANG_STEP, _POLL_STEP = 0.1, 0.005

#: Seconds that the poll that is to see the end waits for it.
_MAX_POLL = 10.0

#: How many error entries an operation keeps; the real service limits them as well.
_MAX_LOG_ENTRIES = 1000


class Cancelled(Exception):
    """The operation was asked to stop."""


class OperationError(Exception):
    """The operation ends in an error.

    :param code: the ``google.rpc.Code``.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Run:
    """One operation while it runs.

    :param name: the operation's name.
    :param request: what was asked for; has ``name``, the resource it works on, and the request's body.
    :param resource: the operation as the API writes it.
    :param phase: how far it was when the emulator was killed; empty for a first run.
    :param seconds: how long it is to take at least.
    :param polls: how often it is to be asked for until it is done.
    """

    name: str
    request: dict[str, Any]
    resource: dict[str, Any]
    phase: str = ""
    seconds: float = 0.0
    polls: int = 0
    polled: int = 0
    success: int = 0
    failure: int = 0
    pending: int = 0
    over: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    logs: list[dict[str, Any]] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)

    def step(self) -> None:
        """Go on: pause where the operation is to take some time.

        :raises Cancelled: it was asked to stop.
        """
        total = self.success + self.failure + self.pending
        share = 1 - self.pending / total if total else 1.0
        pause = self._started + self.seconds * share - time.monotonic()
        if self.stop.wait(max(0.0, pause)):
            raise Cancelled
        while self.polled < self.polls * share:
            if self.stop.wait(_POLL_STEP):
                raise Cancelled

    @property
    def one_by_one(self) -> bool:
        """Whether somebody is to see the counters move."""
        return bool(self.seconds or self.polls)

    def count(self, *, success: int = 0, failure: int = 0) -> None:
        """Count what is done; it is no longer pending."""
        self.success += success
        self.failure += failure
        self.pending = max(0, self.pending - success - failure)

    def suffer(self, faults: Faults) -> None:
        """Let go wrong what was asked for, once the work is done.

        :param faults: tell how long something hangs.
        :raises OperationError: it is to end in an error.
        :raises Cancelled: it hung until it was cancelled.
        """
        fault = self.request.get("fault", {})
        if fault.get("kind") == "end_in_error":
            raise OperationError(fault["code"], "The emulator was asked to end the operation in an error.")
        if fault.get("kind") == "fail_instances":
            failed = min(fault["code"], self.success)
            self.success, self.failure = self.success - failed, self.failure + failed
        if fault.get("kind") == "hang":
            while faults.hanging:
                if self.stop.wait(_HANG_STEP):
                    raise Cancelled

    def log(self, kind: str, message: str, **fields: str) -> None:
        """Keep an error entry, as Cloud Logging would.

        :param kind: the entry's message type, e.g. ``ImportDicomLogEntry``.
        """
        if len(self.logs) < _MAX_LOG_ENTRIES:
            error = {"code": INVALID_ARGUMENT, "message": message}
            payload = {"@type": f"{_TYPE}.logging.{kind}", "error": error, **fields}
            self.logs.append(
                {"jsonPayload": payload, "severity": "ERROR", "timestamp": timestamp(), "operation": {"id": self.name}}
            )

    def current(self) -> dict[str, Any]:
        """Return the operation as the API writes it, with its counters. Zeros are left out; numbers are strings."""
        counts = (("success", self.success), ("failure", self.failure), ("pending", self.pending))
        counter = {key: str(value) for key, value in counts if value}
        metadata = {**self.resource["metadata"], **({"counter": counter} if counter or self.over else {})}
        return {**self.resource, "metadata": metadata}


class Operations:
    """All operations.

    :param state: where they are kept.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        state.create_tables(_TABLES)
        self._threads = ThreadPoolExecutor(max_workers=_CONCURRENT, thread_name_prefix="operation")
        self._running: dict[str, Run] = {}
        self._lock = threading.Lock()
        self._closing = False
        self._work: dict[str, Callable[[Run], dict[str, Any]]] = {}
        #: How long an operation takes at least, in seconds.
        self.seconds = 0.0
        #: How often an operation is to be asked for until it is done.
        self.polls = 0
        #: For how many seconds an operation can be asked for after its end; ``None`` for always.
        self.retention: float | None = None

    def register(self, kind: str, work: Callable[[Run], dict[str, Any]]) -> None:
        """Say what does a kind of operation; it returns the ``response``."""
        self._work[kind] = work

    def resume(self) -> None:
        """Go on with the operations that a killed emulator left."""
        for row in self._state.query("SELECT * FROM operations WHERE done = 0 ORDER BY sequence"):
            request, resource = json.loads(row["request"]), json.loads(row["resource"])
            run = Run(row["name"], request, resource, row["phase"], self._seconds(request), self.polls)
            if resource["metadata"].get("cancelRequested"):
                run.stop.set()
            self._submit(row["kind"], run)

    def start(
        self, kind: str, api_version: str, dataset: str, api_method: str, request: dict[str, Any], base_url: str
    ) -> dict[str, Any]:
        """Start an operation, once a transaction around this is committed; return what the API answers: its name.

        :param kind: which registered work.
        :param dataset: the dataset it belongs to.
        :param api_method: the method's gRPC name, e.g. ``dicom.DicomService.ImportDicomData``.
        :param request: what :class:`Run` gets.
        :param base_url: where the emulator is, for the link to the logs.
        """
        sequence = time.time_ns()
        name = f"{dataset}/operations/{sequence // 1000}{random.randrange(1000):03}"
        metadata = {
            "@type": f"{_TYPE}.{api_version}.OperationMetadata",
            "apiMethodName": f"google.cloud.healthcare.{api_version}.{api_method}",
            "createTime": timestamp(),
            "logsUrl": f"{base_url}/_emulator/logs?operation={name}",
        }
        run = Run(name, request, {"name": name, "metadata": metadata}, seconds=self._seconds(request), polls=self.polls)
        with self._state.transaction() as connection:
            connection.execute(
                "INSERT INTO operations VALUES (?, ?, ?, ?, ?, ?, 0, '')",
                (name, dataset, sequence, kind, json.dumps(request), json.dumps(run.resource)),
            )
            self._state.when_committed(lambda: self._submit(kind, run))
        return {"name": name}

    def _seconds(self, request: dict[str, Any]) -> float:
        fault = request.get("fault", {})
        return float(fault["seconds"]) if fault.get("kind") == "slow" else self.seconds

    def get(self, name: str) -> dict[str, Any]:
        """Return an operation.

        :raises ApiError: 404 when there is none.
        """
        run = self._running.get(name)
        if run is not None:
            return run.current()
        self._forget()
        rows = self._state.query("SELECT resource FROM operations WHERE name = ?", (name,))
        if not rows:
            raise ApiError(404, f"Operation not found: {name}")
        resource: dict[str, Any] = json.loads(rows[0]["resource"])
        return resource

    def request(self, name: str) -> dict[str, Any]:
        """Return what an operation was asked to do: the body of the request, beside ``name``, the resource it works on.

        :raises ApiError: 404 when there is no such operation.
        """
        rows = self._state.query("SELECT request FROM operations WHERE name = ?", (name,))
        if not rows:
            raise ApiError(404, f"Operation not found: {name}")
        request = json.loads(rows[0]["request"])
        return {"name": request["name"], **request.get("body", {})}

    def poll(self, name: str) -> dict[str, Any]:
        """Return an operation as :meth:`get` does, and count that it was asked for.

        :raises ApiError: 404 when there is none.
        """
        run = self._running.get(name)
        if run is not None and run.polls:
            run.polled += 1
            if run.polled >= run.polls:
                run.ended.wait(_MAX_POLL)
        return self.get(name)

    def _forget(self) -> None:
        if self.retention is None:
            return
        before = timestamp(datetime.now(UTC) - timedelta(seconds=self.retention))
        with self._state.transaction() as connection:
            connection.execute(
                "DELETE FROM operations WHERE done AND json_extract(resource, '$.metadata.endTime') < ?", (before,)
            )
            connection.execute("DELETE FROM operation_logs WHERE operation NOT IN (SELECT name FROM operations)")

    def of_dataset(self, dataset: str, before: int | None, limit: int) -> tuple[list[dict[str, Any]], int | None]:
        """Return a dataset's operations, the newest first, and where the next page starts.

        :param before: where the page starts; ``None`` for the newest.
        """
        self._forget()
        rows = self._state.query(
            "SELECT name, sequence, resource FROM operations WHERE dataset = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?",
            (dataset, before if before is not None else 1 << 62, limit + 1),
        )
        page = []
        for row in rows[:limit]:
            run = self._running.get(row["name"])
            page.append(run.current() if run is not None else json.loads(row["resource"]))
        return page, rows[limit - 1]["sequence"] if len(rows) > limit else None

    def cancel(self, name: str) -> None:
        """Ask an operation to stop. One that has ended stays as it is.

        :raises ApiError: 404 when there is none.
        """
        self.get(name)
        run = self._running.get(name)
        if run is not None:
            run.resource["metadata"]["cancelRequested"] = True
            with self._state.transaction() as connection:
                sql = "UPDATE operations SET resource = ? WHERE name = ? AND NOT done"
                connection.execute(sql, (json.dumps(run.resource), name))
            run.stop.set()

    def logs(self, name: str) -> list[dict[str, Any]]:
        """Return the error entries of an operation that has ended."""
        rows = self._state.query("SELECT entry FROM operation_logs WHERE operation = ?", (name,))
        return [json.loads(row["entry"]) for row in rows]

    def set_phase(self, run: Run, phase: str) -> None:
        """Remember how far an operation is, for :meth:`resume`."""
        with self._state.transaction() as connection:
            connection.execute("UPDATE operations SET phase = ? WHERE name = ?", (phase, run.name))

    def close(self) -> None:
        """Stop what runs; :meth:`resume` goes on with it."""
        self._closing = True
        for run in list(self._running.values()):
            run.stop.set()
        self._threads.shutdown(cancel_futures=True)

    def _submit(self, kind: str, run: Run) -> None:
        self._running[run.name] = run
        self._threads.submit(self._run, self._work[kind], run)

    def _run(self, work: Callable[[Run], dict[str, Any]], run: Run) -> None:
        try:
            response = work(run)
            run.step()
            self._end(run, {"response": response})
        except Cancelled:
            if not self._closing:
                self._end(run, _error(CANCELLED, "The operation was cancelled."))
        except OperationError as error:
            self._end(run, _error(error.code, str(error)))
        except ApiError as error:
            self._end(run, _error(_RPC_CODES.get(error.code, UNKNOWN), error.message))
        except Exception as error:
            log.exception("%s failed", run.name)
            self._end(run, _error(UNKNOWN, f"{type(error).__name__}: {error}"))

    def _end(self, run: Run, result: dict[str, Any]) -> None:
        run.pending, run.over = 0, True
        ended = {**run.current(), "done": True, **result}
        ended["metadata"]["endTime"] = timestamp()
        # Nobody sees the end before it is committed.
        with self._state.transaction() as connection:
            connection.execute("UPDATE operations SET resource = ?, done = 1 WHERE name = ?", (json.dumps(ended), run.name))
            if run.request.get("fault", {}).get("kind") == "vanish":
                connection.execute("DELETE FROM operations WHERE name = ?", (run.name,))
            connection.executemany(
                "INSERT INTO operation_logs VALUES (?, ?)", [(run.name, json.dumps(entry)) for entry in run.logs]
            )
        self._running.pop(run.name, None)
        run.ended.set()


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}
