"""The SQL that makes a filter file of a query. No Airflow, no Google library.

Sources: the filter's grammar in ``ExportDicomDataRequest.filterConfig``; UIDs in DICOM PS3.5, section 9.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from airflow_dicom.filter_paths import PATH_REGEX

Level = Literal["study", "series", "instance"]

#: The columns of a path's parts, as a BigQuery export names them.
UID_COLUMNS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_LEVELS: dict[str, int] = {"study": 1, "series": 2, "instance": 3}
_PARTS = ("/studies/", "/series/", "/instances/")
_MAX_UID_LENGTH = 64

_TABLE = re.compile(r"(?:bq://)?`?([^`\s;]+)`?")
_LEGACY_TABLE = re.compile(r"\[([\w.-]+)[:.](\w+)\.([\w$]+)\]")

#: Python type -> GoogleSQL type of a query parameter; ``bool`` before ``int``, ``datetime`` before ``date``: they are subclasses.
_PARAMETER_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "BOOL"),
    (int, "INT64"),
    (float, "FLOAT64"),
    (datetime.datetime, "TIMESTAMP"),
    (datetime.date, "DATE"),
    (str, "STRING"),
)


def query_of_table(table: str, level: Level, where: str | None) -> str:
    """Return the query that selects the UIDs of a metadata table.

    :param table: ``project.dataset.table`` or ``dataset.table``.
    :param level: what a line of the filter names.
    :param where: a condition in GoogleSQL.
    :raises ValueError: an argument cannot be used.
    """
    match = _TABLE.fullmatch(table)
    if not match:
        raise ValueError(f"table is {table!r}; it must be project.dataset.table.")
    if level not in _LEVELS:
        raise ValueError(f"level is {level!r}; it must be 'study', 'series' or 'instance'.")
    condition = f"\nWHERE (\n{where}\n)" if where else ""
    return f"SELECT {', '.join(UID_COLUMNS[: _LEVELS[level]])}\nFROM `{match.group(1)}`{condition}"


def check_dialect(sql: str) -> None:
    """Refuse legacy SQL, which the API's how-to still shows: ``EXPORT DATA`` knows GoogleSQL only.

    :raises ValueError: the text shows how to write the table instead.
    """
    match = _LEGACY_TABLE.search(sql)
    if match:
        raise ValueError(f"sql is legacy SQL: write {match.group(0)} as `{'.'.join(match.groups())}`.")


def query_of_paths(sql: str, columns: Sequence[str]) -> str:
    """Return a query with one column, ``path``, that holds the paths which the user's query means.

    :param sql: the user's query.
    :param columns: the names of its columns: one, with or without a name, that holds paths, or the UIDs.
    :raises ValueError: they are neither.
    """
    sql = strip_semicolon(sql)
    names = {column.lower(): column for column in columns}
    uids = [names[column.lower()] for column in UID_COLUMNS if column.lower() in names]
    expected = [column.lower() for column in UID_COLUMNS[: len(uids)]]
    if uids and len(columns) == len(uids) and [uid.lower() for uid in uids] == expected:
        path = "CONCAT(" + ", ".join(f"'{part}', `{uid}`" for part, uid in zip(_PARTS, uids, strict=False)) + ")"
        return f"SELECT {path} AS path FROM (\n{sql}\n)"
    if len(columns) == 1 and not uids:
        # A column without a name cannot be named in SQL; a union takes the names of its first query.
        return f"SELECT '' AS path FROM UNNEST([0]) WHERE FALSE UNION ALL (\n{sql}\n)"
    raise ValueError(
        f"the query returns the columns {', '.join(columns)}; it must return one column of paths (/studies/…[/series/…"
        "[/instances/…]]), or StudyInstanceUID[, SeriesInstanceUID[, SOPInstanceUID]]."
    )


def export_statement(sql: str, columns: Sequence[str], uri: str) -> str:
    """Return the ``EXPORT DATA`` statement that writes the query's paths: each once, none that is NULL, none that is no path.

    :param sql: the user's query.
    :param columns: the names of its columns.
    :param uri: ``gs://bucket/prefix*``.
    :raises ValueError: the columns are no paths.
    """
    lengths = " AND ".join(f"LENGTH(IFNULL(SPLIT(path, '/')[SAFE_OFFSET({i})], '')) <= {_MAX_UID_LENGTH}" for i in (2, 4, 6))
    uri = uri.replace("\\", "\\\\").replace("'", "\\'")
    return f"""EXPORT DATA OPTIONS (uri = '{uri}', format = 'CSV', header = false, overwrite = true) AS
SELECT DISTINCT
  IF(
    REGEXP_CONTAINS(path, r'^{PATH_REGEX}$') AND {lengths},
    path,
    ERROR(CONCAT('airflow-dicom: this is no DICOM resource path: ', path))
  ) AS path
FROM (
{query_of_paths(sql, columns)}
)
WHERE path IS NOT NULL"""


def strip_semicolon(sql: str) -> str:
    """Return a query without the semicolon that may end it."""
    return sql.rstrip().rstrip(";").rstrip()


def query_parameters(parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """Return BigQuery's ``queryParameters``.

    :param parameters: values by name, or the API's own list.
    :raises ValueError: a value has a type that BigQuery has no parameter for.
    """
    if parameters is None:
        return []
    if not isinstance(parameters, Mapping):
        return [dict(parameter) for parameter in parameters]
    return [{"name": name, **_parameter(name, value)} for name, value in parameters.items()]


def _parameter(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, (list, tuple)):
        items = [_parameter(name, item) for item in value]
        item_type = items[0]["parameterType"] if items else {"type": "STRING"}
        return {
            "parameterType": {"type": "ARRAY", "arrayType": item_type},
            "parameterValue": {"arrayValues": [item["parameterValue"] for item in items]},
        }
    for kind, type_name in _PARAMETER_TYPES:
        if isinstance(value, kind):
            text = str(value).lower() if kind is bool else value.isoformat() if hasattr(value, "isoformat") else str(value)
            return {"parameterType": {"type": type_name}, "parameterValue": {"value": text}}
    raise ValueError(
        f"query_parameters[{name!r}] is a {type(value).__name__}; use text, numbers, booleans, dates or lists of them."
    )
