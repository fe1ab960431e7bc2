"""HTTP for requests that must not be sent twice unless the hook says so.

httplib2 sends a request again, a POST too, when the connection is closed before the answer comes: that one export would be two.
"""

from __future__ import annotations

import http.client
from typing import Any

import httplib2


class _NoAnswer:
    """Turn the error that httplib2 takes for a stale connection into one that it passes on."""

    def getresponse(self) -> http.client.HTTPResponse:
        try:
            response: http.client.HTTPResponse = super().getresponse()  # type: ignore[misc]
        except http.client.BadStatusLine as error:
            raise ConnectionResetError("the connection was closed before an answer came") from error
        return response


class _HTTPConnection(_NoAnswer, httplib2.HTTPConnectionWithTimeout):
    pass


class _HTTPSConnection(_NoAnswer, httplib2.HTTPSConnectionWithTimeout):
    pass


class HttpOnce(httplib2.Http):
    """An :class:`httplib2.Http` that sends each request once, over a connection of its own."""

    def request(self, uri: str, *args: Any, **kwargs: Any) -> Any:
        """Send a request; see :meth:`httplib2.Http.request`.

        :raises ConnectionResetError: the connection was closed before an answer came.
        """
        self.close()  # a connection that was used before may be stale
        kwargs["connection_type"] = _HTTPSConnection if uri.startswith("https:") else _HTTPConnection
        return super().request(uri, *args, **kwargs)
