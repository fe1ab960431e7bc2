"""What CREATE and ALTER say about a table beside its columns, as the API's ``Table`` resource has it."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.catalog import Catalog, Table, now_ms
from gcp_dicom_emulator.bigquery.sql import grammar, types
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query
from gcp_dicom_emulator.bigquery.sql.scopes import PSEUDO_COLUMNS
from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp

_OPTIONS = {"description": "description", "friendly_name": "friendlyName", "location": "location", "labels": "labels"}

#: What CREATE TABLE says of a table, by the API's names.
SAID = ("timePartitioning", "rangePartitioning", "clustering", "expirationTime", *_OPTIONS.values())


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


def alter(catalog: Catalog, table: Table, actions: list[Any], declared: dict[int, Field]) -> None:
    """Do the actions of an ALTER TABLE or ALTER VIEW: all of them, or none.

    :param declared: the columns of ADD COLUMN, and those of a SET DATA TYPE, by the ``id`` of the action.
    :raises ApiError: 400 for a column that is not there, or is there; 501 for what the emulator does not do.
    """
    from sqlglot import exp

    # sqlglot has a None for OPTIONS(), which dbt sends of a table without options.
    sets = [
        item for action in actions for item in action.expressions or [] if item is not None and isinstance(action, exp.AlterSet)
    ]
    if not all(isinstance(item, exp.Properties) for item in sets):
        raise ApiError(501, f"The emulator's ALTER does not do {actions[0].sql('bigquery')}.")
    columns = _Columns(table)
    for action in actions:
        if not isinstance(action, (exp.AlterSet, exp.AlterRename)):
            columns.change(action, declared.get(id(action)))
    changes = options([prop for item in sets for prop in item.expressions])
    columns.write(catalog)
    if any(isinstance(action, exp.AlterSet) for action in actions):
        catalog.update_table(table.name, changes, replace=False, etag=None)
    for action in actions:
        if isinstance(action, exp.AlterRename):
            catalog.rename_table(table.name, action.this.name)


class _Columns:
    """The columns of a table that an ALTER changes.

    :param table: the table as it was.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        #: Each column as it will be, and as it was; ``None`` for a new one.
        self._columns: list[tuple[Field, Field | None]] = [(field, field) for field in table.fields]

    def change(self, action: Any, declared: Field | None) -> None:
        """Do one action.

        :param declared: the column that it declares.
        """
        from sqlglot import exp

        if isinstance(action, exp.ColumnDef) and declared is not None:
            self._add(action, declared)
        elif isinstance(action, exp.Drop) and str(action.args.get("kind")).upper() == "COLUMN":
            self._drop(action.args["tables"][0].name, exists=bool(action.args.get("exists")))
        elif isinstance(action, exp.RenameColumn):
            self._rename(action.this.name, action.args["to"].name, exists=bool(action.args.get("exists")))
        elif isinstance(action, exp.AlterColumn) and (changed := self._altered(action, declared)) is not None:
            number = self._place(action.this.name)
            self._columns[number] = (changed, self._columns[number][1])
        else:
            raise ApiError(501, f"The emulator's ALTER does not do {action.sql('bigquery')}.")

    def write(self, catalog: Catalog) -> None:
        """Put the table's rows into the columns."""
        fields = [new for new, _ in self._columns]
        if fields == self._table.fields:
            return
        if self._table.physical is None:
            raise invalid_query(f"{self._table.name} is a {self._table.kind}, whose columns ALTER does not change")
        with catalog.engine.write_lock:
            columns = ", ".join(
                types.quote(old["name"]) if old is not None and old["type"] == new["type"]
                else f"CAST({types.quote(old['name']) if old is not None else 'NULL'} AS {types.duckdb_type(new)})"
                for new, old in self._columns
            )  # fmt: skip
            with catalog.engine.cursor() as cursor:
                physical = catalog.engine.create_table(cursor, fields, f"SELECT {columns} FROM {self._table.rows()}")
            catalog.publish(self._table.name, fields, physical)

    def _find(self, name: str) -> int | None:
        return next((number for number, (new, _) in enumerate(self._columns) if new["name"].lower() == name.lower()), None)

    def _place(self, name: str) -> int:
        number = self._find(name)
        if number is None:
            raise invalid_query(f"Column not found: {name}")
        return number

    def _add(self, action: exp.ColumnDef, declared: Field) -> None:
        if self._find(action.name) is not None:
            if action.args.get("exists"):
                return
            raise invalid_query(f"Column already exists: {action.name}")
        if declared["mode"] == "REQUIRED":
            name = self._table.name
            reason = f"Cannot add required fields to an existing schema. (field: {action.name})"
            raise invalid_query(f"Provided Schema does not match Table {name}. {reason}")
        self._columns.append((declared, None))

    def _drop(self, name: str, *, exists: bool) -> None:
        if exists and self._find(name) is None:
            return
        number = self._place(name)
        self._refuse_key(name, "drop")
        if len(self._columns) == 1:
            raise invalid_query(f"Cannot drop the only column of table {self._table.name}")
        del self._columns[number]

    def _rename(self, name: str, to: str, *, exists: bool) -> None:
        if exists and self._find(name) is None:
            return
        number = self._place(name)
        self._refuse_key(name, "rename")
        if self._find(to) not in (None, number):
            raise invalid_query(f"Column already exists: {to}")
        new, old = self._columns[number]
        self._columns[number] = ({**new, "name": to}, old)

    def _refuse_key(self, name: str, what: str) -> None:
        """Refuse to take away a column that the table is partitioned or clustered by."""
        resource = self._table.resource
        keys = [(resource.get(kind) or {}).get("field") or "" for kind in ("timePartitioning", "rangePartitioning")]
        keys += (resource.get("clustering") or {}).get("fields") or []
        if name.lower() in [key.lower() for key in keys]:
            raise invalid_query(f"Cannot {what} column {name}: table {self._table.name} is partitioned or clustered by it")

    def _altered(self, action: exp.AlterColumn, declared: Field | None) -> Field | None:
        """Return a column as an ALTER COLUMN makes it; ``None`` for what the emulator does not do."""
        if action.args.get("exists"):
            return None
        field = self._columns[self._place(action.this.name)][0]
        if action.args.get("allow_null"):
            return {**field, "mode": "NULLABLE"}
        if (default := action.args.get("default")) is not None:
            return {**field, "defaultValueExpression": grammar.written(default)}
        if action.args.get("drop"):
            return {key: value for key, value in field.items() if key != "defaultValueExpression"}
        return _retyped(field, declared) if declared is not None else None


#: What SET DATA TYPE makes of a type.
_WIDER = {"INTEGER": ("NUMERIC", "BIGNUMERIC", "FLOAT"), "NUMERIC": ("BIGNUMERIC", "FLOAT"), "BIGNUMERIC": ("FLOAT",)}
_PARAMETERS = ("maxLength", "precision", "scale")


def _retyped(field: Field, declared: Field) -> Field:
    """Return a column with another type, which its values fit."""
    old, new = types.standard_name(field), types.standard_name(declared)
    is_limited = any(key in declared for key in _PARAMETERS)
    if field["type"] == "RECORD" or "REPEATED" in (field["mode"], declared["mode"]) or is_limited:
        raise ApiError(
            501, f"The emulator's SET DATA TYPE makes {new} of no {old}: only of one scalar type another without limits."
        )
    if field["type"] != declared["type"] and declared["type"] not in _WIDER.get(field["type"], ()):
        raise invalid_query(
            "ALTER TABLE ALTER COLUMN SET DATA TYPE requires that the existing column type "
            f"({old}) is assignable to the new type ({new})"
        )
    kept = {key: value for key, value in field.items() if key not in _PARAMETERS}
    return {**kept, "type": declared["type"]}
