"""Uploads on their way: bodies are streamed into blobs; a resumable upload lives across requests, and restarts."""

from __future__ import annotations

import email.parser
import email.policy
import json
import re
import sqlite3
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from aiohttp import StreamReader, web

from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError

_TABLES = """
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, name TEXT NOT NULL, properties TEXT NOT NULL, query TEXT NOT NULL, blob TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ended_uploads (id TEXT PRIMARY KEY, ended REAL NOT NULL, answer TEXT NOT NULL) WITHOUT ROWID;
"""

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+|\*)|\*)/(\d+|\*)")
_HEADER_LIMIT = 1 << 20
#: How long the end of an upload is told again to who asks; Google's sessions live as long.
_WEEK = 7 * 24 * 3600
_CHUNK = 1 << 20


async def receive(content: StreamReader, file: IO[bytes]) -> None:
    """Write a request's body to a file."""
    async for data in content.iter_chunked(_CHUNK):
        file.write(data)


def split_multipart(raw: IO[bytes], content_type: str, media: Path) -> tuple[bytes, str | None]:
    """Take a ``multipart/related`` body apart; write the second part to ``media``.

    :return: the metadata of the first part, and the second part's content type.
    :raises ApiError: 400 when it is not made of two parts.
    """
    header = email.parser.Parser(policy=email.policy.HTTP).parsestr(f"Content-Type: {content_type}\n\n")
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise ApiError(400, f"A multipart upload needs a boundary in its Content-Type, not {content_type!r}.")
    raw.seek(0)
    head = raw.read(_HEADER_LIMIT)
    delimiter = re.escape(b"--" + boundary.encode())
    parts = re.match(
        rb"\s*"
        + delimiter
        + rb"[ \t]*\r?\n(?P<h1>.*?)\r?\n\r?\n(?P<metadata>.*?)\r?\n"
        + delimiter
        + rb"[ \t]*\r?\n(?P<h2>(?:[^\r\n]+\r?\n)*)\r?\n",
        head,
        re.DOTALL,
    )
    if not parts:
        raise ApiError(400, "A multipart upload has two parts: the metadata as JSON, and the content.")
    end = _end_of_media(raw, boundary.encode())
    raw.seek(parts.end())
    _copy(raw, media, end - parts.end())
    content_headers = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(parts["h2"] + b"\r\n")
    return parts["metadata"], content_headers["content-type"]


def _end_of_media(file: IO[bytes], boundary: bytes) -> int:
    size = file.seek(0, 2)
    start = file.seek(max(0, size - len(boundary) - 1024))
    tail = file.read()
    at = tail.rfind(b"--" + boundary + b"--")
    if at < 0:
        raise ApiError(400, "The multipart upload ends without its closing boundary.")
    before = tail[:at]
    line_end = 2 if before.endswith(b"\r\n") else 1 if before.endswith(b"\n") else 0
    return start + at - line_end


def _copy(file: IO[bytes], target: Path, length: int) -> None:
    with target.open("xb") as out:
        while length > 0 and (data := file.read(min(_CHUNK, length))):
            out.write(data)
            length -= len(data)


@dataclass(frozen=True)
class Upload:
    """A resumable upload.

    :param properties: the object's, as the client sent them at the start, with the checksums it is to have.
    :param query: the query parameters of the request that started it: preconditions hold at its end.
    :param blob: what has come so far.
    """

    id: str
    bucket: str
    name: str
    properties: dict[str, Any]
    query: dict[str, str]
    blob: Path


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


async def take_chunk(request: web.Request, blob: Path) -> web.Response | None:
    """Add what a request brings to a resumable upload.

    :param blob: what has come so far.
    :return: the answer that asks for more; ``None`` when all is there.
    :raises ApiError: 400 for a chunk that is not what its header says.
    """
    content_range = ContentRange.parse(request.headers.get("Content-Range"), request.content_length)
    first, last, total = content_range.first, content_range.last, content_range.total
    with blob.open("r+b") as file:
        received = file.seek(0, 2)
        if first is not None and first <= received:
            if last is not None and request.content_length not in (None, length := last + 1 - first):
                raise ApiError(400, f"The chunk has {request.content_length} bytes, and {length} by its Content-Range.")
            # A client that lost an answer sends some bytes again.
            file.truncate(first)
            file.seek(first)
            await receive(request.content, file)
            received = file.tell()
            if total is None and last is None:
                total = received
    if total is None or received < total:
        headers = {"Range": f"bytes=0-{received - 1}"} if received else {}
        return web.Response(status=308, reason="Resume Incomplete", headers=headers)
    if received > total:
        raise ApiError(400, f"The upload has {received} bytes, more than the {total} of its Content-Range.")
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

    def forget(self, upload: Upload) -> None:
        """Remove an upload; its blob is the caller's."""
        with self._state.transaction() as connection:
            connection.execute("DELETE FROM uploads WHERE id = ?", (upload.id,))
