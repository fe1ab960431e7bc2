"""Which failures are worth another try. Needs Airflow 3.3."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_dicom.exceptions import (
    DicomArgumentError,
    DicomNotApproved,
    DicomOperationError,
    DicomRepeatRefused,
    GoogleApiError,
)

try:
    from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy
except ImportError as error:
    raise ImportError("DicomRetryPolicy needs Airflow 3.3 or newer; before that, there is only retries.") from error

if TYPE_CHECKING:
    from airflow.sdk import Context

#: What says of itself that a person must do something first.
_NEEDS_A_PERSON = (DicomArgumentError, DicomNotApproved, DicomRepeatRefused)
#: HTTP statuses of requests that are refused again: wrong, about nothing, about what exists, not done by the service. A role (401,
#: 403) may be given meanwhile, and then the retry goes on with what runs.
_REFUSED_AGAIN = frozenset({400, 404, 409, 501})
#: The same of an operation's ``google.rpc.Code``, with PERMISSION_DENIED: the operation is over.
_FAILS_AGAIN = frozenset({3, 5, 6, 7, 12})
_RESOURCE_EXHAUSTED, _TOO_MANY_REQUESTS = 8, 429


class DicomRetryPolicy(RetryPolicy):
    """Do not try again what cannot succeed; wait long where a quota is used up.

    Give it to tasks as ``retry_policy``, with ``retries``. What it says nothing about is tried again as ``retries`` and
    ``retry_delay`` say: failed instances, empty results, answers that did not come, operations that ended in a failure of the service.

    :param quota_delay: how long to wait after code 8 (RESOURCE_EXHAUSTED) of an operation, or status 429.
    """

    def __init__(self, quota_delay: timedelta = timedelta(minutes=30)) -> None:
        self.quota_delay = quota_delay

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide by what an exception of this package says."""
        code = exception.operation.error_code if isinstance(exception, DicomOperationError) and exception.operation else None
        status = _status(exception)
        if code == _RESOURCE_EXHAUSTED or status == _TOO_MANY_REQUESTS:
            return RetryDecision.retry(self.quota_delay, "a quota is used up")
        if isinstance(exception, _NEEDS_A_PERSON):
            return RetryDecision.fail(f"{type(exception).__name__}: another try would end the same")
        if type(exception) is DicomOperationError and code in _FAILS_AGAIN:  # beside failed instances, a code says nothing more
            return RetryDecision.fail(f"the operation ended with code {code}")
        if status in _REFUSED_AGAIN:
            return RetryDecision.fail(f"the service refused with status {status}")
        return RetryDecision.default()


def _status(exception: BaseException | None) -> int | None:
    """Return the HTTP status of a refusal, or of the one that led to an exception."""
    while exception is not None and not isinstance(exception, GoogleApiError):
        exception = exception.__cause__
    return exception.status_code if exception is not None else None
