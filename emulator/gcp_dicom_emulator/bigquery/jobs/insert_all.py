"""``tabledata.insertAll``: rows one by one, each good or bad."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
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


#: For how many seconds a row is known by its ``insertId``.
_REMEMBERED = 60.0


class Inserted:
    """The rows that were inserted a short time ago, by their ``insertId``: what is sent again is not inserted again."""

    def __init__(self) -> None:
        #: Held from the look at what was inserted until more is: a client may send a request again while the first one runs.
        self.lock = threading.Lock()
        #: Until when each is known, the oldest first.
        self._until: OrderedDict[tuple[str, str], float] = OrderedDict()

    def new(self, physical: str, ids: list[str]) -> list[bool]:
        """Say of each row whether it is to be inserted.

        :param physical: the table that has the rows; one that takes its place knows nothing of them.
        :param ids: the rows' ``insertId``; empty for none.
        """
        now = time.monotonic()
        while self._until and next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)
        found, seen = [], set()
        for row_id in ids:
            found.append(not row_id or (row_id not in seen and (physical, row_id) not in self._until))
            seen.add(row_id)
        return found

    def add(self, physical: str, ids: Iterable[str]) -> None:
        """Note rows that were inserted."""
        until = time.monotonic() + _REMEMBERED
        self._until.update({(physical, row_id): until for row_id in ids if row_id})


def run(catalog: Catalog, name: TableName, body: dict[str, Any], defaults: Defaults, inserted: Inserted) -> dict[str, Any]:
    """Insert rows; return the ``TableDataInsertAllResponse``.

    A row that does not fit is reported, and without ``skipInvalidRows`` it stops all others.

    :raises ApiError: 404 when there is no such table, 400 when there are no rows.
    """
    table = catalog.table(name)
    physical = table.writable()
    sent = body.get("rows") or []
    if not sent:
        raise ApiError(400, "No rows present in the request.")
    given = [row.get("json") or {} for row in sent]
    if filled := defaults(name, table.fields):
        given = [_with_defaults(row, filled) for row in given]
    ids = [str(row.get("insertId") or "") for row in sent]
    with inserted.lock:
        rows = {index: given[index] for index, is_new in enumerate(inserted.new(physical, ids)) if is_new}
        done, problems = _insert(catalog, name, table.fields, rows, body)
        inserted.add(physical, (ids[index] for index in done))
    answer: dict[str, Any] = {"kind": "bigquery#tableDataInsertAllResponse"}
    if problems:
        answer["insertErrors"] = [{"index": index, "errors": [error]} for index, error in sorted(problems.items())]
    return answer


def _insert(
    catalog: Catalog, name: TableName, fields: list[Field], rows: dict[int, Any], body: dict[str, Any]
) -> tuple[Iterable[int], dict[int, dict[str, str]]]:
    """Insert rows; return the numbers of those that are in the table, and what was wrong with which of the others."""
    ignore, skips = (boolean(body.get(key) or False) for key in ("ignoreUnknownValues", "skipInvalidRows"))
    problems = {index: problem for index, row in rows.items() if (problem := _problem(row, fields, ignore=ignore))}
    if not problems:
        try:
            _load(catalog, name, fields, rows.values(), ignore=ignore)
            return rows, {}
        except (ApiError, ValueError) as error:
            if isinstance(error, ApiError) and error.code != 400:
                raise
    # Only now is it worth the time to look at each row alone.
    for index, row in rows.items():
        problem = problems.get(index) or _conversion(catalog, fields, row, ignore=ignore)
        if problem is not None:
            problems[index] = problem
    good = {index: row for index, row in rows.items() if index not in problems}
    if problems and not skips:
        stopped = {"reason": "stopped", "location": "", "message": ""}
        return (), {**dict.fromkeys(good, stopped), **problems}
    _load(catalog, name, fields, good.values(), ignore=ignore)
    return good, problems


def _with_defaults(row: Any, defaults: dict[str, str | None]) -> Any:
    present = {key.lower() for key in row} if isinstance(row, dict) else set(defaults)
    return (
        {**row, **{key: value for key, value in defaults.items() if key.lower() not in present}}
        if set(defaults) - present
        else row
    )


def _load(catalog: Catalog, name: TableName, fields: list[Field], rows: Iterable[dict[str, Any]], *, ignore: bool) -> None:
    if not rows:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(_as_stored(row, fields)) + "\n" for row in rows)
        load.load_json_lines(catalog, name, fields, [path], "WRITE_APPEND", add_fields=False, ignore_unknown=ignore)


def _as_stored(row: dict[str, Any], fields: list[Field]) -> dict[str, Any]:
    """Return a row with the table's own names, whose JSON columns are JSON."""
    return _parsed(load.respelt(row, fields), fields)


def _parsed(row: dict[str, Any], fields: list[Field]) -> dict[str, Any]:
    """Return a row whose JSON columns are JSON, at any depth, where the client sends the text of JSON."""
    known = {field["name"]: field for field in fields}
    return {key: _as_json(value, known[key]) if key in known else value for key, value in row.items()}


def _as_json(value: Any, field: Field) -> Any:
    if isinstance(value, list):
        return [_as_json(item, field) for item in value]
    if field["type"] == "JSON" and isinstance(value, str):
        return json.loads(value)
    return _parsed(value, field["fields"]) if field["type"] == "RECORD" and isinstance(value, dict) else value


def _conversion(catalog: Catalog, fields: list[Field], row: dict[str, Any], *, ignore: bool) -> dict[str, str] | None:
    """Say whether a row's values can become the columns' types, by letting DuckDB try."""
    try:
        load.try_json(catalog.engine, fields, _as_stored(row, fields), ignore_unknown=ignore)
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
