"""What BigQuery's functions and UNNEST mean in DuckDB, where SQLGlot's own translation differs from BigQuery."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import (
    aggregates,
    comparisons,
    formats,
    guards,
    jsons,
    kinds,
    moments,
    numbers,
    patterns,
    special,
    statistics,
    texts,
    times,
    windows,
)
from gcp_dicom_emulator.bigquery.sql.calls import (
    aggregate,
    call,
    cast,
    is_call,
    is_null,
    is_ours,
    is_text,
    number,
    text,
    whole,
)
from gcp_dicom_emulator.bigquery.sql.macros import FAILING
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query, position
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp

#: Functions that SQLGlot's BigQuery dialect does not know and DuckDB has under the same name with the same meaning.
_SAME_IN_DUCKDB = {
    "ERROR",
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

#: Functions that SQLGlot does not know and a macro does; how many arguments they have.
_MACROS = {"IEEE_DIVIDE": 2, "ASIN": 1, "ACOS": 1}

#: Functions that BigQuery has and neither SQLGlot nor the emulator knows.
_ELSEWHERE = {
    "SEARCH",
    "BIT_XOR",
    *(f"{kind}_BUCKET" for kind in ("DATE", "DATETIME", "TIMESTAMP")),
    *(f"{lax}{kind}_ARRAY" for lax in ("", "LAX_") for kind in ("BOOL", "FLOAT64", "INT64", "STRING")),
    *("JSON_FLATTEN", "GENERATE_RANGE_ARRAY", "EXTERNAL_QUERY", "TEXT_ANALYZE", "TF_IDF", "BAG_OF_WORDS", "VECTOR_SEARCH"),
}


def rewrite(tree: exp.Expr) -> exp.Expr:
    """Return a resolved statement with BigQuery's functions as DuckDB has them.

    :raises ApiError: 400 for a function that BigQuery does not have, 501 for one that the emulator does not have.
    """
    rules = _rules()
    # Inner functions first, so that a rule sees its arguments finished; each list once, however long it is.
    changed: dict[int, exp.Expr] = {}
    nodes = list(tree.walk())
    special.check(nodes)
    for node in reversed(nodes):
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


@functools.cache
def _rules() -> dict[type, Callable[[Any], exp.Expr]]:
    """Return what writes a node of each class as DuckDB has it."""
    from sqlglot import exp

    return {
        exp.Anonymous: _anonymous,
        exp.SafeFunc: _safe,
        exp.And: guards.guarded,
        exp.Or: guards.guarded,
        exp.Format: _format,
        exp.ByteString: _bytes,
        exp.Bracket: lambda node: _element_of_json(node) if kinds.of(node.this) == kinds.JSON else _bracket(node),
        exp.ParseJSON: _parse_json,
        exp.JSONValueArray: jsons.array,
        exp.JSONExtractScalar: jsons.scalar,
        exp.Int64: jsons.converted("bq_json_int64"),
        exp.Float64: jsons.converted("bq_json_float64"),
        exp.JSONBool: jsons.converted("bq_json_bool"),
        exp.LaxInt64: jsons.converted("bq_lax_int64"),
        exp.LaxFloat64: jsons.converted("bq_lax_float64"),
        exp.LaxString: jsons.converted("bq_lax_string"),
        exp.LaxBool: jsons.converted("bq_lax_bool"),
        exp.JSONSet: jsons.changed("py_json_set", flag="create_if_missing"),
        exp.JSONRemove: jsons.changed("py_json_remove"),
        exp.JSONStripNulls: jsons.without_nulls,
        exp.JSONArrayAppend: jsons.changed("py_json_array_append", flag="append_each_element"),
        exp.JSONArrayInsert: jsons.changed("py_json_array_insert", flag="insert_each_element"),
        exp.JSONKeysAtDepth: jsons.keys,
        exp.JSONArray: jsons.made_array,
        exp.JSONObject: jsons.made_object,
        exp.CountIf: aggregates.counted,
        exp.LogicalAnd: aggregates.logical,
        exp.LogicalOr: aggregates.logical,
        exp.GroupConcat: aggregates.joined,
        exp.ApproxTopK: aggregates.most_frequent,
        exp.ApproxQuantiles: aggregates.quantiles,
        exp.Max: aggregates.having,
        exp.Min: aggregates.smallest,
        exp.Unicode: lambda node: call("bq_unicode", node.this),
        exp.Sum: aggregates.summed,
        exp.Count: aggregates.having,
        exp.Corr: statistics.paired(2),
        exp.CovarPop: statistics.paired(1),
        exp.CovarSamp: statistics.paired(2),
        exp.Stddev: statistics.spread(2),
        exp.StddevSamp: statistics.spread(2),
        exp.StddevPop: statistics.spread(1),
        exp.Variance: statistics.spread(2),
        exp.VariancePop: statistics.spread(1),
        exp.PercentileCont: _percentile,
        exp.Window: windows.windowed,
        exp.Not: numbers.negated,
        exp.GT: comparisons.larger,
        exp.GTE: comparisons.larger,
        exp.LT: comparisons.smaller,
        exp.LTE: comparisons.smaller,
        exp.Between: comparisons.between,
        exp.EQ: comparisons.equal,
        exp.NEQ: comparisons.unequal,
        exp.Limit: _limit,
        exp.Offset: _limit,
        exp.Typeof: _type_of,
        exp.Degrees: numbers.angle,
        exp.Radians: numbers.angle,
        exp.RegexpInstr: texts.of_bytes(texts.found),
        exp.Avg: _average,
        exp.Add: numbers.arithmetic,
        exp.Sub: numbers.arithmetic,
        exp.Mul: numbers.arithmetic,
        exp.Round: numbers.rounded,
        exp.Trunc: numbers.rounded,
        exp.Sqrt: numbers.exactly("SQRT", "this", otherwise=numbers.named("bq_sqrt", "this")),
        exp.Ln: numbers.exactly("LN", "this", otherwise=numbers.named("bq_ln", "this")),
        exp.Log: numbers.exactly("LOG", "expression", "this", otherwise=numbers.named("bq_log", "expression", "this")),
        exp.Exp: numbers.exactly("EXP", "this", otherwise=numbers.named("bq_exp", "this")),
        exp.Pow: numbers.exactly("POW", "this", "expression", otherwise=numbers.named("bq_pow", "this", "expression")),
        exp.Cbrt: numbers.named("bq_cbrt", "this"),
        exp.Acos: numbers.named("bq_acos", "this"),
        exp.Asin: numbers.named("bq_asin", "this"),
        exp.Acosh: numbers.named("bq_acosh", "this"),
        exp.Atanh: numbers.named("bq_atanh", "this"),
        exp.Cot: numbers.named("bq_cot", "this"),
        exp.Coth: numbers.named("bq_coth", "this"),
        exp.Csc: numbers.named("bq_csc", "this"),
        exp.Csch: numbers.named("bq_csch", "this"),
        exp.Sec: lambda node: exp.Div(this=number(1), expression=exp.Cos(this=node.this), typed=False, safe=False),
        exp.Sech: numbers.named("bq_sech", "this"),
        exp.ParseNumeric: numbers.parsed(kinds.NUMERIC),
        exp.ParseBignumeric: numbers.parsed(kinds.BIGNUMERIC),
        exp.SafeDivide: numbers.exactly(
            "/", "this", "expression", otherwise=numbers.named("bq_safe_divide", "this", "expression"), is_safe=True
        ),
        exp.Lag: _shifted,
        exp.Lead: _shifted,
        exp.GenerateSeries: _series,
        exp.GenerateDateArray: times.dates,
        exp.GenerateTimestampArray: times.dates,
        exp.Collate: _collated,
        exp.ArrayConcat: _array_concat,
        exp.AtTimeZone: times.at_time_zone,
        exp.SafeNegate: numbers.negated_safely,
        exp.IntDiv: numbers.exactly("DIV", "this", "expression", otherwise=lambda node: node),
        exp.Upper: texts.upper,
        exp.Lower: texts.lower,
        exp.Left: texts.of_bytes(texts.left),
        exp.Right: texts.of_bytes(texts.left),
        exp.Pad: texts.of_bytes(texts.padded),
        exp.Repeat: texts.of_bytes(texts.repeated),
        exp.Trim: texts.of_bytes(texts.trimmed),
        exp.Replace: texts.of_bytes(),
        exp.Reverse: texts.of_bytes(),
        exp.StartsWith: texts.of_bytes(),
        exp.EndsWith: texts.of_bytes(),
        exp.RegexpLike: texts.of_bytes(),
        exp.Contains: texts.contained,
        exp.RegexpReplace: texts.of_bytes(),
        exp.Split: texts.split,
        exp.StrPosition: texts.of_bytes(texts.position),
        exp.Normalize: texts.normalized,
        exp.ToCodePoints: texts.code_points,
        exp.CodePointsToString: lambda node: call("py_code_points_to_text", node.this),
        exp.CodePointsToBytes: lambda node: call("py_code_points_to_bytes", node.this),
        exp.ToBase32: lambda node: call("py_to_base32", node.this),
        exp.FromBase32: lambda node: call("py_from_base32", node.this),
        exp.SafeConvertBytesToString: lambda node: call("py_text_of_bytes", node.this),
        exp.Soundex: lambda node: call("py_soundex", node.this),
        exp.Translate: texts.of_bytes(texts.translated),
        exp.SHA2Digest: texts.digested,
        exp.Concat: texts.concatenated,
        exp.ArrayFirst: lambda node: call("bq_element", node.this, number(0), number(0)),
        exp.ArrayLast: lambda node: call("bq_last", node.this),
        exp.JSONExtract: jsons.extracted,
        exp.JSONExtractArray: jsons.array,
        exp.Div: _divide,
        exp.DataType: _data_type,
        exp.IgnoreNulls: _array_agg,
        exp.RespectNulls: aggregates.respecting,
        exp.ApproxDistinct: aggregates.having,
        exp.ArrayConcatAgg: aggregates.concatenated,
        # As ANY_VALUE with HAVING does it: the row counts also where its value is NULL.
        exp.ArgMax: lambda node: aggregate("arg_max_null", node.this, node.expression),
        exp.ArgMin: lambda node: aggregate("arg_min_null", node.this, node.expression),
        exp.ArrayAgg: _array_agg,
        exp.Cast: _cast,
        exp.TryCast: _cast,
        exp.String: _string,
        exp.Literal: _number,
        exp.Array: _array,
        exp.Like: _like,
        exp.Substring: texts.of_bytes(_substring),
        exp.ArraySlice: lambda node: call("bq_slice", node.this.copy(), node.args["start"].copy(), node.args["end"].copy()),
        exp.SafeAdd: lambda node: _safely(exp.Add, node),
        exp.SafeSubtract: lambda node: _safely(exp.Sub, node),
        exp.SafeMultiply: numbers.exactly("*", "this", "expression", otherwise=lambda node: _safely(exp.Mul, node), is_safe=True),
        exp.ByteLength: texts.byte_length,
        exp.JSONFormat: jsons.written,
        exp.JSONType: jsons.type_of,
        exp.SessionUser: lambda node: text("emulator@example.com"),
        exp.SessionParameter: _system_variable,
        exp.FarmFingerprint: texts.fingerprint,
        exp.BitwiseAndAgg: aggregates.bits("py_bit_and"),
        exp.BitwiseOrAgg: aggregates.bits("py_bit_or"),
        exp.BitwiseXorAgg: aggregates.bits("py_bit_xor"),
        exp.Interval: special.interval,
        exp.MakeInterval: special.made_interval,
        exp.Struct: _struct,
        exp.Tuple: _tuple,
        exp.Dot: _dot,
        exp.RegexpExtract: texts.of_bytes(_regexp_group),
        exp.RegexpExtractAll: texts.of_bytes(_regexp_group),
        exp.DateAdd: times.moved,
        exp.DateSub: times.moved,
        exp.DatetimeAdd: times.moved,
        exp.DatetimeSub: times.moved,
        exp.DateTrunc: times.truncated,
        exp.DatetimeTrunc: times.truncated,
        exp.TimestampTrunc: times.truncated,
        exp.TimeTrunc: times.truncated_time,
        exp.LastDay: times.last_day,
        exp.TimeAdd: times.of_clock,
        exp.TimeSub: times.of_clock,
        exp.TimeDiff: times.of_clock,
        exp.DateFromUnixDate: lambda node: call("bq_date_in_range", cast(node, "date")),
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
        exp.Timestamp: times.of_zone,
        exp.UnixToTime: times.of_epoch,
        exp.UnixSeconds: times.epoch(1_000_000),
        exp.UnixMillis: times.epoch(1000),
        exp.DateDiff: times.difference,
        exp.DatetimeDiff: times.difference,
        exp.BitwiseLeftShift: numbers.shifted("bq_shift_left"),
        exp.BitwiseRightShift: numbers.shifted("bq_shift_right"),
        exp.RangeBucket: lambda node: call("bq_range_bucket", node.this, node.expression),
        exp.ArrayFilter: _array_filter,
        exp.Least: numbers.least,
        exp.Nullif: comparisons.null_if,
        exp.Case: comparisons.case,
        exp.Sinh: numbers.named("bq_sinh", "this"),
        exp.Cosh: numbers.named("bq_cosh", "this"),
        exp.CurrentDatetime: times.now_in_zone,
        exp.CurrentTime: times.now_in_zone,
        exp.CurrentDate: times.now_in_zone,
        exp.Date: times.shown,
        exp.Datetime: times.shown,
        exp.Time: times.shown,
        exp.Chr: lambda node: call("bq_chr", node.expressions[0]),
        exp.Ascii: texts.first,
        exp.BitwiseCount: _bit_count,
    }


def _average(node: exp.Avg) -> exp.Expr:
    made = aggregates.having(node)
    return numbers.averaged(node) if made is node else made


def _bit_count(node: exp.BitwiseCount) -> exp.Expr:
    kind = "bit" if texts.is_bytes(node.this) else "bigint"
    return cast(call("bit_count", cast(node.this, kind)), "bigint")


def _error(message: str) -> exp.Expr:

    return call("error", text(message))


def _anonymous(node: exp.Anonymous) -> exp.Expr:
    from sqlglot import exp

    if is_ours(node):
        return node
    name = (node.parent.sql("bigquery").partition("(")[0] if isinstance(node.parent, exp.Dot) else node.name).upper()
    name = f"NET.{name}" if isinstance(node.parent, exp.NetFunc) else name
    if name == "ASSERT":
        raise ApiError(501, "The emulator does not do ASSERT inside an expression.")
    if (made := special.function(name, node)) is not None:
        return made
    if name in _ELSEWHERE or name.startswith(("ST_", "RANGE_", "NET.", "KEYS.", "HLL_", "ML.", "AI.")):
        raise ApiError(501, f"The emulator does not do the function {name}.")
    if name in _MACROS and len(node.expressions) == _MACROS[name]:
        return call(f"bq_{name.lower()}", *node.expressions)
    if name not in _SAME_IN_DUCKDB:
        raise invalid_query(f"Function not found: {node.name} at {position(node)}")
    return node


def _safe(node: exp.SafeFunc) -> exp.Expr:
    """Return NULL where a function fails."""
    from sqlglot import exp

    function = node.this
    patterned = (exp.RegexpLike, exp.RegexpExtract, exp.RegexpExtractAll, exp.RegexpReplace, exp.RegexpInstr)
    if isinstance(function, patterned) and is_text(function.expression) and not _is_pattern(function.expression.name):
        # DuckDB looks at a literal pattern before it runs anything.
        return cast(exp.Null(), kinds.duckdb_type(kinds.of(node) or kinds.STRING))
    inner = exp.Paren(this=function.copy())
    for made in list(inner.find_all(exp.Anonymous)):
        if made.name.lower() == "error":
            made.replace(exp.Null())
        elif is_ours(made) and made.name in FAILING:
            made.set("this", f"safe_{made.name}")
    checked = inner.this
    if is_ours(checked) and checked.name.startswith("safe_") and checked.name.endswith("_in_range"):
        # In a CASE of constants, DuckDB's TRY does not see the error.
        checked.set("expressions", [call("TRY", checked.expressions[0])])
    # DuckDB's TRY takes no NULL, which an ERROR has become.
    is_safe = isinstance(inner.this, exp.Null) or numbers.made_safe(inner.this)
    tried = inner.this if is_safe else call("TRY", inner.this)
    if not node.expressions:
        return tried
    found = exp.Lambda(this=tried, expressions=[exp.to_identifier("bq_safe")])
    return call("list_extract", call("list_transform", exp.Array(expressions=[node.expressions[0]]), found), number(1))


def _is_pattern(text: str) -> bool:
    """Say whether a text is a regular expression of RE2."""
    import duckdb

    with duckdb.connect(":memory:") as connection:
        try:
            connection.execute("SELECT regexp_matches('', $1)", [text])
        except duckdb.Error:
            return False
    return True


#: Formats of whole numbers and texts that DuckDB's printf writes as GoogleSQL does.
_PRINTED = re.compile(r"([^%]|%-?0?\d*[ds])+")


def _format(node: exp.Format) -> exp.Expr:
    """Return FORMAT: by DuckDB's printf where that does it, else by Python."""
    from sqlglot import exp

    form = node.this
    if (
        not is_text(form)
        or not node.expressions
        or not _PRINTED.fullmatch(form.name)
        or form.name.count("%") != len(node.expressions)
    ):
        return _formatted(node)
    written = call("printf", form.copy(), *[value.copy() for value in node.expressions])
    # A NULL among the values makes the whole NULL.
    nulls = exp.or_(*[exp.Is(this=value.copy(), expression=exp.Null()) for value in node.expressions])
    return exp.Case(ifs=[exp.If(this=nulls, true=exp.Null())], default=written)


def _formatted(node: exp.Format) -> exp.Expr:
    from sqlglot import exp

    found = [kinds.of(value) for value in node.expressions]
    if any(kind is None for kind in found):
        raise ApiError(501, "The emulator's FORMAT does not know the type of an argument here; CAST it.")
    described = [jsons.described(kind) for kind in found if kind is not None]
    values = exp.Array(expressions=[jsons.encoded(value) for value in node.expressions])
    return call("py_format", cast(node.this, "text"), text(json.dumps(described)), cast(values, "text[]"))


def _bytes(node: exp.ByteString) -> exp.Expr:

    return call("unhex", text(node.name.encode("latin-1").hex()))


def _parse_json(node: exp.ParseJSON) -> exp.Expr:
    """Return PARSE_JSON, or a literal of JSON."""
    from sqlglot import exp

    mode = node.expression
    if mode is not None and not (isinstance(mode, exp.Kwarg) and mode.this.name.lower() == "wide_number_mode"):
        raise invalid_query(f"No matching signature for function PARSE_JSON at {position(node)}")
    chosen = cast(mode.expression, "text") if mode is not None else text("round" if node.args.get("is_literal") else "exact")
    return cast(call("py_parse_json", node.this, chosen), "json")


def _element_of_json(node: exp.Bracket) -> exp.Expr:
    return call("json_extract", node.this.copy(), node.expressions[0].copy())


def _bracket(node: exp.Bracket) -> exp.Expr:
    """Write an element of an array, an index that counts from 0 or from 1 (ORDINAL); out of bounds it fails without SAFE_."""
    if len(node.expressions) != 1:
        return node
    name = "bq_safe_element" if node.args.get("safe") else "bq_element"
    first = node.args.get("offset") or 0
    return call(name, node.this, node.expressions[0], number(first))


def _divide(node: exp.Div) -> exp.Expr:
    """Let a division by zero fail."""
    from sqlglot import exp

    divisor = node.expression
    numbers.refuse_null(node)
    if numbers.is_in_window_key(node):
        return node
    if (kind := kinds.of(node)) is not None and kind in numbers.EXACT:
        return numbers.exact("/", kind, node.this, divisor)
    if isinstance(divisor, exp.Literal) and float(divisor.name) != 0:
        return numbers.arithmetic(node)
    zero = exp.EQ(this=exp.paren(divisor.copy()), expression=exp.Literal.number(0))
    checked = exp.Case(ifs=[exp.If(this=zero, true=_error("division by zero"))], default=divisor.copy())
    made = exp.Div(this=node.this.copy(), expression=checked, typed=False, safe=False)
    return numbers.finite(node, made) if kind == kinds.FLOAT64 else made


def _percentile(node: exp.PercentileCont) -> exp.Expr:
    """Return PERCENTILE_CONT of finite values, and of NUMERICs that a FLOAT64 tells apart."""
    from sqlglot import exp

    if isinstance(node.parent, exp.RespectNulls):
        return node
    kind = kinds.of(node.this)
    if kind == kinds.FLOAT64:
        is_special: exp.Expr = exp.Not(this=call("isfinite", node.this.copy()))
    elif kind in (kinds.NUMERIC, kinds.BIGNUMERIC):
        is_special = exp.GT(this=call("abs", node.this.copy()), expression=exp.Literal.number(1_000_000))
    else:
        return node
    return call("bq_percentile", node.copy(), aggregate("bool_or", is_special))


def _limit(node: Any) -> exp.Expr:
    """Refuse NULL as the number of rows."""
    if is_null(node.expression):
        raise invalid_query("Limit requires non-null count and offset")
    return node  # type: ignore[no-any-return]


def _type_of(node: exp.Typeof) -> exp.Expr:
    kind = kinds.of(node.this)
    if kind is None or "?" in str(kind):
        raise ApiError(501, "The emulator's TYPEOF does not know the type of its argument here.")
    return text("INT64" if kind == kinds.NULL else str(kind))


def _shifted(node: Any) -> exp.Expr:
    """Refuse LAG and LEAD by a negative number."""
    from sqlglot import exp

    if isinstance(node.args.get("offset"), exp.Neg):
        raise invalid_query(f"The offset to the function {type(node).__name__.upper()} must not be negative")
    return node  # type: ignore[no-any-return]


def _series(node: exp.GenerateSeries) -> exp.Expr:
    """Return GENERATE_ARRAY."""
    kind = kinds.of(node)
    element = kind.element if kind is not None else None
    step = node.args.get("step") or number(1)
    name = "bq_real_series" if element in (kinds.FLOAT64, kinds.NUMERIC, kinds.BIGNUMERIC) else "bq_series"
    made = call(name, node.args["start"], node.args["end"], step)
    return cast(made, kinds.duckdb_type(kind)) if kind is not None and element in (kinds.NUMERIC, kinds.BIGNUMERIC) else made


def _array_filter(node: exp.ArrayFilter) -> exp.Expr:
    """Return ARRAY_FILTER, whose index counts from 0 where DuckDB's counts from 1."""
    from sqlglot import exp

    found = node.expression
    if isinstance(found, exp.Lambda) and len(found.expressions) == 2:
        index = found.expressions[1]
        for name in [one for one in found.this.find_all(exp.Identifier) if one.name.lower() == index.name.lower()]:
            used = name.parent if isinstance(name.parent, exp.Column) else name
            used.replace(exp.paren(exp.Sub(this=used.copy(), expression=number(1))))
    return node


def _array_concat(node: exp.ArrayConcat) -> exp.Expr:
    """Return ARRAY_CONCAT: NULL when one of the arrays is."""
    from sqlglot import exp

    arrays = [node.this, *node.expressions]
    if any(isinstance(array, exp.Null) for array in arrays):
        return cast(exp.Null(), kinds.duckdb_type(kinds.of(node) or kinds.array_of(kinds.INT64)))
    absent = exp.or_(*[exp.Is(this=array.copy(), expression=exp.Null()) for array in arrays])
    return exp.Case(ifs=[exp.If(this=absent, true=exp.Null())], default=node.copy())


def _data_type(node: exp.DataType) -> exp.Expr:
    from sqlglot import exp

    if node.args.get("collate"):
        return _collated(node)
    if (made := special.data_type(node)) is not None:
        return made
    if node.this == exp.DType.DECIMAL and not node.expressions:
        return exp.DataType.build("DECIMAL(38, 9)", dialect="duckdb")
    if node.this == exp.DType.BIGDECIMAL:
        return exp.DataType.build("DECIMAL(38, 18)", dialect="duckdb")
    if node.this == exp.DType.STRUCT:
        for number_, member in enumerate(list(node.expressions), start=1):
            if isinstance(member, exp.DataType):
                member.replace(exp.ColumnDef(this=exp.to_identifier(f"_field_{number_}"), kind=member.copy()))
    return node


def _array_agg(node: exp.Expr) -> exp.Expr:
    """Write ARRAY_AGG's LIMIT and IGNORE NULLS, which DuckDB has not, by a slice and a filter."""
    from sqlglot import exp

    ignore = isinstance(node, exp.IgnoreNulls)
    function = node.this if ignore else node
    percentiles = isinstance(function, (exp.PercentileCont, exp.PercentileDisc)) or is_call(function, "bq_percentile")
    if ignore and (is_call(function, "quantile_disc") or percentiles):
        return function  # which ignores NULLs anyway
    if not isinstance(function, exp.ArrayAgg) or isinstance(node.parent, exp.IgnoreNulls):
        return node
    inner, limit = function.this, None
    if isinstance(inner, exp.Limit):
        inner, limit = inner.this, inner.expression
    chosen = inner.this if isinstance(inner, exp.Order) else inner
    if isinstance(chosen, exp.HavingMax):
        items = aggregates.having(exp.ArrayAgg(this=inner))
        items = call("bq_present", items) if ignore else items
        return call("list_slice", items, number(1), limit.copy()) if limit is not None else items
    value = inner.this if isinstance(inner, exp.Order) else inner
    value = value.expressions[0] if isinstance(value, exp.Distinct) else value
    result: exp.Expr = aggregate("list", inner.copy())
    if ignore:
        present = exp.Not(this=exp.Is(this=value.copy(), expression=exp.Null()))
        result = exp.Filter(this=result, expression=exp.Where(this=present))
    if limit is not None:
        result = call("list_slice", result, exp.Literal.number(1), limit.copy())
    return result


#: The largest number that DuckDB makes an INT32 of, with a sign before it.
_INT32 = 2**31


def _number(node: exp.Literal) -> exp.Expr:
    """Make what has a decimal point a FLOAT64, not a DECIMAL, and what is calculated with an INT64, not an INT32."""
    from sqlglot import exp

    if node.is_string:
        return node
    if re.fullmatch(r"\d*\.\d*", node.name):
        return exp.Literal.number(f"{node.name}e0")
    parent = node.parent
    while isinstance(parent, exp.Neg):
        parent = parent.parent
    return _as_int64(node) if isinstance(parent, _calculated_with()) else node


def _as_int64(node: exp.Expr) -> exp.Expr:
    """Return a literal number that DuckDB takes for an INT32 as an INT64, and anything else as it is."""
    from sqlglot import exp

    value = node.this if isinstance(node, exp.Neg) else node
    return cast(node, "bigint") if _is_whole(node) and int(value.name) <= _INT32 else node


def _is_whole(node: exp.Expr) -> bool:
    """Say whether a node is a literal number without a point, perhaps with a sign."""
    from sqlglot import exp

    value = node.this if isinstance(node, exp.Neg) else node
    return isinstance(value, exp.Literal) and not value.is_string and value.name.isdigit()


@functools.cache
def _calculated_with() -> tuple[type, ...]:
    """Return what makes a number of numbers, and what returns one of those that it is given: there an INT32 might overflow."""
    from sqlglot import exp

    return (
        *(
            exp.Add,
            exp.Sub,
            exp.Mul,
            exp.IntDiv,
            exp.Mod,
            exp.Abs,
            exp.SafeAdd,
            exp.SafeSubtract,
            exp.SafeMultiply,
            exp.SafeNegate,
        ),
        *(exp.BitwiseAnd, exp.BitwiseOr, exp.BitwiseXor, exp.BitwiseNot, exp.BitwiseLeftShift, exp.BitwiseRightShift),
        *(exp.If, exp.Case, exp.Coalesce, exp.Nullif, exp.Greatest, exp.Least),
        *(exp.Max, exp.Min, exp.AnyValue, exp.ArrayAgg, exp.FirstValue, exp.LastValue, exp.NthValue),
        *(exp.Paren, exp.Alias, exp.PropertyEQ, exp.Select, exp.Lambda),
    )


def _array(node: exp.Array) -> exp.Expr:
    """Make the numbers of an array INT64s: all of them by one cast, where there is nothing else."""
    if node.expressions and all(map(_is_whole, node.expressions)):
        return cast(node, "bigint[]")
    node.set("expressions", [_as_int64(item) for item in node.expressions])
    return node


#: Types of DuckDB's that BigQuery makes of other values than DuckDB does.
_CASTS = {
    "TEXT": "string",
    "VARCHAR": "string",
    **dict.fromkeys(("BIGINT", "INT", "SMALLINT", "TINYINT"), "int64"),
    "BOOLEAN": "bool",
    "BINARY": "bytes",
    "DATE": "date",
    "TIME": "time",
    "DATETIME": "datetime",
    "TIMESTAMP": "datetime",
    "TIMESTAMPTZ": "timestamp",
    "DOUBLE": "float64",
}
#: Those that can fail.
_FALLIBLE = ("int64", "bool", "date", "time", "datetime", "timestamp", "float64")
#: Those that DuckDB does as well as BigQuery, but of texts.
_OF_TEXTS = ("datetime", "timestamp", "float64")


def _cast(node: Any) -> exp.Expr:
    from sqlglot import exp

    if _is_exact(node):
        # As a text, for a literal with a point is a double.
        written = node.this.sql("bigquery").replace(" ", "").removesuffix("e0")
        node.set("this", text(written))
    if node.meta_get("is_duckdb"):
        return node  # type: ignore[no-any-return]
    if (made := special.converted(node)) is not None:
        return made
    if node.args.get("format"):
        return _cast_with_format(node)
    if kinds.of(node) == kinds.BIGNUMERIC and (is_text(node.this) or kinds.of(node.this) in (kinds.STRING, kinds.FLOAT64)):
        return numbers.bignumeric(node.this, is_safe=isinstance(node, exp.TryCast))
    if kinds.of(node.this) == kinds.STRING and kinds.of_type(node.to) == kinds.NUMERIC:
        numeric = call("bq_numeric_text" if not isinstance(node, exp.TryCast) else "bq_try_numeric_text", node.this)
        return type(node)(this=numeric, to=node.to)  # type: ignore[no-any-return]
    name = _CASTS.get(node.to.this.name) if isinstance(node.to, exp.DataType) and isinstance(node.to.this, exp.DType) else None
    if name is None or node.to.expressions or isinstance(node.this, exp.Null):
        return node  # type: ignore[no-any-return]
    if name in _OF_TEXTS and kinds.of(node.this) not in (kinds.STRING, None):
        return node  # type: ignore[no-any-return]
    if name in _FALLIBLE and not isinstance(node, exp.TryCast) and numbers.is_in_window_key(node):
        return node  # type: ignore[no-any-return]
    once = "_once" if _is_nested(node) else ""
    if isinstance(node, exp.TryCast) and name in _FALLIBLE:
        return call(f"bq_try_{name}{once}", node.this.copy())
    suffix = once if name in _FALLIBLE else ""
    made = _as_string(node.this) if name == "string" else call(f"bq_{name}{suffix}", node.this.copy())
    # DuckDB's TRY takes no subqueries and no random numbers; casts of them hardly fail.
    return call("TRY", made) if isinstance(node, exp.TryCast) and not node.this.find(exp.Query, exp.Rand) else made


def _is_nested(node: Any) -> bool:
    """Say whether macros inside of a node would be multiplied by one more, and a lambda is possible: DuckDB has none in HAVING."""
    from sqlglot import exp

    inner = [one for one in node.find_all(exp.Anonymous) if is_ours(one) and one.name.startswith("bq_")]
    return len(inner) > 1 and not isinstance(node.find_ancestor(exp.Having, exp.Query), exp.Having)


def _as_string(value: exp.Expr) -> exp.Expr:
    """Return CAST(… AS STRING), by the type where it is known."""
    kind = kinds.of(value)
    if kind in (kinds.INT64, kinds.BOOL, kinds.DATE, kinds.STRING):
        return cast(value, "text")
    if kind in (kinds.DATETIME, kinds.TIMESTAMP, kinds.TIME):
        return call("bq_string_of_time", value.copy())
    return call("bq_string", value.copy())


def _cast_with_format(node: Any) -> exp.Expr:
    """Return CAST … FORMAT between BYTES and STRING, and of numbers, dates and times to STRING."""
    from sqlglot import exp

    form, own, to = node.args["format"], kinds.of(node.this), kinds.of_type(node.to)
    if own in (kinds.STRING, kinds.NULL) and to is not None and to.name in moments.TYPES:
        return _moment(node, to)
    if node.args.get("zone") is not None and own not in (kinds.TIMESTAMP, kinds.NULL):
        raise invalid_query(f"AT TIME ZONE is not allowed in a CAST from {own} to {to} at {position(node)}")
    if own == kinds.BYTES and to == kinds.STRING:
        made = call("py_text_of_bytes_as", node.this, form)
    elif own in (kinds.STRING, kinds.NULL) and to == kinds.BYTES:
        made = call("py_bytes_of_text_as", node.this, form)
    elif own is not None and own in (kinds.DATE, kinds.DATETIME, kinds.TIME, kinds.TIMESTAMP) and to == kinds.STRING:
        made = call("py_text_of_moment", times.parts(node.this, own, node.args.get("zone") or text("UTC")), form, text(own.name))
    elif own in kinds.NUMBERS and own is not None and to == kinds.STRING:
        if (
            is_text(form)
            and re.search("EEEE|TM|RN|[XV]", form.name, re.IGNORECASE)
            and formats.OTHER_NUMBERS.fullmatch(form.name)
        ):
            raise ApiError(501, f"The emulator's CAST does not do the format '{form.name}'.")
        made = call("py_text_of_number", cast(node.this, "text"), form, text(own.name))
    elif own == kinds.NULL and to == kinds.STRING:
        made = cast(exp.Null(), "text")
    else:
        raise ApiError(501, f"The emulator does no CAST with a FORMAT from {own} to {to}.")
    return call("TRY", made) if isinstance(node, exp.TryCast) else made


def _moment(node: Any, to: kinds.Kind) -> exp.Expr:
    """Return CAST … FORMAT of a STRING to a date or time."""
    from sqlglot import exp

    form, zone = node.args["format"], node.args.get("zone")
    if not is_text(form):
        raise ApiError(501, "The emulator needs the format of a CAST to a date or time as a literal or a parameter.")
    if zone is not None and to != kinds.TIMESTAMP:
        raise invalid_query(f"AT TIME ZONE is not allowed in a CAST from STRING to {to} at {position(node)}")
    try:
        moments.check(form.name, to.name)
    except ValueError as error:
        raise invalid_query(f"Invalid format: {error}") from error
    read = call(
        "py_moment_of_text", cast(node.this, "text"), form, text(to.name), exp.Boolean(this=isinstance(node, exp.TryCast))
    )
    if to != kinds.TIMESTAMP:
        return cast(read, kinds.duckdb_type(to))
    zone = text("UTC") if zone is None or moments.has_zone(form.name) else zone
    return call("bq_timestamp_in_range", times.from_zone(cast(read, "timestamp"), zone))


def _is_exact(node: Any) -> bool:
    """Say whether a node makes a NUMERIC or BIGNUMERIC of a literal number."""
    from sqlglot import exp

    value = node.this.this if isinstance(node.this, exp.Neg) else node.this
    is_number = isinstance(value, exp.Literal) and not value.is_string and not value.name.isdigit()
    return is_number and isinstance(node.to, exp.DataType) and str(node.to.this.name).endswith("DECIMAL")


def _string(node: exp.String) -> exp.Expr:
    if kinds.of(node.this) == kinds.JSON:
        return call("bq_json_string", node.this)
    if node.args.get("zone"):
        return times.in_text(node.this, node.args["zone"])
    return _as_string(node.this)


def _safely(kind: type[Any], node: Any) -> exp.Expr:
    return call("TRY", kind(this=node.this.copy(), expression=node.expression.copy()))


def _like(node: exp.Like) -> exp.Expr:
    """Return LIKE, also with ANY and ALL."""
    from sqlglot import exp

    quantified = node.expression
    if not isinstance(quantified, (exp.Any, exp.All)):
        return _pattern(node)  # type: ignore[no-any-return]

    def like(pattern: exp.Expr) -> exp.Expr:
        made = _pattern(exp.Like(this=node.this.copy(), expression=pattern.copy()))
        return exp.Not(this=exp.paren(made)) if node.args.get("negate") else exp.paren(made)

    inner = quantified.this
    is_any = isinstance(quantified, exp.Any)
    if isinstance(inner, exp.Unnest):
        array = inner.expressions[0]
        element = kinds.of(array)
        pattern = kinds.put(exp.column("bq_e"), element.element if element is not None else None)
        found = exp.Lambda(this=like(pattern), expressions=[exp.to_identifier("bq_e")])
        return call("bq_any" if is_any else "bq_all", call("list_transform", array.copy(), found))
    if isinstance(inner, exp.Subquery) and not isinstance(inner.this, exp.Subquery):
        raise ApiError(501, "The emulator's LIKE ANY and LIKE ALL take no query of several rows.")
    items = inner.expressions if isinstance(inner, exp.Tuple) else [inner.this if isinstance(inner, exp.Subquery) else inner]
    joined = exp.or_ if is_any else exp.and_
    return exp.paren(joined(*[like(item) for item in items]))


@texts.of_bytes
def _pattern(node: exp.Like) -> exp.Expr:
    """Let a backslash in a pattern mean the next character itself."""
    from sqlglot import exp

    pattern = node.expression
    if isinstance(node.parent, exp.Escape):
        return node
    if is_text(pattern) and "\\" not in pattern.name:
        return node
    return exp.Escape(this=node.copy(), expression=text("\\"))


def _substring(node: exp.Substring) -> exp.Expr:
    from sqlglot import exp

    start = node.args.get("start")
    length = node.args.get("length")
    if length is not None and not (isinstance(length, exp.Literal) and length.name.isdigit()):
        node.set("length", call("bq_length", length, text("SUBSTR")))
    if start is None:
        raise invalid_query(f"No matching signature for function SUBSTR for argument types: STRING at {position(node)}")
    if isinstance(start, exp.Literal) and start.name.isdigit() and int(start.name) > 0:
        return node
    substring = node.copy()
    substring.set("start", call("bq_start", node.this.copy(), start.copy()))
    return substring


def _collated(node: exp.Expr) -> exp.Expr:
    raise ApiError(501, "The emulator does not do COLLATE.")


def _system_variable(node: exp.Expr) -> exp.Expr:
    raise ApiError(501, f"The emulator has no system variable @@{node.name}.")


def _regexp_group(node: Any) -> exp.Expr:
    """Take the pattern's group if it has one, also when the pattern was a parameter while SQLGlot looked for it."""
    from sqlglot import exp

    for key, what in (("position", "Position"), ("occurrence", "Occurrence")):
        if (whole(node.args.get(key)) or 1) < 1 or whole(node.args.get(key)) == 0:
            raise invalid_query(f"{what} must be positive")
    pattern = node.expression
    if is_text(pattern):
        groups = patterns.groups(pattern.name)
        if groups > 1:
            raise invalid_query("Regular expression has more than 1 capturing group")
        return _of_group(node, groups)
    cases = [exp.If(this=number(groups), true=_of_group(node, groups)) for groups in (0, 1)]
    return exp.Case(this=call("py_groups", pattern.copy()), ifs=cases, default=call("bq_too_many_groups", pattern.copy()))


def _of_group(node: Any, group: int) -> exp.Expr:
    """Return REGEXP_EXTRACT or REGEXP_EXTRACT_ALL of a group, 0 for the whole."""
    from sqlglot import exp

    found = node.copy()
    found.set("group", exp.Literal.number(group))
    if isinstance(node, exp.RegexpExtractAll) and kinds.of(node.this) != kinds.NULL:
        matches = node.copy()
        matches.set("group", exp.Literal.number(0))
        return call("bq_without_end", found, matches, node.this.copy())
    return found  # type: ignore[no-any-return]


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

    lists = (exp.Any, exp.All, exp.Group, exp.GroupingSets, exp.Rollup, exp.Cube, exp.Tuple)
    if kinds.of(node) is None or isinstance(node.parent, lists):
        return node
    members = [
        exp.PropertyEQ(this=exp.to_identifier(f"_field_{number}", quoted=True), expression=_as_int64(member))
        for number, member in enumerate(node.expressions, start=1)
    ]
    return exp.Struct(expressions=members)


def _dot(node: exp.Dot) -> exp.Expr:
    from sqlglot import exp

    if isinstance(node.this, (exp.Column, exp.Dot, exp.Paren)) or isinstance(node.expression, exp.Func):
        return node
    return exp.Dot(this=exp.paren(node.this), expression=node.expression)
