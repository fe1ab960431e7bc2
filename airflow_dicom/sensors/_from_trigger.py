"""Which sensors start in the triggerer, without a worker before (Airflow 3.3), and what is left to do for those."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_dicom.links.dicom import DicomLogsLink
from airflow_dicom.operation import operation_name
from airflow_dicom.polling import DEADLINE_GRACE

if TYPE_CHECKING:
    from airflow.triggers.base import StartTriggerArgs

    from airflow_dicom.sensors.dicom_operation import DicomOperationSensor

_TRIGGER = "airflow_dicom.triggers.dicom.DicomOperationStartTrigger"


def start_trigger_args(sensor: DicomOperationSensor) -> StartTriggerArgs | None:
    """Return how Airflow starts a sensor in the triggerer; ``None`` where only a worker does what the sensor is asked for."""
    from airflow.triggers.base import BaseTrigger, StartTriggerArgs

    if not (sensor.deferrable and hasattr(BaseTrigger, "on_kill")):  # which Airflow before 3.3 has not
        return None
    operation = _operation(sensor)
    if operation is None or not _needs_no_worker(sensor):
        return None
    return StartTriggerArgs(
        trigger_cls=_TRIGGER,
        trigger_kwargs={
            "operation": operation,
            "gcp_conn_id": sensor.gcp_conn_id,
            "impersonation_chain": sensor.impersonation_chain,
            "api_version": sensor.api_version,
            "poll_interval": sensor.poke_interval,
            "cancel_on_kill": False,
            "not_before": 0.0,
        },
        next_method="execute_complete",
        timeout=timedelta(seconds=sensor.timeout + DEADLINE_GRACE),
    )


def _operation(sensor: DicomOperationSensor) -> str | dict[str, str] | None:
    """Return the operation's name, or the XCom that holds it; ``None`` if it takes a worker to find out."""
    from airflow.providers.common.compat.sdk import XComArg

    operation: Any = sensor.operation
    if isinstance(operation, XComArg):
        task, key = getattr(operation, "operator", None), getattr(operation, "key", None)
        # An XCom of a mapped task is many; what is computed of XComs has neither a task nor a key.
        if task is None or task.is_mapped or task.get_closest_mapped_task_group() is not None:
            return None
        return {"task_id": task.task_id, "key": str(key)}
    try:
        return operation_name(operation)
    except (KeyError, TypeError, ValueError):  # a template, or an error that the worker explains
        return None


def _needs_no_worker(sensor: DicomOperationSensor) -> bool:
    """Tell whether nothing but the wait would happen in the worker that starts the sensor.

    A trigger renders no macros of users, and Airflow 3.3 lets a triggerer end when a run's ``conf`` does not fit the DAG's ``params``
    any more. It takes ``execution_timeout`` for the wait's, and counts no task that it starts so.
    """
    fields = [getattr(sensor, name) for name in sensor.template_fields if name != "operation"]
    hooks = (sensor.on_execute_callback, sensor._pre_execute_hook, sensor._post_execute_hook)
    limits = (sensor.execution_timeout, sensor.max_active_tis_per_dag, sensor.max_active_tis_per_dagrun)
    if any(_is_computed(field) for field in fields) or any(hooks) or any(limits):
        return False
    dag: Any = sensor.get_dag()
    if dag is None or dag.params or sensor.params or sensor.get_closest_mapped_task_group() is not None:
        return False
    try:
        sensor._check_arguments()
        sensor.policy()
    except ValueError:  # the worker explains it
        return False
    return True


def _is_computed(value: Any) -> bool:
    """Tell whether an argument is, or contains, what is only known when the task runs."""
    if isinstance(value, str):
        return any(mark in value for mark in ("{{", "{%", "{#"))
    if isinstance(value, Sequence):
        return any(map(_is_computed, value))
    return not (value is None or isinstance(value, int))


def forget_earlier_tries(ti: Any) -> None:
    """Remove what earlier tries have pushed: Airflow does so for a worker that starts a task, not for one that ends it."""
    from airflow.sdk.execution_time.xcom import XCom

    for key in ("return_value", DicomLogsLink.key):
        XCom.delete(key=key, dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index)
