"""The emulator's own endpoints below ``/_emulator``, which its command uses: status, reset, snapshot and restore."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from gcp_dicom_emulator.rest.endpoints import Endpoint

_CHUNK = 1 << 20


class Controlled(Protocol):
    """What the endpoints need of an :class:`Emulator`."""

    def status(self) -> dict[str, Any]: ...

    def reset(self) -> None: ...

    def snapshot(self, file: Path) -> None: ...

    def restore(self, file: Path) -> None: ...


class Control:
    """The endpoints.

    :param emulator: what they control.
    """

    def __init__(self, emulator: Controlled) -> None:
        self._emulator = emulator

    def endpoints(self) -> list[Endpoint]:
        """Return them."""
        return [
            Endpoint("GET", "/_emulator/status", self._status),
            Endpoint("POST", "/_emulator/reset", self._reset, waits=False),
            Endpoint("GET", "/_emulator/snapshot", self._snapshot, waits=False),
            Endpoint("POST", "/_emulator/restore", self._restore, waits=False),
        ]

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


@contextlib.contextmanager
def _temporary_file() -> Iterator[Path]:
    """Yield a path for a file, which is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="gcp-dicom-emulator-snapshot-") as directory:
        yield Path(directory) / "snapshot.tar"
