"""Errors as Google's REST APIs send them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: HTTP status code -> (canonical status, the ``reason`` that Cloud Storage and BigQuery put into ``errors[]``).
_CANONICAL: dict[int, tuple[str, str]] = {
    400: ("INVALID_ARGUMENT", "invalid"),
    401: ("UNAUTHENTICATED", "authError"),
    403: ("PERMISSION_DENIED", "forbidden"),
    404: ("NOT_FOUND", "notFound"),
    405: ("INVALID_ARGUMENT", "httpMethodNotAllowed"),
    409: ("ALREADY_EXISTS", "duplicate"),
    411: ("INVALID_ARGUMENT", "required"),
    412: ("FAILED_PRECONDITION", "conditionNotMet"),
    416: ("OUT_OF_RANGE", "requestedRangeNotSatisfiable"),
    429: ("RESOURCE_EXHAUSTED", "rateLimitExceeded"),
    499: ("CANCELLED", "cancelled"),
    500: ("INTERNAL", "internalError"),
    501: ("UNIMPLEMENTED", "notImplemented"),
    503: ("UNAVAILABLE", "backendError"),
    504: ("DEADLINE_EXCEEDED", "backendError"),
    507: ("RESOURCE_EXHAUSTED", "quotaExceeded"),
}


def canonical_status(code: int) -> str:
    """Return the name in ``google.rpc.Code`` of an HTTP status code."""
    return _CANONICAL.get(code, ("UNKNOWN", "unknown"))[0]


class ApiError(Exception):
    """An answer with an error envelope.

    :param code: the HTTP status code.
    :param message: what was wrong, where, and what to do.
    :param status: the canonical status; by default the usual one for ``code``.
    :param reason: the ``errors[].reason`` of Cloud Storage and BigQuery; by default the usual one for ``code``.
    :param details: ``google.rpc`` detail messages, each with an ``@type``.
    :param headers: further headers of the answer.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: str | None = None,
        reason: str | None = None,
        details: list[dict[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        usual_status, usual_reason = _CANONICAL.get(code, ("UNKNOWN", "unknown"))
        self.code = code
        self.message = message
        self.status = status or usual_status
        self.reason = reason or usual_reason
        self.details = details or []
        self.headers = headers or {}

    def envelope(self) -> dict[str, Any]:
        """Return the body of the answer."""
        error: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "status": self.status,
            "errors": [{"message": self.message, "domain": "global", "reason": self.reason}],
        }
        if self.details:
            error["details"] = self.details
        return {"error": error}
