"""Wildcard tables: ``FROM `dataset.events_*` ``, with the rest of each table's name as ``_TABLE_SUFFIX``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gcp_dicom_emulator.bigquery.catalog import Table
from gcp_dicom_emulator.bigquery.sql import coercion, kinds
from gcp_dicom_emulator.bigquery.sql.calls import text
from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query
from gcp_dicom_emulator.bigquery.sql.scopes import Columns
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from sqlglot import exp

#: The column that no ``*`` has.
SUFFIX = "_TABLE_SUFFIX"


def union(tables: list[Table], prefix: int) -> tuple[Columns, exp.Expr]:
    """Return the columns of several tables, which are those of the newest one, and the query for all their rows.

    :param prefix: how many characters of their names are not the suffix.
    :raises ApiError: 400 for a view, and for a column that is of another type in another table.
    """
    from sqlglot import exp

    newest = max(tables, key=lambda one: (int(one.resource["creationTime"]), one.name.table))
    columns: Columns = {field["name"].lower(): (field["name"], kinds.of_field(field)) for field in newest.fields}
    queries = [_rows(table, columns, table.name.table[prefix:]) for table in tables]
    query = queries[0]
    for other in queries[1:]:
        query = exp.Union(this=query, expression=other, distinct=False)
    return {**columns, SUFFIX.lower(): (SUFFIX, kinds.STRING)}, query


def _rows(table: Table, columns: Columns, suffix: str) -> exp.Expr:
    from sqlglot import exp

    if table.kind == "EXTERNAL":
        raise ApiError(501, f"The emulator does not query external tables through a prefix: {table.name}")
    if table.physical is None:
        raise invalid_query(f"Views cannot be queried through prefix. Matched view: {table.name}")
    own = {field["name"].lower(): (field["name"], kinds.of_field(field)) for field in table.fields}
    items: list[exp.Expr] = []
    for name, (shown, kind) in columns.items():
        if name not in own:
            value: exp.Expr = coercion.as_type(exp.Null(), kind or kinds.STRING)
        elif own[name][1] != kind:
            raise invalid_query(f"Cannot read field '{shown}' of type {own[name][1]} as {kind}")
        else:
            value = exp.column(own[name][0], quoted=True)
        items.append(exp.alias_(value, shown, quoted=True))
    items.append(exp.alias_(text(suffix), SUFFIX, quoted=True))
    return exp.select(*items, copy=False).from_(exp.Table(this=exp.to_identifier(table.physical, quoted=True)))
