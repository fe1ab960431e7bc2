"""The REST methods of BigQuery v2."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
import uuid
from typing import Any

from aiohttp import web

from gcp_dicom_emulator.bigquery import partitions
from gcp_dicom_emulator.bigquery.catalog import Catalog, Table, view_of
from gcp_dicom_emulator.bigquery.jobs import insert_all
from gcp_dicom_emulator.bigquery.jobs.jobs import Jobs, Resource, error_of
from gcp_dicom_emulator.bigquery.jobs.uploads import Uploads
from gcp_dicom_emulator.bigquery.jobs.work import Work
from gcp_dicom_emulator.bigquery.names import DatasetName, RoutineName, TableName
from gcp_dicom_emulator.bigquery.sql import rows, types
from gcp_dicom_emulator.bigquery.sql.run import boolean
from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.server import Call, Handler

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,1024}")
#: The fields of a QueryRequest that are those of a JobConfigurationQuery.
_QUERY_FIELDS = (
    "query", "defaultDataset", "useLegacySql", "useQueryCache", "queryParameters", "parameterMode", "maximumBytesBilled",
    "preserveNulls", "connectionProperties", "createSession", "continuous", "writeIncrementalResults",
    "destinationEncryptionConfiguration",
)  # fmt: skip
#: What a list shows of a table.
_LISTED_TABLE = (
    "kind", "id", "tableReference", "friendlyName", "type", "timePartitioning", "rangePartitioning", "clustering", "labels",
    "creationTime", "expirationTime",
)  # fmt: skip
#: And of a routine.
_LISTED_ROUTINE = (
    "etag", "routineReference", "routineType", "creationTime", "lastModifiedTime", "language", "arguments", "returnType",
)  # fmt: skip
_LISTED_DATASET = ("kind", "id", "datasetReference", "labels", "friendlyName", "location")


class Methods:
    """The code of the methods.

    :param state: where uploaded files go.
    """

    def __init__(self, catalog: Catalog, work: Work, jobs: Jobs, state: State) -> None:
        self._catalog = catalog
        self._work = work
        self._jobs = jobs
        self._uploads = Uploads(state)
        self._inserted = insert_all.Inserted()

    def handlers(self) -> dict[str, Handler]:
        """Return the code by method id."""
        return {
            "bigquery.datasets.insert": self._insert_dataset,
            "bigquery.datasets.get": lambda call: self._catalog.get_dataset(*self._dataset(call)),
            "bigquery.datasets.list": self._list_datasets,
            "bigquery.datasets.patch": lambda call: self._update_dataset(call, replace=False),
            "bigquery.datasets.update": lambda call: self._update_dataset(call, replace=True),
            "bigquery.datasets.delete": self._delete_dataset,
            "bigquery.tables.insert": self._insert_table,
            "bigquery.tables.get": self._get_table,
            "bigquery.tables.list": self._list_tables,
            "bigquery.tables.patch": lambda call: self._update_table(call, replace=False),
            "bigquery.tables.update": lambda call: self._update_table(call, replace=True),
            "bigquery.tables.delete": lambda call: self._catalog.delete_table(_table_name(call)),
            "bigquery.tabledata.list": self._list_rows,
            "bigquery.tabledata.insertAll": self._insert_all,
            "bigquery.jobs.insert": self._insert_job,
            "bigquery.jobs.get": lambda call: self._jobs.get(*_job_key(call)),
            "bigquery.jobs.list": self._list_jobs,
            "bigquery.jobs.cancel": lambda call: {
                "kind": "bigquery#jobCancelResponse",
                "job": self._jobs.cancel(*_job_key(call)),
            },
            "bigquery.jobs.delete": lambda call: self._jobs.delete(*_job_key(call)),
            "bigquery.jobs.query": self._query,
            "bigquery.jobs.getQueryResults": self._get_query_results,
            "bigquery.routines.list": self._list_routines,
            "bigquery.routines.get": lambda call: self._catalog.routine(_routine_name(call)),
            "bigquery.routines.insert": self._insert_routine,
            "bigquery.routines.update": self._update_routine,
            "bigquery.routines.delete": lambda call: self._catalog.delete_routine(_routine_name(call)),
            "bigquery.projects.getServiceAccount": self._service_account,
        }

    # Datasets

    def _dataset(self, call: Call) -> tuple[str, str]:
        name = DatasetName(call.path["projectId"], call.path["datasetId"])
        return name.project, name.dataset

    def _insert_dataset(self, call: Call) -> Resource:
        reference = call.body.get("datasetReference") or {}
        if not reference.get("datasetId"):
            raise ApiError(400, "Required parameter is missing: datasetId", reason="required")
        return self._catalog.create_dataset(
            reference.get("projectId") or call.path["projectId"],
            reference["datasetId"],
            call.body.get("location") or "US",
            call.body,
        )

    def _list_datasets(self, call: Call) -> Resource:
        if call.query.get("filter"):
            raise ApiError(501, "The emulator's list of datasets has no filter.")
        found = self._catalog.list_datasets(call.path["projectId"])
        return {"kind": "bigquery#datasetList", **_page(call, "datasets", [_only(item, _LISTED_DATASET) for item in found])}

    def _update_dataset(self, call: Call, *, replace: bool) -> Resource:
        return self._catalog.update_dataset(*self._dataset(call), call.body, replace=replace, etag=call.headers.get("If-Match"))

    def _delete_dataset(self, call: Call) -> None:
        self._catalog.delete_dataset(*self._dataset(call), delete_contents=boolean(call.query.get("deleteContents", "false")))

    # Tables

    def _insert_table(self, call: Call) -> Resource:
        reference = call.body.get("tableReference") or {}
        path = {"projectId": call.path["projectId"], "datasetId": call.path["datasetId"]}
        name = TableName.from_reference({**path, **reference}, call.path["projectId"])
        view = view_of(call.body)
        fields = self._work.view_fields(name, view) if view else None
        if call.body.get("externalDataConfiguration"):
            fields = self._work.external_fields(name, call.body)
        self._check_defaults(name, call.body)
        return self._catalog.describe(self._catalog.create_table(name, call.body, fields))

    def _get_table(self, call: Call) -> Resource:
        if call.path["tableId"].endswith(partitions.SUMMARY):
            return self._get_partitions(call)
        table = self._catalog.table(_table_name(call))
        resource = self._catalog.describe(table)
        if call.query.get("selectedFields"):
            resource["schema"] = {"fields": rows.select_fields(table.fields, call.query["selectedFields"])}
        return resource

    def _get_partitions(self, call: Call) -> Resource:
        table = self._partitioned(call)
        reference = {**table.name.reference(), "tableId": call.path["tableId"]}
        return {
            "kind": "bigquery#table",
            "id": f"{table.name}{partitions.SUMMARY}",
            "etag": table.resource["etag"],
            "tableReference": reference,
            "schema": {"fields": partitions.summary_fields()},
            "numRows": str(len(partitions.count(self._catalog, table))),
            "type": "TABLE",
        }

    def _partitioned(self, call: Call) -> Table:
        """Return the table whose partitions are asked for.

        :raises ApiError: 400 for one that has none.
        """
        name = call.path["tableId"].removesuffix(partitions.SUMMARY)
        table = self._catalog.table(TableName(call.path["projectId"], call.path["datasetId"], name))
        if not partitions.is_partitioned(table):
            raise ApiError(400, f"Cannot read partition information from a table that is not partitioned: {name}")
        return table

    def _list_partitions(self, call: Call) -> Resource:
        table = self._partitioned(call)
        fields = rows.select_fields(partitions.summary_fields(), call.query.get("selectedFields"))
        found = partitions.summary_rows(self._catalog, table, fields, _timestamps(call))
        start = _number(call, "startIndex") or _index(call.query.get("pageToken") or "")
        limit = _number(call, "maxResults")
        end = len(found) if limit is None else min(start + limit, len(found))
        answer = {"kind": "bigquery#tableDataList", "etag": table.resource["etag"], "totalRows": str(len(found))}
        shown = {"rows": found[start:end]} if found[start:end] else {}
        return {**answer, **shown, **_token(end if end < len(found) else None)}

    def _list_tables(self, call: Call) -> Resource:
        tables = self._catalog.list_tables(*self._dataset(call))
        answer = _page(call, "tables", tables)
        answer["tables"] = [_only(self._catalog.describe(table), _LISTED_TABLE) for table in answer["tables"]]
        return {"kind": "bigquery#tableList", "totalItems": len(tables), **answer}

    # Routines

    def _list_routines(self, call: Call) -> Resource:
        if call.query.get("filter"):
            raise ApiError(501, "The emulator's list of routines has no filter.")
        found = [_only(routine, _LISTED_ROUTINE) for routine in self._catalog.list_routines(*self._dataset(call))]
        return _page(call, "routines", found) if found else {}

    def _insert_routine(self, call: Call) -> Resource:
        reference = call.body.get("routineReference") or {}
        if not reference.get("routineId"):
            raise ApiError(400, "Required parameter is missing: routineId", reason="required")
        name = RoutineName(call.path["projectId"], call.path["datasetId"], reference["routineId"])
        return self._work.put_routine(name, call.body, replace=False)

    def _update_routine(self, call: Call) -> Resource:
        name = _routine_name(call)
        if call.headers.get("If-Match") not in (None, "*", self._catalog.routine(name)["etag"]):
            raise ApiError(412, "Precondition check failed.")
        return self._work.put_routine(name, call.body, replace=True)

    def _check_defaults(self, name: TableName, body: Resource) -> None:
        given = (body.get("schema") or {}).get("fields") or []
        if any(field.get("defaultValueExpression") for field in given):
            self._work.defaults(name, types.normalize_fields(given))

    def _update_table(self, call: Call, *, replace: bool) -> Resource:
        self._check_defaults(_table_name(call), call.body)
        table = self._catalog.update_table(_table_name(call), call.body, replace=replace, etag=call.headers.get("If-Match"))
        return self._catalog.describe(table)

    # Rows

    def _list_rows(self, call: Call) -> Resource:
        if call.path["tableId"].endswith(partitions.SUMMARY):
            return self._list_partitions(call)
        table = self._catalog.table(_table_name(call))
        fields = rows.select_fields(table.fields, call.query.get("selectedFields"))
        page = self._rows(call, table, fields)
        answer = {"kind": "bigquery#tableDataList", "etag": table.resource["etag"], "totalRows": str(page.total)}
        return {**answer, **({"rows": page.rows} if page.rows else {}), **_token(page.next_index)}

    def _rows(self, call: Call, table: Table, fields: list[Field], limit: int | None = None) -> rows.Page:
        start = _number(call, "startIndex") or 0
        if token := call.query.get("pageToken"):
            start = _index(token)
        limit = _number(call, "maxResults") if limit is None else limit
        return rows.read_page(self._catalog.engine, table.rows(), fields, start, limit, _timestamps(call))

    def _insert_all(self, call: Call) -> Resource:
        if call.body.get("templateSuffix"):
            raise ApiError(501, "The emulator does not do templateSuffix.")
        return insert_all.run(self._catalog, _table_name(call), call.body, self._work.defaults, self._inserted)

    # Jobs

    async def _insert_job(self, call: Call) -> web.StreamResponse | Resource:
        body, path = call.body, None
        if call.method.media == "upload":
            upload = await self._uploads.receive(call)
            if isinstance(upload, web.Response):
                return upload
            body, path = upload.metadata, upload.path
        return await asyncio.to_thread(self._start_job, call, body, path)

    def _start_job(self, call: Call, body: Resource, path: Any) -> Resource:
        configuration = body.get("configuration")
        if not configuration:
            raise ApiError(400, "Required parameter is missing: configuration", reason="required")
        reference = body.get("jobReference") or {}
        project = call.path["projectId"]
        if reference.get("projectId", project) != project:
            raise ApiError(400, f"Job project {reference['projectId']} must be the request's project {project}")
        location = reference.get("location") or self._work.location_of(project, configuration)
        reference = {"projectId": project, "jobId": _new_job_id(reference.get("jobId")), "location": location}
        return self._work.insert_job({"jobReference": reference, "configuration": configuration}, path)

    def _list_jobs(self, call: Call) -> Resource:
        for unsupported in ("parentJobId", "minCreationTime", "maxCreationTime"):
            if call.query.get(unsupported):
                raise ApiError(501, f"The emulator's list of jobs has no {unsupported}.")
        limit, start = min(_number(call, "maxResults") or 50, 1000), _index(call.query.get("pageToken") or "")
        found = self._jobs.list(call.path["projectId"], call.query.getall("stateFilter", []), limit + 1, start)
        shown = [_listed_job(job, full=call.query.get("projection") == "full") for job in found[:limit]]
        return {"kind": "bigquery#jobList", "etag": uuid.uuid4().hex, "jobs": shown} | (
            {"nextPageToken": _token_of(start + limit)} if len(found) > limit else {}
        )

    async def _query(self, call: Call) -> Resource:
        body, project = call.body, call.path["projectId"]
        if body.get("queryResultsFormat") not in (None, "", "QUERY_RESULTS_FORMAT_UNSPECIFIED", "STRUCT_ENCODING"):
            raise ApiError(501, f"The emulator does not do queryResultsFormat {body['queryResultsFormat']}.")
        configuration = {"query": {key: body[key] for key in _QUERY_FIELDS if key in body}}
        configuration |= {key: body[key] for key in ("dryRun", "labels", "jobTimeoutMs") if key in body}
        location = body.get("location") or await asyncio.to_thread(self._work.location_of, project, configuration)
        reference = {"projectId": project, "jobId": _request_job_id(project, body.get("requestId")), "location": location}
        if boolean(body.get("dryRun") or False):
            job = await asyncio.to_thread(self._work.insert_job, {"jobReference": reference, "configuration": configuration})
            answer = {"kind": "bigquery#queryResponse", "jobReference": reference, "jobComplete": True}
            statistics = job["statistics"]
            return {
                **answer,
                "schema": statistics["query"].get("schema", {}),
                "totalBytesProcessed": statistics["totalBytesProcessed"],
            }
        try:
            await asyncio.to_thread(self._work.insert_job, {"jobReference": reference, "configuration": configuration})
        except ApiError as error:
            # The same requestId again is the same request again.
            if error.code != 409 or not body.get("requestId"):
                raise
        timeout = body.get("timeoutMs")
        limit = body.get("maxResults")
        answer = await self._results(
            call, reference, 10_000 if timeout is None else int(timeout), None if limit is None else int(limit)
        )
        return {**answer, "kind": "bigquery#queryResponse"}

    async def _get_query_results(self, call: Call) -> Resource:
        project, job_id, location = _job_key(call)
        job = await asyncio.to_thread(self._jobs.get, project, job_id, location)
        if "query" not in job["configuration"]:
            raise ApiError(400, f"Cannot get the query results of job {job['id']}: it is not a query job.")
        timeout = _number(call, "timeoutMs")
        answer = await self._results(call, job["jobReference"], 10_000 if timeout is None else timeout, None)
        answer.pop("sessionInfo", None)
        return {**answer, "etag": job["etag"]}

    async def _results(self, call: Call, reference: Resource, timeout_ms: int, limit: int | None) -> Resource:
        """Wait for a query and return its first rows."""
        end, pause = time.monotonic() + timeout_ms / 1000, 0.002
        project, job_id = reference["projectId"], reference["jobId"]
        while self._jobs.is_running(project, job_id):
            if time.monotonic() >= end:
                return {"kind": "bigquery#getQueryResultsResponse", "jobReference": reference, "jobComplete": False}
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.1)
        return await asyncio.to_thread(self._finished_results, call, reference, limit)

    def _finished_results(self, call: Call, reference: Resource, limit: int | None) -> Resource:
        project = reference["projectId"]
        job = self._jobs.get(project, reference["jobId"], reference["location"])
        if error := error_of(job):
            raise error
        statistics = job["statistics"]["query"]
        answer = {
            "kind": "bigquery#getQueryResultsResponse",
            "jobReference": job["jobReference"],
            "jobComplete": True,
            "cacheHit": False,
            "totalBytesProcessed": statistics["totalBytesProcessed"],
        }
        if "sessionInfo" in job["statistics"]:
            answer["sessionInfo"] = job["statistics"]["sessionInfo"]
        if "numDmlAffectedRows" in statistics:
            answer["numDmlAffectedRows"] = statistics["numDmlAffectedRows"]
        if statistics["statementType"] not in ("SELECT", "SCRIPT") or "schema" not in statistics:
            return answer
        table = self._catalog.table(TableName.from_reference(job["configuration"]["query"]["destinationTable"], project))
        page = self._rows(call, table, table.fields, limit)
        return {
            **answer,
            "schema": {"fields": table.fields},
            "totalRows": str(page.total),
            **({"rows": page.rows} if page.rows else {}),
            **_token(page.next_index),
        }

    def _service_account(self, call: Call) -> Resource:
        email = f"bq-{call.path['projectId']}@bigquery-encryption.iam.gserviceaccount.com"
        return {"kind": "bigquery#getServiceAccountResponse", "email": email}


def _table_name(call: Call) -> TableName:
    return TableName(call.path["projectId"], call.path["datasetId"], call.path["tableId"])


def _routine_name(call: Call) -> RoutineName:
    return RoutineName(call.path["projectId"], call.path["datasetId"], call.path["routineId"])


def _job_key(call: Call) -> tuple[str, str, str | None]:
    return call.path["projectId"], call.path["jobId"], call.query.get("location")


def _new_job_id(given: str | None) -> str:
    if given is None:
        return f"job_{uuid.uuid4().hex}"
    if not _JOB_ID.fullmatch(given):
        raise ApiError(
            400,
            f'Invalid job ID "{given}". Job IDs must be alphanumeric (plus underscores and dashes) and must be at most '
            "1024 characters long.",
        )
    return given


def _request_job_id(project: str, request_id: str | None) -> str:
    if not request_id:
        return _new_job_id(None)
    return "job_" + hashlib.sha256(f"{project}/{request_id}".encode()).hexdigest()[:32]


def _timestamp_format(query: dict[str, str], options: Resource) -> str:
    form = query.get("formatOptions.timestampOutputFormat") or options.get("timestampOutputFormat")
    if form and form != "TIMESTAMP_OUTPUT_FORMAT_UNSPECIFIED":
        return str(form)
    micros = query.get("formatOptions.useInt64Timestamp") or options.get("useInt64Timestamp") or False
    return "INT64" if boolean(micros) else "FLOAT64"


def _timestamps(call: Call) -> rows.Timestamps:
    """Return what writes TIMESTAMPs as a request wants them."""
    return rows.timestamp_writer(_timestamp_format(dict(call.query), call.body.get("formatOptions") or {}))


def _number(call: Call, parameter: str) -> int | None:
    text = call.query.get(parameter)
    if text is None:
        return None
    if not text.isdigit():
        raise ApiError(400, f"Invalid value '{text}' for {parameter}: not a number.")
    return int(text)


def _token_of(index: int) -> str:
    return f"I{index}"


def _token(index: int | None) -> dict[str, str]:
    return {} if index is None else {"pageToken": _token_of(index)}


def _index(token: str) -> int:
    if not token:
        return 0
    if not re.fullmatch(r"I\d{1,18}", token):
        raise ApiError(400, f"Invalid page token: {token}")
    return int(token[1:])


def _page(call: Call, key: str, items: list[Any]) -> Resource:
    limit, start = _number(call, "maxResults") or 50, _index(call.query.get("pageToken") or "")
    answer: Resource = {key: items[start : start + limit]}
    if start + limit < len(items):
        answer["nextPageToken"] = _token_of(start + limit)
    return answer


def _only(resource: Resource, keys: tuple[str, ...]) -> Resource:
    return {key: resource[key] for key in keys if key in resource}


def _listed_job(job: Resource, *, full: bool) -> Resource:
    keys = ("kind", "id", "jobReference", "status", "statistics", "user_email", *(("configuration",) if full else ()))
    listed = {**_only(job, keys), "state": job["status"]["state"]}
    if "errorResult" in job["status"]:
        listed["errorResult"] = job["status"]["errorResult"]
    return listed
