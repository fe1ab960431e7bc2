"""What jobs do: query, load, extract and copy."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery import external
from gcp_dicom_emulator.bigquery.catalog import Catalog
from gcp_dicom_emulator.bigquery.jobs import copy_job, export, load_job
from gcp_dicom_emulator.bigquery.jobs.jobs import Jobs, Resource
from gcp_dicom_emulator.bigquery.names import SESSION_PREFIX, DatasetName, RoutineName, TableName
from gcp_dicom_emulator.bigquery.sql.query import QueryRunner
from gcp_dicom_emulator.bigquery.sql.run import Outcome, boolean, session_of
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.faults import JOB_KINDS, Faults

if TYPE_CHECKING:
    from gcp_dicom_emulator.storage.objects import ObjectStore

_KINDS = ("query", "load", "extract", "copy")
#: Of a query, the default first. A batch job starts when the service is idle, as this one always is.
_PRIORITIES = ("INTERACTIVE", "BATCH")
#: The keys and the values of labels: lower case of any script, digits, underscores, dashes.
_LABEL = re.compile(r"[\w-]{0,63}")
#: What a query is billed for at least, and each table that it reads; and to whole multiples of what.
_BILLED_AT_LEAST, _BILLED_IN = 10 << 20, 1 << 20


class Work:
    """Gives jobs their work.

    :param objects: the emulated Cloud Storage, for extracts, exports and loads.
    :param faults: what is to go wrong with jobs.
    :param export_shard_rows: tells how many rows an exported object takes when the URI has a wildcard.
    """

    def __init__(
        self,
        state: State,
        objects: ObjectStore,
        catalog: Catalog,
        jobs: Jobs,
        faults: Faults,
        export_shard_rows: Callable[[], int],
    ) -> None:
        self._state = state
        self._objects = objects
        self._catalog = catalog
        self._jobs = jobs
        self._faults = faults
        self._export_shard_rows = export_shard_rows
        self._queries = QueryRunner(catalog, state, objects, export_shard_rows)

    def view_fields(self, name: TableName, view: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the columns of a view that is to be made.

        :raises ApiError: when its query is wrong.
        """
        return self._queries.view_fields(name, view)

    def external_fields(self, name: TableName, resource: Resource) -> list[dict[str, Any]]:
        """Return the columns of an external table that is to be made.

        :raises ApiError: as :func:`external.fields_of`.
        """
        return external.fields_of(self._catalog, self._objects, name, resource)

    def defaults(self, name: TableName, fields: list[dict[str, Any]]) -> dict[str, str | None]:
        """Return the values that columns have where a row leaves them out, as texts of JSON's, by name.

        :raises ApiError: 400 for an expression that is wrong.
        """
        return self._queries.defaults(name, fields)

    def put_routine(self, name: RoutineName, resource: Resource, *, replace: bool) -> Resource:
        """Create or replace a routine.

        :raises ApiError: when its body is wrong; 404, 409 as for a table; 501 for what the emulator does not do.
        """
        return self._queries.put_routine(name, resource, replace=replace)

    def insert_job(self, resource: Resource, upload: Path | None = None) -> Resource:
        """Start a job; a dry run is answered at once and not kept.

        :param resource: has ``jobReference`` (project, id, location) and ``configuration``.
        :param upload: the file of a load job that has no ``sourceUris``.
        :raises ApiError: 400 for a configuration without exactly one kind of job, 409 for a used id, whatever a dry run finds.
        """
        configuration = resource["configuration"]
        kinds = [kind for kind in _KINDS if configuration.get(kind) is not None]
        if len(kinds) != 1:
            raise ApiError(
                400, f"Job configuration must contain exactly one of {', '.join(_KINDS)}; found {len(kinds)}", reason="required"
            )
        kind = kinds[0]
        configuration["jobType"] = kind.upper()
        _check_labels(configuration.get("labels") or {})
        if kind == "query":
            priority = configuration["query"].get("priority") or _PRIORITIES[0]
            if priority not in _PRIORITIES:
                raise ApiError(400, f"Invalid value for priority: {priority}")
            configuration["query"]["priority"] = priority
        if boolean(configuration.get("dryRun") or False):
            return self._dry_run(resource, kind)
        work = {"query": self._query, "load": self._load, "extract": self._extract, "copy": self._copy}[kind]

        def run(job: Resource) -> tuple[Resource, Resource]:
            try:
                reference = job["jobReference"]
                for name in _references(reference["projectId"], job["configuration"]):
                    self._catalog.check_location(name, reference["location"])
                return work(job, upload)
            finally:
                if upload is not None:
                    upload.unlink(missing_ok=True)

        reference = resource["jobReference"]
        path = f"/bigquery/v2/projects/{reference['projectId']}/jobs/{reference['jobId']}"
        return self._jobs.insert(resource, run, self._faults.take(JOB_KINDS, "bigquery.jobs.insert", path))

    def _dry_run(self, resource: Resource, kind: str) -> Resource:
        if kind != "query":
            raise ApiError(501, f"The emulator's dry run is for queries, not for {kind} jobs.")
        outcome = self._queries.run(resource["jobReference"], resource["configuration"]["query"], dry_run=True)
        statistics = self._query_statistics(outcome)
        return {**resource, "kind": "bigquery#job", "status": {"state": "DONE"}, "statistics": statistics}

    def _query_statistics(self, outcome: Outcome) -> Resource:
        size = 0
        for reference in outcome.statistics.get("referencedTables", []):
            # A script may have dropped it since.
            if (table := self._catalog.find(TableName.from_reference(reference, ""))) is not None:
                size += self._catalog.read_bytes(table)
        billed = str(_billed(size, len(outcome.statistics.get("referencedTables", []))))
        common = {"totalBytesProcessed": str(size), "totalBytesBilled": billed, "totalSlotMs": "0", "cacheHit": False}
        statistics = dict(outcome.statistics)
        session = {"sessionInfo": statistics.pop("sessionInfo")} if "sessionInfo" in statistics else {}
        return {
            "totalBytesProcessed": str(size),
            **session,
            "query": {**common, "statementType": outcome.statement_type, **statistics},
        }

    def _query(self, job: Resource, _upload: Path | None) -> tuple[Resource, Resource]:
        configuration = job["configuration"]
        self._check_bill(job["jobReference"], configuration["query"])
        outcome = self._queries.run(job["jobReference"], configuration["query"])
        if outcome.destination is not None:
            configuration["query"]["destinationTable"] = outcome.destination.reference()
        statistics = self._query_statistics(outcome)
        if outcome.written is not None:
            # One stage does it all here, and shuffles nothing.
            stage = {"name": "S00: Output", "id": "0", "status": "COMPLETE", "shuffleOutputBytes": "0"}
            statistics["query"]["queryPlan"] = [{**stage, "recordsWritten": str(outcome.written)}]
        return configuration, statistics

    def _check_bill(self, reference: Resource, query: Resource) -> None:
        """Refuse a query that would be billed for more than it may, before it is run."""
        if not (limit := int(query.get("maximumBytesBilled") or 0)):
            return
        statistics = self._query_statistics(self._queries.run(reference, query, dry_run=True))
        if (billed := int(statistics["query"]["totalBytesBilled"])) > limit:
            raise ApiError(
                400,
                f"Query exceeded limit for bytes billed: {limit}. {billed} or higher required.",
                reason="bytesBilledLimitExceeded",
            )

    def _load(self, job: Resource, upload: Path | None) -> tuple[Resource, Resource]:
        project, configuration = job["jobReference"]["projectId"], job["configuration"]
        loaded = load_job.run(self._catalog, self._objects, project, configuration["load"], upload)
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
        table = self._catalog.table(TableName.from_reference(options["sourceTable"], job["jobReference"]["projectId"]))
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
        files = export.export_table(self._catalog.engine, self._state, self._objects, table, target, self._export_shard_rows())
        return configuration, {"extract": {"destinationUriFileCounts": [str(files)]}}

    def _copy(self, job: Resource, _upload: Path | None) -> tuple[Resource, Resource]:
        configuration = job["configuration"]
        rows, size = copy_job.run(self._catalog, job["jobReference"]["projectId"], configuration["copy"])
        return configuration, {"copy": {"copiedRows": str(rows), "copiedLogicalBytes": str(size)}}

    def location_of(self, project: str, configuration: Resource) -> str:
        """Return where a job runs when its request does not say: where the datasets are that it names, else in the US."""
        session = session_of(configuration.get("query") or {})
        of_session = [DatasetName(project, SESSION_PREFIX + session)] if session else []
        for name in itertools.chain(
            of_session, _references(project, configuration), self._queries.datasets(project, configuration)
        ):
            with contextlib.suppress(ApiError):
                return str(self._catalog.get_dataset(name.project, name.dataset)["location"])
        return "US"


def _references(project: str, configuration: Resource) -> Iterator[DatasetName]:
    """Yield the datasets that a job's configuration names outside of SQL."""
    references = [(configuration.get("query") or {}).get("defaultDataset")]
    for kind in _KINDS:
        options = configuration.get(kind) or {}
        references += [options.get("destinationTable"), options.get("sourceTable"), *(options.get("sourceTables") or [])]
    for reference in references:
        if reference and reference.get("datasetId"):
            yield DatasetName(reference.get("projectId") or project, reference["datasetId"])


def _billed(size: int, tables: int) -> int:
    """Return for how many bytes a query is billed that reads so many, of so many tables."""
    return max(-(-size // _BILLED_IN) * _BILLED_IN, tables * _BILLED_AT_LEAST)


def _check_labels(labels: Resource) -> None:
    for key, value in labels.items():
        if not key[:1].isalpha() or any(not _LABEL.fullmatch(text) or text != text.lower() for text in (key, value)):
            raise ApiError(
                400,
                f"Invalid label {key}: {value}: lower case letters, digits, - and _, at most 63, the key with a letter first.",
            )
