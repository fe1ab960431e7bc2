"""What the README shows is run, block by block, in its order and in one directory.

A comment above a block says what else is to be done with it:

* ``<!-- test: skip: reason -->``: nothing.
* ``<!-- test: file NAME -->``: it is written to a file.
* ``<!-- test: background -->``: it is started, and runs until the end.
* ``<!-- test: ci -->``: it is run in an environment of its own, as the steps of a job are.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conformance import run as conformance

pytestmark = pytest.mark.slow

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"^(?:<!-- test: (?P<what>.*?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = {"bash": ["bash", "-euo", "pipefail"], "python": [sys.executable], "js": ["node"]}
SUFFIXES = {"bash": "sh", "python": "py", "js": "mjs"}


class Block(NamedTuple):
    """A block of code.

    :param what: what its comment says.
    :param language: what is written after the backticks.
    """

    what: str
    language: str
    text: str


BLOCKS = [Block(match["what"] or "", match["language"], match["text"]) for match in BLOCK.finditer(README.read_text())]


def test_every_block_and_comment_is_understood():
    assert README.read_text().count("<!-- test: ") == sum(bool(block.what) for block in BLOCKS)
    for block in BLOCKS:
        assert block.language in COMMANDS, block
        assert re.fullmatch(r"|background|ci|file \S+|skip: .+", block.what), block


def test_each_file_that_it_names_exists():
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", README.read_text()):
        assert (README.parent / link).exists(), link


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has just installed the package; its port is one that is free on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    programs = tmp_path / "bin"
    programs.mkdir()
    command = programs / "gcp-dicom-emulator"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gcp_dicom_emulator "$@" --port {port}\n')
    command.chmod(0o755)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GOOGLE_", "PYTEST_")) and not name.endswith("_EMULATOR_HOST")
    }
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**inherited, "PATH": path, "GITHUB_ENV": str(tmp_path / "github-env")}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "work"
    directory.mkdir()
    return directory


def run(block: Block, directory: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Run a block to its end, and return the environment that it leaves behind."""
    program, after, output = (directory / name for name in (f"block.{SUFFIXES[block.language]}", "environment", "output"))
    program.write_text(block.text + (f"env -0 > '{after}'\n" if block.language == "bash" else ""))
    with output.open("wb") as file:  # a pipe would stay open as long as what the block has started
        ended = subprocess.run(
            [*COMMANDS[block.language], str(program)],
            cwd=directory,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
    assert ended.returncode == 0, f"{block.text}\n{output.read_text()}"
    if block.language != "bash":
        return dict(environment)
    return dict(line.split("=", 1) for line in after.read_text().split("\0") if line)


@contextlib.contextmanager
def running(block: Block, directory: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Start a block and wait until the emulator says that it is ready; stop it at the end."""
    log = directory / "background.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", block.text], cwd=directory, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 60
        while "The emulator is ready" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(60)


def test_its_blocks_run(directory: Path, environment: dict[str, str]):
    if (missing := conformance._missing()) or not shutil.which("node"):
        pytest.skip(missing)
    conformance._install()
    (directory / "node_modules").symlink_to(conformance.NODE / "node_modules")
    with contextlib.ExitStack() as background:
        for block in BLOCKS:
            if block.what == "background":
                background.enter_context(running(block, directory, environment))
            elif block.what.startswith("file "):
                (directory / block.what.removeprefix("file ")).write_text(block.text)
            elif not block.what:
                environment = run(block, directory, environment)


def test_its_recipe_for_ci_starts_a_service_for_later_steps(directory: Path, environment: dict[str, str]):
    pid = directory / "pid"
    start, for_later_steps = (block for block in BLOCKS if block.what == "ci")
    try:
        run(start._replace(text=f"{start.text}echo $! > '{pid}'\n"), directory, environment)
        run(for_later_steps, directory, environment)
        later = dict(line.split("=", 1) for line in Path(environment["GITHUB_ENV"]).read_text().splitlines())
        program = "from google.cloud import storage; print(list(storage.Client().list_buckets()))"
        run(Block("", "python", program), directory, {**environment, **later})
        assert (directory / "output").read_text() == "[]\n"
    finally:
        os.kill(int(pid.read_text()), signal.SIGTERM)
