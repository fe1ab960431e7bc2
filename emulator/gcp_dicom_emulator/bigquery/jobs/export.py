"""Rows out to Cloud Storage: shards written by DuckDB, all of them in the bucket at once or none."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery import schemas
from gcp_dicom_emulator.bigquery.catalog import Table
from gcp_dicom_emulator.bigquery.engine import Engine
from gcp_dicom_emulator.bigquery.sql import json_changes, types
from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    import duckdb

    from gcp_dicom_emulator.storage.objects import ObjectStore

_FORMATS = {"CSV": "CSV", "JSON": "JSON", "NEWLINE_DELIMITED_JSON": "JSON", "PARQUET": "PARQUET"}


@dataclass(frozen=True)
class Target:
    """Where and how rows are exported.

    :param uri: ``gs://bucket/object``; a ``*`` becomes the shard's number.
    :param format: ``CSV``, ``NEWLINE_DELIMITED_JSON`` (or ``JSON``) or ``PARQUET``.
    :param header: whether a CSV shard begins with the names of the columns.
    :param delimiter: what is between a CSV's fields.
    :param compression: ``NONE``, ``GZIP``, or for Parquet ``SNAPPY`` or ``ZSTD`` too.
    :param overwrite: whether objects that are there may be replaced.
    """

    uri: str
    format: str = "CSV"
    header: bool = True
    delimiter: str = ","
    compression: str = "NONE"
    overwrite: bool = True
    bucket: str = field(init=False, default="")
    object: str = field(init=False, default="")

    def __post_init__(self) -> None:
        from gcp_dicom_emulator.storage.uris import parse_gs_uri

        bucket, name = parse_gs_uri(self.uri)
        object.__setattr__(self, "bucket", bucket)
        object.__setattr__(self, "object", name)
        if self.format.upper() not in _FORMATS:
            raise ApiError(501, f"The emulator does not export to {self.format}.")

    @property
    def kind(self) -> str:
        """``CSV``, ``JSON`` or ``PARQUET``."""
        return _FORMATS[self.format.upper()]

    def copy_options(self) -> str:
        """Return the options of DuckDB's COPY.

        :raises ApiError: 400 for a compression that the format has not.
        """
        compression = self.compression.upper()
        allowed = {"CSV": ("NONE", "GZIP"), "JSON": ("NONE", "GZIP"), "PARQUET": ("NONE", "SNAPPY", "GZIP", "ZSTD")}[self.kind]
        if compression not in allowed:
            raise ApiError(400, f"Compression {self.compression} is not allowed for format {self.format}.")
        if self.kind == "CSV":
            header = "true" if self.header else "false"
            return (
                f"FORMAT CSV, HEADER {header}, DELIMITER {types.literal(self.delimiter)}, NULLSTR '', COMPRESSION {compression}"
            )
        if self.kind == "JSON":
            # One column that is the line already.
            return f"FORMAT CSV, HEADER false, DELIMITER '\x01', QUOTE '', ESCAPE '', COMPRESSION {compression}"
        return f"FORMAT PARQUET, COMPRESSION {'UNCOMPRESSED' if compression == 'NONE' else compression}"


def export_rows(
    engine: Engine, state: State, objects: ObjectStore, physical: str, fields: list[Field], target: Target, shard_rows: int | None
) -> int:
    """Write a physical table's rows to Cloud Storage, in their order, and return how many objects they became.

    :param physical: a table from which no row was ever deleted, unless all rows go to a single object.
    :param shard_rows: how many rows an object takes when the URI has a ``*``; ``None`` for all.
    :raises ApiError: 404 when there is no such bucket, 400 for columns that the format cannot express.
    """
    objects.get_bucket(target.bucket)
    columns = _columns(fields, target)
    # DuckDB reads a table, and a part of it, in the order of its rows.
    sources = [physical]
    if shard_rows is not None and not _is_one(engine, physical, target, shard_rows):
        starts = range(0, engine.count(physical), shard_rows)
        sources = [_rows_between(physical, fields, start, start + shard_rows) for start in starts]
    shards: list[tuple[str, Path]] = []
    try:
        with engine.cursor() as cursor:
            for number, source in enumerate(sources):
                blob = _write(cursor, engine, state, f"SELECT {columns} FROM {source}", target)
                shards.append((target.object.replace("*", f"{number:012d}"), blob))
        return _publish(objects, target, shards)
    except BaseException:
        for _, path in shards:
            path.unlink(missing_ok=True)
        raise


def _rows_between(physical: str, fields: list[Field], start: int, end: int) -> str:
    """Return the SQL of a part of a table, whose columns have other names inside: one may be called rowid."""
    names = [f"c{number}" for number in range(len(fields))]
    renamed = ", ".join(f"{name} AS {types.quote(field['name'])}" for name, field in zip(names, fields, strict=True))
    return f"(SELECT {renamed} FROM {physical} AS part({', '.join(names)}) WHERE part.rowid >= {start} AND part.rowid < {end})"


def export_table(engine: Engine, state: State, objects: ObjectStore, table: Table, target: Target, shard_rows: int) -> int:
    """Write a BigQuery table's rows to Cloud Storage, and return how many objects they became.

    :raises ApiError: 404 when there is no such bucket, 400 for columns that the format cannot express.
    """
    objects.get_bucket(target.bucket)
    _columns(table.fields, target)
    if _is_one(engine, table.rows(), target, shard_rows):
        return export_rows(engine, state, objects, table.rows(), table.fields, target, None)
    with engine.cursor() as cursor:
        # A copy, because shards are ranges of row numbers, and the table may have gaps and change.
        physical = engine.create_table(cursor, table.fields, f"SELECT * FROM {table.rows()}")
    try:
        return export_rows(engine, state, objects, physical, table.fields, target, shard_rows)
    finally:
        engine.drop_table(physical)


def _is_one(engine: Engine, physical: str, target: Target, shard_rows: int) -> bool:
    """Say whether a table's rows go to a single object."""
    return "*" not in target.object or engine.count(physical) <= shard_rows


def _publish(objects: ObjectStore, target: Target, shards: list[tuple[str, Path]]) -> int:
    if not target.overwrite and objects.list(target.bucket, prefix=target.object.partition("*")[0], limit=1):
        raise ApiError(
            400,
            f"Invalid value: EXPORT DATA: objects exist under {target.uri}. Use overwrite=true to overwrite them.",
            reason="invalidQuery",
        )
    objects.put_many(target.bucket, shards)
    return len(shards)


def _write(cursor: duckdb.DuckDBPyConnection, engine: Engine, state: State, select: str, target: Target) -> Path:
    engine.provide(select)
    with engine.scratch_file() as scratch:
        cursor.execute(f"COPY ({select}) TO {types.literal(str(scratch))} ({target.copy_options()})")
        blob = state.new_blob()
        scratch.rename(blob)
        return blob


def _columns(fields: list[Field], target: Target) -> str:
    if target.kind == "CSV":
        return ", ".join(_csv_column(item) for item in fields)
    if target.kind == "JSON":
        packed = ", ".join(f"{types.quote(item['name'])} := {_json_value(item)}" for item in fields)
        line = f"to_json(struct_pack({packed}))"
        # BigQuery's export leaves out what is NULL. So does the merge, but for arrays; and in a JSON, a null stays.
        if any(item["type"] == "JSON" or _is_array_of_records(item) for item in schemas.names(fields).values()):
            return f"py_json_line(CAST({line} AS VARCHAR)) AS line"
        return f"json_merge_patch('{{}}', {line}) AS line"
    return ", ".join(
        f"{types.transform(item, types.quote(item['name']), _parquet_value)} AS {types.quote(item['name'])}" for item in fields
    )


def _is_array_of_records(item: Field) -> bool:
    """Tell whether a column holds several records."""
    return bool(item["type"] == "RECORD" and item["mode"] == "REPEATED")


def _parquet_value(item: Field, value: str) -> str:
    if item["type"] in ("INTERVAL", "RANGE") or types.has_picoseconds(item):
        raise ApiError(501, f"The emulator does not export {types.standard_name(item)} to Parquet (field {item['name']}).")
    return _text(item, value) if item["type"] in ("GEOGRAPHY", "JSON") else value


def _csv_column(item: Field) -> str:
    if item["mode"] == "REPEATED" or item["type"] == "RECORD":
        raise ApiError(
            400,
            f"Operation cannot be performed on a nested schema. Field: {item['name']}",
            reason="invalid",
        )
    return f"{_text(item, types.quote(item['name']))} AS {types.quote(item['name'])}"


def _text(item: Field, value: str) -> str:
    if item["type"] == "BYTES":
        return f"to_base64({value})"
    if item["type"] == "JSON":
        return f"CAST(py_json(CAST({value} AS VARCHAR)) AS JSON)"
    if item["type"] == "GEOGRAPHY":
        return f"struct_extract({value}, {types.literal(types.GEOGRAPHY_FIELD)})"
    if item["type"] == "INTERVAL":
        return f"bq_string_of_interval({value})"
    if item["type"] == "RANGE":
        return _range(item, value)
    if types.has_picoseconds(item):
        raise ApiError(501, f"The emulator does not export TIMESTAMP(12) (field {item['name']}).")
    if item["type"] == "TIMESTAMP":
        return f"replace(CAST({value} AS VARCHAR), '+00', ' UTC')"
    if item["type"] == "DATETIME":
        return f"replace(CAST({value} AS VARCHAR), ' ', 'T')"
    if item["type"] in ("NUMERIC", "BIGNUMERIC"):
        return f"regexp_replace(CAST({value} AS VARCHAR), '\\.?0+$', '')"
    return value


def _range(item: Field, value: str) -> str:
    bounds = [f"struct_extract({value}, {types.literal(name)})" for name in types.RANGE_FIELDS]
    element = types.range_element(item)
    low, high = (f"CASE WHEN isinf({one}) THEN 'UNBOUNDED' ELSE CAST({_text(element, one)} AS VARCHAR) END" for one in bounds)
    return f"('[' || {low} || ', ' || {high} || ')')"


def _json_value(item: Field) -> str:
    def scalar(inner: Field, value: str) -> str:
        if inner["type"] == "JSON":
            return f"{types.literal(json_changes.PACKED)} || CAST({value} AS VARCHAR)"
        # JSON's numbers are too small for an INT64, so it is written as a string.
        return f"CAST({value} AS VARCHAR)" if inner["type"] == "INTEGER" else _text(inner, value)

    return types.transform(item, types.quote(item["name"]), scalar)


def options_of(properties: dict[str, Any]) -> Target:
    """Return the target that the OPTIONS of EXPORT DATA name.

    :param properties: the options by their lower-case names.
    :raises ApiError: 400 for a wrong or missing option, 501 for one the emulator does not have.
    """
    known = {"uri", "format", "overwrite", "header", "field_delimiter", "compression"}
    for name in properties:
        if name not in known:
            raise ApiError(501, f"The emulator's EXPORT DATA has no option {name}.")
    for name in ("uri", "format"):
        if name not in properties:
            raise ApiError(400, f"Option '{name}' must be specified in EXPORT DATA", reason="invalidQuery")
    uri = str(properties["uri"])
    if uri.count("*") != 1:
        raise ApiError(
            400, f"Invalid value: EXPORT DATA: option 'uri' must have exactly one wildcard '*': {uri}", reason="invalidQuery"
        )
    return Target(
        uri=uri,
        format=str(properties["format"]),
        header=bool(properties.get("header", False)),
        delimiter=str(properties.get("field_delimiter", ",")),
        compression=str(properties.get("compression", "NONE")),
        overwrite=bool(properties.get("overwrite", False)),
    )
