"""Make a filter file of a BigQuery query."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_dicom.bigquery_job import BigQueryJob
from airflow_dicom.exceptions import FilterFileError
from airflow_dicom.filter_sql import NO_PATH
from airflow_dicom.gcs_uris import check_object_uri, parse_gs_uri
from airflow_dicom.links.dicom import FilterFileLink
from airflow_dicom.operators import _filter_object as filter_object
from airflow_dicom.operators._bigquery_job import JobWork
from airflow_dicom.operators._connection import check_on_empty
from airflow_dicom.operators._filter_parts import FilterParts
from airflow_dicom.operators._filter_query import FilterQueryOperator
from airflow_dicom.work.plan import Plan

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from google.cloud.storage import Bucket

    from airflow_dicom.typing import Templated


class FilterFileFromBigQueryOperator(FilterQueryOperator):
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
        are read. Google may leave changes out; a metadata export finds what is missing. It must be told: an export with
        ``schemaJson`` makes a table with the same columns
    :param query_parameters: values by name, for ``@name`` in the SQL, or a list as BigQuery's API takes it (templated)
    :param on_empty: what it means that the query selects nothing: ``"fail"``, ``"skip"`` or ``"succeed"``, which writes an empty
        object. Otherwise an object of an earlier run is removed: it names what was not selected this time (templated)
    :param project_id: the project that runs the query; by default the connection's (templated)
    :param location: BigQuery's location; by default BigQuery finds it from the tables (templated)
    :param labels: labels of the jobs, for the bill (templated)
    :param maximum_bytes_billed: BigQuery refuses a query that would be billed for more, without a charge; by default the project's
        limit. The count that ``table`` or ``metadata_table`` costs has the same limit (templated)
    :param priority: ``"INTERACTIVE"``, or ``"BATCH"``, which waits until BigQuery is idle (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._waiting.WaitingOperator`.
    """

    template_fields: Sequence[str] = ("filter_uri", "on_empty", *FilterQueryOperator.template_fields)
    operator_extra_links = (FilterFileLink(), *FilterQueryOperator.operator_extra_links)
    checks = {
        **FilterQueryOperator.checks,
        "filter_uri": lambda uri: check_object_uri(uri, argument="filter_uri"),
        "on_empty": check_on_empty,
    }

    def __init__(self, *, filter_uri: Templated, on_empty: Templated = "fail", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filter_uri: Any
        self._narrow(filter_uri=filter_uri)
        self.on_empty: Any = on_empty
        self._check_literals()

    @cached_property
    def bucket(self) -> Bucket:
        """The filter's bucket."""
        return filter_object.bucket_and_name(self, self.filter_uri)[0]

    @property
    def _parts(self) -> FilterParts:
        return FilterParts(self.filter_uri, self.bucket, parse_gs_uri(self.filter_uri, argument="filter_uri")[1])

    def execute(self, context: Context) -> str:
        """Run the query and write the filter.

        :return: ``filter_uri``.
        :raises DicomArgumentError: an argument cannot be used.
        :raises FilterFileError: the query failed, or returned something other than paths.
        :raises BigQueryApiError: BigQuery refused something else.
        :raises DicomEmptyResult: the query selected nothing and ``on_empty`` is ``"fail"``.
        """
        return str(super().execute(context))

    def plan(self, context: Context) -> Plan:
        """Return the request: the query, and the object that it is for."""
        work = self._work
        return Plan(
            method="bigquery.jobs.insert",
            name=self.filter_uri,
            # A task that resumes has sent its request.
            body={} if work is not None else {"query": self.query.export_statement(""), "parameters": self.query_parameters},
            subject=f"Filter file {self.filter_uri}",
            links={FilterFileLink.key: FilterFileLink.url(self.filter_uri)},
            inputs=[f"bq://{table}" for table in work.job.tables] if work is not None else [],
            outputs=[self.filter_uri],
        )

    def about(self) -> str:
        """Return what the query is for."""
        return f"Filter file: {self.filter_uri}"

    def statement(self, job_id: str) -> str:
        """Return the query, with the place for its parts."""
        self.log.info("The query:\n%s", self.query.sql)
        return self.query.export_statement(self._parts.pattern(job_id))

    def is_usable(self, job: BigQueryJob) -> bool:
        """Tell whether the filter can be, or has been, made of what a job has written."""
        return self._parts.are_usable(job)

    def _check_arguments(self) -> None:
        super()._check_arguments()
        self._parts.check()

    def _result(self, context: Context, plan: Plan, work: JobWork) -> str:
        job = work.job
        if job.error:
            self._parts.delete(job)
            hint = "Run it in BigQuery's console to find out why, or retry the task if it is a fault of the service."
            if NO_PATH in job.error:
                hint = "The query must return one column of paths (/studies/…[/series/…[/instances/…]]), or columns of UIDs."
            if self.maximum_bytes_billed and "bytes billed" in job.error:
                hint = (
                    "Raise maximum_bytes_billed, or let the query read less: fewer columns, a partition, one pass over the table."
                )
            raise FilterFileError(f"The query failed: {job.error}\n{self.about()}\nBigQuery job: {job.name}\n{hint}")
        if job.rows == 0 and self.on_empty != "succeed":
            self._parts.delete(job)
            filter_object.end_empty(self, self.filter_uri, f"Filter file {self.filter_uri}: the query selects nothing")
        counts = self.counts(job.rows)
        filter_object.announce(self, context, self.filter_uri, self._parts.compose(job, counts), counts)
        return str(self.filter_uri)
