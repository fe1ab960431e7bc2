"""What it costs to find which lines of a filter have not arrived: sorted on the disk beside a listing, or all in memory.

Fresh processes, in turn. The listing comes from a generator, so neither network nor service is in the figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import AbstractContextManager

from airflow_dicom.delivery import Page, in_order, object_of_line, without_objects
from tests.benchmarks.figures import Row, row, show

ROOT = "1.2.840.113619.2.55.3.604688119.971.1448"
IN_STUDY = 500


def path(number: int) -> str:
    """Return an instance's path; neighbours are far from each other, as in a query's result."""
    number = number * 7_368_787 % (1 << 31)
    return f"/studies/{ROOT}.{number % 9973}/series/{ROOT}.{number % 9973}.1/instances/{ROOT}.{number}"


def on_disk(count: int) -> int:
    """As the operator does it. The listing is sorted so as well, which is in the figures; the service's comes in order."""
    with _beginnings(count) as names, _beginnings(count) as beginnings:

        def page_from(start: str) -> Page:
            page = [name.rstrip("\n") for name in itertools.islice(names, 1000)]
            return Page(page[bisect_left(page, start) :], f"{page[-1]}\0" if len(page) == 1000 else None)

        return sum(1 for _ in without_objects((one.rstrip("\n") for one in beginnings), page_from))


def _beginnings(count: int) -> AbstractContextManager[Iterator[str]]:
    return in_order(f"{object_of_line(path(number))}\n" for number in range(count))


def in_memory(count: int) -> int:
    """As the first release did it: three sets of paths, and the lines."""
    known: set[str] = set()
    for number in range(count):
        name = path(number)
        known |= {name, name.rpartition("/instances/")[0], name.rpartition("/series/")[0]}
    return len([line for line in dict.fromkeys(path(number) for number in range(count)) if line not in known])


WAYS = {"airflow-dicom": on_disk, "all in memory": in_memory}


def measure(way: str, count: int) -> dict[str, float]:
    """Return seconds of processor time and the peak of memory in MB of a fresh process."""
    command = [sys.executable, "-m", "tests.benchmarks.delivery", "--way", way, "--count", str(count)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def run(counts: dict[int, int]) -> list[Row]:
    """Measure and return the lines of the table.

    :param counts: how many runs for how many lines; in memory, only the smallest is tried.
    """
    rows = []
    for count, runs in counts.items():
        for whose in WAYS if count == min(counts) else ("airflow-dicom",):
            found = [measure(whose, count) for _ in range(runs)]
            rows += [
                row(f"verify: {count:,} lines, {name}", whose, unit, [one[name] for one in found])
                for name, unit in (("CPU time", "s"), ("memory", "MB"))
            ]
    show(rows)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=1_000_000)
    options = parser.parse_args()
    if not options.way:
        run({options.count: 1})
        return
    begun = time.process_time()
    assert WAYS[options.way](options.count) == 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"CPU time": time.process_time() - begun, "memory": peak}))


if __name__ == "__main__":
    main()
