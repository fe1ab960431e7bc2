"""The reader of multipart bodies, for all that take them: DICOMweb, uploads and batches.

Source: RFC 2046, section 5.1. Clients are looser than it: Orthanc's boundaries have 73 characters where it allows 70, gsutil's stand
in single quotes, which it does not know, and several end lines by a line feed alone. All of that is read.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from multidict import CIMultiDict

from gcp_dicom_emulator.rest.errors import ApiError

_PARAMETER = re.compile(r""";\s*([^\s=;]+)\s*=\s*("(?:[^"\\]|\\.)*"|'[^']*'|[^;]*)""")
#: How many blanks may follow a boundary, and how long the headers of a part may be.
_PADDING, _MAX_HEADERS = 64, 64 * 1024
#: What follows the boundary in a delimiter: that of the end, or the end of the line.
_REST = re.compile(rb"--|[ \t]{0,%d}(\r?)\n" % _PADDING)
_BLANK_LINE = re.compile(rb"\n\r?\n")
#: Of ``Content-Transfer-Encoding``, those that leave the bytes as they are.
_PLAIN = ("", "7bit", "8bit", "binary")


@dataclass(frozen=True)
class Part:
    """A part of a body.

    :param headers: its headers.
    :param chunks: yields its content. What is not read of it is skipped.
    """

    headers: CIMultiDict[str]
    chunks: AsyncIterator[bytes]

    async def read(self) -> bytes:
        """Return the content as a whole."""
        return b"".join([chunk async for chunk in self.chunks])


class Multipart:
    """A body, to be iterated over once: yields its parts, each to be read before the next one.

    :param content_type: the request's ``Content-Type``.
    :param chunks: yields the body.
    :raises ApiError: 400 for a type without a boundary; in the course of the iteration, 400 for a body that is not made of parts,
        501 for a part that is encoded.
    """

    def __init__(self, content_type: str, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._needles = [b"\n--" + boundary.encode("utf-8", "surrogateescape") for boundary in _boundaries(content_type)]
        # What may be the beginning of a delimiter, with the end of the line before it, is looked at again when more has come.
        self._kept = max(map(len, self._needles)) + _PADDING + 2
        # It always begins with the end of a line: a delimiter does.
        self._buffer = bytearray(b"\n")
        self._line_end = b"\n"
        self._part: AsyncIterator[bytes] = self._before_delimiter()
        self._ended = False

    def __aiter__(self) -> Multipart:
        return self

    async def __anext__(self) -> Part:
        async for _ in self._part:
            pass
        if self._ended:
            async for _ in self._chunks:
                pass  # an epilogue means nothing
            raise StopAsyncIteration
        headers = await self._headers()
        encoding = headers.get("Content-Transfer-Encoding", "")
        if encoding.lower() not in _PLAIN:
            raise ApiError(501, f"The emulator does not take parts in Content-Transfer-Encoding: {encoding}.")
        self._part = self._before_delimiter()
        return Part(headers, self._part)

    async def _headers(self) -> CIMultiDict[str]:
        while not (blank := _BLANK_LINE.search(self._buffer)):
            if len(self._buffer) > _MAX_HEADERS:
                raise ApiError(400, "The multipart body has a part whose headers do not end.")
            await self._more()
        lines = re.sub(rb"\r?\n[ \t]+", b" ", self._buffer[: blank.start()]).decode("utf-8", "surrogateescape").split("\n")
        del self._buffer[: blank.end() - 1]
        headers: CIMultiDict[str] = CIMultiDict()
        for line in filter(None, map(str.strip, lines)):
            name, colon, value = line.partition(":")
            if not colon:
                raise ApiError(400, f"The multipart body has a part with a header that is none: {line[:200]!r}")
            headers.add(name.strip(), value.strip())
        return headers

    async def _before_delimiter(self) -> AsyncIterator[bytes]:
        """Yield what comes before the next delimiter, and go behind that."""
        start = 1
        while (found := self._delimiter()) is None:
            ready = len(self._buffer) - self._kept
            if ready > start:
                with memoryview(self._buffer) as view:
                    chunk = bytes(view[start:ready])
                yield chunk
                del self._buffer[:ready]
                start = 0
            await self._more()
        needle, at, rest = found
        if content := bytes(self._buffer[start:at]).removesuffix(self._line_end[:-1]):
            yield content
        self._needles, self._ended = [needle], rest[1] is None
        self._line_end = b"\n" if self._ended else rest[1] + b"\n"
        del self._buffer[: rest.end() - 1]

    def _delimiter(self) -> tuple[bytes, int, re.Match[bytes]] | None:
        """Return the first delimiter in the buffer: its needle, where it starts, and what follows the boundary."""
        found = []
        for needle in self._needles:
            at = self._buffer.find(needle)
            while at >= 0:
                if rest := _REST.match(self._buffer, at + len(needle)):
                    found.append((needle, at, rest))
                    break
                at = self._buffer.find(needle, at + 1)
        return min(found, key=lambda each: each[1], default=None)

    async def _more(self) -> None:
        chunk = await anext(self._chunks, None)
        if chunk is None:
            raise ApiError(400, "The multipart body ends without its closing boundary.")
        self._buffer += chunk


def _boundaries(content_type: str) -> list[str]:
    """Return what the boundary may be: single quotes are a part of it to some clients, and not to others."""
    parameters = {name.lower(): value.strip() for name, value in _PARAMETER.findall(content_type)}
    value = parameters.get("boundary", "")
    if value.startswith('"'):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    if not value:
        raise ApiError(400, f"A multipart body needs a boundary in its Content-Type, which is {content_type!r}.")
    bare = value[1:-1] if len(value) > 2 and value[0] == value[-1] == "'" else value
    return [value] if bare == value else [value, bare]
