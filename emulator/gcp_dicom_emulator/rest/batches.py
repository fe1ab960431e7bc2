"""Batches: several requests as the parts of one, as Google's Python clients send them on demand."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from yarl import URL

from gcp_dicom_emulator.rest.endpoints import Endpoint
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.multipart import Multipart

#: Where a discovery document says that batches of an API go, and how many requests one may have.
_LIMITS = {"/batch": 1000, "/batch/storage/v1": 100, "/batch/bigquery/v2": 1000}
#: Headers that belong to a connection, or that aiohttp sets.
_OF_THE_CONNECTION = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True)
class _Part:
    """One request of a batch."""

    content_id: str
    verb: str
    target: str
    headers: dict[str, str]
    body: bytes


class Batches:
    """The endpoints. They send a batch's requests to the emulator itself, so that each is logged, and suffers faults, by itself.

    :param url: returns where the emulator is.
    """

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url

    def endpoints(self) -> list[Endpoint]:
        """Return them."""
        # The requests of a batch wait each for itself.
        return [Endpoint("POST", path, self._answer, waits=False) for path in _LIMITS]

    async def _answer(self, request: web.Request) -> web.Response:
        parts = await _parts(request)
        limit = _LIMITS[request.path]
        if not 0 < len(parts) <= limit:
            raise ApiError(400, f"A batch has 1 to {limit} requests; this one has {len(parts)}.")
        inherited = {name: value for name, value in request.headers.items() if name.lower() == "authorization"}
        boundary = f"batch_{uuid.uuid4().hex}"
        async with aiohttp.ClientSession() as session:
            answers = [await self._ask(session, part, inherited) for part in parts]
        body = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), answer) for answer in answers) + f"--{boundary}--\r\n".encode()
        return web.Response(body=body, headers={"Content-Type": f"multipart/mixed; boundary={boundary}"})

    async def _ask(self, session: aiohttp.ClientSession, part: _Part, inherited: dict[str, str]) -> bytes:
        """Send one request of a batch; return the part that answers it."""
        target = urlsplit(part.target)
        path = target.path + (f"?{target.query}" if target.query else "")
        head = b"Content-Type: application/http\r\n"
        if part.content_id:
            head += f"Content-ID: <response-{part.content_id.removeprefix('<')}\r\n".encode()
        if path.startswith(("/upload/", "/download/", "/batch")) or "alt=media" in target.query.split("&"):
            raise ApiError(400, f"A batch uploads and downloads nothing, and has no other batch in it: {part.verb} {path}")
        url = URL(self._url() + path, encoded=True)
        # Compressed, it would be decompressed here, and say that it is compressed.
        headers = {**inherited, **part.headers, "Accept-Encoding": "identity"}
        async with session.request(part.verb, url, headers=headers, data=part.body or None, allow_redirects=False) as answer:
            body = await answer.read()
            lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
            lines += [f"{name}: {value}" for name, value in answer.headers.items() if name.lower() not in _OF_THE_CONNECTION]
        lines += [f"Content-Length: {len(body)}", "", ""]
        return head + b"\r\n" + "\r\n".join(lines).encode() + body


async def _parts(request: web.Request) -> list[_Part]:
    """Return the requests of a batch.

    :raises ApiError: 400 for a body that is none.
    """
    parts = Multipart(request.headers.get("Content-Type", ""), request.content.iter_any())
    return [_part(part.headers.get("Content-ID", ""), await part.read()) async for part in parts]


def _part(content_id: str, content: bytes) -> _Part:
    head, _, body = re.sub(rb"\r?\n\r?\n", b"\0", content, count=1).partition(b"\0")
    line, *lines = re.split(r"\r?\n", head.decode("latin-1").strip())
    asked = re.fullmatch(r"([A-Z]+) (\S+)( HTTP/[\d.]+)?", line)
    if asked is None:
        raise ApiError(400, f"A part of the batch does not begin with a request: {line[:200]!r}")
    headers = {name.strip(): value.strip() for name, _, value in (each.partition(":") for each in lines) if value}
    kept = {name: value for name, value in headers.items() if name.lower() not in _OF_THE_CONNECTION}
    return _Part(content_id, asked[1], asked[2], kept, body)
