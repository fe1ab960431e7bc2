"""What all tests share."""

from __future__ import annotations

import sys
from typing import Any

import airflow
import pytest

#: Whether this is the newest Airflow that the package is tested on.
NEWEST = airflow.__version__.startswith("3.3")

_lines_of_workers: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    """On an older Airflow, let what is not ours warn: it is used with newer libraries than it was made with."""
    if not NEWEST:
        config.addinivalue_line("filterwarnings", "ignore:::(?!airflow_dicom|tests|demo)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs minutes and is the same on an older Airflow."""
    if not NEWEST:
        left_out = [item for item in items if item.get_closest_marker("only_on_newest_airflow")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the fault tests' lines to the process that prints them, when this one only runs tests for it."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["faults"] = _fault_lines()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take them."""
    _lines_of_workers.extend(getattr(node, "workeroutput", {}).get("faults", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the matrix of the fault tests."""
    if lines := [*_lines_of_workers, *_fault_lines()]:
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)


def _fault_lines() -> list[str]:
    rig = sys.modules.get("tests.integration.rig")
    return [] if rig is None else list(rig.report)
