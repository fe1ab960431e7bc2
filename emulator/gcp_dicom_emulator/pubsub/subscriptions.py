"""Subscriptions and their settings."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.pubsub.durations import seconds
from gcp_dicom_emulator.pubsub.names import check_name
from gcp_dicom_emulator.pubsub.topics import RETENTION, Topics, create_tables, given
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.labels import check_labels

_FIELDS = (
    "topic",
    "ackDeadlineSeconds",
    "messageRetentionDuration",
    "labels",
    "enableMessageOrdering",
    "expirationPolicy",
    "deadLetterPolicy",
    "retryPolicy",
)
#: What the API does where a subscription does not say otherwise, in seconds.
_ACK_DEADLINE, _WEEK = 10, 7 * 24 * 3600
ACK_DEADLINES = (10, 600)
_ATTEMPTS = (5, 100)
_BACKOFF, _MAX_BACKOFF = 10.0, 600.0


@dataclass(frozen=True)
class DeliveryRules:
    """How a subscription delivers.

    :param ack_deadline: for how long a message that was pulled is lent, in seconds.
    :param retention: for how long a message is kept that nobody acknowledges, in seconds.
    :param ordered: whether messages of one ordering key come one after the other.
    :param dead_letter_topic: where messages go that were delivered ``max_attempts`` times.
    :param backoff: seconds from the first failed delivery to the next, and the most they become by doubling; ``None``: at once.
    """

    ack_deadline: float
    retention: float
    ordered: bool
    dead_letter_topic: str | None
    max_attempts: int
    backoff: tuple[float, float] | None

    def wait_after(self, attempts: int) -> float:
        """Return for how many seconds a message rests that was not acknowledged, after so many deliveries."""
        if self.backoff is None:
            return 0.0
        first, most = self.backoff
        return min(most, first * 2.0 ** min(attempts - 1, 20))


class Subscriptions:
    """The subscriptions.

    :param state: where they are kept.
    :param topics: what they can be of.
    """

    def __init__(self, state: State, topics: Topics) -> None:
        create_tables(state)
        self._state = state
        self._topics = topics

    def create(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make a subscription, and return it.

        :param request: the new subscription, as the API has it.
        :raises ApiError: 400 for a bad name or setting, 404 when its topic is not there, 409 when there is one with the name, 501 for
            what the emulator would not act on.
        """
        subscription = {
            "name": check_name(request.get("name", ""), "subscriptions"),
            "ackDeadlineSeconds": _ACK_DEADLINE,
            "messageRetentionDuration": f"{_WEEK}s",
            **given(request, "subscription", _FIELDS),
        }
        if request.get("retryPolicy") is not None:
            subscription["retryPolicy"] = request["retryPolicy"]  # an empty one is not none: it has defaults
        _check(subscription)
        topic = subscription.get("topic", "")
        with self._state.transaction() as connection:
            self._topics.get(topic)
            try:
                connection.execute(
                    "INSERT INTO pubsub_subscriptions VALUES (?, ?, ?)", (subscription["name"], topic, json.dumps(subscription))
                )
            except sqlite3.IntegrityError:
                raise ApiError(409, f"Resource already exists in the project (resource={subscription['name']}).") from None
        return self.get(subscription["name"])

    def get(self, name: str) -> dict[str, Any]:
        """Return a subscription.

        :raises ApiError: 404 when there is none.
        """
        rows = self._state.query("SELECT * FROM pubsub_subscriptions WHERE name = ?", (check_name(name, "subscriptions"),))
        if not rows:
            raise ApiError(404, f"Resource not found (resource={name}).")
        return _resource(rows[0])

    def rules(self, name: str) -> DeliveryRules:
        """Return how a subscription delivers.

        :raises ApiError: 404 when there is none.
        """
        subscription = self.get(name)
        dead, retry = subscription.get("deadLetterPolicy", {}), subscription.get("retryPolicy")
        return DeliveryRules(
            ack_deadline=subscription["ackDeadlineSeconds"],
            retention=seconds(subscription["messageRetentionDuration"], "messageRetentionDuration", *RETENTION),
            ordered=subscription.get("enableMessageOrdering", False),
            dead_letter_topic=dead.get("deadLetterTopic"),
            max_attempts=dead.get("maxDeliveryAttempts") or _ATTEMPTS[0],
            backoff=None if retry is None else _backoff(retry),
        )

    def of_project(self, project: str) -> list[dict[str, Any]]:
        """Return the subscriptions of ``projects/…``, by name."""
        rows = self._state.query("SELECT * FROM pubsub_subscriptions ORDER BY name")
        return [_resource(row) for row in rows if row["name"].startswith(f"{project}/subscriptions/")]

    def with_dead_letters(self) -> list[str]:
        """Return the names of those that have a dead-letter topic."""
        rows = self._state.query(
            "SELECT name FROM pubsub_subscriptions WHERE json_extract(properties, '$.deadLetterPolicy') IS NOT NULL"
        )
        return [row["name"] for row in rows]

    def delete(self, name: str) -> None:
        """Remove a subscription; its messages are the caller's.

        :raises ApiError: 404 when there is none.
        """
        with self._state.transaction() as connection:
            self.get(name)
            connection.execute("DELETE FROM pubsub_subscriptions WHERE name = ?", (name,))


def _resource(row: sqlite3.Row) -> dict[str, Any]:
    # The topic may have been deleted since.
    return {**json.loads(row["properties"]), "topic": row["topic"]}


def _check(subscription: dict[str, Any]) -> None:
    check_labels(subscription.get("labels", {}))
    deadline = subscription["ackDeadlineSeconds"]
    if not ACK_DEADLINES[0] <= deadline <= ACK_DEADLINES[1]:
        raise ApiError(400, f"ackDeadlineSeconds is {deadline}; it must be from {ACK_DEADLINES[0]} to {ACK_DEADLINES[1]}.")
    seconds(subscription["messageRetentionDuration"], "messageRetentionDuration", *RETENTION)
    if subscription.get("expirationPolicy"):  # without a ttl, it is "never"
        raise ApiError(501, "The emulator does not do expirationPolicy.ttl: its subscriptions never expire. Leave it out.")
    if policy := subscription.get("deadLetterPolicy"):
        check_name(policy.get("deadLetterTopic", ""), "topics")
        attempts = policy.get("maxDeliveryAttempts") or _ATTEMPTS[0]
        if not _ATTEMPTS[0] <= attempts <= _ATTEMPTS[1]:
            raise ApiError(400, f"maxDeliveryAttempts is {attempts}; it must be from {_ATTEMPTS[0]} to {_ATTEMPTS[1]}.")
    if policy := subscription.get("retryPolicy"):
        _backoff(policy)


def _backoff(policy: dict[str, str]) -> tuple[float, float]:
    first, most = (
        seconds(policy[field], f"retryPolicy.{field}", 0, _MAX_BACKOFF) if field in policy else default
        for field, default in (("minimumBackoff", _BACKOFF), ("maximumBackoff", _MAX_BACKOFF))
    )
    if first > most:
        raise ApiError(400, f"retryPolicy.minimumBackoff is {first:g}s, more than the maximumBackoff of {most:g}s.")
    return first, most
