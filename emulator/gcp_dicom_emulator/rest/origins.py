"""Which pages of the web may have a browser on this machine talk to the emulator: none but those that are allowed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web

from gcp_dicom_emulator.rest.errors import ApiError

#: Ends of names that mean nothing, or another machine, to the rest of the world; the last are Google's own.
_PRIVATE_NAMES = (".localhost", ".local", ".internal", ".test", ".googleapis.com")
_DEFAULT_PORTS = {"http": 80, "https": 443}
#: What a page of another origin may send, and for how many seconds its browser need not ask again.
_METHODS, _MAX_AGE = "GET, HEAD, POST, PUT, PATCH, DELETE", 600


class Origins:
    """The pages that may talk to the emulator.

    :param host: the address that the emulator listens on.
    :param allowed: whose pages may, by their origins, e.g. ``http://localhost:3000``. The emulator's own always may.
    :raises ValueError: something in ``allowed`` is not an origin.
    """

    def __init__(self, host: str, allowed: Iterable[str] = ()) -> None:
        self._only_this_machine = is_loopback(host)
        self._allowed = frozenset(map(parse_origin, allowed))

    def check(self, request: web.Request) -> None:
        """Refuse what a page of another website has the browser of this machine send.

        Such a page can write without reading, by a form; the browser then says whose it is in ``Origin``. And its owner can have
        its name mean 127.0.0.1, so that the browser takes the emulator for the page's own server; but then ``Host`` is that name.

        :raises ApiError: 403.
        """
        host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        if self._only_this_machine and _is_public(host):
            raise ApiError(
                403, f"The emulator serves this machine only, which is not called {host}. Let others reach it by --host."
            )
        # Google's clients may name an Origin as well: that of the page which is to go on with an upload.
        of_browser = request.headers.get("User-Agent", "").startswith("Mozilla/")
        if origin and of_browser and not self._is_allowed(request) and urlsplit(origin).netloc != host:
            raise ApiError(403, f"The emulator takes no requests from pages of {origin}. Let them by --allow-origin.")

    def is_preflight(self, request: web.Request) -> bool:
        """Tell whether a browser asks if a page of an allowed origin may send a request."""
        asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        return asks and self._is_allowed(request)

    def preflight(self, request: web.Request) -> web.Response:
        """Return the answer to :meth:`is_preflight`: it may, with whatever headers it wants to send."""
        headers = {
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Max-Age": str(_MAX_AGE),
            "Vary": "Access-Control-Request-Headers",
        }
        if wanted := request.headers.get("Access-Control-Request-Headers"):
            headers["Access-Control-Allow-Headers"] = wanted
        return web.Response(status=204, headers=headers)

    async def share(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let a page of an allowed origin read the answer. Nothing is said where none is allowed."""
        if not self._allowed:
            return
        response.headers.add("Vary", "Origin")
        if self._is_allowed(request):
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response.headers["Access-Control-Expose-Headers"] = "*"

    def _is_allowed(self, request: web.Request) -> bool:
        return request.headers.get("Origin") in self._allowed


def parse_origin(text: str) -> str:
    """Return an origin as browsers write it: in lower case, without a default port and a slash at its end.

    :raises ValueError: it is not one. Neither are ``*`` and ``null``, which would be anybody's.
    """
    error = ValueError(f"{text} is not an origin, such as http://localhost:3000")
    try:
        parts = urlsplit(text.lower())
        name, port = parts.hostname or "", parts.port
    except ValueError:
        raise error from None
    host = f"[{name}]" if ":" in name else name
    with_port = host if port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{port}"
    found = f"{parts.scheme}://{with_port}"
    known = parts.scheme in _DEFAULT_PORTS and name and name.isascii() and not set(name) & set("* ,;\\%")
    if not known or text.lower().removesuffix("/") not in (found, f"{parts.scheme}://{host}:{port}"):
        raise error
    return found


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches what listens on an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_public(host: str) -> bool:
    """Tell whether the name in a ``Host`` is one that somebody on the internet may have."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        ipaddress.ip_address(name)
    except ValueError:
        return "." in name and not name.endswith(_PRIVATE_NAMES)
    return False
