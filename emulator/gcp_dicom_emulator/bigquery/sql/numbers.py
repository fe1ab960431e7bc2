"""Numbers: the rules of :mod:`functions` for errors that DuckDB does not raise and types that it does not give."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import kinds, special
from gcp_dicom_emulator.bigquery.sql.calls import call, cast, is_call, text
from gcp_dicom_emulator.bigquery.sql.kinds import Kind
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query, position
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp


def arithmetic(node: Any) -> exp.Expr:
    """Return ``+``, ``-`` or ``*``: a FLOAT64 that overflows is an error, and what NUMERICs make is a NUMERIC."""
    from sqlglot import exp

    refuse_null(node)
    kind = kinds.of(node)
    if (difference := special.difference(node)) is not None:
        return difference
    if kind == kinds.FLOAT64:
        return finite(node, node)
    if kind == kinds.DATE:
        for key in ("this", "expression"):
            if kinds.of(node.args[key]) == kinds.INT64:
                node.set(key, cast(node.args[key], "integer"))  # of days, DuckDB takes no others
    if kind == kinds.TIMESTAMP and not is_in_window_key(node):
        for key in ("this", "expression"):
            if kinds.of(node.args[key]) == kinds.INTERVAL:
                node.set(key, call("bq_without_months", node.args[key]))
    if kind in (kinds.DATE, kinds.DATETIME, kinds.TIMESTAMP) and kind is not None and not is_in_window_key(node):
        return call(f"bq_{kind.name.lower()}_in_range", cast(exp.paren(node), kinds.duckdb_type(kind)))
    if isinstance(node, exp.Mul) and kind is not None and kind in EXACT:
        window_key = is_in_window_key(node)
        return cast(exp.paren(node), kinds.duckdb_type(kind)) if window_key else exact("*", kind, node.this, node.expression)
    return node  # type: ignore[no-any-return]


#: The types of which everything is calculated exactly.
EXACT = (kinds.NUMERIC, kinds.BIGNUMERIC)


def exact(operation: str, kind: Kind, *operands: exp.Expr, is_safe: bool = False) -> exp.Expr:
    """Return what an operation makes of NUMERICs or BIGNUMERICs.

    :param operation: one of :mod:`decimals`.
    :param kind: the result's type.
    :param is_safe: whether an error is NULL.
    """
    from sqlglot import exp

    texts = cast(exp.Array(expressions=[cast(operand, "text") for operand in operands]), "text[]")
    made = call("py_decimal", text(operation), text(kind.name), texts, exp.Boolean(this=is_safe))
    return cast(made, kinds.duckdb_type(kind))


def made_safe(made: exp.Expr) -> bool:
    """Have an error be NULL in what :func:`exact` has made, and say whether that is what made this: TRY would hide refusals, too."""
    from sqlglot import exp

    if not (isinstance(made, exp.Cast) and isinstance(made.this, exp.Anonymous) and is_call(made.this, "py_decimal")):
        return False
    made.this.expressions[-1].set("this", True)
    return True


def exactly(operation: str, *keys: str, otherwise: Callable[[Any], exp.Expr], is_safe: bool = False) -> Callable[[Any], exp.Expr]:
    """Return the rule of an operation that is exact of NUMERICs.

    :param keys: the operands' keys.
    :param otherwise: the rule for other numbers.
    """

    def rule(node: Any) -> exp.Expr:
        kind = kinds.of(node)
        if kind is None or kind not in EXACT or is_in_window_key(node):
            return otherwise(node)
        return exact(operation, kind, *[node.args[key] for key in keys], is_safe=is_safe)

    return rule


def refuse_null(node: Any) -> None:
    """Refuse NULL itself as an operand, as GoogleSQL does."""
    from sqlglot import exp

    signs = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.Not: "NOT"}
    operands = [node.this, node.args.get("expression")]
    if any(isinstance(one.unnest(), exp.Null) for one in operands if isinstance(one, exp.Expr)):
        raise invalid_query(f"Operands of {signs[type(node)]} cannot be literal NULL at {position(node)}")


def negated(node: exp.Not) -> exp.Expr:
    """Return NOT."""
    refuse_null(node)
    return node


def finite(node: exp.Expr, made: exp.Expr) -> exp.Expr:
    """Check the outermost of nested operations: it is infinite when one inside is.

    :param node: the operation.
    :param made: what was made of it.
    """
    from sqlglot import exp

    if is_in_window_key(node):
        return made
    outer = node.parent
    while isinstance(outer, exp.Paren):
        outer = outer.parent
    if isinstance(outer, (exp.Add, exp.Sub, exp.Mul, exp.Div)) or not _may_overflow(node):
        return made
    leaves = [leaf for leaf in _leaves(node) if not isinstance(leaf, (exp.Literal, exp.Boolean))]
    finite = [call("isfinite", cast(leaf, "double")) for leaf in leaves]
    return call("bq_finite", exp.paren(made), exp.and_(*finite) if finite else exp.true())


def is_in_window_key(node: exp.Expr) -> bool:
    """Say whether an expression is in a key of a window: DuckDB takes nothing there that may raise an error."""
    from sqlglot import exp

    inner: exp.Expr | None = node
    while inner is not None and not isinstance(inner.parent, exp.Query):
        if isinstance(inner.parent, exp.Window) and inner.arg_key in ("partition_by", "order"):
            return True
        inner = inner.parent
    return False


def _may_overflow(node: exp.Expr) -> bool:
    """Say whether an overflow is looked for: not where the check would run a subquery or an aggregate twice."""
    from sqlglot import exp

    return not (node.find(exp.Query) or node.find(exp.Window) or node.find(exp.AggFunc))


def _leaves(node: exp.Expr) -> list[exp.Expr]:
    from sqlglot import exp

    found: list[exp.Expr] = []
    stack: list[exp.Expr] = [node]
    while stack:
        one = stack.pop()
        if isinstance(one, (exp.Add, exp.Sub, exp.Mul, exp.Div)):
            stack += [one.this, one.expression]
        elif isinstance(one, (exp.Paren, exp.Neg)):
            stack.append(one.this)
        elif not isinstance(one, exp.Case):
            found.append(one)
    return found


def rounded(node: Any) -> exp.Expr:
    """Return ROUND or TRUNC, whose second argument DuckDB wants as an INT32; a FLOAT64 of an INT64."""
    kind = kinds.of(node)
    if node.args.get("decimals") is not None and not node.args["decimals"].is_number:
        node.set("decimals", cast(node.args["decimals"], "integer"))
    if kind == kinds.FLOAT64 and kinds.of(node.this) == kinds.INT64:
        node.set("this", cast(node.this, "double"))
    return cast(node, kinds.duckdb_type(kind)) if kind in EXACT else node


def averaged(node: Any) -> exp.Expr:
    """Return AVG; that of NUMERICs is a NUMERIC, exactly."""
    from sqlglot import exp

    kind = kinds.of(node)
    if kind is None or kind not in EXACT:
        return node  # type: ignore[no-any-return]
    if is_in_window_key(node):
        return cast(node, kinds.duckdb_type(kind))
    return exact("/", kind, exp.Sum(this=node.this.copy()), exp.Count(this=node.this.copy()))


def angle(node: Any) -> exp.Expr:
    """Return DEGREES or RADIANS; of a NUMERIC it is a NUMERIC."""
    kind = kinds.of(node.this)
    if kind == kinds.BIGNUMERIC:
        raise ApiError(501, f"The emulator does no {type(node).__name__.upper()} of a BIGNUMERIC.")
    return cast(node, kinds.duckdb_type(kind)) if kind == kinds.NUMERIC else node


def named(name: str, *keys: str) -> Any:
    """Return the rule that calls a macro with a node's arguments.

    :param keys: the arguments' keys.
    """

    def rule(node: Any) -> exp.Expr:
        return call(name, *[node.args[key] for key in keys if node.args.get(key) is not None])

    return rule


def parsed(kind: Kind) -> Any:
    """Return the rule of PARSE_NUMERIC or PARSE_BIGNUMERIC."""

    def rule(node: Any) -> exp.Expr:
        number = call("py_number", cast(node.this, "text"))
        return bignumeric(number) if kind == kinds.BIGNUMERIC else cast(number, kinds.duckdb_type(kind))

    return rule


def bignumeric(value: exp.Expr, *, is_safe: bool = False) -> exp.Expr:
    """Return a text, or a FLOAT64 with all of its digits, as a BIGNUMERIC.

    :param is_safe: whether a value that is none is NULL.
    """
    from sqlglot import exp

    name = "py_bignumeric_of_real" if kinds.of(value) == kinds.FLOAT64 else "py_bignumeric"
    return cast(call(name, value, exp.Boolean(this=is_safe)), kinds.duckdb_type(kinds.BIGNUMERIC))


def negated_safely(node: Any) -> exp.Expr:
    """Return SAFE_NEGATE."""
    from sqlglot import exp

    made = exp.Neg(this=exp.paren(node.this))
    return call("TRY", cast(made, "bigint") if kinds.of(node.this) == kinds.INT64 else made)


def shifted(name: str) -> Any:
    """Return the rule of ``<<`` or ``>>``.

    :param name: the macro.
    """

    def rule(node: Any) -> exp.Expr:
        return call(name, node.this, node.expression) if kinds.of(node.this) == kinds.INT64 else node

    return rule


def least(node: Any) -> exp.Expr:
    """Return LEAST: NaN where there is one, and nothing is NULL."""
    from sqlglot import exp

    values = [node.this, *node.expressions]
    if kinds.of(node) != kinds.FLOAT64:
        return node  # type: ignore[no-any-return]
    null = exp.or_(*[exp.Is(this=value.copy(), expression=exp.Null()) for value in values])
    nan = exp.or_(*[call("isnan", cast(value, "double")) for value in values])
    branches = [exp.If(this=null, true=exp.Null()), exp.If(this=nan, true=cast(text("nan"), "double"))]
    return exp.Case(ifs=branches, default=node.copy())
