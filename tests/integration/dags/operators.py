"""Every operator and the sensor, in both modes, and tasks that cannot succeed."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG

from airflow_dicom.operators import DicomExportOperator, DicomImportOperator, FilterFileFromBigQueryOperator
from airflow_dicom.sensors import DicomOperationSensor

try:
    from airflow_dicom.retry_policy import DicomRetryPolicy
except ImportError:  # Airflow before 3.3
    ONCE = {}
else:
    #: Another try would come five minutes later.
    ONCE = {"retries": 2, "retry_policy": DicomRetryPolicy()}

STORE = {"project_id": "demo", "location": "us-central1", "dataset_id": "radiology", "dicom_store_id": "images"}


def operators_dag(mode: str, deferrable: bool) -> DAG:
    """Return a DAG that has each operator once or more."""
    waiting = {"deferrable": deferrable, "poll_interval": 0.5}
    table = f"demo.dicom.operators_{mode}"
    with DAG(f"operators_{mode}", schedule=None, catchup=False) as dag:
        imported = DicomImportOperator(
            task_id="import", **STORE, gcs_uri="gs://demo-dicom/incoming/test_files/*_small.dcm", **waiting
        )
        to_gcs = DicomExportOperator(
            task_id="to_gcs",
            **STORE,
            gcs_uri_prefix=f"gs://demo-dicom/{mode}/{{{{ run_id }}}}",
            expected_instances="{{ ti.xcom_pull('import')['success'] }}",
            **waiting,
        )
        to_bigquery = DicomExportOperator(
            task_id="to_bigquery", **STORE, bigquery_table=table, write_disposition="WRITE_TRUNCATE", **waiting
        )
        paths = FilterFileFromBigQueryOperator(
            task_id="paths",
            project_id="demo",
            table=table,
            level="study",
            where="Modality = 'MR'",
            filter_uri=f"gs://demo-dicom/{mode}/filter.txt",
            **waiting,
        )
        filtered = DicomExportOperator(
            task_id="filtered", **STORE, filter_uri=paths.output, gcs_uri_prefix=f"gs://demo-dicom/{mode}/filtered", **waiting
        )
        submitted = DicomExportOperator(
            task_id="submitted", **STORE, gcs_uri_prefix=f"gs://demo-dicom/{mode}/later", wait_for_completion=False, **waiting
        )
        waited = DicomOperationSensor(
            task_id="waited", operation=submitted.output, poke_interval=0.5, timeout=300, deferrable=deferrable
        )
        imported >> [to_gcs, to_bigquery, submitted]
        to_bigquery >> paths >> filtered
        submitted >> waited
    return dag


def bad_inputs_dag(mode: str, deferrable: bool) -> DAG:
    """Return a DAG of tasks that fail, each with a text that says why."""
    with DAG(f"bad_inputs_{mode}", schedule=None, catchup=False) as dag:
        DicomExportOperator(
            task_id="two_destinations",
            **ONCE,
            **STORE,
            gcs_uri_prefix="gs://demo-dicom/{{ 'x' }}",
            bigquery_table="{{ 'demo.dicom.x' }}",
            deferrable=deferrable,
        )
        DicomImportOperator(
            task_id="no_store",
            **ONCE,
            **{**STORE, "dicom_store_id": "nowhere"},
            gcs_uri="gs://demo-dicom/incoming/**",
            deferrable=deferrable,
        )
        DicomImportOperator(
            task_id="broken_files",
            **STORE,
            gcs_uri="gs://demo-dicom/broken/palettes/*",
            deferrable=deferrable,
            poll_interval=0.5,
        )
        FilterFileFromBigQueryOperator(
            task_id="no_table",
            **ONCE,
            project_id="demo",
            table="demo.dicom.nowhere",
            filter_uri="gs://demo-dicom/x.txt",
            deferrable=deferrable,
        )
        DicomOperationSensor(
            task_id="no_operation",
            operation="projects/demo/locations/us-central1/datasets/radiology/operations/1",
            poke_interval=0.5,
            timeout=300,
            deferrable=deferrable,
        )
    return dag


for mode, deferrable in (("deferrable", True), ("synchronous", False)):
    operators_dag(mode, deferrable)
    bad_inputs_dag(mode, deferrable)
