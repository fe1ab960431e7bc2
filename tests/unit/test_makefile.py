"""What ``make`` says about itself."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

CLONE = Path(__file__).parents[2]


def make(*arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of make test
    command = ["make", *arguments]
    done = subprocess.run(command, cwd=CLONE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout


def test_alone_it_shows_what_there_is() -> None:
    targets = re.findall(r"^\.PHONY: (.*)", (CLONE / "Makefile").read_text(), re.MULTILINE)[0].split()

    assert sorted(re.findall(r"^  make (\w+) +\w", make(), re.MULTILINE)) == sorted(targets)


def test_it_names_the_versions_of_airflow() -> None:
    assert "choose one of 2.11 3.1 3.3" in make("ui", "AIRFLOW=2.10")


def test_what_takes_long_is_not_part_of_check() -> None:
    """An expression of one's own takes the place of pyproject.toml's: the long walk ran for an hour."""
    (chosen,) = re.findall(r'pytest .*-m "([^"]*)"', make("--dry-run", "check"))[:1]
    marked = re.findall(r"pytest\.mark\.(only_in_\w+)", "".join(path.read_text() for path in CLONE.glob("tests/provider/*.py")))
    assert marked
    assert all(f"not {marker}" in chosen for marker in {"slow", *marked})
