"""A DAG for each operator and mode, whose one task suffers what ``test_faults.py`` does to it.

Each DAG has a Google Cloud project of its own, named as the DAG, so that what the emulator saw tells which task asked for it.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_dicom.operators import (
    DicomDeidentifyOperator,
    DicomDeleteOperator,
    DicomExportOperator,
    DicomImportOperator,
    DicomSetBlobStorageSettingsOperator,
    FilterFileFromBigQueryOperator,
)
from airflow_dicom.sensors import DicomOperationSensor, DicomOperationsSensor, DicomStoreMetricsSensor

BUCKET = "demo-dicom"


class Pausing:
    """Stop on the way, where the run's conf says, so that a test can kill the worker just there."""

    def _announce(self, context: Any, *args: Any) -> None:
        super()._announce(context, *args)  # type: ignore[misc]
        pause(context, "started")

    def execute_complete(self, context: Any, **kwargs: Any) -> Any:
        pause(context, "resumed")
        return super().execute_complete(context, **kwargs)  # type: ignore[misc]


def pause(context: Any, where: str) -> None:
    """Wait to be killed, the first time that the task comes here: on a busy machine, that may be in a later try."""
    mark = Path(os.environ["AIRFLOW_HOME"]) / f"pausing {context['ti'].dag_id} {context['ti'].run_id}"
    if context["params"]["pause"] == where and not mark.exists():
        mark.touch()
        context["ti"].xcom_push(key="pausing", value=where)
        time.sleep(600)


class PausingImport(Pausing, DicomImportOperator):
    pass


class PausingExport(Pausing, DicomExportOperator):
    pass


class PausingDelete(Pausing, DicomDeleteOperator):
    pass


class PausingDeidentify(Pausing, DicomDeidentifyOperator):
    pass


class PausingStorageClass(Pausing, DicomSetBlobStorageSettingsOperator):
    pass


class PausingFilter(Pausing, FilterFileFromBigQueryOperator):
    pass


class PausingSensor(Pausing, DicomOperationSensor):
    pass


class PausingMetricsSensor(Pausing, DicomStoreMetricsSensor):
    pass


class PausingOperationsSensor(Pausing, DicomOperationsSensor):
    pass


def fault_dag(operator: str, mode: str, *, timed: bool) -> DAG:
    """Return the DAG of one operator in one mode.

    :param timed: whether the task has only a few seconds and no second try.
    """
    dag_id = f"faults-{operator.replace('_', '-')}-{mode}"
    task: dict[str, Any] = {
        "task_id": "work",
        "deferrable": mode == "deferrable",
        "retries": 0 if timed else 2,
        "retry_delay": timedelta(seconds=1),
        "gcp_conn_id": "{{ params.gcp_conn_id }}",
    }
    waiting = {"poll_interval": 0.5}
    sensor = {"poke_interval": 0.5, "timeout": 20 if timed else 600}
    if timed and not operator.endswith("sensor"):
        task["execution_timeout"] = timedelta(seconds=20)
    store = {"project_id": dag_id, "location": "us-central1", "dataset_id": "radiology", "dicom_store_id": "images"}
    names = ("pause", "operation", "study_1", "study_2")
    params = {**dict.fromkeys(names, ""), "gcp_conn_id": "google_cloud_default"}
    with DAG(f"{dag_id}{'-timed' if timed else ''}", schedule=None, catchup=False, params=params) as dag:
        if operator == "import":
            PausingImport(**task, **waiting, **store, gcs_uri=f"gs://{BUCKET}/incoming/test_files/*_small.dcm")
        elif operator == "import_list":
            uris = [f"gs://{BUCKET}/incoming/test_files/{name}_small.dcm" for name in ("CT", "MR")]
            PausingImport(**task, **waiting, **store, gcs_uri=uris)
        elif operator == "delete":
            PausingDelete(**task, **waiting, **store, paths=["{{ params.study_1 }}", "{{ params.study_2 }}"], on_empty="succeed")
        elif operator == "deidentify":
            research = f"projects/{dag_id}/locations/us-central1/datasets/radiology/dicomStores/research-{{{{ run_id }}}}"
            config = "ATTRIBUTE_CONFIDENTIALITY_BASIC_PROFILE"
            PausingDeidentify(**task, **waiting, **store, destination_store=research, config=config)
        elif operator == "storage_class":
            PausingStorageClass(**task, **waiting, **store, blob_storage_class="NEARLINE")
        elif operator == "gcs":
            PausingExport(**task, **waiting, **store, gcs_uri_prefix=f"gs://{BUCKET}/{dag_id}/{{{{ run_id }}}}")
        elif operator == "filter":
            PausingFilter(
                **task,
                **waiting,
                project_id=dag_id,
                table="demo.dicom.faults",
                filter_uri=f"gs://{BUCKET}/{dag_id}/{{{{ run_id }}}}/filter.txt",
            )
        elif operator == "sensor":
            PausingSensor(**task, **sensor, operation="{{ params.operation }}")
        elif operator == "metrics_sensor":
            PausingMetricsSensor(**task, **sensor, **store, min_instances=2)
        elif operator == "operations_sensor":
            del store["dicom_store_id"]
            PausingOperationsSensor(**task, **sensor, **store)
        else:
            PausingExport(
                **task,
                **waiting,
                **store,
                bigquery_table=f"{dag_id}.dicom.{{{{ run_id }}}}",
                write_disposition=operator.replace("bq", "write").upper(),
            )
    return dag


with DAG("faults-many", schedule=None, catchup=False, params={"operation": ""}, max_active_tasks=100) as many:
    DicomImportOperator.partial(
        task_id="imports",
        project_id="faults-many",
        location="us-central1",
        dataset_id="radiology",
        dicom_store_id="images",
        deferrable=True,
        poll_interval=0.5,
    ).expand(gcs_uri=[f"gs://{BUCKET}/incoming/test_files/{'*' * (number % 2)}CT_small.dcm" for number in range(50)])
    DicomOperationSensor.partial(task_id="sensors", deferrable=True, poke_interval=0.5, timeout=3600).expand(
        operation=["{{ params.operation }}"] * 150
    )


for operator in (
    *("import", "import_list", "delete", "deidentify", "storage_class", "gcs", "bq_empty", "bq_truncate", "bq_append", "filter"),
    *("sensor", "metrics_sensor", "operations_sensor"),
):
    for mode in ("deferrable", "synchronous"):
        fault_dag(operator, mode, timed=False)
        fault_dag(operator, mode, timed=True)
