"""A deferrable query of the Google provider, for the benchmark of worker slots."""

from __future__ import annotations

from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator
from airflow.sdk import DAG

with DAG("deferrable_query", schedule=None) as dag:
    BigQueryInsertJobOperator(
        task_id="work",
        project_id="demo",
        location="US",
        configuration={"query": {"query": "SELECT 1", "useLegacySql": False}},
        poll_interval=1,
        deferrable=True,
    )
