"""Mapped deferred imports, mapped deferrable tasks that do nothing, and sensors, for the benchmark of what Airflow pays for a wait."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, task

from airflow_dicom.operators import DicomImportOperator
from airflow_dicom.sensors import DicomOperationSensor

STORE = {"project_id": "demo", "location": "us-central1", "dataset_id": "radiology", "dicom_store_id": "images"}
URI = "gs://demo-dicom/incoming/test_files/CT_small.dcm"
TASKS = int(os.environ.get("OVERHEAD_TASKS", "8"))
SECONDS = 10


class Bare(BaseOperator):
    """A deferrable task that does nothing: what Airflow itself needs."""

    template_fields = ("gcs_uri",)

    def __init__(self, *, gcs_uri: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gcs_uri = gcs_uri

    def execute(self, context: Any) -> None:
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=SECONDS)), method_name="resume")

    def resume(self, context: Any, event: Any) -> None:
        pass


@task
def uris() -> list[str]:
    return [URI] * TASKS


with DAG("overhead_bare", schedule=None):
    Bare.partial(task_id="work").expand(gcs_uri=uris())

with DAG("overhead_import", schedule=None):
    DicomImportOperator.partial(task_id="work", **STORE, deferrable=True).expand(gcs_uri=uris())

with DAG("overhead_sensors", schedule=None):
    started = DicomImportOperator(task_id="started", **STORE, gcs_uri=URI, wait_for_completion=False)
    for number in range(TASKS):
        DicomOperationSensor(task_id=f"work_{number}", operation=started.output, poke_interval=10, timeout=600, deferrable=True)

with DAG("overhead_mapped_sensors", schedule=None):

    @task
    def operations(started: dict[str, Any]) -> list[str]:
        return [started["operation"]] * TASKS

    first = DicomImportOperator(task_id="started", **STORE, gcs_uri=URI, wait_for_completion=False)
    DicomOperationSensor.partial(task_id="work", poke_interval=10, timeout=600, deferrable=True).expand(
        operation=operations(first.output)
    )
