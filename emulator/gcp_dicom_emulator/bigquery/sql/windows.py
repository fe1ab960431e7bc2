"""Windows: what GoogleSQL refuses in them, and what DuckDB does in them in another way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import kinds
from gcp_dicom_emulator.bigquery.sql.calls import call, cast, is_aggregate, is_null, whole
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp


def windowed(node: exp.Window) -> exp.Expr:
    """Return a function over a window, or a window of a WINDOW clause."""
    spec = _found(node, "spec")
    if spec is not None:
        _check_distances(node, spec)
    is_definition = node.arg_key == "windows"
    if not is_definition:
        _check_function(node, spec)
    if spec is not None and has_distance(spec):
        _widen(node)
    return node if is_definition else _spread(node)


def has_distance(spec: exp.Expr) -> bool:
    """Say whether a frame reaches as far as a distance of values."""
    return str(spec.args.get("kind")).upper() == "RANGE" and bool(_distances(spec))


def _distances(spec: exp.Expr) -> list[Any]:
    from sqlglot import exp

    return [spec.args[key] for key in ("start", "end") if isinstance(spec.args.get(key), exp.Expr)]


def _found(node: exp.Window, key: str) -> Any:
    """Return a part of a window, or of the one that it names."""
    from sqlglot import exp

    if node.args.get(key) is not None:
        return node.args[key]
    name = node.args.get("alias")
    select = node.find_ancestor(exp.Select)
    if name is None or select is None:
        return None
    for window in select.args.get("windows") or []:
        if window.this.name.lower() == name.name.lower() and window is not node:
            return _found(window, key)
    return None


def _key(node: exp.Window) -> exp.Expr | None:
    order = _found(node, "order")
    return order.expressions[-1].this if order is not None else None


def _check_distances(node: exp.Window, spec: exp.Expr) -> None:
    for distance in _distances(spec):
        if is_null(distance):
            raise invalid_query("The boundary offset value cannot be null")
    kind = kinds.of(_key(node))
    if has_distance(spec) and kind is not None and kind not in (*kinds.NUMBERS, kinds.NULL):
        raise invalid_query(
            "ORDER BY key must be numeric in a RANGE-based window with OFFSET PRECEDING or OFFSET FOLLOWING boundaries, "
            f"but has type {kind}"
        )


def _check_function(node: exp.Window, spec: exp.Expr | None) -> None:
    """Refuse frames and arguments that a function of a window does not have."""
    from sqlglot import exp

    function = node.this.this if isinstance(node.this, (exp.IgnoreNulls, exp.RespectNulls)) else node.this
    name = type(function).__name__.upper()
    ranks = (exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile, exp.Lag, exp.Lead)
    if spec is not None and isinstance(function, ranks):
        raise invalid_query(f"Window framing clause is not allowed for analytic function {function.sql_name().lower()}")
    if isinstance(function, (exp.Lag, exp.Lead)):
        if is_null(function.args.get("offset")):
            raise invalid_query(f"The offset to the function {name} must not be null")
        default = function.args.get("default")
        if default is not None and default.find(exp.Column):
            raise invalid_query(f"The third argument (the default expression) to {name} must be constant")
    number = function.this if isinstance(function, exp.Ntile) else function.args.get("offset")
    if isinstance(function, (exp.Ntile, exp.NthValue)) and (is_null(number) or (whole(number) or 1) <= 0 or whole(number) == 0):
        raise invalid_query(f"The N value for the {function.sql_name()} function must be positive")


def _widen(node: exp.Window) -> None:
    """Let the distances of numbers reach over the ends of their types, and NaN and infinities have none but themselves near."""
    from sqlglot import exp

    spec = node.args.get("spec")
    if spec is None or _key(node) is None:
        return
    if node.args.get("order") is None:
        # The order is that of a window of the WINDOW clause, which others may have without a distance.
        keys = [_found(node, "order").expressions[-1].copy()]
        for key, value in (
            ("partition_by", _found(node, "partition_by")),
            ("order", exp.Order(expressions=keys)),
            ("alias", None),
        ):
            node.set(key, [one.copy() for one in value] if isinstance(value, list) else value)
    order = node.args["order"]
    if len(order.expressions) != 1:
        raise ApiError(501, "The emulator's windows have one ORDER BY where a RANGE has distances.")
    ordered = order.expressions[0]
    kind, key = kinds.of(ordered.this), ordered.this

    def wider(value: exp.Expr) -> exp.Expr:
        made = cast(value, "hugeint") if kind == kinds.INT64 else call("bq_scaled", cast(value, "decimal(38, 9)"))
        return kinds.put(made, kind)

    for side in ("start", "end"):
        distance = spec.args.get(side)
        if isinstance(distance, exp.Expr) and kind == kinds.FLOAT64:
            goes_down = (str(spec.args[f"{side}_side"]).upper() == "PRECEDING") != bool(ordered.args.get("desc"))
            spec.set(side, call("bq_range_down" if goes_down else "bq_range_up", key.copy(), cast(distance, "double")))
        elif isinstance(distance, exp.Expr) and kind in (kinds.INT64, kinds.NUMERIC):
            spec.set(side, wider(distance))
    if kind == kinds.FLOAT64:
        ordered.set("this", kinds.put(call("bq_range_key", key.copy()), kind))
    elif kind in (kinds.INT64, kinds.NUMERIC):
        ordered.set("this", wider(key))


def _spread(node: exp.Window) -> exp.Expr:
    """Give each of the aggregates that a rule has made of one a window of its own."""
    from sqlglot import exp

    function = node.this
    inner = function.this if isinstance(function, (exp.IgnoreNulls, exp.RespectNulls)) else function
    if is_aggregate(inner) or not any(is_aggregate(part) for part in function.walk()):
        return node

    def over(part: exp.Expr) -> exp.Expr:
        if not is_aggregate(part):
            return part
        window = node.copy()
        window.set("this", part.copy())
        return window

    return kinds.put(function.copy().transform(over), kinds.of(node))
