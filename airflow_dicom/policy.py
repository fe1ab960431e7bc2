"""The policy that judges how an operation ended. No Airflow, no Google library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from airflow_dicom.exceptions import (
    DicomArgumentError,
    DicomEmptyResult,
    DicomOperationCancelled,
    DicomOperationError,
    DicomPartialFailure,
    DicomUnexpectedCount,
)
from airflow_dicom.operation import CANCELLED, Operation

OnEmpty = Literal["fail", "skip", "succeed"]

#: What to do about an ``error``, by its ``google.rpc.Code``.
_NEXT_STEPS = {
    5: "Check the names in the request: something in it does not exist, or the service agent may not see it.",
    6: "The destination exists already: look at what is there, and let write_disposition say what to do with it.",
    7: "Give the permission to the service agent of the store's project: it does the work, not Airflow's account.",
    8: "A quota is used up: retry the task later, or run fewer at a time, by a pool.",
    14: "The service could not do it just now: retry the task.",
}

#: The same for all other codes.
_NEXT_STEP = "Open the logs for the cause. If it is a fault of the service, retry the task."

_RAISE_MAX_FAILURES = (
    "Open the logs for the cause of each. If such failures are acceptable, raise max_failures (None: any number)."
)
_LOOK_AT_THE_SOURCE = (
    "Check that the source names objects, or the filter instances, that exist: the service ignores a filter's lines that match "
    "nothing. If an empty result is acceptable, set on_empty to 'skip' or 'succeed'."
)
_COMPARE = "The service ignores a filter's lines that match nothing. Compare the filter with the store's instances."


@dataclass(frozen=True)
class Policy:
    """What counts as a good end of an operation.

    :param max_failures: how many instances may fail; ``None`` for any number.
    :param on_empty: what it means that no instance was handled at all.
    :param expected_instances: how many instances must have been handled; ``None`` when nobody knows.
    """

    max_failures: int | None = 0
    on_empty: OnEmpty = "fail"
    expected_instances: int | None = None

    def __post_init__(self) -> None:
        if self.on_empty not in get_args(OnEmpty):
            raise DicomArgumentError(f"on_empty is {self.on_empty!r}; it can be 'fail', 'skip' or 'succeed'.")
        for name in ("max_failures", "expected_instances"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise DicomArgumentError(f"{name} is {value}; it must be 0 or more, or None.")

    def judge(self, operation: Operation, subject: str) -> bool:
        """Return ``True`` for a good end and ``False`` when the task is to be skipped.

        :param operation: an operation that is done.
        :param subject: what was asked for, with its URIs, for the text of exceptions; empty where nobody knows.
        :raises DicomOperationCancelled: it was cancelled.
        :raises DicomOperationError: it ended in an error that is more than failed instances.
        :raises DicomPartialFailure: more than ``max_failures`` instances failed.
        :raises DicomEmptyResult: it handled nothing and ``on_empty`` is ``"fail"``.
        :raises DicomUnexpectedCount: it handled another number of instances than expected.
        """
        if operation.error_code is not None:
            self._judge_error(operation, operation.error_code, subject)
        handled = operation.success + operation.failure
        if operation.failure and self.max_failures is not None and operation.failure > self.max_failures:
            what = f"{operation.failure} instances failed; max_failures allows {self.max_failures}."
            raise DicomPartialFailure(_explain(what, operation, subject, _RAISE_MAX_FAILURES), operation)
        if not handled and self.on_empty == "fail":
            raise DicomEmptyResult(_explain("No instance was handled.", operation, subject, _LOOK_AT_THE_SOURCE), operation)
        if self.expected_instances is not None and handled != self.expected_instances:
            what = f"{handled} instances were handled; expected_instances is {self.expected_instances}."
            raise DicomUnexpectedCount(_explain(what, operation, subject, _COMPARE), operation)
        return handled > 0 or self.on_empty == "succeed"

    def _judge_error(self, operation: Operation, code: int, subject: str) -> None:
        if code == CANCELLED:
            next_step = "What it wrote before stays. Clear the task to run it again."
            raise DicomOperationCancelled(_explain("The operation was cancelled.", operation, subject, next_step), operation)
        if operation.error_is_counted:
            return
        next_step = _NEXT_STEPS.get(code, _NEXT_STEP)
        raise DicomOperationError(_explain("The operation ended in an error.", operation, subject, next_step), operation)


def _explain(what: str, operation: Operation, subject: str, next_step: str) -> str:
    request = [f"Request: {subject}"] if subject else []
    lines = [what, *request, f"Operation: {operation.name}", f"Counters: {operation.progress()}"]
    if operation.error_code is not None:
        lines.append(f"Error: code {operation.error_code}, {operation.error_message}")
    if operation.logs_url:
        lines.append(f"Logs: {operation.logs_url}")
    return "\n".join([*lines, next_step])
