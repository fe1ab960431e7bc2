"""The Healthcare API for workers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from airflow_dicom import polling
from airflow_dicom.exceptions import HealthcareApiError, HealthcareApiTransientError
from airflow_dicom.hooks._discovery import DiscoveryHook
from airflow_dicom.hooks.endpoint import HEALTHCARE_EMULATOR_HOST
from airflow_dicom.hooks.rest_async import HealthcareAsyncHook
from airflow_dicom.operation import ALREADY_EXISTS, split_names
from airflow_dicom.store_metrics import with_integers

__all__ = ["HealthcareAsyncHook", "HealthcareHook"]


class HealthcareHook(DiscoveryHook):
    """Call the DICOM part of the Cloud Healthcare API; resource names are as the API writes them.

    The endpoint is ``HEALTHCARE_EMULATOR_HOST`` where that is set, else ``api_endpoint`` of the connection's extra, else Google's.
    Transient answers are tried again with backoff, as often as ``num_retries`` of the connection says (default 5).

    :param gcp_conn_id: the Google Cloud connection.
    :param impersonation_chain: the service account to impersonate, or a chain of them.
    :param api_version: ``v1``, or ``v1beta1`` for servers that lack ``filterConfig`` in v1.
    """

    service = "healthcare"
    emulator_variable = HEALTHCARE_EMULATOR_HOST
    error = HealthcareApiError
    transient_error = HealthcareApiTransientError

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

    def _endpoint_of_connection(self) -> str | None:
        endpoint: str | None = self._get_field("api_endpoint")
        return endpoint

    def call(self, method: str, *, repeatable: bool = True, **parameters: Any) -> dict[str, Any]:
        """Call a method below ``projects.locations.datasets``, as the discovery document names it.

        :param method: such as ``dicomStores.deidentify`` or ``operations.get``; ``get`` alone is the datasets' own.
        :param repeatable: whether the request may be sent again when its answer is lost.
        :param parameters: the method's parameters, and ``body``.
        :return: the answer, as JSON has it.
        :raises HealthcareApiTransientError: no answer came that says anything about the request.
        :raises HealthcareApiError: the API refused.
        """
        return super().call(f"projects.locations.datasets.{method}", repeatable=repeatable, **parameters)

    def get_operation(self, name: str) -> dict[str, Any]:
        """``datasets.operations.get``."""
        return self.call("operations.get", name=name)

    def get_operations(self, name: str) -> list[dict[str, Any]]:
        """``datasets.operations.get`` of one operation, or of several ones.

        :param name: their names as :func:`~airflow_dicom.operation.join_names` joins them.
        """
        return [self.get_operation(one) for one in split_names(name)]

    def list_operations(self, name: str) -> list[dict[str, Any]]:
        """``datasets.operations.list``, all pages. Needs a role that few callers have, ``roles/healthcare.datasetAdmin``.

        :param name: the dataset.
        """
        operations, page_token = [], None
        while True:
            page = self.call("operations.list", name=name, pageToken=page_token)
            operations += page.get("operations", [])
            page_token = page.get("nextPageToken")
            if not page_token:
                return operations

    def cancel_operation(self, name: str) -> None:
        """``datasets.operations.cancel``: asks the service to stop; the operation ends a while later, if it can be cancelled."""
        self.call("operations.cancel", name=name, body={})

    def wait_for_operation(self, name: str, poll_interval: float = 1.0) -> dict[str, Any]:
        """Wait until an operation is done that takes a moment, such as that of ``datasets.create``.

        :param poll_interval: seconds between two polls.
        :return: the operation.
        :raises HealthcareApiError: it ended in an error, or several polls in a row were refused.
        """
        clock = polling.PollClock(poll_interval)
        while True:
            try:
                operation = self.get_operation(name)
            except HealthcareApiError as error:
                pause = clock.pause_after(error)
                self.log.warning("%s Asking again in %.0f s.", error, pause)
            else:
                if operation.get("done"):
                    break
                pause = clock.answered()
            time.sleep(pause)
        if failed := operation.get("error"):
            status = 409 if failed.get("code") == ALREADY_EXISTS else None
            raise HealthcareApiError(f"{name} ended in an error: {failed.get('message')}", status_code=status)
        return operation

    def create_dataset(self, parent: str, dataset_id: str) -> dict[str, Any]:
        """``datasets.create``: returns an operation.

        :param parent: ``projects/…/locations/…``.
        """
        return self.call("create", parent=parent, datasetId=dataset_id, body={})

    def get_dataset(self, name: str) -> dict[str, Any]:
        """``datasets.get``."""
        return self.call("get", name=name)

    def create_dicom_store(self, parent: str, dicom_store_id: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """``dicomStores.create``.

        :param parent: the dataset.
        :param body: a ``DicomStore``: labels, notification and stream configurations.
        """
        return self.call("dicomStores.create", parent=parent, dicomStoreId=dicom_store_id, body=body or {})

    def get_dicom_store(self, name: str) -> dict[str, Any]:
        """``dicomStores.get``."""
        return self.call("dicomStores.get", name=name)

    def get_dicom_store_metrics(self, name: str) -> dict[str, Any]:
        """``dicomStores.getDICOMStoreMetrics``: counts of studies, series and instances, and bytes, as integers."""
        return with_integers(self.call("dicomStores.getDICOMStoreMetrics", name=name))
