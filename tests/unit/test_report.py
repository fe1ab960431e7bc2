"""The report of ``make faults``, whose tests run in several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.only_on_newest_airflow  # our own report

CLONE = Path(__file__).parents[2]
TESTS = """
import os
import time

from tests.integration.rig import report


def test_first():
    time.sleep(2)
    report.append("of the first")


def test_second():
    report.extend(["of the second", "and more of it"])


def test_third():
    report.append("of one that fails")
    raise AssertionError


def test_fourth():
    os._exit(1)
"""


@pytest.mark.slow
def test_it_is_whole_and_in_order_whichever_process_ran_a_test(tmp_path):
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "test_some.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-n", "2"]
    environment = {**os.environ, "PYTHONPATH": str(CLONE)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    _, _, section = done.stdout.partition("= faults, Airflow ")
    assert section.splitlines()[1:5] == ["of the first", "of the second", "and more of it", "of one that fails"], done.stdout
