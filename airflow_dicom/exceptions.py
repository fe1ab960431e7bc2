"""What the operators, the sensor, the hooks and the trigger raise; the same types in synchronous and deferrable mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from airflow_dicom.operation import Operation


class DicomError(Exception):
    """Base of everything this package raises on purpose."""


class DicomArgumentError(DicomError, ValueError):
    """An operator's argument cannot be used; the text names it, its value and what is accepted."""


class GoogleApiError(DicomError):
    """An API of Google refused a request, or could not be reached.

    :param message: what was asked for, what came back, and what to do.
    :param status_code: the HTTP status; ``None`` when there was no answer.
    :param retry_after: seconds that the answer asks to wait.
    :param reason: what the service itself said; empty when there was no answer.
    """

    #: Whether the same request was sent before, and its answer was lost: then a refusal may be about what that one has done.
    after_lost_answer = False

    #: What to do about a refusal, by its HTTP status: the end of the message.
    next_steps: ClassVar[Mapping[int, str]] = {}

    def __init__(
        self, message: str, *, status_code: int | None = None, retry_after: float | None = None, reason: str = ""
    ) -> None:
        step = self.next_steps.get(status_code or 0, "")
        super().__init__(message if step in message else f"{message}\n{step}")
        self.status_code = status_code
        self.retry_after = retry_after
        self.reason = reason


class GoogleApiTransientError(GoogleApiError):
    """An answer that says nothing about the request itself: 408, 425, 429, 5xx, a lost connection, a timeout, a proxy's page."""


class HealthcareApiError(GoogleApiError):
    """The Healthcare API refused a request, or could not be reached."""

    next_steps = {
        400: "Correct what the message names: an argument of the task, or the body of the request.",
        401: "Check the credentials of the connection.",
        403: "Check the spelling of the resource: the service says the same of one that does not exist. Then check the roles of "
        "Airflow's account on the dataset.",
        404: "Check the spelling of the resource, or create it first.",
        409: "Take another name, or use what exists.",
        412: "Somebody changed the resource meanwhile: read it again, and repeat the change.",
        501: "Test this against Google Cloud: the emulator does not do it.",
    }


class HealthcareApiTransientError(HealthcareApiError, GoogleApiTransientError):
    """An answer of the Healthcare API that says nothing about the request itself."""

    next_steps = {}


class BigQueryApiError(GoogleApiError):
    """BigQuery refused a request, or could not be reached."""


class BigQueryApiTransientError(BigQueryApiError, GoogleApiTransientError):
    """An answer of BigQuery that says nothing about the request itself."""


class PubSubApiError(GoogleApiError):
    """Pub/Sub refused a request, or could not be reached."""


class PubSubApiTransientError(PubSubApiError, GoogleApiTransientError):
    """An answer of Pub/Sub that says nothing about the request itself."""


class DicomOperationError(DicomError):
    """An operation did not end as it should have.

    :param message: everything a person needs: the operation, its counters and error, where the logs are, what to do next.
    :param operation: the operation as last seen; ``None`` when it was never seen.
    """

    def __init__(self, message: str, operation: Operation | None = None) -> None:
        super().__init__(message)
        self.operation = operation


class DicomOperationCancelled(DicomOperationError):
    """Somebody cancelled the operation. It may have done a part of its work."""


class DicomOperationTimeout(DicomOperationError):
    """The operation was still running at the task's deadline."""


class DicomOperationNotFound(DicomOperationError):
    """The API does not know the operation: it ended more than 30 days ago, or the name is wrong."""


class DicomRepeatRefused(DicomOperationError):
    """An earlier try has sent a request, or may have, that must not be sent twice: it would add rows or instances again.

    Look at what the text names. A clear of the task after that sends the request.
    """


class DicomNotApproved(DicomError):
    """A person had to approve the work, and did not, or has approved something else than what is there now."""


class DicomPartialFailure(DicomOperationError):
    """More instances failed than ``max_failures`` allows."""


class DicomEmptyResult(DicomOperationError):
    """The operation, or the query of a filter, found nothing, and ``on_empty`` is ``"fail"``."""


class DicomUnexpectedCount(DicomOperationError):
    """The operation handled another number of instances than ``expected_instances``."""


class FilterFileError(DicomError):
    """A filter file cannot be made of the query's result."""
