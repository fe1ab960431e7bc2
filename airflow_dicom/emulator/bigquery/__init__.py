"""BigQuery v2: SQLGlot translates, DuckDB runs."""

from airflow_dicom.emulator.bigquery.service import BigQueryService

__all__ = ["BigQueryService"]
