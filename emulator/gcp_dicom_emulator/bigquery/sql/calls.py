"""Calls of DuckDB's functions, as the translation makes them."""

from __future__ import annotations

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

    return exp.cast(node.copy(), kind, dialect="duckdb")
