"""Some of the fault DAGs again, with retries enough for an upgrade.

In a file that has only what release 0.1.0 has, whose workers read it, too.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_dicom.operators import DicomExportOperator, DicomImportOperator, FilterFileFromBigQueryOperator

BUCKET = "demo-dicom"


def upgrade_dag(operator: str) -> DAG:
    """Return the DAG of one operator."""
    project = f"faults-{operator.replace('_', '-')}-deferrable"
    task: dict[str, Any] = {
        "task_id": "work",
        "deferrable": True,
        "retries": 30,
        "retry_delay": timedelta(seconds=3),
        "poll_interval": 0.5,
        "project_id": project,
    }
    store = {"location": "us-central1", "dataset_id": "radiology", "dicom_store_id": "images"}
    with DAG(f"{project}-upgrade", schedule=None, catchup=False) as dag:
        if operator == "import":
            DicomImportOperator(**task, **store, gcs_uri=f"gs://{BUCKET}/incoming/test_files/*_small.dcm")
        elif operator == "gcs":
            DicomExportOperator(**task, **store, gcs_uri_prefix=f"gs://{BUCKET}/{project}/{{{{ run_id }}}}")
        elif operator == "bq_append":
            table = f"{project}.dicom.{{{{ run_id }}}}"
            DicomExportOperator(**task, **store, bigquery_table=table, write_disposition="WRITE_APPEND")
        else:
            uri = f"gs://{BUCKET}/{project}/{{{{ run_id }}}}/filter.txt"
            FilterFileFromBigQueryOperator(**task, table="demo.dicom.faults", filter_uri=uri)
    return dag


for operator in ("import", "gcs", "bq_append", "filter"):
    upgrade_dag(operator)
