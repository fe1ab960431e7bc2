"""Load jobs: files of CSV, newline-delimited JSON, Parquet and Avro into a table."""

from __future__ import annotations

import fnmatch
import json
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery import schemas
from gcp_dicom_emulator.bigquery.catalog import Catalog
from gcp_dicom_emulator.bigquery.jobs import csv_rows, detection, load
from gcp_dicom_emulator.bigquery.jobs.avro import Avro
from gcp_dicom_emulator.bigquery.names import TableName
from gcp_dicom_emulator.bigquery.sql import types
from gcp_dicom_emulator.bigquery.sql.run import boolean
from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    import duckdb

    from gcp_dicom_emulator.storage.objects import ObjectStore

#: How a file is opened whose bytes may be no text.
_ANY_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}

_KNOWN = {
    "allowJaggedRows", "allowQuotedNewlines", "autodetect", "clustering", "createDisposition", "destinationTable",
    "destinationTableProperties", "encoding", "fieldDelimiter", "ignoreUnknownValues", "maxBadRecords", "nullMarker",
    "parquetOptions", "quote", "rangePartitioning", "schema", "schemaUpdateOptions", "skipLeadingRows", "sourceFormat",
    "sourceUris", "timePartitioning", "timestampTargetPrecision", "writeDisposition", "useAvroLogicalTypes",
}  # fmt: skip
#: What of a load job becomes the table's, kept and shown as ``tables.insert`` keeps it.
_OF_THE_TABLE = ("clustering", "rangePartitioning", "timePartitioning")
#: What the emulator does of ``parquetOptions``, whether they are asked for or not.
_PARQUET_OPTIONS = {"enableListInference", "enumAsString"}


@dataclass(frozen=True)
class Loaded:
    """What a load job did.

    :param rows: how many rows it loaded.
    :param files: of how many files.
    :param bytes: of which size together.
    """

    rows: int
    files: int
    bytes: int


def run(catalog: Catalog, objects: ObjectStore, project: str, configuration: dict[str, Any], upload: Path | None) -> Loaded:
    """Load files into a table, all rows or none.

    :param project: the job's project.
    :param configuration: the ``JobConfigurationLoad``.
    :param upload: the file that came with the request; ``None`` for ``sourceUris``.
    :raises ApiError: when something is wrong with the configuration, the files or the table.
    """
    for option, value in configuration.items():
        if option not in _KNOWN and value:
            raise ApiError(501, f"The emulator's load jobs do not do {option}.")
    for option, value in (configuration.get("parquetOptions") or {}).items():
        if option not in _PARQUET_OPTIONS and value:
            raise ApiError(501, f"The emulator's load jobs do not do parquetOptions.{option}.")
    if int(configuration.get("maxBadRecords") or 0):
        raise ApiError(501, "The emulator's load jobs do not do maxBadRecords: one bad row fails the job.")
    if (configuration.get("encoding") or "UTF-8").upper() not in ("UTF-8", "UTF8"):
        raise ApiError(501, "The emulator loads UTF-8 only.")
    name = TableName.from_reference(configuration.get("destinationTable") or {}, project)
    paths = [upload] if upload is not None else source_files(objects, configuration.get("sourceUris") or [])
    size = sum(path.stat().st_size for path in paths)
    return Loaded(_Load(catalog, name, configuration, paths).run(), len(paths), size)


def source_files(objects: ObjectStore, uris: list[str]) -> list[Path]:
    """Return the files of the objects that ``gs://`` URIs, with at most one ``*``, name.

    :raises ApiError: 404 when one names nothing.
    """
    from gcp_dicom_emulator.storage.uris import parse_gs_uri

    if not uris:
        raise ApiError(400, "Required parameter is missing: sourceUris", reason="required")
    paths: list[Path] = []
    for uri in uris:
        bucket, name = parse_gs_uri(uri)
        if name.count("*") > 1:
            raise ApiError(400, f"Invalid source URI: only one wildcard is allowed: {uri}")
        objects.get_bucket(bucket)
        if "*" in name:
            pattern = name.replace("[", "[[]").replace("?", "[?]")
            found = [o for o in objects.list(bucket, prefix=name.partition("*")[0]) if fnmatch.fnmatchcase(o.name, pattern)]
        else:
            found = [o for o in objects.list(bucket, prefix=name, limit=1) if o.name == name]
        if not found:
            raise ApiError(404, f"Not found: URI {uri}")
        paths += [item.path for item in found]
    return paths


@dataclass
class _Load:
    catalog: Catalog
    name: TableName
    configuration: dict[str, Any]
    paths: list[Path]

    def run(self) -> int:
        config = self.configuration
        kind = (config.get("sourceFormat") or "CSV").upper()
        if kind not in ("CSV", "NEWLINE_DELIMITED_JSON", "PARQUET", "AVRO"):
            raise ApiError(501, f"The emulator does not load {kind}.")
        self.engine = self.catalog.engine
        self.disposition = config.get("writeDisposition") or "WRITE_APPEND"
        load.check_destination(self.catalog, self.name, self.disposition, self._create_disposition())
        self._check_layout()
        if kind == "AVRO":
            return self._avro()
        with ExitStack() as stack:
            self.scratch = stack
            self.files = _listed(stack.enter_context(self.engine.scratch_file(path)) for path in self.paths)
            if kind == "NEWLINE_DELIMITED_JSON":
                return self._json()
            fields, select = self._parquet() if kind == "PARQUET" else self._csv()
            if kind == "CSV" and not boolean(config.get("allowQuotedNewlines") or False):
                select = _without_newlines(fields, select)
            self._check_precision(fields)
            return self._write(fields, select)

    def _check_precision(self, fields: list[Field]) -> None:
        """Refuse a ``timestampTargetPrecision`` that is not that of the columns."""
        wanted = [str(one) for one in self.configuration.get("timestampTargetPrecision") or []]
        found = {str(field.get("timestampPrecision") or 6) for field in fields if field["type"] == "TIMESTAMP"}
        if wanted and not found <= set(wanted):
            raise ApiError(501, "The emulator's timestampTargetPrecision is that of the schema's columns only.")

    def _create_disposition(self) -> str:
        return self.configuration.get("createDisposition") or "CREATE_IF_NEEDED"

    def _adds_fields(self) -> bool:
        return "ALLOW_FIELD_ADDITION" in (self.configuration.get("schemaUpdateOptions") or [])

    def _resource(self) -> dict[str, Any]:
        layout = {key: self.configuration[key] for key in _OF_THE_TABLE if self.configuration.get(key)}
        return {**(self.configuration.get("destinationTableProperties") or {}), **layout}

    def _check_layout(self) -> None:
        """Refuse to append to a table that is partitioned or clustered otherwise than the job says."""
        table = self.catalog.find(self.name) if self.disposition == "WRITE_APPEND" else None
        for key in _OF_THE_TABLE:
            wanted = self.configuration.get(key)
            if table is not None and table.fields and wanted and wanted != table.resource.get(key):
                raise ApiError(400, f"Incompatible table partitioning specification: {self.name} has another {key}.")

    def _declared(self) -> list[Field] | None:
        """Return the schema of the job, else the table's; ``None`` when the files are to be looked at."""
        declared = (self.configuration.get("schema") or {}).get("fields")
        if declared:
            return types.normalize_fields(declared)
        if boolean(self.configuration.get("autodetect") or False):
            return None
        table = self.catalog.find(self.name)
        if table is None or not table.fields:
            raise ApiError(400, "No schema specified on job or table.")
        return table.fields

    def _write(self, fields: list[Field], select: str) -> int:
        def fill(cursor: duckdb.DuckDBPyConnection) -> str:
            self.engine.provide(select)
            with load.rows_at_fault():
                return self.engine.create_table(cursor, fields, select)

        return load.write(
            self.catalog,
            self.name,
            fields,
            fill,
            self.disposition,
            create_disposition=self._create_disposition(),
            add_fields=self._adds_fields(),
            resource=self._resource(),
        )

    def _query(self, sql: str) -> list[tuple[Any, ...]]:
        with self.engine.cursor() as cursor, load.rows_at_fault():
            return cursor.execute(sql).fetchall()

    def _describe(self, select: str) -> list[Field]:
        with self.engine.cursor() as cursor, load.rows_at_fault():
            return self.engine.describe(cursor, select)

    # JSON

    def _json(self) -> int:
        fields = self._declared()
        if fields is None:
            found = self._query(f"SELECT json_group_structure(json) FROM read_ndjson_objects({self.files})")[0][0]
            fields = detection.fields_of(json.loads(found or "{}"), self.paths[0] if self.paths else None)
        return load.load_json_lines(
            self.catalog,
            self.name,
            fields,
            self.paths,
            self.disposition,
            add_fields=self._adds_fields(),
            ignore_unknown=boolean(self.configuration.get("ignoreUnknownValues") or False),
            resource=self._resource(),
        )

    # Avro

    def _avro(self) -> int:
        """Load the records as newline-delimited JSON."""
        files = [Avro(path, logical=boolean(self.configuration.get("useAvroLogicalTypes") or False)) for path in self.paths]
        for file in files[1:]:
            if file.fields != files[0].fields:
                raise ApiError(501, "The emulator loads several Avro files of one schema only.")
        declared = (self.configuration.get("schema") or {}).get("fields")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows"
            with path.open("w", encoding="utf-8") as rows:
                rows.writelines(json.dumps(row) + "\n" for file in files for row in file.rows())
            return load.load_json_lines(
                self.catalog,
                self.name,
                types.normalize_fields(declared) if declared else files[0].fields,
                [path],
                self.disposition,
                add_fields=self._adds_fields(),
                resource=self._resource(),
            )

    # CSV

    def _delimiter(self) -> str:
        delimiter = self.configuration.get("fieldDelimiter") or ","
        return {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)

    def _csv_options(self) -> str:
        config = self.configuration
        quote = config.get("quote", '"')
        options = [
            f"delim={types.literal(self._delimiter())}",
            f"quote={types.literal(quote)}",
            f"escape={types.literal(quote)}",
            f"nullstr={types.literal(config.get('nullMarker') or '')}",
            "allow_quoted_nulls=false",
            "strict_mode=true",
            "comment=''",
        ]
        if boolean(config.get("allowJaggedRows") or False):
            options.append("null_padding=true")
        return ", ".join(options)

    def _csv(self) -> tuple[list[Field], str]:
        declared, skip = self._declared(), int(self.configuration.get("skipLeadingRows") or 0)
        if declared is None:
            return self._csv_detected(skip)
        for field in declared:
            if field["mode"] == "REPEATED" or field["type"] == "RECORD":
                raise ApiError(400, f"Nested or repeated field {field['name']} cannot be loaded from CSV.")
        if boolean(self.configuration.get("ignoreUnknownValues") or False):
            self._cut_rows(len(declared))
        columns = ", ".join(f"{types.quote(field['name'])}: 'VARCHAR'" for field in declared)
        has_marker = bool(self.configuration.get("nullMarker"))
        values = ", ".join(_from_text(field, empty_is_null=not has_marker) for field in declared)
        source = (
            f"read_csv({self.files}, auto_detect=false, header=false, skip={skip}, columns={{{columns}}}, {self._csv_options()})"
        )
        return declared, f"SELECT {values} FROM {source}"

    def _cut_rows(self, columns: int) -> None:
        """Leave out what rows have behind the last column."""
        cut = csv_rows.cutter(columns, self._delimiter(), self.configuration.get("quote", '"'))
        files = [self.scratch.enter_context(self.engine.scratch_file()) for _ in self.paths]
        for path, file in zip(self.paths, files, strict=True):
            with path.open(newline="", **_ANY_TEXT) as rows, file.open("w", newline="", **_ANY_TEXT) as made:
                made.writelines(cut(rows.read()))
        self.files = _listed(files)

    def _csv_detected(self, skip: int) -> tuple[list[Field], str]:
        """Detect types and names: the first line has names if all of it is text, and not all of the others is."""
        may_have_names = self.configuration.get("skipLeadingRows") is None or skip > 0
        before = max(skip - 1, 0)
        named = self._detected_rows(before, header=True)
        plain = self._detected_rows(before, header=False)
        is_text = [{field["type"] for field in self._describe(rows)} == {"STRING"} for rows in (plain, named)]
        if may_have_names and is_text == [True, False]:
            fields = self._detected_fields(named)
            return fields, _cast(fields, named)
        rows = self._detected_rows(skip, header=False)
        found = self._detected_fields(rows)
        fields = [{**field, "name": _made_name(number, field)} for number, field in enumerate(found)]
        return fields, f"SELECT {', '.join(map(_column, found))} FROM ({rows})"

    def _detected_fields(self, rows: str) -> list[Field]:
        """Return the columns that BigQuery sees in rows: a date with a time is a TIMESTAMP, with a zone or without."""
        return [{**field, "type": "TIMESTAMP"} if field["type"] == "DATETIME" else field for field in self._describe(rows)]

    def _detected_rows(self, skip: int, *, header: bool) -> str:
        options = f"auto_detect=true, header={str(header).lower()}, skip={skip}, {self._csv_options()}"
        return f"SELECT * FROM read_csv({self.files}, {options})"

    # Parquet

    def _parquet(self) -> tuple[list[Field], str]:
        select = f"SELECT * FROM read_parquet({self.files})"
        found = self._describe(select)
        declared = (self.configuration.get("schema") or {}).get("fields")
        fields = types.normalize_fields(declared) if declared else found
        have = {field["name"].lower() for field in found}
        missing = [field["name"] for field in fields if field["name"].lower() not in have]
        if missing:
            raise ApiError(400, f"Error while reading data, error message: the Parquet files have no column {missing[0]}")
        return fields, _cast(fields, select)


def _listed(files: Iterable[Path]) -> str:
    """Return files as DuckDB's readers take them."""
    return "[" + ", ".join(types.literal(str(file)) for file in files) + "]"


def _made_name(number: int, field: Field) -> str:
    """Return the name of a column that has none."""
    kind = {"INTEGER": "int64", "FLOAT": "double", "BOOLEAN": "bool"}.get(field["type"], field["type"].lower())
    return f"{kind}_field_{number}"


#: Types that DuckDB makes of no other by a CAST.
_PARSED = ("BYTES", "FLOAT", "TIMESTAMP", "INTERVAL", "GEOGRAPHY", "RANGE")


def _cast(fields: list[Field], select: str) -> str:
    return f"SELECT {', '.join(_column(field) for field in fields)} FROM ({select})"


def _column(field: Field) -> str:
    value = types.quote(field["name"])
    is_plain = all(
        one["type"] not in ("INTERVAL", "GEOGRAPHY", "RANGE") and not types.has_picoseconds(one)
        for one in schemas.names([field]).values()
    )
    return f"CAST({value} AS {types.duckdb_type(field)})" if is_plain else types.transform(field, value, _scalar)


def _scalar(field: Field, value: str) -> str:
    if field["type"] == "GEOGRAPHY":
        text = f"CASE typeof({value}) WHEN 'BLOB' THEN py_geography_of_bytes(CAST({value} AS BLOB)) ELSE CAST({value} AS VARCHAR) END"
        return load.from_raw(field, text)
    if field["type"] in ("INTERVAL", "RANGE") or types.has_picoseconds(field):
        return load.from_raw(field, f"CAST({value} AS VARCHAR)")
    return f"CAST({value} AS {types.duckdb_type(field)})"


def _without_newlines(fields: list[Field], select: str) -> str:
    """Return rows of a CSV file that fail where a text has a line break: BigQuery takes it for the row's end."""
    names = [types.quote(field["name"]) for field in fields]
    checked = [f"bq_one_line({name})" if field["type"] == "STRING" else name for field, name in zip(fields, names, strict=True)]
    return f"SELECT {', '.join(checked)} FROM ({select}) AS file({', '.join(names)})"


def _from_text(field: Field, *, empty_is_null: bool) -> str:
    """Return the SQL of a column's value, made of a CSV file's text.

    :param empty_is_null: whether an empty text is NULL; it is none where a ``nullMarker`` says what is.
    """
    value = types.quote(field["name"])
    if field["type"] == "STRING":
        return value
    value = f"nullif(trim({value}), '')" if empty_is_null and field["type"] != "BYTES" else f"trim({value})"
    if field["type"] in _PARSED:
        return load.from_raw(field, value)
    macro = {"INTEGER": "bq_int64", "DATE": "bq_date"}.get(field["type"])
    return f"{macro}({value})" if macro else f"CAST({value} AS {types.duckdb_type(field)})"
