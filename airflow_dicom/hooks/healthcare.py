"""The Healthcare API for workers, by google-api-python-client."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

from airflow_dicom import polling
from airflow_dicom.exceptions import HealthcareApiError, HealthcareApiTransientError
from airflow_dicom.hooks.endpoint import HEALTHCARE_EMULATOR_HOST, resolve_endpoint
from airflow_dicom.hooks.rest_async import HEALTHCARE_ENDPOINT, HealthcareAsyncHook

if TYPE_CHECKING:
    from google_auth_httplib2 import AuthorizedHttp
    from googleapiclient.discovery import Resource
    from googleapiclient.http import HttpRequest

#: Seconds that one request may take.
_TIMEOUT = 60.0

__all__ = ["HealthcareAsyncHook", "HealthcareHook"]


class HealthcareHook(GoogleBaseHook):
    """Call the DICOM part of the Cloud Healthcare API; one method per REST method, resource names as the API writes them.

    The endpoint is ``HEALTHCARE_EMULATOR_HOST`` where that is set, else ``api_endpoint`` of the connection's extra, else Google's.
    Transient answers are tried again with backoff, as often as ``num_retries`` of the connection says (default 5).

    :param gcp_conn_id: the Google Cloud connection.
    :param impersonation_chain: the service account to impersonate, or a chain of them.
    :param api_version: ``v1``, or ``v1beta1`` for servers that lack ``filterConfig`` in v1.
    """

    def __init__(
        self,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        *,
        api_version: str = "v1",
        **kwargs: Any,
    ) -> None:
        super().__init__(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain, **kwargs)
        self.api_version = api_version
        self._conn: Resource | None = None

    @property
    def api_endpoint(self) -> str:
        """The API's base URL."""
        return resolve_endpoint(HEALTHCARE_EMULATOR_HOST, HEALTHCARE_ENDPOINT, self._get_field("api_endpoint"))

    def get_conn(self) -> Resource:
        """Return the client, built from the discovery document in its package: nothing is fetched."""
        if self._conn is None:
            from googleapiclient.discovery import build

            self._conn = build(
                "healthcare",
                self.api_version,
                http=self._authorize(),
                cache_discovery=False,
                static_discovery=True,
                client_options=self.get_client_options(self.api_endpoint + "/"),
            )
        return self._conn

    def import_dicom(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Start ``dicomStores.import``. A lost answer is followed by another try: instances that are there already are ignored.

        :param name: the DICOM store.
        :param body: an ``ImportDicomDataRequest``.
        :return: the operation.
        """
        return self._execute(self._dicom_stores().import_(name=name, body=body))

    def export_dicom(self, name: str, body: dict[str, Any], *, repeatable: bool = True) -> dict[str, Any]:
        """Start ``dicomStores.export``.

        :param name: the DICOM store.
        :param body: an ``ExportDicomDataRequest``.
        :param repeatable: whether the request may be sent again when its answer is lost; not for ``WRITE_APPEND``.
        :return: the operation.
        """
        return self._execute(self._dicom_stores().export(name=name, body=body), repeatable=repeatable)

    def get_operation(self, name: str) -> dict[str, Any]:
        """``datasets.operations.get``."""
        return self._execute(self._datasets().operations().get(name=name))

    def list_operations(self, name: str) -> list[dict[str, Any]]:
        """``datasets.operations.list``, all pages. Needs a role that few callers have, ``roles/healthcare.datasetAdmin``.

        :param name: the dataset.
        """
        operations, page_token = [], None
        while True:
            page = self._execute(self._datasets().operations().list(name=name, pageToken=page_token))
            operations += page.get("operations", [])
            page_token = page.get("nextPageToken")
            if not page_token:
                return operations

    def cancel_operation(self, name: str) -> None:
        """``datasets.operations.cancel``: asks the service to stop; the operation ends a while later, if it can be cancelled."""
        self._execute(self._datasets().operations().cancel(name=name, body={}))

    def create_dataset(self, parent: str, dataset_id: str) -> dict[str, Any]:
        """``datasets.create``: returns an operation.

        :param parent: ``projects/…/locations/…``.
        """
        return self._execute(self._datasets().create(parent=parent, datasetId=dataset_id, body={}))

    def get_dataset(self, name: str) -> dict[str, Any]:
        """``datasets.get``."""
        return self._execute(self._datasets().get(name=name))

    def create_dicom_store(self, parent: str, dicom_store_id: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """``dicomStores.create``.

        :param parent: the dataset.
        :param body: a ``DicomStore``: labels, notification and stream configurations.
        """
        return self._execute(self._dicom_stores().create(parent=parent, dicomStoreId=dicom_store_id, body=body or {}))

    def get_dicom_store(self, name: str) -> dict[str, Any]:
        """``dicomStores.get``."""
        return self._execute(self._dicom_stores().get(name=name))

    def get_dicom_store_metrics(self, name: str) -> dict[str, Any]:
        """``dicomStores.getDICOMStoreMetrics``: counts of studies, series and instances, as strings."""
        return self._execute(self._dicom_stores().getDICOMStoreMetrics(name=name))

    def _datasets(self) -> Any:
        # The client's methods are made from the discovery document at run time, so nothing knows their types.
        conn: Any = self.get_conn()
        return conn.projects().locations().datasets()

    def _dicom_stores(self) -> Any:
        return self._datasets().dicomStores()

    def _execute(self, request: HttpRequest, *, repeatable: bool = True) -> dict[str, Any]:
        for attempt in itertools.count():
            try:
                return self._send(request)
            except HealthcareApiTransientError as error:
                # Quota is refused before any work is accepted, so even a request that must not be doubled may go out again.
                if attempt >= self.num_retries or not (repeatable or error.status_code == 429):
                    raise
                pause = polling.backoff(attempt, error.retry_after)
                self.log.warning("%s Trying again in %.0f s.", error, pause)
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _http_once(self) -> AuthorizedHttp:
        from google_auth_httplib2 import AuthorizedHttp

        from airflow_dicom.hooks.http_once import HttpOnce

        return AuthorizedHttp(self.get_credentials(), http=HttpOnce(timeout=_TIMEOUT))

    def _send(self, request: HttpRequest) -> dict[str, Any]:
        import google.auth.exceptions
        import httplib2
        from googleapiclient.errors import HttpError

        what = f"{request.methodId} at {request.uri}"
        try:
            answer: dict[str, Any] = request.execute(http=self._http_once() if request.method == "POST" else None, num_retries=0)
        except HttpError as error:
            kind = HealthcareApiTransientError if polling.is_transient(error.status_code) else HealthcareApiError
            raise kind(
                f"{what} answered {error.status_code}: {error.reason}",
                status_code=error.status_code,
                retry_after=polling.parse_retry_after(error.resp.get("retry-after")),
            ) from error
        except google.auth.exceptions.RefreshError as error:
            raise (HealthcareApiTransientError if error.retryable else HealthcareApiError)(
                f"{what}: no access token: {error}"
            ) from error
        except (OSError, httplib2.HttpLib2Error, google.auth.exceptions.TransportError) as error:
            raise HealthcareApiTransientError(f"{what} got no answer: {type(error).__name__}: {error}") from error
        return answer
