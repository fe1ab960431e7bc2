"""The emulator's own endpoints, which belong to no API of Google's: its page, its control, its faults."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True)
class Endpoint:
    """One of them.

    :param verb: the HTTP method; ``GET`` stands for ``HEAD`` as well.
    :param path: the path.
    :param answer: its code. An ``ApiError`` that it raises becomes the answer.
    :param waits: whether it waits while the services are exchanged, as all must that read what is kept.
    """

    verb: str
    path: str
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
    waits: bool = True
