"""A DICOM store's studies, with a thumbnail of each: a page of its own, and a part of the page at ``/``."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web

from gcp_dicom_emulator.pages import thumbnails
from gcp_dicom_emulator.pages.browser import STORE, STUDY, THUMBNAIL
from gcp_dicom_emulator.pages.html import address, counted, in_thread, link, page_behind, pages_beside, size, start_of
from gcp_dicom_emulator.rest.endpoints import Endpoint
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from gcp_dicom_emulator.healthcare.service import HealthcareService
    from gcp_dicom_emulator.kept.state import State

#: How many studies a page shows of a store.
_STUDIES = 48
#: How many thumbnails are made at once.
_THUMBNAILS = 2


class WithStores(Protocol):
    """What the pages need of an :class:`Emulator`."""

    healthcare: HealthcareService


class Stores:
    """The stores as HTML.

    :param emulator: whose stores they are.
    :param state: where they are kept.
    """

    def __init__(self, emulator: WithStores, state: State) -> None:
        self._emulator = emulator
        self._state = state
        self._making = asyncio.Semaphore(_THUMBNAILS)

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints of a store's page and of the thumbnails."""
        return [Endpoint("GET", STORE, in_thread(self._page)), Endpoint("GET", THUMBNAIL, self._thumbnail)]

    def names(self) -> list[str]:
        """Return the names of all stores."""
        sql = "SELECT name FROM healthcare_resources WHERE name LIKE '%/dicomStores/%' ORDER BY name"
        return [row["name"] for row in self._state.query(sql)]

    def summary(self, name: str) -> str:
        """Return how much a store holds, and its first studies."""
        studies, *_ = self._emulator.healthcare.instances.counts(name)
        more = f" · the first {_STUDIES} studies" if studies > _STUDIES else ""
        head = f'<h3>{link(name, STORE, store=name).text}<span class="dim">{self._counts(name)}{more}</span></h3>'
        return head + self._figures(name, 0) if studies else head

    def _page(self, request: web.Request) -> web.Response:
        name, start = request.query.get("store", ""), start_of(request)
        if name not in self.names():
            raise ApiError(404, f"There is no such store: {name}")
        studies, *_ = self._emulator.healthcare.instances.counts(name)
        shown = max(0, min(_STUDIES, studies - start))
        pages = pages_beside(start, shown, studies, _STUDIES, STORE, store=name)
        return page_behind(name, self._counts(name), pages + self._figures(name, start))

    def _counts(self, name: str) -> str:
        studies, series, instances, stored = self._emulator.healthcare.instances.counts(name)
        if not instances:
            return "empty"
        return f"{counted(studies, 'study')} · {counted(series, 'series')} · {counted(instances, 'instance')} · {size(stored)}"

    def _figures(self, name: str, start: int) -> str:
        return f'<div class="studies">{"".join(self._figure(name, row) for row in self._studies(name, start))}</div>'

    def _studies(self, store: str, start: int) -> Sequence[Any]:
        # Beside MIN(), SQLite takes the other columns from the same row.
        sql = (
            "SELECT study, COUNT(DISTINCT series) AS series, COUNT(*) AS instances, MIN(series || '/' || instance), blob"
            " FROM dicom_instances WHERE store = ? GROUP BY study ORDER BY study LIMIT ? OFFSET ?"
        )
        return self._state.query(sql, (store, _STUDIES, start))

    def _figure(self, store: str, row: Any) -> str:
        about = _about(self._state.blob(row["blob"]))
        name = about["PatientName"].rstrip("^ ") or "no name"
        date = re.sub(r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3", about["StudyDate"])
        instances = counted(row["instances"], "instance")
        first, *rest = (
            escape(line)
            for line in (
                name,
                f"{about['Modality']} {date}".strip() or "-",
                about["StudyDescription"] or row["study"],
                f"{row['series']} series, {instances}" if row["series"] > 1 else instances,
            )
        )
        return (
            f'<figure title="{escape(row["study"])}"><a href="{address(STUDY, store=store, study=row["study"])}">'
            f'<img src="{address(THUMBNAIL, blob=row["blob"])}" alt="" loading="lazy">'
            f"<figcaption><b>{first}</b>{''.join(f'<span>{line}</span>' for line in rest)}</figcaption></a></figure>"
        )

    async def _thumbnail(self, request: web.Request) -> web.Response:
        rows = await asyncio.to_thread(
            self._state.query, "SELECT blob FROM dicom_instances WHERE blob = ? LIMIT 1", (request.query.get("blob", ""),)
        )
        if not rows:
            return web.Response(status=404, text="There is no such instance.")
        async with self._making:
            kind, content = await asyncio.to_thread(thumbnails.thumbnail, self._state.blob(rows[0]["blob"]))
        return web.Response(body=content, content_type=kind, headers={"Cache-Control": "max-age=86400, immutable"})


@functools.lru_cache(maxsize=4096)
def _about(path: Path) -> dict[str, str]:
    """Return what an instance, which never changes, says about its study."""
    return thumbnails.values(path, ("PatientName", "Modality", "StudyDate", "StudyDescription"))
