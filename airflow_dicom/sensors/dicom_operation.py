"""Wait for an operation that another task, or another program, started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_dicom.exceptions import DicomArgumentError, GoogleApiError
from airflow_dicom.links import dicom as links
from airflow_dicom.links.dicom import DicomLogsLink, DicomOperationLink
from airflow_dicom.operation import Operation, operation_name
from airflow_dicom.operators._dataset import HealthcareApiOperator
from airflow_dicom.operators._judging import JUDGED, JudgingOperator, api_refusal, operation_of_event, operation_result
from airflow_dicom.sensors._from_trigger import forget_earlier_tries, start_trigger_args
from airflow_dicom.sensors._polling import PollingSensor

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_dicom.triggers.dicom import DicomOperationTrigger
    from airflow_dicom.typing import Templated


class DicomOperationSensor(JudgingOperator, HealthcareApiOperator, PollingSensor):
    """Wait for a long-running operation of the Healthcare API and judge how it ended (``operations.get``).

    ``poke_interval``, ``timeout``, ``soft_fail`` and ``mode`` mean what they mean for every sensor, deferrable or not: an operation
    that ended badly fails the task whatever ``soft_fail`` says, only a timeout is soft. The operation is never cancelled.

    :param operation: the operation's name, or what an operator with ``wait_for_completion=False`` returned (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._judging.JudgingOperator`,
    :class:`~airflow_dicom.operators._dataset.HealthcareApiOperator` and :class:`~airflow_dicom.sensors._polling.PollingSensor`.
    """

    template_fields: Sequence[str] = ("operation", *JUDGED, *HealthcareApiOperator.template_fields)
    operator_extra_links = (DicomOperationLink(), DicomLogsLink())

    def __init__(self, *, operation: Templated | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.operation: Any = operation
        self._last: Operation | None = None
        if type(self) is DicomOperationSensor and (arguments := start_trigger_args(self)):
            self.start_trigger_args, self.start_from_trigger = arguments, True

    def execute(self, context: Context) -> dict[str, Any]:
        """Wait for the operation.

        :return: ``{"operation", "done", "success", "failure", "logs_url"}``.
        :raises AirflowSensorTimeout: it was still running after ``timeout``.
        :raises DicomOperationError: it did not end as it should; see :meth:`~airflow_dicom.policy.Policy.judge`.
        """
        self._check_arguments()
        links.begin(self)
        self.policy()
        if (done := self._done_at_once()) is not None:
            return self._judge(context, done)
        links.show(self, context, {DicomOperationLink.key: DicomOperationLink.url(self._name())}, part_ends=self.deferrable)
        result: dict[str, Any] = super().execute(context)
        return result

    def execute_complete(self, context: Context, event: dict[str, Any], rendered: Any = None, **unknown: Any) -> Any:
        """Resume after the wait in the triggerer, or begin, if a trigger that began it could not."""
        if rendered is None and self.start_from_trigger and context["ti"].try_number > 1:
            forget_earlier_tries(context["ti"])
        if event["status"] == "worker":
            return self.execute(context)
        return super().execute_complete(context, event, rendered, **unknown)

    def awaited(self) -> str:
        """Return what is waited for, in words."""
        return f"{self._name()} was still running"

    def ask(self, context: Context) -> dict[str, Any] | None:
        """Ask once; log when counters changed."""
        operation = Operation.together([Operation.from_response(one) for one in self.hook.get_operations(self._name())])
        if self._last is None or operation.counters != self._last.counters:
            self.log.info("%s (%s)", operation.progress(), operation.name)
            self._last = operation
        return self._judge(context, operation) if operation.done else None

    def trigger(self, **waiting: Any) -> DicomOperationTrigger:
        """Return the trigger that waits."""
        from airflow_dicom.triggers.dicom import DicomOperationTrigger

        return DicomOperationTrigger(operation=self._name(), api_version=self.api_version, **waiting)

    def result(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Judge the operation that the trigger has seen."""
        ended = operation_of_event(event)
        self.log.info("%s (%s)", ended.progress(), ended.name)
        return self._judge(context, ended)

    def refusal(self, error: GoogleApiError) -> Exception:
        """Return the exception for an API that refuses to tell: a 404 has a type and a text of its own."""
        return api_refusal(error, self._name())

    def _done_at_once(self) -> Operation | None:
        """Return what an operator did without an operation, as one that deletes instances does; ``None`` where there is one."""
        if not isinstance(self.operation, Mapping) or self.operation.get("operation") != "" or not self.operation.get("done"):
            return None
        return Operation("", done=True, success=self.operation["success"])

    def _name(self) -> str:
        try:
            return operation_name(self.operation)
        except ValueError as error:
            raise DicomArgumentError(
                f"operation: {error} Pass the name, or task.output of an operator with wait_for_completion=False."
            ) from error

    def _judge(self, context: Context, operation: Operation) -> dict[str, Any]:
        if operation.logs_url:
            links.show(self, context, {DicomLogsLink.key: operation.logs_url}, part_ends=True)
        if not self.policy().judge(operation, subject=""):
            raise AirflowSkipException(f"No instance was handled (operation {operation.name}).")
        return operation_result(operation)
