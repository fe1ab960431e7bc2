"""Cloud Logging for workers: why single files of an import failed."""

from __future__ import annotations

from typing import Any

from airflow_dicom.exceptions import GoogleApiError, GoogleApiTransientError
from airflow_dicom.hooks._discovery import DiscoveryHook
from airflow_dicom.hooks.endpoint import HEALTHCARE_EMULATOR_HOST

_PAGE = 1000


class CloudLoggingHook(DiscoveryHook):
    """Read the entries that operations of the Healthcare API leave in Cloud Logging.

    Where ``HEALTHCARE_EMULATOR_HOST`` names an emulator, it has them.

    :param gcp_conn_id: the Google Cloud connection.
    :param impersonation_chain: the service account to impersonate, or a chain of them.
    """

    service = "logging"
    api_version = "v2"
    emulator_variable = HEALTHCARE_EMULATOR_HOST
    error = GoogleApiError
    transient_error = GoogleApiTransientError

    def failed_files(self, operation: str) -> list[dict[str, Any]]:
        """Return the files that an import could not handle: ``uri``, ``code`` and ``message`` of each.

        :param operation: the operation's name.
        """
        body: dict[str, Any] = {
            "resourceNames": ["/".join(operation.split("/")[:2])],
            "filter": f'operation.id="{operation}" AND severity>=ERROR',
            "orderBy": "timestamp asc",
            "pageSize": _PAGE,
        }
        files: dict[str, dict[str, Any]] = {}
        while True:
            page = self.call("entries.list", body=body)
            for entry in page.get("entries", []):
                payload = entry.get("jsonPayload") or {}
                if source := payload.get("source"):
                    error = payload.get("error") or {}
                    files[source] = {"uri": source, "code": error.get("code"), "message": error.get("message", "")}
            if not page.get("nextPageToken"):
                return list(files.values())
            body["pageToken"] = page["nextPageToken"]
