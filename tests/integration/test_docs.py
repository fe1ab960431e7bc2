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

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from airflow import __version__ as airflow_version
from gcp_dicom_emulator.cli import DEFAULT_PORT

from demo.data import Cloud
from demo.stack import Stack

from .runs import run_to_success

pytestmark = pytest.mark.only_on_newest_airflow

CLONE = Path(__file__).parents[2]
PAGES = [CLONE / "README.md", *sorted((CLONE / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^(?:<!-- test: (?P<what>.*?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = ("bash", "python", "sql")
#: What a program that goes on running says when it is ready.
READY = re.compile(r"Ctrl-C stops everything|The emulator is ready")


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
DAGS = [block for block in BLOCKS if block.what == "dag"]
IN_DEMO = [block for block in BLOCKS if block.what == "demo"]
ELSEWHERE = ("dag", "demo", "cloud")
WITH_BLOCKS = sorted({block.page for block in BLOCKS if block.what not in ELSEWHERE and not block.what.startswith("skip")})


def test_every_comment_is_understood_and_stands_above_a_block() -> None:
    for page in PAGES:
        comments = re.findall(r"<!-- test: (.*?) -->", page.read_text())
        assert comments == [block.what for block in blocks_of(page) if block.what], page
    for block in BLOCKS:
        assert re.fullmatch(r"|dag|demo|cloud|file \S+|background( in the clone)?|skip: .+", block.what), block
        assert block.language != "sql" or block.what == "demo", block


def clean_environment(home: Path) -> dict[str, str]:
    """Return the environment of somebody who has just installed the package."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "_AIRFLOW", "GOOGLE_", "PYTEST_")) and not name.endswith("_EMULATOR_HOST")
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**inherited, "PATH": path, "AIRFLOW_HOME": str(home), "AIRFLOW": ".".join(airflow_version.split(".")[:2])}


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


@contextlib.contextmanager
def running(block: Block, directory: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Start a block and wait until it says that it is ready; stop it at the end."""
    log = directory / "background.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", block.text],
            cwd=CLONE if block.what.endswith("in the clone") else directory,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 500
        while not READY.search(log.read_text()):
            assert process.poll() is None, f"{block} has ended\n{log.read_text()}"
            assert time.monotonic() < deadline, f"{block} does not say that it is ready\n{log.read_text()}"
            time.sleep(0.3)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def skip_if_taken(blocks: list[Block]) -> None:
    default = re.compile(r"gcp-dicom-emulator \w+(?!.* --port)")
    uses_default = any(default.search(block.text) for block in blocks if block.language == "bash")
    with socket.socket() as probe:
        if uses_default and probe.connect_ex(("127.0.0.1", DEFAULT_PORT)) == 0:
            pytest.skip(f"something else listens on port {DEFAULT_PORT}")


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=[str(page.relative_to(CLONE)) for page in WITH_BLOCKS])
def test_page(page: Path, tmp_path: Path, default_port: None) -> None:
    blocks = [block for block in BLOCKS if block.page == page]
    skip_if_taken(blocks)
    environment = clean_environment(tmp_path / "airflow")
    directory = tmp_path / "work"
    directory.mkdir()
    with contextlib.ExitStack() as background:
        for block in blocks:
            if block.what.startswith("background"):
                background.enter_context(running(block, directory, environment))
            elif block.what.startswith("file "):
                file = directory / block.what.removeprefix("file ")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text)
            elif not block.what:
                environment = run(block, directory, environment)


@pytest.fixture(scope="module")
def demo_data(stack: Stack) -> None:
    """What a reader has who has pressed a few buttons in ``make ui``: instances in the store, and their metadata."""
    for dag_id in ("dicom_import", "dicom_metadata_to_bigquery"):
        run_to_success(stack, dag_id)


@pytest.mark.parametrize("block", IN_DEMO, ids=str)
def test_in_demo(block: Block, stack: Stack, cloud: Cloud, demo_data: None, tmp_path: Path) -> None:
    if block.language == "sql":
        assert list(cloud.bigquery().query_and_wait(block.text))
    else:
        run(block, tmp_path, stack.environment)


@pytest.mark.parametrize("block", DAGS, ids=str)
def test_dag(block: Block, stack: Stack, demo_data: None) -> None:
    [dag_id] = re.findall(r'DAG\(\s*"(\w+)"', block.text)
    (stack.dags / f"{dag_id}.py").write_text(block.text)
    run_to_success(stack, dag_id)
