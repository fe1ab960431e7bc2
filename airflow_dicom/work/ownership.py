"""Who may cancel: not a worker, a task process or a trigger that was replaced. Airflow stops those without a word about why."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow_dicom.work.journal import Journal

if TYPE_CHECKING:
    from airflow_dicom.work.waiting import Waitable

#: States after which no other try comes by itself.
_ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})

#: Seconds to ask Airflow, and then the service. Airflow kills the process five seconds after ``on_kill`` was called.
_PATIENCE = 4.0


def worker_may_cancel(ti: Any, journal: Journal, work: Waitable) -> bool:
    """Tell whether the try that runs in this worker may cancel the work when Airflow stops it.

    Before Airflow 3.3 it may: no other try could go on with the work. From then on, it may if no other try will come: a person, or
    Airflow, has ended the task, or the worker is told to stop and no retry is left. The next try, be it a retry or a clear, finds the
    work in the journal, and goes on with it or stops it. A try that was replaced finds nothing there: Airflow answers only the latest.

    :param ti: the task instance.
    :param work: what this try waits for.
    :raises Exception: Airflow does not tell, as it does not tell a task whose supervisor is gone.
    """
    if not journal.has_store:
        return True
    state = task_state(ti)
    if state == "running":
        return not journal.now.retry_is_left and journal.owns(work)
    return state in _ENDED


async def trigger_was_killed(trigger: Any) -> bool:
    """Tell whether a person, or Airflow, ended the task of a trigger that is cancelled.

    A task that is deferred waits on: the triggerer restarts, or another one has taken the trigger. A cleared task comes again,
    often before its old trigger hears of it; from Airflow 3.3 on, it finds the work, and goes on with it or stops it.

    :param trigger: an Airflow trigger.
    """
    from airflow.triggers.base import BaseTrigger
    from asgiref.sync import sync_to_async

    if trigger.task_instance is None:
        return False
    state = await sync_to_async(task_state, thread_sensitive=False)(trigger.task_instance)
    has_store = hasattr(BaseTrigger, "on_kill")  # both came with Airflow 3.3
    killed = state in _ENDED if has_store else state != "deferred"
    trigger.log.info("The trigger is cancelled while its task is %s%s.", state, "" if killed else ": what it waits for goes on")
    return killed


def task_state(ti: Any) -> str | None:
    """Return the state of a task instance as Airflow's database has it: ``None`` just after a clear, ``removed`` with its run."""
    try:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    except ImportError:
        return _task_state_in_airflow_2(ti)
    map_index = -1 if ti.map_index is None else ti.map_index
    states = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=map_index
    )
    key = ti.task_id if map_index < 0 else f"{ti.task_id}_{map_index}"
    state: str | None = states.get(ti.run_id, {}).get(key, "removed")
    return state


def _task_state_in_airflow_2(ti: Any) -> str | None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        state: str | None = (
            session.query(TaskInstance.state)
            .filter_by(dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index)
            .scalar()
        )
    return state


def beside(action: Callable[[], None]) -> None:
    """Do something in a thread of its own, and wait for it, but not for ever.

    Airflow calls ``on_kill`` from a signal handler. Where the signal has interrupted a request to Airflow, a second one from the same
    thread would wait for the first one, which waits for the handler; this thread goes on when the handler has returned.
    """
    thread = threading.Thread(target=action, name="airflow-dicom-kill", daemon=True)
    thread.start()
    thread.join(_PATIENCE)
