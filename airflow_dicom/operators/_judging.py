"""How an operation's end is judged, by its own operator or by a sensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from airflow_dicom.exceptions import DicomOperationNotFound, GoogleApiError, HealthcareApiError
from airflow_dicom.operation import Operation
from airflow_dicom.operators._connection import NOT_GIVEN, ConnectionOperator, as_count, as_int, check_on_empty
from airflow_dicom.policy import Policy

if TYPE_CHECKING:
    from airflow_dicom.typing import Templated

#: The arguments that judge.
JUDGED = ("max_failures", "on_empty", "expected_instances")


class JudgingOperator(ConnectionOperator):
    """An operator that judges how an operation ended.

    :param max_failures: how many instances may fail; ``None`` for any number. Given as a template that renders to ``None``, it is an
        error (templated)
    :param on_empty: what it means that the operation handled no instance: ``"fail"``, ``"skip"`` or ``"succeed"`` (templated)
    :param expected_instances: how many instances must be handled; ``None`` when nobody knows (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._connection.ConnectionOperator`.
    """

    template_fields: Sequence[str] = (*JUDGED, *ConnectionOperator.template_fields)
    checks = {
        "on_empty": check_on_empty,
        "max_failures": lambda value: as_count(value, "max_failures"),
        "expected_instances": lambda value: as_count(value, "expected_instances"),
    }

    def __init__(
        self,
        *,
        max_failures: int | Templated | None = 0,
        on_empty: Templated = "fail",
        expected_instances: int | Templated | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_failures: Any
        # None in a DAG's file means any number, also in that of a mapped task: partial(max_failures=None).
        self._narrow(max_failures=NOT_GIVEN if max_failures is None else max_failures)
        self.on_empty: Any = on_empty
        self.expected_instances: Any = expected_instances

    def policy(self) -> Policy:
        """Return how to judge the operation's end."""
        return Policy(
            max_failures=as_int(self.max_failures, "max_failures"),
            on_empty=self.on_empty,
            expected_instances=as_int(self.expected_instances, "expected_instances"),
        )


def operation_result(operation: Operation) -> dict[str, Any]:
    """Return the part of the result that operators and sensor share."""
    return {
        "operation": operation.name,
        "done": operation.done,
        "success": operation.success,
        "failure": operation.failure,
        "logs_url": operation.logs_url,
    }


def operation_of_event(event: dict[str, Any]) -> Operation:
    """Return the operation of a trigger's event, whichever release wrote it; at the deadline, all that is known is its name.

    :raises HealthcareApiError: the API refused to tell, as it would have in the worker.
    """
    if event["status"] == "done":
        known = {field.name for field in fields(Operation)}
        return Operation(**{name: value for name, value in event["operation"].items() if name in known})
    if event["status"] == "timeout":
        return Operation(event["name"])
    raise HealthcareApiError(event["message"], status_code=event["status_code"])


def api_refusal(error: GoogleApiError, name: str) -> Exception:
    """Return the exception for a poll that the API refused: a 404 has a type and a text of its own."""
    if error.status_code != 404 or "/operations/" not in name:
        return error
    answer = str(error).splitlines()[0]  # what to do about it is said here
    return DicomOperationNotFound(
        f"The Healthcare API does not know the operation {name}. It forgets operations about 30 days after their end; "
        f"look at the destination for what it did. ({answer})"
    )
