"""Each page's blocks, in their order, as somebody runs them who has just installed the package."""

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

import pytest
from airflow import __version__ as airflow_version
from gcp_dicom_emulator.cli import DEFAULT_PORT

from .doc_blocks import BLOCKS, CLONE, PAGES, Block, blocks_of, run

pytestmark = pytest.mark.only_on_newest_airflow

#: What a program that goes on running says when it is ready.
READY = re.compile(r"Ctrl-C stops everything|The emulator is ready")
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
