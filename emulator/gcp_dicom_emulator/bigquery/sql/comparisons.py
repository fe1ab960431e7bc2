"""Comparisons of FLOAT64s: nothing is true of NaN but that it is not equal, where DuckDB has it equal to itself and the largest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import kinds
from gcp_dicom_emulator.bigquery.sql.calls import call

if TYPE_CHECKING:
    from sqlglot import exp


def larger(node: Any) -> exp.Expr:
    """Return ``>`` or ``>=``."""
    return _not_nan(node, node.this)


def smaller(node: Any) -> exp.Expr:
    """Return ``<`` or ``<=``."""
    return _not_nan(node, node.expression)


def between(node: exp.Between) -> exp.Expr:
    """Return BETWEEN."""
    return _not_nan(node, node.args["high"])


def equal(node: exp.EQ) -> exp.Expr:
    """Return ``=``."""
    from sqlglot import exp

    if isinstance(node.parent, exp.Update) or not _may_be_nan(node.expression):
        return node
    return _not_nan(node, node.this)


def unequal(node: exp.NEQ) -> exp.Expr:
    """Return ``<>``."""
    from sqlglot import exp

    if not (_may_be_nan(node.this) and _may_be_nan(node.expression)):
        return node
    return exp.paren(exp.Or(this=node.copy(), expression=call("isnan", node.this.copy())))


def _may_be_nan(value: exp.Expr) -> bool:
    from sqlglot import exp

    inner = value.this if isinstance(value, exp.Neg) else value
    return kinds.of(value) == kinds.FLOAT64 and not isinstance(inner, exp.Literal) and not value.find(exp.Query)


def _not_nan(node: Any, value: exp.Expr) -> exp.Expr:
    from sqlglot import exp

    if not _may_be_nan(value):
        return node  # type: ignore[no-any-return]
    return exp.paren(exp.And(this=node.copy(), expression=exp.Not(this=call("isnan", value.copy()))))


def null_if(node: exp.Nullif) -> exp.Expr:
    """Return NULLIF."""
    from sqlglot import exp

    if not (_may_be_nan(node.this) and _may_be_nan(node.expression)):
        return node
    same = equal(exp.EQ(this=node.this.copy(), expression=node.expression.copy()))
    return exp.Case(ifs=[exp.If(this=same, true=exp.Null())], default=node.this.copy())


def case(node: exp.Case) -> exp.Expr:
    """Return CASE; one that compares a FLOAT64 as comparisons."""
    from sqlglot import exp

    subject = node.this
    if subject is None or not _may_be_nan(subject):
        return node
    for branch in node.args["ifs"]:
        branch.set("this", equal(exp.EQ(this=subject.copy(), expression=branch.this.copy())))
    node.set("this", None)
    return node
