"""Aggregate functions: the rules of :mod:`functions` for what DuckDB counts, orders or limits in another way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import kinds, numbers
from gcp_dicom_emulator.bigquery.sql.calls import aggregate, call, cast, is_aggregate, is_null, is_ours, number, text, whole
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp


def counted(node: exp.CountIf) -> exp.Expr:
    """Return COUNTIF: 0, not NULL, for nothing."""
    from sqlglot import exp

    condition = node.this
    is_distinct = isinstance(condition, exp.Distinct)
    condition = condition.expressions[0] if is_distinct else condition
    one: exp.Expr = exp.Case(ifs=[exp.If(this=condition.copy(), true=exp.true())])
    return exp.Count(this=exp.Distinct(expressions=[one]) if is_distinct else one)


def logical(node: Any) -> exp.Expr:
    """Return LOGICAL_AND or LOGICAL_OR, in which DISTINCT changes nothing."""
    from sqlglot import exp

    if isinstance(node.this, exp.Distinct):
        node.set("this", node.this.expressions[0])
    return node  # type: ignore[no-any-return]


def joined(node: exp.GroupConcat) -> exp.Expr:
    """Return STRING_AGG with its DISTINCT, ORDER BY and LIMIT; of BYTES as well."""
    from sqlglot import exp

    inner, limit = node.this, None
    if is_null(node.args.get("separator")):
        raise invalid_query("Argument 2 to STRING_AGG must be non-NULL")
    if isinstance(inner, exp.Limit):
        inner, limit = inner.this, inner.expression
    order = inner if isinstance(inner, exp.Order) else None
    value = order.this if order is not None else inner
    is_distinct = isinstance(value, exp.Distinct)
    argument = value.expressions[0] if is_distinct else value
    is_bytes = kinds.of(node) == kinds.BYTES
    by_itself = order is not None and is_distinct and len(order.expressions) == 1 and order.expressions[0].this == argument
    if limit is None and not is_bytes and not by_itself:
        return node
    separator = node.args.get("separator") or text(",")
    if by_itself and order is not None:
        is_descending = bool(order.expressions[0].args.get("desc"))
        items = call(
            "list_sort", call("list_distinct", aggregate("list", argument.copy())), text("DESC" if is_descending else "ASC")
        )
    else:
        items = aggregate("list", inner.copy())
    present = call("bq_present", items)
    if limit is not None:
        present = call("list_slice", present, number(1), limit.copy())
    if is_bytes:
        plain = separator if isinstance(separator, exp.Literal) else call("py_latin1", separator.copy())
        texts = call(
            "list_transform",
            present,
            exp.Lambda(this=call("py_latin1", exp.column("bq_e")), expressions=[exp.to_identifier("bq_e")]),
        )
        return call("py_bytes", call("bq_join", texts, plain))
    return call("bq_join", present, separator.copy())


def most_frequent(node: exp.ApproxTopK) -> exp.Expr:
    """Return APPROX_TOP_COUNT, exactly."""
    from sqlglot import exp

    limit = node.args.get("expression") or number(1)
    boxed = exp.Struct(expressions=[exp.PropertyEQ(this=exp.to_identifier("v"), expression=node.this.copy())])
    if is_null(limit) or whole(limit) == 0 or not 0 < (whole(limit) or 1) <= 100_000:
        raise invalid_query("The second argument to APPROX_TOP_COUNT function must be positive and not greater than 100000")
    return call("bq_top_count", aggregate("histogram", boxed), limit.copy())


def buckets(node: exp.ApproxQuantiles) -> int:
    """Return into how many parts APPROX_QUANTILES divides its input."""
    from sqlglot import exp

    count = node.expression.unnest()
    count = count.this if isinstance(count, exp.Cast) else count
    if not isinstance(count, exp.Literal) or not count.name.isdigit() or int(count.name) < 1:
        raise invalid_query("The second argument of APPROX_QUANTILES must be a positive INT64 literal")
    if int(count.name) > 100_000:
        raise invalid_query("The second argument of APPROX_QUANTILES is too large")
    return int(count.name)


def quantiles(node: exp.ApproxQuantiles) -> exp.Expr:
    """Return APPROX_QUANTILES, exactly: values of the input."""
    from sqlglot import exp

    if isinstance(node.parent, exp.RespectNulls):
        return node
    size = buckets(node)
    places = exp.Array(expressions=[exp.Literal.number(repr(place / size)) for place in range(size + 1)])
    return aggregate("quantile_disc", node.this.copy(), places)


#: Aggregates that DuckDB's list_aggregate does by these names.
_OF_LISTS = {
    "Max": "max",
    "Min": "min",
    "Sum": "sum",
    "Avg": "avg",
    "Count": "count",
    "LogicalAnd": "bool_and",
    "LogicalOr": "bool_or",
    "ApproxDistinct": "approx_count_distinct",
    "BitwiseAndAgg": "bit_and",
    "BitwiseOrAgg": "bit_or",
    "BitwiseXorAgg": "bit_xor",
    "Stddev": "stddev_samp",
    "StddevSamp": "stddev_samp",
    "StddevPop": "stddev_pop",
    "Variance": "var_samp",
    "VariancePop": "var_pop",
}


def having(node: Any) -> exp.Expr:
    """Return an aggregate of the rows in which another value is the largest or the smallest: ``MAX(x HAVING MIN y)``."""
    from sqlglot import exp

    chosen, order = node.this, None
    if isinstance(chosen, exp.Order):
        chosen, order = chosen.this, chosen
    if not isinstance(chosen, exp.HavingMax) or isinstance(node, exp.AnyValue):
        return node  # type: ignore[no-any-return]
    name = _OF_LISTS.get(type(node).__name__)
    is_array = isinstance(node, exp.ArrayAgg)
    if name is None and not is_array:
        raise ApiError(501, "The emulator does not do this aggregate function with HAVING.")
    value = chosen.this
    is_distinct = isinstance(value, exp.Distinct)
    value = value.expressions[0] if is_distinct else number(1) if isinstance(value, exp.Star) else value
    by = chosen.expression
    pair = exp.Struct(
        expressions=[
            exp.PropertyEQ(this=exp.to_identifier("x"), expression=value.copy()),
            exp.PropertyEQ(this=exp.to_identifier("y"), expression=by.copy()),
        ]
    )
    bound: exp.Expr = exp.Max(this=by.copy()) if chosen.args.get("max") else exp.Min(this=by.copy())
    is_real = kinds.of(by) == kinds.FLOAT64
    if is_real:
        # Nothing is equal to a NaN, which is both the smallest and the largest.
        bound = call("bq_number", bound, aggregate("bool_or", call("isnan", by.copy())))
    rows = exp.Order(this=pair, expressions=[one.copy() for one in order.expressions]) if order is not None else pair
    items = call("bq_having", aggregate("list", rows), bound)
    items = call("list_distinct", items) if is_distinct else items
    return items if name is None else call("list_aggregate", items, text(name))


def concatenated(node: exp.ArrayConcatAgg) -> exp.Expr:
    """Return ARRAY_CONCAT_AGG with its ORDER BY and LIMIT."""
    from sqlglot import exp

    inner, limit = node.this, None
    if isinstance(inner, exp.Limit):
        inner, limit = inner.this, inner.expression
    value = inner.this if isinstance(inner, exp.Order) else inner
    present = exp.Not(this=exp.Is(this=value.copy(), expression=exp.Null()))
    arrays: exp.Expr = exp.Filter(this=aggregate("list", inner.copy()), expression=exp.Where(this=present))
    if limit is not None:
        arrays = call("list_slice", arrays, number(1), limit.copy())
    return call("flatten", arrays)


def respecting(node: exp.RespectNulls) -> exp.Expr:
    """Return an aggregate function with RESPECT NULLS: NULL is smaller than all values."""
    from sqlglot import exp

    function = node.this
    if isinstance(function, exp.ApproxQuantiles):
        return call("bq_quantiles", aggregate("list", function.this.copy()), number(buckets(function)))
    if isinstance(function, (exp.PercentileCont, exp.PercentileDisc)):
        kind = kinds.of(function.this)
        is_exact = isinstance(function, exp.PercentileCont) and kind not in (kinds.INT64, kinds.FLOAT64)
        if is_exact or kind is None:
            raise ApiError(501, f"The emulator has no PERCENTILE_CONT of {kind} with RESPECT NULLS.")
        items = aggregate("list", function.this.copy())
        if kind == kinds.FLOAT64:
            items = call("bq_without_nan", items)
        name = "bq_percentile_cont" if isinstance(function, exp.PercentileCont) else "bq_percentile_disc"
        return call(name, items, function.expression.copy())
    return function if is_aggregate(function) or is_ours(function) else node


def smallest(node: exp.Min) -> exp.Expr:
    """Return MIN: NaN where there is one."""
    from sqlglot import exp

    made = having(node)
    value = node.this.expressions[0] if isinstance(node.this, exp.Distinct) else node.this
    if made is not node or kinds.of(node.this) != kinds.FLOAT64:
        return made
    return call("bq_smallest", exp.Min(this=value.copy()), aggregate("bool_or", call("isnan", value.copy())))


def summed(node: exp.Sum) -> exp.Expr:
    """Return SUM: that of FLOAT64s is an error where it overflows, that of INT64s is an INT64."""
    from sqlglot import exp

    made = having(node)
    if made is node and kinds.of(node.this) == kinds.INT64 and isinstance(node.parent, (exp.Select, exp.Alias)):
        return cast(node, "bigint")
    value = node.this.expressions[0] if isinstance(node.this, exp.Distinct) else node.this
    if made is not node or kinds.of(node.this) != kinds.FLOAT64 or numbers.is_in_window_key(node):
        return made
    return call("bq_summed", node.copy(), aggregate("bool_and", call("isfinite", value.copy())))


def bits(name: str) -> Any:
    """Return the rule of BIT_AND, BIT_OR or BIT_XOR, of BYTES as well.

    :param name: the function in :mod:`library`.
    """

    def rule(node: Any) -> exp.Expr:
        mode = node.meta.get("mode")
        if mode not in (None, "STRICT", "PAD"):
            raise invalid_query(f"Unsupported argument for parameter mode: {mode}")
        if kinds.of(node.this) != kinds.BYTES:
            return having(node)
        return call(name, aggregate("list", node.this.copy()), number(int(mode == "PAD")))

    return rule
