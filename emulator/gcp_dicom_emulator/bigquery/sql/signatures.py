"""What GoogleSQL's operators and functions take, by the types of what they are given; all else is refused in its words.

Only what is known is refused: a value whose type is not known here passes, and DuckDB looks at it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import inference, kinds
from gcp_dicom_emulator.bigquery.sql.calls import is_text
from gcp_dicom_emulator.bigquery.sql.kinds import (
    BIGNUMERIC,
    BOOL,
    BYTES,
    DATE,
    DATETIME,
    FLOAT64,
    INT64,
    INTERVAL,
    JSON,
    NUMERIC,
    STRING,
    TIME,
    TIMESTAMP,
    Kind,
)
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query, position
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp

#: Types of which :mod:`special` knows what takes them.
_SPECIAL = ("GEOGRAPHY", "RANGE", "TIMESTAMP(12)")
_TEXTS, _EXACT, _MOMENTS = (STRING, BYTES), (INT64, NUMERIC, BIGNUMERIC), (DATE, DATETIME, TIMESTAMP)

#: What a value becomes by itself where another type is wanted.
_IMPLICIT: dict[Kind, tuple[Kind, ...]] = {
    INT64: (NUMERIC, BIGNUMERIC, FLOAT64),
    NUMERIC: (BIGNUMERIC, FLOAT64),
    BIGNUMERIC: (FLOAT64,),
    DATE: (DATETIME,),
}
_ANYTHING_OF_TEXT = (INT64, FLOAT64, NUMERIC, BIGNUMERIC, BOOL, BYTES, DATE, TIME, DATETIME, TIMESTAMP, INTERVAL)
#: What CAST makes of a value, beside what that becomes by itself.
_CASTS: dict[Kind, tuple[Kind, ...]] = {
    BOOL: (INT64, STRING),
    INT64: (BOOL, STRING),
    NUMERIC: (INT64, STRING),
    BIGNUMERIC: (INT64, NUMERIC, STRING),
    FLOAT64: (*_EXACT, STRING),
    STRING: _ANYTHING_OF_TEXT,
    BYTES: (STRING,),
    DATE: (TIMESTAMP, STRING),
    TIMESTAMP: (DATE, DATETIME, TIME, STRING),
    TIME: (STRING,),
    DATETIME: (DATE, TIME, TIMESTAMP, STRING),
    INTERVAL: (STRING,),
    JSON: (),
}

#: By their SQLGlot classes: a name, and the types of the arguments by their keys, for each signature.
_Signatures = tuple[str, list[dict[str, Kind]]]


def _of(found: Iterable[Kind], *keys: str, **others: Kind) -> list[dict[str, Kind]]:
    """Return signatures that differ in one type.

    :param keys: the arguments of that type.
    :param others: the types of other arguments.
    """
    return [{**dict.fromkeys(keys, kind), **others} for kind in found]


# Checks


def check(node: exp.Expr) -> None:
    """Refuse an expression whose parts are of types that it does not take.

    :param node: an expression; its parts are resolved.
    :raises ApiError: 400 when GoogleSQL refuses it.
    """
    if any(getattr(kinds.of(part), "name", "") in _SPECIAL for part in node.iter_expressions()):
        return
    rule = _rules().get(type(node))
    if rule is not None:
        rule(node)
    elif (signatures := _functions().get(type(node))) is not None:
        name, allowed = signatures
        _check_signatures(node, name, allowed)


def check_condition(node: exp.Expr | None, clause: str) -> None:
    """Refuse a condition that is not a BOOL.

    :param clause: its name, e.g. ``WHERE``.
    """
    kind = kinds.of(node)
    if node is not None and kind not in (None, BOOL, kinds.NULL):
        raise invalid_query(f"{clause} clause should return type BOOL, but returns {kind} at {position(node)}")


def check_columns_of(select: exp.Expr) -> None:
    """Refuse a SELECT DISTINCT of what cannot be told apart."""
    for number, item in enumerate(select.expressions, start=1):
        if kinds.of(item) == JSON:
            name = item.alias_or_name or number
            raise invalid_query(f"Column {name} of type JSON cannot be used in SELECT DISTINCT at {position(item)}")


def check_sorted(node: exp.Expr) -> None:
    """Refuse what an ORDER BY cannot sort."""
    if (kind := _unordered(kinds.of(node))) is not None:
        raise invalid_query(f"ORDER BY does not support expressions of type {kind} at {position(node)}")


def check_grouped(node: exp.Expr, what: str = "Grouping") -> None:
    """Refuse what cannot be a key of groups.

    :param what: ``Grouping`` or ``Partitioning``.
    """
    if kinds.of(node) == JSON:
        raise invalid_query(f"{what} by expressions of type JSON is not allowed at {position(node)}")


def check_columns(items: Sequence[exp.Expr | None], found: list[Kind | None], number: int, operation: str, place: str) -> None:
    """Refuse the columns of a set operation that have no type together.

    :param items: the expressions, where they are known.
    :param number: which column they are, from 1.
    :param operation: e.g. ``UNION ALL``.
    """
    given = [kind for kind in found if kind is not None]
    if len(given) == len(found) and _meeting(items, found) is None:
        types = ", ".join(str(kind) for kind in dict.fromkeys(given))
        raise invalid_query(f"Column {number} in {operation} has incompatible types: {types} at {place}")
    if operation != "UNION ALL" and JSON in given:
        raise invalid_query(
            f"Column {number} in {operation} has type that does not support set operation comparisons: JSON at {place}"
        )


def fits(value: exp.Expr, to: Kind) -> bool:
    """Say whether a value is of a type, or becomes one by itself; so it seems for one that is not known."""
    from sqlglot import exp

    own = kinds.of(value)
    if own is None or own in (to, kinds.NULL) or to in _IMPLICIT.get(own, ()):
        return True
    if own.name == to.name == "ARRAY":
        if isinstance(value, exp.Array) and to.element is not None:
            return all(fits(item, to.element) for item in value.expressions)
        return own.element is None or to.element is None or own.element in (to.element, kinds.NULL)
    if own.name == to.name and own.members:
        return len(own.members) == len(to.members)
    if inference.is_number(value) and own == FLOAT64 and to in (NUMERIC, BIGNUMERIC):
        return True
    return is_text(_bare(value)) and to in (DATE, TIME, DATETIME, TIMESTAMP, BYTES)


def _bare(value: exp.Expr) -> exp.Expr:
    return value.unnest()


def _meeting(items: Sequence[exp.Expr | None], found: list[Kind | None]) -> Kind | None:
    """Return the type that values have together; ``None`` if they have none."""
    special = {kind for kind in found if kind in (DATE, TIME, DATETIME, TIMESTAMP, BYTES)}
    if special:
        # A literal text becomes what the others are.
        found = [None if item is not None and is_text(_bare(item)) else own for item, own in zip(items, found, strict=True)]
    given = [kind for kind in inference.exact_literals(items, found) if kind is not None]
    kind = kinds.common(given)
    # Fields and elements that have no type together.
    is_partial = kind is not None and "?" in str(kind) and not any("?" in str(one) for one in given)
    return None if is_partial else kind


def _unordered(kind: Kind | None) -> Kind | None:
    """Return a type whose values have no order, ``None`` for another."""
    return kind if kind is not None and kind.name in ("STRUCT", "ARRAY", "JSON", "GEOGRAPHY") else None


def _mismatch(node: exp.Expr, what: str, values: Sequence[exp.Expr]) -> ApiError:
    types = ", ".join(str(kinds.of(value) or "?") for value in values)
    return invalid_query(f"No matching signature for {what} for argument types: {types} at {position(node)}")


def _refuse_null(operator: str, *operands: exp.Expr) -> None:
    from sqlglot import exp

    for operand in operands:
        if isinstance(_bare(operand), exp.Null):
            raise invalid_query(f"Operands of {operator} cannot be literal NULL at {position(operand)}")


def _together(node: exp.Expr, what: str, values: Sequence[exp.Expr]) -> Kind | None:
    """Return the type that values have together, ``None`` if it is not known; refuse those that have none."""
    found = [kinds.of(value) for value in values]
    if any(kind is None for kind in found):
        return None
    kind = _meeting(values, found)
    if kind is None:
        raise _mismatch(node, what, values)
    return kind


# Operators


def _compared(operator: str) -> Callable[[Any], None]:
    def rule(node: Any) -> None:
        from sqlglot import exp

        if isinstance(node.expression, (exp.Any, exp.All)):
            word = type(node.expression).__name__.upper()
            raise invalid_query(f"Syntax error: Unexpected keyword {word} at {position(node.expression)}")
        if operator != "IS DISTINCT FROM":
            _refuse_null(operator, node.this, node.expression)
        kind = _together(node, f"operator {operator}", (node.this, node.expression))
        is_equality = operator in ("=", "!=", "IS DISTINCT FROM")
        if kind is None or (kind.name == "STRUCT" and is_equality and (operator == "IS DISTINCT FROM" or _has_equality(kind))):
            return
        if _unordered(kind) is not None and not (operator == "IS DISTINCT FROM" and kind.name == "ARRAY"):
            raise _not_defined(node, operator, kind)

    return rule


def _has_equality(kind: Kind) -> bool:
    """Say whether two values of a type may be compared by ``=``: no arrays, also inside of structs."""
    if kind.name == "STRUCT":
        return all(member is None or _has_equality(member) for _, member in kind.members)
    return _unordered(kind) is None


_WORDS = {
    "=": "Equality", "!=": "Inequality", "<": "Less than", "<=": "Less than or equal", ">": "Greater than",
    ">=": "Greater than or equal", "IS DISTINCT FROM": "Grouping",
}  # fmt: skip


def _not_defined(node: exp.Expr, operator: str, kind: Kind) -> ApiError:
    word = _WORDS.get(operator, operator)
    return invalid_query(f"{word} is not defined for arguments of type {kind} at {position(node)}")


def _between(node: exp.Between) -> None:
    values = (node.this, node.args["low"], node.args["high"])
    kind = _unordered(_together(node, "operator BETWEEN", values))
    if kind is not None:
        raise _not_defined(node, "BETWEEN", kind)


def _in(node: exp.In) -> None:
    from sqlglot import exp

    query, unnest = node.args.get("query"), node.args.get("unnest")
    values = [node.this, *node.expressions]
    if query is not None:
        found = [kinds.of(node.this), kinds.of(query)]
        if None not in found and _meeting([node.this, None], found) is None:
            raise invalid_query(
                f"Cannot execute IN subquery with uncomparable types {found[0]} and {found[1]} at {position(node)}"
            )
    elif isinstance(unnest, exp.Unnest) and len(unnest.expressions) == 1:
        array = unnest.expressions[0]
        kind = kinds.of(array)
        if kind is None:
            return
        if kind.name != "ARRAY":
            raise invalid_query(f"Second argument of IN UNNEST must be an array but was {kind} at {position(array)}")
        found = [kinds.of(node.this), kind.element]
        if None not in found and _meeting([node.this, None], found) is None and not isinstance(array, exp.Array):
            raise _mismatch(node, "operator IN UNNEST", (node.this, array))
        values = [node.this, *array.expressions] if isinstance(array, exp.Array) else [node.this]
    kind = _unordered(_together(node, "operator IN", values))
    if kind is not None and kind.name != "STRUCT":
        raise _not_defined(node, "IN", kind)


def _like(node: exp.Like) -> None:
    from sqlglot import exp

    pattern = node.expression
    if isinstance(pattern, (exp.Any, exp.All)):
        inner = pattern.this
        patterns = inner.expressions if isinstance(inner, exp.Tuple) else [inner.unnest()]
        patterns = [one for one in patterns if not isinstance(one, (exp.Unnest, exp.Query))]
    else:
        patterns = [pattern]
        _refuse_null("LIKE", node.this, pattern)
    if not any(all(fits(value, kind) for value in (node.this, *patterns)) for kind in _TEXTS):
        raise _mismatch(node, "operator LIKE", (node.this, *patterns))


def _logical(operator: str) -> Callable[[Any], None]:
    def rule(node: Any) -> None:
        operands = [node.this] if operator == "NOT" else [node.this, node.expression]
        if not all(fits(operand, BOOL) for operand in operands):
            raise _mismatch(node, f"operator {operator}", operands)

    return rule


def _unary(operator: str, allowed: tuple[Kind, ...]) -> Callable[[Any], None]:
    def rule(node: Any) -> None:
        _refuse_null(operator, node.this)
        if not any(fits(node.this, kind) for kind in allowed):
            raise _mismatch(node, f"operator {operator}", (node.this,))

    return rule


_BITS, _SHIFTS = [(INT64, INT64), (BYTES, BYTES)], [(INT64, INT64), (BYTES, INT64)]
#: What stands on both sides of an operator.
_PAIRS: dict[str, list[tuple[Kind, Kind]]] = {
    "+": [
        *((kind, kind) for kind in kinds.NUMBERS), (DATE, INT64), (INT64, DATE),
        *((kind, INTERVAL) for kind in (*_MOMENTS, INTERVAL)), *((INTERVAL, kind) for kind in _MOMENTS),
    ],
    "-": [
        *((kind, kind) for kind in kinds.NUMBERS), (DATE, INT64), *((kind, kind) for kind in (*_MOMENTS, TIME)),
        *((kind, INTERVAL) for kind in (*_MOMENTS, INTERVAL)),
    ],
    "*": [*((kind, kind) for kind in kinds.NUMBERS), (INTERVAL, INT64), (INT64, INTERVAL)],
    "/": [*((kind, kind) for kind in kinds.NUMBERS), (INTERVAL, INT64)],
    "&": _BITS,
    "|": _BITS,
    "^": _BITS,
    "<<": _SHIFTS,
    ">>": _SHIFTS,
}  # fmt: skip


def _binary(operator: str) -> Callable[[Any], None]:
    def rule(node: Any) -> None:
        left, right = node.this, node.expression
        _refuse_null(operator, left, right)
        if INTERVAL in (kinds.of(left), kinds.of(right)) and (is_text(_bare(left)) or is_text(_bare(right))):
            return
        # A literal text becomes a date beside a date only.
        is_written = is_text(_bare(left)) or is_text(_bare(right))
        no_moments = is_written and not {kinds.of(left), kinds.of(right)} & {*_MOMENTS, TIME, None}
        if no_moments or not any(fits(left, one) and fits(right, other) for one, other in _PAIRS[operator]):
            raise _mismatch(node, f"operator {operator}", (left, right))

    return rule


def _joined(node: Any) -> None:
    """Check ``||`` and CONCAT: texts, and what becomes one; BYTES; arrays."""
    from sqlglot import exp

    is_operator = isinstance(node, exp.DPipe)
    values = [node.this, node.expression] if is_operator else node.expressions
    what = "operator ||" if is_operator else "function CONCAT"
    found = [kind for kind in map(kinds.of, values) if kind is not None]
    names = {kind.name for kind in found} - {"NULL"}
    if "ARRAY" in names and is_operator:
        _together(node, what, values)
    elif names & {"ARRAY", "STRUCT", "JSON"} or ("BYTES" in names and len(names) > 1):
        raise _mismatch(node, what, values)


# Values that meet


def _case(node: exp.Case) -> None:
    branches = node.args["ifs"]
    if node.this is None:
        for branch in branches:
            if not fits(branch.this, BOOL):
                raise invalid_query(
                    f"CASE condition should return type BOOL, but returns {kinds.of(branch.this)} at {position(branch.this)}"
                )
    else:
        _together(node, "operator CASE", [node.this, *(branch.this for branch in branches)])
    values = [branch.args["true"] for branch in branches]
    values += [node.args["default"]] if node.args.get("default") is not None else []
    _together(node, "operator CASE", values)


def _if(node: exp.If) -> None:
    from sqlglot import exp

    if isinstance(node.parent, exp.Case):
        return
    values = [node.args[key] for key in ("true", "false") if node.args.get(key) is not None]
    if not fits(node.this, BOOL):
        raise _mismatch(node, "function IF", (node.this, *values))
    _together(node, "function IF", values)


def _meet(name: str) -> Callable[[Any], None]:
    def rule(node: Any) -> None:
        values = [node.this, *node.expressions]
        kind = _together(node, f"function {name}", values)
        if name in ("GREATEST", "LEAST") and (unordered := _unordered(kind)) is not None:
            raise _not_defined(node, name, unordered)

    return rule


def _null_if(node: exp.Nullif) -> None:
    kind = _together(node, "function NULLIF", (node.this, node.expression))
    if kind is not None and kind.name in ("JSON", "ARRAY", "GEOGRAPHY"):
        raise _not_defined(node, "NULLIF", kind)


def _array(node: exp.Array) -> None:
    from sqlglot import exp

    if any(isinstance(item, exp.Query) for item in node.expressions):
        return
    found = [kinds.of(item) for item in node.expressions]
    given = [kind for kind in found if kind is not None]
    if found and len(given) == len(found) and _meeting(node.expressions, found) is None:
        types = ", ".join(sorted({str(kind) for kind in given}))
        raise invalid_query(f"Array elements of types {{{types}}} do not have a common supertype at {position(node)}")


def _arrays(node: Any) -> None:
    values = [node.this, *node.expressions]
    for value in values:
        kind = kinds.of(value)
        if kind is not None and kind.name not in ("ARRAY", "NULL"):
            raise _mismatch(node, "function ARRAY_CONCAT", values)
    found = [kinds.of(value) for value in values]
    if all(found) and _meeting(values, found) is None:
        raise _mismatch(node, "function ARRAY_CONCAT", values)


def _cast(node: Any) -> None:
    own, to = kinds.of(node.this), kinds.of_type(node.args.get("to"))
    if node.meta_get("is_duckdb") or own is None or to is None or _is_castable(own, to):
        return
    if fits(node.this, to):
        return
    if own.name == to.name == "ARRAY":
        message = f"Casting between arrays with incompatible element types is not supported: Invalid cast from {own} to {to}"
        raise invalid_query(f"{message} at {position(node.this)}")
    raise invalid_query(f"Invalid cast from {own} to {to} at {position(node.this)}")


def _is_castable(own: Kind, to: Kind) -> bool:
    if own == to or kinds.NULL in (own, to):
        return True
    if {own.name, to.name} & set(_SPECIAL):
        return True
    if own.name == to.name == "ARRAY":
        # What elements become by themselves, and no more.
        one, other = own.element, to.element
        return one is None or other is None or one.name == other.name or other in _IMPLICIT.get(one, ()) or one == kinds.NULL
    if own.name == to.name == "STRUCT":
        pairs = zip(own.members, to.members, strict=False)
        return len(own.members) == len(to.members) and all(
            one is None or other is None or _is_castable(one, other) for (_, one), (_, other) in pairs
        )
    return to in _IMPLICIT.get(own, ()) or to in _CASTS.get(own, ())


def _distinct(node: exp.Distinct) -> None:
    from sqlglot import exp

    if isinstance(node.parent, exp.AggFunc) and any(kinds.of(value) == JSON for value in node.expressions):
        raise invalid_query(f"Aggregate functions with DISTINCT cannot be used with arguments of type JSON at {position(node)}")


def _extreme(node: Any) -> None:
    if (kind := _unordered(kinds.of(node.this))) is not None:
        raise _not_defined(node, type(node).__name__.upper(), kind)


def _window(node: exp.Window) -> None:
    from sqlglot import exp

    for key in node.args.get("partition_by") or []:
        check_grouped(key, "Partitioning")
    function = node.this
    while isinstance(function, (exp.IgnoreNulls, exp.RespectNulls)):
        function = function.this
    ranking = (exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile, exp.Lag, exp.Lead)
    if isinstance(function, ranking) and not node.args.get("order") and not node.alias and not node.args.get("alias"):
        name = function.sql_name().lower()
        raise invalid_query(f"Window ORDER BY is required for analytic function {name} at {position(node)}")
    if isinstance(getattr(function, "this", None), exp.Distinct) and node.args.get("order"):
        raise invalid_query(f"Window ORDER BY is not allowed if DISTINCT is specified at {position(node)}")


def _is(node: exp.Is) -> None:
    from sqlglot import exp

    if isinstance(node.expression, exp.Boolean) and not fits(node.this, BOOL):
        raise _mismatch(node, f"operator IS {node.expression.sql()}", (node.this,))


def _shifted(node: Any) -> None:
    default, offset = node.args.get("default"), node.args.get("offset")
    values = [value for value in (node.this, offset, default) if value is not None]
    what = f"analytic function {type(node).__name__.upper()}"
    if offset is not None and not fits(offset, INT64):
        raise _mismatch(node, what, values)
    if default is not None and (kind := kinds.of(node.this)) is not None and not fits(default, kind):
        raise _mismatch(node, what, values)


def _formatted(node: exp.TimeToStr) -> None:
    """Check FORMAT_DATE and its like, whose argument SQLGlot has in a CAST."""
    from sqlglot import exp

    value = node.this.this
    if isinstance(value, exp.Expr) and not any(fits(value, kind) for kind in (*_MOMENTS, TIME)):
        raise _mismatch(node, "function FORMAT_DATE", (node.args["format"], value))


def _zoned(node: exp.AtTimeZone) -> None:
    from sqlglot import exp

    if isinstance(node.parent, exp.Extract) and not fits(node.this, TIMESTAMP):
        raise invalid_query(f"EXTRACT from {kinds.of(node.this)} does not support AT TIME ZONE at {position(node)}")


def _element(node: exp.Bracket) -> None:
    kind = kinds.of(node.this)
    if kind is None or kind in (JSON, kinds.NULL) or not node.expressions:
        return
    if kind.name != "ARRAY":
        raise invalid_query(f"Element access using [] is not supported on values of type {kind} at {position(node)}")
    index = node.expressions[0]
    if not fits(index, INT64):
        raise invalid_query(
            f"Array position in [] must be coercible to INT64 type, but has type {kinds.of(index)} at {position(index)}"
        )


@functools.cache
def _rules() -> dict[type, Callable[[Any], None]]:
    from sqlglot import exp

    return {
        exp.EQ: _compared("="),
        exp.NEQ: _compared("!="),
        exp.LT: _compared("<"),
        exp.LTE: _compared("<="),
        exp.GT: _compared(">"),
        exp.GTE: _compared(">="),
        exp.NullSafeEQ: _compared("IS DISTINCT FROM"),
        exp.NullSafeNEQ: _compared("IS DISTINCT FROM"),
        exp.Between: _between,
        exp.In: _in,
        exp.Like: _like,
        exp.And: _logical("AND"),
        exp.Or: _logical("OR"),
        exp.Not: _logical("NOT"),
        exp.Neg: _unary("-", (*kinds.NUMBERS, INTERVAL)),
        exp.BitwiseNot: _unary("~", (INT64, BYTES)),
        exp.Add: _binary("+"),
        exp.Sub: _binary("-"),
        exp.Mul: _binary("*"),
        exp.Div: _binary("/"),
        exp.BitwiseAnd: _binary("&"),
        exp.BitwiseOr: _binary("|"),
        exp.BitwiseXor: _binary("^"),
        exp.BitwiseLeftShift: _binary("<<"),
        exp.BitwiseRightShift: _binary(">>"),
        exp.DPipe: _joined,
        exp.Concat: _joined,
        exp.Case: _case,
        exp.If: _if,
        exp.Coalesce: _meet("COALESCE"),
        exp.Greatest: _meet("GREATEST"),
        exp.Least: _meet("LEAST"),
        exp.Nullif: _null_if,
        exp.Array: _array,
        exp.ArrayConcat: _arrays,
        exp.Cast: _cast,
        exp.TryCast: _cast,
        exp.Bracket: _element,
        exp.AtTimeZone: _zoned,
        exp.TimeToStr: _formatted,
        exp.Is: _is,
        exp.Lag: _shifted,
        exp.Lead: _shifted,
        exp.Ordered: lambda node: check_sorted(node.this),
        exp.Distinct: _distinct,
        exp.Max: _extreme,
        exp.Min: _extreme,
        exp.Window: _window,
    }


# Functions


def _check_signatures(node: exp.Expr, name: str, allowed: list[dict[str, Kind]]) -> None:
    given = {key: value if isinstance(value, list) else [value] for key, value in node.args.items() if value is not None}
    for signature in allowed:
        if all(fits(value, kind) for key, kind in signature.items() for value in given.get(key, ())):
            return
    shown = [value for key, values in given.items() for value in values if any(key in signature for signature in allowed)]
    raise _mismatch(node, f"function {name}", shown)


@functools.cache
def _functions() -> dict[type, _Signatures]:
    from sqlglot import exp

    two, three = ("this", "expression"), ("this", "expression", "replacement")
    numbers = _of(kinds.NUMBERS, "this")
    real = _of((FLOAT64,), "this")
    return {
        exp.Upper: ("UPPER", _of(_TEXTS, "this")),
        exp.Lower: ("LOWER", _of(_TEXTS, "this")),
        exp.Length: ("LENGTH", _of(_TEXTS, "this")),
        exp.ByteLength: ("BYTE_LENGTH", _of(_TEXTS, "this")),
        exp.Trim: ("TRIM", _of(_TEXTS, *two)),
        exp.Substring: ("SUBSTR", _of(_TEXTS, "this", start=INT64, length=INT64)),
        exp.Left: ("LEFT", _of(_TEXTS, "this", expression=INT64)),
        exp.Right: ("RIGHT", _of(_TEXTS, "this", expression=INT64)),
        exp.Replace: ("REPLACE", _of(_TEXTS, *three)),
        exp.StartsWith: ("STARTS_WITH", _of(_TEXTS, *two)),
        exp.EndsWith: ("ENDS_WITH", _of(_TEXTS, *two)),
        exp.Reverse: ("REVERSE", _of(_TEXTS, "this")),
        exp.Split: ("SPLIT", _of(_TEXTS, *two)),
        exp.Repeat: ("REPEAT", _of(_TEXTS, "this", times=INT64)),
        exp.Pad: ("LPAD", _of(_TEXTS, "this", "fill_pattern", expression=INT64)),
        exp.StrPosition: ("STRPOS", _of(_TEXTS, "this", "substr", position=INT64, occurrence=INT64)),
        exp.RegexpLike: ("REGEXP_CONTAINS", _of(_TEXTS, *two)),
        exp.RegexpExtract: ("REGEXP_EXTRACT", _of(_TEXTS, *two, position=INT64, occurrence=INT64)),
        exp.RegexpExtractAll: ("REGEXP_EXTRACT_ALL", _of(_TEXTS, *two)),
        exp.RegexpReplace: ("REGEXP_REPLACE", _of(_TEXTS, *three)),
        exp.RegexpInstr: ("REGEXP_INSTR", _of(_TEXTS, *two)),
        exp.Translate: ("TRANSLATE", _of(_TEXTS, "this", "from_", "to")),
        exp.Format: ("FORMAT", _of((STRING,), "this")),
        exp.Initcap: ("INITCAP", _of((STRING,), *two)),
        exp.Soundex: ("SOUNDEX", _of((STRING,), "this")),
        exp.Unicode: ("UNICODE", _of((STRING,), "this")),
        exp.Normalize: ("NORMALIZE", _of((STRING,), "this")),
        exp.Ascii: ("ASCII", _of(_TEXTS, "this")),
        exp.Levenshtein: ("EDIT_DISTANCE", _of(_TEXTS, *two)),
        exp.ToBase64: ("TO_BASE64", _of((BYTES,), "this")),
        exp.FromBase64: ("FROM_BASE64", _of((STRING,), "this")),
        exp.ToBase32: ("TO_BASE32", _of((BYTES,), "this")),
        exp.FromBase32: ("FROM_BASE32", _of((STRING,), "this")),
        exp.LowerHex: ("TO_HEX", _of((BYTES,), "this")),
        exp.Unhex: ("FROM_HEX", _of((STRING,), "this")),
        exp.MD5Digest: ("MD5", _of(_TEXTS, "this")),
        exp.SHA1Digest: ("SHA1", _of(_TEXTS, "this")),
        exp.SHA2Digest: ("SHA256", _of(_TEXTS, "this")),
        exp.SafeConvertBytesToString: ("SAFE_CONVERT_BYTES_TO_STRING", _of((BYTES,), "this")),
        exp.ToCodePoints: ("TO_CODE_POINTS", _of(_TEXTS, "this")),
        exp.Abs: ("ABS", numbers),
        exp.Sign: ("SIGN", numbers),
        exp.Sqrt: ("SQRT", numbers),
        exp.Round: ("ROUND", _of(kinds.NUMBERS, "this", decimals=INT64)),
        exp.Trunc: ("TRUNC", _of(kinds.NUMBERS, "this", decimals=INT64)),
        exp.Ceil: ("CEIL", numbers),
        exp.Floor: ("FLOOR", numbers),
        exp.Ln: ("LN", numbers),
        exp.Log: ("LOG", _of(kinds.NUMBERS, *two)),
        exp.Exp: ("EXP", numbers),
        exp.Pow: ("POW", _of(kinds.NUMBERS, *two)),
        exp.Mod: ("MOD", _of(_EXACT, *two)),
        exp.IntDiv: ("DIV", _of(_EXACT, *two)),
        exp.SafeDivide: ("SAFE_DIVIDE", _of(kinds.NUMBERS, *two)),
        exp.SafeAdd: ("SAFE_ADD", _of(kinds.NUMBERS, *two)),
        exp.SafeSubtract: ("SAFE_SUBTRACT", _of(kinds.NUMBERS, *two)),
        exp.SafeMultiply: ("SAFE_MULTIPLY", _of(kinds.NUMBERS, *two)),
        exp.SafeNegate: ("SAFE_NEGATE", numbers),
        **{
            one: (one.__name__.upper(), real)
            for one in (exp.Sin, exp.Cos, exp.Tan, exp.Asin, exp.Acos, exp.Atan, exp.Sinh, exp.Cosh, exp.Tanh, exp.Cbrt)
        },
        exp.IsNan: ("IS_NAN", real),
        exp.IsInf: ("IS_INF", real),
        exp.BitwiseCount: ("BIT_COUNT", _of((INT64, BYTES), "this")),
        exp.DateDiff: ("DATE_DIFF", _of(_MOMENTS, *two)),
        exp.DatetimeDiff: ("DATETIME_DIFF", _of((DATETIME, TIMESTAMP), *two)),
        exp.TimestampDiff: ("TIMESTAMP_DIFF", _of((TIMESTAMP, DATETIME), *two)),
        exp.TimeDiff: ("TIME_DIFF", _of((TIME,), *two)),
        exp.DateAdd: ("DATE_ADD", _of(_MOMENTS, "this")),
        exp.DateSub: ("DATE_SUB", _of(_MOMENTS, "this")),
        exp.DatetimeAdd: ("DATETIME_ADD", _of((DATETIME, TIMESTAMP), "this")),
        exp.DatetimeSub: ("DATETIME_SUB", _of((DATETIME, TIMESTAMP), "this")),
        exp.TimestampAdd: ("TIMESTAMP_ADD", _of((TIMESTAMP, DATETIME), "this")),
        exp.TimestampSub: ("TIMESTAMP_SUB", _of((TIMESTAMP, DATETIME), "this")),
        exp.TimeAdd: ("TIME_ADD", _of((TIME,), "this")),
        exp.TimeSub: ("TIME_SUB", _of((TIME,), "this")),
        exp.DateTrunc: ("DATE_TRUNC", _of(_MOMENTS, "this")),
        exp.DatetimeTrunc: ("DATETIME_TRUNC", _of((DATETIME, TIMESTAMP), "this")),
        exp.TimestampTrunc: ("TIMESTAMP_TRUNC", _of((TIMESTAMP, DATETIME), "this")),
        exp.TimeTrunc: ("TIME_TRUNC", _of((TIME,), "this")),
        exp.Extract: ("EXTRACT", _of((*_MOMENTS, TIME, INTERVAL), "expression")),
        exp.LastDay: ("LAST_DAY", _of((DATE, DATETIME), "this")),
        exp.StrToDate: ("PARSE_DATE", _of((STRING,), "this", "format")),
        exp.StrToTime: ("PARSE_TIMESTAMP", _of((STRING,), "this", "format")),
        exp.ParseDatetime: ("PARSE_DATETIME", _of((STRING,), "this", "format")),
        exp.ParseTime: ("PARSE_TIME", _of((STRING,), "this", "format")),
        exp.UnixSeconds: ("UNIX_SECONDS", _of((TIMESTAMP,), "this")),
        exp.UnixMillis: ("UNIX_MILLIS", _of((TIMESTAMP,), "this")),
        exp.UnixMicros: ("UNIX_MICROS", _of((TIMESTAMP,), "this")),
        exp.UnixDate: ("UNIX_DATE", _of((DATE,), "this")),
        exp.UnixToTime: ("TIMESTAMP_SECONDS", _of((INT64,), "this")),
        exp.DateFromUnixDate: ("DATE_FROM_UNIX_DATE", _of((INT64,), "this")),
        exp.Date: ("DATE", _of((*_MOMENTS, STRING), "this", zone=STRING)),
        exp.DateFromParts: ("DATE", _of((INT64,), "year", "month", "day")),
        exp.TsOrDsToDatetime: ("DATETIME", _of((*_MOMENTS, STRING), "this")),
        exp.Timestamp: ("TIMESTAMP", _of((*_MOMENTS, STRING), "this")),
        exp.TimestampFromParts: ("DATETIME", _of((INT64,), "year", "month", "day", "hour", "min", "sec")),
        exp.TimeFromParts: ("TIME", _of((INT64,), "hour", "min", "sec")),
        exp.TsOrDsToTime: ("TIME", _of((TIMESTAMP, DATETIME, TIME, STRING), "this")),
        exp.JSONExtractScalar: ("JSON_VALUE", _of((STRING, JSON), "this", expression=STRING)),
        exp.JSONExtract: ("JSON_QUERY", _of((STRING, JSON), "this", expression=STRING)),
        exp.JSONExtractArray: ("JSON_QUERY_ARRAY", _of((STRING, JSON), "this", expression=STRING)),
        exp.JSONValueArray: ("JSON_VALUE_ARRAY", _of((STRING, JSON), "this", expression=STRING)),
        exp.ParseJSON: ("PARSE_JSON", _of((STRING,), "this")),
        exp.JSONType: ("JSON_TYPE", _of((JSON,), "this")),
        exp.String: ("STRING", _of((*_MOMENTS, TIME, JSON), "this")),
        exp.Int64: ("INT64", _of((JSON,), "this")),
        exp.Float64: ("FLOAT64", _of((JSON,), "this")),
        exp.JSONBool: ("BOOL", _of((JSON,), "this")),
        exp.LaxInt64: ("LAX_INT64", _of((JSON,), "this")),
        exp.LaxFloat64: ("LAX_FLOAT64", _of((JSON,), "this")),
        exp.LaxString: ("LAX_STRING", _of((JSON,), "this")),
        exp.LaxBool: ("LAX_BOOL", _of((JSON,), "this")),
        exp.JSONKeysAtDepth: ("JSON_KEYS", _of((JSON,), "this")),
        exp.ParseNumeric: ("PARSE_NUMERIC", _of((STRING,), "this")),
        exp.ParseBignumeric: ("PARSE_BIGNUMERIC", _of((STRING,), "this")),
        exp.Chr: ("CHR", _of((INT64,), "expressions")),
        exp.FarmFingerprint: ("FARM_FINGERPRINT", _of(_TEXTS, "expressions")),
        exp.CodePointsToString: ("CODE_POINTS_TO_STRING", [{"this": kinds.array_of(INT64)}]),
        exp.CodePointsToBytes: ("CODE_POINTS_TO_BYTES", [{"this": kinds.array_of(INT64)}]),
        exp.ArraySlice: ("ARRAY_SLICE", [{"this": kinds.array_of(None), "start": INT64, "end": INT64}]),
        exp.ArrayFirst: ("ARRAY_FIRST", [{"this": kinds.array_of(None)}]),
        exp.ArrayLast: ("ARRAY_LAST", [{"this": kinds.array_of(None)}]),
        exp.Radians: ("RADIANS", numbers),
        exp.Degrees: ("DEGREES", numbers),
        exp.Atan2: ("ATAN2", _of((FLOAT64,), *two)),
        exp.Sum: ("SUM", _of((*kinds.NUMBERS, INTERVAL), "this")),
        exp.Avg: ("AVG", _of((*kinds.NUMBERS, INTERVAL), "this")),
        **{one: (one.__name__.upper(), numbers) for one in (exp.Stddev, exp.Variance)},
        exp.StddevPop: ("STDDEV_POP", numbers),
        exp.StddevSamp: ("STDDEV_SAMP", numbers),
        exp.VariancePop: ("VAR_POP", numbers),
        exp.Corr: ("CORR", _of(kinds.NUMBERS, *two)),
        exp.CovarPop: ("COVAR_POP", _of(kinds.NUMBERS, *two)),
        exp.CovarSamp: ("COVAR_SAMP", _of(kinds.NUMBERS, *two)),
        exp.CountIf: ("COUNTIF", _of((BOOL,), "this")),
        exp.LogicalAnd: ("LOGICAL_AND", _of((BOOL,), "this")),
        exp.LogicalOr: ("LOGICAL_OR", _of((BOOL,), "this")),
        exp.GroupConcat: ("STRING_AGG", _of(_TEXTS, "this", "separator")),
        exp.BitwiseAndAgg: ("BIT_AND", _of((INT64, BYTES), "this")),
        exp.BitwiseOrAgg: ("BIT_OR", _of((INT64, BYTES), "this")),
        exp.BitwiseXorAgg: ("BIT_XOR", _of((INT64, BYTES), "this")),
        exp.ApproxQuantiles: ("APPROX_QUANTILES", [{"expression": INT64}]),
        exp.ApproxTopK: ("APPROX_TOP_COUNT", [{"expression": INT64}]),
        exp.PercentileCont: ("PERCENTILE_CONT", _of(kinds.NUMBERS, *two)),
        exp.PercentileDisc: ("PERCENTILE_DISC", [{"expression": FLOAT64}, {"expression": NUMERIC}]),
        exp.Ntile: ("NTILE", _of((INT64,), "this")),
        exp.NthValue: ("NTH_VALUE", [{"offset": INT64}]),
        exp.ArrayToString: (
            "ARRAY_TO_STRING",
            [{"this": kinds.array_of(kind), "expression": kind, "null": kind} for kind in _TEXTS],
        ),
        exp.ArraySize: ("ARRAY_LENGTH", [{"this": kinds.array_of(None)}]),
        exp.ArrayReverse: ("ARRAY_REVERSE", [{"this": kinds.array_of(None)}]),
        exp.GenerateSeries: ("GENERATE_ARRAY", _of(kinds.NUMBERS, "start", "end", "step")),
        exp.GenerateDateArray: ("GENERATE_DATE_ARRAY", _of((DATE,), "start", "end")),
        exp.GenerateTimestampArray: ("GENERATE_TIMESTAMP_ARRAY", _of((TIMESTAMP,), "start", "end")),
    }
