"""
### Submit, and wait elsewhere

Start an import in one task and wait for its end in another. In between, other tasks can run, and whoever has the name of an operation,
from whatever program, can let `DicomOperationSensor` wait for it.

Where nothing happens in between, one task that does both is better: a retry or a kill of it knows the operation.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_dicom.operators import DicomImportOperator
from airflow_dicom.sensors import DicomOperationSensor
from airflow_dicom.typing import DicomStoreArguments

STORE: DicomStoreArguments = {
    "project_id": "{{ params.project_id }}",
    "location": "{{ params.location }}",
    "dataset_id": "{{ params.dataset_id }}",
    "dicom_store_id": "{{ params.dicom_store_id }}",
}

with DAG(
    dag_id="dicom_submit_and_wait",
    description="Start an import, wait for it with the sensor",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    tags=["dicom", "example"],
    params={
        "gcs_uri": Param(
            "gs://demo-dicom/incoming/test_files/*_small.dcm",
            type="string",
            minLength=1,
            title="Files",
            description="* stands for any part of a name, ? for one character, ** at the end for everything below a folder.",
        ),
        "max_failures": Param(
            0,
            type="integer",
            minimum=0,
            title="Files that may fail",
            description="The task fails when more do.",
        ),
        "project_id": Param("demo", type="string", title="Project", section="DICOM store", minLength=1),
        "location": Param("us-central1", type="string", title="Location", section="DICOM store", minLength=1),
        "dataset_id": Param("radiology", type="string", title="Healthcare dataset", section="DICOM store", minLength=1),
        "dicom_store_id": Param("images", type="string", title="DICOM store", section="DICOM store", minLength=1),
    },
) as dag:
    # [START howto_sensor_operation]
    submit = DicomImportOperator(
        task_id="submit",
        doc_md="Starts the import and returns its operation at once.",
        **STORE,
        gcs_uri="{{ params.gcs_uri }}",
        wait_for_completion=False,
    )
    wait = DicomOperationSensor(
        task_id="wait",
        doc_md="Waits for the operation and judges how it ended. It never cancels it.",
        operation=submit.output,
        max_failures="{{ params.max_failures }}",
        poke_interval=10,
        timeout=24 * 60 * 60,
        deferrable=True,
    )
    # [END howto_sensor_operation]
