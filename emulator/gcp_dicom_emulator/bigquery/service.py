"""BigQuery v2: the service, made of its parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.catalog import Catalog
from gcp_dicom_emulator.bigquery.http import Methods
from gcp_dicom_emulator.bigquery.jobs.jobs import Jobs
from gcp_dicom_emulator.bigquery.jobs.load import load_json_lines
from gcp_dicom_emulator.bigquery.jobs.work import Work
from gcp_dicom_emulator.bigquery.names import TableName
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.faults import Faults
from gcp_dicom_emulator.rest.server import Handler

if TYPE_CHECKING:
    from gcp_dicom_emulator.storage.objects import ObjectStore


class BigQueryService:
    """The emulated BigQuery.

    :param state: where everything is kept.
    :param objects: the emulated Cloud Storage, for extracts, exports and loads.
    :param faults: what is to go wrong with jobs.
    """

    apis = ["bigquery.v2"]

    def __init__(self, state: State, objects: ObjectStore, faults: Faults | None = None) -> None:
        self.catalog = Catalog(state)
        faults = faults or Faults()
        #: How many rows an exported object takes when the URI has a wildcard.
        self.export_shard_rows = 1_000_000
        self.jobs = Jobs(state, self.catalog, faults)
        self.work = Work(state, objects, self.catalog, self.jobs, faults, lambda: self.export_shard_rows)
        self._methods = Methods(self.catalog, self.work, self.jobs, state)

    def handlers(self) -> dict[str, Handler]:
        """Return the code by method id."""
        return self._methods.handlers()

    def load_json_lines(
        self,
        project: str,
        dataset: str,
        table: str,
        schema: list[dict[str, Any]],
        path: Path,
        write_disposition: str,
        *,
        trusted: bool = False,
    ) -> int:
        """Load a file of newline-delimited JSON into a table, which is created if need be; all rows or none.

        :param schema: the rows' ``TableFieldSchema`` dictionaries; on ``WRITE_APPEND`` missing columns are added to the table.
        :param path: the file.
        :param write_disposition: ``WRITE_EMPTY``, ``WRITE_TRUNCATE`` or ``WRITE_APPEND``.
        :param trusted: whether the rows are sure to be as the schema says: looking takes as long as loading.
        :return: how many rows were loaded.
        :raises ApiError: 404 for no such dataset, 409 for ``WRITE_EMPTY`` on a table with rows, 400 for rows that do not fit.
        """
        name = TableName(project, dataset, table)
        return load_json_lines(self.catalog, name, schema, [path], write_disposition, trusted=trusted)

    def close(self) -> None:
        """Stop all jobs and close the database."""
        self.jobs.close()
        self.catalog.engine.close()
