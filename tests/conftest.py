"""What all tests share: which process runs which, and in what order."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import Any

import airflow
import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

#: Whether this is the newest Airflow that the package is tested on.
NEWEST = airflow.__version__.startswith("3.3")

#: How many of pytest's processes run the tests on Airflow's processes, which mostly wait. Each starts an Airflow of its own. Of an
#: older one, where such tests are few, two are enough.
_AIRFLOWS = 4 if NEWEST else 2

#: The files that take longest, with which several processes begin: none is left alone with one at the end.
_LONGEST = (
    *("test_docs_pages", "test_events", "test_incremental", "test_cohort", "test_google"),
    *("test_docs", "test_operators", "test_sensors", "test_faults", "test_examples", "test_examples_stores"),
    *("test_walk", "test_filter_kills", "test_task_groups", "test_pytest_plugin", "test_connection", "test_lost_arguments"),
)

#: The long files whose tests go to whichever process is free; each other file goes to one, which starts what it needs once.
_BY_TEST = ("test_faults", "test_examples", "test_examples_stores")

# An example may take long: the machine may be busy.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")

#: The number of a test, and the lines of the report that it wrote.
_faults: list[list[Any]] = []


def pytest_configure(config: pytest.Config) -> None:
    """Let the tests with Airflow's processes go first; on an older Airflow, let what is not ours warn: its libraries are newer."""
    if hasattr(config, "workerinput") and _is_spare(config.workerinput["workerid"]):
        os.nice(10)
    if not NEWEST:
        config.addinivalue_line("filterwarnings", "ignore:::(?!airflow_dicom|tests|demo)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what needs Airflow's processes, and takes long; leave out what needs minutes and is the same on an older Airflow."""

    def rank(item: pytest.Item) -> tuple[bool, int]:
        name = item.path.stem
        return not _is_integration(item.nodeid), _LONGEST.index(name) if name in _LONGEST else len(_LONGEST)

    items.sort(key=rank)
    if not NEWEST:
        left_out = [item for item in items if item.get_closest_marker("only_on_newest_airflow")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


class Distribution(LoadScopeScheduling):
    """The first processes run the tests on Airflow's, and then whatever is left; the others, meanwhile, those without."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, _ = nodeid.partition("::")
        return nodeid if file.endswith(tuple(f"{name}.py" for name in _BY_TEST)) else file

    def _assign_work_unit(self, node: Any) -> None:
        if _is_spare(node.gateway.id):
            without = next((scope for scope in self.workqueue if not _is_integration(scope)), None)
            if without is None:
                node.shutdown()
                return
            self.workqueue.move_to_end(without, last=False)
        super()._assign_work_unit(node)


def _is_spare(worker_id: str) -> bool:
    return int(worker_id.removeprefix("gw")) >= _AIRFLOWS


def _is_integration(nodeid: str) -> bool:
    return nodeid.startswith("tests/integration/")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """Distribute the tests so, in the order in which they are collected, where ``--dist loadfile`` asks for files."""
    config.option.loadscopereorder = False
    return Distribution(config, log) if config.getoption("dist") == "loadfile" else None


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
