"""A task that does next to nothing: what Airflow itself needs."""

from __future__ import annotations

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("plain_bash", schedule=None) as dag:
    BashOperator(task_id="work", bash_command="true")
