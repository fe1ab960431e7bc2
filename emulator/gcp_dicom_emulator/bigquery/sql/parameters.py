"""Query parameters as SQL literals."""

from __future__ import annotations

import base64
import re
from typing import Any

from gcp_dicom_emulator.rest.errors import ApiError

_SCALARS = {
    "STRING", "BYTES", "INT64", "INTEGER", "FLOAT64", "FLOAT", "NUMERIC", "BIGNUMERIC", "BOOL", "BOOLEAN", "TIMESTAMP", "DATE",
    "TIME", "DATETIME", "JSON", "INTERVAL", "GEOGRAPHY",
}  # fmt: skip


def as_sql(parameters: list[dict[str, Any]], mode: str) -> dict[str, str] | list[str]:
    """Return a query's parameters as GoogleSQL expressions, by name or in their order.

    :param parameters: ``QueryParameter`` resources.
    :param mode: ``NAMED`` or ``POSITIONAL``; empty to tell by the first parameter.
    :raises ApiError: 400 for a parameter without a type or with a value that is none of its type.
    """
    values = [_expression(p.get("parameterType") or {}, p.get("parameterValue") or {}, p.get("name") or "") for p in parameters]
    if mode.upper() == "POSITIONAL" or (parameters and not parameters[0].get("name")):
        return values
    return {p["name"]: value for p, value in zip(parameters, values, strict=True)}


def scalar(kind: str, text: str | None) -> str:
    """Return a scalar as a GoogleSQL expression.

    :param kind: its type, e.g. ``INT64``.
    :param text: its value as parameters have it; ``None`` for NULL.
    """
    return _expression({"type": kind}, {"value": text}, "")


def _expression(kind: dict[str, Any], value: dict[str, Any], name: str) -> str:
    type_name = str(kind.get("type", "")).upper()
    if type_name == "ARRAY":
        element = kind.get("arrayType") or {}
        items = ", ".join(_expression(element, item, name) for item in value.get("arrayValues") or [])
        return f"CAST([{items}] AS {_type(kind, name)})"
    if type_name in ("STRUCT", "RECORD"):
        members = value.get("structValues") or {}
        fields = ", ".join(
            f"{_expression(member['type'], members.get(member['name']) or {}, name)} AS `{_plain(member['name'])}`"
            for member in kind.get("structTypes") or []
        )
        return f"STRUCT({fields})"
    if type_name == "RANGE" and value.get("rangeValue") is not None:
        bounds = [(value["rangeValue"].get(end) or {}).get("value") for end in ("start", "end")]
        low, high = ("UNBOUNDED" if bound is None else str(bound) for bound in bounds)
        return f"CAST({_quoted(f'[{low}, {high})')} AS {_type(kind, name)})"
    scalar_type, text = _type(kind, name), value.get("value")
    if text is None:
        return f"CAST(NULL AS {scalar_type})"
    return _scalar(scalar_type, str(text))


def _scalar(kind: str, text: str) -> str:
    if kind == "STRING":
        return _quoted(text)
    # Short forms, because there may be thousands in an array.
    if kind == "INT64" and re.fullmatch(r"-?\d{1,19}", text):
        return text
    if kind == "BOOL" and text.lower() in ("true", "false"):
        return text
    if kind == "BYTES":
        try:
            return "b'" + "".join(f"\\x{byte:02x}" for byte in base64.b64decode(text, validate=True)) + "'"
        except ValueError as error:
            raise ApiError(400, f"Invalid value for BYTES query parameter: {text}", reason="invalid") from error
    if kind == "GEOGRAPHY":
        return f"ST_GEOGFROMTEXT({_quoted(text)})"
    if kind == "JSON":
        return f"PARSE_JSON({_quoted(text)})"
    return f"CAST({_quoted(text)} AS {kind})"


def _type(kind: dict[str, Any], name: str) -> str:
    type_name = str(kind.get("type", "")).upper()
    if type_name == "ARRAY":
        return f"ARRAY<{_type(kind.get('arrayType') or {}, name)}>"
    if type_name in ("STRUCT", "RECORD"):
        return (
            "STRUCT<" + ", ".join(f"`{_plain(m['name'])}` {_type(m['type'], name)}" for m in kind.get("structTypes") or []) + ">"
        )
    if type_name == "RANGE":
        return f"RANGE<{_type(kind.get('rangeElementType') or {}, name)}>"
    if type_name not in _SCALARS:
        raise ApiError(400, f"Invalid query parameter type for parameter '{name}': {kind.get('type')}", reason="invalid")
    return {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}.get(type_name, type_name)


def _plain(name: str) -> str:
    if not re.fullmatch(r"\w+", name):
        raise ApiError(400, f"Invalid name of a field of a struct parameter: {name}", reason="invalid")
    return name


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"
