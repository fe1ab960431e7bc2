"""Streaming of a DICOM store's metadata to BigQuery: a row for each change, appended, and none ever removed.

Sources: the discovery document (``GoogleCloudHealthcareV1DicomStreamConfig``); the documentation's pages on streaming and its schema.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from gcp_dicom_emulator.bigquery.service import BigQueryService
from gcp_dicom_emulator.healthcare.dicom.rows import STATE_FIELDS, NoRow, json_schema, make_rows
from gcp_dicom_emulator.healthcare.instances import Change
from gcp_dicom_emulator.healthcare.operations.exporting import check_table, table_of
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError

log = logging.getLogger(__name__)

_TABLES = """
CREATE TABLE IF NOT EXISTS streamed_rows (
    sequence INTEGER PRIMARY KEY, table_uri TEXT NOT NULL, schema TEXT NOT NULL, lines TEXT NOT NULL
);
"""
_MAX_CONFIGS, _MAX_ROW = 5, 1_000_000
#: How many changes are appended to a table at a time.
_BATCH = 500


def check_stream_configs(configs: list[dict[str, Any]]) -> None:
    """Check ``streamConfigs`` of a store.

    :raises ApiError: 400 for more than five, one without a table, or two with the same.
    """
    if len(configs) > _MAX_CONFIGS:
        raise ApiError(400, f"streamConfigs: there are {len(configs)}; a store has at most {_MAX_CONFIGS}.")
    destinations = [config.get("bigqueryDestination", {}) for config in configs]
    for destination in destinations:
        check_table(destination)
    if len({table_of(destination) for destination in destinations}) < len(configs):
        raise ApiError(400, "streamConfigs: each must have a destination of its own.")


class Streaming:
    """Keeps the rows in the transaction of a change, and appends them to the tables soon after, in a thread of its own.

    :param state: where rows are kept that are not appended yet: a killed emulator appends them when it starts again.
    :param get_store: returns a store.
    """

    def __init__(self, state: State, get_store: Callable[[str], dict[str, Any]], bigquery: BigQueryService) -> None:
        state.create_tables(_TABLES)
        self._state = state
        self._get_store = get_store
        self._bigquery = bigquery
        self._last = datetime.min.replace(tzinfo=UTC)
        self._more = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def __call__(self, change: Change) -> None:
        """Keep the rows of a change."""
        for config in self._get_store(change.store).get("streamConfigs", []):
            destination = config["bigqueryDestination"]
            lines, schema = self._rows(change, destination)
            with self._state.transaction() as connection:
                connection.execute(
                    "INSERT INTO streamed_rows (table_uri, schema, lines) VALUES (?, ?, ?)",
                    (destination["tableUri"], json.dumps(schema), "".join(lines)),
                )
            self.start()
            self._more.set()

    def start(self) -> None:
        """Append what was kept before, and what comes."""
        if self._thread is None and self._waiting():
            self._thread = threading.Thread(target=self._run, name="emulator-streaming", daemon=True)
            self._thread.start()
            self._more.set()

    def close(self) -> None:
        """Stop; what is not appended stays kept."""
        self._stopped = True
        self._more.set()
        if self._thread is not None:
            self._thread.join()

    def _rows(self, change: Change, destination: dict[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
        flattened = "schemaJson" not in destination
        source = change.store if destination.get("includeSourceStore") else None
        made = make_rows(change.instances, flattened, source)
        lines = []
        for instance, line in zip(change.instances, made.lines, strict=True):
            if isinstance(line, NoRow):
                log.warning("%s is not streamed to %s: %s", instance.instance, destination["tableUri"], line.reason)
                continue
            row = json.loads(line) | {
                "StorageClass": instance.storage_class,
                "LastUpdated": self._updated(),
                "BlobStorageSize": instance.size,
                "Type": change.kind,
            }
            lines.append(json.dumps(row) + "\n")
            if len(lines[-1]) > _MAX_ROW:
                log.warning("%s is not streamed to %s: its row is larger than 1 MB", instance.instance, destination["tableUri"])
                del lines[-1]
        return lines, [*made.columns.schema(), *STATE_FIELDS] if flattened else json_schema(bool(source))

    def _updated(self) -> str:
        """Return the time, later than that of any row before, by which the newest row of an instance is found."""
        self._last = max(datetime.now(UTC), self._last + timedelta(microseconds=1))
        return self._last.isoformat(timespec="microseconds")

    def _waiting(self) -> bool:
        return bool(self._state.query("SELECT 1 FROM streamed_rows LIMIT 1"))

    def _run(self) -> None:
        while not self._stopped:
            self._more.wait()
            self._more.clear()
            try:
                while not self._stopped and self._append():
                    pass
            except Exception:
                log.exception("streaming to BigQuery failed")

    def _append(self) -> bool:
        """Append some of what is kept; return whether there was any."""
        # A change that is not committed yet holds the transaction.
        with self._state.transaction() as connection:
            sql = "SELECT * FROM streamed_rows ORDER BY sequence LIMIT ?"
            rows = connection.execute(sql, (_BATCH,)).fetchall()
        # Rows of one table may come in another order: their times tell the newest.
        for (table_uri, schema), group in groupby(sorted(rows, key=_destination), _destination):
            changes = list(group)
            self._load(table_uri, json.loads(schema), (row["lines"] for row in changes))
            with self._state.transaction() as connection:
                connection.executemany("DELETE FROM streamed_rows WHERE sequence = ?", [(row["sequence"],) for row in changes])
        return bool(rows)

    def _load(self, table_uri: str, schema: list[dict[str, Any]], texts: Iterator[str]) -> None:
        """Append rows to a table; the log says so where that cannot be. There is no other trace, as at the service."""
        path = self._state.new_blob()
        try:
            path.write_text("".join(texts), encoding="utf-8")
            if path.stat().st_size:
                table = table_of({"tableUri": table_uri})
                self._bigquery.load_json_lines(*table, schema, path, "WRITE_APPEND", trusted=True)
        except ApiError as error:
            log.warning("nothing is streamed to %s: %s", table_uri, error.message)
        finally:
            path.unlink(missing_ok=True)


def _destination(row: sqlite3.Row) -> tuple[str, str]:
    return row["table_uri"], row["schema"]
