"""Write what the probes print on the emulator into ``emulator-guesses.md``: ``python docs/probes.py``."""

from __future__ import annotations

from pathlib import Path

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.probes.endpoint import Endpoint
from gcp_dicom_emulator.probes.run import findings, tables

PAGE = Path(__file__).with_name("emulator-guesses.md")
BEGIN, END = "<!-- Written by `python docs/probes.py`. -->\n", "<!-- The end of what is written. -->\n"
INTRODUCTION = """
`gcp-dicom-emulator probe` asks an endpoint these questions by small programs, each in `gcp_dicom_emulator/probes`, and prints what
it answers. By default it asks the emulator; whoever has a project asks the service, at the cost of a few small objects, by
`--endpoint https://googleapis.com --project …`. It asks before it writes, and removes what it made.

"""


def main() -> None:
    """Write the tables between the two comments of the page."""
    with Emulator() as emulator, Endpoint(emulator.url, "demo") as at:
        found = list(findings(at))
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + BEGIN + INTRODUCTION + tables(found) + END + after)


if __name__ == "__main__":
    main()
