"""Pub/Sub for workers; the triggerer's is in ``rest_async.py``."""

from __future__ import annotations

from typing import Any

from airflow_dicom.exceptions import PubSubApiError, PubSubApiTransientError
from airflow_dicom.hooks._discovery import DiscoveryHook
from airflow_dicom.hooks.endpoint import PUBSUB_EMULATOR_HOST


class PubSubHook(DiscoveryHook):
    """Ask Pub/Sub about subscriptions.

    :param gcp_conn_id: the Google Cloud connection.
    :param impersonation_chain: the service account to impersonate, or a chain of them.
    """

    service = "pubsub"
    api_version = "v1"
    emulator_variable = PUBSUB_EMULATOR_HOST
    error = PubSubApiError
    transient_error = PubSubApiTransientError

    def get_subscription(self, subscription: str) -> dict[str, Any]:
        """``projects.subscriptions.get``; raises as :meth:`call` does.

        :param subscription: its full name, ``projects/…/subscriptions/…``.
        """
        return self.call("projects.subscriptions.get", subscription=subscription)
