"""What the sensors share: asking in a worker or in the triggerer, with the same end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
)

from airflow_dicom.exceptions import DicomError, GoogleApiError, HealthcareApiError, HealthcareApiTransientError
from airflow_dicom.links import dicom as links
from airflow_dicom.operators._connection import ConnectionOperator
from airflow_dicom.operators._waiting import as_seconds, backstop, deadline_of, default_deferrable
from airflow_dicom.polling import PollClock

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_dicom.triggers.dicom import PollingTrigger

#: Seconds until a sensor that is rescheduled asks again after a refusal.
_PAUSE = 5.0


class PollingSensor(ConnectionOperator, BaseSensorOperator):
    """Ask the Healthcare API until something is so.

    ``poke_interval``, ``timeout``, ``soft_fail`` and ``mode`` mean what they mean for every sensor, deferrable or not.

    :param deferrable: whether to wait in the triggerer instead of a worker; by default ``operators.default_deferrable``

    The other parameters are those of :class:`~airflow_dicom.operators._connection.ConnectionOperator` and of Airflow's
    ``BaseSensorOperator``.
    """

    template_fields: Sequence[str] = ConnectionOperator.template_fields
    switches = ("deferrable",)
    ui_color = "#e4f3e0"
    ui_fgcolor = "#24511c"

    def __init__(self, *, deferrable: bool | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self._clock = PollClock(_PAUSE)

    # What a sensor says.

    def awaited(self) -> str:
        """Return what is waited for, in words."""
        raise NotImplementedError

    def ask(self, context: Context) -> Any:
        """Ask once; return the result, or ``None`` if it is not so yet."""
        raise NotImplementedError

    def trigger(self, **waiting: Any) -> PollingTrigger:
        """Return the trigger that waits."""
        raise NotImplementedError

    def result(self, context: Context, event: dict[str, Any]) -> Any:
        """Return the result by the trigger's event."""
        raise NotImplementedError

    def refusal(self, error: GoogleApiError) -> Exception:
        """Return the exception for an API that refuses to tell."""
        return error

    # What they share.

    def execute(self, context: Context) -> Any:
        """Wait.

        :raises AirflowSensorTimeout: it was not so after ``timeout``.
        """
        self._check_arguments()
        if self.deferrable:
            self._defer(context)
        return super().execute(context)

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once, or a few times after a refusal. Transient errors count neither as an answer nor as a failure."""
        while True:
            try:
                found = self.ask(context)
            except HealthcareApiError as error:
                try:
                    pause = self._clock.pause_after(error)
                except HealthcareApiError:
                    raise self.refusal(error) from error
                self.log.warning("%s Asking again later.", error)
                if isinstance(error, HealthcareApiTransientError) or not self.reschedule:
                    return PokeReturnValue(is_done=False)
                time.sleep(pause)  # a sensor that is rescheduled does not remember how often it was refused
            else:
                self._clock.answered()
                return PokeReturnValue(is_done=found is not None, xcom_value=found)

    def execute_complete(
        self, context: Context, event: dict[str, Any], rendered: Mapping[str, Any] | None = None, **unknown: Any
    ) -> Any:
        """Resume after the wait in the triggerer; returns and raises as :meth:`execute` does.

        :param event: the trigger's event.
        :param rendered: the arguments as they were when the wait began.
        :param unknown: what another release has passed on.
        """
        links.begin(self)
        self._restore(rendered)
        try:
            if event["status"] == "error":
                error = HealthcareApiError(event["message"], status_code=event["status_code"])
                raise self.refusal(error) from error
            if event["status"] == "timeout":
                raise self._timed_out()
            return self.result(context, event)
        except DicomError as error:
            # Airflow itself does this for what poke() raises, but not for what a resumed sensor raises.
            if self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise

    def _timed_out(self) -> BaseException:
        """Return what the sensor raises in a worker: Airflow tries again after ``execution_timeout``, but not after ``timeout``."""
        limit = self.execution_timeout
        if limit is not None and limit.total_seconds() < self.timeout:
            return AirflowTaskTimeout(f"{self.awaited()} after execution_timeout={limit}.")
        return AirflowSensorTimeout(f"{self.awaited()} after timeout={self.timeout} s.")

    def _defer(self, context: Context) -> None:
        deadline = time.time() + self.timeout
        execution_deadline = deadline_of(self.execution_timeout, context)
        if execution_deadline is not None:
            deadline = min(deadline, execution_deadline)
        self.defer(
            trigger=self.trigger(
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
