"""Links on a task instance's page. They work from the moment the operator knows where to point, also while the task is deferred.

They lead to the Google Cloud console, or to the emulator's own pages where ``HEALTHCARE_EMULATOR_HOST`` names an emulator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

from airflow_dicom.hooks.endpoint import HEALTHCARE_EMULATOR_HOST, emulator_url

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

        Airflow asks for each link in the process that has just run the task, and logs an error for an XCom that is not there.
        """
        known: dict[str, str] | None = getattr(operator, _KNOWN, None)
        if known is not None:
            return known.get(self.key, "")
        return XCom.get_value(key=self.key, ti_key=ti_key) or ""


#: The attribute of an operator that holds the URLs which it has shown, by the links' keys.
_KNOWN = "_airflow_dicom_links"


def remember(operator: BaseOperator, urls: Mapping[str, str]) -> None:
    """Let an operator's links know their URLs in this process.

    :param urls: by the links' keys.
    """
    setattr(operator, _KNOWN, {**getattr(operator, _KNOWN, {}), **urls})


def show(operator: BaseOperator, context: Context, urls: Mapping[str, str]) -> None:
    """Store the URLs of an operator's links for the task instance of ``context``.

    :param urls: by the links' keys.
    """
    for key, url in urls.items():
        context["ti"].xcom_push(key=key, value=url)
    remember(operator, urls)


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

        :param operation: the operation's name.
        """
        if page := _emulator_page("logs", operation=operation):
            return page
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
