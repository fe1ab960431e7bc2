"""What a dataset says about itself in SQL: ``INFORMATION_SCHEMA`` and ``__TABLES__``, as queries over literals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from gcp_dicom_emulator.bigquery import partitions
from gcp_dicom_emulator.bigquery.catalog import Catalog, Table, now_ms
from gcp_dicom_emulator.bigquery.names import DatasetName
from gcp_dicom_emulator.bigquery.sql import types
from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.rest.errors import ApiError

#: Columns and their types.
_TABLES = {
    "table_catalog": "STRING", "table_schema": "STRING", "table_name": "STRING", "table_type": "STRING",
    "is_insertable_into": "STRING", "is_typed": "STRING", "creation_time": "TIMESTAMP",
}  # fmt: skip
_COLUMNS = {
    "table_catalog": "STRING", "table_schema": "STRING", "table_name": "STRING", "column_name": "STRING",
    "ordinal_position": "INT64", "is_nullable": "STRING", "data_type": "STRING", "is_hidden": "STRING",
    "is_partitioning_column": "STRING", "clustering_ordinal_position": "INT64",
}  # fmt: skip
_VIEWS = {
    "table_catalog": "STRING", "table_schema": "STRING", "table_name": "STRING", "view_definition": "STRING",
    "check_option": "STRING", "use_standard_sql": "STRING",
}  # fmt: skip
_MATERIALIZED_VIEWS = {
    "table_catalog": "STRING", "table_schema": "STRING", "table_name": "STRING", "last_refresh_time": "TIMESTAMP",
    "refresh_watermark": "TIMESTAMP", "last_refresh_status": "STRUCT<reason STRING, location STRING, message STRING>",
}  # fmt: skip
_PARTITIONS = {
    "table_catalog": "STRING", "table_schema": "STRING", "table_name": "STRING", "partition_id": "STRING", "total_rows": "INT64",
    "total_logical_bytes": "INT64", "total_billable_bytes": "INT64", "last_modified_time": "TIMESTAMP", "storage_tier": "STRING",
}  # fmt: skip
_TABLE_OPTIONS = {
    "table_catalog": "STRING", "table_schema": "STRING", "table_name": "STRING", "option_name": "STRING", "option_type": "STRING",
    "option_value": "STRING",
}  # fmt: skip
_COLUMN_FIELD_PATHS = {
    "table_catalog": "STRING", "table_schema": "STRING", "table_name": "STRING", "column_name": "STRING", "field_path": "STRING",
    "data_type": "STRING", "description": "STRING",
}  # fmt: skip
_SCHEMATA = {"catalog_name": "STRING", "schema_name": "STRING", "creation_time": "TIMESTAMP", "location": "STRING"}
_OLD_TABLES = {
    "project_id": "STRING", "dataset_id": "STRING", "table_id": "STRING", "creation_time": "INT64", "last_modified_time": "INT64",
    "row_count": "INT64", "size_bytes": "INT64", "type": "INT64",
}  # fmt: skip


def query(catalog: Catalog, dataset: DatasetName, view: str) -> str:
    """Return the query whose result is a view about a dataset.

    :param view: its upper-case name, e.g. ``TABLES``.
    :raises ApiError: 501 for one that the emulator does not have.
    """
    makers: dict[str, tuple[dict[str, str], Callable[[Catalog, DatasetName], list[list[Any]]]]] = {
        "TABLES": (_TABLES, _tables),
        "COLUMNS": (_COLUMNS, _columns),
        "COLUMN_FIELD_PATHS": (_COLUMN_FIELD_PATHS, _column_field_paths),
        "TABLE_OPTIONS": (_TABLE_OPTIONS, _table_options),
        "VIEWS": (_VIEWS, _views),
        "MATERIALIZED_VIEWS": (_MATERIALIZED_VIEWS, _materialized_views),
        "PARTITIONS": (_PARTITIONS, _partitions),
        "SCHEMATA": (_SCHEMATA, _schemata),
        "__TABLES__": (_OLD_TABLES, _old_tables),
    }
    if view not in makers:
        raise ApiError(501, f"The emulator has no INFORMATION_SCHEMA.{view}.")
    columns, rows = makers[view]
    kind = "STRUCT<" + ", ".join(f"{name} {of}" for name, of in columns.items()) + ">"
    values = ", ".join(f"({', '.join(map(_literal, row, columns.values()))})" for row in rows(catalog, dataset))
    return f"SELECT * FROM UNNEST(ARRAY<{kind}>[{values}])"


def _literal(value: Any, kind: str) -> str:
    if value is None:
        return f"CAST(NULL AS {kind})"
    if kind == "INT64":
        return str(int(value))
    if kind == "TIMESTAMP":
        return f"TIMESTAMP_MILLIS({int(value)})"
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r") + "'"


def _all(catalog: Catalog, dataset: DatasetName) -> list[Table]:
    return catalog.list_tables(dataset.project, dataset.dataset)


def _tables(catalog: Catalog, dataset: DatasetName) -> list[list[Any]]:
    return [
        [
            dataset.project, dataset.dataset, table.name.table, "BASE TABLE" if table.physical else table.kind.replace("_", " "),
            "YES" if table.physical else "NO", "NO", table.resource["creationTime"],
        ]
        for table in _all(catalog, dataset)
    ]  # fmt: skip


def _columns(catalog: Catalog, dataset: DatasetName) -> list[list[Any]]:
    found = []
    for table in _all(catalog, dataset):
        partitioned = (table.resource.get("timePartitioning") or table.resource.get("rangePartitioning") or {}).get("field")
        clustered = (table.resource.get("clustering") or {}).get("fields", [])
        for place, field in enumerate(table.fields, start=1):
            name = field["name"]
            found.append([
                dataset.project, dataset.dataset, table.name.table, name, place, "NO" if field["mode"] == "REQUIRED" else "YES",
                types.standard_name(field), "NO", "YES" if name == partitioned else "NO",
                clustered.index(name) + 1 if name in clustered else None,
            ])  # fmt: skip
    return found


def _column_field_paths(catalog: Catalog, dataset: DatasetName) -> list[list[Any]]:
    found = []
    for table in _all(catalog, dataset):
        for field in table.fields:
            found += [
                [
                    dataset.project,
                    dataset.dataset,
                    table.name.table,
                    field["name"],
                    path,
                    types.standard_name(one),
                    one.get("description"),
                ]
                for path, one in _paths(field, "")
            ]
    return found


def _paths(field: Field, prefix: str) -> Iterator[tuple[str, Field]]:
    path = prefix + field["name"]
    yield path, field
    for child in field.get("fields") or []:
        yield from _paths(child, path + ".")


def _table_options(catalog: Catalog, dataset: DatasetName) -> list[list[Any]]:
    found = []
    for table in _all(catalog, dataset):
        options: list[tuple[str, str, str]] = []
        for name, key in (("description", "description"), ("friendly_name", "friendlyName")):
            if table.resource.get(key):
                options.append((name, "STRING", json.dumps(table.resource[key], ensure_ascii=False)))
        if labels := table.resource.get("labels"):
            pairs = ", ".join(f"STRUCT({json.dumps(key)}, {json.dumps(value)})" for key, value in labels.items())
            options.append(("labels", "ARRAY<STRUCT<STRING, STRING>>", f"[{pairs}]"))
        found += [[dataset.project, dataset.dataset, table.name.table, *option] for option in options]
    return found


def _views(catalog: Catalog, dataset: DatasetName) -> list[list[Any]]:
    return [
        [
            dataset.project, dataset.dataset, table.name.table, table.resource["view"]["query"], None,
            "NO" if table.resource["view"].get("useLegacySql", True) else "YES",
        ]
        for table in _all(catalog, dataset)
        if table.resource.get("view")
    ]  # fmt: skip


def _materialized_views(catalog: Catalog, dataset: DatasetName) -> list[list[Any]]:
    return [
        [dataset.project, dataset.dataset, table.name.table, now_ms(), now_ms(), None]
        for table in _all(catalog, dataset)
        if table.kind == "MATERIALIZED_VIEW"
    ]


def _partitions(catalog: Catalog, dataset: DatasetName) -> list[list[Any]]:
    found = []
    for table in [table for table in _all(catalog, dataset) if table.physical]:
        counted: dict[Any, int] = {}
        if partitions.is_partitioned(table):
            counted.update(partitions.count(catalog, table))
        else:
            counted[None] = catalog.engine.count(table.rows())
        for partition, rows in counted.items():
            size = rows * table.row_bytes
            found.append([
                dataset.project, dataset.dataset, table.name.table, partition, rows, size, size,
                table.resource["lastModifiedTime"], "ACTIVE",
            ])  # fmt: skip
    return found


def _schemata(catalog: Catalog, dataset: DatasetName) -> list[list[Any]]:
    return [
        [dataset.project, one["datasetReference"]["datasetId"], one["creationTime"], one["location"]]
        for one in catalog.list_datasets(dataset.project)
    ]


def _old_tables(catalog: Catalog, dataset: DatasetName) -> list[list[Any]]:
    found = []
    for table in _all(catalog, dataset):
        shown = catalog.describe(table)
        found.append([
            dataset.project, dataset.dataset, table.name.table, shown["creationTime"], shown["lastModifiedTime"],
            shown.get("numRows", 0), shown.get("numBytes", 0), {"TABLE": 1, "SNAPSHOT": 1, "EXTERNAL": 3}.get(table.kind, 2),
        ])  # fmt: skip
    return found
