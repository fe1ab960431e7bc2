"""The emulator's own endpoints below ``/_emulator``, which its command uses: status, reset, snapshot and restore."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from airflow_dicom.emulator.errors import ApiError

if TYPE_CHECKING:
    from airflow_dicom.emulator.emulator import Emulator
    from airflow_dicom.emulator.server import Page

_CHUNK = 1 << 20


class Control:
    """The endpoints.

    :param emulator: what they control.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def pages(self) -> dict[str, Page]:
        """Return the endpoints by their path."""
        return {
            "/_emulator/status": _answering("GET", self._status),
            "/_emulator/reset": _answering("POST", self._reset),
            "/_emulator/snapshot": _answering("GET", self._snapshot),
            "/_emulator/restore": _answering("POST", self._restore),
        }

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(self._emulator.status))

    async def _reset(self, _: web.Request) -> web.Response:
        await asyncio.to_thread(self._emulator.reset)
        return web.json_response({})

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        with _temporary_file() as path:
            await asyncio.to_thread(self._emulator.snapshot, path)
            size = path.stat().st_size
            response = web.StreamResponse(headers={"Content-Type": "application/x-tar", "Content-Length": str(size)})
            await response.prepare(request)
            with path.open("rb") as file:
                while data := file.read(_CHUNK):
                    await response.write(data)
            await response.write_eof()
        return response

    async def _restore(self, request: web.Request) -> web.Response:
        with _temporary_file() as path:
            with path.open("wb") as file:
                async for data in request.content.iter_chunked(_CHUNK):
                    file.write(data)
            await asyncio.to_thread(self._emulator.restore, path)
        return web.json_response({})


def _answering(verb: str, page: Page) -> Page:
    """Return a page that answers other verbs by 405, and an :class:`ApiError` as Google does."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            if request.method != verb:
                raise ApiError(405, f"{request.path} takes {verb}.")
            return await page(request)
        except ApiError as error:
            return web.json_response(error.envelope(), status=error.code)

    return answer


@contextlib.contextmanager
def _temporary_file() -> Iterator[Path]:
    """Yield a path for a file, which is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="airflow-dicom-emulator-snapshot-") as directory:
        yield Path(directory) / "snapshot.tar"
