"""BigQuery v2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow_dicom.emulator.bigquery.catalog import Catalog
from airflow_dicom.emulator.bigquery.load import load_json_lines
from airflow_dicom.emulator.bigquery.names import TableName
from airflow_dicom.emulator.server import Handler
from airflow_dicom.emulator.state import State


class BigQueryService:
    """The emulated BigQuery.

    :param state: where everything is kept.
    :param objects: the emulated Cloud Storage, for extracts, exports and loads.
    """

    apis = ["bigquery.v2"]

    def __init__(self, state: State, objects: Any) -> None:
        self.catalog = Catalog(state)
        self._objects = objects

    def handlers(self) -> dict[str, Handler]:
        """Return the code by method id."""
        return {}

    def load_json_lines(
        self, project: str, dataset: str, table: str, schema: list[dict[str, Any]], path: Path, write_disposition: str
    ) -> int:
        """Load a file of newline-delimited JSON into a table, which is created if need be; all rows or none.

        :param schema: the rows' ``TableFieldSchema`` dictionaries; on ``WRITE_APPEND`` missing columns are added to the table.
        :param path: the file.
        :param write_disposition: ``WRITE_EMPTY``, ``WRITE_TRUNCATE`` or ``WRITE_APPEND``.
        :return: how many rows were loaded.
        :raises ApiError: 404 for no such dataset, 409 for ``WRITE_EMPTY`` on a table with rows, 400 for rows that do not fit.
        """
        return load_json_lines(self.catalog, TableName(project, dataset, table), schema, [path], write_disposition)

    def close(self) -> None:
        """Stop background work and close the database."""
        self.catalog.engine.close()
