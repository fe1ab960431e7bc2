"""Rows in BigQuery's wire form, and pages of them."""

from __future__ import annotations

import base64
import datetime
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gcp_dicom_emulator.bigquery.engine import Engine
from gcp_dicom_emulator.bigquery.sql import json_changes, types
from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.rest.errors import ApiError

#: How many rows an answer has at most, and after how many bytes it ends; BigQuery's end at 20 MB.
MAX_PAGE_ROWS, _MAX_PAGE_BYTES = 50_000, 20 << 20
#: How many rows are looked at together.
_BATCH = 100


#: Writes a TIMESTAMP.
Timestamps = Callable[[int, int | None], str]


@dataclass(frozen=True)
class Page:
    """Some rows of a table.

    :param rows: the rows in wire form.
    :param total: how many rows the table has.
    :param next_index: the index of the row after the last one; ``None`` at the end.
    """

    rows: list[dict[str, Any]]
    total: int
    next_index: int | None


def read_page(engine: Engine, physical: str, fields: list[Field], start: int, limit: int | None, timestamps: Timestamps) -> Page:
    """Return rows of a physical table.

    :param fields: the columns to return.
    :param start: the index of the first row.
    :param limit: how many rows at most; ``None`` for a page of the emulator's choice.
    :param timestamps: writes a TIMESTAMP, given in microseconds since the epoch, and for a TIMESTAMP(12) its further digits.
    """
    limit = min(MAX_PAGE_ROWS if limit is None else limit, MAX_PAGE_ROWS)
    columns = ", ".join(types.transform(field, types.quote(field["name"]), _readable) for field in fields) or "1"
    with engine.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {physical} LIMIT {limit} OFFSET {start}")
        rows: list[dict[str, Any]] = []
        size = 0
        while size < _MAX_PAGE_BYTES and (found := cursor.fetchmany(_BATCH)):
            rows += (
                {"f": [{"v": _wire(field, value, timestamps)} for field, value in zip(fields, row, strict=False)]}
                for row in found
            )
            # One row tells roughly how long all are.
            size += len(json.dumps(rows[-1])) * len(found)
    end = start + len(rows)
    # A page that has room left is the last one; behind the end, no page says where that is.
    is_full = len(rows) == limit or size >= _MAX_PAGE_BYTES
    total = engine.count(physical) if is_full or (start and not rows) else end
    return Page(rows, total, end if end < total and (rows or limit == 0) else None)


def _readable(field: Field, value: str) -> str:
    if types.has_picoseconds(field):
        micros, digits = (f"struct_extract({value}, {types.literal(name)})" for name in types.PICOSECOND_FIELDS)
        return f"CASE WHEN {value} IS NOT NULL THEN [epoch_us({micros}), {digits}] END"
    if field["type"] == "RANGE":
        bounds = (f"struct_extract({value}, {types.literal(name)})" for name in types.RANGE_FIELDS)
        element = types.range_element(field)
        # An infinite bound is none; Python has no infinite dates.
        parts = (f"CASE WHEN NOT isinf({bound}) THEN {_readable(element, bound)} END" for bound in bounds)
        return f"CASE WHEN {value} IS NOT NULL THEN [{', '.join(parts)}] END"
    if field["type"] == "GEOGRAPHY":
        return f"struct_extract({value}, {types.literal(types.GEOGRAPHY_FIELD)})"
    if field["type"] == "INTERVAL":
        return f"bq_string_of_interval({value})"
    # Python's datetime ends before BigQuery's TIMESTAMP does not; as a number it needs no time zone database either.
    return f"epoch_us({value})" if field["type"] == "TIMESTAMP" else value


def _wire(field: Field, value: Any, timestamps: Timestamps) -> Any:
    if field.get("mode") == "REPEATED":
        element = {**field, "mode": "NULLABLE"}
        return [{"v": _wire(element, item, timestamps)} for item in value or []]
    if value is None:
        return None
    if field["type"] == "RECORD":
        values = value.values() if isinstance(value, dict) else value
        return {"f": [{"v": _wire(child, item, timestamps)} for child, item in zip(field["fields"], values, strict=True)]}
    if field["type"] == "TIMESTAMP":
        return timestamps(*value) if types.has_picoseconds(field) else timestamps(value, None)
    if field["type"] == "RANGE":
        element = types.range_element(field)
        return f"[{', '.join('UNBOUNDED' if bound is None else _wire(element, bound, timestamps) for bound in value)})"
    return _SCALARS.get(field["type"], str)(value)


def _float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def _decimal(value: Any) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


_SCALARS: dict[str, Callable[[Any], str]] = {
    "BYTES": lambda value: base64.b64encode(value).decode(),
    "BOOLEAN": lambda value: "true" if value else "false",
    "FLOAT": _float,
    "NUMERIC": _decimal,
    "BIGNUMERIC": _decimal,
    "DATETIME": lambda value: value.isoformat(),
    "JSON": json_changes.canonical,
}


def timestamp_writer(form: str) -> Timestamps:
    """Return what writes TIMESTAMPs; six digits more than microseconds are written by ``ISO8601_STRING`` only.

    :param form: a ``formatOptions.timestampOutputFormat``: ``FLOAT64``, ``INT64`` or ``ISO8601_STRING``.
    :raises ApiError: 400 for another one.
    """
    if form == "INT64":
        return lambda micros, _: str(micros)
    if form in ("FLOAT64", "", "TIMESTAMP_OUTPUT_FORMAT_UNSPECIFIED"):
        return _seconds
    if form == "ISO8601_STRING":
        return _iso
    raise ApiError(400, f"Invalid value for formatOptions.timestampOutputFormat: {form}")


def _seconds(micros: int, digits: int | None) -> str:
    seconds, rest = divmod(abs(micros), 1_000_000)
    return f"{'-' if micros < 0 else ''}{seconds}.{rest:06d}"


def _iso(micros: int, digits: int | None) -> str:
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=micros)
    return (moment.isoformat() if digits is None else f"{moment.isoformat(timespec='microseconds')}{digits:06d}") + "Z"


def select_fields(fields: list[Field], selected: str | None) -> list[Field]:
    """Return the fields that ``selectedFields`` names, in its order; all without it.

    :raises ApiError: 400 for a field that does not exist.
    """
    if not selected:
        return fields
    names = [name.strip().partition(".")[0].lower() for name in selected.split(",")]
    if any("." in name for name in selected.split(",")):
        raise ApiError(501, "The emulator's selectedFields has no sub-fields.")
    known = {field["name"].lower(): field for field in fields}
    for name in names:
        if name not in known:
            raise ApiError(400, f"Invalid value for selectedFields: no such field: {name}")
    return [known[name] for name in names]
