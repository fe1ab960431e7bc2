"""The base class of all operators that start a long-running operation on a DICOM store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_dicom.exceptions import (
    DicomEmptyResult,
    DicomOperationError,
    DicomOperationNotFound,
    DicomPartialFailure,
    DicomRepeatRefused,
    DicomUnexpectedCount,
    GoogleApiError,
    HealthcareApiError,
)
from airflow_dicom.links import dicom as links
from airflow_dicom.links.dicom import DicomLogsLink, DicomOperationLink, DicomStoreLink
from airflow_dicom.operation import ALREADY_EXISTS, Operation
from airflow_dicom.operators._connection import as_int, check_on_empty
from airflow_dicom.operators._store import StoreOperator
from airflow_dicom.operators._waiting import WaitingOperator
from airflow_dicom.policy import Policy
from airflow_dicom.resource_names import OperationName
from airflow_dicom.work.journal import Journal, State
from airflow_dicom.work.plan import Plan

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context

    from airflow_dicom.hooks.healthcare import HealthcareHook
    from airflow_dicom.triggers.dicom import DicomOperationTrigger
    from airflow_dicom.typing import Templated


class OperationWork:
    """A long-running operation as :class:`~airflow_dicom.work.waiting.Waitable`.

    :param operation: the operation as last seen.
    :param operator: whose hook asks; it is made when it is needed: a task that resumes after its operation has ended needs none.
    """

    def __init__(self, operation: Operation, operator: DicomOperationOperator) -> None:
        self.operation = operation
        self._operator = operator

    @property
    def name(self) -> str:
        """The operation's name."""
        return self.operation.name

    @property
    def done(self) -> bool:
        """Whether it ended, in whatever way."""
        return self.operation.done

    @property
    def _hook(self) -> HealthcareHook:
        return self._operator.hook

    def poll(self) -> str:
        """Ask once; return the counters, in words, if they have changed."""
        before, self.operation = self.operation, Operation.from_response(self._hook.get_operation(self.name))
        return f"{self.operation.progress()} ({self.name})" if self.operation.counters != before.counters else ""

    def cancel(self) -> None:
        """Ask the service to stop it."""
        self._hook.cancel_operation(self.name)

    def trigger(self, **waiting: Any) -> DicomOperationTrigger:
        """Return the trigger that waits for it."""
        from airflow_dicom.triggers.dicom import DicomOperationTrigger

        return DicomOperationTrigger(operation=self.name, api_version=self._operator.api_version, **waiting)


class DicomOperationOperator(StoreOperator, WaitingOperator[OperationWork]):
    """Start one long-running operation on a DICOM store and wait for it. Base class; an operator of its own is a :meth:`plan`.

    .. code-block:: python

        class DicomReindexOperator(DicomOperationOperator):
            def plan(self, context):
                return Plan("dicomStores.reindex", str(self.store), body={}, subject=f"Reindexing of {self.store}")

    What it returns, and what it raises when the operation does not end as it should, is the same for all of them.

    :param max_failures: how many instances may fail; ``None`` for any number (templated)
    :param on_empty: what it means that the operation handled no instance: ``"fail"``, ``"skip"`` or ``"succeed"`` (templated)
    :param expected_instances: how many instances must be handled; ``None`` when nobody knows (templated)
    :param wait_for_completion: whether to wait for the end; ``False`` returns right after the start, for a
        :class:`~airflow_dicom.sensors.DicomOperationSensor`

    The other parameters are those of :class:`~airflow_dicom.operators._store.StoreOperator` and
    :class:`~airflow_dicom.operators._waiting.WaitingOperator`.
    """

    template_fields: Sequence[str] = (*StoreOperator.template_fields, "max_failures", "on_empty", "expected_instances")
    operator_extra_links: Sequence[BaseOperatorLink] = (DicomStoreLink(), DicomOperationLink(), DicomLogsLink())
    checks = {"on_empty": check_on_empty}

    def __init__(
        self,
        *,
        max_failures: int | Templated | None = 0,
        on_empty: Templated = "fail",
        expected_instances: int | Templated | None = None,
        wait_for_completion: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_failures: Any = max_failures
        self.on_empty: Any = on_empty
        self.expected_instances: Any = expected_instances
        self.wait_for_completion = wait_for_completion

    # What an operator of its own may add to its plan.

    def check_delivery(self, context: Context, plan: Plan, operation: Operation) -> None:
        """Look at the destination of an operation that has ended, where the task asks for that.

        :raises DicomUnexpectedCount: something is missing there.
        """

    def policy(self) -> Policy:
        """Return how to judge the operation's end."""
        return Policy(
            max_failures=as_int(self.max_failures, "max_failures"),
            on_empty=self.on_empty,
            expected_instances=as_int(self.expected_instances, "expected_instances"),
        )

    # What they share.

    def execute(self, context: Context) -> dict[str, Any]:
        """Start the operation and wait for it.

        :return: ``{"operation", "done", "success", "failure", "logs_url", …}`` and what the plan's ``result`` says.
        :raises DicomArgumentError: an argument cannot be used.
        :raises HealthcareApiError: the API refused.
        :raises DicomRepeatRefused: an earlier try may have done the same, and once more would add to it.
        :raises DicomOperationError: the operation did not end as it should; see :meth:`~airflow_dicom.policy.Policy.judge`.
        """
        result: dict[str, Any] = super().execute(context)
        return result

    def _check_arguments(self) -> None:
        super()._check_arguments()
        self.policy()

    def _project_id(self) -> str:
        if not self.project_id and self._work is not None:
            # To ask the connection again would load Google's libraries, which takes longer than all that is left to do.
            return OperationName.parse(self._work.name).project_id
        return super()._project_id()

    def _submit(self, plan: Plan, journal: Journal) -> OperationWork:
        answer = self.hook.call(plan.method, repeatable=plan.repeat.may_be_resent, **plan.parameters)
        return OperationWork(Operation.from_response(answer), self)

    def _look_up(self, name: str) -> OperationWork:
        return OperationWork(Operation.from_response(self.hook.get_operation(str(OperationName.parse(name)))), self)

    def _work_of_event(self, event: dict[str, Any]) -> OperationWork:
        return OperationWork(operation_of_event(event), self)

    def _refuse_beside_running(self, plan: Plan) -> None:
        try:
            running = [one for one in self.hook.list_operations(str(self.store.dataset)) if not one.get("done")]
        except HealthcareApiError as error:
            self.log.warning("Whether an operation of an earlier try runs cannot be told: %s", error)
            return
        kind = f"{plan.method.rpartition('.')[2]}Dicom".lower()
        if same := [one["name"] for one in running if kind in str(one["metadata"].get("apiMethodName")).lower()]:
            raise DicomRepeatRefused(
                f"{plan.subject}: not sent, since {', '.join(same)} runs in the dataset and may be what an earlier try of this task "
                "started: before Airflow 3.3 nobody can tell. Wait for its end, look at the destination, then clear the task."
            )

    def _state(self, work: OperationWork, plan: Plan, context: Context) -> State:
        operation = work.operation
        if not operation.done:
            return State.STOPS if operation.cancel_requested else State.RUNS
        try:
            self.policy().judge(operation, plan.subject)
        except DicomOperationError:
            return State.FAILED if operation.success else State.FAILED_EMPTY
        try:
            self.check_delivery(context, plan, operation)
        except DicomUnexpectedCount as error:
            self.log.warning("%s", error)
            return State.UNDELIVERED
        return State.DELIVERED

    def _links(self, plan: Plan, work: OperationWork) -> dict[str, str]:
        return {
            DicomStoreLink.key: DicomStoreLink.url(self.store),
            DicomOperationLink.key: DicomOperationLink.url(work.name),
            **plan.links,
        }

    def _announce(self, context: Context, plan: Plan, work: OperationWork) -> None:
        super()._announce(context, plan, work)
        self._announce_logs(context, work.operation)

    def _announce_logs(self, context: Context, operation: Operation) -> None:
        if operation.logs_url:
            links.show(self, context, {DicomLogsLink.key: operation.logs_url})
            if operation.failure:
                self.log.warning("Why %d instances failed: %s", operation.failure, operation.logs_url)

    def _waits(self) -> bool:
        return self.wait_for_completion

    def _judge(self, context: Context, plan: Plan, work: OperationWork) -> dict[str, Any]:
        operation = work.operation
        self.log.info("%s (%s)", operation.progress(), operation.name)
        self._announce_logs(context, operation)
        if operation.error_code == ALREADY_EXISTS and self._doubt:
            operation = replace(
                operation, error_message=f"{operation.error_message} ({self._doubt}: it may have written what is there)"
            )
        try:
            good = self.policy().judge(operation, plan.subject)
        except (DicomEmptyResult, DicomPartialFailure, DicomUnexpectedCount):
            self.check_delivery(context, plan, operation)  # which can say what is missing
            raise
        if not good:
            raise AirflowSkipException(f"{plan.subject}: no instance was handled (operation {operation.name}).")
        self.check_delivery(context, plan, operation)
        return self._result(plan, work)

    def _result(self, plan: Plan, work: OperationWork) -> dict[str, Any]:
        return {**operation_result(work.operation), **plan.result}

    def _refusal(self, error: GoogleApiError, plan: Plan) -> Exception:
        return api_refusal(error, self._work.name if self._work is not None else plan.subject)


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
    raise api_refusal(HealthcareApiError(event["message"], status_code=event["status_code"]), event["name"])


def api_refusal(error: GoogleApiError, name: str) -> Exception:
    """Return the exception for a poll that the API refused: a 404 has a type and a text of its own."""
    if error.status_code != 404 or "/operations/" not in name:
        return error
    return DicomOperationNotFound(
        f"The Healthcare API does not know the operation {name}. It forgets operations about 30 days after their end; "
        f"look at the destination for what it did. ({error})"
    )
