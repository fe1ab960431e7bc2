"""What ``make conformance`` needs and wrote; the suites themselves are not run here."""

from __future__ import annotations

import json
import re

import pytest

from tests.conformance import run

pytestmark = pytest.mark.slow

PACKAGES = json.loads((run.NODE / "package.json").read_text())["dependencies"]
LOCK = (run.NODE / "package-lock.json").read_text()


def rows() -> dict[str, list[str]]:
    """The cells of the results after the first, by the first."""
    lines = [line for line in run.PAGE.read_text().splitlines() if line.count("|") == 5]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: rest for first, *rest in cells}


def test_the_lock_has_no_address_of_a_registry() -> None:
    assert "resolved" not in LOCK
    assert "://" not in LOCK


def test_versions_of_node_packages_are_exact_and_locked() -> None:
    assert [version for version in PACKAGES.values() if not re.fullmatch(r"\d+\.\d+\.\d+", version)] == []
    locked = json.loads(LOCK)["packages"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in PACKAGES} == PACKAGES


@pytest.mark.parametrize("suite", run.SUITES, ids=lambda suite: suite.client)
def test_the_page_names_every_suite(suite: run.Suite) -> None:
    version, calls, passed = rows()[suite.client]
    if suite.code.endswith(".mjs"):
        assert version == suite.version(), "run python -m tests.conformance.run --write"
    assert re.fullmatch(r"\d+ of \d+", passed)
    assert int(calls) > 0


@pytest.mark.parametrize("program", ["node", "npm", "curl"])
def test_a_missing_program_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], program: str) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None if name == program else f"/usr/bin/{name}")
    monkeypatch.setattr("sys.argv", ["run"])
    assert run.main() == 1
    assert capsys.readouterr().err == (
        "make conformance needs Node 18 or newer, with npm, and curl: install them, and see that PATH has them.\n"
    )


def test_an_old_node_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(run, "_output", lambda *command: "v16.20.2")
    monkeypatch.setattr("sys.argv", ["run"])
    assert run.main() == 1
    assert "Node 18 or newer, and this is v16.20.2" in capsys.readouterr().err
