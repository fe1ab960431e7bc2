"""What triggers must do otherwise before Airflow 3.3."""

from __future__ import annotations

from typing import Any

from airflow.triggers.base import BaseTrigger
from asgiref.sync import sync_to_async

#: Airflow 3.3 calls ``on_kill`` when a person marks or clears a deferred task, and only then.
HAS_ON_KILL = hasattr(BaseTrigger, "on_kill")

_DEFERRED = "deferred"


async def task_was_killed(trigger: BaseTrigger) -> bool:
    """Tell whether a cancelled trigger's task no longer waits for it, and so was killed: Airflow does not say why it cancels.

    A restart of the triggerer, or another triggerer that takes over, leaves the task deferred.
    """
    ti: Any = trigger.task_instance
    if ti is None:
        return False
    state = await sync_to_async(_state, thread_sensitive=False)(ti)
    return state != _DEFERRED


def _state(ti: Any) -> str | None:
    try:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    except ImportError:
        return _state_in_airflow_2(ti)
    states = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    key = ti.task_id if ti.map_index < 0 else f"{ti.task_id}_{ti.map_index}"
    # A run that was deleted has no states.
    state: str | None = states.get(ti.run_id, {}).get(key)
    return state


def _state_in_airflow_2(ti: Any) -> str | None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        state: str | None = (
            session.query(TaskInstance.state)
            .filter_by(dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index)
            .scalar()
        )
    return state
