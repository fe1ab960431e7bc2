"""Topics and their settings."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.pubsub.durations import seconds
from gcp_dicom_emulator.pubsub.names import DELETED_TOPIC, check_name
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.labels import check_labels

_TABLES = """
CREATE TABLE IF NOT EXISTS pubsub_topics (name TEXT PRIMARY KEY, properties TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pubsub_subscriptions (
    name TEXT PRIMARY KEY, topic TEXT NOT NULL, properties TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pubsub_subscriptions_topic ON pubsub_subscriptions (topic);
"""
#: Seconds that a topic may be asked to keep its messages: ten minutes to 31 days.
RETENTION = (600, 31 * 24 * 3600)


def create_tables(state: State) -> None:
    """Make the tables of topics and subscriptions, each of which needs the other's."""
    state.create_tables(_TABLES)


def given(request: dict[str, Any], kind: str, fields: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings of a new resource, without those that say nothing.

    :param kind: whose they are, for the error.
    :param fields: those that the emulator acts on.
    :raises ApiError: 501 for another one.
    """
    settings = {key: value for key, value in request.items() if value not in (None, "", [], {}, False, 0)}
    if unknown := sorted(settings.keys() - {*fields, "name"}):
        raise ApiError(501, f"The emulator does not do {', '.join(unknown)} of a {kind}.")
    return settings


class Topics:
    """The topics.

    :param state: where they are kept.
    """

    def __init__(self, state: State) -> None:
        create_tables(state)
        self._state = state

    def create(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make a topic, and return it.

        :param request: the new topic, as the API has it.
        :raises ApiError: 400 for a bad name or setting, 409 when there is one, 501 for what the emulator would not act on.
        """
        topic: dict[str, Any] = {"name": check_name(request.get("name", ""), "topics")}
        topic |= given(request, "topic", ("labels", "messageRetentionDuration"))
        check_labels(topic.get("labels", {}))
        if retention := topic.get("messageRetentionDuration"):
            seconds(retention, "messageRetentionDuration", *RETENTION)
        with self._state.transaction() as connection:
            try:
                connection.execute("INSERT INTO pubsub_topics VALUES (?, ?)", (topic["name"], json.dumps(topic)))
            except sqlite3.IntegrityError:
                raise ApiError(409, f"Resource already exists in the project (resource={topic['name']}).") from None
        return topic

    def get(self, name: str) -> dict[str, Any]:
        """Return a topic.

        :raises ApiError: 404 when there is none.
        """
        rows = self._state.query("SELECT properties FROM pubsub_topics WHERE name = ?", (check_name(name, "topics"),))
        if not rows:
            raise ApiError(404, f"Resource not found (resource={name}).")
        topic: dict[str, Any] = json.loads(rows[0]["properties"])
        return topic

    def of_project(self, project: str) -> list[dict[str, Any]]:
        """Return the topics of ``projects/…``, by name."""
        rows = self._state.query("SELECT name, properties FROM pubsub_topics ORDER BY name")
        return [json.loads(row["properties"]) for row in rows if row["name"].startswith(f"{project}/topics/")]

    def subscriptions(self, name: str) -> list[str]:
        """Return the names of a topic's subscriptions.

        :raises ApiError: 404 when there is no such topic.
        """
        self.get(name)
        rows = self._state.query("SELECT name FROM pubsub_subscriptions WHERE topic = ? ORDER BY name", (name,))
        return [row["name"] for row in rows]

    def delete(self, name: str) -> None:
        """Remove a topic. Its subscriptions stay, with the messages they have.

        :raises ApiError: 404 when there is none.
        """
        with self._state.transaction() as connection:
            self.get(name)
            connection.execute("DELETE FROM pubsub_topics WHERE name = ?", (name,))
            connection.execute("UPDATE pubsub_subscriptions SET topic = ? WHERE topic = ?", (DELETED_TOPIC, name))
