"""
### A DICOM store for one run

Make a DICOM store, import files into it, write their metadata to BigQuery, and delete the store again, whatever became of the work: making
and deleting it are *setup* and *teardown*. Each run has a store of its own, so that two runs do not meet.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_dicom.operators import DicomCreateStoreOperator, DicomDeleteStoreOperator, DicomExportOperator, DicomImportOperator

DATASET = {
    "project_id": "{{ params.project_id }}",
    "location": "{{ params.location }}",
    "dataset_id": "{{ params.dataset_id }}",
}
STORE = {**DATASET, "dicom_store_id": "scratch-{{ ts_nodash }}-{{ run_id | length }}"}

with DAG(
    dag_id="dicom_scratch_store",
    description="Make a DICOM store, work with it, and delete it",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    tags=["dicom", "example"],
    params={
        "gcs_uri": Param(
            "gs://demo-dicom/incoming/test_files/*_small.dcm",
            type="string",
            pattern="^gs://",
            title="Import from",
            description="Objects, or with wildcards many.",
        ),
        "bigquery_table": Param(
            "demo.dicom.scratch",
            type="string",
            title="Table",
            description="project.dataset.table for the metadata; it is overwritten.",
        ),
        "project_id": Param("demo", type="string", title="Project", section="Dataset", pattern=r"^[a-z0-9.:-]+$"),
        "location": Param("us-central1", type="string", title="Location", section="Dataset", pattern=r"^[a-z0-9-]+$"),
        "dataset_id": Param("radiology", type="string", title="Healthcare dataset", section="Dataset", pattern=r"^[\w.-]+$"),
    },
) as dag:
    # [START howto_scratch_store]
    make = DicomCreateStoreOperator(task_id="make", **STORE, body={"labels": {"for": "one-run"}}, if_exists="ignore").as_setup()
    fill = DicomImportOperator(task_id="fill", **STORE, gcs_uri="{{ params.gcs_uri }}", deferrable=True)
    describe = DicomExportOperator(
        task_id="describe",
        **STORE,
        bigquery_table="{{ params.bigquery_table }}",
        write_disposition="WRITE_TRUNCATE",
        deferrable=True,
    )
    delete = DicomDeleteStoreOperator(
        task_id="delete", **STORE, delete_contents=True, if_missing="ignore", retries=3
    ).as_teardown(setups=make)

    make >> fill >> describe >> delete
    # [END howto_scratch_store]
