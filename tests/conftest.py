"""What all tests share."""

from __future__ import annotations

import airflow
import pytest


def pytest_configure(config: pytest.Config) -> None:
    """On an older Airflow, let what is not ours warn: it is used with newer libraries than it was made with."""
    if not airflow.__version__.startswith("3.3"):
        config.addinivalue_line("filterwarnings", "ignore:::(?!airflow_dicom|tests|demo)")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the matrix of the fault tests."""
    import sys

    rig = sys.modules.get("tests.integration.rig")
    if rig is not None and rig.report:
        terminalreporter.section("faults")
        for line in rig.report:
            terminalreporter.write_line(line)
