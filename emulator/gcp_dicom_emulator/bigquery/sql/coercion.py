"""Values of several types that meet: a literal text becomes a date, a number the wider one, a struct one of other names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import inference, kinds
from gcp_dicom_emulator.bigquery.sql.calls import call, is_text
from gcp_dicom_emulator.bigquery.sql.kinds import Kind
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query
from gcp_dicom_emulator.bigquery.sql.scopes import Output

if TYPE_CHECKING:
    from sqlglot import exp

_TEXTUAL = (kinds.DATE, kinds.TIME, kinds.DATETIME, kinds.TIMESTAMP)


def coerced(value: exp.Expr, to: Kind | None) -> exp.Expr:
    """Return an expression as one of another type, where GoogleSQL makes it so by itself."""
    from sqlglot import exp

    own = kinds.of(value)
    if to is None or own is None or own == to or to == kinds.NULL:
        return value
    if own.name == to.name == "STRUCT" and len(own.members) == len(to.members):
        return _struct(value, own, to)
    if own.name == to.name == "ARRAY":
        return _array(value, own, to)
    literal = is_text(value) and to in _TEXTUAL
    exact = inference.is_number(value) and to in (kinds.NUMERIC, kinds.BIGNUMERIC)
    wider = exact or (own in kinds.NUMBERS and to in kinds.NUMBERS and kinds.common([own, to]) == to)
    later = (own, to) in ((kinds.DATE, kinds.DATETIME), (kinds.DATE, kinds.TIMESTAMP), (kinds.DATETIME, kinds.TIMESTAMP))
    untyped = own == kinds.NULL and to.is_known and not isinstance(value.parent, exp.Cast)
    if literal or wider or later or untyped:
        return as_type(value, to)
    return value


def check_assigned(value: exp.Expr | None, own: Kind | None, to: Kind | None, message: str) -> None:
    """Refuse a value that a column of another type does not take.

    :param value: the expression, where it is known.
    :param message: with ``{own}`` and ``{to}`` for the types.
    """
    if not _is_assignable(value, own, to):
        raise invalid_query(message.format(own=own, to=to))


def _is_assignable(value: exp.Expr | None, own: Kind | None, to: Kind | None) -> bool:
    from sqlglot import exp

    if own is None or to is None or own == to or kinds.NULL in (own, to):
        return True
    value = value.unnest() if value is not None else None
    if own.name == to.name == "STRUCT":
        parts = zip(own.members, to.members, strict=False)
        return len(own.members) == len(to.members) and all(
            _is_assignable(field(value, number, one) if value is not None else None, one, other)
            for number, ((_, one), (_, other)) in enumerate(parts)
        )
    if own.name == to.name == "ARRAY":
        if isinstance(value, exp.Array) and not any(isinstance(one, exp.Query) for one in value.expressions):
            return all(_is_assignable(one, kinds.of(one), to.element) for one in value.expressions)
        return _is_assignable(None, own.element, to.element)
    inner = value.this if isinstance(value, exp.Cast) else value
    is_literal = isinstance(inner, (exp.Literal, exp.Neg, exp.RawString))
    wider = own in kinds.NUMBERS and to in kinds.NUMBERS and (kinds.common([own, to]) == to or (is_literal and to != kinds.INT64))
    textual = own == kinds.STRING and to in (*_TEXTUAL, kinds.BYTES, kinds.INTERVAL) and is_literal
    times = (kinds.DATE, kinds.DATETIME, kinds.TIMESTAMP)
    return wider or textual or (own in times and to in times)


def as_type(value: exp.Expr, to: Kind) -> exp.Expr:
    """Return a CAST to a type of DuckDB's."""
    from sqlglot import exp

    kind = exp.DataType.build(kinds.duckdb_type(to), dialect="duckdb")
    made = exp.Cast(this=value.copy(), to=kind)
    made.meta["is_duckdb"] = True
    return kinds.put(made, to)


def field(value: exp.Expr, number: int, kind: Kind | None) -> exp.Expr:
    """Return a field of a struct by its place, the first is 0."""
    from sqlglot import exp

    inner = value
    while isinstance(inner, exp.Paren):
        inner = inner.this
    if isinstance(inner, exp.Struct):
        return inner.expressions[number].expression.copy()  # type: ignore[no-any-return]
    if isinstance(inner, exp.Tuple):
        return inner.expressions[number].copy()  # type: ignore[no-any-return]
    return kinds.put(call("struct_extract_at", value.copy(), exp.Literal.number(number + 1)), kind)


def _struct(value: exp.Expr, own: Kind, to: Kind) -> exp.Expr:
    from sqlglot import exp

    members = []
    for number, ((_, kind), (name, wanted)) in enumerate(zip(own.members, to.members, strict=True)):
        part = coerced(field(value, number, kind), wanted)
        members.append(exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=part))
    struct = kinds.put(exp.Struct(expressions=members), to)
    if isinstance(value.unnest(), (exp.Struct, exp.Tuple)):
        return struct
    absent = exp.If(this=exp.Is(this=value.copy(), expression=exp.Null()), true=exp.Null())
    return kinds.put(exp.Case(ifs=[absent], default=struct), to)


def _array(value: exp.Expr, own: Kind, to: Kind) -> exp.Expr:
    from sqlglot import exp

    if own.element is None or to.element is None:
        return value
    if isinstance(value, exp.Array) and not (value.expressions and isinstance(value.expressions[0], exp.Query)):
        items = [coerced(item, to.element) for item in value.expressions]
        return kinds.put(exp.Array(expressions=[item.copy() for item in items]), to)
    if own.element.name == to.element.name == "STRUCT" and own.element.members != to.element.members:
        element = kinds.put(exp.column("bq_element"), own.element)
        body = coerced(element, to.element)
        return kinds.put(
            call("list_transform", value.copy(), exp.Lambda(this=body, expressions=[exp.to_identifier("bq_element")])), to
        )
    return as_type(value, to) if to.is_known else value


def order_keys(ordered: exp.Expr) -> list[exp.Expr]:
    """Return the keys that put NaN where GoogleSQL has it: behind NULL and before all numbers."""
    from sqlglot import exp

    value = ordered.this
    # An alias of what may fail cannot be part of another expression in DuckDB, but what it stands for can.
    meant = value.meta.get("means") or value
    if kinds.of(value) != kinds.FLOAT64 or isinstance(meant, exp.Literal) or meant.find(exp.Query, exp.Rand, exp.Window):
        return [ordered]
    is_descending = bool(ordered.args.get("desc"))
    key = exp.Ordered(this=call("isnan", meant.copy()), desc=not is_descending, nulls_first=ordered.args.get("nulls_first"))
    return [key, ordered]


def meeting(items: list[exp.Expr | None], found: list[Kind | None]) -> Kind | None:
    """Return the type that the columns of the sides of a set operation become.

    :param items: the expressions, where they are known.
    :param found: their types.
    """
    special = {kind for kind in found if kind in _TEXTUAL}
    if len(special) == 1:
        (kind,) = special
        found = [kind if is_text(one) else own for one, own in zip(items, found, strict=True)]
    return kinds.common(inference.exact_literals(items, found))


def item(query: exp.Expr, number: int) -> exp.Expr | None:
    """Return the expression of a query's column, ``None`` behind a ``*`` or in a set operation."""
    from sqlglot import exp

    while isinstance(query, exp.Subquery):
        query = query.this
    if not isinstance(query, exp.Select) or any(one.is_star for one in query.expressions) or number >= len(query.expressions):
        return None
    one = query.expressions[number]
    return one.this if isinstance(one, exp.Alias) else one  # type: ignore[no-any-return]


def coerce_outputs(query: exp.Expr, outputs: list[Output] | None, wanted: list[Kind | None]) -> None:
    """Make the columns of a query of other types."""
    from sqlglot import exp

    if outputs is None or len(outputs) != len(wanted):
        return
    if not any(to is not None and out.kind is not None and out.kind != to for out, to in zip(outputs, wanted, strict=True)):
        return
    while isinstance(query, exp.Subquery):
        query = query.this
    if isinstance(query, exp.SetOperation):
        for side in (query.this, query.expression):
            coerce_outputs(side, outputs, wanted)
        return
    for number, to in enumerate(wanted):
        one = item(query, number)
        if one is None:
            continue
        made = coerced(one, to)
        if made is not one:
            if isinstance(query.expressions[number], exp.Alias):
                one.replace(made)
            elif isinstance(one, (exp.Column, exp.Dot)):
                one.replace(exp.alias_(made, one.name, quoted=True))
            else:
                one.replace(made)


def meet(node: exp.Expr) -> exp.Expr:
    """Return an expression with the values that meet in it made of one type: in CASE, COALESCE, arrays, comparisons."""
    from sqlglot import exp

    if isinstance(node, (exp.Case, exp.If, exp.Coalesce, exp.Array, exp.ArrayConcat, exp.Greatest, exp.Least, exp.Nullif)):
        _meet_values(node)
        own = kinds.of(node.this) if isinstance(node, exp.Nullif) else None
        if own is not None and own.name == "STRUCT":
            equal = _compared(exp.EQ(this=node.this.copy(), expression=node.expression.copy()))
            return kinds.put(exp.Case(ifs=[exp.If(this=equal, true=exp.Null())], default=node.this.copy()), own)
    elif isinstance(node, (exp.EQ, exp.NEQ, exp.NullSafeEQ, exp.NullSafeNEQ)):
        return _compared(node)
    elif isinstance(node, exp.In):
        return _in(node)
    elif isinstance(node, exp.Cast) and (to := kinds.of_type(node.to)) is not None and to.name in ("STRUCT", "ARRAY"):
        _cast_by_place(node, to)
    return node


def _cast_by_place(node: exp.Cast, to: Kind) -> None:
    """Give the fields of what is cast the names of the target: DuckDB casts structs by name."""
    own = kinds.of(node.this)
    if own is not None and own != to and own.name == to.name and (to.name == "STRUCT" or _has_struct(own, to)):
        made = coerced(node.this, to)
        if made is not node.this:
            node.set("this", made)


def _has_struct(one: Kind, other: Kind) -> bool:
    return one.element is not None and other.element is not None and one.element.name == other.element.name == "STRUCT"


def _meet_values(node: Any) -> None:
    from sqlglot import exp

    if isinstance(node, exp.Array) and node.expressions and isinstance(node.expressions[0], exp.Query):
        return
    to = inference.infer(node)
    if isinstance(node, exp.Array):
        to = to.element if to is not None else None
    if isinstance(node, exp.Case):
        subject = kinds.of(node.this)
        if subject is not None and subject.name == "STRUCT":
            for branch in node.args["ifs"]:
                branch.set("this", _compared(exp.EQ(this=node.this.copy(), expression=branch.this.copy())))
            node.set("this", None)
        values = [branch.args["true"] for branch in node.args["ifs"]] + (
            [node.args["default"]] if node.args.get("default") else []
        )
    elif isinstance(node, exp.If):
        values = [node.args["true"]] + ([node.args["false"]] if node.args.get("false") else [])
    elif isinstance(node, exp.Array):
        values = list(node.expressions)
    elif isinstance(node, exp.Nullif):
        values = [node.this, node.expression]
    else:
        values = [node.this, *node.expressions]
    if to is None or to.name not in ("STRUCT", "ARRAY", "DATE", "TIME", "DATETIME", "TIMESTAMP"):
        return
    for value in values:
        made = coerced(value, to)
        if made is not value:
            value.replace(made)


def _compared(node: Any) -> exp.Expr:
    """Return a comparison of two structs as one of their fields, by their places: with NULLs inside it is NULL."""
    from sqlglot import exp

    left, right = kinds.of(node.this), kinds.of(node.expression)
    if left is None or right is None or not (left.name == right.name == "STRUCT") or len(left.members) != len(right.members):
        return node  # type: ignore[no-any-return]
    if isinstance(node, (exp.NullSafeEQ, exp.NullSafeNEQ)):
        node.set("expression", coerced(node.expression, left))
        return node
    parts = []
    for number, ((_, one), (_, other)) in enumerate(zip(left.members, right.members, strict=True)):
        part = exp.EQ(this=field(node.this, number, one), expression=field(node.expression, number, other))
        parts.append(_compared(part))
    both = exp.paren(exp.and_(*parts, copy=False), copy=False)
    return exp.Not(this=both) if isinstance(node, exp.NEQ) else both


def _in(node: exp.In) -> exp.Expr:
    """Return IN with structs as comparisons."""
    from sqlglot import exp

    kind = kinds.of(node.this)
    if kind is None or kind.name != "STRUCT":
        return node
    query = kinds.of(node.args.get("query"))
    if query is not None and query.name == "STRUCT" and len(query.members) == len(kind.members):
        node.set("this", coerced(node.this, query))
    items = node.expressions
    unnest = node.args.get("unnest")
    if isinstance(unnest, exp.Unnest) and isinstance(unnest.expressions[0], exp.Array):
        items = unnest.expressions[0].expressions
    elif isinstance(unnest, exp.Unnest):
        unnest.set("expressions", [coerced(unnest.expressions[0], kinds.array_of(kind))])
        return node
    if not items or any(isinstance(one, exp.Query) for one in items):
        return node
    return exp.paren(
        exp.or_(*[_compared(exp.EQ(this=node.this.copy(), expression=one.copy())) for one in items], copy=False), copy=False
    )
