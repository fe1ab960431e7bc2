"""GEOGRAPHY, RANGE, TIMESTAMP(12) and INTERVAL: what may be done with their values, and what that is in DuckDB.

DuckDB has an INTERVAL, and nothing for the others, which are structs there (:mod:`types`). Whatever is not named here is refused.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import kinds, types
from gcp_dicom_emulator.bigquery.sql.calls import call, cast, is_null, is_text, number, text
from gcp_dicom_emulator.bigquery.sql.kinds import Kind
from gcp_dicom_emulator.bigquery.sql.macros import FAILING
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query, position
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp

#: The types whose values no function takes that is not made for them.
_NAMES = ("GEOGRAPHY", "RANGE", "TIMESTAMP(12)")
#: Those that JSON and FORMAT are refused of.
NOT_IN_JSON = (*_NAMES, "INTERVAL")


# What is allowed


@functools.cache
def _parents() -> tuple[tuple[type, ...], tuple[type, ...]]:
    """Return the nodes that take a value of any type, and those that compare and sort."""
    from sqlglot import exp

    passing = (
        exp.Select, exp.Alias, exp.Paren, exp.Subquery, exp.Is, exp.Count, exp.AnyValue, exp.ArrayAgg, exp.Array, exp.PropertyEQ,
        exp.Struct, exp.Tuple, exp.Case, exp.If, exp.Coalesce, exp.Cast, exp.TryCast, exp.Window, exp.FirstValue, exp.LastValue,
        exp.Lag, exp.Lead, exp.IgnoreNulls, exp.RespectNulls, exp.Filter, exp.SafeFunc, exp.Anonymous, exp.Typeof, exp.CTE,
        exp.SetOperation, exp.Insert, exp.Order, exp.Limit, exp.Star, exp.Values,
    )  # fmt: skip
    comparing = (
        exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Ordered, exp.Group, exp.Distinct,
    )  # fmt: skip
    return passing, comparing


def check(nodes: Sequence[exp.Expr]) -> None:
    """Refuse what would take a value of a special type for something else.

    :param nodes: the nodes of a resolved statement.
    :raises ApiError: 400 for what GoogleSQL refuses, 501 for what the emulator does not do.
    """
    for node in nodes:
        kind = kinds.of(node)
        if kind is not None and kind.name in _NAMES:
            _check(node, kind)


def _check(node: exp.Expr, kind: Kind) -> None:
    from sqlglot import exp

    parent = node.parent
    passing, comparing = _parents()
    if isinstance(parent, exp.EQ) and isinstance(parent.parent, (exp.Update, exp.When)):
        return  # an assignment
    if isinstance(parent, exp.Select) and parent.args.get("distinct") and kind == kinds.GEOGRAPHY:
        raise invalid_query(f"Column of type GEOGRAPHY cannot be used in SELECT DISTINCT at {position(node)}")
    if parent is None or isinstance(parent, passing):
        return
    if isinstance(parent, comparing) and kind == kinds.GEOGRAPHY:
        words: dict[type, str] = {exp.Ordered: "ORDER BY", exp.Group: "GROUP BY", exp.Distinct: "DISTINCT"}
        word = words.get(type(parent), "A comparison")
        raise invalid_query(f"{word} does not support expressions of type GEOGRAPHY at {position(node)}")
    if isinstance(parent, (exp.Ordered, exp.Group, exp.Distinct)):
        return
    if isinstance(parent, comparing) and all(kinds.of(side) in (kind, kinds.NULL) for side in (parent.this, parent.expression)):
        return
    name = parent.sql_name() if isinstance(parent, exp.Func) else type(parent).__name__.upper()
    raise ApiError(501, f"The emulator does not do {name} of a {kind}.")


# Functions


def _no_signature(node: exp.Expr, name: str) -> ApiError:
    found = ", ".join(str(kinds.of(argument) or "?") for argument in node.expressions)
    return invalid_query(f"No matching signature for function {name} for argument types: {found} at {position(node)}")


def _bound(value: exp.Expr, element: Kind, infinity: str) -> exp.Expr:
    """Return a bound of a RANGE, NULL for none, as DuckDB's value."""
    kind = kinds.duckdb_type(element)
    return call("coalesce", cast(value, kind), cast(text(infinity), kind))


def _element(node: exp.Expr) -> Kind | None:
    """Return of what the RANGE is that RANGE makes."""
    found = {kind for kind in map(kinds.of, node.expressions) if kind != kinds.NULL}
    return found.pop() if len(found) == 1 else None


def _range(node: exp.Expr) -> exp.Expr:
    element = _element(node)
    if element not in (kinds.DATE, kinds.DATETIME, kinds.TIMESTAMP) or element is None or len(node.expressions) != 2:
        raise _no_signature(node, "RANGE")
    low, high = node.expressions
    return call("bq_range", _bound(low, element, "-infinity"), _bound(high, element, "infinity"))


def _end_of_range(name: str, infinity: str) -> Callable[[Any], Any]:
    def rule(node: exp.Expr) -> exp.Expr:
        kind = kinds.of(node.expressions[0])
        element = kinds.duckdb_type((kind.element if kind is not None else None) or kinds.DATE)
        return call("nullif", call("struct_extract", node.expressions[0], text(name)), cast(text(infinity), element))

    return rule


def _contains(node: exp.Expr) -> exp.Expr:
    of, value = map(kinds.of, node.expressions)
    if value == of:
        return call("bq_range_contains_range", *node.expressions)
    if of is None or value != of.element:
        raise _no_signature(node, "RANGE_CONTAINS")
    return call("bq_range_contains", *node.expressions)


def _of_same(macro: str, name: str) -> Callable[[Any], Any]:
    def rule(node: exp.Expr) -> exp.Expr:
        if len({kinds.of(argument) for argument in node.expressions}) > 1:
            raise _no_signature(node, name)
        return call(macro, *node.expressions)

    return rule


def geography(value: exp.Expr) -> exp.Expr:
    """Return a text of DuckDB's, well-known text, as a GEOGRAPHY."""
    from sqlglot import exp

    absent = exp.If(this=exp.Is(this=value.copy(), expression=exp.Null()), true=exp.Null())
    packed = exp.PropertyEQ(
        this=exp.to_identifier(types.GEOGRAPHY_FIELD, quoted=True), expression=call("py_geography", value.copy())
    )
    return exp.Case(ifs=[absent], default=exp.Struct(expressions=[packed]))


def _geography_of_text(node: exp.Expr) -> exp.Expr:
    if len(node.expressions) > 1:
        raise ApiError(501, "The emulator's ST_GEOGFROMTEXT has no options.")
    return geography(node.expressions[0])


_POINT = (kinds.FLOAT64, kinds.INT64, kinds.NUMERIC, kinds.BIGNUMERIC, kinds.NULL)
_IS_RANGE = "RANGE"
#: By name: the types of the arguments (``RANGE`` for any), the type of the result if it is always the same, and what writes it.
_FUNCTIONS: dict[str, tuple[tuple[Any, ...], Kind | None, Callable[[Any], Any]]] = {
    "ST_GEOGPOINT": ((_POINT, _POINT), kinds.GEOGRAPHY, lambda node: call("bq_geogpoint", *node.expressions)),
    "ST_GEOGFROMTEXT": (((kinds.STRING, kinds.NULL),), kinds.GEOGRAPHY, _geography_of_text),
    "ST_ASTEXT": (
        ((kinds.GEOGRAPHY,),),
        kinds.STRING,
        lambda node: call("struct_extract", node.expressions[0], text(types.GEOGRAPHY_FIELD)),
    ),
    "ST_X": (((kinds.GEOGRAPHY,),), kinds.FLOAT64, lambda node: call("bq_st_x", *node.expressions)),
    "ST_Y": (((kinds.GEOGRAPHY,),), kinds.FLOAT64, lambda node: call("bq_st_y", *node.expressions)),
    "RANGE": ((None, None), None, _range),
    "RANGE_START": ((_IS_RANGE,), None, _end_of_range(types.RANGE_FIELDS[0], "-infinity")),
    "RANGE_END": ((_IS_RANGE,), None, _end_of_range(types.RANGE_FIELDS[1], "infinity")),
    "RANGE_CONTAINS": ((_IS_RANGE, None), kinds.BOOL, _contains),
    "RANGE_OVERLAPS": ((_IS_RANGE, _IS_RANGE), kinds.BOOL, _of_same("bq_range_overlaps", "RANGE_OVERLAPS")),
    "RANGE_INTERSECT": ((_IS_RANGE, _IS_RANGE), None, _of_same("bq_range_intersect", "RANGE_INTERSECT")),
}


def kind_of_function(node: exp.Anonymous) -> Kind | None:
    """Return the type of one of these functions, ``None`` for another."""
    name = node.name.upper()
    if name not in _FUNCTIONS:
        return None
    _, kind, _ = _FUNCTIONS[name]
    first = kinds.of(node.expressions[0]) if node.expressions else None
    if kind is not None or first is None:
        return kind
    if name == "RANGE":
        return kinds.range_of(_element(node))
    return first if name == "RANGE_INTERSECT" else first.element


def function(name: str, node: exp.Anonymous) -> exp.Expr | None:
    """Return a call of one of these functions as DuckDB has it, ``None`` for another.

    :param name: the function's upper-case name.
    :raises ApiError: 400 for arguments that it does not take, 501 where their types are not known.
    """
    if name not in _FUNCTIONS:
        return None
    wanted, _, rule = _FUNCTIONS[name]
    found = [kinds.of(argument) for argument in node.expressions]
    if any(kind is None for kind in found):
        raise ApiError(501, f"The emulator's {name} does not know the type of an argument here; CAST it.")
    if len(found) < len(wanted) or (len(found) > len(wanted) and name != "ST_GEOGFROMTEXT"):
        raise _no_signature(node, name)
    for kind, allowed in zip(found, wanted, strict=False):
        is_taken = allowed is None or (kind is not None and (kind.name == "RANGE" if allowed == _IS_RANGE else kind in allowed))
        if not is_taken:
            raise _no_signature(node, name)
    return rule(node)  # type: ignore[no-any-return]


# Casts and literals


def converted(node: Any) -> exp.Expr | None:
    """Return a CAST from or to one of these types, ``None`` for another CAST."""
    own, to = kinds.of(node.this), kinds.of(node)
    if to is None or not any(kind is not None and kind.name in NOT_IN_JSON for kind in (own, to)):
        return None
    from sqlglot import exp

    made = _converted(node.this, own, to)
    if made is None:
        raise invalid_query(f"Invalid cast from {own or '?'} to {to} at {position(node)}")
    if isinstance(node, exp.TryCast) and made.name in FAILING:
        made.set("this", f"safe_{made.name}")
    return made


def _converted(value: exp.Expr, own: Kind | None, to: Kind) -> exp.Expr | None:
    if own == to:
        return value
    if own == kinds.NULL or is_null(value):
        return cast(value, kinds.duckdb_type(to))
    if own is None:
        raise ApiError(501, f"The emulator's CAST to {to} does not know the type of its argument here.")
    if own == kinds.STRING and to == kinds.INTERVAL:
        return call("bq_interval", value)
    if own == kinds.STRING and to == kinds.PICOSECONDS:
        return call("bq_picoseconds", value)
    if own == kinds.STRING and to.name == "RANGE" and to.element is not None:
        return call(f"bq_range_of_{to.element.name.lower()}", value)
    if own == kinds.INTERVAL and to == kinds.STRING:
        return call("bq_string_of_interval", value)
    if own == kinds.PICOSECONDS and to == kinds.TIMESTAMP:
        return call("struct_extract", value, text(types.PICOSECOND_FIELDS[0]))
    if own == kinds.TIMESTAMP and to == kinds.PICOSECONDS:
        return call("bq_without_picoseconds", value)
    if own.name == "RANGE" and to == kinds.STRING:
        return call("bq_string_of_range", value)
    if own == kinds.PICOSECONDS or to == kinds.PICOSECONDS:
        raise ApiError(501, f"The emulator does no CAST from {own} to {to}.")
    return None


def data_type(node: Any) -> exp.Expr | None:
    """Return one of these types as DuckDB has it, ``None`` for another."""
    from sqlglot import exp

    kind = kinds.of_type(node)
    if kind is None or kind.name not in _NAMES:
        return None
    if not kind.is_known:
        raise invalid_query("Syntax error: RANGE needs the type of its elements")
    return exp.DataType.build(kinds.duckdb_type(kind), dialect="duckdb")


_SPAN = ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND")
#: What stands between two parts of an INTERVAL of several.
_BETWEEN = ("-", r"\s+", r"\s+", ":", ":")


def interval(node: exp.Interval) -> exp.Expr:
    """Return INTERVAL '…' YEAR TO SECOND and its like."""
    from sqlglot import exp

    span = node.args.get("unit")
    if not isinstance(span, exp.IntervalSpan):
        _check_interval(node)
        return node
    first, last = (_SPAN.index(part.name.upper()) for part in (span.this, span.expression))
    pattern = "".join(
        (r"(?P<s{0}>[-+]?)" if place in (0, 2, 3) or place == first else "(?P<s{0}>)").format(place)
        + rf"(?P<n{place}>\d+" + (r"(?:\.\d{1,6})?" if place == 5 else "") + ")" + (_BETWEEN[place] if place < last else "")
        for place in range(first, last + 1)
    )  # fmt: skip
    match = re.fullmatch(pattern, node.this.name.strip()) if is_text(node.this) else None
    if match is None:
        raise invalid_query(f"Invalid INTERVAL literal at {position(node)}")
    signs: dict[int, int] = {}
    values = [0] * 6
    for place in range(first, last + 1):
        group = 0 if place < 2 else 2 if place == 2 else 3
        signs.setdefault(group, -1 if match[f"s{place}"] == "-" else 1)
        whole, _, rest = match[f"n{place}"].partition(".")
        values[place] = signs[group] * (int(whole) * (1_000_000 if place == 5 else 1) + int(rest.ljust(6, "0") if rest else 0))
    micros = (values[3] * 3600 + values[4] * 60) * 1_000_000 + values[5]
    return call("bq_interval_of", number(values[0] * 12 + values[1]), number(values[2]), number(micros))


def _check_interval(node: exp.Interval) -> None:
    """Refuse an INTERVAL of one part that is not a whole number; seconds may have fractions."""
    if not is_text(node.this):
        return
    is_second = node.args.get("unit") is not None and node.args["unit"].name.upper() == "SECOND"
    if not re.fullmatch(r"\s*[-+]?\d+" + (r"(\.\d{0,9})?" if is_second else "") + r"\s*", node.this.name):
        raise invalid_query(f"Invalid INTERVAL literal at {position(node)}")
    if re.search(r"\.\d{6}0*[1-9]", node.this.name):
        raise ApiError(501, "The emulator's INTERVAL has microseconds, and no nanoseconds.")


def made_interval(node: exp.MakeInterval) -> exp.Expr:
    """Return MAKE_INTERVAL."""
    from sqlglot import exp

    given = {key: value.expression if isinstance(value, exp.Kwarg) else value for key, value in node.args.items() if value}
    years, months, days, hours, minutes, seconds = (cast(given.get(part.lower()) or number(0), "bigint") for part in _SPAN)
    return call("bq_made_interval", years, months, days, hours, minutes, seconds)


def difference(node: Any) -> exp.Expr | None:
    """Return a date or time less another, which is an INTERVAL; ``None`` for another subtraction."""
    from sqlglot import exp

    own = kinds.of(node.this)
    if not isinstance(node, exp.Sub) or kinds.of(node) != kinds.INTERVAL or own == kinds.INTERVAL:
        return None
    if own == kinds.DATE:
        return call("bq_days", call("date_diff", text("day"), node.expression, node.this))
    return call("to_microseconds", exp.Sub(this=call("epoch_us", node.this), expression=call("epoch_us", node.expression)))
