"""Uploads on their way: bodies are streamed into blobs; a resumable upload lives across requests, and restarts."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from aiohttp import StreamReader, web

from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.multipart import Multipart, Part

_TABLES = """
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, name TEXT NOT NULL, properties TEXT NOT NULL, query TEXT NOT NULL, blob TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ended_uploads (id TEXT PRIMARY KEY, ended REAL NOT NULL, answer TEXT NOT NULL) WITHOUT ROWID;
"""

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+|\*)|\*)/(\d+|\*)")
_TWO_PARTS = "A multipart upload has two parts: the metadata as JSON, and the content."
#: The header by which a client may say how many bytes are to come, and what that is remembered by.
SIZE = "X-Upload-Content-Length"
#: How long the end of an upload is told again to who asks; Google's sessions live as long.
_WEEK = 7 * 24 * 3600
_CHUNK = 1 << 20


@contextlib.contextmanager
def new_blob_file(blob: Path) -> Iterator[IO[bytes]]:
    """Open a new blob to be written; leave none where that breaks off."""
    try:
        with blob.open("xb") as file:
            yield file
    except BaseException:
        blob.unlink(missing_ok=True)
        raise


async def receive(content: StreamReader, file: IO[bytes], skip: int = 0) -> None:
    """Write a request's body to a file.

    :param skip: how many bytes at its beginning are left out.
    """
    async for data in content.iter_chunked(_CHUNK):
        file.write(data[skip:])
        skip = max(0, skip - len(data))


async def receive_multipart(request: web.Request, media: Path) -> tuple[bytes, str | None]:
    """Take an upload of two parts; write the second one to ``media``.

    :return: the metadata of the first part, and the second part's content type.
    :raises ApiError: 400 when it is not made of two parts; ``media`` may be there then.
    """
    parts = Multipart(request.headers.get("Content-Type", ""), request.content.iter_any())
    first = await (await _next(parts)).read()
    content = await _next(parts)
    with media.open("xb") as file:
        async for data in content.chunks:
            file.write(data)
    if await anext(parts, None) is not None:
        raise ApiError(400, _TWO_PARTS)
    return first, content.headers.get("Content-Type")


async def _next(parts: Multipart) -> Part:
    part = await anext(parts, None)
    if part is None:
        raise ApiError(400, _TWO_PARTS)
    return part


@dataclass(frozen=True)
class Upload:
    """A resumable upload.

    :param properties: the object's, as the client sent them at the start, with the checksums it is to have.
    :param query: the query parameters of the request that started it: preconditions hold at its end; and :data:`SIZE`, which a
        chunk may have said.
    :param blob: what has come so far.
    """

    id: str
    bucket: str
    name: str
    properties: dict[str, Any]
    query: dict[str, str]
    blob: Path

    @property
    def size(self) -> int | None:
        """How many bytes it is to have; ``None`` where the client has not said it."""
        return int(self.query.get(SIZE, "0")) or None


@dataclass(frozen=True)
class ContentRange:
    """What a chunk says it is.

    :param first: the offset of its first byte; ``None`` when it has no bytes and only asks how far the upload is.
    :param last: the offset of its last byte; ``None`` when the object ends where the chunk does.
    :param total: the size of the whole; ``None`` while the client does not know.
    """

    first: int | None
    last: int | None
    total: int | None

    @classmethod
    def parse(cls, header: str | None, length: int | None) -> ContentRange:
        """Read the header; without one the body is the whole.

        :param length: the body's, in bytes; ``None`` for a chunked one.
        :raises ApiError: 400 for nonsense.
        """
        if header is None:
            return cls(0, None, length)
        match = _CONTENT_RANGE.fullmatch(header)
        if not match:
            raise ApiError(400, f"Failed to parse Content-Range header: {header!r}")
        first, last, total = (int(group) if group and group != "*" else None for group in match.groups())
        if first is not None and last is not None and (last < first or (total is not None and last >= total)):
            raise ApiError(400, f"Invalid Content-Range header: {header!r}")
        return cls(first, last, total)


async def take_chunk(request: web.Request, blob: Path, size: int | None = None) -> web.Response | None:
    """Add what a request brings to a resumable upload.

    :param blob: what has come so far.
    :param size: how many bytes it is to have, if that is known.
    :return: the answer that asks for more; ``None`` when all is there.
    :raises ApiError: 400 for a chunk that is not what its header says, or another size than the upload is to have.
    """
    # The length of a body that was packed for its way says nothing of its content.
    sent = None if "Content-Encoding" in request.headers else request.content_length
    content_range = ContentRange.parse(request.headers.get("Content-Range"), sent)
    first, last, total = content_range.first, content_range.last, content_range.total
    if total is not None and size not in (None, total):
        raise ApiError(400, f"The upload is to have {size} bytes, not {total}.")
    with blob.open("r+b") as file:
        received = file.seek(0, 2)
        if first is not None and first <= received:
            length = last + 1 - first if last is not None else None
            if length is not None and sent not in (None, length):
                raise ApiError(400, f"The chunk has {sent} bytes, and {length} by its Content-Range.")
            before = received
            # A client that lost an answer sends some bytes again; what is there already stays, as the service has it.
            await receive(request.content, file, received - first)
            received = file.tell()
            if last is not None and received > max(before, last + 1):
                file.truncate(before)
                raise ApiError(400, f"The chunk has {received - first} bytes, and {length} by its Content-Range.")
            if total is None and last is None:
                total = received
    if total is None or received < total:
        headers = {"Range": f"bytes=0-{received - 1}"} if received else {}
        return web.Response(status=308, reason="Resume Incomplete", headers=headers)
    if received > total:
        raise ApiError(400, f"The upload has {received} bytes, more than the {total} of its Content-Range.")
    if size not in (None, total):
        raise ApiError(400, f"The upload is to have {size} bytes, not {total}.")
    return None


class ResumableUploads:
    """The uploads that have been started and not ended."""

    def __init__(self, state: State) -> None:
        self._state = state
        state.create_tables(_TABLES)
        state.register_blobs("SELECT blob FROM uploads")
        with state.transaction() as connection:
            connection.execute("DELETE FROM ended_uploads WHERE ended < ?", (time.time() - _WEEK,))

    def start(self, bucket: str, name: str, properties: dict[str, Any], query: dict[str, str]) -> Upload:
        """Remember a new upload."""
        blob = self._state.new_blob()
        blob.touch()
        upload = Upload(uuid.uuid4().hex, bucket, name, properties, query, blob)
        with self._state.transaction() as connection:
            connection.execute(
                "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?)",
                (upload.id, bucket, name, json.dumps(properties), json.dumps(query), blob.name),
            )
        return upload

    def get(self, upload_id: str) -> Upload:
        """Return an upload.

        :raises ApiError: 404 when there is none: it is unknown, or ended.
        """
        rows: list[sqlite3.Row] = self._state.query("SELECT * FROM uploads WHERE id = ?", (upload_id,))
        if not rows:
            raise ApiError(404, f"No such resumable upload: {upload_id}")
        values = dict(rows[0])
        upload = Upload(
            values["id"],
            values["bucket"],
            values["name"],
            json.loads(values["properties"]),
            json.loads(values["query"]),
            self._state.blob(values["blob"]),
        )
        if not upload.blob.exists():
            raise ApiError(404, f"The resumable upload has failed: {upload_id}")
        return upload

    def answer(self, upload_id: str) -> dict[str, Any] | None:
        """Return what the end of an upload was answered with; ``None`` when it has not ended."""
        rows = self._state.query("SELECT answer FROM ended_uploads WHERE id = ?", (upload_id,))
        answer: dict[str, Any] | None = json.loads(rows[0]["answer"]) if rows else None
        return answer

    def end(self, upload: Upload, answer: dict[str, Any]) -> None:
        """Remove an upload whose blob has become an object's, and keep the answer for a client that loses it."""
        with self._state.transaction() as connection:
            self.forget(upload)
            connection.execute("INSERT INTO ended_uploads VALUES (?, ?, ?)", (upload.id, time.time(), json.dumps(answer)))

    def keep_size(self, upload: Upload, size: int | None) -> None:
        """Remember how many bytes an upload is to have, once a chunk has said it."""
        if size is None or upload.size is not None:
            return
        with self._state.transaction() as connection:
            query = json.dumps({**upload.query, SIZE: str(size)})
            connection.execute("UPDATE uploads SET query = ? WHERE id = ?", (query, upload.id))

    def forget(self, upload: Upload) -> None:
        """Remove an upload; its blob is the caller's."""
        with self._state.transaction() as connection:
            connection.execute("DELETE FROM uploads WHERE id = ?", (upload.id,))

    def forget_bucket(self, bucket: str) -> None:
        """Remove the uploads to a bucket."""
        with self._state.transaction() as connection:
            for row in connection.execute("SELECT blob FROM uploads WHERE bucket = ?", (bucket,)).fetchall():
                self._state.remove_when_committed(self._state.blob(row["blob"]))
            connection.execute("DELETE FROM uploads WHERE bucket = ?", (bucket,))
