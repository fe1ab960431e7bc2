"""Airflow's scheduler, which has loaded beforehand what its tasks load.

The LocalExecutor's tasks are forks of it. So none of them needs the seconds of processor time again that Google's libraries take.
"""

from __future__ import annotations

import importlib
import runpy

MODULES = (
    "airflow.providers.google.cloud.operators.bigquery",
    "airflow.providers.google.cloud.operators.gcs",
    "airflow_dicom.hooks.healthcare",
    "airflow_dicom.operators",
    "airflow_dicom.sensors",
    "google.cloud.bigquery",
    "google.cloud.storage",
    "googleapiclient.discovery",
)

if __name__ == "__main__":
    for name in MODULES:
        importlib.import_module(name)
    runpy.run_module("airflow", run_name="__main__", alter_sys=True)
