"""Rows into tables: from files of newline-delimited JSON, CSV and Parquet."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery import schemas
from gcp_dicom_emulator.bigquery.catalog import Catalog
from gcp_dicom_emulator.bigquery.engine import Engine
from gcp_dicom_emulator.bigquery.names import TableName
from gcp_dicom_emulator.bigquery.sql import types
from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.lenient_json import ExactFloat, exact_float

if TYPE_CHECKING:
    import duckdb

#: How many bytes of a file of JSON are loaded at a time, and how long a line may be before DuckDB gets a larger buffer.
_PART, _SHORT = 4 << 20, 1 << 20

_EPOCH = r"'-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?'"


def load_json_lines(
    catalog: Catalog,
    name: TableName,
    fields: list[Field],
    paths: list[Path],
    write_disposition: str,
    *,
    add_fields: bool = True,
    ignore_unknown: bool = False,
    trusted: bool = False,
    resource: dict[str, Any] | None = None,
) -> int:
    """Load files of newline-delimited JSON into a table, all rows or none.

    :param fields: the rows' schema.
    :param write_disposition: ``WRITE_EMPTY``, ``WRITE_TRUNCATE`` or ``WRITE_APPEND``.
    :param add_fields: whether ``WRITE_APPEND`` may add columns to the table.
    :param ignore_unknown: whether values that the schema does not have are dropped instead of refused.
    :param trusted: whether the rows are sure to be as the schema says; nobody looks then.
    :param resource: further fields of a table that is created.
    :return: how many rows were loaded.
    :raises ApiError: 404 for no such dataset, 409 for ``WRITE_EMPTY`` on a table with rows, 400 for rows that do not fit.
    """
    fields = types.normalize_fields(fields)
    engine = catalog.engine

    def fill(cursor: duckdb.DuckDBPyConnection) -> str:
        physical = engine.create_table(cursor, fields)
        try:
            for path in paths:
                _insert_json(engine, cursor, physical, fields, path, ignore_unknown=ignore_unknown, trusted=trusted)
            if not trusted:
                _refuse_nulls(cursor, fields, physical)
        except BaseException:
            engine.drop_table(physical)
            raise
        return physical

    return write(catalog, name, fields, fill, write_disposition, add_fields=add_fields, resource=resource)


def write(
    catalog: Catalog,
    name: TableName,
    fields: list[Field],
    fill: Callable[[duckdb.DuckDBPyConnection], str],
    write_disposition: str,
    *,
    create_disposition: str = "CREATE_IF_NEEDED",
    add_fields: bool = False,
    resource: dict[str, Any] | None = None,
) -> int:
    """Make the rows of a new physical table a table's rows, by the dispositions, all or none.

    :param fields: the new rows' schema.
    :param fill: makes the physical table and returns its name.
    :return: how many rows were written.
    :raises ApiError: 404, 409 or 400 as the dispositions say.
    """
    engine = catalog.engine
    check_destination(catalog, name, write_disposition, create_disposition)
    with engine.cursor() as cursor:
        fresh = fill(cursor)
    rows = engine.count(fresh)
    published = False
    try:
        with engine.write_lock:
            check_destination(catalog, name, write_disposition, create_disposition)
            table = catalog.find(name)
            if table is None or write_disposition != "WRITE_APPEND" or not table.fields:
                catalog.publish(name, fields, fresh, resource)
                published = True
            else:
                _append(catalog, name, fields, fresh, add_fields=add_fields)
    finally:
        if not published:
            engine.drop_table(fresh)
    return rows


def check_destination(catalog: Catalog, name: TableName, write_disposition: str, create_disposition: str) -> None:
    """Check what the dispositions say about a destination.

    :raises ApiError: 404 when the dataset, or a table that may not be created, does not exist; 409 when the table has rows;
        400 for a disposition that BigQuery does not have.
    """
    if write_disposition == "WRITE_TRUNCATE_DATA":
        raise ApiError(501, "The emulator does not do WRITE_TRUNCATE_DATA.")
    if write_disposition not in ("WRITE_EMPTY", "WRITE_TRUNCATE", "WRITE_APPEND"):
        raise ApiError(400, f"Invalid value for writeDisposition: {write_disposition} is not a valid value")
    if create_disposition not in ("CREATE_IF_NEEDED", "CREATE_NEVER"):
        raise ApiError(400, f"Invalid value for createDisposition: {create_disposition} is not a valid value")
    catalog.get_dataset(name.project, name.dataset)
    table = catalog.find(name)
    if table is None:
        if create_disposition == "CREATE_NEVER":
            raise ApiError(404, f"Not found: Table {name}")
    else:
        physical = table.writable()
        if write_disposition == "WRITE_EMPTY" and catalog.engine.count(physical):
            raise ApiError(409, f"Already Exists: Table {name}")


def _append(catalog: Catalog, name: TableName, fields: list[Field], fresh: str, *, add_fields: bool) -> None:
    table, engine = catalog.table(name), catalog.engine
    have = {field["name"].lower() for field in fields}
    for field in table.fields:
        if field.get("defaultValueExpression") and field["name"].lower() not in have:
            raise ApiError(501, f"The emulator's jobs do not fill in default values (field {field['name']} of {name}).")
    merged = schemas.merge(table.fields, fields, str(name))
    wider = types.duckdb_type({"type": "RECORD", "fields": merged}) != types.duckdb_type(
        {"type": "RECORD", "fields": table.fields}
    )
    new_rows = schemas.select_as(fields, merged, fresh)
    if not wider:
        with engine.transaction() as cursor:
            _run(cursor, f"INSERT INTO {table.rows()} {new_rows}")
        catalog.touch(name)
        return
    if not add_fields:
        unknown = next(path for path in schemas.names(merged) if path not in schemas.names(table.fields))
        raise ApiError(400, f"Provided Schema does not match Table {name}. Cannot add fields (field: {unknown})")
    with engine.cursor() as cursor:
        old_rows = schemas.select_as(table.fields, merged, table.rows())
        physical = engine.create_table(cursor, merged, f"{old_rows} UNION ALL {new_rows}")
    catalog.publish(name, merged, physical)


@contextlib.contextmanager
def rows_at_fault() -> Iterator[None]:
    """Turn what DuckDB says about a client's rows into BigQuery's error."""
    import duckdb

    try:
        yield
    except duckdb.InterruptException as error:
        raise ApiError(400, "Job execution was cancelled: User requested cancellation", reason="stopped") from error
    except duckdb.ConstraintException as error:
        column = str(error).rpartition(".")[2]
        raise ApiError(
            400, f"Error while reading data, error message: Only optional fields can be set to NULL. Field: {column}"
        ) from error
    except duckdb.Error as error:
        raise ApiError(400, f"Error while reading data, error message: {_reason(error)}") from error


def _run(cursor: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    with rows_at_fault():
        return cursor.execute(sql).fetchall()


def _reason(error: Exception) -> str:
    if match := re.search(r"CSV Error on Line: (\d+)\n.*?Expected Number of Columns: (\d+) Found: (\d+)", str(error), re.DOTALL):
        line, expected, found = map(int, match.groups())
        return f"Too {'many' if found > expected else 'few'} values in line {line}: {found} instead of {expected}"
    if match := re.search(r"CSV Error on Line: (\d+)\n.*unterminated quote", str(error), re.DOTALL):
        return f"Missing close quote character in line {match[1]}"
    text = str(error).partition("\n")[0]
    # The file's path is this machine's business.
    return re.sub(r' (in )?file "[^"]*",?', "", text)


def _insert_json(
    engine: Engine,
    cursor: duckdb.DuckDBPyConnection,
    physical: str,
    fields: list[Field],
    path: Path,
    *,
    ignore_unknown: bool,
    trusted: bool,
) -> None:
    """Insert a file's rows, a part of it at a time: DuckDB keeps all structures that it compares in memory."""
    with path.open("rb") as file:
        while fields and (lines := file.readlines(_PART)):
            with engine.scratch_file() as part:
                part.write_bytes(b"".join(lines))
                longest = max(map(len, lines))
                structures = [] if trusted else _structures(cursor, part, longest)
                if not ignore_unknown:
                    _check_structures(structures, fields)
                is_exact = any(field["type"] in _EXACT for field in schemas.names(fields).values())
                if any(_is_respelt(structure, fields) for structure in structures) or (
                    is_exact and any(map(_LONG.search, lines))
                ):
                    parsed = (json.loads(line, parse_float=exact_float) for line in lines if line.strip())
                    rows = (json.dumps(respelt(row, fields)) for row in parsed)
                    longest = part.write_text("\n".join(rows), encoding="utf-8")
                select = _json_select(fields, part, longest)
                engine.provide(select)
                _run(cursor, f"INSERT INTO {physical} {select}")


def _read_json(function: str, file: Path, longest: int, **options: str) -> str:
    """Return the SQL that reads a file, with a buffer that its longest line fits into; each thread has one, twice as long."""
    given = {"maximum_object_size": str(max(longest, _SHORT) + 1), **options}
    return f"{function}({types.literal(str(file))}, {', '.join(f'{name}={value}' for name, value in given.items())})"


def _json_select(fields: list[Field], file: Path, longest: int) -> str:
    columns = ", ".join(f"{types.quote(field['name'])}: {types.literal(_raw_type(field))}" for field in fields)
    names = [types.quote(field["name"]) for field in fields]
    values = ", ".join(
        f"{types.transform(field, name, _as_column, fill=True)} AS {name}" for field, name in zip(fields, names, strict=True)
    )
    return f"SELECT {values} FROM {_read_json('read_ndjson', file, longest, columns=f'{{{columns}}}')}"


def respelt(value: Any, fields: list[Field]) -> Any:
    """Return a row, or a value in it, with the schema's own names: to BigQuery, upper and lower case are the same in a name.

    :raises ApiError: 400 for a row with a name in both.
    """
    if isinstance(value, list):
        return [respelt(item, fields) for item in value]
    if not isinstance(value, dict):
        return value
    known = {field["name"].lower(): field for field in fields}
    made: dict[str, Any] = {}
    for name, inner in value.items():
        field = known.get(name.lower())
        own = field["name"] if field else name
        if own in made:
            raise _mismatch(f"Duplicate field: {own}.")
        if field and field["type"] in ("RECORD", *_EXACT):
            inner = respelt(inner, field["fields"]) if field["type"] == "RECORD" else _exact(inner)
        made[own] = inner
    return made


_EXACT = ("NUMERIC", "BIGNUMERIC")
#: A number with a point or an exponent, and more digits than a double may hold.
_LONG = re.compile(rb"[0-9](?=[0-9]*[.eE])[0-9.]{15}")


def _exact(value: Any) -> Any:
    """Return a value of a NUMERIC column; DuckDB would make doubles of its numbers."""
    if isinstance(value, list):
        return [_exact(item) for item in value]
    return value.text if isinstance(value, ExactFloat) else value


def _is_respelt(structure: Any, fields: list[Field]) -> bool:
    """Say whether rows of a structure have a name of the schema in other letters."""
    if isinstance(structure, list):
        return any(_is_respelt(item, fields) for item in structure)
    if not isinstance(structure, dict):
        return False
    known = {field["name"].lower(): field for field in fields}
    pairs = ((name, inner, known[name.lower()]) for name, inner in structure.items() if name.lower() in known)
    return any(name != field["name"] or _is_respelt(inner, field.get("fields", [])) for name, inner, field in pairs)


def try_json(engine: Engine, fields: list[Field], row: dict[str, Any], *, ignore_unknown: bool) -> None:
    """Check that a row's values can become those of a table's fields.

    :param row: with the schema's own names.
    :raises ApiError: 400 when it cannot.
    """
    with engine.cursor() as cursor, engine.scratch_file() as source:
        longest = source.write_text(json.dumps(row) + "\n", encoding="utf-8")
        if not ignore_unknown:
            _check_structures(_structures(cursor, source, longest), fields)
        if fields:
            select = _json_select(fields, source, longest)
            engine.provide(select)
            _run(cursor, f"CREATE TEMP TABLE attempt AS {select}")
            _refuse_nulls(cursor, fields, "attempt")


def _raw_type(field: Field) -> str:
    """Return the type to read JSON as, of which :func:`from_raw` makes the column's."""
    raw = {**dict.fromkeys(("BYTES", "FLOAT", "TIMESTAMP", "INTERVAL", "GEOGRAPHY", "RANGE"), "STRING"), "INTEGER": "NUMERIC"}

    def as_raw(field: Field) -> Field:
        if field["type"] == "RECORD":
            return {**field, "fields": [as_raw(child) for child in field["fields"]]}
        return {**field, "type": raw.get(field["type"], field["type"])}

    return types.duckdb_type(as_raw(field))


def _as_column(field: Field, value: str) -> str:
    return types.constrained(field, from_raw(field, value))


def from_raw(field: Field, value: str) -> str:
    """Return the SQL of a scalar column's value, made of the value as JSON has it."""
    if field["type"] == "INTEGER":
        return f"bq_whole({value})"
    if field["type"] == "FLOAT":
        return f"bq_float64({value})"
    if field["type"] == "BYTES":
        return f"from_base64({value})"
    if types.has_picoseconds(field):
        return f"bq_picoseconds({value})"
    if field["type"] == "INTERVAL":
        return f"bq_interval({value})"
    if field["type"] == "GEOGRAPHY":
        return (
            f"CASE WHEN {value} IS NOT NULL THEN struct_pack({types.quote(types.GEOGRAPHY_FIELD)} := py_geography({value})) END"
        )
    if field["type"] == "RANGE":
        return f"bq_range_of_{field['rangeElementType']['type'].lower()}(bq_range_text({value}))"
    if field["type"] == "TIMESTAMP":
        # A number is seconds since the epoch.
        micros = f"CAST(CAST({value} AS DECIMAL(38, 6)) * 1000000 AS BIGINT)"
        return (
            f"CASE WHEN regexp_full_match({value}, {_EPOCH}) THEN make_timestamptz({micros}) "
            f"ELSE CAST({value} AS TIMESTAMP WITH TIME ZONE) END"
        )
    return value


def _structures(cursor: duckdb.DuckDBPyConnection, file: Path, longest: int) -> list[Any]:
    """Return the structures that a file's rows have: names, and DuckDB's types of JSON."""
    rows = f"FROM {_read_json('read_ndjson_objects', file, longest)}"
    [(found,)] = _run(cursor, f"SELECT json_group_structure(json) {rows}")
    structures = [found] if found else []
    if found and '"JSON"' in found:  # what DuckDB calls values that have different structures in different rows
        structures = [structure for (structure,) in _run(cursor, f"SELECT DISTINCT json_structure(json) {rows}")]
    return [json.loads(structure) for structure in structures]


def _check_structures(structures: list[Any], fields: list[Field]) -> None:
    """Refuse rows that have fields the schema does not have, or objects, arrays and nulls where it has none."""
    for structure in structures:
        _compare(structure, {"name": "", "type": "RECORD", "mode": "NULLABLE", "fields": fields}, "")


def _refuse_nulls(cursor: duckdb.DuckDBPyConnection, fields: list[Field], physical: str) -> None:
    if name := with_null_element(cursor, fields, physical):
        raise _mismatch(f"Only optional fields can be set to NULL. Field: {name}; Value: NULL")


def with_null_element(cursor: duckdb.DuckDBPyConnection, fields: list[Field], physical: str) -> str | None:
    """Return the name of a field that has an array with an element that is null, which no table of BigQuery's has."""
    conditions = {field["name"]: _null_element(field, types.quote(field["name"])) for field in fields}
    conditions = {name: condition for name, condition in conditions.items() if condition}
    if not conditions:
        return None
    answers = ", ".join(f"bool_or({condition})" for condition in conditions.values())
    [found] = _run(cursor, f"SELECT {answers} FROM {physical}")
    return next((name for name, has_null in zip(conditions, found, strict=True) if has_null), None)


def _null_element(field: Field, value: str, depth: int = 0) -> str | None:
    """Return the SQL that tells whether an array in a value has an element that is null; ``None`` if it has no arrays."""
    if field["mode"] == "REPEATED":
        variable = f"n{depth}"
        inner = _null_element({**field, "mode": "NULLABLE"}, variable, depth + 1)
        is_null = f"{variable} IS NULL" + (f" OR {inner}" if inner else "")
        return f"list_bool_or(list_transform({value}, lambda {variable}: {is_null}))"
    if field["type"] != "RECORD":
        return None
    members = ((child, f"struct_extract({value}, {types.literal(child['name'])})") for child in field["fields"])
    conditions = [condition for child, member in members if (condition := _null_element(child, member, depth))]
    return f"({' OR '.join(conditions)})" if conditions else None


def _compare(found: Any, field: Field, path: str) -> None:
    if found == "NULL" or (field["type"] == "JSON" and field["mode"] != "REPEATED"):
        return
    if field["mode"] == "REPEATED":
        if not isinstance(found, list):
            raise _mismatch(f"Repeated field must be imported as a JSON array. Field: {path}.")
        for element in found:
            _compare(element, {**field, "mode": "NULLABLE"}, path)
    elif field["type"] == "RECORD":
        _compare_record(found, field, path)
    elif isinstance(found, list):
        raise _mismatch(f"Array specified for non-repeated field: {path}.")
    elif isinstance(found, dict) and field["type"] != "RANGE":
        raise _mismatch(f"JSON object specified for non-record field: {path}")


def _compare_record(found: Any, field: Field, path: str) -> None:
    if found == "JSON":
        return  # what DuckDB calls {} and a mixture; it refuses the latter itself when it makes a STRUCT of it
    if not isinstance(found, dict):
        raise _mismatch(f"JSON value specified for record field: {path or 'the row'}")
    known = {child["name"].lower(): child for child in field["fields"]}
    for name, inner in found.items():
        child_path = f"{path}.{name}" if path else name
        if name.lower() not in known:
            raise _mismatch(f"No such field: {child_path}.")
        _compare(inner, known[name.lower()], child_path)


def _mismatch(reason: str) -> ApiError:
    return ApiError(400, f"Error while reading data, error message: JSON table encountered too many errors, giving up. {reason}")
