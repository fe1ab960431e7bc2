"""DuckDB: one file of physical tables, opened at first use, closed to the file system and the network.

Names of clients do not get here: a physical table has a name of its own, and the catalog says which one a BigQuery table is. So
a table is replaced by writing another one and changing the catalog's word, and what a killed process left unfinished is a table
that the catalog does not know; it is dropped at the next start.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gcp_dicom_emulator.bigquery.sql import library, types
from gcp_dicom_emulator.bigquery.sql.macros import MACROS
from gcp_dicom_emulator.bigquery.sql.types import Field

if TYPE_CHECKING:
    import duckdb

#: What a query may hold in memory before it goes on in files.
_MEMORY_LIMIT = "2GB"


class Engine:
    """The DuckDB database.

    :param path: its file.
    :param scratch: a directory for files on their way in or out, the only one that DuckDB may touch; emptied at the start.
    :param known_tables: returns the physical tables that the catalog knows.
    """

    def __init__(self, path: Path, scratch: Path, known_tables: Callable[[], set[str]]) -> None:
        #: Held by whoever changes a table that others may see; DuckDB would let the second writer fail.
        self.write_lock = threading.RLock()
        self._path = path
        self._scratch = scratch
        self._known_tables = known_tables
        self._functions: set[str] = set()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._open_lock = threading.Lock()
        self._cursors: dict[int, list[duckdb.DuckDBPyConnection]] = {}

    def _open(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        connection = duckdb.connect(
            str(self._path),
            config={
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "temp_directory": str(self._scratch),
                "memory_limit": _MEMORY_LIMIT,
            },
        )
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute(f"SET allowed_directories = [{types.literal(str(self._scratch) + '/')}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET python_enable_replacements = false")
        connection.execute("SET lock_configuration = true")
        existing = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        for name in existing - self._known_tables():
            connection.execute(f"DROP TABLE {types.quote(name)}")
        for macro in MACROS:
            connection.execute(f"CREATE OR REPLACE MACRO {macro}")
        return connection

    @contextlib.contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection of one's own to the database."""
        with self._open_lock:
            if self._connection is None:
                self._connection = self._open()
            cursor = self._connection.cursor()
            cursors = self._cursors.setdefault(threading.get_ident(), [])
            cursors.append(cursor)
        try:
            yield cursor
        finally:
            with self._open_lock:
                cursors.remove(cursor)
            cursor.close()

    def provide(self, text: str) -> None:
        """Make what a statement uses of :mod:`library` known to DuckDB.

        :param text: the statement in DuckDB's SQL.
        """
        if not library.uses(text):
            return
        with self.cursor(), self._open_lock:
            assert self._connection is not None
            library.provide(self._connection, text, self._functions)

    def interrupt(self, thread: int) -> None:
        """Let what a thread runs now fail.

        :param thread: the thread's identifier.
        """
        with self._open_lock:
            for cursor in self._cursors.get(thread, []):
                cursor.interrupt()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection inside a transaction that nobody else's collides with."""
        with self.write_lock, self.cursor() as cursor:
            cursor.execute("BEGIN")
            try:
                yield cursor
            except BaseException:
                with contextlib.suppress(Exception):
                    cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    @contextlib.contextmanager
    def scratch_file(self, source: Path | None = None) -> Iterator[Path]:
        """Yield a path that DuckDB may read and write; it is removed afterwards.

        :param source: the file to have there, as a link.
        """
        with self.cursor():
            path = self._scratch / uuid.uuid4().hex
        try:
            if source is not None:
                try:
                    os.link(source, path)
                except OSError:
                    shutil.copyfile(source, path)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def describe(self, cursor: duckdb.DuckDBPyConnection, select: str) -> list[Field]:
        """Return the fields of a query's result, named as BigQuery names what has no name."""
        relation = cursor.sql(select)
        return [types.field_of(name, kind) for name, kind in zip(relation.columns, relation.types, strict=True)]

    def create_table(self, cursor: duckdb.DuckDBPyConnection, fields: list[Field], select: str | None = None) -> str:
        """Create a physical table, which the catalog does not know yet, and return its name.

        :param fields: its columns.
        :param select: what fills it: a query with the columns of ``fields``, in their order.
        """
        physical = f"t_{uuid.uuid4().hex}"
        if select is not None:
            names = ", ".join(types.quote(field["name"]) for field in fields)
            values = ", ".join(types.filled(field, types.quote(field["name"])) for field in fields)
            select = f"SELECT {values} FROM ({select}) AS source({names})"
        if select is not None and not any(field.get("mode") == "REQUIRED" for field in fields):
            cursor.execute(f"CREATE TABLE {physical} ({names}) AS {select}")
            return physical
        columns = ", ".join(
            f"{types.quote(field['name'])} {types.duckdb_type(field)}" + (" NOT NULL" if field.get("mode") == "REQUIRED" else "")
            for field in fields
        )
        # A table without columns is something BigQuery has and DuckDB has not.
        cursor.execute(f"CREATE TABLE {physical} ({columns or '_no_columns BOOLEAN'})")
        if select is not None:
            try:
                cursor.execute(f"INSERT INTO {physical} {select}")
            except BaseException:
                self.drop_table(physical)
                raise
        return physical

    def create_as(self, select: str) -> tuple[str, int]:
        """Create a physical table of a query's columns and rows as they are; return its name, and how many rows it has."""
        physical = f"t_{uuid.uuid4().hex}"
        with self.cursor() as cursor:
            row = cursor.execute(f"CREATE TABLE {physical} AS {select}").fetchone()
        assert row is not None
        return physical, int(row[0])

    def fill_arrays(self, cursor: duckdb.DuckDBPyConnection, fields: list[Field], physical: str) -> None:
        """Make arrays that are NULL empty, after a statement that may have written some."""
        for field in fields:
            column = types.quote(field["name"])
            if (value := types.filled(field, column)) != column:
                cursor.execute(f"UPDATE {physical} SET {column} = {value} WHERE {column} IS DISTINCT FROM {value}")

    def drop_table(self, physical: str) -> None:
        """Drop a physical table; queries that read it go on."""
        with self.write_lock, self.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {physical}")

    def count(self, physical: str) -> int:
        """Return how many rows a physical table has."""
        with self.cursor() as cursor:
            row = cursor.execute(f"SELECT count(*) FROM {physical}").fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        """Close the database; running queries fail."""
        with self._open_lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
