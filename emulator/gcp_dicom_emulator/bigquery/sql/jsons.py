"""JSON: the rules of :mod:`functions` for what DuckDB reads and writes in another way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import kinds, special
from gcp_dicom_emulator.bigquery.sql.calls import call, cast, is_null, is_text, number, text
from gcp_dicom_emulator.bigquery.sql.kinds import Kind
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp

#: Scalar types -> the macro that writes their values in JSON.
_ENCODED = {
    "INT64": "bq_json_of_int64",
    "FLOAT64": "bq_json_of_float64",
    "BYTES": "bq_json_of_bytes",
    "DATETIME": "bq_json_of_datetime",
    "TIME": "bq_json_of_time",
    "TIMESTAMP": "bq_json_of_timestamp",
    "NUMERIC": "bq_json_of_numeric",
    "BIGNUMERIC": "bq_json_of_numeric",
}


def written(node: exp.JSONFormat) -> exp.Expr:
    """Return TO_JSON_STRING or TO_JSON, in GoogleSQL's encodings."""
    from sqlglot import exp

    kind = kinds.of(node.this)
    if kind is None or not _is_known(kind):
        raise ApiError(501, "The emulator's TO_JSON_STRING does not know the type of its argument here; CAST it.")
    options = node.args.get("options")
    is_wide = bool(node.args.get("to_json")) and (options is None or _value(options) == exp.false())
    made = _encoded(node.this, kind, 0, is_wide=is_wide)
    if not node.args.get("to_json"):
        return call("py_json_pretty", made, options) if options is not None else made
    # A NULL is a JSON null inside, and NULL outside.
    return cast(made, "json") if kind != kinds.NULL else cast(text("null"), "json")


def _is_known(kind: Kind) -> bool:
    if kind.name == "ARRAY":
        return kind.element is not None and _is_known(kind.element)
    return all(member is not None and _is_known(member) for _, member in kind.members)


def _encoded(value: exp.Expr, kind: Kind, depth: int, *, is_wide: bool = False) -> exp.Expr:
    """Return a value as a text of JSON.

    :param is_wide: whether an INT64 above 2^53 is a number, as in a JSON, and not a string.
    """
    from sqlglot import exp

    null = exp.If(this=exp.Is(this=value.copy(), expression=exp.Null()), true=text("null"))
    if kind.name == "STRUCT":
        parts: list[exp.Expr] = []
        for place, (name, member) in enumerate(kind.members, start=1):
            label = text(json.dumps(name, ensure_ascii=False))
            separator = text(",") if parts else text("{")
            field = call("struct_extract_at", value.copy(), number(place))
            parts += [separator, label, text(":"), _encoded(field, member or kinds.NULL, depth, is_wide=is_wide)]
        body = call("concat", *parts, text("}")) if parts else text("{}")
        return exp.Case(ifs=[null], default=body)
    if kind.name == "ARRAY":
        variable = f"bq_e{depth}"
        inner = _encoded(exp.column(variable), kind.element or kinds.NULL, depth + 1, is_wide=is_wide)
        items = call("list_transform", value.copy(), exp.Lambda(this=inner, expressions=[exp.to_identifier(variable)]))
        body = call("concat", text("["), call("array_to_string", items, text(",")), text("]"))
        return exp.Case(ifs=[null], default=body)
    if kind == kinds.NULL:
        return text("null")
    if kind.name in special.NOT_IN_JSON:
        raise ApiError(501, f"The emulator writes no {kind} in JSON, nor by FORMAT.")
    if kind == kinds.JSON:
        return call("coalesce", call("py_json", cast(value.copy(), "text")), text("null"))
    macro = _ENCODED.get(kind.name) if not (is_wide and kind == kinds.INT64) else None
    encoded = call(macro, value.copy()) if macro else cast(call("to_json", value.copy()), "text")
    return call("coalesce", encoded, text("null"))


def encoded(value: exp.Expr) -> exp.Expr:
    """Return a value of a type that is known as a text of JSON."""
    kind = kinds.of(value)
    if kind is None or not _is_known(kind):
        raise ApiError(501, "The emulator does not know the type of an argument here; CAST it.")
    return _encoded(value, kind, 0)


def described(kind: Kind) -> list[Any]:
    """Return a type as :mod:`formats` reads it.

    :raises ApiError: 501 for a STRUCT, whose fields may have one name.
    """
    if kind.name == "STRUCT":
        raise ApiError(501, "The emulator's FORMAT takes no STRUCT.")
    return [kind.name, described(kind.element or kinds.NULL)] if kind.name == "ARRAY" else [kind.name]


def extracted(node: exp.JSONExtract) -> exp.Expr:
    """Return JSON_QUERY or JSON_EXTRACT: of a STRING a STRING, and NULL where it is not JSON."""
    is_json = kinds.of(node.this) == kinds.JSON
    path = node.expression
    if is_text(path) and not path.name.startswith("$") and "$" in path.name:
        found = call("py_json_query", node.this if is_json else cast(call("bq_valid_json", node.this), "json"), path)
        return found if is_json else cast(found, "text")
    # A null in a text of JSON is a NULL.
    return node if is_json else call("nullif", cast(_valid(node), "text"), text("null"))


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
        mode = _value(node.args.get("expression"))
        if mode is not None:
            if not is_text(mode) or mode.name not in ("exact", "round"):
                raise invalid_query("Invalid wide_number_mode specified: it must be 'exact' or 'round'")
            if mode.name == "exact" and name.endswith("_float64"):
                return call("py_json_exact_float", call("bq_json_number", node.this))
        return call(name, node.this)

    return rule


def _value(argument: Any) -> Any:
    """Return the value of an argument that may be named."""
    from sqlglot import exp

    return argument.expression if isinstance(argument, (exp.Kwarg, exp.PropertyEQ)) else argument


def without_nulls(node: Any) -> exp.Expr:
    """Return JSON_STRIP_NULLS."""
    from sqlglot import exp

    named = {"path": text("$"), "include_arrays": exp.true(), "remove_empty": exp.false()}
    for place, key in zip(named, ("expression", "include_arrays", "remove_empty"), strict=True):
        argument = node.args.get(key)
        if isinstance(argument, exp.Kwarg):
            if argument.this.name.lower() not in named:
                raise invalid_query(
                    f"Named argument {argument.this.name} not found in signature for call to function JSON_STRIP_NULLS"
                )
            named[argument.this.name.lower()] = argument.expression
        elif argument is not None:
            named[place] = argument
    return call("py_json_strip_nulls", node.this, *named.values())


def changed(name: str, *, flag: str = "") -> Any:
    """Return the rule of a function that changes a JSON at paths.

    :param name: the function in :mod:`library`.
    :param flag: the named argument that a function with values has, e.g. ``create_if_missing``; it is true unless it is given.
    """

    def rule(node: Any) -> exp.Expr:
        from sqlglot import exp

        arguments = [one for one in node.expressions if not isinstance(one, (exp.Kwarg, exp.PropertyEQ))]
        options = {
            one.this.name.lower(): one.expression for one in node.expressions if isinstance(one, (exp.Kwarg, exp.PropertyEQ))
        }
        is_last = node.expressions[: len(arguments)] == arguments
        if options.keys() - {flag} or not is_last or not arguments or (flag and len(arguments) % 2):
            raise invalid_query(f"No matching signature for function {node.sql('bigquery').partition('(')[0]}")
        made = node.this
        if not flag:
            for path in arguments:
                made = made if is_null(path) else call(name, made, path.copy())
            return made  # type: ignore[no-any-return]
        for path, value in zip(arguments[::2], arguments[1::2], strict=True):
            kind = kinds.of(value)
            if kind is None or not _is_known(kind):
                raise ApiError(501, "The emulator does not know the type of the value for the JSON here; CAST it.")
            wanted = options.get(flag) or exp.true()
            if flag != "create_if_missing" and kind.name != "ARRAY":
                wanted = exp.false()
            made = call(name, made, path.copy(), cast(_encoded(value, kind, 0, is_wide=True), "json"), wanted.copy())
        return made  # type: ignore[no-any-return]

    return rule


def keys(node: Any) -> exp.Expr:
    """Return JSON_KEYS."""
    from sqlglot import exp

    depth: Any = number(100)
    mode: Any = text("strict")
    for key in ("expression", "mode"):
        argument = node.args.get(key)
        if isinstance(argument, exp.Kwarg) and argument.this.name.lower() == "max_depth":
            depth = argument.expression
        elif isinstance(argument, exp.Kwarg):
            mode = argument.expression
        elif argument is not None:
            depth = argument if key == "expression" else depth
            mode = argument if key == "mode" else mode
    return call("py_json_keys", node.this, depth.copy(), mode.copy())


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
    names: set[str] = set()
    for pair in node.expressions:
        if not isinstance(pair, exp.JSONKeyValue):
            raise ApiError(501, "The emulator's JSON_OBJECT takes keys and values, not arrays of them.")
        if is_text(pair.this):
            if pair.this.name in names:  # the first of several with one name stays
                continue
            names.add(pair.this.name)
        parts += [text("," if parts else "{"), cast(call("to_json", pair.this.copy()), "text"), text(":"), _part(pair.expression)]
    return cast(call("concat", *parts, text("}")) if parts else text("{}"), "json")


def _part(value: exp.Expr) -> exp.Expr:
    kind = kinds.of(value)
    if kind is None or not _is_known(kind):
        raise ApiError(501, "The emulator does not know the type of a value for the JSON here; CAST it.")
    return _encoded(value, kind, 0, is_wide=True)
