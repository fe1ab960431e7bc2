"""Calls of DuckDB's functions, as the translation makes them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlglot import exp

#: Marks a function of DuckDB's that the translation put there.
_OURS = "emulator"


def call(name: str, *arguments: Any) -> exp.Expr:
    """Return the call of a function or macro of DuckDB's."""
    from sqlglot import exp

    made = exp.Anonymous(this=name, expressions=list(arguments))
    made.meta[_OURS] = True
    return made


#: Marks a call of an aggregate function.
_AGGREGATE = "aggregate"


def aggregate(name: str, *arguments: Any) -> exp.Expr:
    """Return the call of an aggregate function of DuckDB's."""
    made = call(name, *arguments)
    made.meta[_AGGREGATE] = True
    return made


def is_aggregate(node: exp.Expr) -> bool:
    """Say whether a node is an aggregate function: the client's or one of :func:`aggregate`."""
    from sqlglot import exp

    return isinstance(node, (exp.AggFunc, exp.Filter)) or bool(node.meta.get(_AGGREGATE))


def is_ours(node: exp.Expr) -> bool:
    """Say whether :func:`call` made a node; all others are the client's."""
    return bool(node.meta.get(_OURS))


def is_call(node: exp.Expr, name: str) -> bool:
    """Say whether a node is a call of ours of a function."""
    return is_ours(node) and node.name == name


def text(value: str) -> exp.Expr:
    """Return a string literal."""
    from sqlglot import exp

    return exp.Literal.string(value)


def number(value: int) -> exp.Expr:
    """Return a number literal that the rules of the translation leave as it is."""
    from sqlglot import exp

    return exp.Literal.number(value)


def is_text(node: exp.Expr | None) -> bool:
    """Say whether a node is a string literal."""
    from sqlglot import exp

    return isinstance(node, exp.RawString) or (isinstance(node, exp.Literal) and node.is_string)


def cast(node: exp.Expr, kind: str) -> exp.Expr:
    """Return a node as a type of DuckDB's."""
    from sqlglot import exp

    return exp.cast(node, _type(kind), dialect="duckdb")


@functools.lru_cache(maxsize=256)
def _type(kind: str) -> exp.DataType:
    """Return a type of DuckDB's by its name, to be copied."""
    from sqlglot import exp

    return exp.DataType.build(kind, dialect="duckdb")


def _bare(node: exp.Expr | None) -> exp.Expr | None:
    """Return what is inside of parentheses and casts."""
    from sqlglot import exp

    while isinstance(node, (exp.Paren, exp.Cast)):
        node = node.this
    return node


def is_null(node: exp.Expr | None) -> bool:
    """Say whether a node is a NULL, perhaps one of a type."""
    from sqlglot import exp

    return isinstance(_bare(node), exp.Null)


def whole(node: exp.Expr | None) -> int | None:
    """Return the whole number that a node is, ``None`` if it is something else."""
    from sqlglot import exp

    bare = _bare(node)
    is_negative = isinstance(bare, exp.Neg)
    literal = _bare(bare.this) if is_negative and bare is not None else bare
    if not isinstance(literal, exp.Literal) or literal.is_string or not literal.name.isdigit():
        return None
    return -int(literal.name) if is_negative else int(literal.name)


def function_name(node: exp.Expr) -> str:
    """Return a function's name in GoogleSQL; SQLGlot's own may be another dialect's."""
    return node.sql("bigquery").partition("(")[0]
