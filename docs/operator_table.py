"""Write ``reference/operator-lines.md``: how many lines each operator has, and what it takes from its bases.

Run it after an operator changed: ``python docs/operator_table.py``.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path

import airflow_dicom.operators
import airflow_dicom.sensors

PAGE = Path(__file__).parent / "reference" / "operator-lines.md"


def page() -> str:
    """Return the page."""
    lines = [
        "# What an operator is made of",
        "",
        "Lines of code of each class, without docstrings, comments, empty lines and the list of its arguments; and the bases that it",
        "takes the rest from.",
        "Written by `python docs/operator_table.py`.",
        "",
        "| class | lines | bases |",
        "|---|---|---|",
    ]
    for kind in classes():
        bases = ", ".join(f"`{base.__name__}`" for base in kind.__mro__[1:] if base.__module__.startswith("airflow_dicom."))
        lines.append(f"| `{kind.__name__}` | {code_lines(kind)} | {bases} |")
    return "\n".join(lines) + "\n"


def classes() -> list[type]:
    """Return the operators and the sensors."""
    modules = (airflow_dicom.operators, airflow_dicom.sensors)
    return [getattr(module, name) for module in modules for name in module.__all__]


def code_lines(kind: type) -> int:
    """Return how many lines of code a class has."""
    source = textwrap.dedent(inspect.getsource(kind))
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            left_out |= set(range(node.lineno, node.body[0].lineno))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            left_out |= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    numbered = enumerate(source.splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") for number, line in numbered if number not in left_out)


if __name__ == "__main__":
    PAGE.write_text(page())
