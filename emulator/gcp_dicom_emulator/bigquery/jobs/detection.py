"""The columns of files of JSON whose schema is to be detected: texts that look like another type are of that type."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.rest.errors import ApiError

#: How many rows of the first file tell the types of texts.
_ROWS = 500

_DAY, _CLOCK = r"\d{4}-\d{1,2}-\d{1,2}", r"\d{1,2}:\d{1,2}:\d{1,2}(?:\.\d{1,6})?"
_LOOKS = {
    "BOOLEAN": re.compile(r"true|false", re.IGNORECASE),
    "INTEGER": re.compile(r"[-+]?\d{1,18}"),
    "FLOAT": re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"),
    "DATE": re.compile(_DAY),
    "TIME": re.compile(_CLOCK),
    "TIMESTAMP": re.compile(rf"{_DAY}[ Tt]{_CLOCK}(?: ?(?:[Zz]|UTC|[-+]\d{{1,2}}(?::?\d\d)?))?"),
}
#: DuckDB's types of JSON, and BigQuery's.
_SCALARS = {"BIGINT": "INTEGER", "UBIGINT": "INTEGER", "HUGEINT": "INTEGER", "DOUBLE": "FLOAT", "BOOLEAN": "BOOLEAN"}


def fields_of(structure: dict[str, Any], file: Path | None) -> list[Field]:
    """Return the columns of rows.

    :param structure: their names, and DuckDB's types of JSON.
    :param file: whose first rows tell what their texts are.
    """
    rows: list[Any] = []
    if file is not None:
        with file.open("rb") as lines:
            rows = [json.loads(line) for line in itertools.islice((line for line in lines if line.strip()), _ROWS)]
    return _fields(structure, rows)


def _fields(structure: dict[str, Any], rows: Iterable[Any]) -> list[Field]:
    found = [row for row in rows if isinstance(row, dict)]
    return [_field(name, kind, [row[name] for row in found if row.get(name) is not None]) for name, kind in structure.items()]


def _field(name: str, kind: Any, values: list[Any]) -> Field:
    """Return a column.

    :param kind: what DuckDB found.
    :param values: those of its values that are looked at.
    """
    if isinstance(kind, list):
        items = [item for value in values if isinstance(value, list) for item in value if item is not None]
        return {**_field(name, kind[0] if kind else "VARCHAR", items), "mode": "REPEATED"}
    if isinstance(kind, dict):
        if not kind:
            return {"name": name, "type": "JSON", "mode": "NULLABLE"}
        return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": _fields(kind, values)}
    return {"name": name, "type": _SCALARS.get(kind) or _type_of(name, values), "mode": "NULLABLE"}


def _type_of(name: str, values: list[Any]) -> str:
    """Return the type of texts, or of values of several types."""
    if any(isinstance(value, (dict, list)) for value in values):
        raise ApiError(501, f"The emulator does not detect the type of {name}, which has values of several kinds.")
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
    if any(re.fullmatch(r"[-+]?\d{19,}", text) for text in texts):
        raise ApiError(
            501, f"The emulator does not detect the type of {name}, which has whole numbers of more than 18 digits as texts."
        )
    fitting = [kind for kind, looks in _LOOKS.items() if all(looks.fullmatch(text) for text in texts)]
    return fitting[0] if texts and fitting else "STRING"
