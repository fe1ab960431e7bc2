"""The page at ``/``: what the emulator holds and what it was asked, for people."""

from __future__ import annotations

import asyncio
import shlex
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from gcp_dicom_emulator.bigquery.names import ANONYMOUS_DATASET, TableName
from gcp_dicom_emulator.pages.browser import BUCKET, LOGS, TABLE, counters, state
from gcp_dicom_emulator.pages.html import Html, document, link, moment, number, shown, size, table
from gcp_dicom_emulator.pages.stores import Stores
from gcp_dicom_emulator.rest.endpoints import Endpoint
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from gcp_dicom_emulator.bigquery.service import BigQueryService
    from gcp_dicom_emulator.healthcare.service import HealthcareService
    from gcp_dicom_emulator.kept.state import State
    from gcp_dicom_emulator.pubsub.service import PubSubService
    from gcp_dicom_emulator.rest.faults import Faults
    from gcp_dicom_emulator.rest.server import LoggedRequest

#: How much of each is shown.
_STORES, _BUCKETS, _TABLES, _SUBSCRIPTIONS, _OPERATIONS, _REQUESTS = 20, 100, 100, 100, 25, 50

_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#0969da"/>'
    '<circle cx="8" cy="8" r="4" fill="none" stroke="#fff" stroke-width="2"/></svg>'
)


@dataclass(frozen=True)
class _Section:
    """A part of the page, to which the head of the page leads.

    :param count: how many there are.
    :param note: how many of them are shown, where that is not all.
    :param empty: what is said where there are none.
    """

    title: str
    count: int
    content: str
    note: str = ""
    empty: str = ""

    @property
    def key(self) -> str:
        """Return its id in the page."""
        return self.title.lower().replace(" ", "-")

    def html(self) -> str:
        """Return it as HTML."""
        head = f'<h2>{self.title}<span class="dim">{number(self.count)}{self.note}</span></h2>'
        content = self.content if self.count else f'<p class="dim">{self.empty}</p>'
        return f'<section id="{self.key}">{head}{content}</section>'


class Shown(Protocol):
    """What the page needs of an :class:`Emulator`."""

    faults: Faults
    healthcare: HealthcareService
    bigquery: BigQueryService
    pubsub: PubSubService

    @property
    def url(self) -> str: ...

    @property
    def requests(self) -> deque[LoggedRequest]: ...

    def environment(self) -> dict[str, str]: ...


class Overview:
    """The page.

    :param emulator: what it shows.
    :param state: where that is kept.
    :param stores: the part of it that shows DICOM stores.
    """

    def __init__(self, emulator: Shown, state: State, stores: Stores) -> None:
        self._emulator = emulator
        self._state = state
        self._stores = stores

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints of the page and of its icon."""
        return [
            Endpoint("GET", "/", self._page),
            Endpoint("GET", "/favicon.ico", self._icon, waits=False),
        ]

    async def _page(self, _: web.Request) -> web.Response:
        return document("gcp-dicom-emulator", await asyncio.to_thread(self._body))

    async def _icon(self, _: web.Request) -> web.Response:
        return web.Response(text=_ICON, content_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})

    def _body(self) -> str:
        emulator = self._emulator
        variables = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in emulator.environment().items())
        sections = [
            self._dicom_stores(),
            self._operations(),
            self._buckets(),
            self._tables(),
            self._subscriptions(),
            self._faults(),
            self._requests(),
        ]
        sections = [section for section in sections if section.count or section.empty]
        links = "".join(f'<a href="#{each.key}">{each.title}<b>{number(each.count)}</b></a>' for each in sections)
        now = datetime.now(UTC).strftime("%H:%M:%S")
        return (
            "<header>"
            f'<h1>gcp-dicom-emulator <span class="dim">{escape(version("gcp-dicom-emulator"))}</span></h1>'
            f'<div class="dim">{escape(emulator.url)} · {escape(str(self._state.directory))} · as of {now} UTC</div>'
            f'<nav aria-label="What it holds">{links}</nav>'
            f"<details><summary>Point clients at it</summary><pre><code>{escape(variables)}</code></pre></details></header>"
            f"<main>{''.join(section.html() for section in sections)}</main>"
        )

    def _dicom_stores(self) -> _Section:
        names = self._stores.names()
        content = "".join(map(self._stores.summary, names[:_STORES]))
        empty = "None yet. <code>gcp-dicom-emulator seed FOLDER</code> makes one of a folder of DICOM files."
        return _Section("DICOM stores", len(names), content, shown(len(names), _STORES), empty)

    def _operations(self) -> _Section:
        count = self._state.query("SELECT COUNT(*) AS n FROM operations")[0]["n"]
        rows = self._state.query("SELECT name, kind FROM operations ORDER BY sequence DESC LIMIT ?", (_OPERATIONS,))
        cells = [self._operation(row["name"], row["kind"]) for row in rows]
        content = table(("kind", "state", "counters", "started (UTC)", "operation"), cells, further=(3,))
        return _Section("Operations", count, content, shown(count, _OPERATIONS, "latest"), "None yet.")

    def _operation(self, name: str, kind: str) -> list[Html | str]:
        kind = kind.replace("_", " ")
        try:
            operation = self._emulator.healthcare.operations.get(name)
        except ApiError:
            return [kind, "gone", "", "", name.rpartition("/")[2]]
        done = escape(counters(operation))
        if error := operation.get("error"):
            done += f'<div class="dim">{escape(error["message"][:300])}</div>'
        log = f'<span class="whole">{link(name.rpartition("/")[2], LOGS, operation=name).text}</span>'
        return [kind, state(operation), Html(done), moment(operation["metadata"]["createTime"]), Html(log)]

    def _buckets(self) -> _Section:
        rows = self._state.query(
            "SELECT b.name, b.project, COUNT(o.name) AS n, COALESCE(SUM(o.size), 0) AS size FROM buckets b"
            " LEFT JOIN objects o ON o.bucket = b.name GROUP BY b.name ORDER BY b.name"
        )
        cells = [
            [link(f"gs://{row['name']}", BUCKET, bucket=row["name"]), row["project"], number(row["n"]), size(row["size"])]
            for row in rows[:_BUCKETS]
        ]
        content = table(("bucket", "project", "objects", "size"), cells, numbers=(2, 3))
        empty = "None yet. <code>gcp-dicom-emulator seed --buckets FOLDER</code> makes one of each folder in a folder."
        return _Section("Buckets", len(rows), content, shown(len(rows), _BUCKETS), empty)

    def _tables(self) -> _Section:
        rows = self._state.query(
            "SELECT project, dataset, name FROM bigquery_tables WHERE dataset <> ? ORDER BY 1, 2, 3", (ANONYMOUS_DATASET,)
        )
        cells: list[list[Html | str]] = []
        for row in rows[:_TABLES]:
            name = TableName(row["project"], row["dataset"], row["name"])
            catalog = self._emulator.bigquery.catalog
            if found := catalog.find(name):
                resource = catalog.describe(found)
                count = number(int(resource["numRows"])) if "numRows" in resource else "view"
                where = {"project": name.project, "dataset": name.dataset, "table": name.table}
                full_name = link(".".join(where.values()), TABLE, **where)
                cells.append([full_name, number(len(found.fields)), count])
        content = table(("table", "columns", "rows"), cells, numbers=(1, 2))
        return _Section("BigQuery tables", len(rows), content, shown(len(rows), _TABLES), "None yet.")

    def _subscriptions(self) -> _Section:
        rows = self._state.query("SELECT name, topic FROM pubsub_subscriptions ORDER BY name")
        cells: list[list[Html | str]] = []
        for row in rows[:_SUBSCRIPTIONS]:
            waiting, lent = self._emulator.pubsub.deliveries.counts(row["name"])
            cells.append([row["name"], row["topic"], number(waiting), number(lent)])
        content = table(("subscription", "topic", "waiting", "lent"), cells, numbers=(2, 3))
        return _Section("Subscriptions", len(rows), content, shown(len(rows), _SUBSCRIPTIONS))

    def _faults(self) -> _Section:
        faults = self._emulator.faults.all()
        cells = [
            [
                fault.kind,
                fault.method,
                fault.resource,
                f"{fault.fired} of {'any number' if fault.times is None else fault.times}",
            ]
            for fault in faults
        ]
        return _Section("Faults", len(faults), table(("kind", "method", "resource", "happened"), cells))

    def _requests(self) -> _Section:
        requests = list(self._emulator.requests)
        cells: list[list[Html | str]] = []
        for request in reversed(requests[-_REQUESTS:]):
            kind = "bad" if request.status >= 400 else "good"
            cells.append(
                [
                    datetime.fromtimestamp(request.at, UTC).strftime("%H:%M:%S"),
                    Html(f'<span class="{kind}">{request.status}</span>'),
                    f"{request.milliseconds:.0f} ms",
                    f"{request.verb} {request.path}"[:300],
                    request.method_id,
                ]
            )
        head = ("UTC", "status", "took", "request", "method")
        content = table(head, cells, numbers=(2,), further=(4,), kind="mono")
        return _Section("Requests", len(requests), content, shown(len(requests), _REQUESTS, "latest"), "None yet.")
