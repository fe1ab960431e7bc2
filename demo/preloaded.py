"""One of Airflow's processes, which has loaded beforehand what its children load: they are forks, and need no time for that again.

The LocalExecutor's tasks are children of the scheduler, Celery's of a worker; what parses a DAG file is one of the DAG processor.

``DEMO_LONGEST_PAUSE`` says for how many seconds a task waits at most before it polls the emulator, which answers at once.
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys

_OF_TASKS = (
    "airflow.providers.google.cloud.operators.bigquery",
    "airflow.providers.google.cloud.operators.gcs",
    "airflow_dicom.hooks.healthcare",
    "airflow_dicom.operators",
    "airflow_dicom.sensors",
    "google.cloud.bigquery",
    "google.cloud.storage",
    "googleapiclient.discovery",
)
#: What a command of Airflow's loads.
MODULES = {"scheduler": _OF_TASKS, "celery": _OF_TASKS, "dag-processor": ("airflow_dicom.operators", "airflow_dicom.sensors")}


def wait_at_most(seconds: float) -> None:
    """Shorten the pauses that are made for Google Cloud, and for schedulers that do more than this one."""
    from airflow_dicom import polling
    from airflow_dicom.triggers import dicom

    polling.LONGEST_PAUSE = dicom.MIN_SECONDS_DEFERRED = seconds


if __name__ == "__main__":
    for name in MODULES.get(sys.argv[1], ()):
        importlib.import_module(name)
    if seconds := os.environ.get("DEMO_LONGEST_PAUSE"):
        wait_at_most(float(seconds))
    runpy.run_module("airflow", run_name="__main__", alter_sys=True)
