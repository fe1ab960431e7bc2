"""Files that come with ``jobs.insert``: multipart and resumable uploads."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.server import Call
from gcp_dicom_emulator.storage.uploads import receive_multipart, take_chunk


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
        if upload_id := call.query.get("upload_id"):
            return await self._resume(call, upload_id)
        kind = call.query.get("uploadType", "")
        if kind == "multipart":
            return await self._multipart(call)
        if kind == "resumable":
            upload_id = uuid.uuid4().hex
            upload = Upload(call.parse(await call.request.read()), self._state.new_blob())
            upload.path.touch()
            self._sessions[upload_id] = upload
            location = f"{call.base_url}{call.request.path}?uploadType=resumable&upload_id={upload_id}"
            return web.Response(headers={"Location": location, "X-GUploader-UploadID": upload_id})
        raise ApiError(400, f"Invalid uploadType: {kind!r}. Use multipart or resumable.")

    async def _multipart(self, call: Call) -> Upload:
        path = self._state.new_blob()
        try:
            first, _ = await receive_multipart(call.request, path)
            return Upload(call.parse(first), path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    async def _resume(self, call: Call, upload_id: str) -> Upload | web.Response:
        upload = self._sessions.get(upload_id)
        if upload is None:
            raise ApiError(404, f"No such upload: {upload_id}")
        if answer := await take_chunk(call.request, upload.path):
            return answer
        del self._sessions[upload_id]
        return upload
