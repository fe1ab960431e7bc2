"""BigQuery's types and DuckDB's, both ways.

A field is a ``TableFieldSchema`` dictionary: ``name``, ``type`` (legacy names: ``INTEGER``, ``FLOAT``, ``BOOLEAN``, ``RECORD``),
``mode`` and, for records, ``fields``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from duckdb.sqltypes import DuckDBPyType

Field = dict[str, Any]

#: Standard names -> the legacy names that the API answers with.
_LEGACY = {
    "INT64": "INTEGER",
    "FLOAT64": "FLOAT",
    "BOOL": "BOOLEAN",
    "STRUCT": "RECORD",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
}
_STANDARD = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}

#: BigQuery's scalar types -> DuckDB's. BIGNUMERIC's 76 digits do not fit; DuckDB's 38 are split in halves.
_DUCKDB = {
    "STRING": "VARCHAR",
    "BYTES": "BLOB",
    "INTEGER": "BIGINT",
    "FLOAT": "DOUBLE",
    "NUMERIC": "DECIMAL(38, 9)",
    "BIGNUMERIC": "DECIMAL(38, 18)",
    "BOOLEAN": "BOOLEAN",
    "TIMESTAMP": "TIMESTAMP WITH TIME ZONE",
    "DATE": "DATE",
    "TIME": "TIME",
    "DATETIME": "TIMESTAMP",
    "JSON": "JSON",
    "INTERVAL": "INTERVAL",
    "GEOGRAPHY": 'STRUCT("geography text" VARCHAR)',
    "TIMESTAMP(12)": 'STRUCT("timestamp" TIMESTAMP WITH TIME ZONE, "picoseconds of it" BIGINT)',
}
#: What DuckDB does not have is a STRUCT there, with names that no column of BigQuery's has: GEOGRAPHY as its text, RANGE as its
#: bounds, which are infinite where it has none, TIMESTAMP(12) as what a TIMESTAMP holds and the six digits behind it.
GEOGRAPHY_FIELD, RANGE_FIELDS, PICOSECOND_FIELDS = (
    "geography text",
    ("range start", "range end"),
    ("timestamp", "picoseconds of it"),
)
_RANGE_ELEMENTS = ("DATE", "DATETIME", "TIMESTAMP")
#: DuckDB's types, by id, of which expressions are made -> BigQuery's.
_BIGQUERY = {
    **dict.fromkeys(
        ("tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint"),
        "INTEGER",
    ),
    "float": "FLOAT",
    "double": "FLOAT",
    "boolean": "BOOLEAN",
    "varchar": "STRING",
    "uuid": "STRING",
    "enum": "STRING",
    "blob": "BYTES",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "DATETIME",
    "timestamp_s": "DATETIME",
    "timestamp_ms": "DATETIME",
    "timestamp_ns": "DATETIME",
    "timestamp with time zone": "TIMESTAMP",
    "interval": "INTERVAL",
    # NULL without a type is an INT64 in BigQuery.
    "null": "INTEGER",
    "sqlnull": "INTEGER",
}
_UNSUPPORTED = {"FOREIGN"}
_COLUMN_NAME = re.compile(r"[^\W\d][\w]{0,299}|[\w\-]{1,300}")


def quote(name: str) -> str:
    """Return ``name`` as a quoted identifier of DuckDB."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return ``text`` as a string literal of DuckDB."""
    return "'" + text.replace("'", "''") + "'"


def normalize_fields(fields: list[Field], where: str = "") -> list[Field]:
    """Return a declared schema with legacy type names and explicit modes.

    :raises ApiError: 400 for a schema that BigQuery refuses, 501 for a type that the emulator does not have.
    """
    seen: set[str] = set()
    for field in fields:
        name = str(field.get("name", "")).lower()
        if name in seen:
            raise ApiError(400, f"Field {where}{field['name']} already exists in schema")
        seen.add(name)
    return [_normalize_field(field, where) for field in fields]


def _normalize_field(field: Field, where: str) -> Field:
    name = field.get("name", "")
    if not _COLUMN_NAME.fullmatch(name):
        raise ApiError(400, f'Invalid field name "{where}{name}". Fields must contain only letters, numbers, and underscores.')
    kind = str(field.get("type", "")).upper()
    kind = _LEGACY.get(kind, kind)
    if kind in _UNSUPPORTED:
        raise ApiError(501, f"The emulator has no columns of type {kind} (field {where}{name}).")
    if kind not in (*_DUCKDB, "RECORD", "RANGE") or "(" in kind:
        raise ApiError(400, f"Invalid value for type: {field.get('type')} is not a valid value (field {where}{name})")
    mode = str(field.get("mode") or "NULLABLE").upper()
    if mode not in ("NULLABLE", "REQUIRED", "REPEATED"):
        raise ApiError(400, f"Invalid value for mode: {mode} is not a valid value (field {where}{name})")
    if field.get("generatedColumn"):
        raise ApiError(501, f"The emulator does not do generatedColumn (field {where}{name}).")
    if where and field.get("defaultValueExpression"):
        raise ApiError(400, f"A field inside of another has no default value (field {where}{name})")
    _check_parameters(field, kind, f"{where}{name}")
    normalized = {**field, "name": name, "type": kind, "mode": mode}
    if kind == "RANGE" or field.get("rangeElementType"):
        normalized["rangeElementType"] = _range_element(field, kind, f"{where}{name}")
    if field.get("timestampPrecision") is not None:
        normalized["timestampPrecision"] = _timestamp_precision(field, kind, f"{where}{name}")
    if kind == "RECORD":
        if not field.get("fields"):
            raise ApiError(400, f"Field {where}{name} is type RECORD but has no schema")
        normalized["fields"] = normalize_fields(field["fields"], f"{where}{name}.")
    return normalized


def _range_element(field: Field, kind: str, path: str) -> dict[str, str]:
    """Return the ``rangeElementType`` of a field."""
    element = str((field.get("rangeElementType") or {}).get("type", "")).upper()
    if kind != "RANGE" or element not in _RANGE_ELEMENTS:
        raise ApiError(400, f"Invalid value for rangeElementType: {element or 'none'} of type {kind} (field {path})")
    return {"type": element}


def _timestamp_precision(field: Field, kind: str, path: str) -> str:
    """Return how many digits behind the point a TIMESTAMP has."""
    precision = str(field["timestampPrecision"])
    if kind != "TIMESTAMP" or precision not in ("6", "12"):
        raise ApiError(400, f"Invalid value for timestampPrecision: {precision} of type {kind} (field {path})")
    return precision


def has_picoseconds(field: Field) -> bool:
    """Say whether a field is a TIMESTAMP(12)."""
    return bool(field["type"] == "TIMESTAMP" and field.get("timestampPrecision") == "12")


def range_element(field: Field) -> Field:
    """Return a bound of a RANGE as a field."""
    return {"name": field["name"], "type": field["rangeElementType"]["type"], "mode": "NULLABLE"}


#: How many digits a number may have before and behind the point.
_DIGITS = {"NUMERIC": (29, 9), "BIGNUMERIC": (38, 38)}


def _check_parameters(field: Field, kind: str, path: str) -> None:
    """Check the length, or the precision and scale, that a field's type has."""
    for name in ("maxLength", "precision", "scale"):
        value = field.get(name)
        if value is None:
            continue
        if kind not in (("STRING", "BYTES") if name == "maxLength" else _DIGITS):
            raise ApiError(400, f"Invalid value for {name}: the type {kind} has none (field {path})")
        if not str(value).isdigit() or (int(value) == 0 and name != "scale"):
            raise ApiError(400, f"Invalid value for {name}: {value} is not a valid value (field {path})")
    if field.get("scale") is not None and field.get("precision") is None:
        raise ApiError(400, f"Invalid value for scale: a scale needs a precision (field {path})")
    if field.get("precision") is not None:
        precision, scale = int(field["precision"]), int(field.get("scale") or 0)
        before, behind = _DIGITS[kind]
        if scale > behind or not max(1, scale) <= precision <= before + scale:
            raise ApiError(400, f"Invalid value for precision: {kind}({precision}, {scale}) is not a valid type (field {path})")


def constrained(field: Field, expression: str) -> str:
    """Return the SQL of a scalar as a column with a length, or a precision and scale, holds it."""
    if field.get("maxLength") is not None:
        return f"bq_limited({expression}, {int(field['maxLength'])}, {literal(field['name'])})"
    if field.get("precision") is not None:
        return f"bq_fixed({expression}, {int(field['precision'])}, {min(int(field.get('scale') or 0), 18)}, {literal(field['name'])})"
    return expression


def legacy_name(name: str) -> str:
    """Return the API's name of a scalar type of GoogleSQL."""
    return _LEGACY.get(name, name)


def duckdb_scalar(name: str) -> str:
    """Return DuckDB's type for a scalar type of GoogleSQL."""
    return _DUCKDB[_LEGACY.get(name, name)]


def standard_name(field: Field) -> str:
    """Return a field's type as GoogleSQL writes it, e.g. ``ARRAY<STRUCT<a INT64>>``."""
    kind = str(_STANDARD.get(field["type"], field["type"]))
    if field["type"] == "RANGE":
        kind = f"RANGE<{field['rangeElementType']['type']}>"
    elif has_picoseconds(field):
        kind = "TIMESTAMP(12)"
    numbers = [str(field[name]) for name in ("maxLength", "precision", "scale") if field.get(name) is not None]
    kind += f"({', '.join(numbers)})" if numbers else ""
    if field["type"] == "RECORD":
        kind = "STRUCT<" + ", ".join(f"{child['name']} {standard_name(child)}" for child in field["fields"]) + ">"
    return f"ARRAY<{kind}>" if field.get("mode") == "REPEATED" else kind


def duckdb_type(field: Field) -> str:
    """Return the DuckDB type of a field's column."""
    return _element_type(field) + ("[]" if field.get("mode") == "REPEATED" else "")


def _element_type(field: Field) -> str:
    if field["type"] == "RECORD":
        return "STRUCT(" + ", ".join(f"{quote(child['name'])} {duckdb_type(child)}" for child in field["fields"]) + ")"
    if field["type"] == "RANGE":
        return duckdb_range(field["rangeElementType"]["type"])
    return _DUCKDB["TIMESTAMP(12)" if has_picoseconds(field) else field["type"]]


def duckdb_range(element: str) -> str:
    """Return DuckDB's type for a RANGE of a type."""
    return "STRUCT(" + ", ".join(f"{quote(name)} {_DUCKDB[element]}" for name in RANGE_FIELDS) + ")"


def field_of(name: str, kind: DuckDBPyType) -> Field:
    """Return the field of a column that a query makes.

    :raises ApiError: 400 for an array of arrays, 501 for a type that BigQuery's schema cannot express here.
    """
    if kind.id in ("list", "array"):
        element = field_of(name, _children(kind)[0][1])
        if element["mode"] == "REPEATED":
            raise ApiError(400, f"Cannot construct array with element type ARRAY (column {name})", reason="invalidQuery")
        return {**element, "mode": "REPEATED"}
    if kind.id in ("struct", "tuple"):
        names = [child or f"_field_{i}" for i, (child, _) in enumerate(_children(kind), start=1)]
        if (special := _special_of(tuple(names), kind)) is not None:
            return {"name": name, **special, "mode": "NULLABLE"}
        children = [field_of(child, of) for child, (_, of) in zip(names, _children(kind), strict=True)]
        return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": children}
    return {"name": name, "type": _scalar_of(name, kind), "mode": "NULLABLE"}


def _special_of(names: tuple[str, ...], kind: DuckDBPyType) -> Field | None:
    """Return the type that a STRUCT of DuckDB's stands for, ``None`` for a STRUCT."""
    if names == (GEOGRAPHY_FIELD,):
        return {"type": "GEOGRAPHY"}
    if names == PICOSECOND_FIELDS:
        return {"type": "TIMESTAMP", "timestampPrecision": "12"}
    if names == RANGE_FIELDS:
        return {"type": "RANGE", "rangeElementType": {"type": _scalar_of("", _children(kind)[0][1])}}
    return None


#: What a column's type becomes by what is known of it, without a loss.
_REFINED = {
    ("INTEGER", "FLOAT"), ("INTEGER", "NUMERIC"), ("INTEGER", "BIGNUMERIC"), ("NUMERIC", "BIGNUMERIC"), ("BIGNUMERIC", "NUMERIC"),
    ("NUMERIC", "FLOAT"), ("BIGNUMERIC", "FLOAT"), ("FLOAT", "NUMERIC"), ("FLOAT", "BIGNUMERIC"), ("DATE", "DATETIME"),
}  # fmt: skip


def refined(found: Field, known: Field, kind: DuckDBPyType) -> Field:
    """Return a column's field by what the translation knows of its type, where DuckDB has only something like it.

    :param found: the field by DuckDB's type.
    :param known: the field by the translation.
    :param kind: DuckDB's type.
    """
    if (kind.id in ("list", "array")) != (known["mode"] == "REPEATED"):
        return {**known, "name": found["name"]} if kind.id in ("null", "sqlnull") else found
    if kind.id in ("list", "array"):
        kind = _children(kind)[0][1]
    if kind.id in ("null", "sqlnull"):
        return {**known, "name": found["name"]}
    if found["type"] == known["type"] == "RECORD" and len(found["fields"]) == len(known["fields"]):
        inner = zip(found["fields"], known["fields"], _children(kind), strict=True)
        return {**found, "fields": [refined(one, other, child) for one, other, (_, child) in inner]}
    return {**found, "type": known["type"]} if (found["type"], known["type"]) in _REFINED else found


def _children(kind: DuckDBPyType) -> list[tuple[str, DuckDBPyType]]:
    return cast("list[tuple[str, DuckDBPyType]]", kind.children)


def _scalar_of(name: str, kind: DuckDBPyType) -> str:
    if str(kind) == "JSON":
        return "JSON"
    if kind.id == "decimal":
        return "BIGNUMERIC" if int(str(kind).rpartition(",")[2].strip(" )")) > 9 else "NUMERIC"
    try:
        return _BIGQUERY[kind.id]
    except KeyError:
        raise ApiError(501, f"The emulator has no results of type {kind} (column {name}).") from None


def transform(field: Field, expression: str, scalar: Callable[[Field, str], str], *, fill: bool = False, depth: int = 0) -> str:
    """Return the SQL that applies ``scalar`` to every scalar inside ``expression``; the expression itself when nothing changes.

    :param field: the field whose value ``expression`` is.
    :param scalar: called with a scalar field and the SQL of its value; returns SQL.
    :param fill: whether an array that is NULL becomes an empty one.
    """
    if field.get("mode") == "REPEATED":
        variable = f"e{depth}"
        element = transform({**field, "mode": "NULLABLE"}, variable, scalar, fill=fill, depth=depth + 1)
        array = expression if element == variable else f"list_transform({expression}, lambda {variable}: {element})"
        return f"coalesce({array}, [])" if fill else array
    if field["type"] != "RECORD":
        return scalar(field, expression)
    members = [(child["name"], f"struct_extract({expression}, {literal(child['name'])})") for child in field["fields"]]
    values = [
        (name, value, transform(child, value, scalar, fill=fill, depth=depth))
        for child, (name, value) in zip(field["fields"], members, strict=True)
    ]
    if all(value == changed for _, value, changed in values):
        return expression
    packed = ", ".join(f"{quote(name)} := {changed}" for name, _, changed in values)
    return f"CASE WHEN {expression} IS NULL THEN NULL ELSE struct_pack({packed}) END"


def filled(field: Field, expression: str) -> str:
    """Return the SQL of a value as it is stored: BigQuery's tables have no array that is NULL, but empty ones."""
    return transform(field, expression, constrained, fill=True)
