"""Messages on their way: published, lent to who pulls, acknowledged, or lent again.

Everything is kept in the database and nothing in memory, so that a killed emulator goes on where it was. A delivery is a message in
one subscription. It rests until ``not_before``; it is lent until ``leased_until``, each time under another ack id; it is gone when
it is acknowledged, too old, or a dead letter.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.pubsub.durations import instant
from gcp_dicom_emulator.pubsub.names import project_of
from gcp_dicom_emulator.pubsub.subscriptions import ACK_DEADLINES, DeliveryRules, Subscriptions
from gcp_dicom_emulator.pubsub.topics import Topics
from gcp_dicom_emulator.rest.errors import ApiError

_TABLES = """
CREATE TABLE IF NOT EXISTS pubsub_messages (
    id INTEGER PRIMARY KEY, data BLOB NOT NULL, attributes TEXT NOT NULL, ordering_key TEXT NOT NULL, published REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS pubsub_last_id (id INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS pubsub_deliveries (
    subscription TEXT NOT NULL, message INTEGER NOT NULL, ordering_key TEXT NOT NULL, attempts INTEGER NOT NULL, ack_id TEXT,
    leased_until REAL NOT NULL, not_before REAL NOT NULL, expires REAL NOT NULL,
    PRIMARY KEY (subscription, message)
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS pubsub_deliveries_ack_id ON pubsub_deliveries (ack_id);
CREATE INDEX IF NOT EXISTS pubsub_deliveries_message ON pubsub_deliveries (message);
CREATE INDEX IF NOT EXISTS pubsub_deliveries_key ON pubsub_deliveries (subscription, ordering_key, not_before);
CREATE INDEX IF NOT EXISTS pubsub_deliveries_due ON pubsub_deliveries (not_before);
CREATE INDEX IF NOT EXISTS pubsub_deliveries_expires ON pubsub_deliveries (expires);
"""
#: Limits of one request and of one message; cloud.google.com/pubsub/quotas.
MAX_PUBLISH, _MAX_BYTES, _MAX_ATTRIBUTES, _MAX_KEY, _MAX_VALUE = 1000, 10_000_000, 100, 256, 1024
MAX_PULL = 1000
#: How many bytes a pull returns at most, but for one message: a client that an environment variable points here takes 4 MiB.
_PULL_BYTES = 3_000_000
_ACK_ID = re.compile(r"[0-9]{1,19}-[0-9a-f]{24}")
#: A delivery of an ordering key for which something earlier rests or something is lent.
_BLOCKED = """
waiting.ordering_key <> '' AND EXISTS (
    SELECT 1 FROM pubsub_deliveries AS other
    WHERE other.subscription = waiting.subscription AND other.ordering_key = waiting.ordering_key AND other.not_before > :now
        AND (other.message < waiting.message OR other.leased_until > :now)
)
"""


class Deliveries:
    """The messages of all subscriptions.

    :param state: where they are kept.
    :param topics: where messages are published.
    :param subscriptions: where they go.
    :param clock: returns the time, in seconds since the epoch.
    :param changed: called when there may be something new to pull.
    """

    def __init__(
        self,
        state: State,
        topics: Topics,
        subscriptions: Subscriptions,
        clock: Callable[[], float] = time.time,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        state.create_tables(_TABLES)
        self._state = state
        self._topics = topics
        self._subscriptions = subscriptions
        self._clock = clock
        self._changed = changed

    def publish(self, topic: str, messages: Sequence[dict[str, Any]]) -> list[str]:
        """Add messages to all subscriptions of a topic, and return their ids.

        :param messages: as the API has them, with ``data`` in base64.
        :raises ApiError: 400 for none, too many, or one that is empty or too large, 404 when there is no such topic.
        """
        read = _read(messages)
        with self._state.transaction():
            ids = [self._add(topic, *message) for message in read]
        self._changed()
        return [str(message) for message in ids]

    def _add(self, topic: str, data: bytes, attributes: dict[str, str], ordering_key: str) -> int:
        now = self._clock()
        with self._state.transaction() as connection:
            rules = {name: self._subscriptions.rules(name) for name in self._topics.subscriptions(topic)}
            message = self._next_id(connection)
            if rules:
                connection.execute(
                    "INSERT INTO pubsub_messages VALUES (?, ?, ?, ?, ?)",
                    (message, data, json.dumps(attributes), ordering_key, now),
                )
            connection.executemany(
                "INSERT INTO pubsub_deliveries VALUES (?, ?, ?, 0, NULL, 0, 0, ?)",
                [(name, message, ordering_key if rule.ordered else "", now + rule.retention) for name, rule in rules.items()],
            )
        return message

    def _next_id(self, connection: sqlite3.Connection) -> int:
        """Return an id that no message had, not even before everything was reset: consumers remember ids."""
        last = connection.execute("SELECT id FROM pubsub_last_id").fetchone()
        new = max(int(self._clock() * 1e6), last["id"] + 1 if last else 0)
        connection.execute("DELETE FROM pubsub_last_id")
        connection.execute("INSERT INTO pubsub_last_id VALUES (?)", (new,))
        return new

    def pull(self, subscription: str, most: int, ack_deadline: float | None = None) -> list[dict[str, Any]]:
        """Lend messages that nobody has, the oldest first; return them as the API has them.

        :param most: how many at most.
        :param ack_deadline: for how many seconds; ``None`` for what the subscription says.
        :raises ApiError: 400 for a number below 1, 404 when there is no such subscription.
        """
        if most < 1:
            raise ApiError(400, f"maxMessages is {most}; it must be positive.")
        now = self._clock()
        with self._state.transaction() as connection:
            rules = self._subscriptions.rules(subscription)
            self._forget_old(now)
            self._bury(now)
            rows = connection.execute(
                "SELECT message, attempts, data, attributes, m.ordering_key, published FROM pubsub_deliveries AS waiting"
                " JOIN pubsub_messages AS m ON m.id = message WHERE subscription = :subscription AND not_before <= :now"
                f"{f' AND NOT ({_BLOCKED})' if rules.ordered else ''} ORDER BY message LIMIT :most",
                {"subscription": subscription, "now": now, "most": min(most, MAX_PULL)},
            ).fetchall()
            lent = [(row, f"{row['message']}-{secrets.token_hex(12)}") for row in _fitting(rows)]
            until = now + (ack_deadline or rules.ack_deadline)
            connection.executemany(
                "UPDATE pubsub_deliveries SET attempts = attempts + 1, ack_id = ?, leased_until = ?, not_before = ?"
                " WHERE subscription = ? AND message = ?",
                [
                    (ack_id, until, until + rules.wait_after(row["attempts"] + 1), subscription, row["message"])
                    for row, ack_id in lent
                ],
            )
        return [_received(row, ack_id, rules) for row, ack_id in lent]

    def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """Remove what was lent under some ack ids. One that was lent again since has another id, and stays.

        :raises ApiError: 400 for no ids, or one that no pull returned, 404 when there is no such subscription.
        """
        _check_ack_ids(ack_ids)
        with self._state.transaction() as connection:
            self._subscriptions.get(subscription)
            messages = []
            for ack_id in ack_ids:
                row = connection.execute(
                    "DELETE FROM pubsub_deliveries WHERE ack_id = ? AND subscription = ? RETURNING message",
                    (ack_id, subscription),
                ).fetchone()
                messages += [row["message"]] if row else []
            self._forget_messages(messages)
        self._changed()

    def modify_ack_deadline(self, subscription: str, ack_ids: Sequence[str], seconds: int) -> None:
        """Lend some messages for so many seconds from now on; for none, take them back.

        A lease that is over stays over.

        :raises ApiError: 400 for no ids, one that no pull returned, or a number that is not from 0 to 600, 404 when there is no such
            subscription.
        """
        _check_ack_ids(ack_ids)
        if not 0 <= seconds <= ACK_DEADLINES[1]:
            raise ApiError(400, f"ackDeadlineSeconds is {seconds}; it must be from 0 to {ACK_DEADLINES[1]}.")
        now = self._clock()
        with self._state.transaction() as connection:
            rules = self._subscriptions.rules(subscription)
            for ack_id in ack_ids:
                row = connection.execute(
                    "SELECT * FROM pubsub_deliveries WHERE ack_id = ? AND subscription = ? AND leased_until > ?",
                    (ack_id, subscription, now),
                ).fetchone()
                if row is None:
                    continue
                connection.execute(
                    "UPDATE pubsub_deliveries SET leased_until = ?, not_before = ? WHERE subscription = ? AND message = ?",
                    (now + seconds, now + seconds + rules.wait_after(row["attempts"]), subscription, row["message"]),
                )
                if not seconds and row["ordering_key"]:
                    self._take_back_later(row, now)
        self._changed()

    def _take_back_later(self, row: sqlite3.Row, now: float) -> None:
        """End the leases of what comes after a message that was refused, under its ordering key: it is to come in order again."""
        with self._state.transaction() as connection:
            connection.execute(
                "UPDATE pubsub_deliveries SET leased_until = :now, not_before = :now, ack_id = NULL"
                " WHERE subscription = :subscription AND ordering_key = :key AND message > :message AND leased_until > :now",
                {"now": now, "subscription": row["subscription"], "key": row["ordering_key"], "message": row["message"]},
            )

    def still_lent(self, ack_ids: Iterable[str]) -> set[str]:
        """Return which of some ack ids stand for what is still lent under them."""
        now = self._clock()
        sql = "SELECT 1 FROM pubsub_deliveries WHERE ack_id = ? AND leased_until > ?"
        return {ack_id for ack_id in ack_ids if self._state.query(sql, (ack_id, now))}

    def counts(self, subscription: str) -> tuple[int, int]:
        """Return how many messages of a subscription wait, and how many are lent."""
        row = self._state.query(
            "SELECT COUNT(*) AS kept, COALESCE(SUM(leased_until > ?), 0) AS lent FROM pubsub_deliveries WHERE subscription = ?",
            (self._clock(), subscription),
        )[0]
        return row["kept"] - row["lent"], row["lent"]

    def end_leases(self) -> None:
        """End all leases now, as if their time were over."""
        now = self._clock()
        with self._state.transaction() as connection:
            connection.execute("UPDATE pubsub_deliveries SET leased_until = :now, not_before = :now", {"now": now})
        self._changed()

    def next_due(self) -> float | None:
        """Return in how many seconds a message will be there to be pulled that now rests or is lent; ``None`` for no such one."""
        now = self._clock()
        due = self._state.query("SELECT MIN(not_before) AS due FROM pubsub_deliveries WHERE not_before > ?", (now,))[0]["due"]
        return None if due is None else max(0.0, due - now)

    def forget(self, subscription: str) -> None:
        """Remove all messages of a subscription."""
        with self._state.transaction() as connection:
            rows = connection.execute("DELETE FROM pubsub_deliveries WHERE subscription = ? RETURNING message", (subscription,))
            self._forget_messages([row["message"] for row in rows.fetchall()])

    def _forget_messages(self, messages: Sequence[int]) -> None:
        """Remove those of some messages that no subscription has any more."""
        with self._state.transaction() as connection:
            connection.executemany(
                "DELETE FROM pubsub_messages WHERE id = :id AND NOT EXISTS (SELECT 1 FROM pubsub_deliveries WHERE message = :id)",
                [{"id": message} for message in messages],
            )

    def _forget_old(self, now: float) -> None:
        with self._state.transaction() as connection:
            rows = connection.execute("DELETE FROM pubsub_deliveries WHERE expires <= ? RETURNING message", (now,)).fetchall()
            self._forget_messages([row["message"] for row in rows])

    def _bury(self, now: float) -> None:
        """Move what was delivered as often as it may be to the dead-letter topics. Where such a topic is missing, it stays."""
        for subscription in self._subscriptions.with_dead_letters():
            rules = self._subscriptions.rules(subscription)
            dead = self._state.query(
                "SELECT * FROM pubsub_deliveries JOIN pubsub_messages AS m ON m.id = message"
                " WHERE subscription = ? AND attempts >= ? AND leased_until <= ? ORDER BY message",
                (subscription, rules.max_attempts, now),
            )
            for row in dead:
                self._bury_one(subscription, rules, row)

    def _bury_one(self, subscription: str, rules: DeliveryRules, row: sqlite3.Row) -> None:
        origin = {
            "CloudPubSubDeadLetterSourceDeliveryCount": str(row["attempts"]),
            "CloudPubSubDeadLetterSourceSubscription": subscription.rpartition("/")[2],
            "CloudPubSubDeadLetterSourceSubscriptionProject": project_of(subscription),
            "CloudPubSubDeadLetterSourceTopicPublishTime": instant(row["published"]),
        }
        assert rules.dead_letter_topic is not None
        with self._state.transaction() as connection:
            try:
                self._add(rules.dead_letter_topic, row["data"], {**json.loads(row["attributes"]), **origin}, row["ordering_key"])
            except ApiError:
                return
            connection.execute(
                "DELETE FROM pubsub_deliveries WHERE subscription = ? AND message = ?", (subscription, row["message"])
            )
            self._forget_messages([row["message"]])


def _read(messages: Sequence[dict[str, Any]]) -> list[tuple[bytes, dict[str, str], str]]:
    """Return each message's data, attributes and ordering key.

    :raises ApiError: 400 for what may not be published.
    """
    if not 1 <= len(messages) <= MAX_PUBLISH:
        raise ApiError(400, f"The request has {len(messages)} messages; it must have 1 to {MAX_PUBLISH}.")
    read = [_read_one(message) for message in messages]
    if sum(len(data) for data, _, _ in read) > _MAX_BYTES:
        raise ApiError(400, f"The request payload size exceeds the limit: {_MAX_BYTES} bytes.")
    return read


def _read_one(message: dict[str, Any]) -> tuple[bytes, dict[str, str], str]:
    if set_by_service := {"messageId", "publishTime"} & {key for key, value in message.items() if value}:
        raise ApiError(400, f"{', '.join(sorted(set_by_service))}: a message that is published must not have it.")
    try:
        text = message.get("data", "").replace("-", "+").replace("_", "/")
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, f"The data of a message is not base64: {error}.") from error
    attributes, key = message.get("attributes") or {}, message.get("orderingKey") or ""
    if not data and not attributes:
        raise ApiError(400, "A message is empty. Each must have data or an attribute.")
    if len(attributes) > _MAX_ATTRIBUTES:
        raise ApiError(400, f"A message has {len(attributes)} attributes; at most {_MAX_ATTRIBUTES} are allowed.")
    for name, value in attributes.items():
        if not 1 <= len(name.encode()) <= _MAX_KEY or name.startswith("goog") or len(value.encode()) > _MAX_VALUE:
            raise ApiError(
                400,
                f"Invalid attribute {name!r}: a name has 1 to {_MAX_KEY} bytes and does not begin with goog, "
                f"a value has at most {_MAX_VALUE}.",
            )
    if len(key.encode()) > _MAX_VALUE:
        raise ApiError(400, f"An orderingKey has {len(key.encode())} bytes; at most {_MAX_VALUE} are allowed.")
    return data, attributes, key


def _check_ack_ids(ack_ids: Sequence[str]) -> None:
    if not ack_ids:
        raise ApiError(400, "No ack ids specified.")
    for ack_id in ack_ids:
        if not _ACK_ID.fullmatch(ack_id):
            raise ApiError(400, f"You have passed an invalid ack ID to the service (ack_id={ack_id}).")


def _fitting(rows: Sequence[sqlite3.Row]) -> Sequence[sqlite3.Row]:
    """Return the first of some messages, as many as an answer holds; at least one."""
    sizes = itertools.accumulate(len(row["data"]) + len(row["attributes"]) for row in rows)
    return rows[: max(1, sum(1 for size in sizes if size <= _PULL_BYTES))]


def _received(row: sqlite3.Row, ack_id: str, rules: DeliveryRules) -> dict[str, Any]:
    message: dict[str, Any] = {"messageId": str(row["message"]), "publishTime": instant(row["published"])}
    if row["data"]:
        message["data"] = base64.b64encode(row["data"]).decode()
    if attributes := json.loads(row["attributes"]):
        message["attributes"] = attributes
    if row["ordering_key"]:
        message["orderingKey"] = row["ordering_key"]
    received = {"ackId": ack_id, "message": message}
    if rules.dead_letter_topic:
        received["deliveryAttempt"] = row["attempts"] + 1
    return received
