"""
### Export of a whole store

Write all instances of a DICOM store to a Cloud Storage bucket, one object each:
`FOLDER/StudyInstanceUID/SeriesInstanceUID/SOPInstanceUID.dcm`, or what *Format* makes of it. Objects that exist are overwritten.

The store must not be empty: run *dicom_import* first.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_dicom.operators import DicomExportOperator
from airflow_dicom.typing import DicomStoreArguments

STORE: DicomStoreArguments = {
    "project_id": "{{ params.project_id }}",
    "location": "{{ params.location }}",
    "dataset_id": "{{ params.dataset_id }}",
    "dicom_store_id": "{{ params.dicom_store_id }}",
}

with DAG(
    dag_id="dicom_export",
    description="Export all instances of a DICOM store to Cloud Storage",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    tags=["dicom", "example"],
    params={
        "gcs_uri_prefix": Param(
            "gs://demo-dicom/exported/all",
            type="string",
            minLength=1,
            title="Folder",
            description="The bucket must exist, the folder need not.",
        ),
        "mime_type": Param(
            "application/dicom; transfer-syntax=*",
            type="string",
            enum=[
                "application/dicom; transfer-syntax=*",
                "application/dicom; transfer-syntax=1.2.840.10008.1.2.1",
                "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90",
                "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50",
                "image/png",
                "application/octet-stream; transfer-syntax=*",
            ],
            values_display={
                "application/dicom; transfer-syntax=*": "DICOM, as stored",
                "application/dicom; transfer-syntax=1.2.840.10008.1.2.1": "DICOM, uncompressed (Explicit VR Little Endian)",
                "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90": "DICOM, JPEG 2000 lossless",
                "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50": "Images, JPEG",
                "image/png": "Images, PNG",
                "application/octet-stream; transfer-syntax=*": "Pixels alone, as stored",
            },
            title="Format",
            description="An instance that cannot be converted counts as failed.",
        ),
        "max_failures": Param(
            0,
            type="integer",
            minimum=0,
            title="Instances that may fail",
            description="The task fails when more do.",
        ),
        "project_id": Param("demo", type="string", title="Project", section="DICOM store", minLength=1),
        "location": Param("us-central1", type="string", title="Location", section="DICOM store", minLength=1),
        "dataset_id": Param("radiology", type="string", title="Healthcare dataset", section="DICOM store", minLength=1),
        "dicom_store_id": Param("images", type="string", title="DICOM store", section="DICOM store", minLength=1),
    },
) as dag:
    # [START howto_operator_export_gcs]
    export_instances = DicomExportOperator(
        task_id="export_instances",
        doc_md="Writes one object per instance. *Cloud Storage*, on the tab *Details*, opens the folder.",
        **STORE,
        gcs_uri_prefix="{{ params.gcs_uri_prefix }}",
        mime_type="{{ params.mime_type }}",
        max_failures="{{ params.max_failures }}",
        deferrable=True,
    )
    # [END howto_operator_export_gcs]
