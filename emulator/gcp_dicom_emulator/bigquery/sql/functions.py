"""What BigQuery's functions and UNNEST mean in DuckDB, where SQLGlot's own translation differs from BigQuery."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import kinds, times
from gcp_dicom_emulator.bigquery.sql.calls import call, cast, is_ours, is_text, number, text
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query, position
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp

#: Functions that SQLGlot's BigQuery dialect does not know and DuckDB has under the same name with the same meaning.
_SAME_IN_DUCKDB = {
    "ERROR",
    "ASIN",
    "ACOS",
    "ATAN",
    "CHR",
    "ASCII",
    "TRANSLATE",
    "BIT_COUNT",
    "STARTS_WITH",
    "ENDS_WITH",
    "TRUNC",
    "IS_NAN",
}

#: Functions that BigQuery has and neither SQLGlot nor the emulator knows.
_ELSEWHERE = {
    "IEEE_DIVIDE",
    "JSON_KEYS",
    "JSON_SET",
    "JSON_STRIP_NULLS",
    "EDIT_DISTANCE",
    "SEARCH",
    "BIT_XOR",
    "RANGE_BUCKET",
    "LAX_STRING",
    "RANGE",
}


def rewrite(tree: exp.Expr) -> exp.Expr:
    """Return a resolved statement with BigQuery's functions as DuckDB has them.

    :raises ApiError: 400 for a function that BigQuery does not have, 501 for one that the emulator does not have.
    """
    from sqlglot import exp

    rules: dict[type, Callable[[Any], exp.Expr]] = {
        exp.Anonymous: _anonymous,
        exp.SafeFunc: _safe,
        exp.Format: _format,
        exp.ByteString: _bytes,
        exp.Bracket: lambda node: _element_of_json(node) if kinds.of(node.this) == kinds.JSON else _bracket(node),
        exp.ParseJSON: _parse_json,
        exp.JSONExtract: lambda node: node if kinds.of(node.this) == kinds.JSON else _text_of_json(node, "text"),
        exp.JSONExtractArray: lambda node: node if kinds.of(node.this) == kinds.JSON else _text_of_json(node, "text[]"),
        exp.Div: _divide,
        exp.DataType: _data_type,
        exp.IgnoreNulls: _array_agg,
        exp.ArrayAgg: _array_agg,
        exp.Cast: _cast,
        exp.TryCast: _cast,
        exp.String: _string,
        exp.Literal: _number,
        exp.Array: _array,
        exp.Like: _like,
        exp.Substring: _substring,
        exp.ArraySlice: lambda node: call("bq_slice", node.this.copy(), node.args["start"].copy(), node.args["end"].copy()),
        exp.SafeAdd: lambda node: _safely(exp.Add, node),
        exp.SafeSubtract: lambda node: _safely(exp.Sub, node),
        exp.SafeMultiply: lambda node: _safely(exp.Mul, node),
        exp.ByteLength: lambda node: call("strlen", node.this.copy()),
        exp.JSONFormat: lambda node: call("to_json", node.this.copy()) if node.args.get("to_json") else node,
        exp.JSONType: lambda node: call("bq_json_type", node.this.copy()),
        exp.SessionUser: lambda node: text("emulator@example.com"),
        exp.SessionParameter: _system_variable,
        exp.FarmFingerprint: _unsupported,
        exp.Insert: _insert_row,
        exp.Struct: _struct,
        exp.Tuple: _tuple,
        exp.Dot: _dot,
        exp.RegexpExtract: _regexp_group,
        exp.RegexpExtractAll: _regexp_group,
        # DuckDB makes a TIMESTAMP of a DATE.
        exp.DateAdd: lambda node: cast(node, "date"),
        exp.DateSub: lambda node: cast(node, "date"),
        exp.DateTrunc: lambda node: cast(node, "date"),
        exp.DateFromUnixDate: lambda node: cast(node, "date"),
        exp.Extract: times.extracted,
        exp.TsOrDsToTime: times.time_of,
        exp.TimeToStr: times.written_time,
        exp.StrToDate: times.parsed_time,
        exp.StrToTime: times.parsed_time,
        exp.ParseTime: times.parsed_time,
        exp.ParseDatetime: times.parsed_time,
        exp.TimestampDiff: times.timestamp_difference,
        exp.TimestampAdd: times.moved_timestamp,
        exp.TimestampSub: times.moved_timestamp,
        exp.UnixToTime: times.of_epoch,
        exp.CurrentDatetime: times.now_in_zone,
        exp.CurrentTime: times.now_in_zone,
    }

    # Inner functions first, so that a rule sees its arguments finished; each list once, however long it is.
    changed: dict[int, exp.Expr] = {}
    for node in reversed(list(tree.walk())):
        for key, value in list(node.args.items()):
            if isinstance(value, list):
                if any(id(item) in changed for item in value):
                    node.set(key, [changed.get(id(item), item) for item in value])
            elif id(value) in changed:
                node.set(key, changed[id(value)])
        if rule := rules.get(type(node)):
            made = rule(node)
            if made is not node:
                changed[id(node)] = kinds.put(made, kinds.of(node))
    return changed.get(id(tree), tree)


def _error(message: str) -> exp.Expr:

    return call("error", text(message))


def _anonymous(node: exp.Anonymous) -> exp.Expr:
    from sqlglot import exp

    if is_ours(node):
        return node
    name = (node.parent.sql("bigquery").partition("(")[0] if isinstance(node.parent, exp.Dot) else node.name).upper()
    if name == "ASSERT":
        raise ApiError(501, "The emulator does not do ASSERT inside an expression.")
    if name in _ELSEWHERE or name.startswith(("ST_", "RANGE_", "NET.", "KEYS.", "HLL_", "ML.", "AI.")):
        raise ApiError(501, f"The emulator does not do the function {name}.")
    if name not in _SAME_IN_DUCKDB:
        raise invalid_query(f"Function not found: {node.name} at {position(node)}")
    return node


def _safe(node: exp.SafeFunc) -> exp.Expr:
    return call("TRY", node.this.copy())


_SPECIFIER = re.compile(r"%(?P<flags>[-+ #0]*)(?P<width>\d*)(?P<precision>\.\d+)?(?P<kind>[a-zA-Z%'*])")


def _format(node: exp.Format) -> exp.Expr:
    from sqlglot import exp

    if not is_text(node.this):
        raise ApiError(501, "The emulator's FORMAT needs a literal as its format.")
    arguments, values = list(node.expressions), []

    def specifier(match: re.Match[str]) -> str:
        kind = match["kind"]
        if kind == "%":
            return "%%"
        if kind not in "diusfFeEgGxXot" or not arguments:
            raise ApiError(501, f"The emulator's FORMAT does not do {match[0]}.")
        value = arguments.pop(0)
        if kind in "st":
            kind, value = "s", call("bq_text", value.copy())
        values.append(value.copy())
        return f"%{match['flags']}{match['width']}{match['precision'] or ''}{'d' if kind in 'iu' else kind}"

    form = _SPECIFIER.sub(specifier, node.this.name)
    written = call("printf", text(form), *values)
    if not values:
        return written
    # A NULL among the values makes the whole NULL.
    nulls = exp.or_(*[exp.Is(this=value.copy(), expression=exp.Null()) for value in values])
    return exp.Case(ifs=[exp.If(this=nulls, true=exp.Null())], default=written)


def _bytes(node: exp.ByteString) -> exp.Expr:

    try:
        data = node.name.encode("latin-1")
    except UnicodeEncodeError:
        data = node.name.encode()
    return call("unhex", text(data.hex()))


def _parse_json(node: exp.ParseJSON) -> exp.Expr:
    from sqlglot import exp

    if isinstance(node.this, exp.Dot):
        raise ApiError(501, "The emulator takes no field of a JSON literal; use PARSE_JSON.")
    return cast(node.this, "json")


def _element_of_json(node: exp.Bracket) -> exp.Expr:
    return call("json_extract", node.this.copy(), node.expressions[0].copy())


def _text_of_json(node: exp.Expr, kind: str) -> exp.Expr:
    """Return what JSON functions take out of a STRING: a STRING, not a JSON."""
    return cast(node, kind)


def _bracket(node: exp.Bracket) -> exp.Expr:
    """Write an element of an array, an index that counts from 0 or from 1 (ORDINAL); out of bounds it fails without SAFE_."""
    if len(node.expressions) != 1:
        return node
    name = "bq_element" if node.args.get("safe") is False else "bq_safe_element"
    first = node.args.get("offset") or 0
    return call(name, node.this, node.expressions[0], number(first))


def _divide(node: exp.Div) -> exp.Expr:
    """Let a division by zero fail."""
    from sqlglot import exp

    divisor = node.expression
    if isinstance(divisor, exp.Literal) and float(divisor.name) != 0:
        return node
    zero = exp.EQ(this=exp.paren(divisor.copy()), expression=exp.Literal.number(0))
    checked = exp.Case(ifs=[exp.If(this=zero, true=_error("division by zero"))], default=divisor.copy())
    return exp.Div(this=node.this.copy(), expression=checked, typed=False, safe=False)


def _data_type(node: exp.DataType) -> exp.Expr:
    from sqlglot import exp

    if node.this == exp.DType.DECIMAL and not node.expressions:
        return exp.DataType.build("DECIMAL(38, 9)", dialect="duckdb")
    if node.this == exp.DType.BIGDECIMAL:
        return exp.DataType.build("DECIMAL(38, 18)", dialect="duckdb")
    return node


def _array_agg(node: exp.Expr) -> exp.Expr:
    """Write ARRAY_AGG's LIMIT and IGNORE NULLS, which DuckDB has not, by a slice and a filter."""
    from sqlglot import exp

    ignore = isinstance(node, exp.IgnoreNulls)
    aggregate = node.this if ignore else node
    if not isinstance(aggregate, exp.ArrayAgg) or isinstance(node.parent, exp.IgnoreNulls):
        return node
    inner, limit = aggregate.this, None
    if isinstance(inner, exp.Limit):
        inner, limit = inner.this, inner.expression
    value = inner.this if isinstance(inner, exp.Order) else inner
    value = value.expressions[0] if isinstance(value, exp.Distinct) else value
    result: exp.Expr = call("list", inner.copy())
    if ignore:
        present = exp.Not(this=exp.Is(this=value.copy(), expression=exp.Null()))
        result = exp.Filter(this=result, expression=exp.Where(this=present))
    if limit is not None:
        result = call("list_slice", result, exp.Literal.number(1), limit.copy())
    return result


def _number(node: exp.Literal) -> exp.Expr:
    """Make what has a decimal point a FLOAT64, not a DECIMAL, and what is calculated with an INT64, not an INT32."""
    from sqlglot import exp

    if node.is_string:
        return node
    if re.fullmatch(r"\d*\.\d*", node.name):
        return exp.Literal.number(f"{node.name}e0")
    if not node.name.isdigit():
        return node
    parent = node.parent
    if isinstance(parent, (exp.Add, exp.Sub)):
        # A DATE + 1 is a DATE; DuckDB has that for an INT32 only.
        other = parent.expression if parent.this is node else parent.this
        return cast(node, "bigint") if isinstance(other, (exp.Literal, exp.Neg, exp.Mul)) else node
    whole = (exp.Mul, exp.BitwiseLeftShift, exp.Paren, exp.Alias, exp.PropertyEQ)
    return cast(node, "bigint") if isinstance(parent, whole) else node


def _array(node: exp.Array) -> exp.Expr:
    """Make an array of numbers one of INT64s."""
    from sqlglot import exp

    whole = node.expressions and all(isinstance(item, exp.Literal) and item.name.isdigit() for item in node.expressions)
    return cast(node, "bigint[]") if whole and not any(item.is_string for item in node.expressions) else node


#: Types of DuckDB's that BigQuery makes of other values than DuckDB does.
_CASTS = {
    "TEXT": "string",
    "VARCHAR": "string",
    "BIGINT": "int64",
    "BOOLEAN": "bool",
    "BINARY": "bytes",
    "DATE": "date",
    "TIME": "time",
}
#: Those that can fail.
_FALLIBLE = ("int64", "bool", "date")


def _cast(node: Any) -> exp.Expr:
    from sqlglot import exp

    if node.meta_get("is_duckdb"):
        return node  # type: ignore[no-any-return]
    if node.args.get("format"):
        raise ApiError(501, "The emulator does not do CAST with a FORMAT.")
    name = _CASTS.get(node.to.this.name) if isinstance(node.to, exp.DataType) and isinstance(node.to.this, exp.DType) else None
    if name is None or node.to.expressions or isinstance(node.this, exp.Null):
        return node  # type: ignore[no-any-return]
    if isinstance(node, exp.TryCast) and name in _FALLIBLE:
        return call(f"bq_try_{name}", node.this.copy())
    made = call(f"bq_{name}", node.this.copy())
    # DuckDB's TRY takes no subqueries and no random numbers; casts of them hardly fail.
    return call("TRY", made) if isinstance(node, exp.TryCast) and not node.this.find(exp.Query, exp.Rand) else made


def _string(node: exp.String) -> exp.Expr:
    if node.args.get("zone"):
        raise ApiError(501, "The emulator's STRING has no time zones.")
    return call("bq_string", node.this.copy())


def _safely(kind: type[Any], node: Any) -> exp.Expr:
    return call("TRY", kind(this=node.this.copy(), expression=node.expression.copy()))


def _like(node: exp.Like) -> exp.Expr:
    """Let a backslash in a pattern mean the next character itself."""
    from sqlglot import exp

    pattern = node.expression
    if isinstance(node.parent, exp.Escape) or isinstance(pattern, (exp.Any, exp.All)):
        return node
    if is_text(pattern) and "\\" not in pattern.name:
        return node
    return exp.Escape(this=node.copy(), expression=text("\\"))


def _substring(node: exp.Substring) -> exp.Expr:
    from sqlglot import exp

    start = node.args.get("start")
    if start is None or (isinstance(start, exp.Literal) and start.name.isdigit() and int(start.name) > 0):
        return node
    substring = node.copy()
    substring.set("start", call("bq_start", node.this.copy(), start.copy()))
    return substring


def _system_variable(node: exp.Expr) -> exp.Expr:
    raise ApiError(501, f"The emulator has no system variable @@{node.name}.")


def _unsupported(node: exp.Expr) -> exp.Expr:
    raise ApiError(501, f"The emulator does not do the function {node.sql('bigquery').partition('(')[0]}.")


def _regexp_group(node: Any) -> exp.Expr:
    """Take the pattern's group if it has one, also when the pattern was a parameter while SQLGlot looked for it."""
    from sqlglot import exp

    pattern = node.expression
    if is_text(pattern):
        groups = len(re.findall(r"(?<!\\)(?:\\\\)*\((?!\?[^P<])", pattern.name))
        if groups > 1:
            raise invalid_query("Regular expression has more than 1 capturing group")
        node.set("group", exp.Literal.number(groups))
    return node  # type: ignore[no-any-return]


def _struct(node: exp.Struct) -> exp.Expr:
    """Write the fields of a STRUCT; those without names have the ones that BigQuery shows for them."""
    from sqlglot import exp

    named = [
        exp.PropertyEQ(this=exp.to_identifier(member.name or f"_field_{number}", quoted=True), expression=member.expression)
        for number, member in enumerate(node.expressions, start=1)
    ]
    return exp.Struct(expressions=named)


def _tuple(node: exp.Tuple) -> exp.Expr:
    """Write ``(a, b)`` where it is a STRUCT and not a row of VALUES or a list of columns."""
    from sqlglot import exp

    if kinds.of(node) is None:
        return node
    members = [
        exp.PropertyEQ(this=exp.to_identifier(f"_field_{number}", quoted=True), expression=member)
        for number, member in enumerate(node.expressions, start=1)
    ]
    return exp.Struct(expressions=members)


def _dot(node: exp.Dot) -> exp.Expr:
    from sqlglot import exp

    if isinstance(node.this, (exp.Column, exp.Dot, exp.Paren)) or isinstance(node.expression, exp.Func):
        return node
    return exp.Dot(this=exp.paren(node.this), expression=node.expression)


def _insert_row(node: exp.Insert) -> exp.Expr:
    """Write MERGE's INSERT ROW."""
    from sqlglot import exp

    if isinstance(node.parent, exp.When) and isinstance(node.this, exp.Var) and node.this.name.upper() == "ROW":
        return exp.var("INSERT BY NAME")
    return node
