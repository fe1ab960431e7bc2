"""BigQuery v2: the service, and the work of its jobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_dicom.emulator.bigquery import copy_job, export, load_job
from airflow_dicom.emulator.bigquery.catalog import Catalog
from airflow_dicom.emulator.bigquery.http import Methods
from airflow_dicom.emulator.bigquery.jobs import Jobs, Resource
from airflow_dicom.emulator.bigquery.load import load_json_lines
from airflow_dicom.emulator.bigquery.names import DatasetName, TableName
from airflow_dicom.emulator.bigquery.query import Outcome, QueryRunner, boolean
from airflow_dicom.emulator.errors import ApiError
from airflow_dicom.emulator.faults import JOB_KINDS, Faults
from airflow_dicom.emulator.server import Handler
from airflow_dicom.emulator.state import State

if TYPE_CHECKING:
    from airflow_dicom.emulator.storage.objects import ObjectStore

KINDS = ("query", "load", "extract", "copy")


class BigQueryService:
    """The emulated BigQuery.

    :param state: where everything is kept.
    :param objects: the emulated Cloud Storage, for extracts, exports and loads.
    :param faults: what is to go wrong with jobs.
    """

    apis = ["bigquery.v2"]

    def __init__(self, state: State, objects: ObjectStore, faults: Faults | None = None) -> None:
        self.catalog = Catalog(state)
        self._faults = faults or Faults()
        #: How many rows an exported object takes when the URI has a wildcard.
        self.export_shard_rows = 1_000_000
        self._state = state
        self._objects = objects
        self.jobs = Jobs(state, self.catalog, self._faults)
        self._queries = QueryRunner(self.catalog, state, objects, lambda: self.export_shard_rows)

    def handlers(self) -> dict[str, Handler]:
        """Return the code by method id."""
        return Methods(self, self._state).handlers()

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

    def view_fields(self, name: TableName, view: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the columns of a view that is to be made.

        :raises ApiError: when its query is wrong.
        """
        return self._queries.view_fields(name, view)

    def insert_job(self, resource: Resource, upload: Path | None = None) -> Resource:
        """Start a job; a dry run is answered at once and not kept.

        :param resource: has ``jobReference`` (project, id, location) and ``configuration``.
        :param upload: the file of a load job that has no ``sourceUris``.
        :raises ApiError: 400 for a configuration without exactly one kind of job, 409 for a used id, whatever a dry run finds.
        """
        configuration = resource["configuration"]
        kinds = [kind for kind in KINDS if configuration.get(kind) is not None]
        if len(kinds) != 1:
            raise ApiError(
                400, f"Job configuration must contain exactly one of {', '.join(KINDS)}; found {len(kinds)}", reason="required"
            )
        kind = kinds[0]
        if int(configuration.get("jobTimeoutMs") or 0):
            raise ApiError(501, "The emulator does not do jobTimeoutMs.")
        configuration["jobType"] = kind.upper()
        if boolean(configuration.get("dryRun") or False):
            return self._dry_run(resource, kind)
        work = {"query": self._query, "load": self._load, "extract": self._extract, "copy": self._copy}[kind]

        def run(job: Resource) -> tuple[Resource, Resource]:
            try:
                return work(job, upload)
            finally:
                if upload is not None:
                    upload.unlink(missing_ok=True)

        reference = resource["jobReference"]
        path = f"/bigquery/v2/projects/{reference['projectId']}/jobs/{reference['jobId']}"
        return self.jobs.insert(resource, run, self._faults.take(JOB_KINDS, "bigquery.jobs.insert", path))

    def _dry_run(self, resource: Resource, kind: str) -> Resource:
        if kind != "query":
            raise ApiError(501, f"The emulator's dry run is for queries, not for {kind} jobs.")
        reference = resource["jobReference"]
        outcome = self._queries.run(reference["projectId"], reference["jobId"], resource["configuration"]["query"], dry_run=True)
        statistics = self._query_statistics(outcome)
        return {**resource, "kind": "bigquery#job", "status": {"state": "DONE"}, "statistics": statistics}

    def _query_statistics(self, outcome: Outcome) -> Resource:
        size = 0
        for reference in outcome.statistics.get("referencedTables", []):
            size += int(
                self.catalog.get_table(reference["projectId"], reference["datasetId"], reference["tableId"]).get("numBytes", 0)
            )
        common = {"totalBytesProcessed": str(size), "totalBytesBilled": str(size), "totalSlotMs": "0", "cacheHit": False}
        return {
            "totalBytesProcessed": str(size),
            "query": {**common, "statementType": outcome.statement_type, **outcome.statistics},
        }

    def _query(self, job: Resource, _upload: Path | None) -> tuple[Resource, Resource]:
        reference, configuration = job["jobReference"], job["configuration"]
        outcome = self._queries.run(reference["projectId"], reference["jobId"], configuration["query"])
        if outcome.destination is not None:
            configuration["query"]["destinationTable"] = outcome.destination.reference()
        return configuration, self._query_statistics(outcome)

    def _load(self, job: Resource, upload: Path | None) -> tuple[Resource, Resource]:
        project, configuration = job["jobReference"]["projectId"], job["configuration"]
        loaded = load_job.run(self.catalog, self._objects, project, configuration["load"], upload)
        statistics = {
            "inputFiles": str(loaded.files),
            "inputFileBytes": str(loaded.bytes),
            "outputRows": str(loaded.rows),
            "outputBytes": str(loaded.bytes),
            "badRecords": "0",
        }
        return configuration, {"load": statistics}

    def _extract(self, job: Resource, _upload: Path | None) -> tuple[Resource, Resource]:
        configuration = job["configuration"]
        options = configuration["extract"]
        if not options.get("sourceTable"):
            raise ApiError(501, "The emulator extracts tables only.")
        table = self.catalog.table(TableName.from_reference(options["sourceTable"], job["jobReference"]["projectId"]))
        uris = options.get("destinationUris") or [uri for uri in [options.get("destinationUri")] if uri]
        if not uris:
            raise ApiError(400, "Required parameter is missing: destinationUris", reason="required")
        if len(uris) > 1:
            raise ApiError(501, "The emulator's extract jobs take one URI.")
        if uris[0].count("*") > 1:
            raise ApiError(400, f"Invalid extract destination URI '{uris[0]}'. Only one wildcard is allowed.")
        target = export.Target(
            uri=uris[0],
            format=options.get("destinationFormat") or "CSV",
            header=boolean(options.get("printHeader", True)),
            delimiter={"tab": "\t", "\\t": "\t"}.get(options.get("fieldDelimiter") or ",", options.get("fieldDelimiter") or ","),
            compression=options.get("compression") or "NONE",
        )
        files = export.export_table(self.catalog.engine, self._state, self._objects, table, target, self.export_shard_rows)
        return configuration, {"extract": {"destinationUriFileCounts": [str(files)]}}

    def _copy(self, job: Resource, _upload: Path | None) -> tuple[Resource, Resource]:
        configuration = job["configuration"]
        rows = copy_job.run(self.catalog, job["jobReference"]["projectId"], configuration["copy"])
        return configuration, {"copy": {"copiedRows": str(rows)}}

    def location_of(self, project: str, configuration: Resource) -> str:
        """Return where a job runs when its request does not say: where the dataset is that it names, else in the US."""
        query = configuration.get("query") or {}
        named = [query.get("defaultDataset"), query.get("destinationTable")]
        named += [(configuration.get(kind) or {}).get(table) for kind in KINDS for table in ("destinationTable", "sourceTable")]
        for reference in named:
            if reference and reference.get("datasetId"):
                name = DatasetName(reference.get("projectId") or project, reference["datasetId"])
                try:
                    return str(self.catalog.get_dataset(name.project, name.dataset)["location"])
                except ApiError:
                    continue
        return "US"

    def close(self) -> None:
        """Stop all jobs and close the database."""
        self.jobs.close()
        self.catalog.engine.close()
