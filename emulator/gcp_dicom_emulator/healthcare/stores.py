"""Datasets and DICOM stores."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError

_TABLES = """
CREATE TABLE IF NOT EXISTS healthcare_resources (
    name TEXT PRIMARY KEY, parent TEXT NOT NULL, properties TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS healthcare_resources_parent ON healthcare_resources (parent, name);
"""

_ID = re.compile(r"[\w.-]{1,256}")


class Resources:
    """The named resources of one kind: datasets, or DICOM stores.

    :param state: where they are kept.
    :param collection: the part of their names before the id, e.g. ``dicomStores``.
    :param fields: the fields a client may set, with what checks a value. Those with ``None`` are refused, since the emulator would
        not act on them.
    """

    def __init__(self, state: State, collection: str, fields: Mapping[str, Callable[[Any], None] | None]) -> None:
        state.create_tables(_TABLES)
        self._state = state
        self._collection = collection
        self._fields = fields

    def create(self, parent: str, resource_id: str, properties: dict[str, Any]) -> dict[str, Any]:
        """Make a resource.

        :raises ApiError: 400 for a bad id or value, 409 when there is one, 501 for a field the emulator would not act on.
        """
        if not _ID.fullmatch(resource_id):
            raise ApiError(400, f"Invalid id {resource_id!r}: it has 1 to 256 letters, digits, '_', '-' and '.'.")
        properties = {key: value for key, value in properties.items() if key != "name" and value not in (None, "", [], {})}
        for key, value in properties.items():
            self._check(key, value)
        name = f"{parent}/{self._collection}/{resource_id}"
        with self._state.transaction() as connection:
            try:
                connection.execute("INSERT INTO healthcare_resources VALUES (?, ?, ?)", (name, parent, json.dumps(properties)))
            except sqlite3.IntegrityError:
                raise ApiError(409, f"already exists: {name}") from None
        return self.get(name)

    def get(self, name: str) -> dict[str, Any]:
        """Return a resource.

        :raises ApiError: 404 when there is none.
        """
        rows = self._state.query("SELECT * FROM healthcare_resources WHERE name = ?", (name,))
        if not rows:
            raise ApiError(404, f"not found: {name}")
        return {"name": name, **json.loads(rows[0]["properties"])}

    def children(self, parent: str) -> list[dict[str, Any]]:
        """Return a parent's resources, by name."""
        rows = self._state.query("SELECT * FROM healthcare_resources WHERE parent = ? ORDER BY name", (parent,))
        found = [row for row in rows if row["name"].startswith(f"{parent}/{self._collection}/")]
        return [{"name": row["name"], **json.loads(row["properties"])} for row in found]

    def patch(self, name: str, update_mask: str, properties: dict[str, Any]) -> dict[str, Any]:
        """Replace the fields that the mask names; ``*`` names all.

        :raises ApiError: 400 without a mask, for an unknown path or a bad value, 404 when there is no such resource, 501 for a field
            the emulator would not act on.
        """
        if not update_mask:
            raise ApiError(400, "updateMask is required.")
        with self._state.transaction() as connection:
            changed = self.get(name)
            del changed["name"]
            for path in self._mask(update_mask, properties):
                value = properties.get(path)
                changed.pop(path, None)
                if value not in (None, "", [], {}):
                    self._check(path, value)
                    changed[path] = value
            connection.execute("UPDATE healthcare_resources SET properties = ? WHERE name = ?", (json.dumps(changed), name))
        return self.get(name)

    def _mask(self, update_mask: str, properties: dict[str, Any]) -> list[str]:
        """Return the fields that a mask names, in lowerCamelCase."""
        if update_mask == "*":
            return sorted((self._fields.keys() & properties.keys()) | {key for key, check in self._fields.items() if check})
        fields = []
        for path in update_mask.split(","):
            field, _, below = re.sub(r"_(\w)", lambda match: match.group(1).upper(), path.strip()).partition(".")
            if field not in self._fields:
                raise ApiError(400, f"Invalid updateMask: {path!r} is not a field that can be changed.")
            if below or self._fields[field] is None:
                raise ApiError(501, f"The emulator does not do updateMask={path} of {self._collection}.")
            fields.append(field)
        return fields

    def _check(self, key: str, value: Any) -> None:
        check = self._fields.get(key)
        if check is None:
            raise ApiError(501, f"The emulator does not do {key} of {self._collection}.")
        check(value)

    def delete(self, name: str) -> None:
        """Remove a resource and all below it.

        :raises ApiError: 404 when there is none.
        """
        with self._state.transaction() as connection:
            self.get(name)
            connection.execute(
                "DELETE FROM healthcare_resources WHERE name = :name OR substr(name, 1, length(:name) + 1) = :name || '/'",
                {"name": name},
            )


def check_time_zone(value: str) -> None:
    """Check the time zone of a dataset.

    :raises ApiError: 400 for one that the IANA does not know.
    """
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:  # the last for what is a folder of the database
        raise ApiError(400, f"Invalid timeZone {value!r}; it must be a name of the IANA, such as Europe/Berlin.") from error
