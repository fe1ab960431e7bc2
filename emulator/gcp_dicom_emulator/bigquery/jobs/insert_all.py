"""``tabledata.insertAll``: rows one by one, each good or bad."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gcp_dicom_emulator.bigquery.catalog import Catalog
from gcp_dicom_emulator.bigquery.jobs import load
from gcp_dicom_emulator.bigquery.names import TableName
from gcp_dicom_emulator.bigquery.sql.run import boolean
from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.rest.errors import ApiError

#: Returns the values of columns that rows leave out, by their names.
Defaults = Callable[[TableName, list[Field]], dict[str, str | None]]


def run(catalog: Catalog, name: TableName, body: dict[str, Any], defaults: Defaults) -> dict[str, Any]:
    """Insert rows; return the ``TableDataInsertAllResponse``.

    A row that does not fit is reported, and without ``skipInvalidRows`` it stops all others.

    :raises ApiError: 404 when there is no such table, 400 when there are no rows.
    """
    table = catalog.table(name)
    table.writable()
    given = [row.get("json") or {} for row in body.get("rows") or []]
    if not given:
        raise ApiError(400, "No rows present in the request.")
    if filled := defaults(name, table.fields):
        given = [_with_defaults(row, filled) for row in given]
    ignore = boolean(body.get("ignoreUnknownValues") or False)
    problems = [_problem(row, table.fields, ignore=ignore) for row in given]
    if not any(problems):
        try:
            _load(catalog, name, table.fields, given, ignore=ignore)
            return {"kind": "bigquery#tableDataInsertAllResponse"}
        except (ApiError, ValueError) as error:
            if isinstance(error, ApiError) and error.code != 400:
                raise
    # Only now is it worth the time to look at each row alone.
    pairs = zip(given, problems, strict=True)
    problems = [problem or _conversion(catalog, table.fields, row, ignore=ignore) for row, problem in pairs]
    good = [row for row, problem in zip(given, problems, strict=True) if problem is None]
    bad = len(good) < len(given)
    if good and (not bad or boolean(body.get("skipInvalidRows") or False)):
        _load(catalog, name, table.fields, good, ignore=ignore)
    answer: dict[str, Any] = {"kind": "bigquery#tableDataInsertAllResponse"}
    if bad:
        stopped = None if boolean(body.get("skipInvalidRows") or False) else {"reason": "stopped", "location": "", "message": ""}
        errors = [(index, problem or stopped) for index, problem in enumerate(problems)]
        answer["insertErrors"] = [{"index": index, "errors": [error]} for index, error in errors if error]
    return answer


def _with_defaults(row: Any, defaults: dict[str, str | None]) -> Any:
    present = {key.lower() for key in row} if isinstance(row, dict) else set(defaults)
    return (
        {**row, **{key: value for key, value in defaults.items() if key.lower() not in present}}
        if set(defaults) - present
        else row
    )


def _load(catalog: Catalog, name: TableName, fields: list[Field], rows: list[dict[str, Any]], *, ignore: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(_parsed(row, fields)) + "\n" for row in rows)
        load.load_json_lines(catalog, name, fields, [path], "WRITE_APPEND", add_fields=False, ignore_unknown=ignore)


def _parsed(row: dict[str, Any], fields: list[Field]) -> dict[str, Any]:
    """Return a row whose JSON columns are JSON, where the client sends the text of JSON."""
    kinds = {field["name"].lower(): field["type"] for field in fields}
    parsed = dict(row)
    for key, value in row.items():
        if kinds.get(key.lower()) == "JSON" and isinstance(value, str):
            parsed[key] = json.loads(value)
    return parsed


def _conversion(catalog: Catalog, fields: list[Field], row: dict[str, Any], *, ignore: bool) -> dict[str, str] | None:
    """Say whether a row's values can become the columns' types, by letting DuckDB try."""
    try:
        load.try_json(catalog.engine, fields, _parsed(row, fields), ignore_unknown=ignore)
    except ValueError as error:
        return _invalid("", f"Invalid JSON: {error}")
    except ApiError as error:
        return _invalid("", error.message)
    return None


def _problem(row: Any, fields: list[Field], *, ignore: bool, where: str = "") -> dict[str, str] | None:
    if not isinstance(row, dict):
        return _invalid(where, f"This field: {where} is not a record.")
    known = {field["name"].lower(): field for field in fields}
    present = {key.lower() for key, value in row.items() if value is not None}
    for key in row:
        if key.lower() not in known and not ignore:
            return _invalid(f"{where}{key}", f"no such field: {where}{key}.")
    for name, field in known.items():
        if field["mode"] == "REQUIRED" and name not in present:
            return _invalid(f"{where}{field['name']}", f"Missing required field: {where}{field['name']}.")
    return None


def _invalid(location: str, message: str) -> dict[str, str]:
    return {"reason": "invalid", "location": location, "debugInfo": "", "message": message}
