"""Procedures that users define in SQL: the statements of one, and what a CALL says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import translation as sql
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query
from gcp_dicom_emulator.bigquery.sql.routines import path_of

if TYPE_CHECKING:
    from sqlglot import exp

#: How deep calls may be in each other.
MOST_NESTED = 50
_BLOCK = re.compile(r"\s*BEGIN\b(?P<statements>.*;)\s*END\s*;?\s*", re.I | re.S)


def statements_of(resource: dict[str, Any]) -> list[exp.Expr]:
    """Return the statements of a procedure.

    :param resource: its ``Routine``.
    :raises ApiError: 400 for a body that is wrong.
    """
    if (match := _BLOCK.fullmatch(resource["definitionBody"])) is None:
        raise invalid_query("Syntax error: the body of a procedure is BEGIN, statements with a semicolon each, and END")
    return sql.parse(match["statements"], legacy=False)


def is_call(tree: exp.Expr) -> bool:
    """Say whether a statement is a CALL, which SQLGlot does not read."""
    from sqlglot import exp

    return isinstance(tree, exp.Command) and str(tree.this).upper() == "CALL"


def called(tree: exp.Expr) -> tuple[list[str], list[exp.Expr]]:
    """Return the names in the path of a procedure that is called, and the arguments.

    :param tree: the CALL.
    :raises ApiError: 400 for one that is wrong.
    """
    from sqlglot import exp

    (select,) = sql.parse(f"SELECT {tree.expression.name if tree.expression else ''}", legacy=False)
    call = select.expressions[0]
    path = path_of(call)
    if len(select.expressions) > 1 or not path:
        raise invalid_query("Syntax error: CALL wants the name of a procedure and its arguments")
    return path, (call.expression if isinstance(call, exp.Dot) else call).expressions
