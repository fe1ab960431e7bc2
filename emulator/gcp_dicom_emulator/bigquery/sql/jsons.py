"""JSON: the rules of :mod:`functions` for what DuckDB reads and writes in another way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import kinds
from gcp_dicom_emulator.bigquery.sql.calls import call, cast, is_text, number, text
from gcp_dicom_emulator.bigquery.sql.kinds import Kind
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp

#: Scalar types -> the macro that writes their values in JSON.
_ENCODED = {
    "INT64": "bq_json_of_int64",
    "FLOAT64": "bq_json_of_float64",
    "BYTES": "bq_json_of_bytes",
    "DATETIME": "bq_json_of_datetime",
    "TIMESTAMP": "bq_json_of_timestamp",
    "NUMERIC": "bq_json_of_numeric",
    "BIGNUMERIC": "bq_json_of_numeric",
}


def written(node: exp.JSONFormat) -> exp.Expr:
    """Return TO_JSON_STRING or TO_JSON, in GoogleSQL's encodings."""
    if node.args.get("options") is not None and not node.args.get("to_json"):
        raise ApiError(501, "The emulator's TO_JSON_STRING has no pretty_print.")
    kind = kinds.of(node.this)
    if kind is None or not _is_known(kind):
        raise ApiError(501, "The emulator's TO_JSON_STRING does not know the type of its argument here; CAST it.")
    made = _encoded(node.this, kind, 0)
    if not node.args.get("to_json"):
        return made
    # A NULL is a JSON null inside, and NULL outside.
    return cast(made, "json") if kind != kinds.NULL else cast(text("null"), "json")


def _is_known(kind: Kind) -> bool:
    if kind.name == "ARRAY":
        return kind.element is not None and _is_known(kind.element)
    return all(member is not None and _is_known(member) for _, member in kind.members)


def _encoded(value: exp.Expr, kind: Kind, depth: int) -> exp.Expr:
    from sqlglot import exp

    null = exp.If(this=exp.Is(this=value.copy(), expression=exp.Null()), true=text("null"))
    if kind.name == "STRUCT":
        parts: list[exp.Expr] = []
        for place, (name, member) in enumerate(kind.members, start=1):
            label = cast(call("to_json", text(name)), "text")
            separator = text(",") if parts else text("{")
            field = call("struct_extract_at", value.copy(), number(place))
            parts += [separator, label, text(":"), _encoded(field, member or kinds.NULL, depth)]
        body = call("concat", *parts, text("}")) if parts else text("{}")
        return exp.Case(ifs=[null], default=body)
    if kind.name == "ARRAY":
        variable = f"bq_e{depth}"
        inner = _encoded(exp.column(variable), kind.element or kinds.NULL, depth + 1)
        items = call("list_transform", value.copy(), exp.Lambda(this=inner, expressions=[exp.to_identifier(variable)]))
        body = call("concat", text("["), call("array_to_string", items, text(",")), text("]"))
        return exp.Case(ifs=[null], default=body)
    if kind == kinds.NULL:
        return text("null")
    macro = _ENCODED.get(kind.name)
    encoded = call(macro, value.copy()) if macro else cast(call("to_json", value.copy()), "text")
    return call("coalesce", encoded, text("null"))


def extracted(node: exp.JSONExtract) -> exp.Expr:
    """Return JSON_QUERY or JSON_EXTRACT: of a STRING a STRING, and NULL where it is not JSON."""
    _refuse_lax(node)
    return node if kinds.of(node.this) == kinds.JSON else cast(_valid(node), "text")


def array(node: Any) -> exp.Expr:
    """Return JSON_QUERY_ARRAY or JSON_VALUE_ARRAY: NULL for what is not an array."""
    from sqlglot import exp

    of = node.this if kinds.of(node.this) == kinds.JSON else call("bq_valid_json", node.this)
    found = exp.JSONExtract(
        this=of, expression=node.expression.copy() if node.expression else exp.JSONPath(expressions=[exp.JSONPathRoot()])
    )
    if isinstance(node, exp.JSONValueArray):
        return call("bq_json_values", found)
    items = call("bq_json_items", found)
    return items if kinds.of(node.this) == kinds.JSON else cast(items, "text[]")


def scalar(node: exp.JSONExtractScalar) -> exp.Expr:
    """Return JSON_VALUE: NULL where the text is not JSON."""
    return node if kinds.of(node.this) == kinds.JSON else _valid(node)


def _valid(node: Any) -> exp.Expr:
    made = node.copy()
    made.set("this", call("bq_valid_json", node.this))
    return made  # type: ignore[no-any-return]


def converted(name: str) -> Any:
    """Return the rule of a function that makes a value of SQL of a JSON."""

    def rule(node: Any) -> exp.Expr:
        _refuse_options(node, "this")
        return call(name, node.this)

    return rule


def _refuse_options(node: Any, *known: str) -> None:
    """Refuse the arguments of a function that the emulator does not know: wide_number_mode, include_arrays …"""
    if any(value for key, value in node.args.items() if key not in known):
        raise ApiError(501, f"The emulator does not do these arguments of {node.sql('bigquery').partition('(')[0]}.")


def without_nulls(node: Any) -> exp.Expr:
    """Return JSON_STRIP_NULLS."""
    _refuse_options(node, "this")
    return call("py_json_strip_nulls", node.this)


def _refuse_lax(node: Any) -> None:
    path = node.expression
    if is_text(path) and path.name.strip().lower().startswith("lax"):
        raise ApiError(501, "The emulator's JSON paths are not lax.")


def changed(name: str, *, has_values: bool = True) -> Any:
    """Return the rule of a function that changes a JSON at paths.

    :param name: the function in :mod:`library`.
    :param has_values: whether a value follows each path.
    """

    def rule(node: Any) -> exp.Expr:
        from sqlglot import exp

        arguments = [one for one in node.expressions if not isinstance(one, (exp.Kwarg, exp.PropertyEQ))]
        if len(arguments) != len(node.expressions) or not arguments or (has_values and len(arguments) % 2):
            raise ApiError(501, f"The emulator does not do {type(node).__name__} with these arguments.")
        made = node.this
        if not has_values:
            for path in arguments:
                made = call(name, made, path.copy())
            return made  # type: ignore[no-any-return]
        for path, value in zip(arguments[::2], arguments[1::2], strict=True):
            kind = kinds.of(value)
            if kind is None or not _is_known(kind):
                raise ApiError(501, "The emulator does not know the type of the value for the JSON here; CAST it.")
            made = call(name, made, path.copy(), cast(_encoded(value, kind, 0), "json"))
        return made  # type: ignore[no-any-return]

    return rule


def keys(node: Any) -> exp.Expr:
    """Return JSON_KEYS."""
    if node.args.get("mode") is not None:
        raise ApiError(501, "The emulator's JSON_KEYS has no mode.")
    depth = node.expression if node.args.get("expression") is not None else number(100)
    return call("py_json_keys", node.this, depth.copy())


def type_of(node: Any) -> exp.Expr:
    """Return JSON_TYPE."""
    return call("bq_json_type", node.this)


def made_array(node: Any) -> exp.Expr:
    """Return JSON_ARRAY."""
    parts: list[exp.Expr] = []
    for value in node.expressions:
        parts += [text("," if parts else "["), _part(value)]
    return cast(call("concat", *parts, text("]")) if parts else text("[]"), "json")


def made_object(node: Any) -> exp.Expr:
    """Return JSON_OBJECT of keys and values."""
    from sqlglot import exp

    parts: list[exp.Expr] = []
    for pair in node.expressions:
        if not isinstance(pair, exp.JSONKeyValue):
            raise ApiError(501, "The emulator's JSON_OBJECT takes keys and values, not arrays of them.")
        parts += [text("," if parts else "{"), cast(call("to_json", pair.this.copy()), "text"), text(":"), _part(pair.expression)]
    return cast(call("concat", *parts, text("}")) if parts else text("{}"), "json")


def _part(value: exp.Expr) -> exp.Expr:
    kind = kinds.of(value)
    if kind is None or not _is_known(kind):
        raise ApiError(501, "The emulator does not know the type of a value for the JSON here; CAST it.")
    return _encoded(value, kind, 0)
