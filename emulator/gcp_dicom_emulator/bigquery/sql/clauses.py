"""What GoogleSQL's clauses want of each other, whatever the types: what SQLGlot reads for all dialects, and GoogleSQL has not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql.calls import function_name
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query, position
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp

#: Clauses of other dialects, by SQLGlot's names.
_FOREIGN = {
    "into": "INTO", "sort": "SORT", "cluster": "CLUSTER", "distribute": "DISTRIBUTE", "connect": "CONNECT", "prewhere": "PREWHERE",
    "locks": "FOR", "sample": "USING", "settings": "SETTINGS", "laterals": "LATERAL",
}  # fmt: skip


def check(statement: exp.Expr) -> None:
    """Refuse a statement with what GoogleSQL has not.

    :raises ApiError: 400, with its place.
    """
    rules = _rules()
    for node in statement.walk():
        if rule := rules.get(type(node)):
            rule(node)


def _unexpected(what: str, node: exp.Expr) -> ApiError:
    return invalid_query(f"Syntax error: Unexpected {what} at {position(node)}")


def _select(select: exp.Select) -> None:
    from sqlglot import exp

    for key, word in _FOREIGN.items():
        if select.args.get(key):
            raise _unexpected(f"keyword {word}", select)
    distinct = select.args.get("distinct")
    if distinct is not None and distinct.args.get("on") is not None:
        raise _unexpected("keyword ON", distinct)
    if select.args.get("from_") is None:
        _without_from(select)
    if select.args.get("offset") is not None and select.args.get("limit") is None:
        raise _unexpected("keyword OFFSET", select.args["offset"])
    qualify = select.args.get("qualify")
    if qualify is not None and not any(part.find(exp.Window) for part in (qualify, *select.expressions)):
        raise invalid_query(f"The QUALIFY clause requires analytic function to be present at {position(qualify)}")
    for item in select.expressions:
        if isinstance(item.unalias(), exp.Unnest):
            raise _unexpected("keyword UNNEST", item)


def _without_from(select: exp.Select) -> None:
    from sqlglot import exp

    for key, what in (("where", "a WHERE"), ("having", "a HAVING"), ("qualify", "a QUALIFY"), ("windows", "a WINDOW")):
        if select.args.get(key):
            raise invalid_query(f"Query without FROM clause cannot have {what} clause at {position(select)}")
    for item in select.expressions:
        if isinstance(item, exp.Star):
            raise invalid_query(f"SELECT * must have a FROM clause at {position(item)}")
        for found in item.find_all(exp.AggFunc):
            if found.find_ancestor(exp.Query) is select and found.find_ancestor(exp.Window) is None:
                name = "COUNT(*)" if isinstance(found, exp.Count) and isinstance(found.this, exp.Star) else function_name(found)
                raise invalid_query(f"Aggregate function {name} not allowed in SELECT without FROM clause at {position(found)}")


def _limit(limit: exp.Limit) -> None:
    from sqlglot import exp

    if limit.args.get("offset") is not None or limit.args.get("limit_options") is not None:
        raise _unexpected("end of LIMIT", limit)
    _count(limit)
    if isinstance(limit.parent, exp.AggFunc) and isinstance(limit.expression, exp.Neg):
        raise _unexpected('"-"', limit.expression)


def _count(node: Any) -> None:
    from sqlglot import exp

    count = node.expression
    if isinstance(count, exp.Literal) and not count.name.isdigit():
        word = "LIMIT" if isinstance(node, exp.Limit) else "OFFSET"
        kind = "STRING" if count.is_string else "FLOAT64"
        raise invalid_query(f"{word} expects an INT64, but has type {kind} at {position(count)}")


def _alias(alias: exp.TableAlias) -> None:
    from sqlglot import exp

    if alias.columns and isinstance(alias.parent, (exp.Table, exp.Subquery, exp.CTE, exp.Values)):
        raise _unexpected('"("', alias)


def _with(with_: exp.With) -> None:
    names = [cte.alias.lower() for cte in with_.expressions]
    for number, cte in enumerate(with_.expressions):
        if cte.alias.lower() in names[:number]:
            raise invalid_query(f"Duplicate alias {cte.alias} for WITH subquery at {position(cte)}")


def _group(group: exp.Group) -> None:
    from sqlglot import exp

    for key in group.expressions:
        for found in key.find_all(exp.AggFunc):
            if found.find_ancestor(exp.Query) is group.parent:
                raise invalid_query(f"Aggregate function {function_name(found)} not allowed in GROUP BY at {position(found)}")


def _cte(cte: exp.CTE) -> None:
    if cte.args.get("materialized") is not None:
        raise _unexpected("keyword MATERIALIZED", cte)


def _values(values: exp.Values) -> None:
    from sqlglot import exp

    if not isinstance(values.parent, (exp.Insert, exp.When, exp.Merge)):
        raise _unexpected("keyword VALUES", values)


def _join(join: exp.Join) -> None:
    from sqlglot import exp

    is_joined = join.args.get("on") is not None or bool(join.args.get("using"))
    if join.method or join.kind in ("SEMI", "ANTI"):
        raise _unexpected(f"keyword {join.method or join.kind}", join)
    if join.kind == "CROSS" and is_joined:
        raise _unexpected("keyword ON", join)
    # A path may be an array, which needs no condition.
    is_array = isinstance(join.this, exp.Unnest) or (isinstance(join.this, exp.Table) and len(join.this.parts) > 1)
    if join.kind != "CROSS" and not is_joined and not is_array and not join.this.args.get("joins"):
        raise invalid_query(
            f"{join.side or 'INNER'} JOIN must have an immediately following ON or USING clause at {position(join)}"
        )


def _frame(spec: exp.WindowSpec) -> None:
    from sqlglot import exp

    if str(spec.args.get("kind")).upper() == "GROUPS":
        raise _unexpected("keyword GROUPS", spec)
    if spec.args.get("exclude"):
        raise _unexpected("keyword EXCLUDE", spec)
    for key in ("start", "end"):
        distance = spec.args.get(key)
        is_rows = str(spec.args.get("kind")).upper() == "ROWS"
        if isinstance(distance, exp.Neg):
            raise invalid_query(f"Window frame offset for PRECEDING or FOLLOWING must be non-negative at {position(distance)}")
        if is_rows and isinstance(distance, exp.Literal) and not distance.name.isdigit():
            raise invalid_query(f"Window frame offset must be an INT64 in a ROWS-based window at {position(distance)}")


def _aggregate(node: Any) -> None:
    from sqlglot import exp

    inner = node.this
    name = node.sql_name()
    sorted_ = (exp.ArrayAgg, exp.ArrayConcatAgg, exp.GroupConcat)
    if isinstance(inner, exp.Order) and not isinstance(node, sorted_):
        raise invalid_query(f"Aggregate function {name} does not support ORDER BY in arguments at {position(node)}")
    if isinstance(inner, exp.Distinct) and len(inner.expressions) > 1:
        raise invalid_query(f"No matching signature for aggregate function {name} at {position(node)}")
    values = inner.expressions if isinstance(inner, exp.Distinct) else [inner, *node.expressions]
    if any(isinstance(value, exp.Star) for value in values) and not (isinstance(node, exp.Count) and values == [inner]):
        raise invalid_query(f"Argument * can only be used in COUNT(*) at {position(node)}")
    if isinstance(node, exp.Count) and inner is None:
        raise invalid_query(f"No matching signature for aggregate function COUNT with no arguments at {position(node)}")


def _if(node: exp.If) -> None:
    from sqlglot import exp

    if not isinstance(node.parent, exp.Case) and node.args.get("false") is None:
        raise invalid_query(f"No matching signature for function IF at {position(node)}")


def _top_count(node: exp.ApproxTopK) -> None:
    if node.expression is None:
        raise invalid_query(f"No matching signature for aggregate function APPROX_TOP_COUNT at {position(node)}")
    _aggregate(node)


def _analytic(node: Any) -> None:
    """Refuse a function that is one of windows only, outside of one."""
    from sqlglot import exp

    parent = node.parent
    while isinstance(parent, (exp.IgnoreNulls, exp.RespectNulls, exp.SafeFunc)):
        parent = parent.parent
    if not isinstance(parent, exp.Window):
        raise invalid_query(
            f"Analytic function {function_name(node)} cannot be called without an OVER clause at {position(node)}"
        )


def _number(literal: exp.Literal) -> None:
    from sqlglot import exp

    if literal.is_string or not literal.name.isdigit():
        return
    value = -int(literal.name) if isinstance(literal.parent, exp.Neg) else int(literal.name)
    if not -(2**63) <= value < 2**63:
        raise invalid_query(f"Invalid integer literal: {value} at {position(literal)}")


def _star(star: exp.Star) -> None:
    if star.args.get("rename"):
        raise _unexpected("keyword RENAME", star)


def _interval(node: exp.Interval) -> None:
    if node.args.get("unit") is None:
        raise _unexpected("end of INTERVAL", node)


def _insert(insert: exp.Insert) -> None:
    if insert.args.get("default"):
        raise _unexpected("keyword DEFAULT", insert)


def _foreign_literal(node: exp.Expr) -> None:
    raise _unexpected("literal", node)


@functools.cache
def _rules() -> dict[type, Callable[[Any], None]]:
    from sqlglot import exp

    aggregates = [one for one in vars(exp).values() if isinstance(one, type) and issubclass(one, exp.AggFunc)]
    analytic = (
        exp.PercentileCont, exp.PercentileDisc, exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile,
        exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.NthValue,
    )  # fmt: skip
    return {
        **dict.fromkeys(aggregates, _aggregate),
        exp.ApproxTopK: _top_count,
        **dict.fromkeys(analytic, _analytic),
        exp.With: _with,
        exp.Group: _group,
        exp.Literal: _number,
        exp.Select: _select,
        exp.Limit: _limit,
        exp.Offset: _count,
        exp.TableAlias: _alias,
        exp.CTE: _cte,
        exp.Values: _values,
        exp.Join: _join,
        exp.WindowSpec: _frame,
        exp.If: _if,
        exp.Star: _star,
        exp.Interval: _interval,
        exp.Insert: _insert,
        exp.National: _foreign_literal,
        exp.BitString: _foreign_literal,
    }
