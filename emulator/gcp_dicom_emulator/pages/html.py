"""What the pages for people are made of: documents without scripts or anything external, in which all text is escaped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import urlencode

from aiohttp import web

from gcp_dicom_emulator.rest.errors import ApiError

_LARGEST = (1 << 63) - 1
_STYLE = """
:root { color-scheme: light dark; --line: #8883; --soft: #8882; --dim: #5f6670; --good: #1a7f37; --bad: #cf222e; --link: #0969da; }
@media (prefers-color-scheme: dark) { :root { --dim: #9198a1; --good: #3fb950; --bad: #f85149; --link: #4493f8; } }
* { box-sizing: border-box; }
body { font: 14px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1280px; padding: 24px; background: Canvas; color: CanvasText; }
h1 { font-size: 20px; margin: 0; }
nav { display: flex; flex-wrap: wrap; gap: 8px; margin: 16px 0; }
nav a { border: 1px solid var(--line); border-radius: 8px; padding: 6px 12px; color: CanvasText; text-decoration: none; }
nav a:hover { background: var(--soft); } nav b { margin-left: 8px; font-variant-numeric: tabular-nums; }
section { scroll-margin-top: 16px; }
h2 { font-size: 16px; margin: 32px 0 8px; padding-bottom: 4px; border-bottom: 1px solid var(--line); }
h3 { font: 600 13px/1.5 ui-monospace, monospace; margin: 16px 0 8px; overflow-wrap: anywhere; }
.dim, th, figcaption { color: var(--dim); } .good { color: var(--good); } .bad { color: var(--bad); }
.whole { white-space: nowrap; }
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
figure a { color: inherit; text-decoration: none; display: block; } figure:hover { background: var(--soft); }
figcaption { padding: 6px 8px; font-size: 12px; line-height: 1.4; }
figcaption b { display: block; color: CanvasText; font-weight: 600; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
figcaption span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
summary { cursor: pointer; }
.path { font: 12px/1.6 ui-monospace, monospace; overflow-wrap: anywhere; margin: 8px 0; }
.wide { overflow-x: auto; } .name { overflow-wrap: anywhere; }
.wide td { white-space: nowrap; overflow-wrap: normal; max-width: 48ch; overflow: hidden; text-overflow: ellipsis; }
.small { display: block; width: 48px; height: 48px; object-fit: contain; background: #000; border-radius: 4px; }
details pre { background: var(--soft); padding: 12px; border-radius: 8px; overflow-x: auto; }
@media (max-width: 760px) { body { padding: 16px; } .further { display: none; } th, td { padding-right: 10px; } }
"""


@dataclass(frozen=True)
class Html:
    """What is HTML already; all other text is escaped."""

    text: str


def document(title: str, body: str) -> web.Response:
    """Return a page.

    :param title: its title, as text.
    :param body: what it shows, as HTML.
    """
    text = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )
    # A name may have what UTF-8 has not: half of a surrogate pair.
    body_bytes = text.encode(errors="replace")
    # Whatever a name or an instance holds, nothing of it runs.
    policy = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'"
    return web.Response(
        body=body_bytes, content_type="text/html", charset="utf-8", headers={"Content-Security-Policy": policy, "Vary": "Accept"}
    )


def page_behind(title: str, about: str, content: str) -> web.Response:
    """Return a page behind the one at ``/``, to which it leads back.

    :param title: its title, as text.
    :param about: what is below the title, as HTML.
    """
    head = f'<a href="/">gcp-dicom-emulator</a><h1 class="name">{escape(title)}</h1><div class="path">{about}</div>'
    return document(f"{title} - gcp-dicom-emulator", f"<header>{head}</header><main>{content}</main>")


def start_of(request: web.Request) -> int:
    """Return where a page starts.

    :raises ApiError: 400 for what is not a number.
    """
    text = request.query.get("start", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _LARGEST):
        raise ApiError(400, f"Invalid value for start: {text}")
    return int(text)


def pages_beside(start: int, count: int, total: int, most: int, path: str, **query: str) -> str:
    """Return what a page shows of how much, and where the pages beside it are.

    :param count: how many it shows.
    :param most: how many a page shows at most.
    """
    which = f"{number(start + 1)} to {number(start + count)} of {number(total)}" if count else f"none of {number(total)}"
    links = [which]
    if start:
        links.append(link("previous", path, **query, start=max(0, start - most)).text)
    if start + count < total and count:
        links.append(link("next", path, **query, start=start + count).text)
    return f'<p class="dim">{" · ".join(links)}</p>'


def in_thread(page: Callable[[web.Request], web.Response]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return the code of an endpoint, from what makes a page and may block."""

    async def answer(request: web.Request) -> web.Response:
        return await asyncio.to_thread(page, request)

    return answer


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[Html | str]],
    numbers: Container[int] = (),
    further: Container[int] = (),
    kind: str = "",
) -> str:
    """Return a table as HTML.

    :param numbers: which columns are numbers.
    :param further: which columns a narrow window can do without.
    :param kind: its CSS class.
    """

    def line(tag: str, cells: Sequence[Html | str]) -> str:
        kinds = ["number" * (at in numbers) or "further" * (at in further) for at in range(len(cells))]
        return "".join(
            f"<{tag}{f' class={name}' * bool(name)}>{cell.text if isinstance(cell, Html) else escape(cell)}</{tag.partition(' ')[0]}>"
            for name, cell in zip(kinds, cells, strict=True)
        )

    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    columns = line("th scope=col", head)
    return f'<table class="{kind}"><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table>'


def address(path: str, **query: str | int) -> str:
    """Return a path with a query, as it is in an attribute.

    :param query: its parameters; one that is empty or 0 is left out.
    """
    return escape(f"{path}?{urlencode({name: value for name, value in query.items() if value})}")


def link(text: str, path: str, **query: str | int) -> Html:
    """Return a link; see :func:`address`."""
    return Html(f'<a href="{address(path, **query)}">{escape(text)}</a>')


def shown(count: int, of: int, which: str = "first") -> str:
    """Return how many of all are shown, where that is not all."""
    return f", the {which} {of} of them" if count > of else ""


def counted(value: int, of: str) -> str:
    """Return a number with its noun."""
    plural = of if of.endswith("s") else f"{of[:-1]}ies" if of.endswith("y") else f"{of}s"
    return f"{number(value)} {of if value == 1 else plural}"


def number(value: int) -> str:
    """Return a number that is easily read."""
    return f"{value:,}".replace(",", "\u202f")


def size(value: float) -> str:
    """Return a number of bytes that is easily read."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def moment(time: str) -> Html:
    """Return a time as the APIs write it, to the second."""
    return Html(f'<span class="whole">{escape(time[:19].replace("T", " "))}</span>')
