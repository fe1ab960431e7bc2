"""One port for two protocols: what a connection begins with says whether it is HTTP/1.1 or HTTP/2, which gRPC speaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

#: What each HTTP/2 connection begins with; RFC 9113, section 3.4.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Splitter:
    """Makes the protocols of new connections.

    :param http: makes a protocol of HTTP/1.1, which has the connection to itself.
    :param http2_port: returns the port on this machine that HTTP/2 goes to. Called in a thread.
    """

    def __init__(self, http: Callable[[], asyncio.BaseProtocol], http2_port: Callable[[], int]) -> None:
        self.http = http
        self.http2_port = http2_port
        self.open: set[asyncio.BaseTransport] = set()

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return _Undecided(self)

    def close(self) -> None:
        """Close the connections but those of HTTP/1.1."""
        for transport in list(self.open):
            transport.close()


class _Undecided(asyncio.Protocol):
    """A connection that has not said yet what it is."""

    def __init__(self, splitter: Splitter) -> None:
        self._splitter = splitter
        self._head = b""
        self._connecting: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._splitter.open.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._splitter.open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._head += data
        if self._head.startswith(_PREFACE):
            self._transport.pause_reading()
            self._connecting = asyncio.get_running_loop().create_task(self._pass_on())
        elif not _PREFACE.startswith(self._head):
            self._splitter.open.discard(self._transport)
            protocol = self._splitter.http()
            assert isinstance(protocol, asyncio.Protocol)
            self._transport.set_protocol(protocol)
            protocol.connection_made(self._transport)
            protocol.data_received(self._head)

    async def _pass_on(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            port = await loop.run_in_executor(None, self._splitter.http2_port)
            behind, _ = await loop.create_connection(lambda: _Pipe(self._splitter, self._transport), "127.0.0.1", port)
        except Exception:
            log.exception("HTTP/2 cannot be served")
            self._transport.close()
            return
        self._transport.set_protocol(_Pipe(self._splitter, behind, self._transport))
        behind.write(self._head)
        self._transport.resume_reading()


class _Pipe(asyncio.Protocol):
    """Passes on what comes from one side of a connection.

    :param splitter: whose connection it is.
    :param other: the other side.
    :param transport: this side, where it is connected already.
    """

    def __init__(self, splitter: Splitter, other: asyncio.Transport, transport: asyncio.BaseTransport | None = None) -> None:
        self._splitter = splitter
        self._other = other
        self._transport = transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._splitter.open.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is not None:
            self._splitter.open.discard(self._transport)
        self._other.close()

    def data_received(self, data: bytes) -> None:
        self._other.write(data)

    def pause_writing(self) -> None:
        """What this side is sent does not leave as quickly as it comes."""
        self._other.pause_reading()

    def resume_writing(self) -> None:
        self._other.resume_reading()
