"""The base class of an operator that runs one BigQuery job."""

from __future__ import annotations

import hashlib
import itertools
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_dicom.bigquery_job import BigQueryJob, job_name, job_reference
from airflow_dicom.exceptions import BigQueryApiError, BigQueryApiTransientError, FilterFileError, GoogleApiError
from airflow_dicom.filter_sql import hint, query_parameters
from airflow_dicom.links.dicom import BigQueryJobLink
from airflow_dicom.operators._connection import NOT_GIVEN, OneOf, as_int, as_mapping, as_text
from airflow_dicom.operators._waiting import WaitingOperator
from airflow_dicom.work.journal import Journal, State
from airflow_dicom.work.plan import Plan

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context, XComArg

    from airflow_dicom.hooks.bigquery_jobs import BigQueryJobHook
    from airflow_dicom.triggers.dicom import BigQueryJobTrigger
    from airflow_dicom.typing import Templated


class JobWork:
    """A BigQuery job as :class:`~airflow_dicom.work.waiting.Waitable`.

    :param job: the job as last seen.
    :param operator: whose hook asks.
    """

    def __init__(self, job: BigQueryJob, operator: BigQueryJobOperator) -> None:
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


class BigQueryJobOperator(WaitingOperator[JobWork]):
    """Run one query of BigQuery as a job, and wait for it.

    :param query_parameters: values by name, for ``@name`` in the SQL, or a list as BigQuery's API takes it (templated)
    :param project_id: the project that runs the query; by default the connection's (templated)
    :param location: BigQuery's location; by default BigQuery finds it from the tables (templated)
    :param labels: labels of the jobs, for the bill (templated)
    :param maximum_bytes_billed: BigQuery refuses a query that would be billed for more, without a charge; by default the project's
        limit (templated)
    :param priority: ``"INTERACTIVE"``, or ``"BATCH"``, which waits until BigQuery is idle (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._waiting.WaitingOperator`.
    """

    template_fields: Sequence[str] = (
        "query_parameters",
        "project_id",
        "location",
        "labels",
        "maximum_bytes_billed",
        "priority",
        *WaitingOperator.template_fields,
    )
    operator_extra_links: Sequence[BaseOperatorLink] = (BigQueryJobLink(),)
    names_its_work = True
    found_out: ClassVar[Sequence[str]] = ("_found_location",)
    checks: ClassVar[Mapping[str, Callable[[Any], object]]] = {
        "query_parameters": query_parameters,
        "project_id": lambda value: as_text(value, "project_id"),
        "location": lambda value: as_text(value, "location"),
        "labels": lambda value: as_mapping(value, "labels"),
        "maximum_bytes_billed": lambda value: as_int(value, "maximum_bytes_billed"),
        "priority": OneOf("priority", "INTERACTIVE", "BATCH"),
    }

    def __init__(
        self,
        *,
        query_parameters: XComArg | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        project_id: Templated | None = NOT_GIVEN,
        location: Templated | None = NOT_GIVEN,
        labels: XComArg | Mapping[str, str] | None = None,
        maximum_bytes_billed: int | Templated | None = NOT_GIVEN,
        priority: Templated = "INTERACTIVE",
        poll_interval: float | timedelta = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(poll_interval=poll_interval, **kwargs)
        self.query_parameters: Any = query_parameters
        self.project_id: Any
        self.location: Any
        self._replace_default(project_id=project_id, location=location)
        self.labels: Any = labels
        self.maximum_bytes_billed: Any
        self._narrow(maximum_bytes_billed=maximum_bytes_billed)
        self.priority: Any = priority
        self._found_location: str | None = None

    @cached_property
    def hook(self) -> BigQueryJobHook:
        """The hook for the worker."""
        from airflow_dicom.hooks.bigquery_jobs import BigQueryJobHook

        return BigQueryJobHook(self.gcp_conn_id, self.impersonation_chain)

    # What an operator says.

    def about(self) -> str:
        """Return what the query is for, in words: a line of the messages."""
        raise NotImplementedError

    def statement(self, job_id: str) -> str:
        """Return the SQL of the job with this id."""
        raise NotImplementedError

    def is_usable(self, job: BigQueryJob) -> bool:
        """Tell whether what a job that is done was to deliver is there, or can be made of what it has written."""
        raise NotImplementedError

    # What they share.

    def get_job(self, reference: Mapping[str, Any]) -> BigQueryJob:
        """Return a job as BigQuery tells it."""
        return BigQueryJob.from_response(self.hook.get_job(reference))

    def dry_run_query(self, sql: str) -> BigQueryJob:
        """Return a query's columns, and where its data are; nothing is read or billed."""
        job = self._insert(f"airflow_dicom_{uuid.uuid4().hex}", sql, dryRun=True)
        # jobs.get has to be told where they are, outside the US and the EU.
        self._found_location = job.reference.get("location")
        return job

    def first_row(self, sql: str) -> dict[str, str | None]:
        """Run another query, and return its first row."""
        reference = self._reference("")
        return self.hook.first_row(
            reference["projectId"], reference.get("location"), {**self._configuration(sql), **self._labels}
        )

    def _reference(self, job_id: str) -> dict[str, Any]:
        project_id = as_text(self.project_id, "project_id") or self.hook.project_id
        location = as_text(self.location, "location") or self._found_location
        return {"projectId": project_id, "jobId": job_id, **({"location": location} if location else {})}

    def _configuration(self, sql: str) -> dict[str, Any]:
        parameters = query_parameters(self.query_parameters)
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

    def _insert(self, job_id: str, sql: str, **configuration: Any) -> BigQueryJob:
        """Insert a job.

        :raises BigQueryApiError: there is a job with this id (409), or BigQuery cannot be reached.
        :raises FilterFileError: BigQuery refused the query.
        """
        configuration |= {"query": {**self._configuration(sql), "priority": self.priority}, **self._labels}
        try:
            return BigQueryJob.from_response(self.hook.insert_job(self._reference(job_id), configuration))
        except BigQueryApiError as error:
            if isinstance(error, BigQueryApiTransientError) or error.status_code not in (400, 403, 404):
                raise
            step = hint(sql, error.reason) or "Correct the query, or give Airflow's account the roles that it needs."
            numbered = "\n".join(f"{number:3}  {line}" for number, line in enumerate(sql.splitlines(), start=1))
            raise FilterFileError(f"BigQuery refused the query: {error.reason}\n{step}\n{self.about()}\n{numbered}") from error

    def _submit(self, plan: Plan, journal: Journal) -> JobWork:
        for job_id in self._job_ids(plan, journal):
            if journal.has_store:
                # Stored before it is sent: BigQuery tells whether a job with this id has come to be.
                journal.store(plan, job_name(self._reference(job_id)))
            # Known from now on, so that an error, or a kill, while the answer is on its way does not leave it running.
            self._work = JobWork(BigQueryJob(self._reference(job_id), "PENDING"), self)
            try:
                job = self._insert(job_id, self.statement(job_id))
            except FilterFileError:
                self._work = None
                raise
            except BigQueryApiError as error:
                if error.status_code != 409:
                    raise
                job = self.get_job(self._reference(job_id))
                if not journal.has_store and job.done and not self._is_good(job):
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

    def _named(self, name: str) -> JobWork:
        return JobWork(BigQueryJob(job_reference(name), "RUNNING"), self)

    def _look_up(self, name: str) -> JobWork:
        return JobWork(self.get_job(job_reference(name)), self)

    def _work_of_event(self, event: dict[str, Any]) -> JobWork:
        if event["status"] == "error":
            raise BigQueryApiError(event["message"], status_code=event["status_code"])
        return self._look_up(self._name_of_event(event))

    def _name_of_event(self, event: dict[str, Any]) -> str:
        return job_name({"projectId": event["project_id"], "jobId": event["job_id"], "location": event["location"]})

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
        return State.DELIVERED if self._is_good(work.job) else State.UNDELIVERED

    def _is_good(self, job: BigQueryJob) -> bool:
        return not job.error and self.is_usable(job)
