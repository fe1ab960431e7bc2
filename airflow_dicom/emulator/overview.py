"""The page at ``/``: what the emulator holds and what it was asked, for people. One document without scripts or anything external."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from aiohttp import web

from airflow_dicom.emulator import thumbnails
from airflow_dicom.emulator.bigquery.names import ANONYMOUS_DATASET, TableName
from airflow_dicom.emulator.endpoints import Endpoint
from airflow_dicom.emulator.errors import ApiError

if TYPE_CHECKING:
    from airflow_dicom.emulator.bigquery.service import BigQueryService
    from airflow_dicom.emulator.faults import Faults
    from airflow_dicom.emulator.healthcare.service import HealthcareService
    from airflow_dicom.emulator.server import LoggedRequest
    from airflow_dicom.emulator.state import State

#: How much of each is shown.
_STORES, _STUDIES, _BUCKETS, _TABLES, _OPERATIONS, _REQUESTS = 20, 48, 100, 100, 25, 50
#: How many thumbnails are made at once.
_THUMBNAILS = 2

_STYLE = """
:root { color-scheme: light dark; --line: #8883; --soft: #8882; --dim: #737780; --good: #1a7f37; --bad: #cf222e; --link: #0969da; }
@media (prefers-color-scheme: dark) { :root { --dim: #9198a1; --good: #3fb950; --bad: #f85149; --link: #4493f8; } }
* { box-sizing: border-box; }
body { font: 14px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1280px; padding: 24px; background: Canvas; color: CanvasText; }
h1 { font-size: 20px; margin: 0; }
h2 { font-size: 16px; margin: 32px 0 8px; padding-bottom: 4px; border-bottom: 1px solid var(--line); }
h3 { font: 600 13px/1.5 ui-monospace, monospace; margin: 16px 0 8px; overflow-wrap: anywhere; }
.dim, th, figcaption { color: var(--dim); } .good { color: var(--good); } .bad { color: var(--bad); }
.good, .bad { white-space: nowrap; }
h2 .dim, h3 .dim { font-weight: 400; margin-left: 8px; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 3px 16px 3px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--soft); }
th { font-weight: 500; font-size: 12px; } td { overflow-wrap: anywhere; } td:first-child { min-width: 12ch; }
a { color: var(--link); }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
code, .mono td { font: 12px/1.6 ui-monospace, monospace; }
.studies { display: grid; grid-template-columns: repeat(auto-fill, minmax(136px, 1fr)); gap: 12px; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
figure img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #000; }
figcaption { padding: 6px 8px; font-size: 12px; line-height: 1.4; }
figcaption b { display: block; color: CanvasText; font-weight: 600; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
figcaption span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
details pre { background: var(--soft); padding: 12px; border-radius: 8px; overflow-x: auto; }
"""


@dataclass(frozen=True)
class _Html:
    """What is HTML already; all other text is escaped."""

    text: str


class Shown(Protocol):
    """What the page needs of an :class:`Emulator`."""

    faults: Faults
    healthcare: HealthcareService
    bigquery: BigQueryService

    @property
    def url(self) -> str: ...

    @property
    def requests(self) -> deque[LoggedRequest]: ...

    def environment(self) -> dict[str, str]: ...


class Overview:
    """The page, and the thumbnails it shows.

    :param emulator: what it shows.
    :param state: where that is kept.
    """

    def __init__(self, emulator: Shown, state: State) -> None:
        self._emulator = emulator
        self._state = state
        self._making = asyncio.Semaphore(_THUMBNAILS)

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints of the page and of its thumbnails."""
        return [Endpoint("GET", "/", self._page), Endpoint("GET", "/_emulator/thumbnail", self._thumbnail)]

    async def _page(self, _: web.Request) -> web.Response:
        text = await asyncio.to_thread(self._text)
        # Whatever a name or an instance holds, nothing of it runs.
        policy = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'"
        return web.Response(text=text, content_type="text/html", headers={"Content-Security-Policy": policy})

    async def _thumbnail(self, request: web.Request) -> web.Response:
        rows = await asyncio.to_thread(
            self._state.query, "SELECT blob FROM dicom_instances WHERE blob = ? LIMIT 1", (request.query.get("blob", ""),)
        )
        if not rows:
            return web.Response(status=404, text="There is no such instance.")
        async with self._making:
            kind, content = await asyncio.to_thread(thumbnails.thumbnail, self._state.blob(rows[0]["blob"]))
        return web.Response(body=content, content_type=kind, headers={"Cache-Control": "max-age=86400, immutable"})

    def _text(self) -> str:
        emulator = self._emulator
        variables = "\n".join(f"export {name}='{value}'" for name, value in emulator.environment().items())
        sections = (*self._stores(), *self._operations(), *self._buckets(), *self._tables(), *self._requests())
        return (
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>airflow-dicom emulator</title><style>{_STYLE}</style></head><body>"
            f'<h1>airflow-dicom emulator <span class="dim">{escape(version("airflow-dicom"))}</span></h1>'
            f'<div class="dim">{escape(emulator.url)} · {escape(str(self._state.directory))}</div>'
            f"<details><summary>Point clients at it</summary><pre><code>{escape(variables)}</code></pre></details>"
            f"{''.join(sections)}</body></html>"
        )

    def _stores(self) -> Iterable[str]:
        sql = "SELECT name FROM healthcare_resources WHERE name LIKE '%/dicomStores/%' ORDER BY name"
        names = [row["name"] for row in self._state.query(sql)]
        yield _heading("DICOM stores", len(names), _STORES)
        for name in names[:_STORES]:
            studies, series, instances, size = self._emulator.healthcare.instances.counts(name)
            counts = f"{studies} studies · {series} series · {instances} instances · {_bytes(size)}"
            more = f" · the first {_STUDIES} studies" if studies > _STUDIES else ""
            yield f'<h3>{escape(name)}<span class="dim">{counts}{more}</span></h3>'
            yield f'<div class="studies">{"".join(self._study(name, row) for row in self._studies(name))}</div>'

    def _studies(self, store: str) -> Sequence[Any]:
        # Beside MIN(), SQLite takes the other columns from the same row.
        sql = (
            "SELECT study, COUNT(DISTINCT series) AS series, COUNT(*) AS instances, MIN(series || '/' || instance), blob"
            " FROM dicom_instances WHERE store = ? GROUP BY study ORDER BY study LIMIT ?"
        )
        return self._state.query(sql, (store, _STUDIES))

    def _study(self, store: str, row: Any) -> str:
        about = _about(self._state.blob(row["blob"]))
        series = f"{row['series']} series, " if row["series"] > 1 else ""
        lines = [about["PatientName"] or "no name", f"{about['Modality']} {about['StudyDate']}".strip() or "-"]
        lines += [
            about["StudyDescription"] or row["study"],
            f"{series}{row['instances']} instance{'s' * (row['instances'] != 1)}",
        ]
        first, *rest = (escape(line) for line in lines)
        return (
            f'<figure title="{escape(row["study"])}">'
            f'<img src="/_emulator/thumbnail?blob={quote(row["blob"])}" alt="" loading="lazy">'
            f"<figcaption><b>{first}</b>{''.join(f'<span>{line}</span>' for line in rest)}</figcaption></figure>"
        )

    def _operations(self) -> Iterable[str]:
        count = self._state.query("SELECT COUNT(*) AS n FROM operations")[0]["n"]
        yield _heading("Operations", count, _OPERATIONS, "latest")
        rows = self._state.query("SELECT name, kind FROM operations ORDER BY sequence DESC LIMIT ?", (_OPERATIONS,))
        yield _table(
            ("", "state", "counters", "started", "operation"), [self._operation(row["name"], row["kind"]) for row in rows]
        )

    def _operation(self, name: str, kind: str) -> list[_Html | str]:
        try:
            operation = self._emulator.healthcare.operations.get(name)
        except ApiError:
            return [kind, "gone", "", "", name]
        metadata = operation["metadata"]
        counter = metadata.get("counter", {})
        if error := operation.get("error"):
            state = _Html(f'<span class="bad" title="{escape(error["message"])}">code {error["code"]}</span>')
        else:
            state = _Html('<span class="good">done</span>' if operation.get("done") else "running")
        counters: str = ", ".join(f"{counter[key]} {key}" for key in ("success", "failure", "pending") if key in counter)
        logs = f'<a href="/_emulator/logs?operation={quote(name)}">{escape(name.rpartition("/")[2])}</a>'
        return [kind, state, counters, metadata["createTime"][:19].replace("T", " "), _Html(logs)]

    def _buckets(self) -> Iterable[str]:
        rows = self._state.query(
            "SELECT b.name, b.project, COUNT(o.name) AS n, COALESCE(SUM(o.size), 0) AS size FROM buckets b"
            " LEFT JOIN objects o ON o.bucket = b.name GROUP BY b.name ORDER BY b.name"
        )
        yield _heading("Buckets", len(rows), _BUCKETS)
        cells = [[f"gs://{row['name']}", row["project"], _number(row["n"]), _bytes(row["size"])] for row in rows[:_BUCKETS]]
        yield _table(("bucket", "project", "objects", "size"), cells, numbers=(2, 3))

    def _tables(self) -> Iterable[str]:
        rows = self._state.query(
            "SELECT project, dataset, name FROM bigquery_tables WHERE dataset <> ? ORDER BY 1, 2, 3", (ANONYMOUS_DATASET,)
        )
        yield _heading("BigQuery tables", len(rows), _TABLES)
        cells = []
        for row in rows[:_TABLES]:
            name = TableName(row["project"], row["dataset"], row["name"])
            catalog = self._emulator.bigquery.catalog
            if table := catalog.find(name):
                resource = catalog.describe(table)
                count = _number(int(resource["numRows"])) if "numRows" in resource else "view"
                cells.append([f"{name.project}.{name.dataset}.{name.table}", _number(len(table.fields)), count])
        yield _table(("table", "columns", "rows"), cells, numbers=(1, 2))

    def _requests(self) -> Iterable[str]:
        requests = list(self._emulator.requests)
        yield _heading("Requests", len(requests), _REQUESTS, "latest")
        cells: list[list[_Html | str]] = []
        for request in reversed(requests[-_REQUESTS:]):
            kind = "bad" if request.status >= 400 else "good"
            cells.append(
                [
                    datetime.fromtimestamp(request.at, UTC).strftime("%H:%M:%S"),
                    _Html(f'<span class="{kind}">{request.status}</span>'),
                    f"{request.milliseconds:.0f} ms",
                    request.method_id,
                    f"{request.verb} {request.path}"[:300],
                ]
            )
        yield _table(("UTC", "", "", "method", "request"), cells, numbers=(2,), kind="mono")


@functools.lru_cache(maxsize=4096)
def _about(path: Path) -> dict[str, str]:
    """Return what an instance, which never changes, says about its study."""
    return thumbnails.values(path, ("PatientName", "Modality", "StudyDate", "StudyDescription"))


def _heading(title: str, count: int, shown: int, which: str = "first") -> str:
    more = f", the {which} {shown} of them" if count > shown else ""
    return f'<h2>{title}<span class="dim">{count}{more}</span></h2>'


def _table(head: Sequence[str], rows: Sequence[Sequence[_Html | str]], numbers: Container[int] = (), kind: str = "") -> str:
    if not rows:
        return '<div class="dim">none</div>'

    def line(tag: str, cells: Sequence[_Html | str]) -> str:
        return "".join(
            f"<{tag}{' class=number' if at in numbers else ''}>{cell.text if isinstance(cell, _Html) else escape(cell)}</{tag}>"
            for at, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return f'<table class="{kind}"><thead><tr>{line("th", head)}</tr></thead><tbody>{body}</tbody></table>'


def _number(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
