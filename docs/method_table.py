"""Write ``reference/emulator-methods.md``: which REST methods the emulator does, and which tests call them.

Sources: the discovery documents, the emulator's handlers, and ``emulator/tests/methods.tsv``, which a run of the tests writes
(``pytest --record-methods`` in ``emulator``). Run it after any of them changed: ``python docs/method_table.py``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.rest.discovery import Api

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "emulator-methods.md"
RECORD = ROOT / "emulator" / "tests" / "methods.tsv"

#: What the emulator leaves out as a whole.
_LEFT_OUT = re.compile(r"fhirStores|hl7V2Stores|consentStores|annotationStores|dataMapper|services\.nlp", re.IGNORECASE)
_DICOM, _DATASETS = "healthcare.projects.locations.datasets.dicomStores", "healthcare.projects.locations"
_NEITHER = "—"


def page() -> str:
    """Return the page."""
    tests = recorded()
    with Emulator() as emulator:
        there = _done(emulator)
    v1, v1beta1 = (_methods(f"healthcare.{version}") for version in ("v1", "v1beta1"))
    dicom = sorted(method for method in v1 | v1beta1 if not _LEFT_OUT.search(method))
    left_out = {
        version: sum(1 for method in methods if _LEFT_OUT.search(method))
        for version, methods in (("v1", v1), ("v1beta1", v1beta1))
    }
    lines = [
        "# The emulator's methods",
        "",
        "Generated from the discovery documents that google-api-python-client ships, the emulator's code, and a run of its tests. A",
        "method works, or answers 501 and says so; what is left out of those that work is at the end of",
        "[the guesses](../emulator-guesses.md). The last column names the files in `emulator/tests` whose tests call a method",
        "with success.",
        "",
        "## Cloud Healthcare API",
        "",
        f"Method ids begin with `{_DATASETS}`.",
        "",
        "| method | v1 | v1beta1 | tested by |",
        "|---|---|---|---|",
    ]
    for method in dicom:
        works = [("works" if method in there else "501") if method in known else _NEITHER for known in (v1, v1beta1)]
        lines.append(f"| `{method.removeprefix(_DATASETS)}` | {works[0]} | {works[1]} | {_files(tests[method])} |")
    lines += [
        "",
        f"The {left_out['v1']} methods of v1 and {left_out['v1beta1']} of v1beta1 for FHIR, HL7v2, consent, annotations and natural",
        "language answer 501.",
    ]
    for title, api in (("Cloud Storage JSON API", "storage.v1"), ("BigQuery API", "bigquery.v2"), ("Pub/Sub API", "pubsub.v1")):
        known = sorted(_methods(api))
        lines += ["", f"## {title}", ""]
        lines += ["By gRPC as well, and `StreamingPull` by gRPC only.", ""] if api == "pubsub.v1" else []
        lines += ["| method | | tested by |", "|---|---|---|"]
        for method in known:
            works = "works" if method in there else "501"
            lines.append(f"| `{method.partition('.')[2]}` | {works} | {_files(tests[method])} |")
    return "\n".join(lines) + "\n"


def recorded() -> dict[str, list[str]]:
    """Return the test files by the methods that they call."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in RECORD.read_text().splitlines():
        method, file = line.split("\t")
        found[method].append(file)
    return found


def untested() -> set[str]:
    """Return the methods that the emulator does and no recorded test calls."""
    with Emulator() as emulator:
        return _done(emulator) - recorded().keys()


def _done(emulator: Emulator) -> set[str]:
    done = {method for service in emulator._services for method in service.handlers()}
    return {method for method in done if not method.startswith("storage.xml.")}  # it has no discovery document


def _methods(api: str) -> set[str]:
    return {method.method_id for method in Api(api).methods}


def _files(files: Iterable[str]) -> str:
    return ", ".join(f"`{file}`" for file in files)


if __name__ == "__main__":
    PAGE.write_text(page())
