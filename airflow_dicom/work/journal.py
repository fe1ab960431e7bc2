"""What earlier tries of a task did, as Airflow's task state store (3.3) remembers it, and what to do now.

:func:`decide` is the table of docs/guides/restarts.md as code. It is pure: the journal reads and writes, the caller asks the service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_dicom.work.plan import Plan, Repeat

if TYPE_CHECKING:
    from airflow_dicom.work.waiting import Waitable

#: The key of the record in the task state store.
KEY = "airflow_dicom_request"

#: The version of the record's form. One of a later version is not read.
_VERSION = 2


@dataclass(frozen=True)
class Try:
    """Which try of a task this is, in the numbers that tell a retry from a clear.

    :param number: ``ti.try_number``.
    :param max_tries: ``ti.max_tries``: a clear raises it to the number of tries so far and ``retries``.
    :param retries: the task's ``retries``, which the DAG's file may change meanwhile.
    :param clear_number: how often tasks of the run were cleared (Airflow 3).
    :param reschedules: how often Airflow has put this same try off, as it does when it cannot read the DAG's file (from 3.1.7).
    :param run_start: when the run started; a clear of a run that had ended starts it anew.
    """

    number: int
    max_tries: int
    retries: int = 0
    clear_number: int = 0
    reschedules: int = 0
    run_start: str = ""

    def was_cleared_since(self, earlier: Try) -> bool:
        """Tell whether a person cleared the task between an earlier try and this one.

        A retry never changes ``max_tries``, finds its run as it was, and comes only where one was left. But ``max_tries`` comes out
        the same at a clear when ``retries`` was lowered meanwhile, and ``clear_number`` counts the clears of other tasks, too.
        """
        if self.number == earlier.number:
            return False
        if self.max_tries != earlier.max_tries or not earlier.retry_is_left:
            return True
        if earlier.run_start and self.run_start != earlier.run_start:
            return True
        return self.retries < earlier.retries and self.clear_number != earlier.clear_number

    @property
    def is_the_first(self) -> bool:
        """Whether nothing ran before it."""
        return self.number == 1 and not self.reschedules

    @property
    def retry_is_left(self) -> bool:
        """Whether Airflow tries again when this try fails."""
        return self.number <= self.max_tries

    @property
    def may_be_a_retry(self) -> bool:
        """Whether the task may have run since it was last cleared. Told without a record: in doubt, it has."""
        first = self.number in (1, self.max_tries - self.retries + 1)
        return self.reschedules > 0 or not first


@dataclass(frozen=True)
class Record:
    """What is stored of one request.

    :param request: the request's :attr:`~airflow_dicom.work.plan.Plan.fingerprint`.
    :param owner: the try that sent the request, or that went on with it.
    :param name: the name of the operation or job; empty as long as no answer came.
    :param consumed: whether a try has succeeded with it.
    :param refused: the try that refused to go on, and said what to look at.
    """

    request: str
    owner: Try
    name: str = ""
    consumed: bool = False
    refused: Try | None = None

    @classmethod
    def from_json(cls, stored: Any) -> Record:
        """Read what :meth:`to_json` wrote, or what release 0.1.0 did. Fields that are not known are dropped.

        :raises ValueError: it is neither.
        """
        try:
            if stored.get("version", 1) > _VERSION:
                raise ValueError("it was written by a later release")
            if "version" not in stored:
                # The number of the try that release 0.1.0 did not store: none that could still run.
                return cls(stored["request"], Try(0, int(stored["max_tries"])), stored["operation"] or "")
            refused = stored.get("refused")
            return cls(
                str(stored["request"]),
                _try(stored["owner"]),
                str(stored["name"]),
                bool(stored["consumed"]),
                _try(refused) if refused else None,
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"it cannot be read: {error!r}") from error

    def to_json(self) -> dict[str, Any]:
        """Return what is stored; also by the names that release 0.1.0 reads, whose workers may run beside those of this one."""
        old = {"max_tries": self.owner.max_tries, "operation": self.name or None}
        return {"version": _VERSION, **asdict(self), **old}


def _try(stored: Mapping[str, Any]) -> Try:
    known: dict[str, Any] = {field.name: stored[field.name] for field in fields(Try) if field.name in stored}
    return Try(**known)


class State(Enum):
    """What a service says of the work that a record names."""

    #: It runs.
    RUNS = "runs"
    #: It runs, and somebody asked the service to stop it.
    STOPS = "stops"
    #: It ended well, and what it was to deliver is there.
    DELIVERED = "delivered"
    #: It ended well, but something that it was to deliver is not there.
    UNDELIVERED = "undelivered"
    #: It ended badly, or was cancelled, and has written something.
    FAILED = "failed"
    #: It ended badly, or was cancelled, and has written nothing.
    FAILED_EMPTY = "failed_empty"
    #: The service does not know it, or does not tell.
    UNKNOWN = "unknown"


class Action(Enum):
    """What a try does about the work of earlier tries."""

    #: Send the request.
    SUBMIT = "submit"
    #: Go on with what an earlier try has started.
    ADOPT = "adopt"
    #: Have it cancelled, wait for its end, and decide again.
    STOP = "stop"
    #: Fail, and say what to look at.
    REFUSE = "refuse"


class Decision(NamedTuple):
    """What to do, and why, in words for the log or the exception."""

    action: Action
    reason: str = ""


#: What there may be instead of a record.
NOTHING = "nothing"
NO_STORE = "no store"
UNREADABLE = "unreadable"


def decide(found: Record | str, state: State | None, request: str, repeat: Repeat, now: Try) -> Decision:
    """Decide what a try does.

    :param found: the record; or :data:`NOTHING`, :data:`NO_STORE` or :data:`UNREADABLE`.
    :param state: what the service says of the record's work; ``None`` where there is none to ask about.
    :param request: the fingerprint of the request that this try wants to send.
    :param repeat: what becomes of a request that is sent twice.
    :param now: this try.
    """
    if not isinstance(found, Record):
        return _without_record(found, repeat, now)
    cleared = now.was_cleared_since(found.owner)
    if found.refused is not None and now.was_cleared_since(found.refused):
        return Decision(Action.SUBMIT, "the task was cleared after a try had refused to go on")
    if found.consumed and cleared:
        again = ", which adds to what is there" if repeat is Repeat.DOUBLES else ""
        return Decision(Action.SUBMIT, f"the task was cleared after it had succeeded: the request is sent again{again}")
    if not found.name:
        return _after_loss("an earlier try may have sent a request, and ended before it knew the answer", repeat)
    # What is safe to repeat is repeated if a clear may have been this task's: DAG files that lower retries and raise them hide it.
    doubt = repeat is Repeat.SAFE and now.clear_number != found.owner.clear_number
    return _with_state(found, state or State.UNKNOWN, request == found.request, cleared or doubt, repeat)


def _without_record(found: str, repeat: Repeat, now: Try) -> Decision:
    if found == UNREADABLE:
        return _after_loss("what earlier tries stored cannot be read", repeat)
    if found == NO_STORE and repeat is not Repeat.SAFE and now.may_be_a_retry:
        return _after_loss("before Airflow 3.3, a try cannot tell the next one what it did", repeat)
    return Decision(Action.SUBMIT)


def _after_loss(reason: str, repeat: Repeat) -> Decision:
    """Decide where nobody knows what the service did."""
    return Decision(Action.REFUSE if repeat is Repeat.DOUBLES else Action.SUBMIT, reason)


def _with_state(found: Record, state: State, same: bool, cleared: bool, repeat: Repeat) -> Decision:
    doubles = repeat is Repeat.DOUBLES
    if state is State.STOPS or (state is State.RUNS and not same and not doubles):
        return Decision(Action.STOP, f"{found.name} {'is being cancelled' if same else 'runs for another request of this task'}")
    if state is State.RUNS and same:
        return Decision(Action.ADOPT)
    if state is State.RUNS:
        return Decision(Action.REFUSE, f"{found.name}, which runs, was started by this task for another request")
    if state is State.UNKNOWN:
        return _after_loss(f"the service does not tell what became of {found.name}", repeat)
    if state is State.FAILED_EMPTY or (state is State.FAILED and not doubles):
        return Decision(Action.SUBMIT, f"{found.name}, which an earlier try started, ended badly")
    if state is State.FAILED:
        return Decision(Action.REFUSE, f"{found.name} ended badly after it had written something")
    if state is State.DELIVERED and same and not (cleared and repeat is Repeat.SAFE):
        return Decision(Action.ADOPT)
    if repeat is Repeat.SAFE:
        return Decision(Action.SUBMIT, f"the task was cleared after {found.name} had ended: the request is sent again" * cleared)
    if state is State.DELIVERED and repeat is Repeat.FAILS:
        return Decision(Action.SUBMIT, f"{found.name}, which an earlier try started for another request, has ended well")
    missing = "but not delivered all" if state is State.UNDELIVERED else "for another request"
    return Decision(Action.REFUSE, f"{found.name}, which an earlier try started, has ended well, {missing}")


class Journal:
    """The record of one task's work.

    :param store: the context's ``task_state_store``; ``None`` before Airflow 3.3.
    :param now: this try.
    """

    def __init__(self, store: Any, now: Try) -> None:
        self._store = store
        self.now = now

    @classmethod
    def of(cls, context: Mapping[str, Any], retries: int | None) -> Journal:
        """Return the journal of the task that runs.

        :param context: Airflow's context.
        :param retries: the task's ``retries``.
        """
        ti = context["ti"]
        run = context.get("dag_run")
        now = Try(
            number=ti.try_number,
            max_tries=ti.max_tries,
            retries=retries or 0,
            clear_number=getattr(run, "clear_number", None) or 0,
            reschedules=context.get("task_reschedule_count") or 0,
            run_start=str(getattr(run, "start_date", None) or ""),
        )
        return cls(context.get("task_state_store"), now)

    @property
    def has_store(self) -> bool:
        """Whether there is a store, so that a later try can know of the work."""
        return self._store is not None

    def found_at_start(self, repeat: Repeat) -> Record | str:
        """Return what earlier tries left. Before a first try there was none; Airflow is asked all the same where it may do harm."""
        if self.has_store and self.now.is_the_first and repeat is Repeat.SAFE:
            return NOTHING
        return self.found()

    def found(self) -> Record | str:
        """Return what earlier tries left."""
        if self._store is None:
            return NO_STORE
        stored = self._store.get(KEY)
        if not stored:
            return NOTHING
        try:
            return Record.from_json(stored)
        except ValueError:
            return UNREADABLE

    def goes_on(self, plan: Plan, found: Record | str) -> bool:
        """Tell whether this try is a retry, and an earlier one has begun the same request.

        :param found: what earlier tries left.
        """
        return isinstance(found, Record) and found.request == plan.fingerprint and not self.now.was_cleared_since(found.owner)

    def owns(self, work: Waitable) -> bool:
        """Tell whether no later try has gone on with the work. This one may be about to."""
        found = self.found()
        return isinstance(found, Record) and work.is_named(found.name) and found.owner.number <= self.now.number

    def store(self, plan: Plan, name: str = "") -> None:
        """Store that this try sends a request.

        :param name: the work's name; empty before there is one.
        """
        self._save(Record(plan.fingerprint, self.now, name))

    def adopt(self, record: Record) -> None:
        """Store that this try goes on with the work of an earlier one."""
        self._save(replace(record, owner=self.now))

    def consume(self) -> None:
        """Store that the task succeeds with the work."""
        found = self.found()
        if isinstance(found, Record):
            self._save(replace(found, consumed=True))

    def refuse(self, plan: Plan) -> None:
        """Store that this try refused, so that a clear after it may send the request."""
        found = self.found()
        # What cannot be read is replaced: else it would be in the way of each clear to come.
        record = found if isinstance(found, Record) else Record(plan.fingerprint, self.now)
        self._save(replace(record, refused=self.now))

    def forget(self) -> None:
        """Store that nothing was started."""
        if self._store is not None:
            self._store.set(KEY, {}, **_kept_for_ever())

    def _save(self, record: Record) -> None:
        if self._store is not None:
            self._store.set(KEY, record.to_json(), **_kept_for_ever())


def _kept_for_ever() -> dict[str, Any]:
    """Return the argument that keeps a record as long as its run."""
    try:
        from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]  # loaded on demand, unknown to its types
    except ImportError:
        return {}
    return {"retention": NEVER_EXPIRE}
