"""Run the probes, and write what they print as the tables of a page."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gcp_dicom_emulator.probes import healthcare, storage
from gcp_dicom_emulator.probes.endpoint import Endpoint, Refused

#: The probes by the APIs that they ask.
PROBES: dict[str, list[Callable[[Endpoint], str]]] = {"Healthcare API": healthcare.PROBES, "Cloud Storage": storage.PROBES}


@dataclass(frozen=True)
class Finding:
    """What a probe found.

    :param api: which API it asked.
    :param question: what the documentation leaves open.
    :param answer: what the endpoint does.
    """

    api: str
    question: str
    answer: str


def findings(at: Endpoint) -> Iterator[Finding]:
    """Run the probes, one after the other."""
    for api, probes in PROBES.items():
        for probe in probes:
            try:
                answer = probe(at)
            except Refused as refused:
                answer = str(refused)
            except Exception as error:  # the others are still worth asking
                answer = f"The probe failed: {type(error).__name__}: {error}"
            yield Finding(api, inspect.getdoc(probe) or "", answer)


def tables(found: list[Finding]) -> str:
    """Return the findings as tables of Markdown, one for each API."""
    lines = []
    for api in PROBES:
        lines += [f"### {api}", "", "| What the documentation leaves open | What the emulator does |", "|---|---|"]
        lines += [f"| {one.question} | {one.answer} |" for one in found if one.api == api]
        lines += [""]
    return "\n".join(lines)
