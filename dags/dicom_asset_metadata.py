"""
### Metadata to BigQuery whenever the store has new instances

Runs when a task with the store among its outlets has succeeded, such as that of *dicom_asset_import*: writes one row per instance of
the store to a BigQuery table, in place of the rows it had.
"""

from __future__ import annotations

# [START howto_asset_schedule]
from datetime import UTC, datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_dicom.assets import dicom_store_asset
from airflow_dicom.operators import DicomExportOperator

STORE: dict[str, Any] = {"project_id": "demo", "location": "us-central1", "dataset_id": "radiology", "dicom_store_id": "images"}

with DAG(
    dag_id="dicom_asset_metadata",
    description="Export a DICOM store's metadata to BigQuery whenever an import has added to the store",
    doc_md=__doc__,
    schedule=[dicom_store_asset(**STORE)],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,  # two runs would replace the same rows
    tags=["dicom", "example"],
    params={
        "bigquery_table": Param(
            "demo.dicom.metadata",
            type="string",
            minLength=1,
            title="Table",
            description="project.dataset.table; the dataset must exist, the table need not.",
        ),
    },
) as dag:
    export_metadata = DicomExportOperator(
        task_id="export_metadata",
        doc_md="Replaces the table's rows by the metadata of all instances that the store holds now.",
        **STORE,
        bigquery_table="{{ params.bigquery_table }}",
        write_disposition="WRITE_TRUNCATE",
        deferrable=True,
    )
# [END howto_asset_schedule]
