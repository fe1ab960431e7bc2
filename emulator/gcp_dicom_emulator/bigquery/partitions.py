"""Which partitions a table has: those of the values that its partitioning column has, since all rows are in one place here."""

from __future__ import annotations

from typing import Any

from gcp_dicom_emulator.bigquery.catalog import Catalog, Table
from gcp_dicom_emulator.bigquery.sql import types
from gcp_dicom_emulator.bigquery.sql.rows import Timestamps
from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.rest.errors import ApiError

#: What is behind a table's name in that of the table that lists its partitions.
SUMMARY = "$__PARTITIONS_SUMMARY__"
_FORMATS = {"HOUR": "%Y%m%d%H", "DAY": "%Y%m%d", "MONTH": "%Y%m", "YEAR": "%Y"}
_SUMMARY_COLUMNS = {
    "project_id": "STRING", "dataset_id": "STRING", "table_id": "STRING", "partition_id": "STRING",
    "creation_time": "INTEGER", "creation_timestamp": "TIMESTAMP",
    "last_modified_time": "INTEGER", "last_modified_timestamp": "TIMESTAMP",
}  # fmt: skip


def is_partitioned(table: Table) -> bool:
    """Say whether a table has partitions."""
    return bool(table.resource.get("timePartitioning") or table.resource.get("rangePartitioning"))


def count(catalog: Catalog, table: Table) -> dict[str, int]:
    """Return how many rows the partitions of a table have, by their ids.

    :raises ApiError: 501 for a table that is partitioned by the time when its rows came.
    """
    by_time, by_range = table.resource.get("timePartitioning") or {}, table.resource.get("rangePartitioning") or {}
    name = str((by_time or by_range).get("field", "")).lower()
    field = next((field for field in table.fields if field["name"].lower() == name), None)
    if field is None or types.has_picoseconds(field):
        raise ApiError(501, f"The emulator knows no partitions of {table.name}: it does not keep when rows came.")
    value = types.quote(field["name"])
    if by_time:
        text = f"strftime({value}, '{_FORMATS[by_time.get('type') or 'DAY']}')"
    else:
        start, end, step = (int(by_range["range"][key]) for key in ("start", "end", "interval"))
        floor = f"CAST({start} + (({value} - {start}) // {step}) * {step} AS VARCHAR)"
        text = f"CASE WHEN {value} >= {start} AND {value} < {end} THEN {floor} ELSE '__UNPARTITIONED__' END"
    query = (
        f"SELECT CASE WHEN {value} IS NULL THEN '__NULL__' ELSE {text} END, count(*) FROM {table.rows()} GROUP BY 1 ORDER BY 1"
    )
    with catalog.engine.cursor() as cursor:
        return dict(cursor.execute(query).fetchall())


def summary_fields() -> list[Field]:
    """Return the columns of the table that lists a table's partitions."""
    return [{"name": name, "type": kind, "mode": "NULLABLE"} for name, kind in _SUMMARY_COLUMNS.items()]


def summary_rows(catalog: Catalog, table: Table, fields: list[Field], timestamps: Timestamps) -> list[dict[str, Any]]:
    """Return the rows of the table that lists a table's partitions, in wire form.

    :param fields: the columns that are wanted.
    :param timestamps: writes a TIMESTAMP.
    :raises ApiError: 501 as :func:`count`.
    """
    times: dict[str, str] = {}
    for word, key in (("creation", "creationTime"), ("last_modified", "lastModifiedTime")):
        millis = int(table.resource[key])
        times |= {f"{word}_time": str(millis), f"{word}_timestamp": timestamps(millis * 1000, None)}
    name = table.name
    same = {"project_id": name.project, "dataset_id": name.dataset, "table_id": name.table, **times}
    rows = ({**same, "partition_id": partition} for partition in count(catalog, table))
    return [{"f": [{"v": row[field["name"]]} for field in fields]} for row in rows]
