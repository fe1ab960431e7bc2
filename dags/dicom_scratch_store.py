"""
### A DICOM store for one run

Make a DICOM store, import files into it, write their metadata to BigQuery, and delete the store again, whatever became of the work:
making it and deleting it are *setup* and *teardown*. Each run has a store of its own.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_dicom.operators import DicomCreateStoreOperator, DicomDeleteStoreOperator, DicomExportOperator, DicomImportOperator

DATASET = {
    "project_id": "{{ params.project_id }}",
    "location": "{{ params.location }}",
    "dataset_id": "{{ params.dataset_id }}",
}
STORE: dict[str, Any] = {**DATASET, "dicom_store_id": "scratch-{{ run_id | replace(':', '-') | replace('+', '-') }}"}

with DAG(
    dag_id="dicom_scratch_store",
    description="Make a DICOM store, work with it, and delete it",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,  # they write the same table
    tags=["dicom", "example"],
    params={
        "gcs_uri": Param(
            "gs://demo-dicom/incoming/test_files/*_small.dcm",
            type="string",
            minLength=1,
            title="Import from",
            description="Objects, or with wildcards many.",
        ),
        "bigquery_table": Param(
            "demo.dicom.scratch",
            type="string",
            minLength=1,
            title="Table",
            description="project.dataset.table for the metadata; it is overwritten.",
        ),
        "project_id": Param("demo", type="string", title="Project", section="Dataset", minLength=1),
        "location": Param("us-central1", type="string", title="Location", section="Dataset", minLength=1),
        "dataset_id": Param("radiology", type="string", title="Healthcare dataset", section="Dataset", minLength=1),
    },
) as dag:
    # [START howto_scratch_store]
    make = DicomCreateStoreOperator(
        task_id="make",
        doc_md="Makes an empty store with a label. A retry takes the one that is there.",
        **STORE,
        body={"labels": {"for": "one-run"}},
        if_exists="ignore",
    )
    fill = DicomImportOperator(
        task_id="fill",
        doc_md="Imports the files into it.",
        **STORE,
        gcs_uri="{{ params.gcs_uri }}",
        deferrable=True,
    )
    describe = DicomExportOperator(
        task_id="describe",
        doc_md="Writes a row of metadata for each instance to the table.",
        **STORE,
        bigquery_table="{{ params.bigquery_table }}",
        write_disposition="WRITE_TRUNCATE",
        deferrable=True,
    )
    delete = DicomDeleteStoreOperator(
        task_id="delete",
        doc_md="Deletes the store with all that is in it, whether the tasks before succeeded or not.",
        **STORE,
        delete_contents=True,
        if_missing="ignore",
        retries=3,
    ).as_teardown(setups=make)  # which makes the other one a setup

    make >> fill >> describe >> delete
    # [END howto_scratch_store]
