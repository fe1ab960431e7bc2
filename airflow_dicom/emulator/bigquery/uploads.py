"""Files that come with ``jobs.insert``: multipart and resumable uploads."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from airflow_dicom.emulator.errors import ApiError
from airflow_dicom.emulator.server import Call
from airflow_dicom.emulator.state import State

_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


@dataclass(frozen=True)
class Upload:
    """A finished upload.

    :param metadata: the ``Job`` resource.
    :param path: the file; whoever gets it removes it.
    """

    metadata: dict[str, Any]
    path: Path


class Uploads:
    """The uploads that are going on.

    :param state: where the files are.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._sessions: dict[str, Upload] = {}

    async def receive(self, call: Call) -> Upload | web.Response:
        """Take a request of an upload; return the finished upload, or the answer when there is more to come.

        :raises ApiError: 400 for a malformed one, 404 for a session that does not exist.
        """
        if "upload_id" in call.query:
            return await self._resume(call, call.query["upload_id"])
        kind = call.query.get("uploadType", "")
        body = await call.request.read()
        if kind == "multipart":
            return self._multipart(call, body)
        if kind == "resumable":
            upload_id = uuid.uuid4().hex
            self._sessions[upload_id] = Upload(call.parse(body), self._new_file(b""))
            location = f"{call.base_url}{call.request.path}?uploadType=resumable&upload_id={upload_id}"
            return web.Response(headers={"Location": location, "X-GUploader-UploadID": upload_id})
        raise ApiError(400, f"Invalid uploadType: {kind!r}. Use multipart or resumable.")

    def _new_file(self, data: bytes) -> Path:
        path = self._state.new_blob()
        path.write_bytes(data)
        return path

    def _multipart(self, call: Call, body: bytes) -> Upload:
        header = f"Content-Type: {call.headers.get('Content-Type', '')}\r\n\r\n".encode()
        boundary = re.search(rb'boundary="?([^";\s]+)"?', header)
        if not boundary:
            raise ApiError(400, "Missing boundary of the multipart body.")
        parts = re.split(rb"(?:^|\r?\n)--" + re.escape(boundary[1]) + rb"(?:--)?[ \t]*(?:\r?\n|$)", body)
        parts = [part for part in parts[1:] if part]
        if len(parts) < 2:
            raise ApiError(400, "A multipart body has two parts: the job and the file.")
        contents = [re.split(rb"\r?\n\r?\n", part, maxsplit=1)[-1] for part in parts[:2]]
        return Upload(call.parse(contents[0]), self._new_file(contents[1]))

    async def _resume(self, call: Call, upload_id: str) -> Upload | web.Response:
        upload = self._sessions.get(upload_id)
        if upload is None:
            raise ApiError(404, f"No such upload: {upload_id}")
        have = upload.path.stat().st_size
        total = ""
        if content_range := call.headers.get("Content-Range"):
            match = _RANGE.fullmatch(content_range)
            if not match:
                raise ApiError(400, f"Invalid Content-Range: {content_range}")
            total = match[3]
            if match[1] and int(match[1]) != have:
                raise ApiError(400, f"The upload has {have} bytes; the chunk begins at {match[1]}.")
        with upload.path.open("ab") as file:
            async for chunk in call.request.content.iter_chunked(1 << 20):
                file.write(chunk)
        have = upload.path.stat().st_size
        if total and (total == "*" or int(total) > have):
            headers = {"Range": f"bytes=0-{have - 1}"} if have else {}
            return web.Response(status=308, headers=headers)
        del self._sessions[upload_id]
        return upload
