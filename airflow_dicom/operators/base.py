"""What the operators share: starting an operation once, waiting for it in either mode, judging how it ended."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException, AirflowTaskTimeout, BaseOperator, conf

from airflow_dicom.exceptions import (
    DicomArgumentError,
    DicomEmptyResult,
    DicomOperationError,
    DicomOperationNotFound,
    DicomOperationTimeout,
    DicomPartialFailure,
    DicomUnexpectedCount,
    HealthcareApiError,
    HealthcareApiTransientError,
)
from airflow_dicom.links.dicom import DicomLogsLink, DicomOperationLink, DicomStoreLink
from airflow_dicom.operation import OnEmpty, Operation, Policy
from airflow_dicom.polling import PollClock
from airflow_dicom.resource_names import DicomStoreName, OperationName

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.generated.base import Dataset

    from airflow_dicom.hooks.healthcare import HealthcareHook

#: Seconds after the deadline at which Airflow itself ends a deferred task, should the trigger never answer.
_DEADLINE_GRACE = 300

#: The task state store's key (Airflow 3.3) of the request that a try of the task has made.
_REQUEST_KEY = "airflow_dicom_request"


def default_deferrable() -> bool:
    """Return the setting ``operators.default_deferrable``."""
    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def deadline_of(operator: Any) -> float | None:
    """Return when the task's ``execution_timeout`` ends, counted from now, in seconds since the epoch."""
    timeout: timedelta | None = operator.execution_timeout
    return time.time() + timeout.total_seconds() if timeout else None


def defer_timeout(deadline: float | None) -> timedelta | None:
    """Return the backstop for ``defer``: some minutes after the deadline that the trigger keeps itself."""
    return timedelta(seconds=deadline - time.time() + _DEADLINE_GRACE) if deadline is not None else None


def as_int(value: Any, argument: str) -> int | None:
    """Return a number, or ``None``, that a template may have rendered to a text.

    :raises DicomArgumentError: it is no whole number.
    """
    if value in (None, "None"):
        return None
    try:
        return int(str(value))  # not of 1.5, nor of True
    except ValueError as error:
        raise DicomArgumentError(f"{argument} is {value!r}; it must be a whole number, or None.") from error


def wait_in_worker(hook: HealthcareHook, operation: Operation, clock: PollClock, log: Any) -> Operation | None:
    """Poll until the operation is done; ``None`` at the deadline. Transient errors never end the wait."""
    pause = clock.first()
    last, last_change = operation, time.monotonic()
    while not operation.done:
        if clock.expired:
            return None
        time.sleep(pause)
        try:
            operation = Operation.from_response(hook.get_operation(operation.name))
        except HealthcareApiError as error:
            pause = clock.pause_after(error)
            log.warning("%s Trying again in %.0f s.", error, pause)
        else:
            pause = clock.answered()
        if operation.counters != last.counters:
            now = time.monotonic()
            log.info("%s (%s)", operation.progress(last, now - last_change), operation.name)
            last, last_change = operation, now
    return operation


def operation_of_event(event: dict[str, Any]) -> Operation | None:
    """Return the operation of a trigger's event; ``None`` when the event says that the deadline came first.

    :raises HealthcareApiError: the API refused to tell, as it would have in the worker.
    """
    if event["status"] == "done":
        return Operation(**event["operation"])
    if event["status"] == "timeout":
        return None
    raise api_refusal(HealthcareApiError(event["message"], status_code=event["status_code"]), event["name"])


def api_refusal(error: HealthcareApiError, name: str) -> Exception:
    """Return the exception for a poll that the API refused: a 404 has a type and a text of its own."""
    if error.status_code != 404:
        return error
    return DicomOperationNotFound(
        f"The Healthcare API does not know the operation {name}. It forgets operations about 30 days after their end; "
        f"look at the destination for what it did. ({error})"
    )


class DicomOperationOperator(BaseOperator):
    """Start one long-running operation on a DICOM store and wait for it.

    :param location: the dataset's location, e.g. ``europe-west4`` (templated)
    :param dataset_id: the Healthcare dataset (templated)
    :param dicom_store_id: the DICOM store (templated)
    :param project_id: the store's project; by default the connection's (templated)
    :param max_failures: how many instances may fail; ``None`` for any number (templated)
    :param on_empty: what it means that the operation handled no instance: ``"fail"``, ``"skip"`` or ``"succeed"`` (templated)
    :param wait_for_completion: whether to wait for the end; ``False`` returns right after the start, for a
        :class:`~airflow_dicom.sensors.DicomOperationSensor`
    :param deferrable: whether to wait in the triggerer instead of a worker; by default ``operators.default_deferrable``
    :param poll_interval: seconds between two polls at first; grows with the time waited, up to a minute
    :param cancel_on_kill: whether to cancel the operation when a person marks or clears the task, or the worker is told to stop
    :param cancel_on_timeout: whether to cancel the operation at the end of ``execution_timeout``
    :param api_version: ``"v1"``, or ``"v1beta1"`` for servers that lack ``filterConfig`` in v1 (templated)
    :param gcp_conn_id: the Google Cloud connection (templated)
    :param impersonation_chain: the service account to impersonate, or a chain of them (templated)
    """

    template_fields: Sequence[str] = (
        "project_id",
        "location",
        "dataset_id",
        "dicom_store_id",
        "max_failures",
        "on_empty",
        "api_version",
        "gcp_conn_id",
        "impersonation_chain",
    )
    operator_extra_links: Sequence[BaseOperatorLink] = (DicomStoreLink(), DicomOperationLink(), DicomLogsLink())
    ui_color = "#d7e8f7"
    ui_fgcolor = "#123a5e"

    def __init__(
        self,
        *,
        location: str,
        dataset_id: str,
        dicom_store_id: str,
        project_id: str | None = None,
        max_failures: int | str | None = 0,
        on_empty: OnEmpty = "fail",
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: float = 10,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = True,
        api_version: str = "v1",
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_id = project_id
        self.location = location
        self.dataset_id = dataset_id
        self.dicom_store_id = dicom_store_id
        self.max_failures = max_failures
        self.on_empty = on_empty
        self.wait_for_completion = wait_for_completion
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.poll_interval = poll_interval
        self.cancel_on_kill = cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout
        self.api_version = api_version
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self._operation_name: str | None = None

    # What an operator of its own says.

    @property
    def repeatable(self) -> bool:
        """Whether a repeated request does no harm, so that it may be sent again when nobody knows whether the first one arrived."""
        return True

    def request(self) -> dict[str, Any]:
        """Return the request's body.

        :raises DicomArgumentError: an argument cannot be used.
        """
        raise NotImplementedError

    def start(self, store: DicomStoreName, body: dict[str, Any]) -> dict[str, Any]:
        """Send the request and return the operation."""
        raise NotImplementedError

    def destination(self) -> dict[str, Any]:
        """Return what the result says beside the operation: where the instances or rows went."""
        raise NotImplementedError

    def subject(self) -> str:
        """Return in words what was asked for, with its URIs."""
        raise NotImplementedError

    def push_links(self, context: Context) -> None:
        """Push the links that only this operator has."""

    def lineage(self) -> tuple[list[Dataset], list[Dataset]]:
        """Return what the operation reads and what it writes, for OpenLineage."""
        raise NotImplementedError

    def check_delivery(self, context: Context, operation: Operation) -> None:
        """Look at the destination of an operation that has ended, where the task asks for that.

        :raises DicomUnexpectedCount: something is missing there.
        """

    # What they share.

    @cached_property
    def hook(self) -> HealthcareHook:
        """The hook for the worker."""
        from airflow_dicom.hooks.healthcare import HealthcareHook

        return HealthcareHook(self.gcp_conn_id, self.impersonation_chain, api_version=self.api_version)

    @cached_property
    def store(self) -> DicomStoreName:
        """The DICOM store's resource name.

        :raises DicomArgumentError: a part of it is missing or has a character that no resource name has.
        """
        project_id = self.project_id or self.hook.project_id
        if not project_id:
            raise DicomArgumentError(f"project_id is not set, and neither is it in the connection {self.gcp_conn_id!r}.")
        try:
            return DicomStoreName(project_id, self.location, self.dataset_id, self.dicom_store_id)
        except ValueError as error:
            raise DicomArgumentError(str(error)) from error

    def policy(self) -> Policy:
        """Return how to judge the operation's end."""
        return Policy(max_failures=as_int(self.max_failures, "max_failures"), on_empty=self.on_empty)

    def execute(self, context: Context) -> dict[str, Any]:
        """Start the operation and wait for it.

        :return: ``{"operation", "done", "success", "failure", "logs_url", …destination}``.
        :raises DicomArgumentError: an argument cannot be used.
        :raises HealthcareApiError: the API refused.
        :raises DicomOperationError: the operation did not end as it should; see :meth:`~airflow_dicom.operation.Policy.judge`.
        """
        policy, body, deadline = self.policy(), self.request(), deadline_of(self)
        operation = self._start_or_adopt(context, body, policy)
        self._operation_name = operation.name
        self._announce(context, operation)
        if not self.wait_for_completion:
            return self._result(operation)
        if self.deferrable and not operation.done:
            self._defer(operation, deadline)
        try:
            ended = wait_in_worker(self.hook, operation, PollClock(self.poll_interval, deadline), self.log)
        except AirflowTaskTimeout:
            ended = None
        except HealthcareApiError as error:
            raise api_refusal(error, operation.name) from error
        return self._finish(context, ended, operation.name)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Resume after the wait in the triggerer; returns and raises as :meth:`execute` does.

        :param event: the trigger's event.
        """
        name = self._operation_name = event["name"]
        # To ask the connection again would load Google's libraries, which takes longer than all that is left to do.
        self.project_id = self.project_id or OperationName.parse(name).project_id
        return self._finish(context, operation_of_event(event), name)

    def on_kill(self) -> None:
        """Cancel the operation, unless ``cancel_on_kill`` is off: the worker is told to stop, or a person killed the task."""
        if self.cancel_on_kill and self._operation_name:
            self._cancel(self._operation_name)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Tell the OpenLineage provider, where it is installed, what was read and written by which operation."""
        from airflow_dicom.openlineage import lineage

        return lineage(*self.lineage(), source="healthcare", query_id=self._operation_name)

    def _start_or_adopt(self, context: Context, body: dict[str, Any], policy: Policy) -> Operation:
        state = _RequestState(context, str(self.store), body)
        adopted = self._adopt(state, policy)
        if adopted is not None:
            self.log.info("Going on with %s, which an earlier try of this task started.", adopted.name)
            return adopted
        if not self.repeatable:
            if state.unknown and self._is_retry(context):
                raise DicomOperationError(
                    f"{self.subject()}: before Airflow 3.3, a try of a task cannot tell the next one what it did, and sending this "
                    "request again could double the rows. Look at the destination, then clear the task to send it again."
                )
            state.save(None)
        try:
            operation = Operation.from_response(self.start(self.store, body))
        except HealthcareApiError as error:
            if error.status_code is not None and 400 <= error.status_code < 500 and error.status_code != 408:
                state.forget()  # refused: nothing was started
            raise
        state.save(operation.name)
        return operation

    def _is_retry(self, context: Context) -> bool:
        """Tell whether another try came before this one since the task was last cleared, which raises ``max_tries``."""
        ti = context["ti"]
        return bool(ti.try_number > ti.max_tries - (self.retries or 0) + 1)

    def _adopt(self, state: _RequestState, policy: Policy) -> Operation | None:
        """Return the operation that an earlier try started, unless it failed or was cancelled."""
        if not state.found:
            return None
        if state.operation is None:
            raise DicomOperationError(
                f"{self.subject()}: an earlier try of this task may have sent this request, and died before it knew the operation. "
                "Sending it again could double the rows. Look at the dataset's operations and at the destination, then clear the "
                "task to send it again."
            )
        try:
            operation = Operation.from_response(self.hook.get_operation(state.operation))
        except HealthcareApiTransientError:
            raise
        except HealthcareApiError as error:
            if not self.repeatable:
                raise self._may_double(state.operation, "the API does not tell how it ended") from error
            self.log.warning("%s The operation of the earlier try is lost; starting anew.", error)
            return None
        if operation.done:
            try:
                policy.judge(operation, self.subject())
                return operation
            except DicomOperationError:
                pass
        elif not operation.cancel_requested:
            return operation
        if not self.repeatable and (operation.success or not operation.done):
            raise self._may_double(operation.name, f"{operation.progress()} when it failed or was cancelled")
        return None

    def _may_double(self, operation: str, reason: str) -> DicomOperationError:
        return DicomOperationError(
            f"{self.subject()}: an earlier try of this task started {operation}: {reason}. Some rows may be in the table, and sending "
            "the request again could double them. Look there, remove what is there of this request, then clear the task."
        )

    def _announce(self, context: Context, operation: Operation) -> None:
        self.log.info("Operation %s: %s", operation.name, self.subject())
        DicomStoreLink.push(context, DicomStoreLink.url(self.store))
        DicomOperationLink.push(context, DicomOperationLink.url(operation.name))
        self.push_links(context)
        self._announce_logs(context, operation)

    def _announce_logs(self, context: Context, operation: Operation) -> None:
        if operation.logs_url:
            DicomLogsLink.push(context, operation.logs_url)
            if operation.failure:
                self.log.warning("Why %d instances failed: %s", operation.failure, operation.logs_url)

    def _defer(self, operation: Operation, deadline: float | None) -> None:
        from airflow_dicom.triggers.dicom import DicomOperationTrigger

        self.defer(
            trigger=DicomOperationTrigger(
                operation=operation.name,
                api_version=self.api_version,
                gcp_conn_id=self.gcp_conn_id,
                impersonation_chain=self.impersonation_chain,
                poll_interval=self.poll_interval,
                deadline=deadline,
                cancel_on_kill=self.cancel_on_kill,
            ),
            method_name="execute_complete",
            timeout=defer_timeout(deadline),
        )

    def _finish(self, context: Context, operation: Operation | None, name: str) -> dict[str, Any]:
        if operation is None:
            if self.cancel_on_timeout:
                self._cancel(name)
            raise DicomOperationTimeout(
                f"{self.subject()}: operation {name} was still running after execution_timeout={self.execution_timeout}. "
                + ("It has been asked to stop." if self.cancel_on_timeout else "It goes on, since cancel_on_timeout is off.")
            )
        self.log.info("%s (%s)", operation.progress(), operation.name)
        self._announce_logs(context, operation)
        try:
            good = self.policy().judge(operation, self.subject())
        except (DicomEmptyResult, DicomPartialFailure, DicomUnexpectedCount):
            self.check_delivery(context, operation)  # which can say what is missing
            raise
        if good:
            self.check_delivery(context, operation)
        else:
            raise AirflowSkipException(f"{self.subject()}: no instance was handled (operation {operation.name}).")
        return self._result(operation)

    def _result(self, operation: Operation) -> dict[str, Any]:
        return {**operation_result(operation), **self.destination()}

    def _cancel(self, name: str) -> None:
        try:
            self.hook.cancel_operation(name)
        except HealthcareApiError as error:
            # It may have ended a moment ago; the task's own end must not hang on this.
            self.log.warning("Could not cancel %s: %s", name, error)
        else:
            self.log.info("Asked the service to cancel %s.", name)


def operation_result(operation: Operation) -> dict[str, Any]:
    """Return the part of the result that operators and sensor share."""
    return {
        "operation": operation.name,
        "done": operation.done,
        "success": operation.success,
        "failure": operation.failure,
        "logs_url": operation.logs_url,
    }


class _RequestState:
    """What the task state store (Airflow 3.3) knows of the request that an earlier try of the same task made.

    A *retry* keeps ``max_tries``; a *clear* raises it, and so finds nothing. Without the store nothing is ever found.

    :param store: the DICOM store's name.
    :param body: the request; another request finds nothing.
    """

    def __init__(self, context: Context, store: str, body: dict[str, Any]) -> None:
        self._state: Any = context.get("task_state_store")
        self._identity = {
            "request": hashlib.sha256(json.dumps([store, body], sort_keys=True).encode()).hexdigest(),
            "max_tries": context["ti"].max_tries,
        }
        record: Any = (self._state.get(_REQUEST_KEY) if self._state is not None else None) or {}
        #: Whether an earlier try of the task made this request, or was about to.
        self.found = all(record.get(key) == value for key, value in self._identity.items())
        #: The operation that it started; ``None`` when it did not live to know.
        self.operation: str | None = record.get("operation") if self.found else None

    @property
    def unknown(self) -> bool:
        """Whether there is no store that could tell."""
        return self._state is None

    def forget(self) -> None:
        """Store that no request was made."""
        if self._state is not None:
            self._state.set(_REQUEST_KEY, {})

    def save(self, operation: str | None) -> None:
        """Store the operation's name; ``None`` for the intent to start one."""
        if self._state is not None:
            self._state.set(_REQUEST_KEY, {**self._identity, "operation": operation})
