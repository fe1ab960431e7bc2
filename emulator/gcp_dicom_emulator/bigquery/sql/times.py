"""Dates and times: the rules of :mod:`functions` for what DuckDB formats, parses, counts and extracts in another way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import kinds, numbers
from gcp_dicom_emulator.bigquery.sql.calls import call, cast, is_text, number, text
from gcp_dicom_emulator.bigquery.sql.macros import ABBREVIATIONS
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query

if TYPE_CHECKING:
    from sqlglot import exp

_UNITS = ("MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY")


def written_time(node: exp.TimeToStr) -> exp.Expr:
    """Return FORMAT_DATE, FORMAT_DATETIME, FORMAT_TIME or FORMAT_TIMESTAMP."""
    from sqlglot import exp

    functions = {exp.TsOrDsToDate: "DATE", exp.TsOrDsToDatetime: "DATETIME", exp.TsOrDsToTime: "TIME"}
    kind = functions.get(type(node.this), "TIMESTAMP")
    value, ahead = node.this.this, number(0)
    if kind == "DATE" and kinds.of(value) in (kinds.DATETIME, kinds.TIMESTAMP):
        kind = "DATETIME" if kinds.of(value) == kinds.DATETIME else "TIMESTAMP"
    if kind == "TIME":  # which FORMAT_TIME has around its argument
        value = exp.Add(this=cast(text("1970-01-01"), "date"), expression=call("bq_time", value.copy()))
    elif kind == "TIMESTAMP" and node.args.get("zone") is not None:
        moment = cast(value, "timestamptz")
        value, ahead = in_zone(moment, node.args["zone"]), minutes_ahead(moment, node.args["zone"])
    micros = call("epoch_us", cast(value, "timestamp"))
    return call("py_strftime", micros, ahead, cast(node.args["format"], "text"), text(kind))


def parsed_time(node: Any) -> exp.Expr:
    """Return PARSE_DATE, PARSE_DATETIME, PARSE_TIME or PARSE_TIMESTAMP."""
    from sqlglot import exp

    kind = {exp.StrToDate: "DATE", exp.ParseTime: "TIME", exp.ParseDatetime: "DATETIME"}.get(type(node), "TIMESTAMP")
    zone = cast(node.args["zone"], "text") if node.args.get("zone") else text("UTC")
    parsed = call("py_strptime", cast(node.this, "text"), cast(node.args["format"], "text"), text(kind), zone)
    if kind == "TIMESTAMP":
        return call("bq_parsed_timestamp", parsed)
    return cast(call("bq_clocks", parsed), "timestamp" if kind == "DATETIME" else kind.lower())


def timestamp_difference(node: exp.TimestampDiff) -> exp.Expr:
    """Return TIMESTAMP_DIFF, which counts whole units, where the others count the boundaries between them."""
    unit = node.args["unit"].name.upper()
    if unit not in _UNITS:
        raise invalid_query(f"TIMESTAMP_DIFF does not support the {unit} date part")
    return call("datesub", text(unit.lower()), cast(node.expression, "timestamptz"), cast(node.this, "timestamptz"))


def moved_timestamp(node: Any) -> exp.Expr:
    """Refuse units in TIMESTAMP_ADD and TIMESTAMP_SUB whose length depends on a time zone."""
    unit = node.args["unit"].name.upper() if node.args.get("unit") else ""
    if unit in ("WEEK", "MONTH", "QUARTER", "YEAR"):
        raise invalid_query(f"{node.sql_name()} does not support the {unit} date part when the argument is TIMESTAMP type")
    return in_range(cast(_as(node, kinds.TIMESTAMP), "timestamptz"), kinds.TIMESTAMP, node)


#: Units that only what has a time of day knows.
_CLOCK = ("MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR")
_CALENDAR = ("DAY", "WEEK", "ISOWEEK", "MONTH", "QUARTER", "YEAR", "ISOYEAR")


def _check_unit(node: Any, unit: Any, kind: kinds.Kind | None) -> None:
    """Refuse a unit that GoogleSQL does not have, or not for a type."""
    if unit is None:
        return
    from sqlglot import exp

    if isinstance(unit, exp.WeekStart):
        return
    name = unit.name.upper()
    if name not in (*_CLOCK, *_CALENDAR):
        raise invalid_query(f"A valid date part name is required but found {name}")
    if name in {kinds.DATE: _CLOCK, kinds.TIME: _CALENDAR}.get(kind or kinds.NULL, ()):
        raise invalid_query(f"{node.sql_name()} does not support the {name} date part")


def of_clock(node: Any) -> exp.Expr:
    """Refuse units of TIME_ADD, TIME_SUB and TIME_DIFF that a TIME has not."""
    _check_unit(node, node.args.get("unit"), kinds.TIME)
    return node  # type: ignore[no-any-return]


def truncated_time(node: exp.TimeTrunc) -> exp.Expr:
    """Return TIME_TRUNC."""
    _check_unit(node, node.args["unit"], kinds.TIME)
    return call("bq_time_trunc", text(node.args["unit"].name.lower()), cast(node.this, "time"))


def difference(node: Any) -> exp.Expr:
    """Return DATE_DIFF or DATETIME_DIFF."""
    unit = node.args.get("unit")
    if unit is None:
        raise invalid_query(f"No matching signature for function {node.sql_name()}")
    both = [kinds.of(node.this), kinds.of(node.expression)]
    _check_unit(node, unit, kinds.DATE if kinds.DATE in both and set(both) <= {kinds.DATE, kinds.STRING} else None)
    return node  # type: ignore[no-any-return]


def epoch(micros: int) -> Any:
    """Return the rule of UNIX_SECONDS or UNIX_MILLIS, which round down.

    :param micros: how many microseconds they count.
    """

    def rule(node: Any) -> exp.Expr:
        return call("bq_epoch", node.this, number(micros))

    return rule


def moved(node: Any) -> exp.Expr:
    """Return DATE_ADD, DATETIME_ADD and their like: of the type of what is moved, and inside of its range."""
    kind = kinds.of(node) or kinds.DATE
    _check_unit(node, node.args.get("unit"), kind)
    if kind == kinds.TIMESTAMP:
        return moved_timestamp(node)
    return in_range(cast(_as(node, kind), kinds.duckdb_type(kind)), kind, node)


def _as(node: Any, kind: kinds.Kind) -> exp.Expr:
    """Return a node whose first argument, a literal or a NULL, has the node's type."""
    if kinds.of(node.this) != kind:
        node.set("this", cast(node.this, kinds.duckdb_type(kind)))
    return node  # type: ignore[no-any-return]


def truncated(node: Any) -> exp.Expr:
    """Return DATE_TRUNC, DATETIME_TRUNC or TIMESTAMP_TRUNC: each takes, and gives, any of the three types."""
    from sqlglot import exp

    kind = kinds.of(node)
    if kind not in (kinds.DATE, kinds.DATETIME, kinds.TIMESTAMP):
        kind = {exp.DateTrunc: kinds.DATE, exp.DatetimeTrunc: kinds.DATETIME}.get(type(node), kinds.TIMESTAMP)
    unit, zone = node.args["unit"], node.args.get("zone")
    _check_unit(node, unit, kind)
    value = cast(node.this, kinds.duckdb_type(kind))
    if zone is not None or kind == kinds.TIMESTAMP:
        value = in_zone(value, zone if zone is not None else text("UTC"))
    made = _truncated(unit, value)
    if kind == kinds.TIMESTAMP and unit.name.upper() in _CLOCK:
        # The clocks may show the same hour twice.
        return exp.paren(
            exp.Sub(this=cast(node.this, "timestamptz"), expression=exp.paren(exp.Sub(this=value.copy(), expression=made)))
        )
    if zone is not None or kind == kinds.TIMESTAMP:
        made = from_zone(cast(made, "timestamp"), zone if zone is not None else text("UTC"))
    return in_range(cast(made, kinds.duckdb_type(kind)), kind, node)


def in_range(value: exp.Expr, kind: kinds.Kind, node: Any) -> exp.Expr:
    """Return a DATE, DATETIME or TIMESTAMP that fails outside of BigQuery's range, unless it is in the key of a window.

    :param node: what the value is made of.
    """
    if numbers.is_in_window_key(node):
        return value
    return call(f"bq_{kind.name.lower()}_in_range", value)


def last_day(node: exp.LastDay) -> exp.Expr:
    """Return LAST_DAY, which may lie behind the last day of all."""
    return in_range(cast(node, "date"), kinds.DATE, node)


_DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")


def _truncated(unit: Any, value: exp.Expr) -> exp.Expr:
    from sqlglot import exp

    name = unit.this.name.upper() if isinstance(unit, exp.WeekStart) else unit.name.upper()
    if isinstance(unit, exp.WeekStart) and name in _DAYS:
        days = exp.Interval(this=text(str(_DAYS.index(name))), unit=exp.var("DAY"))
        week = call("date_trunc", text("week"), exp.paren(exp.Sub(this=value, expression=days)))
        return exp.paren(exp.Add(this=cast(week, "timestamp"), expression=days.copy()))
    if name == "ISOYEAR":
        return call("bq_iso_year", value)
    return call("date_trunc", text({"ISOWEEK": "week"}.get(name, name.lower())), value)


_OFFSET = re.compile(r"(?:UTC)?([-+])(\d{1,2})(?::?(\d{1,2}))?")


def in_zone(value: exp.Expr, zone: exp.Expr) -> exp.Expr:
    """Return a TIMESTAMP WITH TIME ZONE of DuckDB as what clocks in a time zone show."""
    from sqlglot import exp

    if not is_text(zone):
        return call("bq_in_zone", value, zone.copy())
    offset = _offset(zone)
    if offset is None:
        return call("timezone", zone.copy(), value)
    return exp.paren(exp.Add(this=call("timezone", text("UTC"), value), expression=offset))


def from_zone(value: exp.Expr, zone: exp.Expr) -> exp.Expr:
    """Return the moment at which clocks in a time zone show a TIMESTAMP of DuckDB."""
    from sqlglot import exp

    if not is_text(zone):
        return call("bq_from_zone", value, zone.copy())
    offset = _offset(zone)
    if offset is None and zone.name != "UTC":
        return call("bq_from_named_zone", value, zone.copy())
    if offset is None:
        return call("timezone", zone.copy(), value)
    return call("timezone", text("UTC"), exp.paren(exp.Sub(this=value, expression=offset)))


def _offset(zone: exp.Expr) -> exp.Expr | None:
    """Return the interval that a time zone written as an offset means, which DuckDB does not know: ``+05:45``."""
    if zone.name.upper() in ABBREVIATIONS:
        raise invalid_query(f"Invalid time zone: {zone.name}")
    match = _OFFSET.fullmatch(zone.name)
    if match is None:
        return None
    minutes = int(match[2]) * 60 + int(match[3] or 0)
    if minutes > 14 * 60 or int(match[3] or 0) > 59:
        raise invalid_query(f"Invalid time zone: {zone.name}")
    return call("to_minutes", number(minutes if match[1] == "+" else -minutes))


def minutes_ahead(moment: exp.Expr, zone: exp.Expr) -> exp.Expr:
    """Return how far the clocks of a time zone are from UTC at a moment."""
    return call("date_diff", text("minute"), call("timezone", text("UTC"), moment.copy()), in_zone(moment.copy(), zone))


def in_text(value: exp.Expr, zone: exp.Expr) -> exp.Expr:
    """Return a TIMESTAMP as a text with the time and the offset of a time zone: STRING with two arguments."""
    from sqlglot import exp

    moment = cast(value, "timestamptz")
    shown = call("bq_string_of_time", in_zone(moment, zone))
    return exp.paren(exp.DPipe(this=shown, expression=call("bq_zone_suffix", minutes_ahead(moment, zone))))


def at_time_zone(node: exp.AtTimeZone) -> exp.Expr:
    """Return what EXTRACT looks at with AT TIME ZONE."""
    return in_range(in_zone(cast(node.this, "timestamptz"), node.args["zone"]), kinds.DATETIME, node)


def of_zone(node: exp.Timestamp) -> exp.Expr:
    """Return TIMESTAMP with a time zone."""
    zone = node.args.get("zone")
    if zone is None or kinds.of(node.this) not in (kinds.STRING, kinds.DATE, kinds.DATETIME):
        return node
    value = call("bq_datetime", node.this) if kinds.of(node.this) == kinds.STRING else cast(node.this, "timestamp")
    return in_range(from_zone(value, zone), kinds.TIMESTAMP, node)


def of_epoch(node: exp.UnixToTime) -> exp.Expr:
    """Return TIMESTAMP_SECONDS, TIMESTAMP_MILLIS or TIMESTAMP_MICROS."""
    from sqlglot import exp

    scale = int(node.args["scale"].name) if node.args.get("scale") else 0
    factor = exp.Literal.number(10 ** (6 - scale))
    micros = exp.Mul(this=cast(node.this, "hugeint"), expression=factor)
    return call("bq_timestamp_of", micros)


def now_in_zone(node: Any) -> exp.Expr:
    """Return CURRENT_DATE, CURRENT_DATETIME or CURRENT_TIME, in UTC unless another time zone is given."""
    from sqlglot import exp

    now = in_zone(exp.CurrentTimestamp(), node.this if node.this is not None else text("UTC"))
    kind = {exp.CurrentDate: "date", exp.CurrentTime: "time"}.get(type(node))
    return cast(now, kind) if kind else now


def shown(node: Any) -> exp.Expr:
    """Return DATE, DATETIME or TIME of a TIMESTAMP and a time zone."""
    from sqlglot import exp

    zone = node.expression if isinstance(node, exp.Datetime) else node.args.get("zone")
    if zone is None or kinds.of(node.this) != kinds.TIMESTAMP or kinds.of(zone) not in (kinds.STRING, kinds.NULL):
        return node  # type: ignore[no-any-return]
    moment = in_range(in_zone(cast(node.this, "timestamptz"), zone), kinds.DATETIME, node)
    kind = {exp.Date: "date", exp.Time: "time"}.get(type(node))
    return cast(moment, kind) if kind else moment


def extracted(node: exp.Extract) -> exp.Expr:
    """Return EXTRACT."""
    from sqlglot import exp

    part, value = node.this.name.upper(), node.expression
    if isinstance(node.this, exp.WeekStart):
        part = f"WEEK({node.this.this.name.upper()})"
    elif node.this.expressions:
        part = f"{part}({node.this.expressions[0].name.upper()})"
    _check_part(part.partition("(")[0], kinds.of(value))
    if part == "DATE":
        return cast(value, "date")
    if part == "TIME":
        return call("bq_time", value.copy())
    if part == "DATETIME":
        return cast(value, "timestamp")
    if part == "WEEK" or part.startswith("WEEK("):
        return _week(value, part.removeprefix("WEEK").strip("()") or "SUNDAY")
    names = {"ISOWEEK": "week", "DAYOFYEAR": "doy", "DAYOFWEEK": "dow"}
    number = call("date_part", text(names.get(part, part.lower())), value.copy())
    if part in ("MILLISECOND", "MICROSECOND"):
        # DuckDB's have the seconds in them.
        return exp.Mod(this=number, expression=exp.Literal.number(1000 if part == "MILLISECOND" else 1_000_000))
    # Sunday is 1 in BigQuery and 0 in DuckDB.
    return exp.paren(exp.Add(this=number, expression=exp.Literal.number(1))) if part == "DAYOFWEEK" else number


def _week(value: exp.Expr, first_day: str) -> exp.Expr:
    """Return the number of a week: the days before a year's first such day are in its week 0."""
    if first_day not in _DAYS:
        raise invalid_query(f"A valid day of the week is required but found {first_day}")
    return call("bq_week", cast(value, "date"), number(_DAYS.index(first_day) + 1))


def _check_part(part: str, kind: kinds.Kind | None) -> None:
    if part not in (*_CLOCK, *_CALENDAR, "DAYOFWEEK", "DAYOFYEAR", "DATE", "TIME", "DATETIME"):
        raise invalid_query(f"A valid date part name is required but found {part}")
    others = {
        kinds.DATE: (*_CLOCK, "TIME", "DATE", "DATETIME"),
        kinds.TIME: (*_CALENDAR, "DAYOFWEEK", "DAYOFYEAR", "DATE", "TIME", "DATETIME"),
        kinds.INTERVAL: ("WEEK", "ISOWEEK", "ISOYEAR", "DAYOFWEEK", "DAYOFYEAR", "DATE", "TIME", "DATETIME"),
    }
    if part in others.get(kind or kinds.NULL, ()):
        raise invalid_query(f"EXTRACT from {kind} does not support the {part} date part")


def time_of(node: exp.TsOrDsToTime) -> exp.Expr:
    """Return TIME of one argument."""
    from sqlglot import exp

    return node if isinstance(node.parent, exp.TimeToStr) else call("bq_time", node.this.copy())


def parts(value: exp.Expr, kind: kinds.Kind, zone: exp.Expr) -> exp.Expr:
    """Return the numbers of a date or time as :func:`formats.text_of_moment` takes them.

    :param zone: the time zone of a TIMESTAMP.
    """
    from sqlglot import exp

    ahead: exp.Expr = number(0)
    if kind == kinds.TIME:
        value = exp.Add(this=cast(text("1970-01-01"), "date"), expression=value.copy())
    elif kind == kinds.TIMESTAMP:
        ahead = minutes_ahead(value, zone)
        value = in_zone(value.copy(), zone)
    moment = cast(value, "timestamp")
    day = exp.Add(this=call("date_part", text("dow"), moment.copy()), expression=number(1))
    numbers = [
        call("strftime", moment.copy(), text("%Y %m %d")),
        day,
        call("strftime", moment.copy(), text("%j %H %M %S %f")),
        ahead,
    ]
    return call("concat_ws", text(" "), *numbers)


def dates(node: Any) -> exp.Expr:
    """Return GENERATE_DATE_ARRAY or GENERATE_TIMESTAMP_ARRAY, whose step is not 0."""
    from sqlglot import exp

    step = node.args.get("step")
    if isinstance(node, exp.GenerateTimestampArray):
        for key in ("start", "end"):
            if kinds.of(node.args[key]) != kinds.TIMESTAMP:
                node.set(key, cast(node.args[key], "timestamptz"))
    if isinstance(step, exp.Interval) and (not is_text(step.this) or not step.this.name.strip("+-").lstrip("0")):
        step.set("this", exp.paren(call("bq_step", cast(step.this, "bigint"))))
    return node  # type: ignore[no-any-return]
