"""What all tests share."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

import airflow
import pytest

#: Whether this is the newest Airflow that the package is tested on.
NEWEST = airflow.__version__.startswith("3.3")

#: The files that take longest, with which several processes begin: none is left alone with one at the end. A process gets its next
#: file when it has two tests left, so a short file follows the one that has a single test.
_LONGEST = (
    *("test_docs_pages", "test_events", "test_incremental", "test_cohort", "test_google"),
    *("test_docs", "test_faults", "test_examples", "test_examples_stores"),
    *("test_walk", "test_filter_kills", "test_task_groups", "test_pytest_plugin", "test_connection", "test_lost_arguments"),
)

#: The number of a test, and the lines of the report that it wrote.
_faults: list[list[Any]] = []


def pytest_configure(config: pytest.Config) -> None:
    """On an older Airflow, let what is not ours warn: it is used with newer libraries than it was made with."""
    if not NEWEST:
        config.addinivalue_line("filterwarnings", "ignore:::(?!airflow_dicom|tests|demo)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the longest files; leave out what needs minutes and is the same on an older Airflow."""
    items.sort(key=lambda item: _LONGEST.index(item.path.stem) if item.path.stem in _LONGEST else len(_LONGEST))
    if not NEWEST:
        left_out = [item for item in items if item.get_closest_marker("only_on_newest_airflow")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a test's report have what the fault tests said meanwhile: another process may print it."""
    report = yield
    rig = sys.modules.get("tests.integration.rig")
    if rig is not None and (lines := list(rig.report)):
        del rig.report[: len(lines)]
        report.user_properties.append(("faults", [item.session.items.index(item), *lines]))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take it."""
    for name, value in report.user_properties:
        if name == "faults":
            _faults.append(list(value))  # type: ignore[call-overload]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the matrix of the fault tests, in their order, whichever process ran them."""
    if not _faults:
        return
    from .integration.rig import kind_of_stack

    terminalreporter.section(f"faults, Airflow {airflow.__version__} on {kind_of_stack(config).database}")
    for _number, *lines in sorted(_faults, key=lambda said: said[0]):
        for line in lines:
            terminalreporter.write_line(line)
