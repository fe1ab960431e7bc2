"""BigQuery v2: SQLGlot translates, DuckDB runs."""

from gcp_dicom_emulator.bigquery.service import BigQueryService

__all__ = ["BigQueryService"]
