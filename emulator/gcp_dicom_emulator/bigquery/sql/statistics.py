"""Standard deviations, variances, covariances and correlations: NaN and infinity, on which DuckDB and GoogleSQL differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import kinds, numbers
from gcp_dicom_emulator.bigquery.sql.calls import aggregate, call, cast, number
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp


def spread(least: int) -> Any:
    """Return the rule of STDDEV, VARIANCE and their like: NaN where a value is not finite.

    :param least: how many values they need.
    """

    def rule(node: Any) -> exp.Expr:
        from sqlglot import exp

        argument, is_distinct = _argument(node.this)
        if numbers.is_in_window_key(node):
            return node  # type: ignore[no-any-return]
        value = cast(argument, "double")
        finite = _only_finite(value, value)
        made = type(node)(this=exp.Distinct(expressions=[finite]) if is_distinct else finite)
        is_special = aggregate("bool_or", exp.Not(this=call("isfinite", value.copy())))
        counted = exp.Distinct(expressions=[value.copy()]) if is_distinct else value.copy()
        result = call("bq_statistic", made, is_special, exp.Count(this=counted), number(least))
        return _exact(result, argument)

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
        name = "bq_correlation" if isinstance(node, exp.Corr) else "bq_statistic"
        return _exact(call(name, made, is_special, pairs, number(least)), node.this, node.expression)

    return rule


def _argument(value: Any) -> tuple[exp.Expr, bool]:
    from sqlglot import exp

    if isinstance(value, exp.HavingMax):
        raise ApiError(501, "The emulator does not do this aggregate function with HAVING.")
    return (value.expressions[0], True) if isinstance(value, exp.Distinct) else (value, False)


def _only_finite(condition: exp.Expr, value: exp.Expr) -> exp.Expr:
    from sqlglot import exp

    return exp.Case(ifs=[exp.If(this=call("isfinite", condition.copy()), true=value.copy())])


def _zero_of(value: exp.Expr) -> exp.Expr:
    from sqlglot import exp

    return exp.Mul(this=value.copy(), expression=number(0))


def _exact(result: exp.Expr, *arguments: Any) -> exp.Expr:
    """Refuse NUMERICs so large that a FLOAT64 does not tell them apart."""
    from sqlglot import exp

    for argument in arguments:
        if kinds.of(argument) in (kinds.NUMERIC, kinds.BIGNUMERIC):
            is_large = exp.GT(this=call("abs", argument.copy()), expression=exp.Literal.number("1000000000000"))
            result = call("bq_exact", result, aggregate("bool_or", is_large))
    return result
