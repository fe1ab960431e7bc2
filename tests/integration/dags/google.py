"""Operators and sensors of the Google provider, unmodified, on the emulator."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG
from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator
from airflow.providers.google.cloud.operators.gcs import GCSDeleteObjectsOperator
from airflow.providers.google.cloud.sensors.gcs import GCSObjectExistenceSensor, GCSObjectsWithPrefixExistenceSensor
from airflow.providers.google.cloud.transfers.bigquery_to_gcs import BigQueryToGCSOperator
from airflow.providers.google.cloud.transfers.gcs_to_gcs import GCSToGCSOperator

BUCKET = "demo-dicom"

with DAG("google_operators", schedule=None, catchup=False) as dag:
    for mode, deferrable in (("deferrable", True), ("synchronous", False)):
        table = {"projectId": "demo", "datasetId": "dicom", "tableId": f"google_{mode}"}
        query = BigQueryInsertJobOperator(
            task_id=f"query_{mode}",
            project_id="demo",
            location="US",
            configuration={
                "query": {
                    "query": "SELECT x AS number, CONCAT('row ', CAST(x AS STRING)) AS text FROM UNNEST([1, 2, 3]) AS x",
                    "useLegacySql": False,
                    "destinationTable": table,
                    "writeDisposition": "WRITE_TRUNCATE",
                }
            },
            poll_interval=0.5,
            deferrable=deferrable,
        )
        to_gcs = BigQueryToGCSOperator(
            task_id=f"to_gcs_{mode}",
            project_id="demo",
            location="US",
            source_project_dataset_table=f"demo.dicom.google_{mode}",
            destination_cloud_storage_uris=[f"gs://{BUCKET}/google/{mode}-*.csv"],
            deferrable=deferrable,
        )
        copied = GCSToGCSOperator(
            task_id=f"copy_{mode}",
            source_bucket=BUCKET,
            source_object=f"google/{mode}-000000000000.csv",
            destination_bucket=BUCKET,
            destination_object=f"google/copied-{mode}.csv",
        )
        exists = GCSObjectExistenceSensor(
            task_id=f"exists_{mode}",
            bucket=BUCKET,
            object=f"google/copied-{mode}.csv",
            poke_interval=0.5,
            timeout=120,
            deferrable=deferrable,
        )
        prefix = GCSObjectsWithPrefixExistenceSensor(
            task_id=f"prefix_{mode}",
            bucket=BUCKET,
            prefix=f"google/copied-{mode}",
            poke_interval=0.5,
            timeout=120,
            deferrable=deferrable,
        )
        deleted = GCSDeleteObjectsOperator(
            task_id=f"delete_{mode}", bucket_name=BUCKET, objects=[f"google/{mode}-000000000000.csv"]
        )
        query >> to_gcs >> copied >> [exists, prefix] >> deleted
