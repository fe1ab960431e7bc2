"""BigQuery's jobs for workers, by the same client as the Healthcare API, with the same errors and retries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_dicom.exceptions import BigQueryApiError, BigQueryApiTransientError
from airflow_dicom.hooks._discovery import DiscoveryHook
from airflow_dicom.hooks.endpoint import BIGQUERY_EMULATOR_HOST


class BigQueryJobHook(DiscoveryHook):
    """Insert, watch and cancel jobs.

    :param gcp_conn_id: the Google Cloud connection.
    :param impersonation_chain: the service account to impersonate, or a chain of them.
    """

    service = "bigquery"
    service_path = "bigquery/v2/"
    api_version = "v2"
    emulator_variable = BIGQUERY_EMULATOR_HOST
    error = BigQueryApiError
    transient_error = BigQueryApiTransientError

    def insert_job(self, reference: Mapping[str, Any], configuration: dict[str, Any]) -> dict[str, Any]:
        """``jobs.insert``. A job's id makes the request safe to repeat: BigQuery never runs an id again, and answers 409.

        :param reference: a ``JobReference``: ``projectId``, ``jobId``, and ``location`` where the data are not in the US or EU.
        :param configuration: a ``JobConfiguration``.
        :return: the job.
        """
        body = {"jobReference": reference, "configuration": configuration}
        return self.call("jobs.insert", projectId=reference["projectId"], body=body)

    def get_job(self, reference: Mapping[str, Any]) -> dict[str, Any]:
        """``jobs.get``."""
        return self.call("jobs.get", **reference)

    def cancel_job(self, reference: Mapping[str, Any]) -> None:
        """``jobs.cancel``: asks BigQuery to stop; the job ends a while later."""
        self.call("jobs.cancel", **reference)

    def first_row(self, project_id: str, location: str | None, configuration: dict[str, Any]) -> dict[str, str | None]:
        """Run a query and return its first row, by column; values are texts, as BigQuery's JSON has them.

        :param configuration: a ``JobConfigurationQuery``.
        """
        body = {**configuration, "location": location, "timeoutMs": 30_000}
        answer = self.call("jobs.query", projectId=project_id, body=body)
        while not answer.get("jobComplete"):
            answer = self.call("jobs.getQueryResults", **answer["jobReference"], timeoutMs=30_000)
        names = [field["name"] for field in answer["schema"]["fields"]]
        return dict(zip(names, (cell["v"] for cell in answer["rows"][0]["f"]), strict=True))
