"""``make bench``: run all benchmarks, write one table of what they found, and draw it.

The table goes to ``docs/benchmarks-results.json``, from which ``docs/benchmarks-results.md`` and the plots in ``docs/images`` are
made. ``--quick`` takes small sizes and few runs, to see that all works; its figures mean nothing, so it writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks import (
    chain,
    delivery,
    emulator,
    events,
    figures,
    filter_file,
    overhead,
    parsing,
    plots,
    scale,
    waiting,
    worker,
)
from tests.benchmarks.figures import Row

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = DOCS / "benchmarks-results.json"

PARTS: dict[str, tuple[Callable[[], list[Row]], Callable[[], list[Row]]]] = {
    "parsing": (lambda: parsing.run(7), lambda: parsing.run(2)),
    "worker": (lambda: worker.run(5), lambda: worker.run(1)),
    "overhead": (lambda: overhead.run(20, 3), lambda: overhead.run(4, 1)),
    "chain": (lambda: chain.run(5), lambda: chain.run(1)),
    "filter": (lambda: filter_file.run({1_000_000: 5, 5_000_000: 1, 10_000_000: 1}), lambda: filter_file.run({10_000: 1})),
    "verify": (lambda: delivery.run({1_000_000: 3, 10_000_000: 1}), lambda: delivery.run({10_000: 1})),
    "emulator": (
        lambda: emulator.run(instance_count=10_000, large=100_000, object_count=10_000, row_count=1_000_000, runs=5),
        lambda: emulator.run(instance_count=1000, large=2000, object_count=1000, row_count=10_000, runs=1),
    ),
    "events": (events.whole, events.quick),
    "waiting": (lambda: waiting.run([100, 1000, 5000], [100, 1000]), lambda: waiting.run([50], [50], windows=2)),
    # That of make scale, which says how much of a day by SCALE.
    "scale": (lambda: scale.run(int(os.environ.get("SCALE") or 1)), lambda: scale.run(200)),
}

#: What needs Postgres, Redis and hours, and so is not among all.
ALONE = ("scale",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, few runs; writes nothing")
    parser.add_argument(
        "--draw", action="store_true", help="make the page and the plots from the last results, and measure nothing"
    )
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; by default all but {', '.join(ALONE)}")
    options = parser.parse_args()
    if options.draw:
        plots.draw(json.loads(RESULTS.read_text()), DOCS)
        return
    # What is not measured now stays as it was.
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in options.parts or [part for part in PARTS if part not in ALONE]:
        print(f"\n{part}", flush=True)
        begun, machine = time.time(), figures.machine()
        rows = PARTS[part][options.quick]()
        if part == "parsing":
            figures.show(rows)
        results[part] = {"machine": machine, "minutes": round((time.time() - begun) / 60, 1), "rows": rows}
        if not options.quick:
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    if not options.quick:
        plots.draw(results, DOCS)


if __name__ == "__main__":
    main()
