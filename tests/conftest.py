"""What all tests share."""

from __future__ import annotations

import airflow
import pytest

#: Whether this is the newest Airflow that the package is tested on.
NEWEST = airflow.__version__.startswith("3.3")


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the matrix of the fault tests."""
    import sys

    rig = sys.modules.get("tests.integration.rig")
    if rig is not None and rig.report:
        terminalreporter.section("faults")
        for line in rig.report:
            terminalreporter.write_line(line)
