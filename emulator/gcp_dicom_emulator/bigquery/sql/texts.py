"""Text and bytes: the rules of :mod:`functions` for arguments that BigQuery refuses, and for BYTES, of which DuckDB does little."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import kinds
from gcp_dicom_emulator.bigquery.sql.calls import call, cast, is_text, number, text
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query
from gcp_dicom_emulator.bigquery.sql.query_errors import position as position_of
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp

_FORMS = ("NFC", "NFD", "NFKC", "NFKD")


def is_bytes(node: exp.Expr | None) -> bool:
    """Say whether an expression is of type BYTES."""
    return kinds.of(node) == kinds.BYTES


def of_bytes(rule: Any = None) -> Any:
    """Return a rule that works for BYTES as well: by way of a text with a character for each byte.

    :param rule: the rule for text.
    """

    def wrapped(node: Any) -> exp.Expr:
        from sqlglot import exp

        if not any(is_bytes(value) for value in node.args.values() if isinstance(value, exp.Expr)):
            return rule(node) if rule is not None else node  # type: ignore[no-any-return]
        result = kinds.of(node)
        for key, value in list(node.args.items()):
            if isinstance(value, exp.Expr) and is_bytes(value):
                node.set(key, kinds.put(call("py_latin1", value.copy()), kinds.STRING))
        made = rule(node) if rule is not None else node
        if result == kinds.BYTES:
            return call("py_bytes", made)
        if result is not None and result.name == "ARRAY":
            return call("py_bytes_array", made)
        return made  # type: ignore[no-any-return]

    return wrapped


def upper(node: exp.Upper) -> exp.Expr:
    """Return UPPER; the upper case of ß is SS."""
    from sqlglot import exp

    if is_bytes(node.this):
        return call("py_upper_bytes", node.this)
    if node.root().find(exp.Grouping):
        return node  # DuckDB finds only plain expressions among those that it groups by
    return exp.Upper(this=call("replace", node.this.copy(), text("ß"), text("SS")))


def lower(node: exp.Lower) -> exp.Expr:
    """Return LOWER."""
    return call("py_lower_bytes", node.this) if is_bytes(node.this) else node


def left(node: Any) -> exp.Expr:
    """Return LEFT or RIGHT."""
    return call(f"bq_{type(node).__name__.lower()}", node.this, node.expression)


def first(node: Any) -> exp.Expr:
    """Return ASCII."""
    return cast(call("ascii", call("py_latin1", node.this)), "bigint") if is_bytes(node.this) else call("bq_ascii", node.this)


def padded(node: Any) -> exp.Expr:
    """Return LPAD or RPAD."""
    pattern = node.args.get("fill_pattern") or text(" ")
    size = call("bq_padded", node.expression.copy(), pattern.copy())
    return call("lpad" if node.args.get("is_left") else "rpad", node.this, size, pattern.copy())


#: What TRIM, LTRIM and RTRIM remove: all that Unicode calls white space.
_BLANKS = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)


def trimmed(node: Any) -> exp.Expr:
    """Return TRIM, LTRIM or RTRIM."""
    if node.args.get("expression") is None:
        node.set("expression", text(_BLANKS))
    return node  # type: ignore[no-any-return]


def repeated(node: Any) -> exp.Expr:
    """Return REPEAT."""
    text_ = cast(node.this, "text") if kinds.of(node.this) == kinds.NULL else node.this
    return call("bq_repeat", text_, node.args["times"])


def split(node: Any) -> exp.Expr:
    """Return SPLIT."""
    if is_bytes(node.this):
        if not is_bytes(node.expression):
            raise invalid_query("SPLIT of BYTES needs a delimiter of type BYTES")
        return call("py_split_bytes", node.this, node.expression)
    return node  # type: ignore[no-any-return]


def position(node: Any) -> exp.Expr:
    """Return STRPOS or INSTR."""
    place, occurrence = node.args.get("position"), node.args.get("occurrence")
    if place is None and occurrence is None:
        return node  # type: ignore[no-any-return]
    return call("py_instr", node.this, node.args["substr"], place or number(1), occurrence or number(1))


_SEARCHED = frozenset(["STRING", "INT64", "BOOL", "NUMERIC", "BIGNUMERIC", "TIMESTAMP", "TIME", "DATE", "DATETIME"])


def contained(node: Any) -> exp.Expr:
    """Return CONTAINS_SUBSTR: true where one of the values has the text, else NULL where one of them is NULL."""
    if not is_text(node.expression):
        raise invalid_query(f"CONTAINS_SUBSTR search value must be a string literal at {position_of(node)}")
    if node.args.get("json_scope") is not None:
        raise ApiError(501, "The emulator's CONTAINS_SUBSTR does not search in JSON.")
    searched = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", node.expression.name).casefold())
    return _contained(node.this, kinds.of(node.this), text(searched), 0)


def _contained(value: exp.Expr, kind: kinds.Kind | None, searched: exp.Expr, depth: int) -> exp.Expr:
    from sqlglot import exp

    if kind == kinds.NULL:
        return cast(exp.Null(), "boolean")
    if kind is not None and kind.name == "STRUCT":
        members = [
            exp.paren(_contained(call("struct_extract_at", value.copy(), number(place)), member, searched, depth))
            for place, (_, member) in enumerate(kind.members, start=1)
        ]
        return exp.paren(exp.or_(*members))
    if kind is not None and kind.name == "ARRAY":
        variable = f"bq_s{depth}"
        inner = _contained(exp.column(variable), kind.element, searched, depth + 1)
        found = exp.Lambda(this=inner, expressions=[exp.to_identifier(variable)])
        absent = exp.If(this=exp.Is(this=value.copy(), expression=exp.Null()), true=exp.Null())
        return exp.Case(ifs=[absent], default=call("bq_any", call("list_transform", value.copy(), found)))
    if kind is None or kind.name not in _SEARCHED:
        raise ApiError(501, f"The emulator's CONTAINS_SUBSTR does not search in a {kind or 'value whose type it does not know'}.")
    written = value.copy() if kind == kinds.STRING else call("bq_string", value.copy())
    return call("contains", call("py_casefold", written, text("NFKC")), searched.copy())


def found(node: Any) -> exp.Expr:
    """Return REGEXP_INSTR."""
    rest = [node.args.get(key) or number(default) for key, default in (("position", 1), ("occurrence", 1), ("option", 0))]
    return call("py_regexp_instr", node.this, node.expression, *rest)


def normalized(node: Any) -> exp.Expr:
    """Return NORMALIZE or NORMALIZE_AND_CASEFOLD."""
    form = node.args["form"].name.upper() if node.args.get("form") else "NFC"
    if form not in _FORMS:
        raise invalid_query(f"A valid normalization mode is required: {form}")
    return call("py_casefold" if node.args.get("is_casefold") else "py_normalize", node.this, text(form))


def code_points(node: Any) -> exp.Expr:
    """Return TO_CODE_POINTS."""
    return call("py_code_points_of_bytes" if is_bytes(node.this) else "py_code_points", node.this)


def concatenated(node: Any) -> exp.Expr:
    """Return CONCAT; without a type of their own its arguments are texts."""
    from sqlglot import exp

    if all(kinds.of(one) == kinds.NULL for one in node.expressions):
        return exp.Cast(this=exp.Null(), to=exp.DataType.build("TEXT", dialect="duckdb"))
    return node  # type: ignore[no-any-return]


def digested(node: Any) -> exp.Expr:
    """Return SHA256 or SHA512."""
    if node.args.get("length") is not None and node.args["length"].name == "512":
        return call("py_sha512", node.this if is_bytes(node.this) else call("encode", node.this))
    return node  # type: ignore[no-any-return]


def translated(node: Any) -> exp.Expr:
    """Return TRANSLATE."""
    return call("py_translate", node.this, node.args["from_"], node.args["to"])


def byte_length(node: Any) -> exp.Expr:
    """Return BYTE_LENGTH."""
    return call("octet_length" if is_bytes(node.this) else "strlen", node.this)


def fingerprint(node: Any) -> exp.Expr:
    """Return FARM_FINGERPRINT."""
    value = node.expressions[0]
    return call("py_fingerprint", value if is_bytes(value) else call("encode", value))
