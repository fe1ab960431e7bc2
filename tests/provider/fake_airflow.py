"""What Airflow 3.3 does with one task, as far as the operators see it. Found out on a real one; see docs/guides/restarts.md.

A try runs as a greenlet, which stops before and after each call at a service or at Airflow. So any two things can happen in any order,
and a killed process does nothing more: every call of its handlers is dead, too.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException, AirflowTaskTimeout, TaskDeferred
from greenlet import getcurrent, greenlet

from airflow_dicom.exceptions import DicomError, DicomRepeatRefused
from airflow_dicom.operation import split_names
from airflow_dicom.operators._waiting import LeftToTheNextTry

from .fake_service import FakeAsyncHook, Service, Work

#: More calls than any try makes: one that makes them is stuck.
_STUCK = 300


class Killed(BaseException):
    """A process was killed: nothing of it runs any more."""


class StoreRefused(Exception):
    """Airflow refuses what a replaced try wants to store."""


class Worker:
    """A process that runs a task.

    :param task: whose try it runs.
    :param make_operator: reads the operator from the DAG's file, as it is now.
    :param action: what it does with the operator and its context.
    """

    def __init__(self, task: Task, make_operator: Callable[[Worker], Any], action: Callable[[Any, dict[str, Any]], Any]) -> None:
        self.task, self.ti_id = task, task.ti_id
        self.request: str = ""
        self.was_approved = task.service.is_approved()
        self.operator = make_operator(self)
        #: The point at which it stands.
        self.point = "start"
        self.dead = self.ended = self.timed_out = self.storing = False
        self.error: BaseException | None = None
        self._calls = 0
        ti = SimpleNamespace(
            dag_id="dag",
            task_id="task",
            run_id=task.run,
            map_index=-1,
            try_number=task.try_number,
            max_tries=task.max_tries,
            xcom_push=lambda key, value: task.xcoms.__setitem__(key, value),
            xcom_pull=lambda key, **_: task.service.approval.get(key),
            worker=self,
        )
        run = SimpleNamespace(clear_number=task.clear_number, start_date=task.run_start)
        context = {"ti": ti, "dag_run": run, "task_state_store": self, "task_reschedule_count": task.reschedules}
        self._greenlet = greenlet(lambda *_: self._main(action, context))

    # What the operator calls.

    def call(self, point: str) -> None:
        """Stand at a point until the walk goes on with this process."""
        if self.dead:
            raise Killed
        self.point = point
        self._calls += 1
        assert self._calls < _STUCK, f"stuck at {point}"
        if getcurrent() is self._greenlet:
            signal = self._greenlet.parent.switch()
            if self.dead:
                raise Killed
            if signal is not None:
                signal()

    def learn(self, work: Work) -> None:
        """Take note of work whose name this process knows now."""
        if self.is_current:
            self.task.known.append(work)

    def cancels(self, work: Work) -> None:
        """Take note of a request to cancel: it is wrong where another try goes on with the work, or will, since it finds its name."""
        names = split_names(self.task.record.get("name", ""))
        # A BigQuery job is known by its id.
        found = [one for name in names for one in self.task.service.works.values() if one.name in (name, name.rpartition(".")[2])]
        # Of several that were started together, one that was asked to stop takes the others with it.
        is_lost = any(one.cancel_requested for one in found)
        if work in found and not (is_lost or self.storing or work.done or self.is_current or self.task.has_ended):
            self.task.wrongly_cancelled.append(work.name)

    @property
    def is_current(self) -> bool:
        return self.ti_id == self.task.ti_id

    def get(self, key: str) -> Any:
        self.call("before get")
        found = self.task.store.get(key) if self.is_current else None
        self.call("after get")
        return json.loads(json.dumps(found))

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self.call("before set")
        if not self.is_current:
            raise StoreRefused
        if self.task.service.trouble == "store" and not value.get("consumed"):  # then a clear may take up the same work
            self.task.service.trouble = ""
            raise StoreRefused
        self.task.store[key] = json.loads(json.dumps(value))
        self.storing = True  # until the answer comes, it does not know that the next try will find the name
        self.call("after set")
        self.storing = False

    def task_state(self) -> str:
        self.call("before state")
        return self.task.state

    # What the walk does.

    def go(self, calls: int) -> None:
        """Go on for some calls, or until it ends."""
        for _ in range(calls):
            if self.ended:
                return
            self._switch()

    def go_to(self, point: str) -> None:
        """Go on until it stands at a point."""
        while self.point != point:
            assert not self.ended, f"it never comes to {point!r}"
            self._switch()

    def kill(self) -> None:
        """Kill it (``SIGKILL``)."""
        self.dead = True
        if not self.ended:
            self._switch()
        assert self.ended

    def stop(self) -> None:
        """Tell it to stop (``SIGTERM``), see ``on_kill`` through, give it some more time, and kill it."""
        if not self.ended and self._begun:
            self._switch(self.operator.on_kill)
            self.go(20)
        self.kill()

    def time_out(self) -> None:
        """Let ``execution_timeout`` end."""

        def raise_timeout() -> None:
            raise AirflowTaskTimeout

        if not self.ended and self._begun and not self.timed_out:
            self.timed_out = True
            self._switch(raise_timeout)

    @property
    def _begun(self) -> bool:
        return bool(self._greenlet)

    def _switch(self, signal: Callable[[], None] | None = None) -> None:
        if not self._begun:
            signal = None
        self._greenlet.switch(signal)

    def _main(self, action: Callable[[Any, dict[str, Any]], Any], context: dict[str, Any]) -> None:
        if self.dead:
            self.ended = True
            return
        try:
            result = action(self.operator, context)
            self.task.succeeds(self, result)
            outcome: Any = "success"
        except TaskDeferred as deferral:
            outcome = deferral
        except AirflowSkipException:
            outcome = "success"
        except (DicomError, LeftToTheNextTry, StoreRefused, AirflowTaskTimeout, AirflowSensorTimeout) as error:
            outcome, self.error = "failed", error
        except Killed:
            outcome = "killed"
        except BaseException as error:  # a fault of the product, or of the walk
            self.ended = True
            raise error
        self.ended = True
        if not self.dead:
            self.task.ended(self, outcome)


class Task:
    """One task of one run.

    :param run: the run's name.
    :param service: what its tries call.
    :param make_operator: returns the operator as the DAG's file has it now.
    :param succeeds: called with what a try returns.
    """

    def __init__(
        self,
        run: str,
        service: Service,
        make_operator: Callable[[Worker], Any],
        succeeds: Callable[[Worker, Any], None],
    ) -> None:
        self.run, self.service, self.make_operator, self.succeeds = run, service, make_operator, succeeds
        self.retries = 2
        self.policy: Any = None
        self._ids = itertools.count(1)
        self.others: list[Worker] = []  # replaced, and not yet ended
        self.lingering: list[Any] = []  # triggers of tries before
        #: What a process that was replaced has cancelled.
        self.wrongly_cancelled: list[str] = []
        #: When a person allowed to send the request again, by the service's clock; also to a run that was deleted since.
        self.licences: list[int] = []
        self.begin_anew()

    def begin_anew(self) -> None:
        """Begin as a run that was just made does."""
        self.state = "scheduled"
        self.try_number, self.max_tries, self.clear_number, self.reschedules = 0, self.retries, 0, 0
        self.run_start = f"start {next(self._ids)}"
        self.ti_id = next(self._ids)
        self.store: dict[str, Any] = {}
        self.xcoms: dict[str, Any] = {}
        self.worker: Worker | None = None
        self.deferral: Any = None
        self.licences.append(self.service.now())
        self.has_refused = False
        #: When a person, after a refusal, has looked at what runs, and has cleared the task.
        self.looked_at = 0
        #: Whether a try has succeeded since the last clear. A person who marks the task says nothing about its work.
        self.is_green = False
        #: Whether it was cleared after it had succeeded, and no try has begun since.
        self.is_to_repeat = False
        #: When the task was last cleared after it had succeeded.
        self.cleared_at = self.licences[-1]
        #: The work whose name a process of this try has learnt.
        self.known: list[Work] = []
        self.killed_last = False

    # Facts.

    @property
    def record(self) -> dict[str, Any]:
        return self.store.get("airflow_dicom_request") or {}

    @property
    def has_ended(self) -> bool:
        return self.state in ("success", "failed")

    @property
    def workers(self) -> list[Worker]:
        """All processes that live."""
        self.others = [worker for worker in self.others if not worker.ended]
        return [*self.others, *([self.worker] if self.worker is not None and not self.worker.ended else [])]

    # What Airflow does.

    def start(self) -> None:
        """Start the next try."""
        self._replace_worker()
        self.known, self.is_to_repeat = [], False
        if self.state != "again":
            self.try_number += 1
        self._avoid_the_undecidable()
        self.request = self._run(lambda operator, context: operator.execute(context)).request

    def _avoid_the_undecidable(self) -> None:
        """Nothing that a worker sees tells a retry, with lowered ``retries`` and another task's clear, from a clear of this one."""
        owner = (self.record.get("refused") or self.record.get("owner")) if self.state == "up_for_retry" else None
        if owner and self.retries < owner["retries"] and self.clear_number != owner["clear_number"]:
            self.retries = owner["retries"]

    def _run(self, action: Callable[[Any, dict[str, Any]], Any]) -> Worker:
        self.state, self.killed_last = "running", False
        self.worker = Worker(self, self.make_operator, action)
        return self.worker

    def ended(self, worker: Worker, outcome: Any) -> None:
        """Read how a try ended."""
        self.has_refused |= isinstance(worker.error, DicomRepeatRefused)
        if worker.is_current and self.state == "running" and worker is self.worker:
            if isinstance(outcome, TaskDeferred):
                self.state, self.deferral = "deferred", outcome
            elif outcome == "success":
                self.state, self.is_green = "success", True
            elif isinstance(worker.error, AirflowSensorTimeout):
                self.state = "failed"  # whatever retries are left
            else:
                self.fail(worker.error)

    def fail(self, error: BaseException | None = None) -> None:
        """Fail this try: another one follows if one is left, and the retry policy has nothing against it."""
        decision = self.policy.evaluate(error, self.try_number, self.max_tries) if self.policy and error else None
        if self.try_number <= self.max_tries and not (decision and decision.action.value == "fail"):
            self.state, self.ti_id = "up_for_retry", next(self._ids)
        else:
            self.state = "failed"

    def kill(self) -> None:
        """Kill the worker; Airflow notices."""
        assert self.worker is not None
        self.worker.kill()
        if self.state == "running":
            self.killed_last = True
            self.fail()

    def stop(self) -> None:
        """Tell the worker to stop, though nobody has ended the task; Airflow notices that it is gone."""
        assert self.worker is not None
        self.worker.stop()
        if self.state == "running":
            self.fail()

    def stall(self) -> None:
        """Miss the worker's heartbeats, and take it for dead; it lives."""
        assert self.worker is not None
        self._replace_worker()
        self.fail()
        self.killed_last = True

    def fire(self, *, in_time: bool = True) -> None:
        """See the trigger's event, and resume the task."""
        deferral, trigger = self.deferral, self._trigger()
        if not in_time:
            trigger.deadline = 1.0
        event = asyncio.run(_event(trigger))
        self.deferral = None
        method, remembered = deferral.method_name, deferral.kwargs or {}
        worker = self._run(lambda operator, context: getattr(operator, method)(context, event=event, **remembered))
        worker.request = self.request  # what it has sent, whatever the file says now

    def _trigger(self, of: Any = None) -> Any:
        """Return a trigger as a triggerer makes it of what is stored."""
        _path, kwargs = (of or self.deferral.trigger).serialize()
        trigger = type(of or self.deferral.trigger)(**kwargs)
        trigger.hook = lambda: FakeAsyncHook(self.service)
        names = {"dag_id": "dag", "task_id": "task", "run_id": self.run, "map_index": -1}
        trigger.task_instance = SimpleNamespace(**names, worker=SimpleNamespace(task_state=lambda: self.state))
        return trigger

    def cancel_trigger(self, trigger: Any = None) -> None:
        """Let a triggerer cancel a trigger: that of a try before, or the task's own, which another triggerer has taken."""
        asyncio.run(self._trigger(trigger).on_kill())

    def lose_resume(self) -> None:
        """Let Airflow take the resumed task for killed: ``execute`` again, in the next try, with the same id."""
        self.deferral = None
        self.state = "up_for_retry" if self.try_number <= self.max_tries else "failed"
        self.killed_last = True

    def put_off(self) -> None:
        """Find that the DAG's file cannot be read at the resume: ``execute`` again, in the same try."""
        self.deferral = None
        self.reschedules += 1
        self.state = "again"

    # What people do.

    def clear(self, *, reset: bool, run_ended: bool, moves: bool = True) -> None:
        """Clear the task.

        :param reset: ``reset_dag_runs``
        :param run_ended: whether the whole run had ended.
        :param moves: whether ``max_tries`` is raised: not when a worker dies while its task is cleared.
        """
        max_tries = self.try_number + self.retries if moves else self.max_tries
        consumed = self.is_green or self.is_to_repeat or self.record.get("consumed")
        is_seen = max_tries != self.record.get("owner", {}).get("max_tries") or (reset and run_ended)
        if consumed and not is_seen:
            return  # undecidable: lowered retries make it look like a retry
        if consumed:
            self.cleared_at = self.service.now()
        # A clear just before a refusal is seen cannot be told from one after it: the refusal is stored, and nothing was sent.
        if consumed or self.has_refused or self.record.get("refused"):
            self.licences.append(self.service.now())
        if self.has_refused:
            self.has_refused, self.looked_at = False, self.service.now()
            for worker in self.workers:
                worker.kill()  # who clears after a refusal has looked: no process is still about to send
        if self.state == "deferred":
            self.lingering.append(self.deferral.trigger)
            self.deferral = None
        self.is_green, self.is_to_repeat = False, bool(consumed)
        self.clear_number += reset
        if run_ended and self.has_ended:
            self.run_start = f"start {next(self._ids)}"
        self.max_tries = max_tries
        self.ti_id = next(self._ids)
        self._replace_worker()
        self.state = "restarting"

    def mark(self, state: str) -> None:
        """Mark the task as succeeded or failed: its worker, or trigger, hears of it."""
        before, self.state = self.state, state
        if before == "deferred":
            trigger, self.deferral = self.deferral.trigger, None
            self.cancel_trigger(trigger)
        elif before == "running" and self.worker is not None:
            self.worker.stop()
        else:
            self.killed_last = True  # nobody is there to cancel

    def _replace_worker(self) -> None:
        if self.worker is not None and not self.worker.ended:
            self.others.append(self.worker)
        self.worker = None


async def _event(trigger: Any) -> dict[str, Any]:
    (event,) = [event.payload async for event in trigger.run()]
    return dict(event)
