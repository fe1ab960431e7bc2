"""An operator is a plan and its arguments: how long each is."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts import load

ROOT = Path(__file__).parents[2]

#: A screenful.
MOST = 60
#: Those that are longer, and how long they may be: to be made shorter, not longer.
LONGER = {
    "DicomDeleteOperator": 75,
    "DicomExportOperator": 134,
    "DicomImportOperator": 65,
    "DicomSearchOperator": 75,
    "FilterFileFromBigQueryOperator": 285,
}


@pytest.fixture(scope="module")
def table() -> ModuleType:
    return load(ROOT / "docs" / "operator_table.py")


def test_the_page_is_up_to_date(table: ModuleType) -> None:
    assert table.PAGE.read_text() == table.page(), "run python docs/operator_table.py"


def test_operators_are_short(table: ModuleType) -> None:
    too_long = {kind.__name__: table.code_lines(kind) for kind in table.classes()}
    assert {name: lines for name, lines in too_long.items() if lines > LONGER.get(name, MOST)} == {}
