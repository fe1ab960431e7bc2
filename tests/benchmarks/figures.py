"""What the benchmarks share: a figure as a median with its spread, and on what it was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

#: One line of the table: what was measured, of whom, in what unit, the median, the smallest, the largest, and how many runs.
Row = dict[str, Any]


def row(what: str, whose: str, unit: str, values: Sequence[float]) -> Row:
    """Return the line for the values of several runs.

    :param what: what was measured, e.g. ``import time``.
    :param whose: whose figure it is, e.g. ``airflow-dicom``.
    :param unit: e.g. ``s``.
    """
    return {
        "what": what,
        "whose": whose,
        "unit": unit,
        "median": _short(statistics.median(values)),
        "min": _short(min(values)),
        "max": _short(max(values)),
        "runs": len(values),
    }


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def show(rows: Sequence[Row]) -> None:
    """Print lines of the table."""
    for one in rows:
        spread = f"{one['min']:g} to {one['max']:g}" if one["runs"] > 1 else ""
        print(f"  {one['what']:58} {one['whose']:20} {one['median']:>10g} {one['unit']:14} {spread:22} {one['runs']}", flush=True)


def machine() -> dict[str, Any]:
    """Return what the figures are measured on, and how many percent of its processors are busy before."""
    packages = (
        "apache-airflow",
        "apache-airflow-providers-google",
        "google-api-python-client",
        "google-cloud-bigquery",
        "google-cloud-storage",
        "aiohttp",
    )
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "busy_before": psutil.cpu_percent(interval=3),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _short(value: float) -> float:
    """Return a value with four digits that mean something."""
    return float(f"{value:.4g}")
