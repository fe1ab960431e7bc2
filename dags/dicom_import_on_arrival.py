"""
### Import when files arrive

Wait until a bucket has objects below a folder, then import them.

The sensor is content with the first object. So give each delivery a folder of its own, and put into *Wait for* the name of an object
that its sender writes last.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG, Param
from airflow.providers.google.cloud.sensors.gcs import GCSObjectsWithPrefixExistenceSensor

from airflow_dicom.operators import DicomImportOperator
from airflow_dicom.typing import DicomStoreArguments

STORE: DicomStoreArguments = {
    "project_id": "{{ params.project_id }}",
    "location": "{{ params.location }}",
    "dataset_id": "{{ params.dataset_id }}",
    "dicom_store_id": "{{ params.dicom_store_id }}",
}

with DAG(
    dag_id="dicom_import_on_arrival",
    description="Wait for objects in Cloud Storage, then import them",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    tags=["dicom", "example"],
    params={
        "bucket": Param(
            "demo-dicom",
            type="string",
            pattern=r"^[a-z0-9][a-z0-9._-]*$",
            title="Bucket",
            description="Its name, without gs://.",
        ),
        "wait_for": Param(
            "incoming/test_files/dicomdirtests/77654033/CT2/",
            type="string",
            pattern=r"^[^*?]+$",
            title="Wait for",
            description="The beginning of the name of an object: a folder, or the object that marks the end of a delivery.",
        ),
        "files": Param(
            "incoming/test_files/dicomdirtests/77654033/CT2/**",
            type="string",
            pattern=r"^[^/]",
            title="Files to import",
            description="Names in the bucket, without a slash at the start. ** at the end stands for everything below a folder, "
            "**.dcm for its DICOM files.",
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
    # [START howto_operator_import_on_arrival]
    arrived = GCSObjectsWithPrefixExistenceSensor(
        task_id="arrived",
        doc_md="Looks for an object every 30 seconds, for a day.",
        bucket="{{ params.bucket }}",
        prefix="{{ params.wait_for }}",
        poke_interval=30,
        timeout=24 * 60 * 60,
        deferrable=True,
    )
    import_instances = DicomImportOperator(
        task_id="import_instances",
        doc_md="Imports what is there when it starts. What arrives later is left for another run.",
        **STORE,
        gcs_uri="gs://{{ params.bucket }}/{{ params.files }}",
        max_failures="{{ params.max_failures }}",
        deferrable=True,
    )
    arrived >> import_instances
    # [END howto_operator_import_on_arrival]
