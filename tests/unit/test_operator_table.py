"""An operator is a plan and its arguments: how long each is."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts import load

ROOT = Path(__file__).parents[2]

#: A screenful.
MOST = 60
#: How many lines a function has at most, without its docstring.
MOST_OF_A_FUNCTION = 40


@pytest.fixture(scope="module")
def table() -> ModuleType:
    return load(ROOT / "docs" / "operator_table.py")


def test_the_page_is_up_to_date(table: ModuleType) -> None:
    assert table.PAGE.read_text() == table.page(), "run python docs/operator_table.py"


def test_operators_are_short(table: ModuleType) -> None:
    too_long = {kind.__name__: table.code_lines(kind) for kind in table.classes()}
    assert {name: lines for name, lines in too_long.items() if lines > MOST} == {}


def test_functions_are_short() -> None:
    too_long = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": lines
        for path in (ROOT / "airflow_dicom").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := lines_of(node)) > MOST_OF_A_FUNCTION
    }
    assert too_long == {}


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines a function has, with its signature and without its docstring."""
    assert node.end_lineno is not None
    docstring = node.body[0] if ast.get_docstring(node) is not None else None
    of_docstring = (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1 if docstring else 0
    return node.end_lineno - node.lineno + 1 - of_docstring
