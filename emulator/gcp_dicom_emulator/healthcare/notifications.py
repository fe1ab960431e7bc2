"""Notifications: a message of Pub/Sub for each instance of a DICOM store that changed.

Sources: ``DicomNotificationConfig`` and ``NotificationConfig`` of the discovery document; the documentation's page on them.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from gcp_dicom_emulator.healthcare.instances import Change, Instance, Instances
from gcp_dicom_emulator.healthcare.names import ResourcePath
from gcp_dicom_emulator.pubsub.deliveries import MAX_PUBLISH, Deliveries
from gcp_dicom_emulator.pubsub.names import check_name
from gcp_dicom_emulator.rest.errors import ApiError

log = logging.getLogger(__name__)


def check_notification_config(config: dict[str, Any]) -> None:
    """Check ``notificationConfig`` of a store.

    :raises ApiError: 400 for what is not the name of a topic.
    """
    if topic := config.get("pubsubTopic"):
        check_name(topic, "topics")


def check_notification_configs(configs: list[dict[str, Any]]) -> None:
    """Check ``notificationConfigs`` of a store.

    :raises ApiError: 400 for what is not the name of a topic, or for two of the same.
    """
    topics = [check_name(config.get("pubsubTopic", ""), "topics") for config in configs]
    if len(set(topics)) < len(topics):
        raise ApiError(400, "notificationConfigs: each must have a topic of its own.")


class Notifications:
    """Publishes them.

    :param get_store: returns a store.
    :param deliveries: where they go.
    """

    def __init__(self, get_store: Callable[[str], dict[str, Any]], instances: Instances, deliveries: Deliveries) -> None:
        self._get_store = get_store
        self._instances = instances
        self._deliveries = deliveries

    def __call__(self, change: Change) -> None:
        """Publish what a store's configurations ask for, in the transaction of the change."""
        store = self._get_store(change.store)
        old = store.get("notificationConfig", {})
        sent = change.kind == "INSERT" and (change.action != "ImportDicomData" or old.get("sendForBulkImport"))
        if old.get("pubsubTopic") and sent:
            # It is for new instances, and its description has no attributes.
            self._publish(old["pubsubTopic"], [{"data": self._data(change.store, each)} for each in change.instances])
        if configs := store.get("notificationConfigs", []):
            messages = [
                {"data": self._data(change.store, each), "attributes": self._attributes(change, number)}
                for number, each in enumerate(change.instances)
            ]
            for config in configs:
                self._publish(config["pubsubTopic"], messages)

    def _publish(self, topic: str, messages: list[dict[str, Any]]) -> None:
        for start in range(0, len(messages), MAX_PUBLISH):
            try:
                self._deliveries.publish(topic, messages[start : start + MAX_PUBLISH])
            except ApiError as error:
                # As the service, which has it in Cloud Logging.
                log.warning("%d notifications are not published to %s: %s", len(messages), topic, error.message)
                return

    def _data(self, store: str, instance: Instance) -> str:
        return base64.b64encode(f"{store}/dicomWeb{ResourcePath(*instance.uids)}".encode()).decode()

    def _attributes(self, change: Change, number: int) -> dict[str, str]:
        instance = change.instances[number]
        updated = datetime.fromisoformat(instance.updated).astimezone(UTC)
        study, series, uid = instance.uids
        attributes = {
            "action": change.action,
            "lastUpdatedTime": format_datetime(updated, usegmt=True),
            "storeName": change.store,
            "studyInstanceUID": study,
            "seriesInstanceUID": series,
            "sopInstanceUID": uid,
            "versionId": str(int(updated.timestamp() * 1e6)),
            "modality": self._instances.modality(change.store, instance),
            "storageClass": instance.storage_class,
        }
        return attributes | ({"previousStorageClass": change.previous[number]} if change.previous else {})
