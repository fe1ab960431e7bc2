"""The base classes of all operators that start a long-running operation: in a dataset, on a DICOM store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_dicom.assets import tell_outlets
from airflow_dicom.exceptions import (
    DicomArgumentError,
    DicomEmptyResult,
    DicomOperationError,
    DicomPartialFailure,
    DicomRepeatRefused,
    DicomUnexpectedCount,
    GoogleApiError,
    HealthcareApiError,
)
from airflow_dicom.links import dicom as links
from airflow_dicom.links.dicom import DicomLogsLink, DicomOperationLink, DicomStoreLink
from airflow_dicom.operation import ALREADY_EXISTS, Operation
from airflow_dicom.operators._dataset import HealthcareOperator
from airflow_dicom.operators._judging import JUDGED, JudgingOperator, api_refusal, operation_of_event, operation_result
from airflow_dicom.operators._store import StoreOperator
from airflow_dicom.operators._waiting import WaitingOperator
from airflow_dicom.resource_names import OperationName
from airflow_dicom.work.journal import Journal, State
from airflow_dicom.work.plan import Plan

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context

    from airflow_dicom.triggers.dicom import DicomOperationTrigger


#: The values of arguments that ask for nothing to be done when the operation has ended.
_NOTHING_TO_DO = (None, "None", False, "counters")


class OperationWork:
    """A long-running operation as :class:`~airflow_dicom.work.waiting.Waitable`.

    :param operation: the operation as last seen.
    :param operator: whose hook asks; it is made when it is needed: a task that resumes after its operation has ended needs none.
    """

    def __init__(self, operation: Operation, operator: OperationOperator) -> None:
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

    def is_named(self, name: str) -> bool:
        """Tell whether a name is the operation's."""
        return name == self.name

    def poll(self) -> str:
        """Ask once; return the counters, in words, if they have changed."""
        before, self.operation = self.operation, self._operator.get_operation(self.name)
        return f"{self.operation.progress()} ({self.name})" if self.operation.counters != before.counters else ""

    def cancel(self) -> None:
        """Ask the service to stop it."""
        self._operator.hook.cancel_operation(self.name)

    def trigger(self, **waiting: Any) -> DicomOperationTrigger:
        """Return the trigger that waits for it."""
        from airflow_dicom.triggers.dicom import DicomOperationTrigger

        return DicomOperationTrigger(operation=self.name, api_version=self._operator.api_version, **waiting)


class OperationOperator(HealthcareOperator, JudgingOperator, WaitingOperator[OperationWork]):
    """Start one long-running operation in a Healthcare dataset and wait for it.

    :param wait_for_completion: whether to wait for the end; ``False`` returns right after the start, for a
        :class:`~airflow_dicom.sensors.DicomOperationSensor`

    The other parameters are those of :class:`~airflow_dicom.operators._dataset.HealthcareOperator`,
    :class:`~airflow_dicom.operators._judging.JudgingOperator` and :class:`~airflow_dicom.operators._waiting.WaitingOperator`.
    """

    template_fields: Sequence[str] = (*JUDGED, *HealthcareOperator.template_fields)
    operator_extra_links: Sequence[BaseOperatorLink] = (DicomOperationLink(), DicomLogsLink())
    switches: ClassVar[Sequence[str]] = ("wait_for_completion",)

    #: The arguments that ask for something to be done when the operation has ended. A class adds to those of its bases.
    at_the_end: ClassVar[Sequence[str]] = ("expected_instances",)

    def __init__(self, *, wait_for_completion: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wait_for_completion = wait_for_completion

    # What an operator of its own may add to its plan.

    def check_delivery(self, context: Context, plan: Plan, operation: Operation) -> None:
        """Look at the destination of an operation that has ended, where the task asks for that.

        :raises DicomUnexpectedCount: something is missing there.
        """

    def counted(self, operation: Operation) -> dict[str, Any]:
        """Return what else the result says of an operation that has ended, beside its counters."""
        return {}

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
        if self.wait_for_completion:
            return
        for name in self._arguments_of("at_the_end"):
            value = getattr(self, name)
            if value not in _NOTHING_TO_DO:
                raise DicomArgumentError(
                    f"{name} is {value!r}, and wait_for_completion is False: nothing would come of it. Let this task wait, or give "
                    "the DicomOperationSensor that waits what it can judge."
                )

    def get_operation(self, name: str) -> Operation:
        """Return an operation as the API tells it."""
        return Operation.from_response(self.hook.get_operation(name))

    def _start(self, context: Context, plan: Plan, *journal_and_clock: Any) -> OperationWork:
        self.policy()  # before anything is sent
        return super()._start(context, plan, *journal_and_clock)

    def _submit(self, plan: Plan, journal: Journal) -> OperationWork:
        answer = self.hook.call(plan.method, repeatable=plan.repeat.may_be_resent, **plan.parameters)
        return OperationWork(Operation.from_response(answer), self)

    def _named(self, name: str) -> OperationWork:
        return OperationWork(Operation(str(OperationName.parse(name))), self)

    def _look_up(self, name: str) -> OperationWork:
        return OperationWork(self.get_operation(name), self)

    def _work_of_event(self, event: dict[str, Any]) -> OperationWork:
        if event["status"] == "timeout":
            return self._named(self._name_of_event(event))
        return OperationWork(operation_of_event(event), self)

    def _refuse_beside_running(self, plan: Plan) -> None:
        try:
            running = [one for one in self.hook.list_operations(str(self.dataset_name)) if not one.get("done")]
        except HealthcareApiError as error:
            self.log.warning("Whether an operation of an earlier try runs cannot be told: %s", error)
            return
        kind = f"{plan.method.rpartition('.')[2]}Dicom".lower()
        if same := [one["name"] for one in running if kind in str((one.get("metadata") or {}).get("apiMethodName")).lower()]:
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
            **({DicomOperationLink.key: DicomOperationLink.url(work.name)} if work.name else {}),
            **({DicomLogsLink.key: work.operation.logs_url} if work.operation.logs_url else {}),
            **plan.links,
        }

    def _result(self, context: Context, plan: Plan, work: OperationWork) -> dict[str, Any]:
        if self.wait_for_completion:
            self._judge(context, plan, work.operation)
        result = {**operation_result(work.operation), **plan.result, **self.counted(work.operation)}
        if self.wait_for_completion:
            tell_outlets(self, context, plan.outputs, result)
        return result

    def _judge(self, context: Context, plan: Plan, operation: Operation) -> None:
        self.log.info("%s (%s)", operation.progress(), operation.name)
        if operation.logs_url:
            links.show(self, context, {DicomLogsLink.key: operation.logs_url}, part_ends=True)
        if operation.failure and operation.logs_url:
            self.log.warning("Why %d instances failed: %s", operation.failure, operation.logs_url)
        if operation.error_code == ALREADY_EXISTS and self._doubt:
            message = f"{operation.error_message} ({self._doubt}: it may have written what is there)"
            operation = replace(operation, error_message=message)
        try:
            good = self.policy().judge(operation, plan.subject)
        except (DicomEmptyResult, DicomPartialFailure, DicomUnexpectedCount):
            self._say_what_is_missing(context, plan, operation)
            raise
        if not good:
            raise AirflowSkipException(f"{plan.subject}: no instance was handled (operation {operation.name}).")
        self.check_delivery(context, plan, operation)

    def _say_what_is_missing(self, context: Context, plan: Plan, operation: Operation) -> None:
        try:
            self.check_delivery(context, plan, operation)
        except DicomUnexpectedCount:
            raise
        except Exception as error:  # whatever Google's libraries raise: it must not hide how the operation has ended
            self.log.warning("What is missing cannot be told: %s", error)

    def _refusal(self, error: GoogleApiError, plan: Plan) -> Exception:
        return api_refusal(error, self._work.name if self._work is not None else plan.subject)


class DicomOperationOperator(StoreOperator, OperationOperator):
    """Start one long-running operation on a DICOM store and wait for it. Base class: an operator is a :meth:`plan` and its arguments.

    :param max_failures: how many instances may fail; ``None`` for any number. Given as a template that renders to ``None``, it is an
        error (templated)
    :param on_empty: what it means that the operation handled no instance: ``"fail"``, ``"skip"`` or ``"succeed"`` (templated)
    :param expected_instances: how many instances must be handled; ``None`` when nobody knows (templated)
    :param wait_for_completion: whether to wait for the end; ``False`` returns right after the start, for a
        :class:`~airflow_dicom.sensors.DicomOperationSensor`

    The other parameters are those of :class:`~airflow_dicom.operators._store.StoreOperator` and
    :class:`~airflow_dicom.operators._waiting.WaitingOperator`.
    """

    template_fields: Sequence[str] = ("dicom_store_id", "dicom_store", *OperationOperator.template_fields)
    operator_extra_links = (DicomStoreLink(), *OperationOperator.operator_extra_links)

    def _links(self, plan: Plan, work: OperationWork) -> dict[str, str]:
        return {DicomStoreLink.key: DicomStoreLink.url(self.store), **super()._links(plan, work)}
