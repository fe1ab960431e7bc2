"""What keeps Airflow's processes running under the integration tests."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.rig import report
from tests.integration.supervisor import supervised

pytestmark = pytest.mark.only_on_newest_airflow  # our own supervisor


class Stack:
    """A scheduler that has nothing to do."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.killed: set[str] = set()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        (home / "logs").mkdir()
        self.restart("scheduler")

    def restart(self, name: str) -> None:
        self.processes[name] = subprocess.Popen(["sleep", "60"])

    def ended(self) -> dict[str, str]:
        return {name: "scheduler ended" for name, process in self.processes.items() if process.poll() is not None}


def test_a_scheduler_that_has_given_up_is_started_again(tmp_path):
    stack: Any = Stack(tmp_path)
    log = tmp_path / "logs" / "scheduler.log"
    log.write_text("Starting the scheduler\n")
    first = stack.processes["scheduler"]
    with supervised(stack):
        with log.open("a") as lines:
            lines.write("Exception when executing SchedulerJob._run_scheduler_loop\n")
        deadline = time.monotonic() + 20
        while stack.processes["scheduler"] is first:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        second = stack.processes["scheduler"]
        time.sleep(2.5)  # what it once wrote does not end the next one
        assert stack.processes["scheduler"] is second
    second.kill()
    second.wait()
    assert "started again" in report.pop()  # it is not one of the fault tests' lines
