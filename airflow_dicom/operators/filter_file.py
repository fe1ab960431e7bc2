"""Make a filter file of a BigQuery query."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import AirflowSkipException, AirflowTaskTimeout, BaseOperator

from airflow_dicom.exceptions import (
    DicomArgumentError,
    DicomEmptyResult,
    DicomOperationTimeout,
    FilterFileError,
    HealthcareApiError,
)
from airflow_dicom.filter_paths import Level
from airflow_dicom.filter_sql import NO_PATH, FilterQuery, check_dialect, query_of_table, query_parameters, strip_semicolon
from airflow_dicom.gcs_uris import check_object_uri, parse_gs_uri
from airflow_dicom.links.dicom import FilterFileLink
from airflow_dicom.operation import OnEmpty, Policy
from airflow_dicom.operators.base import deadline_of, default_deferrable, defer_timeout
from airflow_dicom.polling import PollClock

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage
    from google.cloud.bigquery import Client, QueryJob
    from google.cloud.storage import Blob, Bucket

#: The XCom key of the number of lines.
PATH_COUNT_KEY = "path_count"

#: The XCom key of the number of instances that the lines mean, for an export's ``expected_instances``; ``None`` if nobody knows.
EXPECTED_INSTANCES_KEY = "expected_instances"

#: The XCom key of all numbers: ``paths``, ``studies``, ``series``, ``instances`` (``None`` if nobody knows), ``bytes``, ``crc32c``.
SUMMARY_KEY = "filter_file"

#: The filter object's metadata key that says which BigQuery job made it.
_JOB_METADATA_KEY = "airflow-dicom-job-id"


class FilterFileFromBigQueryOperator(BaseOperator):
    """Write the paths that a query selects to one object that ``filter_uri`` of an export takes.

    All work happens inside BigQuery and Cloud Storage; no row passes through the worker. One ``EXPORT DATA`` job de-duplicates the
    paths, drops NULLs, fails on anything that is no path, and writes parts beside the target; they are composed into one object
    and deleted. Airflow's account needs ``roles/bigquery.jobUser``, ``roles/bigquery.dataViewer`` on the table's dataset and
    ``roles/storage.objectUser`` on the bucket; the store's service agent needs ``roles/storage.objectViewer`` there.

    The return value is ``filter_uri``, so that an export takes ``filter_uri=task.output``. The XCom ``path_count`` is the number of
    lines, ``expected_instances`` the number of instances that they mean: known where each line names an instance, and where
    ``table`` or ``metadata_table`` tells, which costs a second query; otherwise ``None``. The XCom ``filter_file`` has all numbers.

    :param filter_uri: the object to write, ``gs://bucket/name``; one name per run, such as
        ``gs://bucket/filters/{{ run_id }}.txt``, keeps runs apart (templated)
    :param sql: a query in GoogleSQL that returns one column of paths, or the columns ``StudyInstanceUID[, SeriesInstanceUID[,
        SOPInstanceUID]]`` (templated; may be a ``.sql`` file)
    :param table: instead of ``sql``: the metadata table of an export, ``project.dataset.table`` (templated)
    :param level: with ``table``: what a line names, ``"study"``, ``"series"`` or ``"instance"`` (templated)
    :param where: with ``table``: a condition in GoogleSQL, such as ``Modality = 'CT'`` (templated)
    :param except_table: a table with the columns ``StudyInstanceUID``, ``SeriesInstanceUID``, ``SOPInstanceUID``, as a metadata
        export or a ledger of earlier exports has them; lines that name an instance which is there are left out. Lines that name a
        study or a series stay (templated)
    :param metadata_table: with ``sql``: a table of all instances of the store, with the same columns; with ``table``, that one is
        meant (templated)
    :param collapse: whether to write the fewest lines that mean the same: a series of which all instances are selected as that
        series, a study likewise, as the table tells. An instance that came into the store later than the table's rows is exported
        with its series
    :param query_parameters: values by name, for ``@name`` in the SQL, or a list as BigQuery's API takes it (templated)
    :param on_empty: what it means that the query selects nothing: ``"fail"``, ``"skip"`` or ``"succeed"``, which writes an empty
        object (templated)
    :param project_id: the project that runs the query; by default the connection's (templated)
    :param location: BigQuery's location; by default BigQuery finds it from the tables (templated)
    :param deferrable: whether to wait in the triggerer instead of a worker; by default ``operators.default_deferrable``
    :param poll_interval: seconds between two polls at first; grows with the time waited, up to a minute
    :param cancel_on_kill: whether to cancel the query when a person marks or clears the task, or the worker is told to stop
    :param gcp_conn_id: the Google Cloud connection (templated)
    :param impersonation_chain: the service account to impersonate, or a chain of them (templated)
    """

    template_fields: Sequence[str] = (
        "filter_uri",
        "sql",
        "table",
        "level",
        "where",
        "except_table",
        "metadata_table",
        "query_parameters",
        "on_empty",
        "project_id",
        "location",
        "gcp_conn_id",
        "impersonation_chain",
    )
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"sql": "sql", "where": "sql"}
    operator_extra_links = (FilterFileLink(),)
    ui_color = "#d7e8f7"
    ui_fgcolor = "#123a5e"

    def __init__(
        self,
        *,
        filter_uri: str,
        sql: str | None = None,
        table: str | None = None,
        level: Level = "instance",
        where: str | None = None,
        except_table: str | None = None,
        metadata_table: str | None = None,
        collapse: bool = False,
        query_parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        on_empty: OnEmpty = "fail",
        project_id: str | None = None,
        location: str | None = None,
        deferrable: bool | None = None,
        poll_interval: float = 5,
        cancel_on_kill: bool = True,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filter_uri = filter_uri
        self.sql = sql
        self.table = table
        self.level = level
        self.where = where
        self.except_table = except_table
        self.metadata_table = metadata_table
        self.collapse = collapse
        self.query_parameters = query_parameters
        self.on_empty = on_empty
        self.project_id = project_id
        self.location = location
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.poll_interval = poll_interval
        self.cancel_on_kill = cancel_on_kill
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self._job: QueryJob | None = None

    @cached_property
    def bigquery(self) -> Client:
        """BigQuery's client."""
        from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook

        hook = BigQueryHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain, use_legacy_sql=False)
        return hook.get_client(project_id=self.project_id or hook.project_id, location=self.location)

    @cached_property
    def bucket(self) -> Bucket:
        """The filter's bucket."""
        from airflow.providers.google.cloud.hooks.gcs import GCSHook

        hook = GCSHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        return hook.get_conn().bucket(self._target()[0])

    def execute(self, context: Context) -> str:
        """Run the query and write the filter.

        :return: ``filter_uri``.
        :raises DicomArgumentError: an argument cannot be used.
        :raises FilterFileError: the query failed, or returned something other than paths.
        :raises DicomEmptyResult: the query selected nothing and ``on_empty`` is ``"fail"``.
        """
        deadline = deadline_of(self)
        sql = self._query()
        self._check_bucket()
        query = self._filter_query(sql, self._columns(sql))
        job = self._job = self._start_or_adopt(context, query)
        self.log.info("BigQuery job %s:%s.%s makes %s of:\n%s", job.project, job.location, job.job_id, self.filter_uri, sql)
        FilterFileLink.push(context, FilterFileLink.url(self.filter_uri))
        if self.deferrable and job.state != "DONE":
            self._defer(job, deadline, query)
        try:
            self._wait_in_worker(job, PollClock(self.poll_interval, deadline))
        except AirflowTaskTimeout:
            self._time_out(job)
        return self._finish(context, job, query)

    def execute_complete(self, context: Context, event: dict[str, Any], columns: Sequence[str] | None = None) -> str:
        """Resume after the wait in the triggerer; returns and raises as :meth:`execute` does.

        :param event: the trigger's event.
        :param columns: the names of the query's columns; BigQuery is asked for them again where they are lost, as ``dag.test()`` of
            Airflow up to 3.3.2 loses them.
        """
        if event["status"] == "error":
            raise HealthcareApiError(event["message"], status_code=event["status_code"])
        job = self._job = self._get_job(event["job_id"], event["location"])
        if event["status"] == "timeout":
            self._time_out(job)
        sql = self._query()
        return self._finish(context, job, self._filter_query(sql, columns or self._columns(sql)))

    def on_kill(self) -> None:
        """Cancel the query, unless ``cancel_on_kill`` is off."""
        if self.cancel_on_kill and self._job is not None:
            self._cancel(self._job)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Tell the OpenLineage provider, where it is installed, which tables the query read and what was written."""
        from airflow_dicom import openlineage

        job = self._job
        read = job._properties["statistics"].get("query", {}).get("referencedTables", []) if job else []
        tables = sorted("{projectId}.{datasetId}.{tableId}".format(**table) for table in read)
        return openlineage.lineage(
            [openlineage.bigquery_table(table) for table in tables],
            [openlineage.gcs_object(self.filter_uri)],
            source="bigquery",
            query_id=job.job_id if job else None,
        )

    def _target(self) -> tuple[str, str]:
        try:
            check_object_uri(self.filter_uri, argument="filter_uri")
        except ValueError as error:
            raise DicomArgumentError(str(error)) from error
        return parse_gs_uri(self.filter_uri, argument="filter_uri")

    def _query(self) -> str:
        """Return the user's query."""
        if bool(self.sql) == bool(self.table):
            given = "both" if self.sql else "neither"
            raise DicomArgumentError(f"A filter comes from one query: give sql or table; {given} is given.")
        if self.where and not self.table:
            raise DicomArgumentError("where goes with table; put the condition into sql.")
        Policy(on_empty=self.on_empty)
        self._target()
        try:
            if self.table:
                return query_of_table(self.table, self.level, self.where)
            assert self.sql is not None
            check_dialect(self.sql)
        except ValueError as error:
            raise DicomArgumentError(str(error)) from error
        return strip_semicolon(self.sql)

    def _filter_query(self, sql: str, columns: Sequence[str]) -> FilterQuery:
        try:
            query = FilterQuery(sql, columns, self.except_table, self.metadata_table or self.table, self.collapse)
            query.export_statement("")
        except ValueError as error:
            raise DicomArgumentError(str(error)) from error
        return query

    def _check_bucket(self) -> None:
        """Look below the target: to ask for the bucket itself takes a permission that ``roles/storage.objectUser`` lacks."""
        from google.api_core.exceptions import Forbidden, NotFound

        try:
            list(self.bucket.list_blobs(prefix=f"{self._target()[1]}.parts/", max_results=1))
        except NotFound as error:
            raise DicomArgumentError(f"filter_uri is {self.filter_uri!r}; there is no bucket {self.bucket.name!r}.") from error
        except Forbidden as error:
            raise FilterFileError(
                f"Filter file {self.filter_uri}: Airflow's account may not list the objects there: give it "
                f"roles/storage.objectUser on the bucket. ({error.message})"
            ) from error

    def _columns(self, sql: str) -> list[str]:
        """Return the names of the query's columns, by a dry run; nothing is read or billed."""
        job = self._insert({"query": self._query_configuration(sql), "dryRun": True}, f"airflow_dicom_{uuid.uuid4().hex}")
        schema = job._properties["statistics"]["query"].get("schema", {})
        if not schema.get("fields"):
            raise DicomArgumentError("sql returns no rows; it must be one SELECT.")
        return [column["name"] for column in schema["fields"]]

    def _query_configuration(self, sql: str) -> dict[str, Any]:
        try:
            parameters = query_parameters(self.query_parameters)
        except ValueError as error:
            raise DicomArgumentError(str(error)) from error
        configuration: dict[str, Any] = {"query": sql, "useLegacySql": False}
        if parameters:
            configuration["queryParameters"] = parameters
            configuration["parameterMode"] = "NAMED" if parameters[0].get("name") else "POSITIONAL"
        return configuration

    def _insert(self, configuration: dict[str, Any], job_id: str) -> QueryJob:
        """Insert a job.

        :raises Conflict: there is a job with this id.
        :raises FilterFileError: BigQuery refused the query.
        """
        from google.api_core.exceptions import BadRequest, Forbidden, NotFound
        from google.cloud.bigquery import QueryJob

        reference = {"projectId": self.bigquery.project, "jobId": job_id, "location": self.location}
        job = QueryJob.from_api_repr({"configuration": configuration, "jobReference": reference}, self.bigquery)
        try:
            job._begin()  # type: ignore[no-untyped-call]
        except (BadRequest, Forbidden, NotFound) as error:
            reason = next((one["message"] for one in error.errors if one.get("message")), error.message)
            lines = enumerate(configuration["query"]["query"].splitlines(), start=1)
            numbered = "\n".join(f"{number:3}  {line}" for number, line in lines)
            raise FilterFileError(f"BigQuery refused the query: {reason}\nFilter file: {self.filter_uri}\n{numbered}") from error
        return job

    def _get_job(self, job_id: str, location: str | None) -> QueryJob:
        return cast("QueryJob", self.bigquery.get_job(job_id, location=location))

    def _start_or_adopt(self, context: Context, query: FilterQuery) -> QueryJob:
        """Start the job, or go on with the one that an earlier try of this task started.

        The job's id comes from the task and the query, so that a retry meets its own job. It has a generation that moves on only
        when the job of the one before cannot be used: it ended in an error, or its parts are gone.
        """
        from google.api_core.exceptions import Conflict

        for generation in itertools.count():
            job_id = self._job_id(context, query, generation)
            statement = query.export_statement(f"gs://{self.bucket.name}/{self._scratch(job_id)}*.csv")
            try:
                return self._insert({"query": self._query_configuration(statement)}, job_id)
            except Conflict:
                job = self._get_job(job_id, self.location)
                if self._usable(job):
                    self.log.info("Going on with the BigQuery job %s, which an earlier try of this task started.", job_id)
                    return job
        raise AssertionError("unreachable")

    def _job_id(self, context: Context, query: FilterQuery, generation: int) -> str:
        ti = context["ti"]
        # A retry keeps max_tries; a clear raises it and so gets a job of its own.
        request = [query.export_statement(""), self.query_parameters, self.filter_uri]
        identity = [ti.dag_id, ti.task_id, ti.run_id, ti.map_index, ti.max_tries, *request]
        digest = hashlib.sha256(json.dumps(identity, default=str).encode()).hexdigest()[:32]
        return f"airflow_dicom_{digest}_g{generation}"

    def _usable(self, job: QueryJob) -> bool:
        if job.state != "DONE":
            return True
        if job.error_result:
            return False
        return self._finished_target(job) is not None or len(self._parts(job)) == self._statistics(job)["fileCount"]

    def _finished_target(self, job: QueryJob) -> Blob | None:
        """Return the filter object when it is what this job made."""
        blob: Blob | None = self.bucket.get_blob(self._target()[1])
        return blob if blob is not None and (blob.metadata or {}).get(_JOB_METADATA_KEY) == job.job_id else None

    def _scratch(self, job_id: str) -> str:
        """Return the prefix of everything that is written on the way."""
        return f"{self._target()[1]}.parts/{job_id}/"

    def _parts(self, job: QueryJob) -> list[Blob]:
        prefix = self._scratch(job.job_id)
        return [blob for blob in self.bucket.list_blobs(prefix=prefix) if blob.name.endswith(".csv")]

    @staticmethod
    def _statistics(job: QueryJob) -> dict[str, int]:
        statistics = job._properties["statistics"]["query"].get("exportDataStatistics", {})
        return {"fileCount": int(statistics.get("fileCount", 0)), "rowCount": int(statistics.get("rowCount", 0))}

    def _defer(self, job: QueryJob, deadline: float | None, query: FilterQuery) -> None:
        from airflow_dicom.triggers.dicom import BigQueryJobTrigger

        self.defer(
            trigger=BigQueryJobTrigger(
                project_id=job.project,
                job_id=job.job_id,
                location=job.location,
                gcp_conn_id=self.gcp_conn_id,
                impersonation_chain=self.impersonation_chain,
                poll_interval=self.poll_interval,
                deadline=deadline,
                cancel_on_kill=self.cancel_on_kill,
            ),
            method_name="execute_complete",
            kwargs={"columns": list(query.columns)},
            timeout=defer_timeout(deadline),
        )

    def _wait_in_worker(self, job: QueryJob, clock: PollClock) -> None:
        pause = clock.first()
        while job.state != "DONE":
            if clock.expired:
                self._time_out(job)
            time.sleep(pause)
            # The client's own retry bridges transient errors.
            job.reload()
            pause = clock.answered()

    def _time_out(self, job: QueryJob) -> None:
        self._cancel(job)
        raise DicomOperationTimeout(
            f"Filter file {self.filter_uri}: BigQuery job {job.job_id} was still running after "
            f"execution_timeout={self.execution_timeout}. It has been asked to stop."
        )

    def _cancel(self, job: QueryJob) -> None:
        try:
            job.cancel()
        except Exception as error:
            # It may have ended a moment ago; the task's own end must not hang on this.
            self.log.warning("Could not cancel the BigQuery job %s: %s", job.job_id, error)

    def _finish(self, context: Context, job: QueryJob, query: FilterQuery) -> str:
        if job.error_result:
            self._delete_scratch(job)
            reason = str(job.error_result.get("message"))
            hint = "\nThe query must return one column of paths (/studies/…[/series/…[/instances/…]]), or columns of UIDs."
            raise FilterFileError(
                f"The query failed: {reason}\nFilter file: {self.filter_uri}\nBigQuery job: {job.job_id}"
                f"{hint if NO_PATH in reason else ''}"
            )
        rows = self._statistics(job)["rowCount"]
        if rows == 0 and self.on_empty != "succeed":
            self._delete_scratch(job)
            if self.on_empty == "skip":
                raise AirflowSkipException(f"Filter file {self.filter_uri}: the query selects nothing.")
            raise DicomEmptyResult(
                f"Filter file {self.filter_uri}: the query selects nothing. If that is a good answer here, set on_empty to 'skip' "
                "or 'succeed'."
            )
        target = self._compose(job)
        self._delete_scratch(job)
        self._announce(context, {"paths": rows, **self._counts(query, rows), "bytes": target.size, "crc32c": target.crc32c})
        return self.filter_uri

    def _counts(self, query: FilterQuery, rows: int) -> dict[str, int | None]:
        """Return how many studies, series and instances the lines mean."""
        if query.metadata_table is None:
            return {"studies": None, "series": None, "instances": rows if query.counts_instances else None}
        from google.cloud.bigquery import QueryJobConfig

        statement = query.count_statement()
        config = cast("QueryJobConfig", QueryJobConfig.from_api_repr({"query": self._query_configuration(statement)}))
        [row] = self.bigquery.query_and_wait(statement, job_config=config, location=self.location)
        counts: dict[str, int | None] = dict(row.items())
        return counts | {"instances": rows} if query.counts_instances else counts

    def _announce(self, context: Context, summary: dict[str, Any]) -> None:
        numbers = ", ".join(f"{value} {key}" for key, value in summary.items() if value is not None and key != "crc32c")
        self.log.info("%s: %s", numbers, self.filter_uri)
        context["ti"].xcom_push(key=PATH_COUNT_KEY, value=summary["paths"])
        context["ti"].xcom_push(key=EXPECTED_INSTANCES_KEY, value=summary["instances"])
        context["ti"].xcom_push(key=SUMMARY_KEY, value=summary)

    def _compose(self, job: QueryJob) -> Blob:
        from airflow_dicom.hooks.compose import compose

        finished = self._finished_target(job)
        if finished is not None:
            return finished
        parts, expected = self._parts(job), self._statistics(job)["fileCount"]
        if len(parts) != expected:
            raise FilterFileError(
                f"Filter file {self.filter_uri}: BigQuery wrote {expected} parts below gs://{self.bucket.name}/"
                f"{self._scratch(job.job_id)}, {len(parts)} are there. Retry the task: it will run the query again."
            )
        target = compose(self.bucket, parts, self._target()[1], self._scratch(job.job_id), {_JOB_METADATA_KEY: job.job_id})
        if target.size != sum(part.size for part in parts):
            raise FilterFileError(f"Filter file {self.filter_uri} has {target.size} bytes, its parts have other. Retry the task.")
        return target

    def _delete_scratch(self, job: QueryJob) -> None:
        for blob in self.bucket.list_blobs(prefix=self._scratch(job.job_id)):
            blob.delete()
