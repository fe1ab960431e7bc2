"""One life for all work at a service: decide, start, wait in a worker or in the triggerer, judge, cancel."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, TaskDeferred, conf

from airflow_dicom import polling
from airflow_dicom.exceptions import (
    DicomArgumentError,
    DicomError,
    DicomOperationTimeout,
    DicomRepeatRefused,
    GoogleApiError,
    GoogleApiTransientError,
)
from airflow_dicom.links import dicom as links
from airflow_dicom.operators._connection import ConnectionOperator
from airflow_dicom.polling import DEADLINE_GRACE, PollClock
from airflow_dicom.work.journal import NO_STORE, Action, Journal, Record, State, decide
from airflow_dicom.work.ownership import beside, worker_may_cancel
from airflow_dicom.work.plan import Plan, Repeat
from airflow_dicom.work.waiting import Waitable, wait

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

Work = TypeVar("Work", bound=Waitable)

#: Seconds that a task which resumes needs, at most: before Airflow 3, its ``execution_timeout`` goes on while it is deferred.
_RESUME_MARGIN = 30.0

#: Seconds before each question about work of an earlier try: one refusal (403, 404) is not believed.
_PAUSES = (0.0, 5.0, 5.0)


def default_deferrable() -> bool:
    """Return the setting ``operators.default_deferrable``."""
    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def as_seconds(value: float | timedelta, argument: str) -> float:
    """Return a number of seconds.

    :raises DicomArgumentError: it is not one.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
        raise DicomArgumentError(f"{argument} is {value!r}; it must be a number of seconds, or a timedelta.")
    return float(seconds)


def deadline_of(execution_timeout: timedelta | None, context: Context) -> float | None:
    """Return when a task's ``execution_timeout`` ends, in seconds since the epoch.

    Airflow 3 gives it to each part of a task, before and after a deferral. Airflow 2 counts from the task's start and fails the task
    itself, without a word to anyone; so the wait ends a little earlier there.
    """
    if execution_timeout is None:
        return None
    seconds = execution_timeout.total_seconds()
    start = getattr(context["ti"], "start_date", None)
    if importlib.util.find_spec("airflow.sdk") is None and start is not None:
        return float(start.timestamp() + seconds - min(_RESUME_MARGIN, seconds / 3))
    return time.time() + seconds


def backstop(deadline: float | None) -> timedelta | None:
    """Return the timeout for ``defer``: some minutes after the deadline that the trigger keeps itself."""
    return timedelta(seconds=deadline - time.time() + DEADLINE_GRACE) if deadline is not None else None


class LeftToTheNextTry(DicomError):
    """Airflow stops this try of a task, and leaves the work that it waits for to the next one."""


class WaitingOperator(ConnectionOperator, Generic[Work]):
    """An operator that starts one piece of work at a service and waits for it.

    :param deferrable: whether to wait in the triggerer instead of a worker; by default ``operators.default_deferrable``
    :param poll_interval: seconds between two polls at first, a number or a ``timedelta``; grows with the time waited, up to a minute
    :param cancel_on_kill: whether to cancel the work when a person marks or clears the task. A worker that is merely told to stop
        leaves it to the retry that will go on with it, where there is one (Airflow 3.3)
    :param cancel_on_timeout: whether to cancel the work at the end of ``execution_timeout``

    The other parameters are those of :class:`~airflow_dicom.operators._connection.ConnectionOperator`.
    """

    template_fields: Sequence[str] = ConnectionOperator.template_fields
    switches: ClassVar[Sequence[str]] = ("deferrable", "cancel_on_kill", "cancel_on_timeout")
    wait_for_completion = True
    #: Whether the name of the work is stored before the request is sent.
    names_its_work = False

    def __init__(
        self,
        *,
        deferrable: bool | None = None,
        poll_interval: float | timedelta = 10,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.poll_interval = poll_interval
        self.cancel_on_kill = cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout
        self._work: Work | None = None
        self._context: Context | None = None
        #: Why the service may hold work of an earlier try, in words.
        self._doubt = ""
        #: Whether no later try can know of the work, since its name is not stored yet.
        self._unstored = False
        self._killed = self._left = False

    # What a kind of work says.

    def plan(self, context: Context) -> Plan:
        """Return what to ask of the service. Called again when the task resumes, with the arguments as they were.

        :raises DicomArgumentError: an argument cannot be used.
        """
        raise NotImplementedError

    def _submit(self, plan: Plan, journal: Journal) -> Work:
        """Send the request; the journal has its intent already where it must not be sent twice."""
        raise NotImplementedError

    def _named(self, name: str) -> Work:
        """Return work of which all that is known is the name that the journal keeps.

        :raises ValueError: it is not a name of such work.
        """
        raise NotImplementedError

    def _look_up(self, name: str) -> Work:
        """Return work by the name that the journal keeps, as the service tells it.

        :raises GoogleApiError: the service refused, or could not be reached.
        """
        raise NotImplementedError

    def _work_of_event(self, event: dict[str, Any]) -> Work:
        """Return the work that a trigger has waited for, done or not.

        :raises GoogleApiError: the API refused to tell, as it would have in the worker.
        """
        raise NotImplementedError

    def _name_of_event(self, event: dict[str, Any]) -> str:
        """Return the name of the work that a trigger has waited for, as the journal keeps it."""
        return str(event["name"])

    def _state(self, work: Work, plan: Plan, context: Context) -> State:
        """Return what the journal's table calls the work's state; a delivery counts as far as it was asked for."""
        raise NotImplementedError

    def _result(self, context: Context, plan: Plan, work: Work) -> Any:
        """Return the task's result; judge the work first if it is done.

        :raises DicomError: it did not end as it should have.
        :raises AirflowSkipException: the task is to be skipped.
        """
        raise NotImplementedError

    def _links(self, plan: Plan, work: Work) -> dict[str, str]:
        """Return the URLs of the operator's links, by their keys."""
        return dict(plan.links)

    def _refusal(self, error: GoogleApiError, plan: Plan) -> Exception:
        """Return the exception for a service that refuses to tell how the work goes."""
        return error

    def _refuse_beside_running(self, plan: Plan) -> None:
        """Refuse where something like this request runs, and no store can tell whose it is (Airflow before 3.3)."""

    def _is_done_in_part(self) -> bool:
        """Tell whether a part of the request is done, though the service has refused another."""
        return False

    # What all kinds share.

    def execute(self, context: Context) -> Any:
        """Start the work, or go on with that of an earlier try, and wait for it."""
        self._context = context
        links.begin(self)
        journal = Journal.of(context, self.retries)
        try:
            self._check_arguments()
            clock = PollClock(as_seconds(self.poll_interval, "poll_interval"), deadline_of(self.execution_timeout, context))
            plan = self.plan(context)
        except Exception:
            self._stop_what_is_left(journal)
            raise
        try:
            work = self._start(context, plan, journal, clock)
            if self._killed:  # while the request was on its way, when there was no name to cancel
                self._stop_waiting()
            self._announce(context, plan, work)
            if not self.wait_for_completion:
                return self._end(context, plan, journal)
            if self.deferrable and not work.done:
                self._defer(work, clock)
            in_time = wait(work, clock, self.log)
        except AirflowTaskTimeout:
            if self._work is None:
                raise
            in_time = False
        except (TaskDeferred, LeftToTheNextTry):
            raise
        except GoogleApiError as error:
            self._cancel_refused(journal)
            raise self._refusal(error, plan) from error
        except BaseException:
            self._cancel_own(journal, "the task failed")
            raise
        return self._end(context, plan, journal, in_time=in_time)

    def execute_complete(
        self, context: Context, event: dict[str, Any], rendered: Mapping[str, Any] | None = None, **unknown: Any
    ) -> Any:
        """Resume after the wait in the triggerer; returns and raises as :meth:`execute` does.

        :param event: the trigger's event.
        :param rendered: the arguments that the request was made of; ``dag.test()`` of Airflow up to 3.3.2 loses them.
        :param unknown: what another release has passed on.
        """
        self._context = context
        links.begin(self)
        self._restore(rendered)
        journal = Journal.of(context, self.retries)
        try:
            self._work = self._work_of_event(event)
        except GoogleApiError as error:
            self._work = self._named(self._name_of_event(event))
            self._cancel_refused(journal)
            raise self._refusal(error, self.plan(context)) from error
        plan = self.plan(context)
        in_time, cancelled = event["status"] != "timeout", bool(event.get("cancelled"))
        return self._end(context, plan, journal, in_time=in_time, cancelled=cancelled)

    def on_kill(self) -> None:
        """Cancel the work, if ``cancel_on_kill`` is on and :func:`~airflow_dicom.work.ownership.worker_may_cancel` says so.

        :raises LeftToTheNextTry: the work goes on, and this try does not.
        """
        if self._killed:
            return  # a signal to the whole process group comes twice
        self._killed = True
        if self._work is not None:
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self.cancel_on_kill:
            beside(self._cancel_if_allowed)
        if self._left:
            assert self._work is not None
            raise LeftToTheNextTry(f"{self._work.name} goes on: another try of this task takes it up.")

    def _cancel_if_allowed(self) -> None:
        assert self._context is not None
        assert self._work is not None
        try:
            journal = Journal.of(self._context, self.retries)
            allowed = self._unstored or worker_may_cancel(self._context["ti"], journal, self._work)
        except Exception as error:
            self.log.warning(
                "%s is not cancelled: Airflow does not tell whether this try still counts (%s).", self._work.name, error
            )
            self._killed = False  # the next signal may find an answer
            return
        if allowed:
            self._cancel(self._work, "the task was killed")
        else:
            self._left = True

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Tell the OpenLineage provider, where it is installed, what was read and written by which work."""
        return self._lineage(done=self._work is not None and self._work.done)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Tell the OpenLineage provider what was read; what a failed task has written, nobody knows."""
        return self._lineage(done=False)

    def _lineage(self, *, done: bool) -> OperatorLineage[Any, Any]:
        from airflow_dicom.openlineage import lineage

        assert self._context is not None
        plan = self.plan(self._context)
        query_id = self._external_id(self._work) if self._work is not None else None
        return lineage(plan.inputs, plan.outputs if done else (), source=plan.method.partition(".")[0], query_id=query_id)

    def _external_id(self, work: Work) -> str:
        """Return what OpenLineage is told as the work's name."""
        return work.name

    def _start(self, context: Context, plan: Plan, journal: Journal, clock: PollClock) -> Work:
        """Return the work that this try is about: a new one, or an earlier try's."""
        found = journal.found_at_start(plan.repeat)
        while True:
            work = self._work_of(found)
            state = self._state(work, plan, context) if work is not None else None
            action, reason = decide(found, state, plan.fingerprint, plan.repeat, journal.now)
            if action is Action.SUBMIT:
                return self._submit_new(plan, journal, found, reason)
            if action is Action.REFUSE:
                journal.refuse(plan)
                raise DicomRepeatRefused(_why_refused(plan, reason))
            assert work is not None
            assert isinstance(found, Record)
            if action is Action.ADOPT:
                self._work = work
                journal.adopt(found)
                self.log.info("Going on with %s, which an earlier try of this task started.", work.name)
                return work
            if self._killed:
                self._work = work
                self._stop_waiting()
            if self._killed or not journal.owns(work):
                raise LeftToTheNextTry(f"{work.name} is not stopped, since another try of this task takes it up.")
            self._cancel(work, reason)
            if not wait(work, clock, self.log):
                raise DicomOperationTimeout(f"{plan.subject}: not sent; {reason}, and is still there after execution_timeout.")

    def _work_of(self, found: Record | str) -> Work | None:
        """Return the work that the record names; ``None`` if the service does not know it, or does not tell."""
        if not isinstance(found, Record) or not found.name:
            return None
        try:
            named = self._named(found.name)
        except ValueError as error:  # the task was of another kind when that was stored
            self.log.warning("%s", error)
            return None
        for pause in _PAUSES:
            time.sleep(min(pause, polling.LONGEST_PAUSE))
            try:
                return self._look_up(found.name)
            except GoogleApiError as error:
                if isinstance(error, GoogleApiTransientError) or error.status_code not in (403, 404):
                    self._work = named  # where no try comes after this one, it is cancelled
                    raise
                self.log.warning("%s", error)
        return None

    def _submit_new(self, plan: Plan, journal: Journal, found: Record | str, doubt: str) -> Work:
        """Send the request.

        :param doubt: why the service may hold work of an earlier try.
        """
        if found == NO_STORE and plan.repeat is Repeat.DOUBLES and journal.now.number > 1:
            self._refuse_beside_running(plan)
        if doubt:
            self.log.warning("%s: %s.", plan.subject, doubt)
            self._doubt = doubt
        if self._killed:
            raise LeftToTheNextTry(f"{plan.subject}: not sent, since Airflow stops this try.")
        if plan.repeat is not Repeat.SAFE:
            journal.store(plan)
        self._unstored = not self.names_its_work
        try:
            work = self._submit(plan, journal)
        except GoogleApiError as error:
            refused = error.status_code is not None and 400 <= error.status_code < 500 and error.status_code != 408
            if refused and not self._is_done_in_part():
                journal.forget()  # nothing was started
            raise
        self.log.info("Started: %s\n%s", plan.subject, work.name)
        self._work = work
        journal.store(plan, work.name)
        self._unstored = False
        return work

    def _defer(self, work: Work, clock: PollClock) -> None:
        trigger = work.trigger(
            gcp_conn_id=self.gcp_conn_id,
            impersonation_chain=self.impersonation_chain,
            poll_interval=clock.poll_interval,
            deadline=clock.deadline,
            cancel_on_kill=self.cancel_on_kill,
            cancel_on_timeout=self.cancel_on_timeout,
        )
        rendered = {"rendered": self._rendered()}
        self.defer(trigger=trigger, method_name="execute_complete", kwargs=rendered, timeout=backstop(clock.deadline))

    def _end(self, context: Context, plan: Plan, journal: Journal, *, in_time: bool = True, cancelled: bool = False) -> Any:
        """Return the task's result, or say that the deadline is over."""
        assert self._work is not None
        if not in_time:
            cancelled = cancelled or (self.cancel_on_timeout and self._cancel_own(journal, "execution_timeout is over"))
            raise DicomOperationTimeout(
                f"{plan.subject}: {self._work.name} was still running after execution_timeout={self.execution_timeout}. "
                + ("It has been asked to stop." if cancelled else "It goes on.")
                + " Raise execution_timeout if it needs longer."
            )
        result = self._result(context, plan, self._work)
        if plan.repeat is Repeat.SAFE and self._work.done:
            return result  # a clear sends it again whatever is stored: two requests to Airflow less
        try:
            journal.consume()
        except Exception as error:
            # The work is done, and so is the task. A later clear may then take up this work instead of starting another.
            self.log.warning("Airflow does not store that %s was used: %s", self._work.name, error)
        return result

    def _announce(self, context: Context, plan: Plan, work: Work) -> None:
        """Show what was started, or gone on with."""
        waits_here = self.wait_for_completion and not (self.deferrable or work.done)
        links.show(self, context, self._links(plan, work), part_ends=not waits_here)

    def _stop_what_is_left(self, journal: Journal) -> None:
        """Cancel what earlier tries have left to this one, which cannot say what it wants, if no other try can take it up."""
        if journal.now.is_the_first or journal.now.retry_is_left:
            return
        try:
            self._work = self._work_of(journal.found())
        except Exception as error:
            self.log.warning("What an earlier try has started may go on: nobody tells what became of it (%s).", error)
        self._cancel_own(journal, "the task failed")

    def _cancel_refused(self, journal: Journal) -> None:
        """Cancel work of which the service tells nothing, unless the retry goes on with it."""
        if self._unstored or not (journal.has_store and journal.now.retry_is_left):
            self._cancel_own(journal, "the task failed")

    def _cancel_own(self, journal: Journal, reason: str) -> bool:
        """Cancel this try's work, unless another try has taken it up: Airflow may have taken this one for dead."""
        if self._work is None:
            return False
        try:
            own = self._unstored or not journal.has_store or journal.owns(self._work)
        except Exception as error:
            self.log.warning("%s is not cancelled: Airflow does not tell whose it is (%s).", self._work.name, error)
            return False
        return own and self._cancel(self._work, reason)

    def _cancel(self, work: Work, reason: str) -> bool:
        """Ask the service to stop work; return whether it was asked."""
        if work.done:
            return False
        try:
            work.cancel()
        except Exception as error:
            # It may have ended a moment ago; the task's own end must not hang on this.
            self.log.warning("Could not cancel %s: %s", work.name, error)
            return False
        self.log.info("Asked the service to cancel %s: %s.", work.name, reason)
        return True


def _why_refused(plan: Plan, reason: str) -> str:
    return (
        f"{plan.subject}: not sent, since {reason}, and sending this request again could add to what is there.\n"
        f"Look at the destination ({', '.join(plan.outputs)}) and at the dataset's operations. Remove what is there of this "
        "request, or leave it if it is complete and mark the task as succeeded. To send the request, clear the task: a clear "
        "after this refusal sends it."
    )
