"""The documentation's table of the emulator's methods is that of the code."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts import load

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.only_on_newest_airflow  # its discovery documents are those of the page


@pytest.fixture(scope="module")
def method_table() -> ModuleType:
    return load(ROOT / "docs" / "method_table.py")


def test_the_page_is_up_to_date(method_table: ModuleType) -> None:
    assert method_table.PAGE.read_text() == method_table.page(), "run python docs/method_table.py"


def test_every_method_is_tested(method_table: ModuleType) -> None:
    assert method_table.untested() == set(), "write a test, then run pytest --record-methods in emulator/"


def test_recorded_tests_are_there(method_table: ModuleType) -> None:
    files = {file for files in method_table.recorded().values() for file in files}
    assert files
    assert [file for file in files if not (ROOT / "emulator" / "tests" / file).is_file()] == []
