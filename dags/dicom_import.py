"""
### Import

Copy DICOM files from a Cloud Storage bucket into a DICOM store. Instances that the store has already are left as they are, so that
the run can be repeated.

The task fails when a file cannot be imported, unless *Files that may fail* allows it; its log then has a link to the cause of each.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_dicom.operators import DicomImportOperator
from airflow_dicom.typing import DicomStoreArguments

STORE: DicomStoreArguments = {
    "project_id": "{{ params.project_id }}",
    "location": "{{ params.location }}",
    "dataset_id": "{{ params.dataset_id }}",
    "dicom_store_id": "{{ params.dicom_store_id }}",
}

with DAG(
    dag_id="dicom_import",
    description="Import DICOM files from Cloud Storage",
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
            description="* stands for any part of a name, ? for one character, ** at the end for everything below a folder: "
            "gs://bucket/folder/** or gs://bucket/folder/**.dcm.",
        ),
        "max_failures": Param(
            0,
            type="integer",
            minimum=0,
            title="Files that may fail",
            description="The task fails when more do.",
        ),
        "blob_storage_class": Param(
            "STANDARD",
            type="string",
            enum=["STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"],
            title="Storage class",
            description="What the store keeps the pixels in: the colder, the cheaper to keep and the dearer to read.",
            section="More",
        ),
        "project_id": Param("demo", type="string", title="Project", section="DICOM store", minLength=1),
        "location": Param("us-central1", type="string", title="Location", section="DICOM store", minLength=1),
        "dataset_id": Param("radiology", type="string", title="Healthcare dataset", section="DICOM store", minLength=1),
        "dicom_store_id": Param("images", type="string", title="DICOM store", section="DICOM store", minLength=1),
    },
) as dag:
    # [START howto_operator_import]
    import_instances = DicomImportOperator(
        task_id="import_instances",
        doc_md="One import, however many files. *Operation logs*, on the tab *Details*, has the cause of each file that failed.",
        **STORE,
        gcs_uri="{{ params.gcs_uri }}",
        blob_storage_class="{{ params.blob_storage_class }}",
        max_failures="{{ params.max_failures }}",
        deferrable=True,
    )
    # [END howto_operator_import]
