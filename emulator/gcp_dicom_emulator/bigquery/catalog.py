"""Datasets and tables as BigQuery describes them, in SQLite; their rows are in DuckDB."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gcp_dicom_emulator.bigquery.engine import Engine
from gcp_dicom_emulator.bigquery.names import ANONYMOUS_DATASET, SESSION_PREFIX, DatasetName, RoutineName, TableName
from gcp_dicom_emulator.bigquery.sql import types
from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError

_TABLES = """
CREATE TABLE IF NOT EXISTS bigquery_datasets (
    project TEXT, dataset TEXT, resource TEXT NOT NULL, PRIMARY KEY (project, dataset)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bigquery_tables (
    project TEXT, dataset TEXT, name TEXT, resource TEXT NOT NULL, physical TEXT, PRIMARY KEY (project, dataset, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bigquery_routines (
    project TEXT, dataset TEXT, name TEXT, resource TEXT NOT NULL, PRIMARY KEY (project, dataset, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bigquery_jobs (
    project TEXT, job_id TEXT, location TEXT, created INTEGER NOT NULL, resource TEXT NOT NULL, PRIMARY KEY (project, job_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS bigquery_jobs_by_time ON bigquery_jobs (project, created);
"""

_OUTPUT_ONLY = (
    "kind",
    "id",
    "selfLink",
    "etag",
    "creationTime",
    "lastModifiedTime",
    "numRows",
    "numBytes",
    "numLongTermBytes",
    "type",
)
_UNSUPPORTED_TABLES = (
    "cloneDefinition",
    "snapshotDefinition",
    "biglakeConfiguration",
)


#: What a materialized view does where its maker says nothing.
_REFRESH = {"enableRefresh": True, "refreshIntervalMs": "1800000"}

#: How many tables are kept as they were read.
_KEPT_TABLES = 64


def now_ms() -> int:
    """Return the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, eq=False)
class Table:
    """A table that exists; never changed, so the same object may be given out again.

    :param name: its name.
    :param resource: the stored part of its ``Table`` resource.
    :param physical: the DuckDB table with its rows; ``None`` for a view and for an external table.
    """

    name: TableName
    resource: dict[str, Any]
    physical: str | None

    @property
    def fields(self) -> list[Field]:
        """The columns."""
        fields: list[Field] = self.resource.get("schema", {}).get("fields", [])
        return fields

    @property
    def kind(self) -> str:
        """The ``type`` of the ``Table`` resource."""
        for key, kind in (("materializedView", "MATERIALIZED_VIEW"), ("externalDataConfiguration", "EXTERNAL")):
            if key in self.resource:
                return kind
        return "SNAPSHOT" if "snapshotDefinition" in self.resource else "TABLE" if self.physical else "VIEW"

    @cached_property
    def row_bytes(self) -> int:
        """The rough size of a row."""
        return row_bytes(self.fields)

    def rows(self) -> str:
        """Return the physical table.

        :raises ApiError: 400 for a view and for an external table, which have no rows of their own.
        """
        if self.physical is None:
            what = "an external table" if self.kind == "EXTERNAL" else "a view, not a table"
            raise ApiError(400, f"Cannot read or write {self.name}: it is {what}.")
        return self.physical

    def writable(self) -> str:
        """Return the physical table, to change its rows.

        :raises ApiError: 400 for a view and for a snapshot.
        """
        if "snapshotDefinition" in self.resource:
            raise ApiError(400, f"Cannot write to {self.name}: it is a snapshot.")
        return self.rows()


def view_of(resource: dict[str, Any]) -> dict[str, Any] | None:
    """Return the ``ViewDefinition`` in a ``Table`` resource; that of a materialized view, which is worked out whenever it is read."""
    if resource.get("materializedView"):
        return {"query": resource["materializedView"].get("query"), "useLegacySql": False}
    view: dict[str, Any] | None = resource.get("view")
    return view


class Catalog:
    """What datasets and tables exist.

    :param state: where it is kept.
    :param base_url: the beginning of ``selfLink``.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        #: The tables that were looked up last, with the text of their resources: a wide schema takes long to read.
        self._read: dict[TableName, tuple[str, Table]] = {}
        state.create_tables(_TABLES)
        self.engine = Engine(state.bigquery_path, state.directory / "bigquery-scratch", self._physical_tables)

    def _physical_tables(self) -> set[str]:
        return {row["physical"] for row in self._state.query("SELECT physical FROM bigquery_tables WHERE physical NOT NULL")}

    # Datasets

    def create_dataset(
        self, project: str, dataset: str, location: str = "US", resource: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Create a dataset and return its resource.

        :param resource: further fields, e.g. ``labels``.
        :raises ApiError: 409 when it exists, 400 for a bad name.
        """
        name = DatasetName(project, dataset)
        now = str(now_ms())
        stored = {
            **_without_output(resource or {}),
            "datasetReference": name.reference(),
            "location": location,
            "creationTime": now,
            "lastModifiedTime": now,
            "etag": _new_etag(),
        }
        with self._state.transaction() as connection:
            if self._dataset(name) is not None:
                raise ApiError(409, f"Already Exists: Dataset {name}")
            connection.execute("INSERT INTO bigquery_datasets VALUES (?, ?, ?)", (project, dataset, json.dumps(stored)))
        return self._dataset_resource(name, stored)

    def _dataset(self, name: DatasetName) -> dict[str, Any] | None:
        rows = self._state.query(
            "SELECT resource FROM bigquery_datasets WHERE project = ? AND dataset = ?", (name.project, name.dataset)
        )
        return json.loads(rows[0]["resource"]) if rows else None

    def _dataset_resource(self, name: DatasetName, stored: dict[str, Any]) -> dict[str, Any]:
        return {
            "kind": "bigquery#dataset",
            "id": str(name),
            "selfLink": f"https://bigquery.googleapis.com/bigquery/v2/projects/{name.project}/datasets/{name.dataset}",
            "type": "DEFAULT",
            **stored,
        }

    def get_dataset(self, project: str, dataset: str) -> dict[str, Any]:
        """Return a dataset's resource.

        :raises ApiError: 404 when there is none.
        """
        name = DatasetName(project, dataset)
        if name.dataset == ANONYMOUS_DATASET:
            return self._dataset_resource(name, {"datasetReference": name.reference(), "location": "US"})
        stored = self._dataset(name)
        if stored is None:
            raise ApiError(404, f"Not found: Dataset {name}")
        return self._dataset_resource(name, stored)

    def check_location(self, name: DatasetName, location: str) -> None:
        """Check that a job may use a dataset.

        :param location: where the job runs.
        :raises ApiError: 404 when the dataset is not there.
        """
        if name.dataset == ANONYMOUS_DATASET:
            return
        if self.get_dataset(name.project, name.dataset)["location"].lower() != location.lower():
            raise ApiError(404, f"Not found: Dataset {name} was not found in location {location}")

    def list_datasets(self, project: str) -> list[dict[str, Any]]:
        """Return the resources of a project's datasets, by name, without those of temporary tables."""
        rows = self._state.query("SELECT dataset, resource FROM bigquery_datasets WHERE project = ? ORDER BY dataset", (project,))
        return [
            self._dataset_resource(DatasetName(project, row["dataset"]), json.loads(row["resource"]))
            for row in rows
            if not row["dataset"].startswith(SESSION_PREFIX)
        ]

    def update_dataset(
        self, project: str, dataset: str, changes: dict[str, Any], *, replace: bool, etag: str | None
    ) -> dict[str, Any]:
        """Change a dataset.

        :param changes: the fields to set; ``None`` removes one.
        :param replace: whether fields that ``changes`` lacks go.
        :param etag: the etag that the dataset must have.
        :raises ApiError: 404 when there is none, 412 for another etag, 400 for a field that cannot change.
        """
        name = DatasetName(project, dataset)
        with self._state.transaction() as connection:
            old = self._dataset(name)
            if old is None:
                raise ApiError(404, f"Not found: Dataset {name}")
            if (changes.get("location") or old["location"]).lower() != old["location"].lower():
                raise ApiError(400, "Dataset location cannot be changed.")
            fixed = {key: old[key] for key in ("datasetReference", "location", "creationTime")}
            stored = _changed(old, changes, fixed, replace=replace, etag=etag)
            connection.execute(
                "UPDATE bigquery_datasets SET resource = ? WHERE project = ? AND dataset = ?",
                (json.dumps(stored), project, dataset),
            )
        return self._dataset_resource(name, stored)

    def delete_dataset(self, project: str, dataset: str, *, delete_contents: bool) -> None:
        """Delete a dataset.

        :raises ApiError: 404 when there is none, 400 when it has tables and ``delete_contents`` is not given.
        """
        self.get_dataset(project, dataset)
        with self.engine.write_lock:
            tables = self.list_tables(project, dataset)
            if (tables or self.list_routines(project, dataset)) and not delete_contents:
                raise ApiError(400, f"Dataset {project}:{dataset} is still in use", reason="resourceInUse")
            with self._state.transaction() as connection:
                connection.execute("DELETE FROM bigquery_tables WHERE project = ? AND dataset = ?", (project, dataset))
                connection.execute("DELETE FROM bigquery_routines WHERE project = ? AND dataset = ?", (project, dataset))
                connection.execute("DELETE FROM bigquery_datasets WHERE project = ? AND dataset = ?", (project, dataset))
            self._drop([table.physical for table in tables])

    # Routines

    def find_routine(self, name: RoutineName) -> dict[str, Any] | None:
        """Return a routine's resource, or ``None`` when there is none."""
        rows = self._state.query(
            "SELECT resource FROM bigquery_routines WHERE project = ? AND dataset = ? AND name = ?",
            (name.project, name.dataset, name.routine),
        )
        return json.loads(rows[0]["resource"]) if rows else None

    def routine(self, name: RoutineName) -> dict[str, Any]:
        """Return a routine's resource.

        :raises ApiError: 404 when it, or its dataset, does not exist.
        """
        found = self.find_routine(name)
        if found is None:
            self.get_dataset(name.project, name.dataset)
            raise ApiError(404, f"Not found: Routine {name}")
        return found

    def list_routines(self, project: str, dataset: str) -> list[dict[str, Any]]:
        """Return the resources of a dataset's routines, by name.

        :raises ApiError: 404 when the dataset does not exist.
        """
        self.get_dataset(project, dataset)
        rows = self._state.query(
            "SELECT resource FROM bigquery_routines WHERE project = ? AND dataset = ? ORDER BY name", (project, dataset)
        )
        return [json.loads(row["resource"]) for row in rows]

    def put_routine(self, name: RoutineName, resource: dict[str, Any], *, replace: bool) -> dict[str, Any]:
        """Create or replace a routine, and return its resource.

        :raises ApiError: 404 when the dataset does not exist, 409 when the routine does and is not to be replaced.
        """
        self.get_dataset(name.project, name.dataset)
        now = str(now_ms())
        with self._state.transaction() as connection:
            old = self.find_routine(name)
            if old is not None and not replace:
                raise ApiError(409, f"Already Exists: Routine {name}")
            times = {"creationTime": old["creationTime"] if old else now, "lastModifiedTime": now, "etag": _new_etag()}
            stored = {**_without_output(resource), "routineReference": name.reference(), **times}
            connection.execute(
                "INSERT OR REPLACE INTO bigquery_routines VALUES (?, ?, ?, ?)",
                (name.project, name.dataset, name.routine, json.dumps(stored)),
            )
        return stored

    def delete_routine(self, name: RoutineName) -> None:
        """Delete a routine.

        :raises ApiError: 404 when it does not exist.
        """
        self.routine(name)
        with self._state.transaction() as connection:
            connection.execute(
                "DELETE FROM bigquery_routines WHERE project = ? AND dataset = ? AND name = ?",
                (name.project, name.dataset, name.routine),
            )

    # Tables

    def find(self, name: TableName) -> Table | None:
        """Return a table, or ``None`` when there is none."""
        rows = self._state.query(
            "SELECT resource, physical FROM bigquery_tables WHERE project = ? AND dataset = ? AND name = ?",
            (name.project, name.dataset, name.table),
        )
        if not rows:
            return None
        text, physical = rows[0]["resource"], rows[0]["physical"]
        known = self._read.get(name)
        if known is not None and known[0] == text and known[1].physical == physical:
            return known[1]
        table = Table(name, json.loads(text), physical)
        if len(self._read) >= _KEPT_TABLES:
            self._read.clear()
        self._read[name] = text, table
        return table

    def table(self, name: TableName) -> Table:
        """Return a table.

        :raises ApiError: 404 when it, or its dataset, does not exist.
        """
        found = self.find(name)
        if found is None:
            self.get_dataset(name.project, name.dataset)
            raise ApiError(404, f"Not found: Table {name}")
        return found

    def get_table(self, project: str, dataset: str, table: str) -> dict[str, Any]:
        """Return a table's resource.

        :raises ApiError: 404 when it, or its dataset, does not exist.
        """
        return self.describe(self.table(TableName(project, dataset, table)))

    def describe(self, table: Table) -> dict[str, Any]:
        """Return a table's resource."""
        name = table.name
        path = f"projects/{name.project}/datasets/{name.dataset}/tables/{name.table}"
        resource = {
            "kind": "bigquery#table",
            "id": str(name),
            "selfLink": f"https://bigquery.googleapis.com/bigquery/v2/{path}",
            "tableReference": name.reference(),
            "type": table.kind,
            "location": self.get_dataset(name.project, name.dataset)["location"],
            **table.resource,
        }
        if table.physical:
            rows = self.engine.count(table.physical)
            resource |= {"numRows": str(rows), "numBytes": str(rows * table.row_bytes), "numLongTermBytes": "0"}
        return resource

    def read_bytes(self, table: Table) -> int:
        """Return how many bytes a query reads of a table; of a view, it reads those of its tables."""
        return self.engine.count(table.physical) * table.row_bytes if table.physical else 0

    def list_tables(self, project: str, dataset: str) -> list[Table]:
        """Return a dataset's tables, by name.

        :raises ApiError: 404 when there is no such dataset.
        """
        self.get_dataset(project, dataset)
        rows = self._state.query(
            "SELECT name, resource, physical FROM bigquery_tables WHERE project = ? AND dataset = ? ORDER BY name",
            (project, dataset),
        )
        return [Table(TableName(project, dataset, row["name"]), json.loads(row["resource"]), row["physical"]) for row in rows]

    def create_table(self, name: TableName, resource: dict[str, Any], view_fields: list[Field] | None = None) -> Table:
        """Create an empty table, a view or an external table.

        :param resource: the client's ``Table`` resource.
        :param view_fields: the columns of what has no rows of its own; ``None`` for a table.
        :raises ApiError: 404 for no such dataset, 409 when the table exists, 400 for a bad schema.
        """
        self.get_dataset(name.project, name.dataset)
        for unsupported in _UNSUPPORTED_TABLES:
            if resource.get(unsupported):
                raise ApiError(501, f"The emulator does not do {unsupported}.")
        fields = types.normalize_fields(resource.get("schema", {}).get("fields", []))
        with self.engine.write_lock:
            if self.find(name) is not None:
                raise ApiError(409, f"Already Exists: Table {name}")
            if view_fields is not None:
                if resource.get("materializedView"):
                    resource = {**resource, "materializedView": {**_REFRESH, **resource["materializedView"]}}
                return self._publish_new(name, {**resource, "schema": {"fields": view_fields}}, None)
            with self.engine.cursor() as cursor:
                physical = self.engine.create_table(cursor, fields)
            return self._publish_new(name, {**resource, "schema": {"fields": fields}}, physical)

    def publish(self, name: TableName, fields: list[Field], physical: str, resource: dict[str, Any] | None = None) -> Table:
        """Make a filled physical table the content of a BigQuery table, new or replaced, atomically.

        What is said about an old table (labels, description) stays unless ``resource`` says otherwise; a ``None`` there removes.
        """
        with self.engine.write_lock:
            old = self.find(name)
            if old is None:
                return self._publish_new(name, {**(resource or {}), "schema": {"fields": fields}}, physical)
            given = resource or {}
            kept = {key: value for key, value in old.resource.items() if given.get(key, value) is not None}
            kept |= {**_without_output(given), "schema": {"fields": fields}}
            table = self._store(Table(name, {**kept, "lastModifiedTime": str(now_ms()), "etag": _new_etag()}, physical))
            if old.physical != physical:
                self._drop([old.physical])
            return table

    def _publish_new(self, name: TableName, resource: dict[str, Any], physical: str | None) -> Table:
        now = str(now_ms())
        times = {"creationTime": now, "lastModifiedTime": now, "etag": _new_etag()}
        return self._store(Table(name, {**_without_output(resource), "tableReference": name.reference(), **times}, physical))

    def _store(self, table: Table) -> Table:
        name = table.name
        with self._state.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO bigquery_tables VALUES (?, ?, ?, ?, ?)",
                (name.project, name.dataset, name.table, json.dumps(table.resource), table.physical),
            )
        return table

    def touch(self, name: TableName) -> None:
        """Note that a table's rows changed."""
        table = self.table(name)
        self._store(Table(name, {**table.resource, "lastModifiedTime": str(now_ms()), "etag": _new_etag()}, table.physical))

    def update_table(self, name: TableName, changes: dict[str, Any], *, replace: bool, etag: str | None) -> Table:
        """Change a table's description, labels, expiration or schema (columns may be added, REQUIRED relaxed).

        :raises ApiError: 404 when there is none, 412 for another etag, 400 for a schema that the old rows do not fit.
        """
        from gcp_dicom_emulator.bigquery import schemas

        with self.engine.write_lock:
            table = self.table(name)
            fixed = {key: table.resource[key] for key in ("tableReference", "creationTime")}
            stored = _changed(table.resource, changes, fixed, replace=replace, etag=etag)
            wanted = (changes.get("schema") or {}).get("fields")
            fields = types.normalize_fields(wanted) if wanted is not None else table.fields
            stored["schema"] = {"fields": fields}
            physical = table.physical
            if physical and wanted is not None:
                schemas.check_evolution(table.fields, fields, str(name))
                with self.engine.cursor() as cursor:
                    physical = self.engine.create_table(cursor, fields, schemas.select_as(table.fields, fields, physical))
            stored_table = self._store(Table(name, stored, physical))
            if physical != table.physical:
                self._drop([table.physical])
            return stored_table

    def rename_table(self, name: TableName, new: str) -> None:
        """Give a table another name in its dataset.

        :param new: the name without the dataset.
        :raises ApiError: 404 when the table does not exist, 409 when one of the new name does.
        """
        with self.engine.write_lock:
            table = self.table(name)
            renamed = TableName(name.project, name.dataset, new)
            if self.find(renamed) is not None:
                raise ApiError(409, f"Already Exists: Table {renamed}")
            resource = {**table.resource, "tableReference": renamed.reference(), "etag": _new_etag()}
            with self._state.transaction() as connection:
                connection.execute(
                    "UPDATE bigquery_tables SET name = ?, resource = ? WHERE project = ? AND dataset = ? AND name = ?",
                    (new, json.dumps(resource), name.project, name.dataset, name.table),
                )

    def delete_table(self, name: TableName) -> None:
        """Delete a table or view.

        :raises ApiError: 404 when it does not exist.
        """
        with self.engine.write_lock:
            table = self.table(name)
            with self._state.transaction() as connection:
                connection.execute(
                    "DELETE FROM bigquery_tables WHERE project = ? AND dataset = ? AND name = ?",
                    (name.project, name.dataset, name.table),
                )
            self._drop([table.physical])

    def _drop(self, physical_tables: list[str | None]) -> None:
        for physical in physical_tables:
            if physical is not None:
                self.engine.drop_table(physical)


def _new_etag() -> str:
    return uuid.uuid4().hex


def _without_output(resource: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if key not in _OUTPUT_ONLY and value is not None}


def _changed(
    old: dict[str, Any], changes: dict[str, Any], fixed: dict[str, Any], *, replace: bool, etag: str | None
) -> dict[str, Any]:
    if etag not in (None, "*", old["etag"]):
        raise ApiError(412, "Precondition check failed.")
    changed = {} if replace else dict(old)
    for key, value in changes.items():
        if key in _OUTPUT_ONLY:
            continue
        if key == "labels" and value and not replace:
            # In a patch, a label of null is a label to remove.
            value = {name: text for name, text in {**old.get("labels", {}), **value}.items() if text is not None}
        changed[key] = value
    changed = {key: value for key, value in changed.items() if value is not None}
    return {**changed, **fixed, "lastModifiedTime": str(now_ms()), "etag": _new_etag()}


def row_bytes(fields: list[Field]) -> int:
    """Return a rough size of a row: BigQuery charges 8 bytes for most scalars."""
    return sum(row_bytes(field["fields"]) if field["type"] == "RECORD" else 8 for field in fields)
