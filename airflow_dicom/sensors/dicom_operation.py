"""Wait for an operation that another task, or another program, started."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
)

from airflow_dicom.exceptions import DicomArgumentError, DicomError, HealthcareApiError
from airflow_dicom.links import dicom as links
from airflow_dicom.links.dicom import DicomLogsLink, DicomOperationLink
from airflow_dicom.operation import Operation
from airflow_dicom.operators._judging import JudgingOperator, api_refusal, operation_of_event, operation_result
from airflow_dicom.operators._waiting import as_seconds, backstop, deadline_of, default_deferrable
from airflow_dicom.polling import PollClock
from airflow_dicom.resource_names import OperationName

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_dicom.hooks.healthcare import HealthcareHook
    from airflow_dicom.typing import Templated


class DicomOperationSensor(JudgingOperator, BaseSensorOperator):
    """Wait for a long-running operation of the Healthcare API and judge how it ended (``operations.get``).

    ``poke_interval``, ``timeout``, ``soft_fail`` and ``mode`` mean what they mean for every sensor, deferrable or not: an operation
    that ended badly fails the task whatever ``soft_fail`` says, only a timeout is soft. The operation is never cancelled.

    :param operation: the operation's name, or what an operator with ``wait_for_completion=False`` returned (templated)
    :param max_failures: how many instances may fail; ``None`` for any number (templated)
    :param on_empty: what it means that the operation handled no instance: ``"fail"``, ``"skip"`` or ``"succeed"`` (templated)
    :param expected_instances: how many instances must have been handled; ``None`` when nobody knows (templated)
    :param deferrable: whether to wait in the triggerer instead of a worker; by default ``operators.default_deferrable``
    :param api_version: ``"v1"`` or ``"v1beta1"`` (templated)
    :param gcp_conn_id: the Google Cloud connection (templated)
    :param impersonation_chain: the service account to impersonate, or a chain of them (templated)
    """

    template_fields: Sequence[str] = (*JudgingOperator.template_fields, "operation", "api_version")
    operator_extra_links = (DicomOperationLink(), DicomLogsLink())
    ui_color = "#e4f3e0"
    ui_fgcolor = "#24511c"

    def __init__(
        self,
        *,
        operation: Templated | Mapping[str, Any],
        deferrable: bool | None = None,
        api_version: Templated = "v1",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.operation: Any = operation
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.api_version: Any = api_version
        self._last: Operation | None = None
        self._clock = PollClock(0)

    @cached_property
    def hook(self) -> HealthcareHook:
        """The hook for the worker."""
        from airflow_dicom.hooks.healthcare import HealthcareHook

        return HealthcareHook(self.gcp_conn_id, self.impersonation_chain, api_version=self.api_version)

    def execute(self, context: Context) -> dict[str, Any]:
        """Wait for the operation.

        :return: ``{"operation", "done", "success", "failure", "logs_url"}``.
        :raises AirflowSensorTimeout: it was still running after ``timeout``.
        :raises DicomOperationError: it did not end as it should; see :meth:`~airflow_dicom.policy.Policy.judge`.
        """
        name = self._name()
        self.policy()
        links.show(self, context, {DicomOperationLink.key: DicomOperationLink.url(name)})
        if self.deferrable:
            self._defer(context, name)
        result: dict[str, Any] = super().execute(context)
        return result

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once. Transient errors count neither as an answer nor as a failure."""
        name = self._name()
        try:
            operation = Operation.from_response(self.hook.get_operation(name))
        except HealthcareApiError as error:
            try:
                # A sensor that is rescheduled does not remember how often it was refused.
                self._clock.pause_after(error, patient=not self.reschedule)
            except HealthcareApiError:
                raise api_refusal(error, name) from error
            self.log.warning("%s Asking again later.", error)
            return PokeReturnValue(is_done=False)
        self._clock.answered()
        if self._last is None or operation.counters != self._last.counters:
            self.log.info("%s (%s)", operation.progress(), name)
            self._last = operation
        if not operation.done:
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=self._judge(context, operation))

    def execute_complete(
        self, context: Context, event: dict[str, Any], rendered: Mapping[str, Any] | None = None, **unknown: Any
    ) -> dict[str, Any]:
        """Resume after the wait in the triggerer; returns and raises as :meth:`execute` does.

        :param event: the trigger's event.
        :param rendered: the arguments as they were when the wait began.
        :param unknown: what another release has passed on.
        """
        self._restore(rendered)
        operation = event["name"]
        links.remember(self, {DicomOperationLink.key: DicomOperationLink.url(operation)})
        try:
            ended = operation_of_event(event)
            if event["status"] == "timeout":
                raise self._timed_out(operation)
            self.log.info("%s (%s)", ended.progress(), operation)
            return self._judge(context, ended)
        except DicomError as error:
            # Airflow itself does this for what poke() raises, but not for what a resumed sensor raises.
            if self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise

    def _name(self) -> str:
        operation = self.operation["operation"] if isinstance(self.operation, Mapping) else self.operation
        try:
            return str(OperationName.parse(operation))
        except ValueError as error:
            raise DicomArgumentError(
                f"operation: {error} Pass the name, or task.output of an operator with wait_for_completion=False."
            ) from error

    def _timed_out(self, operation: str) -> BaseException:
        """Return what the sensor raises in a worker: Airflow tries again after ``execution_timeout``, but not after ``timeout``."""
        limit = self.execution_timeout
        if limit is not None and limit.total_seconds() < self.timeout:
            return AirflowTaskTimeout(f"{operation} was still running after execution_timeout={limit}.")
        return AirflowSensorTimeout(f"{operation} was still running after timeout={self.timeout} s.")

    def _judge(self, context: Context, operation: Operation) -> dict[str, Any]:
        if operation.logs_url:
            links.show(self, context, {DicomLogsLink.key: operation.logs_url})
        if not self.policy().judge(operation, subject=""):
            raise AirflowSkipException(f"No instance was handled (operation {operation.name}).")
        return operation_result(operation)

    def _defer(self, context: Context, name: str) -> None:
        from airflow_dicom.triggers.dicom import DicomOperationTrigger

        deadline = time.time() + self.timeout
        execution_deadline = deadline_of(self.execution_timeout, context)
        if execution_deadline is not None:
            deadline = min(deadline, execution_deadline)
        self.defer(
            trigger=DicomOperationTrigger(
                operation=name,
                api_version=self.api_version,
                gcp_conn_id=self.gcp_conn_id,
                impersonation_chain=self.impersonation_chain,
                poll_interval=as_seconds(self.poke_interval, "poke_interval"),
                deadline=deadline,
                cancel_on_kill=False,
            ),
            method_name="execute_complete",
            kwargs={"rendered": self._rendered()},
            timeout=backstop(deadline),
        )
