"""How the schemas of old and new rows go together."""

from __future__ import annotations

from gcp_dicom_emulator.bigquery.sql import types
from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.rest.errors import ApiError


def merge(old: list[Field], new: list[Field], table: str, where: str = "") -> list[Field]:
    """Return the schema that holds the rows of both: the old fields, then the new ones that are not among them.

    :param table: the table's name, for the error.
    :raises ApiError: 400 when a field has another type or mode.
    """
    by_name = {field["name"].lower(): field for field in new}
    merged = [_merge_field(field, by_name.pop(field["name"].lower(), None), table, where) for field in old]
    # Old rows lack what is new, so it cannot be REQUIRED.
    added = [{**field, "mode": "NULLABLE"} if field["mode"] == "REQUIRED" else field for field in by_name.values()]
    return merged + added


def _merge_field(old: Field, new: Field | None, table: str, where: str) -> Field:
    if new is None:
        return old
    path = f"{where}{old['name']}"
    before, after = (field["type"] if field["type"] not in ("RANGE", "TIMESTAMP") else _scalar(field) for field in (old, new))
    if before != after:
        raise ApiError(
            400, f"Provided Schema does not match Table {table}. Field {path} has changed type from {before} to {after}"
        )
    if (old["mode"] == "REPEATED") != (new["mode"] == "REPEATED"):
        raise ApiError(
            400,
            f"Provided Schema does not match Table {table}. Field {path} has changed mode from {old['mode']} to {new['mode']}",
        )
    merged = {**old, **{key: new[key] for key in ("description",) if key in new}}
    if old["type"] == "RECORD":
        merged["fields"] = merge(old["fields"], new["fields"], table, f"{path}.")
    return merged


def _scalar(field: Field) -> str:
    return types.standard_name({**field, "mode": "NULLABLE"})


def names(fields: list[Field], where: str = "") -> dict[str, Field]:
    """Return all fields by their lower-cased dotted path."""
    found: dict[str, Field] = {}
    for field in fields:
        path = f"{where}{field['name'].lower()}"
        found[path] = field
        found.update(names(field.get("fields", []), f"{path}."))
    return found


def check_evolution(old: list[Field], new: list[Field], table: str) -> None:
    """Check that a table's schema may become another one.

    :raises ApiError: 400 when a field is gone, has another type, became REQUIRED, or is new and REQUIRED.
    """
    before, after = names(old), names(new)
    merge(old, new, table)
    for path, field in before.items():
        if path not in after:
            raise ApiError(400, f"Provided Schema does not match Table {table}. Field {path} is missing in new schema")
        if after[path]["mode"] == "REQUIRED" and field["mode"] != "REQUIRED":
            raise ApiError(
                400,
                f"Provided Schema does not match Table {table}. Field {path} has changed mode from {field['mode']} to REQUIRED",
            )
    for path in after.keys() - before.keys():
        if after[path]["mode"] == "REQUIRED":
            raise ApiError(
                400,
                f"Provided Schema does not match Table {table}. Cannot add required fields to an existing "
                f"schema. (field: {path})",
            )


def select_as(old: list[Field], new: list[Field], source: str) -> str:
    """Return the SELECT that gives the rows of ``source`` the columns of a wider schema, NULL where they have none.

    :param source: the SQL after FROM.
    """
    have = {field["name"].lower(): field for field in old}
    columns = [_value_as(have.get(field["name"].lower()), field) for field in new]
    return f"SELECT {', '.join(columns) or 'NULL'} FROM {source}"


def _value_as(old: Field | None, new: Field) -> str:
    kind = types.duckdb_type(new)
    if old is not None and types.duckdb_type(old) == kind:
        # What the new column holds may be shorter.
        plain = types.quote(old["name"])
        return plain if old == new else types.transform(new, plain, types.constrained)
    # DuckDB casts structs by the names of their members and fills the missing ones with NULL.
    return types.filled(new, f"CAST({types.quote(old['name']) if old else 'NULL'} AS {kind})")
