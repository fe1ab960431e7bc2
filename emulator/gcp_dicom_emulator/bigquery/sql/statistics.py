"""Standard deviations, variances, covariances and correlations: NaN and infinity, on which DuckDB and GoogleSQL differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import aggregates, kinds, numbers
from gcp_dicom_emulator.bigquery.sql.calls import aggregate, call, cast, number, text
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp


def spread(least: int) -> Any:
    """Return the rule of STDDEV, VARIANCE and their like: NaN where a value is not finite.

    :param least: how many values they need.
    """

    def rule(node: Any) -> exp.Expr:
        from sqlglot import exp

        if isinstance(node.this, exp.HavingMax):
            return aggregates.having(node)
        is_distinct = isinstance(node.this, exp.Distinct)
        argument = node.this.expressions[0] if is_distinct else node.this
        if numbers.is_in_window_key(node):
            return node  # type: ignore[no-any-return]
        value = cast(argument, "double")
        finite = _only_finite(value, value)
        made = type(node)(this=exp.Distinct(expressions=[finite]) if is_distinct else finite)
        is_special = aggregate("bool_or", exp.Not(this=call("isfinite", value.copy())))
        counted = exp.Distinct(expressions=[value.copy()]) if is_distinct else value.copy()
        small = call("bq_shrunk", finite.copy())
        shrunk = type(node)(this=exp.Distinct(expressions=[small]) if is_distinct else small)
        is_square = isinstance(node, (exp.Variance, exp.VariancePop))
        grown = call("bq_grown_twice" if is_square else "bq_grown", shrunk) if _may_be_large(argument) else _absent()
        result = call("bq_statistic", made, grown, is_special, exp.Count(this=counted), number(least))
        return _exact(type(node).__name__, result, argument, is_distinct=is_distinct)

    return rule


def paired(least: int) -> Any:
    """Return the rule of CORR and COVAR.

    :param least: how many pairs they need.
    """

    def rule(node: Any) -> exp.Expr:
        from sqlglot import exp

        if isinstance(node.this, (exp.HavingMax, exp.Distinct)):
            raise ApiError(501, "The emulator's CORR and COVAR have no DISTINCT and no HAVING.")
        if numbers.is_in_window_key(node):
            return node  # type: ignore[no-any-return]
        left, right = cast(node.this, "double"), cast(node.expression, "double")
        # A sum that is NULL where one of them is, and finite where both are.
        both = exp.paren(exp.Add(this=_zero_of(left), expression=_zero_of(right)))
        made = type(node)(this=_only_finite(both, left), expression=_only_finite(both, right))
        is_special = aggregate("bool_or", exp.Not(this=call("isfinite", both.copy())))
        pairs = aggregate("regr_count", left.copy(), right.copy())
        name = type(node).__name__
        if isinstance(node, exp.Corr):
            return _exact(name, call("bq_correlation", made, is_special, pairs, number(least)), node.this, node.expression)
        shrunk = type(node)(**{key: call("bq_shrunk", value.copy()) for key, value in made.args.items() if value is not None})
        grown = call("bq_grown_twice", shrunk) if _may_be_large(node.this, node.expression) else _absent()
        return _exact(name, call("bq_statistic", made, grown, is_special, pairs, number(least)), node.this, node.expression)

    return rule


def _may_be_large(*arguments: Any) -> bool:
    """Say whether the squares of values may be larger than a FLOAT64 is."""
    return any(kinds.of(argument) in (kinds.FLOAT64, None) for argument in arguments)


def _absent() -> exp.Expr:
    from sqlglot import exp

    return cast(exp.Null(), "double")


def _only_finite(condition: exp.Expr, value: exp.Expr) -> exp.Expr:
    from sqlglot import exp

    return exp.Case(ifs=[exp.If(this=call("isfinite", condition.copy()), true=value.copy())])


def _zero_of(value: exp.Expr) -> exp.Expr:
    from sqlglot import exp

    return exp.Mul(this=value.copy(), expression=number(0))


def _exact(name: str, result: exp.Expr, *arguments: Any, is_distinct: bool = False) -> exp.Expr:
    """Let Python work out NUMERICs so large that a FLOAT64 does not tell them apart.

    :param name: the function's, as SQLGlot calls it.
    """
    from sqlglot import exp

    found = [kinds.of(argument) for argument in arguments]
    if not any(kind in (kinds.NUMERIC, kinds.BIGNUMERIC) for kind in found):
        return result
    large = [exp.GT(this=call("abs", one.copy()), expression=number(1_000_000_000_000)) for one in arguments]
    words = [cast(one, "text") for one in arguments]
    row = words[0] if len(words) == 1 else call("bq_pair", *words)
    values = aggregate("list", exp.Distinct(expressions=[row]) if is_distinct else row)
    return call("bq_exact", result, aggregate("bool_or", exp.or_(*large)), call("py_statistic", text(name), values))
