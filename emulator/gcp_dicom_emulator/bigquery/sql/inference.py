"""The type of an expression, from the types of what it is made of."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import kinds, special
from gcp_dicom_emulator.bigquery.sql.kinds import Kind

if TYPE_CHECKING:
    from sqlglot import exp

_Rule = Callable[[Any], Kind | None]


def infer(node: exp.Expr) -> Kind | None:
    """Return the type of an expression whose parts have theirs already, ``None`` when it is not known."""
    rule = _rules().get(type(node))
    return rule(node) if rule is not None else None


def _of(*keys: str) -> _Rule:
    """Return the rule of what has the type of its arguments together."""

    def rule(node: Any) -> Kind | None:
        found: list[Kind | None] = []
        for key in keys:
            value = node.args.get(key)
            if isinstance(value, list):
                found += [kinds.of(item) for item in value]
            elif value is not None:
                found.append(kinds.of(value))
        return kinds.common(found)

    return rule


def _array_of(rule: _Rule) -> _Rule:
    def array(node: Any) -> Kind | None:
        return kinds.array_of(rule(node))

    return array


def _array(node: exp.Array) -> Kind | None:
    # An array of the rows of a query has the query's type; see the resolver.
    return kinds.array_of(kinds.common(literal_aware(node.expressions)))


def literal_aware(items: list[exp.Expr]) -> list[Kind | None]:
    """Return the types of expressions of which literal texts become what the others are: dates, times."""
    from sqlglot import exp

    found = exact_literals(items, [kinds.of(item) for item in items])
    special = {kind for kind in found if kind in _LITERALS}
    if len(special) != 1:
        return found
    (kind,) = special
    return [kind if isinstance(item, exp.Literal) and item.is_string else own for item, own in zip(items, found, strict=True)]


def is_number(node: Any) -> bool:
    """Say whether a node is a literal number, perhaps negative."""
    from sqlglot import exp

    return isinstance(node.this if isinstance(node, exp.Neg) else node, exp.Literal) and not getattr(node, "is_string", False)


def exact_literals(items: Sequence[exp.Expr | None], found: list[Kind | None]) -> list[Kind | None]:
    """Return types of which those of literals with a point are NUMERIC beside a NUMERIC."""
    exact = next((kind for kind in found if kind in (kinds.NUMERIC, kinds.BIGNUMERIC)), None)
    if exact is None:
        return found
    return [exact if kind == kinds.FLOAT64 and is_number(item) else kind for item, kind in zip(items, found, strict=True)]


#: Types that a literal text becomes when it meets them.
_LITERALS = (kinds.DATE, kinds.TIME, kinds.DATETIME, kinds.TIMESTAMP, kinds.BYTES)


def _branches(node: Any) -> Kind | None:
    """Return the type of CASE, IF and COALESCE."""
    from sqlglot import exp

    if isinstance(node, exp.Case):
        values = [branch.args["true"] for branch in node.args["ifs"]]
        default = node.args.get("default")
        return kinds.common(literal_aware([*values, *([default] if default is not None else [])]))
    if isinstance(node, exp.If):
        default = node.args.get("false")
        return kinds.common(literal_aware([node.args["true"], *([default] if default is not None else [])]))
    if isinstance(node, exp.Nullif):
        return kinds.of(node.this)
    return kinds.common(literal_aware([node.this, *node.expressions]))


def _operands(node: Any) -> tuple[Kind | None, Kind | None]:
    """Return the types of both sides; a literal with a point is a NUMERIC beside a NUMERIC."""
    from sqlglot import exp

    left, right = kinds.of(node.this), kinds.of(node.expression)
    exact = (kinds.NUMERIC, kinds.BIGNUMERIC)
    if left == kinds.FLOAT64 and right in exact and isinstance(node.this, exp.Literal):
        left = right
    if right == kinds.FLOAT64 and left in exact and isinstance(node.expression, exp.Literal):
        right = left
    return left, right


_MOMENTS = (kinds.DATE, kinds.TIME, kinds.DATETIME, kinds.TIMESTAMP)


def _arithmetic(node: Any) -> Kind | None:
    left, right = _operands(node)
    if left == kinds.NULL:
        left = right
    if right == kinds.NULL:
        right = left
    if left in kinds.NUMBERS and right in kinds.NUMBERS:
        return kinds.common([left, right])
    if kinds.INTERVAL in (left, right) and type(node).__name__ == "Mul":
        return kinds.INTERVAL
    if left == right and left in _MOMENTS:
        return kinds.INTERVAL if type(node).__name__ == "Sub" else None
    if right == kinds.INTERVAL:
        return kinds.DATETIME if left == kinds.DATE else left
    if left == kinds.INTERVAL:
        return kinds.DATETIME if right == kinds.DATE else right
    if left == kinds.DATE and right == kinds.INT64:
        return kinds.DATE
    if right == kinds.DATE and left == kinds.INT64:
        return kinds.DATE
    return None


def _division(node: Any) -> Kind | None:
    both = kinds.common(_operands(node))
    return kinds.FLOAT64 if both in (kinds.INT64, kinds.NULL) else both if both in kinds.NUMBERS else None


def _real(node: Any) -> Kind | None:
    """Return the type of what makes a FLOAT64 of an INT64 and leaves other numbers."""
    kind = kinds.of(node.this)
    return kinds.FLOAT64 if kind in (kinds.INT64, kinds.NULL) else kind if kind in kinds.NUMBERS else None


def _bracket(node: exp.Bracket) -> Kind | None:
    kind = kinds.of(node.this)
    if kind is None or kind == kinds.JSON:
        return kind
    return kind.element if kind.name == "ARRAY" else None


def _dot(node: exp.Dot) -> Kind | None:
    kind = kinds.of(node.this)
    if kind == kinds.JSON:
        return kind
    return kind.member(node.expression.name) if kind is not None and kind.name == "STRUCT" else None


def _literal(node: exp.Literal) -> Kind:
    if node.is_string:
        return kinds.STRING
    return kinds.INT64 if node.name.isdigit() else kinds.FLOAT64


def _struct(node: exp.Struct) -> Kind:
    return Kind("STRUCT", tuple((member.name, kinds.of(member.expression)) for member in node.expressions))


def _tuple(node: exp.Tuple) -> Kind:
    return Kind("STRUCT", tuple(("", kinds.of(member)) for member in node.expressions))


def _trunc(default: Kind) -> _Rule:
    def rule(node: Any) -> Kind | None:
        kind = kinds.of(node.this)
        return default if kind in (kinds.STRING, kinds.NULL) else kind

    return rule


def _first_argument(node: Any) -> Kind | None:
    return kinds.of(node.this)


def _cast(node: Any) -> Kind | None:
    return kinds.of_type(node.args.get("to"))


def _extract(node: exp.Extract) -> Kind:
    part = node.this.name.upper()
    return {"DATE": kinds.DATE, "TIME": kinds.TIME, "DATETIME": kinds.DATETIME}.get(part, kinds.INT64)


def _json(node: Any) -> Kind:
    """Return the type of JSON_QUERY and JSON_EXTRACT: a JSON of a JSON, a STRING of a STRING."""
    return kinds.JSON if kinds.of(node.this) == kinds.JSON else kinds.STRING


def _text_like(node: Any) -> Kind | None:
    """Return the type of what works on STRING and BYTES."""
    kind = kinds.of(node.this)
    others = [kinds.of(value) for value in node.iter_expressions()]
    if kind == kinds.NULL:
        return kinds.BYTES if kinds.BYTES in others else kinds.STRING
    return kind if kind in (kinds.STRING, kinds.BYTES) else None


def _concat(node: Any) -> Kind:
    parts = node.expressions or [node.this, node.expression]
    return kinds.BYTES if any(kinds.of(part) == kinds.BYTES for part in parts) else kinds.STRING


def _pipes(node: Any) -> Kind | None:
    found = [kinds.of(node.this), kinds.of(node.expression)]
    array = next((kind for kind in found if kind is not None and kind.name == "ARRAY"), None)
    return array if array is not None else _concat(node)


def _sum(node: Any) -> Kind | None:
    kind = kinds.of(node.this)
    return kinds.INT64 if kind == kinds.NULL else kind if kind in kinds.NUMBERS else None


def _series(node: Any) -> Kind | None:
    bounds = [node.args[key] for key in ("start", "end", "step") if node.args.get(key) is not None]
    return kinds.array_of(kinds.common(exact_literals(bounds, [kinds.of(bound) for bound in bounds])))


def _anonymous(node: exp.Anonymous) -> Kind | None:
    return _ANONYMOUS.get(node.name.upper()) or special.kind_of_function(node)


#: Functions that SQLGlot does not know by a class of their own.
_ANONYMOUS = {
    "CHR": kinds.STRING,
    "ASCII": kinds.INT64,
    "BIT_COUNT": kinds.INT64,
    "STARTS_WITH": kinds.BOOL,
    "ENDS_WITH": kinds.BOOL,
    "IS_NAN": kinds.BOOL,
    "IEEE_DIVIDE": kinds.FLOAT64,
    "ASIN": kinds.FLOAT64,
    "ACOS": kinds.FLOAT64,
    "ATAN": kinds.FLOAT64,
}


@functools.cache
def _rules() -> dict[type, _Rule]:
    from sqlglot import exp
    from sqlglot.dialects.bigquery import BigQuery

    rules: dict[type, _Rule] = {}
    for kind, entry in BigQuery.EXPRESSION_METADATA.items():
        returned = kinds.of_sqlglot(entry["returns"].name) if entry.get("returns") is not None else None
        if returned is not None:
            rules[kind] = lambda _, returned=returned: returned  # type: ignore[misc]
    predicates = [cls for cls in vars(exp).values() if isinstance(cls, type) and issubclass(cls, exp.Predicate)]
    for cls in (*predicates, exp.And, exp.Or, exp.Not):
        rules[cls] = lambda _: kinds.BOOL
    fixed: dict[Kind, tuple[Any, ...]] = {
        kinds.INT64: (
            exp.Count, exp.DateDiff, exp.DatetimeDiff, exp.TimestampDiff, exp.TimeDiff, exp.StrPosition, exp.Length, exp.Unicode,
            exp.RegexpInstr, exp.Levenshtein, exp.ArraySize, exp.HexString,
        ),
        kinds.STRING: (exp.Format, exp.RawString, exp.TimeToStr, exp.String, exp.Uuid, exp.ArrayToString),
        kinds.TIMESTAMP: (exp.StrToTime, exp.UnixToTime, exp.CurrentTimestamp, exp.Timestamp, exp.TimestampAdd, exp.TimestampSub),
        kinds.DATETIME: (exp.CurrentDatetime, exp.Datetime, exp.TsOrDsToDatetime, exp.TimestampFromParts),
        kinds.INTERVAL: (exp.Interval, exp.MakeInterval),
        kinds.FLOAT64: (
            exp.Stddev, exp.StddevPop, exp.StddevSamp, exp.Variance, exp.VariancePop, exp.Corr, exp.CovarPop, exp.CovarSamp,
        ),
    }  # fmt: skip
    for kind_, classes in fixed.items():
        for cls in classes:
            rules[cls] = lambda _, kind_=kind_: kind_  # type: ignore[misc]
    rules |= {
        exp.Null: lambda _: kinds.NULL,
        exp.Boolean: lambda _: kinds.BOOL,
        exp.Literal: _literal,
        exp.Paren: _first_argument,
        exp.Alias: _first_argument,
        exp.Neg: _first_argument,
        exp.Add: _arithmetic,
        exp.Sub: _arithmetic,
        exp.Mul: _arithmetic,
        exp.SafeAdd: _arithmetic,
        exp.SafeSubtract: _arithmetic,
        exp.SafeMultiply: _arithmetic,
        exp.Mod: _arithmetic,
        exp.IntDiv: _arithmetic,
        exp.Div: _division,
        exp.SafeDivide: _division,
        exp.BitwiseAnd: _first_argument,
        exp.BitwiseOr: _first_argument,
        exp.BitwiseXor: _first_argument,
        exp.BitwiseNot: _first_argument,
        exp.BitwiseLeftShift: _first_argument,
        exp.BitwiseRightShift: _first_argument,
        exp.Abs: _first_argument,
        exp.Sign: _first_argument,
        exp.Round: _real,
        exp.Ceil: _real,
        exp.Floor: _real,
        exp.Trunc: _real,
        exp.Sqrt: _real,
        exp.Exp: _real,
        exp.Ln: _real,
        exp.Log: _division,
        exp.Pow: _division,
        exp.Avg: _real,
        exp.BitwiseAndAgg: _first_argument,
        exp.BitwiseOrAgg: _first_argument,
        exp.BitwiseXorAgg: _first_argument,
        exp.Degrees: _real,
        exp.Radians: _real,
        exp.Typeof: lambda _: kinds.STRING,
        exp.Sum: _sum,
        exp.Bracket: _bracket,
        exp.Dot: _dot,
        exp.Struct: _struct,
        exp.Tuple: _tuple,
        exp.Cast: _cast,
        exp.TryCast: _cast,
        exp.Array: _array,
        exp.Case: _branches,
        exp.If: _branches,
        exp.Coalesce: _branches,
        exp.Nullif: _branches,
        exp.Greatest: _branches,
        exp.Least: _branches,
        exp.Max: _first_argument,
        exp.Min: _first_argument,
        exp.AnyValue: _first_argument,
        exp.FirstValue: _first_argument,
        exp.LastValue: _first_argument,
        exp.NthValue: _first_argument,
        exp.Lag: _of("this", "default"),
        exp.Lead: _of("this", "default"),
        exp.Window: _first_argument,
        exp.Filter: _first_argument,
        exp.Order: _first_argument,
        exp.Limit: _first_argument,
        exp.HavingMax: _first_argument,
        exp.Ordered: _first_argument,
        exp.IgnoreNulls: _first_argument,
        exp.RespectNulls: _first_argument,
        exp.SafeFunc: _first_argument,
        exp.Distinct: lambda node: kinds.of(node.expressions[0]) if len(node.expressions) == 1 else None,
        exp.ArrayAgg: _array_of(_first_argument),
        exp.ArrayConcatAgg: _first_argument,
        exp.ArrayConcat: _of("this", "expressions"),
        exp.ArrayReverse: _first_argument,
        exp.ArraySlice: _first_argument,
        exp.ArrayFirst: lambda node: (kinds.of(node.this) or kinds.NULL).element,
        exp.ArrayLast: lambda node: (kinds.of(node.this) or kinds.NULL).element,
        exp.GroupConcat: _text_like,
        exp.Lower: _text_like,
        exp.Upper: _text_like,
        exp.Substring: _text_like,
        exp.Left: _text_like,
        exp.Right: _text_like,
        exp.Trim: _text_like,
        exp.Pad: _text_like,
        exp.Repeat: _text_like,
        exp.Reverse: _text_like,
        exp.Replace: _text_like,
        exp.RegexpExtract: _text_like,
        exp.RegexpReplace: _text_like,
        exp.Translate: _text_like,
        exp.RegexpExtractAll: _array_of(_text_like),
        exp.Split: _array_of(_text_like),
        exp.Concat: _concat,
        exp.DPipe: _pipes,
        exp.DateTrunc: _trunc(kinds.DATE),
        exp.DatetimeTrunc: _trunc(kinds.DATETIME),
        exp.TimestampTrunc: _trunc(kinds.TIMESTAMP),
        exp.TimeTrunc: lambda _: kinds.TIME,
        exp.DateAdd: _trunc(kinds.DATE),
        exp.DateSub: _trunc(kinds.DATE),
        exp.DatetimeAdd: lambda _: kinds.DATETIME,
        exp.DatetimeSub: lambda _: kinds.DATETIME,
        exp.LastDay: lambda _: kinds.DATE,
        exp.Extract: _extract,
        exp.JSONExtract: _json,
        exp.JSONExtractArray: _array_of(_json),
        exp.JSONFormat: lambda node: kinds.JSON if node.args.get("to_json") else kinds.STRING,
        exp.JSONValueArray: lambda _: kinds.array_of(kinds.STRING),
        exp.ToCodePoints: lambda _: kinds.array_of(kinds.INT64),
        exp.GenerateSeries: _series,
        exp.GenerateDateArray: lambda _: kinds.array_of(kinds.DATE),
        exp.GenerateTimestampArray: lambda _: kinds.array_of(kinds.TIMESTAMP),
        exp.ApproxQuantiles: _array_of(_first_argument),
        exp.PercentileCont: _real,
        exp.PercentileDisc: _first_argument,
        exp.Anonymous: _anonymous,
    }
    return rules
