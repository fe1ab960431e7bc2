"""The XML API's uploads in parts: each part is a blob until the upload is completed, and all of them then become an object."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.storage.objects import Digest, ObjectStore, Preconditions, StoredObject, join

_TABLES = """
CREATE TABLE IF NOT EXISTS multipart_uploads (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, name TEXT NOT NULL, properties TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS multipart_parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, blob TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;
"""
_MAX_PARTS = 10_000
#: How many bytes all parts but the last have at least.
_MIN_PART = 5 << 20


@dataclass(frozen=True)
class _Part:
    """A part that has come.

    :param etag: its MD5 in hexadecimal digits.
    """

    number: int
    path: Path
    size: int
    etag: str


class MultipartUploads:
    """The uploads that were started, and neither completed nor aborted.

    :param state: where they are kept.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        state.create_tables(_TABLES)
        state.register_blobs("SELECT blob FROM multipart_parts")

    def start(self, bucket: str, name: str, properties: dict[str, Any]) -> str:
        """Return the id of a new upload."""
        upload = uuid.uuid4().hex
        with self._state.transaction() as connection:
            connection.execute(
                "INSERT INTO multipart_uploads VALUES (?, ?, ?, ?)", (upload, bucket, name, json.dumps(properties))
            )
        return upload

    def put(self, upload: str, bucket: str, name: str, number: int, blob: Path, digest: Digest) -> str:
        """Make a blob a part; return its entity tag. A part with the same number is replaced.

        :raises ApiError: 404 when there is no such upload, 400 for a number that no part can have.
        """
        etag = digest.md5_hex
        with self._state.transaction() as connection:
            self._properties(upload, bucket, name)
            if not 1 <= number <= _MAX_PARTS:
                raise ApiError(400, f"The part's number is {number}; it must be from 1 to {_MAX_PARTS}.")
            old = [part for part in self._parts(upload) if part.number == number]
            connection.execute(
                "INSERT OR REPLACE INTO multipart_parts VALUES (?, ?, ?, ?, ?)", (upload, number, blob.name, digest.size, etag)
            )
        for part in old:
            part.path.unlink(missing_ok=True)
        return etag

    def complete(
        self,
        upload: str,
        objects: ObjectStore,
        bucket: str,
        name: str,
        wanted: Sequence[tuple[int, str]],
        condition: Preconditions,
    ) -> StoredObject:
        """Make parts an object.

        :param wanted: the parts' numbers and entity tags, in their order.
        :raises ApiError: 404 when there is no such upload, 400 for parts that it does not have, or that are too small or not in
            order, and whatever a new object may not be.
        """
        properties, there = self._properties(upload, bucket, name), {part.number: part for part in self._parts(upload)}
        if not wanted or [number for number, _ in wanted] != sorted({number for number, _ in wanted}):
            raise ApiError(400, "The parts must be listed in ascending order of their numbers, each once.")
        for number, etag in wanted:
            if number not in there or etag.strip('"') not in ("", there[number].etag):
                raise ApiError(400, f"Part {number} was not uploaded, or has another entity tag.")
        parts = [there[number] for number, _ in wanted]
        if any(part.size < _MIN_PART for part in parts[:-1]):
            raise ApiError(400, f"All parts but the last must have at least {_MIN_PART} bytes.")
        blob = self._state.new_blob()
        digest = join([part.path for part in parts], blob)
        stored = objects.put(
            bucket, name, blob, properties, preconditions=condition, digest=digest, component_count=len(parts),
            within=lambda _: self._forget(upload),
        )  # fmt: skip
        self._remove(there.values())
        return stored

    def abort(self, upload: str, bucket: str, name: str) -> None:
        """Remove an upload.

        :raises ApiError: 404 when there is no such upload.
        """
        self._properties(upload, bucket, name)
        parts = self._parts(upload)
        self._forget(upload)
        self._remove(parts)

    def forget_bucket(self, bucket: str) -> None:
        """Remove the uploads to a bucket."""
        with self._state.transaction() as connection:
            for row in connection.execute("SELECT id FROM multipart_uploads WHERE bucket = ?", (bucket,)).fetchall():
                for part in self._parts(row["id"]):
                    self._state.remove_when_committed(part.path)
                self._forget(row["id"])

    def _properties(self, upload: str, bucket: str, name: str) -> dict[str, Any]:
        sql = "SELECT properties FROM multipart_uploads WHERE id = ? AND bucket = ? AND name = ?"
        rows = self._state.query(sql, (upload, bucket, name))
        if not rows:
            raise ApiError(404, f"The upload does not exist, or it was completed or aborted: {upload}", reason="NoSuchUpload")
        properties: dict[str, Any] = json.loads(rows[0]["properties"])
        return properties

    def _parts(self, upload: str) -> list[_Part]:
        rows = self._state.query("SELECT * FROM multipart_parts WHERE upload = ? ORDER BY number", (upload,))
        return [_Part(row["number"], self._state.blob(row["blob"]), row["size"], row["etag"]) for row in rows]

    def _forget(self, upload: str) -> None:
        with self._state.transaction() as connection:
            connection.execute("DELETE FROM multipart_uploads WHERE id = ?", (upload,))
            connection.execute("DELETE FROM multipart_parts WHERE upload = ?", (upload,))

    def _remove(self, parts: Iterable[_Part]) -> None:
        for part in parts:
            part.path.unlink(missing_ok=True)
