"""Make a filter file of a BigQuery query."""

from __future__ import annotations

import hashlib
import itertools
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_dicom.bigquery_job import BigQueryJob, job_name, job_reference
from airflow_dicom.exceptions import BigQueryApiError, DicomArgumentError, FilterFileError, GoogleApiError
from airflow_dicom.filter_sql import (
    NO_PATH,
    FilterQuery,
    check_dialect,
    hint_for_types,
    query_of_table,
    query_parameters,
    strip_semicolon,
)
from airflow_dicom.gcs_uris import check_object_uri, parse_gs_uri
from airflow_dicom.links.dicom import BigQueryJobLink, FilterFileLink
from airflow_dicom.operators import _filter_object as filter_object
from airflow_dicom.operators._connection import NOT_GIVEN, as_int, check_on_empty, one_of
from airflow_dicom.operators._waiting import WaitingOperator
from airflow_dicom.work.journal import Journal, State
from airflow_dicom.work.plan import Plan

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, XComArg
    from google.cloud.storage import Blob, Bucket

    from airflow_dicom.hooks.bigquery_jobs import BigQueryJobHook
    from airflow_dicom.triggers.dicom import BigQueryJobTrigger
    from airflow_dicom.typing import Templated


class JobWork:
    """A BigQuery job as :class:`~airflow_dicom.work.waiting.Waitable`.

    :param job: the job as last seen.
    :param operator: whose hook asks.
    """

    def __init__(self, job: BigQueryJob, operator: FilterFileFromBigQueryOperator) -> None:
        self.job = job
        self._operator = operator

    @property
    def name(self) -> str:
        """The job's name."""
        return self.job.name

    @property
    def done(self) -> bool:
        """Whether it ended, in whatever way."""
        return self.job.done

    def is_named(self, name: str) -> bool:
        """Tell whether a name is the job's, whether it has the location or not: that is known once BigQuery has answered."""
        return name.rpartition(".")[2] == self.job.id

    def poll(self) -> str:
        """Ask once; return the state, in words, if it has changed."""
        before, self.job = self.job, self._operator.get_job(self.job.reference)
        return f"The query is {self.job.state.lower()} (BigQuery job {self.name})" if self.job.state != before.state else ""

    def cancel(self) -> None:
        """Ask BigQuery to stop it."""
        self._operator.hook.cancel_job(self.job.reference)

    def trigger(self, **waiting: Any) -> BigQueryJobTrigger:
        """Return the trigger that waits for it."""
        from airflow_dicom.triggers.dicom import BigQueryJobTrigger

        reference = self.job.reference
        return BigQueryJobTrigger(
            project_id=reference["projectId"], job_id=self.job.id, location=reference.get("location"), **waiting
        )


class FilterFileFromBigQueryOperator(WaitingOperator[JobWork]):
    """Write the paths that a query selects to one object that ``filter_uri`` of an export takes.

    All work happens inside BigQuery and Cloud Storage; no row passes through the worker. One ``EXPORT DATA`` job de-duplicates the
    paths, drops NULLs, fails on anything that is not a path, and writes parts beside the target; they are composed into one object
    and deleted. Airflow's account needs ``roles/bigquery.jobUser``, ``roles/bigquery.dataViewer`` on the table's dataset and
    ``roles/storage.objectUser`` on the bucket; the store's service agent needs ``roles/storage.objectViewer`` there.

    The return value is ``filter_uri``, so that an export takes ``filter_uri=task.output``. The XCom ``path_count`` is the number of
    lines, ``expected_instances`` the number of instances that they mean: known where each line names an instance, and where
    ``table`` or ``metadata_table`` tells, which costs a second query; otherwise ``None``. The XCom ``filter_file`` has all numbers,
    and so has the object's own metadata, from which an export's ``expected_instances="filter"`` reads them.

    A retry goes on with the query of the try before; a clear, or another run, makes the filter anew.

    :param filter_uri: the object to write, ``gs://bucket/name``; one name per run, such as
        ``gs://bucket/filters/{{ run_id }}.txt``, keeps runs apart (templated)
    :param sql: a query in GoogleSQL that returns one column of paths, or the columns ``StudyInstanceUID[, SeriesInstanceUID[,
        SOPInstanceUID]]`` (templated; may be a ``.sql`` file)
    :param table: instead of ``sql``: the metadata table of an export, ``project.dataset.table`` (templated)
    :param level: with ``table``: what a line names, ``"study"``, ``"series"`` or ``"instance"`` (templated)
    :param where: with ``table``: a condition in GoogleSQL, such as ``Modality = 'CT'``; left out, all rows (templated)
    :param except_table: a table with the columns ``StudyInstanceUID``, ``SeriesInstanceUID``, ``SOPInstanceUID``, as a metadata
        export or a ledger of earlier exports has them; lines that name an instance which is there are left out. Lines that name a
        study or a series stay (templated)
    :param metadata_table: with ``sql``: a table of all instances of the store, with the same columns; with ``table``, that one is
        meant (templated)
    :param collapse: whether to write the fewest lines that mean the same: a series of which all instances are selected as that
        series, a study likewise, as the table tells. An instance that came into the store later than the table's rows is exported
        with its series
    :param streamed: whether ``table`` is one to which a store streams its changes (``streamConfigs``). It has several rows of an
        instance, and those of deleted ones: only the newest row of each counts, and none where that tells of a deletion. Whole tables
        are read. Google may leave changes out; a metadata export finds what is missing
    :param query_parameters: values by name, for ``@name`` in the SQL, or a list as BigQuery's API takes it (templated)
    :param on_empty: what it means that the query selects nothing: ``"fail"``, ``"skip"`` or ``"succeed"``, which writes an empty
        object (templated)
    :param project_id: the project that runs the query; by default the connection's (templated)
    :param location: BigQuery's location; by default BigQuery finds it from the tables (templated)
    :param labels: labels of the jobs, for the bill (templated)
    :param maximum_bytes_billed: BigQuery refuses a query that would be billed for more, without a charge; by default the project's
        limit. The count that ``table`` or ``metadata_table`` costs has the same limit (templated)
    :param priority: ``"INTERACTIVE"``, or ``"BATCH"``, which waits until BigQuery is idle (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._waiting.WaitingOperator`.
    """

    template_fields: Sequence[str] = (
        *WaitingOperator.template_fields,
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
        "labels",
        "maximum_bytes_billed",
        "priority",
    )
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"sql": "sql", "where": "sql"}
    operator_extra_links = (FilterFileLink(), BigQueryJobLink())
    names_its_work = True
    found_out = ("_columns", "_found_location")
    checks = {
        "filter_uri": lambda uri: check_object_uri(uri, argument="filter_uri"),
        "on_empty": check_on_empty,
        "level": one_of("level", "study", "series", "instance"),
        "sql": check_dialect,
        "maximum_bytes_billed": lambda value: as_int(value, "maximum_bytes_billed"),
        "priority": one_of("priority", "INTERACTIVE", "BATCH"),
    }

    def __init__(
        self,
        *,
        filter_uri: Templated,
        sql: Templated | None = None,
        table: Templated | None = None,
        level: Templated = "instance",
        where: Templated | None = NOT_GIVEN,
        except_table: Templated | None = NOT_GIVEN,
        metadata_table: Templated | None = None,
        collapse: bool = False,
        streamed: bool = False,
        query_parameters: XComArg | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        on_empty: Templated = "fail",
        project_id: Templated | None = None,
        location: Templated | None = None,
        labels: XComArg | Mapping[str, str] | None = None,
        maximum_bytes_billed: int | Templated | None = NOT_GIVEN,
        priority: Templated = "INTERACTIVE",
        poll_interval: float | timedelta = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(poll_interval=poll_interval, **kwargs)
        self.filter_uri: Any = filter_uri
        self.sql: Any = sql
        self.table: Any = table
        self.level: Any = level
        self.where: str | None
        self.except_table: str | None
        self.maximum_bytes_billed: Any
        self._narrow(where=where, except_table=except_table, maximum_bytes_billed=maximum_bytes_billed)
        self.metadata_table: Any = metadata_table
        self.collapse = collapse
        self.streamed = streamed
        self.query_parameters: Any = query_parameters
        self.on_empty: Any = on_empty
        self.project_id: Any = project_id
        self.location: Any = location
        self.labels: Any = labels
        self.priority: Any = priority
        self._columns: Sequence[str] = []
        self._found_location: str | None = None
        self._check_literals()

    @cached_property
    def hook(self) -> BigQueryJobHook:
        """The hook for the worker."""
        from airflow_dicom.hooks.bigquery_jobs import BigQueryJobHook

        return BigQueryJobHook(self.gcp_conn_id, self.impersonation_chain)

    @cached_property
    def bucket(self) -> Bucket:
        """The filter's bucket."""
        return filter_object.bucket_and_name(self, self.filter_uri)[0]

    @cached_property
    def _query(self) -> FilterQuery:
        """The filter as SQL. The names of the query's columns come from a dry run; nothing is read or billed."""
        sql = self._sql()
        if not self._columns:
            job = self._insert(f"airflow_dicom_{uuid.uuid4().hex}", sql, dryRun=True)
            if not job.columns:
                raise DicomArgumentError("sql returns no rows; it must be one SELECT.")
            # The dry run knows where the data are; jobs.get has to be told, outside the US and the EU.
            self._columns, self._found_location = job.columns, job.reference.get("location")
        return self._filter_query(sql, self._columns)

    def execute(self, context: Context) -> str:
        """Run the query and write the filter.

        :return: ``filter_uri``.
        :raises DicomArgumentError: an argument cannot be used.
        :raises FilterFileError: the query failed, or returned something other than paths.
        :raises BigQueryApiError: BigQuery refused something else.
        :raises DicomEmptyResult: the query selected nothing and ``on_empty`` is ``"fail"``.
        """
        filter_uri: str = super().execute(context)
        return filter_uri

    def plan(self, context: Context) -> Plan:
        """Return the request: the query, and the object that it is for."""
        work = self._work
        return Plan(
            method="bigquery.jobs.insert",
            name=self.filter_uri,
            # A task that resumes has sent its request.
            body={} if work is not None else {"query": self._query.export_statement(""), "parameters": self.query_parameters},
            subject=f"Filter file {self.filter_uri}",
            links={FilterFileLink.key: FilterFileLink.url(self.filter_uri)},
            inputs=[f"bq://{table}" for table in work.job.tables] if work is not None else [],
            outputs=[self.filter_uri],
        )

    def _check_arguments(self) -> None:
        super()._check_arguments()
        if bool(self.sql) == bool(self.table):
            given = "both" if self.sql else "neither"
            raise DicomArgumentError(f"A filter comes from one query: give sql or table; {given} is given.")
        if self.where and not self.table:
            raise DicomArgumentError("where goes with table; put the condition into sql.")
        if self.streamed and not self.table:
            raise DicomArgumentError("streamed goes with table; let sql itself take the newest row of each instance.")
        self._check_bucket()

    def _sql(self) -> str:
        """Return the user's query."""
        try:
            return (
                query_of_table(self.table, self.level, self.where, streamed=self.streamed)
                if self.table
                else strip_semicolon(self.sql or "")
            )
        except ValueError as error:
            raise DicomArgumentError(str(error)) from error

    def _filter_query(self, sql: str, columns: Sequence[str]) -> FilterQuery:
        streamed = self.streamed and not self.metadata_table
        try:
            query = FilterQuery(sql, columns, self.except_table, self.metadata_table or self.table, self.collapse, streamed)
            query.check()
        except ValueError as error:
            raise DicomArgumentError(str(error)) from error
        return query

    def _target(self) -> str:
        return parse_gs_uri(self.filter_uri, argument="filter_uri")[1]

    def _check_bucket(self) -> None:
        """Look below the target: to ask for the bucket itself takes a permission that ``roles/storage.objectUser`` lacks."""
        from google.api_core.exceptions import Forbidden, NotFound

        try:
            list(self.bucket.list_blobs(prefix=f"{self._target()}.parts/", max_results=1))
        except NotFound as error:
            raise DicomArgumentError(f"filter_uri is {self.filter_uri!r}; there is no bucket {self.bucket.name!r}.") from error
        except Forbidden as error:
            raise FilterFileError(
                f"Filter file {self.filter_uri}: Airflow's account may not list the objects there: give it "
                f"roles/storage.objectUser on the bucket. ({error.message})"
            ) from error

    def _query_configuration(self, sql: str) -> dict[str, Any]:
        try:
            parameters = query_parameters(self.query_parameters)
        except ValueError as error:
            raise DicomArgumentError(str(error)) from error
        configuration: dict[str, Any] = {"query": sql, "useLegacySql": False}
        if parameters:
            configuration["queryParameters"] = parameters
            configuration["parameterMode"] = "NAMED" if parameters[0].get("name") else "POSITIONAL"
        if (limit := as_int(self.maximum_bytes_billed, "maximum_bytes_billed")) is not None:
            configuration["maximumBytesBilled"] = str(limit)
        return configuration

    @property
    def _labels(self) -> dict[str, Any]:
        return {"labels": dict(self.labels)} if self.labels else {}

    def _reference(self, job_id: str) -> dict[str, Any]:
        project_id = self.project_id or self.hook.project_id
        location = self.location or self._found_location
        return {"projectId": project_id, "jobId": job_id, **({"location": location} if location else {})}

    def get_job(self, reference: Mapping[str, Any]) -> BigQueryJob:
        """Return a job as BigQuery tells it."""
        return BigQueryJob.from_response(self.hook.get_job(reference))

    def _insert(self, job_id: str, sql: str, **configuration: Any) -> BigQueryJob:
        """Insert a job.

        :raises BigQueryApiError: there is a job with this id (409), or BigQuery cannot be reached.
        :raises FilterFileError: BigQuery refused the query.
        """
        configuration |= {"query": {**self._query_configuration(sql), "priority": self.priority}, **self._labels}
        try:
            return BigQueryJob.from_response(self.hook.insert_job(self._reference(job_id), configuration))
        except BigQueryApiError as error:
            if error.status_code not in (400, 403, 404):
                raise
            hint = hint_for_types(sql, error.reason) or "Correct the query, or give Airflow's account the roles that it needs."
            numbered = "\n".join(f"{number:3}  {line}" for number, line in enumerate(sql.splitlines(), start=1))
            raise FilterFileError(
                f"BigQuery refused the query: {error.reason}\n{hint}\nFilter file: {self.filter_uri}\n{numbered}"
            ) from error

    def _submit(self, plan: Plan, journal: Journal) -> JobWork:
        self.log.info("The query:\n%s", self._query.sql)
        for job_id in self._job_ids(plan, journal):
            if journal.has_store:
                # Stored before it is sent: BigQuery tells whether a job with this id has come to be.
                journal.store(plan, job_name(self._reference(job_id)))
            # Known from now on, so that an error, or a kill, while the answer is on its way does not leave it running.
            self._work = JobWork(BigQueryJob(self._reference(job_id), "PENDING"), self)
            try:
                job = self._insert(job_id, self._query.export_statement(f"gs://{self.bucket.name}/{self._scratch(job_id)}*.csv"))
            except FilterFileError:
                self._work = None
                raise
            except BigQueryApiError as error:
                if error.status_code != 409:
                    raise
                job = self.get_job(self._reference(job_id))
                if not journal.has_store and job.done and not self._is_usable(job):
                    continue
            return JobWork(job, self)
        raise AssertionError("unreachable")

    def _job_ids(self, plan: Plan, journal: Journal) -> Iterator[str]:
        """Yield ids for the job: with a store, new ones.

        Without one (Airflow before 3.3), an id is made of what a retry keeps and neither a clear nor a new run repeats. BigQuery never
        runs an id again, so a job that ended in an error moves the id's generation on.
        """
        while journal.has_store:
            yield f"airflow_dicom_{uuid.uuid4().hex}"
        assert self._context is not None
        ti, run = self._context["ti"], self._context.get("dag_run")
        task = [ti.dag_id, ti.task_id, ti.run_id, ti.map_index, ti.max_tries, str(getattr(run, "start_date", None))]
        digest = hashlib.sha256(json.dumps([*task, plan.fingerprint]).encode()).hexdigest()[:32]
        yield from (f"airflow_dicom_{digest}_g{generation}" for generation in itertools.count())

    def _look_up(self, name: str) -> JobWork:
        return JobWork(self.get_job(job_reference(name)), self)

    def _work_of_event(self, event: dict[str, Any]) -> JobWork:
        if event["status"] == "error":
            raise BigQueryApiError(event["message"], status_code=event["status_code"])
        reference = {"projectId": event["project_id"], "jobId": event["job_id"], "location": event["location"]}
        return JobWork(self.get_job({key: value for key, value in reference.items() if value}), self)

    def _links(self, plan: Plan, work: JobWork) -> dict[str, str]:
        return {**plan.links, BigQueryJobLink.key: BigQueryJobLink.url(work.job.reference)}

    def _external_id(self, work: JobWork) -> str:
        return work.job.id

    def _refusal(self, error: GoogleApiError, plan: Plan) -> Exception:
        return BigQueryApiError(
            f"{plan.subject}: {error}\nAirflow's account needs roles/bigquery.jobUser on the project that runs the query.",
            status_code=error.status_code,
        )

    def _state(self, work: JobWork, plan: Plan, context: Context) -> State:
        if not work.done:
            return State.RUNS
        if work.job.error:
            return State.FAILED_EMPTY
        return State.DELIVERED if self._is_usable(work.job) else State.UNDELIVERED

    def _is_usable(self, job: BigQueryJob) -> bool:
        """Tell whether the filter can be, or has been, made of what a job that is done has written."""
        return not job.error and (self._finished_target(job) is not None or len(self._parts(job)) == job.files)

    def _finished_target(self, job: BigQueryJob) -> Blob | None:
        """Return the filter object when it is what this job made."""
        blob: Blob | None = self.bucket.get_blob(self._target())
        made_by = (blob.metadata or {}).get(filter_object.JOB_METADATA_KEY) if blob is not None else None
        return blob if made_by == job.id else None

    def _scratch(self, job_id: str) -> str:
        """Return the prefix of everything that is written on the way."""
        return f"{self._target()}.parts/{job_id}/"

    def _parts(self, job: BigQueryJob) -> list[Blob]:
        return [blob for blob in self.bucket.list_blobs(prefix=self._scratch(job.id)) if blob.name.endswith(".csv")]

    def _result(self, context: Context, plan: Plan, work: JobWork) -> str:
        job = work.job
        if job.error:
            self._delete_scratch(job)
            hint = "Run it in BigQuery's console to find out why, or retry the task if it is a fault of the service."
            if NO_PATH in job.error:
                hint = "The query must return one column of paths (/studies/…[/series/…[/instances/…]]), or columns of UIDs."
            if self.maximum_bytes_billed and "bytes billed" in job.error:
                hint = (
                    "Raise maximum_bytes_billed, or let the query read less: fewer columns, a partition, one pass over the table."
                )
            raise FilterFileError(
                f"The query failed: {job.error}\nFilter file: {self.filter_uri}\nBigQuery job: {job.name}\n{hint}"
            )
        if job.rows == 0 and self.on_empty != "succeed":
            self._delete_scratch(job)
            raise filter_object.nothing_selected(self.filter_uri, "the query selects nothing", self.on_empty)
        counts = self._counts(job.rows)
        target = self._finished_target(job) or self._compose(job, counts)
        self._delete_scratch(job)
        filter_uri: str = self.filter_uri
        filter_object.announce(self, context, filter_uri, target, counts)
        return filter_uri

    def _counts(self, rows: int) -> dict[str, int | None]:
        """Return how many lines there are, and how many studies, series and instances they mean."""
        query = self._query
        counts: dict[str, int | None] = {"paths": rows, "studies": None, "series": None, "instances": None}
        if query.metadata_table is not None:
            statement = {**self._query_configuration(query.count_statement()), **self._labels}
            reference = self._reference("")
            row = self.hook.first_row(reference["projectId"], reference.get("location"), statement)
            counts |= {name: int(value or 0) for name, value in row.items()}
        return counts | {"instances": rows} if query.counts_instances else counts

    def _compose(self, job: BigQueryJob, counts: Mapping[str, int | None]) -> Blob:
        from airflow_dicom.hooks.compose import compose

        parts = self._parts(job)
        if len(parts) != job.files:
            raise FilterFileError(
                f"Filter file {self.filter_uri}: BigQuery wrote {job.files} parts below gs://{self.bucket.name}/"
                f"{self._scratch(job.id)}, {len(parts)} are there. Retry the task: it will run the query again."
            )
        metadata = filter_object.metadata_of(counts, **{filter_object.JOB_METADATA_KEY: job.id})
        target = compose(self.bucket, parts, self._target(), self._scratch(job.id), metadata)
        if target.size != sum(part.size for part in parts):
            raise FilterFileError(f"Filter file {self.filter_uri} has {target.size} bytes, its parts have other. Retry the task.")
        return target

    def _delete_scratch(self, job: BigQueryJob) -> None:
        for blob in self.bucket.list_blobs(prefix=self._scratch(job.id)):
            blob.delete()
