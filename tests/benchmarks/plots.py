"""Draw what the benchmarks found: a page with the table, and plots as SVG, written by hand: bars and their labels need no library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from tests.benchmarks.figures import Row

OURS = "airflow-dicom"

COLOURS = {
    OURS: "#1f77b4",
    **dict.fromkeys(("Google provider", "gcp-storage-emulator", "Orthanc", "plain DuckDB"), "#d95f02"),
    "idle triggers": "#999999",
}
_LABEL, _BAR, _WIDTH, _HEIGHT = 330, 330, 780, 26


def draw(results: dict[str, Any], docs: Path) -> None:
    """Write ``benchmarks-results.md`` and the plots.

    :param results: of each part the machine and the lines.
    """
    (docs / "benchmarks-results.md").write_text(table(results))
    images = docs / "images"
    images.mkdir(exist_ok=True)
    plots = {
        "bench-parsing": ("parsing", "Parsing a DAG file: what the operators add", ["parsing a DAG file: CPU time added"]),
        "bench-memory": ("parsing", "Parsing a DAG file: what the operators add", ["parsing a DAG file: memory added"]),
        "bench-worker": (
            "worker",
            "Seconds that a worker slot is held",
            ["worker slot held: start to deferral", "worker slot held: resumption to end"],
        ),
        "bench-polls": ("waiting", "Polls per second (every 10 s is 10, 100 and 500)", _sizes("polls")),
        "bench-cpu": (
            "waiting",
            "CPU of the triggerer's loop, without Airflow's own",
            _sizes("CPU of the loop's process without Airflow's"),
        ),
        "bench-lag": ("waiting", "Lag of the triggerer's loop, 99th percentile", _sizes("lag of the loop, 99th percentile")),
        "bench-waiting-memory": ("waiting", "Memory of the triggerer's loop", _sizes("memory of the loop's process")),
        "bench-filters": ("filter", "Seconds that a filter takes", _filters("time")),
        "bench-filter-memory": ("filter", "Memory of the worker that makes a filter", _filters("peak of the worker's memory")),
        "bench-chain": ("chain", "Where the time of make demo goes", [f"make demo: {what}" for what in CHAIN]),
        "bench-operations": (
            "emulator",
            "Importing and exporting instances, per second",
            [f"operations: {count} instances {what}" for what in ("imported", "exported") for count in ("10,000", "100,000")],
        ),
        "bench-uploads": (
            "emulator",
            "Uploading 10,000 objects of 1 KiB",
            ["objects: uploads, the first 500", "objects: uploads, the last 500"],
        ),
        "bench-searches": (
            "emulator",
            "Searching 10,000 instances",
            ["instances: search: 100 studies", "instances: search: the 100 instances of a study, ten times"],
        ),
        "bench-queries": (
            "emulator",
            "A million rows",
            [f"queries: 1,000,000 rows {what}" for what in ("made by a query", "grouped", "extracted as CSV")],
        ),
        "bench-late": ("waiting", "How late a poll is, 99th percentile", _sizes("late, 99th percentile")),
    }
    for name, (part, title, whats) in plots.items():
        rows = [row for what in whats for row in results.get(part, {}).get("rows", []) if row["what"] == what]
        if rows:
            (images / f"{name}.svg").write_text(bars(title, rows))


CHAIN = (
    "emulator and Airflow start",
    "bucket filled",
    "the chain: slots held",
    "the chain: deferred",
    "the chain: between tasks",
    "all processes stop",
)


def _filters(what: str) -> list[str]:
    return [f"filter of {lines} lines: {what}" for lines in ("1,000,000", "5,000,000", "10,000,000")]


def _sizes(what: str) -> list[str]:
    return [f"{count} waiting: {what}" for count in ("100", "1,000", "5,000")]


def bars(title: str, rows: Sequence[Row]) -> str:
    """Return an SVG with a bar for each line's median, and a thin line for its spread."""
    most = max(row["max"] for row in rows) or 1
    height = 40 + _HEIGHT * len(rows) + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="10" y="24" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    differ = len({row["what"].partition(": ")[0] for row in rows}) > 1
    for number, row in enumerate(rows):
        top = 40 + number * _HEIGHT
        width, low, high = (max(0, row[key]) / most * _BAR for key in ("median", "min", "max"))
        size, _, what = row["what"].partition(": ")
        label = f"{size if differ else what}, {row['whose']}"
        colour = COLOURS.get(row["whose"], "#444444")
        lines += [
            f'<text x="{_LABEL - 8}" y="{top + 16}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{_LABEL}" y="{top + 3}" width="{max(width, 1):.1f}" height="{_HEIGHT - 8}" fill="{colour}"/>',
            f'<line x1="{_LABEL + low:.1f}" x2="{_LABEL + high:.1f}" y1="{top + 12}" y2="{top + 12}" stroke="black"/>',
            f'<text x="{_LABEL + high + 8:.1f}" y="{top + 16}">{row["median"]:g} {escape(row["unit"])}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def table(results: dict[str, Any]) -> str:
    """Return the page with all lines."""
    lines = ["<!-- written by make bench -->", "", "# All figures", ""]
    for part, found in results.items():
        machine = found["machine"]
        packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
        busy, load = machine.get("busy_before"), machine.get("load_before")
        before = f"Load before: {load}" if busy is None else f"Busy before: {busy:g} % of the processors"
        provisional = busy is not None and busy > 10 and "the machine did other things at the same time."
        if busy is None and load > 0.5:  # an older measure, that knows no more
            provisional = "the load was high when it began, be it that of the part before, or of something else."
        lines += [
            f"## {part.capitalize()}",
            "",
            *([f"**Provisional**: {provisional}", ""] if provisional else []),
            f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gb']} GB, {machine['system']}, "
            f"Python {machine['python']}; {packages}. {before}. Took {found['minutes']} minutes.",
            "",
            "| what | whose | median | unit | theirs / ours | spread | runs |",
            "|---|---|---:|---|---:|---|---:|",
        ]
        ours = {row["what"]: row["median"] for row in found["rows"] if row["whose"] == OURS}
        for row in found["rows"]:
            median, base = row["median"], ours.get(row["what"])
            ratio = f"{median / base:.3g}" if base and row["whose"] != OURS else ""
            spread = f"{row['min']:g} to {row['max']:g}" if row["runs"] > 1 else ""
            lines.append(f"| {row['what']} | {row['whose']} | {median:g} | {row['unit']} | {ratio} | {spread} | {row['runs']} |")
        lines.append("")
    return "\n".join(lines)
