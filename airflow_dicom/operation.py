"""A long-running operation of the Healthcare API as data.

Source: ``projects.locations.datasets.operations`` of the Healthcare API's discovery document. No Airflow, no Google library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_dicom.exceptions import HealthcareApiTransientError
from airflow_dicom.resource_names import OperationName

#: ``google.rpc.Code`` of an operation's ``error``; not the HTTP status codes.
CANCELLED = 1
INVALID_ARGUMENT = 3
ALREADY_EXISTS = 6

#: The longest texts that are kept: a trigger's event stays below 2 KB whatever the service sends.
_MAX_MESSAGE = 500
_MAX_URL = 800


def join_names(names: Sequence[str]) -> str:
    """Return one name for several operations of one dataset: their ids, with commas between them, are its last part."""
    if not names:
        return ""
    return f"{names[0].rpartition('/')[0]}/{','.join(name.rpartition('/')[2] for name in names)}"


def split_names(name: str) -> list[str]:
    """Return the names that :func:`join_names` has joined; a single operation's name is joined, too."""
    dataset, _, ids = name.rpartition("/")
    return [f"{dataset}/{one}" for one in ids.split(",")]


def operation_name(operation: Any) -> str:
    """Return the name of an operation, which is given as such, or as what an operator has returned.

    :raises ValueError: it is not a name.
    """
    name: Any = operation.get("operation") if isinstance(operation, Mapping) else operation
    return str(OperationName.parse(name))


@dataclass(frozen=True)
class Operation:
    """One operation as ``operations.get`` shows it.

    :param name: ``projects/…/locations/…/datasets/…/operations/…``.
    :param done: whether it ended, in whatever way.
    :param success: instances that were handled.
    :param failure: instances that could not be.
    :param pending: instances still to come, as far as the service tells.
    :param error_code: ``google.rpc.Code`` of ``error``; ``None`` when there is none.
    :param error_message: the text of ``error``.
    :param logs_url: where Cloud Logging shows the errors of single instances.
    :param cancel_requested: whether somebody asked the service to stop it.
    :param create_time: when it was started, by the service's clock (RFC 3339).
    :param error_is_of_one: whether ``error`` is that of one of several operations, and says more than the counters of all do.
    """

    name: str
    done: bool = False
    success: int = 0
    failure: int = 0
    pending: int = 0
    error_code: int | None = None
    error_message: str = ""
    logs_url: str = ""
    cancel_requested: bool = False
    create_time: str = ""
    error_is_of_one: bool = False

    @classmethod
    def from_response(cls, response: Mapping[str, Any]) -> Operation:
        """Read an answer of the API. Everything but ``name`` may be absent: the service omits zeros and what it does not know yet.

        :raises HealthcareApiTransientError: it is something else, such as the answer of a proxy.
        """
        if not isinstance(response.get("name"), str):
            raise HealthcareApiTransientError(f"The answer is not an operation: {str(response)[:200]}")
        metadata = response.get("metadata") or {}
        counter = metadata.get("counter") or {}
        error = response.get("error")
        logs_url = metadata.get("logsUrl") or ""
        return cls(
            name=response["name"],
            done=bool(response.get("done")),
            # int64 comes as a string.
            success=int(counter.get("success") or 0),
            failure=int(counter.get("failure") or 0),
            pending=int(counter.get("pending") or 0),
            error_code=int(error.get("code") or 0) if error else None,
            error_message=str(error.get("message") or "")[:_MAX_MESSAGE] if error else "",
            logs_url=logs_url if len(logs_url) <= _MAX_URL else "",
            cancel_requested=bool(metadata.get("cancelRequested")),
            create_time=str(metadata.get("createTime") or "")[:40],
        )

    @classmethod
    def together(cls, operations: Sequence[Operation]) -> Operation:
        """Return several operations of one dataset as if they were one: their counters added, and the worst of their errors.

        Of none, it is one without a name that is done.
        """
        if len(operations) == 1:
            return operations[0]
        if not operations:
            return cls("", done=True)
        failed = [one for one in operations if one.error_code is not None]
        # An error that says no more than the counters do comes last.
        worst = min(failed, key=lambda one: one.error_is_counted, default=None)
        with_logs = next((one for one in operations if one.failure), operations[0])
        return cls(
            name=join_names([one.name for one in operations if one.name]),
            done=all(one.done for one in operations),
            success=sum(one.success for one in operations),
            failure=sum(one.failure for one in operations),
            pending=sum(one.pending for one in operations),
            error_code=worst.error_code if worst else None,
            error_message=f"{worst.name}: {worst.error_message}"[:_MAX_MESSAGE] if worst else "",
            logs_url=with_logs.logs_url,
            cancel_requested=any(one.cancel_requested for one in operations),
            create_time=min(one.create_time for one in operations),
            error_is_of_one=worst is not None and not worst.error_is_counted,
        )

    @property
    def error_is_counted(self) -> bool:
        """Whether ``error`` says no more than that single instances failed, which the counters tell.

        The documentation shows failed instances both with ``error`` and with ``response``.
        """
        return self.error_code == INVALID_ARGUMENT and self.failure > 0 and not self.error_is_of_one

    def progress(self, previous: Operation | None = None, seconds: float = 0) -> str:
        """Return the counters in words, with the rate since ``previous``, which was seen ``seconds`` ago."""
        text = f"{self.success} done, {self.failure} failed"
        if self.pending:
            text += f", {self.pending} pending"
        if previous is not None and seconds > 0:
            rate = (self.success + self.failure - previous.success - previous.failure) / seconds
            text += f" ({rate:.1f} instances/s)"
        return text

    @property
    def counters(self) -> tuple[int, int, int]:
        """``success``, ``failure``, ``pending``: what changes while the operation runs."""
        return self.success, self.failure, self.pending
