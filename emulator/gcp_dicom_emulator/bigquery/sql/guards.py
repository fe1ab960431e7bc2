"""AND and OR: what comes first may keep the rest from failing, as in ``x != 0 AND 1 / x > 2``. DuckDB works out all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql.calls import is_ours
from gcp_dicom_emulator.bigquery.sql.macros import FAILING

if TYPE_CHECKING:
    from sqlglot import exp


def guarded(node: Any) -> exp.Expr:
    """Return a chain of AND or OR in which what may fail is worked out only where nothing before it has decided."""
    from sqlglot import exp

    # A chain is seen at its outermost link. What joins tables by their keys stays as it is, so that it is not slow.
    if type(node.parent) is type(node) or isinstance(node.find_ancestor(exp.Join, exp.Query), exp.Join):
        return node  # type: ignore[no-any-return]
    operands = list(node.flatten())
    failing = [_may_fail(operand) for operand in operands]
    if not any(failing[1:]):
        return node  # type: ignore[no-any-return]
    decided = exp.Boolean(this=isinstance(node, exp.Or))
    before: list[exp.If] = []
    made: list[exp.Expr] = []
    for operand, may_fail in zip(operands, failing, strict=True):
        is_wrapped = before and may_fail and not _joins(operand)
        made.append(exp.Case(ifs=[one.copy() for one in before], default=operand.copy()) if is_wrapped else operand)
        if not operand.find(exp.Rand):
            is_decided = exp.Is(this=exp.paren(operand.copy()), expression=decided.copy())
            before.append(exp.If(this=is_decided, true=decided.copy()))
    return exp.or_(*made) if isinstance(node, exp.Or) else exp.and_(*made)


def _may_fail(node: exp.Expr) -> bool:
    from sqlglot import exp

    calls = (one for one in node.find_all(exp.Anonymous) if is_ours(one) or one.name.lower() == "error")
    return any(one.name in FAILING or one.name.lower() == "error" or one.name.startswith("py_") for one in calls)


def _joins(node: exp.Expr) -> bool:
    """Say whether a condition makes columns of two tables equal."""
    from sqlglot import exp

    if not isinstance(node.unnest(), exp.EQ):
        return False
    equality = node.unnest()
    tables = [{column.table for column in side.find_all(exp.Column)} for side in (equality.this, equality.expression)]
    return bool(tables[0] and tables[1]) and tables[0] != tables[1]
