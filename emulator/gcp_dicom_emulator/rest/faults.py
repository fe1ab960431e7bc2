"""Faults on request, each counted, so that a test can assert that its fault happened.

In Python: ``emulator.faults.add(Fault(...))``. Over HTTP: ``POST``, ``GET`` and ``DELETE`` on ``/_emulator/faults``, with a fault's
fields as JSON.
"""

from __future__ import annotations

import fnmatch
import json
import threading
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from aiohttp import web

from gcp_dicom_emulator.rest.endpoints import Endpoint
from gcp_dicom_emulator.rest.errors import ApiError

Kind = Literal[
    "status", "reset", "delay", "lose_answer", "hold_answer", "slow", "fail_instances", "end_in_error", "hang", "vanish"
]

#: Faults of requests; the others are faults of operations.
REQUEST_KINDS = ("status", "reset", "delay", "lose_answer", "hold_answer")
OPERATION_KINDS = ("slow", "fail_instances", "end_in_error", "hang", "vanish")
#: Those that a BigQuery job, which has no instances, can have.
JOB_KINDS = ("slow", "end_in_error", "hang")


@dataclass
class Fault:
    """What goes wrong, and when.

    :param kind: for a request: ``status`` answers ``code`` without doing anything; ``reset`` closes the connection without doing
        anything; ``delay`` does the work after ``seconds``; ``lose_answer`` does the work and closes the connection; ``hold_answer``
        does the work and answers after ``seconds``. For an operation, or a BigQuery job, that the matching request starts: ``slow``
        lets it take at least ``seconds``; ``end_in_error`` ends it with the ``google.rpc.Code`` ``code`` (a job: as
        ``backendError``); ``hang`` does not end it before the faults are removed or the emulator restarts. For an operation only:
        ``fail_instances`` fails the first ``code`` instances; ``vanish`` does the work and forgets the operation.
    :param method: a glob over method ids, e.g. ``*.dicomStores.import``.
    :param resource: a glob over the path and query, as they were sent: percent-encoded.
    :param times: how often it happens; ``None`` for always.
    :param code: an HTTP status code, a ``google.rpc.Code`` or a number of instances, as the kind says.
    :param seconds: of a ``delay`` or ``slow``; of a ``status``, its ``Retry-After``.
    :param fired: how often it happened.
    """

    kind: Kind
    method: str = "*"
    resource: str = "*"
    times: int | None = 1
    code: int = 503
    seconds: float = 0.0
    fired: int = 0

    def matches(self, method_id: str, path: str) -> bool:
        """Tell whether it is to happen to this request."""
        left = self.times is None or self.fired < self.times
        return left and fnmatch.fnmatchcase(method_id, self.method) and fnmatch.fnmatchcase(path, self.resource)


class Faults:
    """The faults that are to happen."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Let something go wrong from now on; return the fault, whose ``fired`` counts.

        :raises ValueError: there is no such kind, or a field makes no sense.
        """
        _check(fault)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        with self._lock:
            self._faults.clear()

    def all(self) -> list[Fault]:
        """Return all that were added, in that order."""
        with self._lock:
            return list(self._faults)

    @property
    def hanging(self) -> bool:
        """Whether what hangs is to go on hanging."""
        with self._lock:
            return any(fault.kind == "hang" for fault in self._faults)

    def take(self, kinds: tuple[str, ...], method_id: str, path: str) -> Fault | None:
        """Return the first fault that is to happen to this request, and count it."""
        with self._lock:
            for fault in self._faults:
                if fault.kind in kinds and fault.matches(method_id, path):
                    fault.fired += 1
                    return fault
        return None

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints that add, list and remove faults."""
        path = "/_emulator/faults"
        return [Endpoint("POST", path, self._post), Endpoint("GET", path, self._get), Endpoint("DELETE", path, self._delete)]

    async def _post(self, request: web.Request) -> web.Response:
        try:
            self.add(_parse(await request.json()))
        except (TypeError, ValueError) as error:
            raise ApiError(400, str(error)) from error
        return await self._get(request)

    async def _delete(self, request: web.Request) -> web.Response:
        self.clear()
        return await self._get(request)

    async def _get(self, _: web.Request) -> web.Response:
        return web.json_response({"faults": [asdict(fault) for fault in self.all()]})


def _check(fault: Fault) -> None:
    if fault.kind not in (*REQUEST_KINDS, *OPERATION_KINDS):
        raise ValueError(f"kind is {fault.kind!r}; it is one of {', '.join((*REQUEST_KINDS, *OPERATION_KINDS))}.")
    for name in ("method", "resource"):
        if not isinstance(getattr(fault, name), str):
            raise ValueError(f"{name} is {getattr(fault, name)!r}; it must be text.")
    if fault.times is not None and (not isinstance(fault.times, int) or isinstance(fault.times, bool) or fault.times < 0):
        raise ValueError(f"times is {fault.times!r}; it must be a whole number that is not negative, or null for always.")
    if not isinstance(fault.seconds, (int, float)) or not 0 <= fault.seconds < float("inf"):
        raise ValueError(f"seconds is {fault.seconds!r}; it must be a number that is not negative.")
    if not isinstance(fault.code, int) or (fault.kind == "status" and not 200 <= fault.code <= 599):
        raise ValueError(f"code is {fault.code!r}; it must be a number, and of a status one from 200 to 599.")


def _parse(body: Any) -> Fault:
    known = {field.name for field in fields(Fault)} - {"fired"}
    if not isinstance(body, dict) or not body.keys() <= known:
        raise ValueError(f"A fault is an object with the fields {', '.join(sorted(known))}, not {json.dumps(body)}.")
    return Fault(**body)
