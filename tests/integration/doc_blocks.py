"""What the README and the documentation show is run, block by block.

Blocks of bash and Python are run, each page's in their order, in a directory of the page's own. A comment above a block says what else
is to be done with it:

* ``<!-- test: skip: reason -->``: nothing.
* ``<!-- test: file NAME -->``: it is written to a file.
* ``<!-- test: background -->``: it is started, and runs until the end of the page. ``in the clone``: in this repository.
* ``<!-- test: demo -->``: it is run in the environment of the demo's Airflow; SQL, by the demo's BigQuery.
* ``<!-- test: dag -->``: the demo's Airflow gets it as a DAG file, and runs the DAG to success.
* ``<!-- test: cloud -->``: ``tests/unit/test_docs.py`` runs it, with stand-ins for ``gcloud`` and ``bq``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

CLONE = Path(__file__).parents[2]
PAGES = [CLONE / "README.md", *sorted((CLONE / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^(?:<!-- test: (?P<what>.*?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = ("bash", "python", "sql")


class Block(NamedTuple):
    """A block of code.

    :param what: what its comment says.
    :param language: what is written after the backticks.
    """

    page: Path
    line: int
    what: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(CLONE)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text()
    found = (match for match in BLOCK.finditer(text) if match["language"] in RUN)
    return [
        Block(page, text.count("\n", 0, match.start("language")) + 1, match["what"] or "", match["language"], match["text"])
        for match in found
    ]


BLOCKS = [block for page in PAGES if "_build" not in page.parts for block in blocks_of(page)]


def run(block: Block, directory: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Run a block to its end, and return the environment that it leaves behind."""
    program, after = directory / "block", directory / "environment"
    if block.language == "bash":
        program.write_text(f"set -euo pipefail\n{block.text}\nenv -0 > '{after}'\n")
        command = ["bash", str(program)]
    else:
        program.write_text(block.text)
        command = [sys.executable, str(program)]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, f"{block}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    program.unlink()
    if block.language != "bash":
        return dict(environment)
    return dict(line.split("=", 1) for line in after.read_text().split("\0") if line)
