"""The table of what the next try does is the one that the code makes."""

from __future__ import annotations

from pathlib import Path

from tests.scripts import load

SCRIPT = Path(__file__).parents[2] / "docs" / "restarts_table.py"


def test_the_page_is_up_to_date() -> None:
    module = load(SCRIPT)
    assert module.PAGE.read_text() == module.page(), "run python docs/restarts_table.py"
