"""Links on a task instance's page. They work from the moment the operator knows where to point, also while the task is deferred.

They lead to the Google Cloud console, or to the emulator's own pages where ``HEALTHCARE_EMULATOR_HOST`` names an emulator.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

from airflow_dicom.hooks.endpoint import HEALTHCARE_EMULATOR_HOST, emulator_url
from airflow_dicom.operation import split_names

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context
    from airflow.sdk.types import TaskInstanceKey

    from airflow_dicom.resource_names import DicomStoreName

_CONSOLE = "https://console.cloud.google.com"


class _PushedLink(BaseOperatorLink):
    """A link whose URL the running operator has put into its own XCom."""

    #: The XCom key that holds the URL.
    key: str

    @property
    def xcom_key(self) -> str:
        """The XCom key in which Airflow 3 looks for the URL."""
        return self.key

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL; an empty text as long as there is none.

        Airflow 3 asks in the process that has just run the task, Airflow 2 when a person opens the page.
        """
        running: _Running | None = getattr(operator, _RUNNING, None)
        if running is not None:
            return running.urls.get(self.key, "")
        return XCom.get_value(key=self.key, ti_key=ti_key) or ""


#: Whether Airflow itself asks for a task's links whenever a part of it ends, and stores them: Airflow 3.
_ASKED_FOR = importlib.util.find_spec("airflow.sdk") is not None

#: The attribute of an operator that holds what is known of its links while it runs.
_RUNNING = "_airflow_dicom_links"


class _Running:
    """What is known of the links of an operator that runs.

    :param every: all of them.
    """

    def __init__(self, every: Collection[BaseOperatorLink]) -> None:
        self.every = every
        #: What this part of the task has found out, by the links' keys.
        self.urls: dict[str, str] = {}


def begin(operator: BaseOperator) -> None:
    """Begin a part of a task: what an earlier one has shown is there, and the rest is not yet.

    Airflow 3 asks for each of the operator's links when this part ends, and stores what it gets; for what it cannot get it logs an
    error. So it finds those only that :func:`show` has learnt the URL of.
    """
    running: _Running | None = getattr(operator, _RUNNING, None)
    setattr(operator, _RUNNING, _Running(operator.operator_extra_links if running is None else running.every))
    _offer(operator)


def show(operator: BaseOperator, context: Context, urls: Mapping[str, str], *, part_ends: bool = False) -> None:
    """Store the URLs of an operator's links for the task instance of ``context``.

    :param urls: by the links' keys.
    :param part_ends: whether this part of the task ends now, so that Airflow 3 stores them by itself.
    """
    if not (part_ends and _ASKED_FOR):
        for key, url in urls.items():
            context["ti"].xcom_push(key=key, value=url)
    if not hasattr(operator, _RUNNING):
        begin(operator)
    getattr(operator, _RUNNING).urls.update(urls)
    _offer(operator)


def known(operator: BaseOperator) -> Mapping[str, str]:
    """Return the URLs that Airflow 3 gets when it asks now, by the links' keys."""
    running: _Running | None = getattr(operator, _RUNNING, None)
    return running.urls if running is not None else {}


def _offer(operator: BaseOperator) -> None:
    """Let Airflow find the links with a known URL, and those that are not ours."""
    running: _Running = getattr(operator, _RUNNING)
    with contextlib.suppress(AttributeError):  # a subclass may have made it a property
        operator.operator_extra_links = [
            link for link in running.every if not isinstance(link, _PushedLink) or link.key in running.urls
        ]


def _emulator_page(page: str, **query: str) -> str | None:
    """Return the address of a page of the emulator; ``None`` for Google Cloud."""
    emulator = emulator_url(HEALTHCARE_EMULATOR_HOST)
    return f"{emulator}/_emulator/{page}?{urlencode(query)}" if emulator else None


class DicomStoreLink(_PushedLink):
    """The DICOM store in the console."""

    name = "DICOM store"
    key = "dicom_store_link"

    @staticmethod
    def url(store: DicomStoreName) -> str:
        """Return the address of the store's page."""
        return _emulator_page("store", store=str(store)) or (
            f"{_CONSOLE}/healthcare/browser/locations/{store.location}/datasets/{store.dataset_id}"
            f"/dicomStores/{store.dicom_store_id}/overview?project={store.project_id}"
        )


class DicomDestinationLink(DicomStoreLink):
    """The DICOM store that is written."""

    name = "Destination store"
    key = "dicom_destination_link"


class DicomOperationLink(_PushedLink):
    """The dataset's operations in the console."""

    name = "Operation"
    key = "dicom_operation_link"

    @staticmethod
    def url(operation: str) -> str:
        """Return the address of the page that lists the operation; the emulator's shows it alone.

        :param operation: the operation's name, or several ones joined: see :func:`~airflow_dicom.operation.join_names`.
        """
        if page := _emulator_page("logs", operation=operation):
            return page if len(split_names(operation)) == 1 else f"{emulator_url(HEALTHCARE_EMULATOR_HOST)}/"
        _, project, _, location, _, dataset, _, _ = operation.split("/")
        return f"{_CONSOLE}/healthcare/browser/locations/{location}/datasets/{dataset}/operations?project={project}"


class DicomLogsLink(_PushedLink):
    """The errors of single instances in Cloud Logging."""

    name = "Operation logs"
    key = "dicom_logs_link"


class GcsPrefixLink(_PushedLink):
    """The folder that an export writes to, or an import reads from, in the console."""

    name = "Cloud Storage"
    key = "dicom_gcs_link"

    @staticmethod
    def url(uri: str) -> str:
        """Return the address of a folder, ``gs://bucket[/folder]``."""
        bucket, _, folder = uri.removeprefix("gs://").partition("/")
        prefix = f"{folder.rstrip('/')}/" if folder else ""
        return _emulator_page("bucket", bucket=bucket, prefix=prefix) or f"{_CONSOLE}/storage/browser/{bucket}/{quote(folder)}"


class BigQueryTableLink(_PushedLink):
    """The table that an export writes to, in the console."""

    name = "BigQuery table"
    key = "dicom_bigquery_link"

    @staticmethod
    def url(table: str) -> str:
        """Return the address of a table.

        :param table: ``project.dataset.table``.
        """
        project, dataset, name = table.rsplit(".", 2)
        page = _emulator_page("table", project=project, dataset=dataset, table=name)
        return page or f"{_CONSOLE}/bigquery?project={project}&p={project}&d={dataset}&t={name}&page=table"


class BigQueryJobLink(_PushedLink):
    """The query's job in the console."""

    name = "BigQuery job"
    key = "dicom_bigquery_job_link"

    @staticmethod
    def url(reference: Mapping[str, str]) -> str:
        """Return the address of a job.

        :param reference: a ``JobReference``.
        """
        project, location, job = reference["projectId"], reference.get("location") or "", reference["jobId"]
        page = _emulator_page("job", project=project, location=location, job=job)
        return page or f"{_CONSOLE}/bigquery?project={project}&j=bq:{location}:{job}&page=queryresults"


class FilterFileLink(_PushedLink):
    """The filter file in the console."""

    name = "Filter file"
    key = "dicom_filter_link"

    @staticmethod
    def url(uri: str) -> str:
        """Return the address of an object's page."""
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        return (
            _emulator_page("bucket", bucket=bucket, prefix=name) or f"{_CONSOLE}/storage/browser/_details/{bucket}/{quote(name)}"
        )
