"""What CREATE and ALTER say about a table beside its columns, as the API's ``Table`` resource has it."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.catalog import Catalog, Table, now_ms
from gcp_dicom_emulator.bigquery.sql import types
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query
from gcp_dicom_emulator.bigquery.sql.scopes import PSEUDO_COLUMNS
from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp

_OPTIONS = {"description": "description", "friendly_name": "friendlyName", "location": "location", "labels": "labels"}


def options(properties: list[exp.Expr]) -> dict[str, Any]:
    """Return what OPTIONS, PARTITION BY and CLUSTER BY set; a ``None`` removes.

    :raises ApiError: 501 for what the emulator does not do.
    """
    from sqlglot import exp

    found: dict[str, Any] = {}
    days: Any = None
    for prop in properties:
        name = prop.name.lower() if type(prop) is exp.Property else ""
        if isinstance(prop, exp.TemporaryProperty):
            raise ApiError(501, "The emulator has no temporary tables, views or functions.")
        if isinstance(prop, exp.PartitionedByProperty):
            found |= _partitioning(prop)
        elif isinstance(prop, exp.ClusterProperty):
            found["clustering"] = {"fields": [column.name for column in prop.expressions]}
        elif name == "partition_expiration_days":
            days = literal(prop)
        elif name == "expiration_timestamp":
            found["expirationTime"] = _expiration(prop)
        elif name in _OPTIONS:
            found[_OPTIONS[name]] = literal(prop)
        else:
            raise ApiError(501, f"The emulator does not do {prop.sql('bigquery')}.")
    if days is not None and "timePartitioning" in found:
        found["timePartitioning"]["expirationMs"] = str(int(float(days) * 86_400_000))
    elif days is not None:
        raise ApiError(501, "The emulator sets partition_expiration_days only together with PARTITION BY.")
    return found


def _partitioning(prop: exp.PartitionedByProperty) -> dict[str, Any]:
    from sqlglot import exp

    by = prop.this
    if any(name.name.upper() in PSEUDO_COLUMNS for name in by.find_all(exp.Identifier)):
        raise ApiError(501, f"The emulator does not do {prop.sql('bigquery')}.")
    if isinstance(by, (exp.Identifier, exp.Column)):
        return {"timePartitioning": {"type": "DAY", "field": by.name}}
    if isinstance(by, exp.Date) and isinstance(by.this, exp.Column):
        return {"timePartitioning": {"type": "DAY", "field": by.this.name}}
    if isinstance(by, (exp.DateTrunc, exp.TimestampTrunc, exp.DatetimeTrunc)) and isinstance(by.this, exp.Column):
        return {"timePartitioning": {"type": by.args["unit"].name.upper(), "field": by.this.name}}
    if isinstance(by, exp.RangeBucket) and isinstance(by.expression, exp.GenerateSeries):
        bounds = {"start": "start", "end": "end", "interval": "step"}
        values = {
            key: by.expression.args[arg].sql("bigquery") for key, arg in bounds.items() if by.expression.args.get(arg) is not None
        }
        return {"rangePartitioning": {"field": by.this.name, "range": values}}
    raise ApiError(501, f"The emulator does not do {prop.sql('bigquery')}.")


def _expiration(prop: exp.Expr) -> str | None:
    """Return when a table expires, in milliseconds since the epoch: a literal, or some time from now."""
    from sqlglot import exp

    value = prop.args["value"]
    if isinstance(value, exp.Null):
        return None
    if isinstance(value, exp.TimestampAdd) and isinstance(value.this, exp.CurrentTimestamp):
        unit, amount = f"{value.text('unit').lower()}s", value.expression.name
        if unit in ("days", "hours", "minutes", "seconds") and amount.isdigit() and len(amount) < 10:
            return str(now_ms() + int(timedelta(**{unit: int(amount)}).total_seconds() * 1000))
    if isinstance(value, exp.Cast) and isinstance(value.this, exp.Literal):
        with contextlib.suppress(ValueError):
            at = datetime.fromisoformat(value.this.name.replace(" UTC", "+00:00"))
            return str(int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000))
    raise ApiError(501, f"The emulator's expiration_timestamp is a literal, or a TIMESTAMP_ADD to now: {prop.sql('bigquery')}")


def literal(prop: exp.Expr) -> Any:
    """Return the value of an option."""
    from sqlglot import exp

    value = prop.this if isinstance(prop, exp.FileFormatProperty) else prop.args.get("value")
    if isinstance(value, exp.Boolean):
        return bool(value.this)
    if isinstance(value, (exp.Literal, exp.RawString)):
        return value.name
    if isinstance(value, exp.Null):
        return None
    pairs = (
        [pair.expressions for pair in value.expressions if isinstance(pair, exp.Tuple)] if isinstance(value, exp.Array) else []
    )
    if isinstance(value, exp.Array) and all(len(pair) == 2 for pair in pairs) and len(pairs) == len(value.expressions):
        return {key.name: text.name for key, text in pairs}
    raise ApiError(501, f"The emulator's OPTIONS take literals only: {prop.sql('bigquery')}")


def with_parameters(field: Field, kind: exp.DataType) -> Field:
    """Return a field with the lengths, precisions and scales of its declared type.

    :param field: the field without them.
    """
    from sqlglot import exp

    if kind.this == exp.DType.ARRAY:
        return with_parameters(field, kind.expressions[0])
    if field["type"] == "RECORD":
        inner = [one.args["kind"] if isinstance(one, exp.ColumnDef) else one for one in kind.expressions]
        return {**field, "fields": [with_parameters(one, of) for one, of in zip(field["fields"], inner, strict=True)]}
    numbers = [one.name for one in kind.expressions]
    if not numbers:
        return field
    if field["type"] == "RANGE":
        return field
    names = {"STRING": ("maxLength",), "BYTES": ("maxLength",), "TIMESTAMP": ("timestampPrecision",)}.get(
        field["type"], ("precision", "scale")
    )
    return {**field, **dict(zip(names, numbers, strict=False))}


def alter(catalog: Catalog, table: Table, action: exp.Expr, added: list[Field]) -> None:
    """Do one action of an ALTER TABLE or ALTER VIEW.

    :param added: the column of an ADD COLUMN.
    :raises ApiError: 400 for a column that is not there, or is there; 501 for what the emulator does not do.
    """
    from sqlglot import exp

    # sqlglot has a None for OPTIONS(), which dbt sends of a table without options.
    sets = [item for item in action.expressions if item is not None]
    if isinstance(action, exp.AlterSet) and all(isinstance(item, exp.Properties) for item in sets):
        changes = options([prop for item in sets for prop in item.expressions])
        catalog.update_table(table.name, changes, replace=False, etag=None)
    elif isinstance(action, exp.ColumnDef):
        _add_column(catalog, table, action, added)
    elif isinstance(action, exp.Drop) and str(action.args.get("kind")).upper() == "COLUMN":
        _drop_column(catalog, table, action)
    elif isinstance(action, exp.RenameColumn):
        old = _column(table, action.this.name)
        _rewrite(
            catalog,
            table,
            [({**field, "name": action.args["to"].name} if field is old else field, field) for field in table.fields],
        )
    elif isinstance(action, exp.AlterRename):
        catalog.rename_table(table.name, action.this.name)
    elif isinstance(action, exp.AlterColumn) and action.args.get("allow_null"):
        old = _column(table, action.this.name)
        fields = [{**field, "mode": "NULLABLE"} if field is old else field for field in table.fields]
        catalog.update_table(table.name, {"schema": {"fields": fields}}, replace=False, etag=None)
    else:
        raise ApiError(501, f"The emulator's ALTER does not do {action.sql('bigquery')}.")


def _column(table: Table, name: str) -> Field:
    found = next((field for field in table.fields if field["name"].lower() == name.lower()), None)
    if found is None:
        raise invalid_query(f"Column not found: {name}")
    return found


def _add_column(catalog: Catalog, table: Table, action: exp.ColumnDef, added: list[Field]) -> None:
    if any(field["name"].lower() == action.name.lower() for field in table.fields):
        if action.args.get("exists"):
            return
        raise invalid_query(f"Column already exists: {action.name}")
    catalog.update_table(table.name, {"schema": {"fields": [*table.fields, *added]}}, replace=False, etag=None)


def _drop_column(catalog: Catalog, table: Table, action: exp.Drop) -> None:
    name = action.args["tables"][0].name
    if action.args.get("exists") and not any(field["name"].lower() == name.lower() for field in table.fields):
        return
    old = _column(table, name)
    if len(table.fields) == 1:
        raise invalid_query(f"Cannot drop the only column of table {table.name}")
    _rewrite(catalog, table, [(field, field) for field in table.fields if field is not old])


def _rewrite(catalog: Catalog, table: Table, fields: list[tuple[Field, Field]]) -> None:
    """Put a table's rows into other columns.

    :param fields: the new column and the old one that it is.
    """
    new = [field for field, _ in fields]
    with catalog.engine.write_lock:
        columns = ", ".join(types.quote(old["name"]) for _, old in fields)
        with catalog.engine.cursor() as cursor:
            physical = catalog.engine.create_table(cursor, new, f"SELECT {columns} FROM {table.rows()}")
        catalog.publish(table.name, new, physical)
