"""
### Metadata to BigQuery

Write one row per instance of a DICOM store to a BigQuery table, with a column for each DICOM attribute.

With *Replace the rows*, the table holds afterwards what the store holds, however often the run is repeated. *Add to the rows* adds
them again each time; such a task refuses to be retried where nobody can tell whether the rows are there already.
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
    dag_id="dicom_metadata_to_bigquery",
    description="Export the metadata of all instances of a DICOM store to BigQuery",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,  # two runs would write the same table
    tags=["dicom", "example"],
    params={
        "bigquery_table": Param(
            "demo.dicom.metadata",
            type="string",
            minLength=1,
            title="Table",
            description="project.dataset.table; the dataset must exist, the table need not.",
        ),
        "write_disposition": Param(
            "WRITE_TRUNCATE",
            type="string",
            enum=["WRITE_TRUNCATE", "WRITE_APPEND", "WRITE_EMPTY"],
            values_display={
                "WRITE_TRUNCATE": "Replace the rows",
                "WRITE_APPEND": "Add to the rows",
                "WRITE_EMPTY": "Fail if there are rows",
            },
            title="If the table exists",
            description="Replacing is safe to repeat; adding is not.",
        ),
        "project_id": Param("demo", type="string", title="Project", section="DICOM store", minLength=1),
        "location": Param("us-central1", type="string", title="Location", section="DICOM store", minLength=1),
        "dataset_id": Param("radiology", type="string", title="Healthcare dataset", section="DICOM store", minLength=1),
        "dicom_store_id": Param("images", type="string", title="DICOM store", section="DICOM store", minLength=1),
    },
) as dag:
    # [START howto_operator_export_bigquery]
    export_metadata = DicomExportOperator(
        task_id="export_metadata",
        doc_md="Writes one row per instance. *BigQuery table*, on the tab *Details*, opens the table.",
        **STORE,
        bigquery_table="{{ params.bigquery_table }}",
        write_disposition="{{ params.write_disposition }}",
        deferrable=True,
    )
    # [END howto_operator_export_bigquery]
