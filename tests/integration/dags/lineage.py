"""Every operator once, with OpenLineage, which the test turns on for this DAG alone."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG
from airflow.providers.openlineage.utils.selective_enable import enable_lineage

from airflow_dicom.assets import dicom_store_asset
from airflow_dicom.operators import (
    DicomExportOperator,
    DicomImportOperator,
    FilterFileFromBigQueryOperator,
    FilterFileFromPathsOperator,
)

STORE = {"project_id": "demo", "location": "us-central1", "dataset_id": "radiology", "dicom_store_id": "lineage"}

with DAG(dag_id="lineage", schedule=None, catchup=False) as dag:
    import_instances = DicomImportOperator(
        task_id="import_instances",
        **STORE,
        gcs_uri="gs://demo-dicom/incoming/test_files/CT_*.dcm",
        outlets=[dicom_store_asset(**STORE)],
        deferrable=False,
    )
    export_metadata = DicomExportOperator(
        task_id="export_metadata",
        **STORE,
        bigquery_table="demo.dicom.lineage",
        write_disposition="WRITE_TRUNCATE",
        deferrable=True,
    )
    build_filter = FilterFileFromBigQueryOperator(
        task_id="build_filter", table="demo.dicom.lineage", filter_uri="gs://demo-dicom/lineage/query.txt", deferrable=True
    )
    write_filter = FilterFileFromPathsOperator(
        task_id="write_filter", paths=["/studies/1.2.3"], filter_uri="gs://demo-dicom/lineage/paths.txt"
    )
    export_instances = DicomExportOperator(
        task_id="export_instances",
        **STORE,
        filter_uri=build_filter.output,
        gcs_uri_prefix="gs://demo-dicom/lineage/exported",
        deferrable=False,
    )
    import_instances >> export_metadata >> build_filter >> [write_filter, export_instances]

enable_lineage(dag)
