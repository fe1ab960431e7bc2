"""Notification configurations of buckets, and the messages of Pub/Sub that they ask for.

Sources: the discovery document ``storage.v1`` (``Notification``); cloud.google.com/storage/docs/pubsub-notifications.
"""

from __future__ import annotations

import base64
import json
import logging
from datetime import UTC, datetime
from typing import Any

from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.pubsub.deliveries import Deliveries
from gcp_dicom_emulator.pubsub.names import check_name
from gcp_dicom_emulator.pubsub.topics import Topics
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.server import Call, Handler
from gcp_dicom_emulator.storage.objects import Event, ObjectStore
from gcp_dicom_emulator.storage.service import object_resource

log = logging.getLogger(__name__)

_TOPIC_PREFIX = "//pubsub.googleapis.com/"
_EVENTS = ("OBJECT_FINALIZE", "OBJECT_METADATA_UPDATE", "OBJECT_DELETE", "OBJECT_ARCHIVE")
_FORMATS = ("JSON_API_V1", "NONE")
_MAX_PER_BUCKET, _MAX_PER_EVENT = 100, 10
#: What the messages' resources call the service.
_SERVICE = "https://www.googleapis.com"


class BucketNotifications:
    """The configurations over HTTP, and the messages.

    :param state: where they are kept.
    :param objects: whose events are told.
    :param topics: where they can go.
    :param deliveries: where they go.
    """

    #: Those of ``storage.v1`` are the storage service's.
    apis: list[str] = []

    def __init__(self, state: State, objects: ObjectStore, topics: Topics, deliveries: Deliveries) -> None:
        self._state = state
        self._objects = objects
        self._topics = topics
        self._deliveries = deliveries
        objects.watchers.append(self._publish)

    def handlers(self) -> dict[str, Handler]:
        """Return the code by method id."""
        return {
            "storage.notifications.insert": self._insert,
            "storage.notifications.get": lambda call: self._get(call.path["bucket"], call.path["notification"]),
            "storage.notifications.list": self._list,
            "storage.notifications.delete": self._delete,
        }

    def close(self) -> None:
        """There is no background work."""

    def _insert(self, call: Call) -> dict[str, Any]:
        bucket, wanted = call.path["bucket"], _checked(call.body)
        with self._state.transaction() as connection:
            # It raises the bucket's metageneration, as deleting one does.
            self._objects.update_bucket(bucket, dict)
            self._topics.get(wanted["topic"].removeprefix(_TOPIC_PREFIX))
            there = self._of(bucket)
            _check_number([*there, wanted])
            number = max((int(each["id"]) for each in there), default=0) + 1
            wanted |= {
                "kind": "storage#notification",
                "id": str(number),
                "etag": str(number),
                "selfLink": f"{call.base_url}/storage/v1/b/{bucket}/notificationConfigs/{number}",
            }
            connection.execute("INSERT INTO bucket_notifications VALUES (?, ?, ?)", (bucket, number, json.dumps(wanted)))
        return wanted

    def _get(self, bucket: str, number: str) -> dict[str, Any]:
        self._objects.get_bucket(bucket)
        for each in self._of(bucket):
            if each["id"] == number:
                return each
        raise ApiError(404, f"notification configuration {number} of {bucket} not found")

    def _list(self, call: Call) -> dict[str, Any]:
        self._objects.get_bucket(call.path["bucket"])
        there = self._of(call.path["bucket"])
        return {"kind": "storage#notifications", **({"items": there} if there else {})}

    def _delete(self, call: Call) -> None:
        bucket, number = call.path["bucket"], call.path["notification"]
        with self._state.transaction() as connection:
            self._get(bucket, number)
            self._objects.update_bucket(bucket, dict)
            connection.execute("DELETE FROM bucket_notifications WHERE bucket = ? AND id = ?", (bucket, int(number)))

    def _of(self, bucket: str) -> list[dict[str, Any]]:
        rows = self._state.query("SELECT resource FROM bucket_notifications WHERE bucket = ? ORDER BY id", (bucket,))
        return [json.loads(row["resource"]) for row in rows]

    def _publish(self, event: Event) -> None:
        for config in self._of(event.stored.bucket):
            if event.kind in config.get("event_types", _EVENTS) and event.stored.name.startswith(
                config.get("object_name_prefix", "")
            ):
                topic = config["topic"].removeprefix(_TOPIC_PREFIX)
                try:
                    self._deliveries.publish(topic, [self._message(config, event)])
                except ApiError as error:
                    log.warning("a notification is not published to %s: %s", topic, error.message)

    def _message(self, config: dict[str, Any], event: Event) -> dict[str, Any]:
        stored = event.stored
        attributes = {
            **config.get("custom_attributes", {}),
            "notificationConfig": f"projects/_/buckets/{stored.bucket}/notificationConfigs/{config['id']}",
            "eventType": event.kind,
            "payloadFormat": config["payload_format"],
            "bucketId": stored.bucket,
            "objectId": stored.name,
            "objectGeneration": str(stored.generation),
            "eventTime": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        }
        if event.other is not None:
            attributes["overwroteGeneration" if event.kind == "OBJECT_FINALIZE" else "overwrittenByGeneration"] = str(event.other)
        if config["payload_format"] == "NONE":
            return {"attributes": attributes}
        resource = object_resource(stored, self._objects.get_bucket(stored.bucket), _SERVICE)
        return {"attributes": attributes, "data": base64.b64encode(json.dumps(resource).encode()).decode()}


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    """Return what a client sets of a configuration.

    :raises ApiError: 400 for what makes no sense.
    """
    topic, form = body.get("topic", ""), body.get("payload_format") or "JSON_API_V1"
    if not topic.startswith(_TOPIC_PREFIX):
        raise ApiError(400, f"Invalid topic {topic!r}: it must be {_TOPIC_PREFIX}projects/PROJECT/topics/TOPIC.")
    check_name(topic.removeprefix(_TOPIC_PREFIX), "topics")
    if form not in _FORMATS:
        raise ApiError(400, f"Invalid payload_format {form!r}: it is one of {', '.join(_FORMATS)}.")
    for event in body.get("event_types") or []:
        if event not in _EVENTS:
            raise ApiError(400, f"Invalid event_types: {event!r} is none of {', '.join(_EVENTS)}.")
    settings = {key: body[key] for key in ("event_types", "object_name_prefix", "custom_attributes") if body.get(key)}
    return {"topic": topic, "payload_format": form, **settings}


def _check_number(configs: list[dict[str, Any]]) -> None:
    if len(configs) > _MAX_PER_BUCKET:
        raise ApiError(400, f"A bucket has at most {_MAX_PER_BUCKET} notification configurations.")
    for event in _EVENTS:
        if sum(event in config.get("event_types", _EVENTS) for config in configs) > _MAX_PER_EVENT:
            raise ApiError(400, f"A bucket has at most {_MAX_PER_EVENT} notification configurations for {event}.")
