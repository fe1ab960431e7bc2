"""A deferrable import, for the benchmark of worker slots."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_dicom.operators import DicomImportOperator

with DAG("deferrable_import", schedule=None) as dag:
    DicomImportOperator(
        task_id="work",
        project_id="demo",
        location="us-central1",
        dataset_id="radiology",
        dicom_store_id="images",
        gcs_uri="gs://demo-dicom/incoming/test_files/CT_small.dcm",
        poll_interval=1,
        deferrable=True,
    )
