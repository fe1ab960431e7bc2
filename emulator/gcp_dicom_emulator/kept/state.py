"""The emulator's directory: everything it keeps is below it, and it is all that it keeps.

``metadata.sqlite`` holds the metadata of all services, ``blobs/`` the bytes of objects and instances, one immutable file each,
``bigquery.duckdb`` the tables of BigQuery. Names that come from a client are values in a database and never become a path, so
that no object name, UID or table name can reach outside the directory.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import sqlite3
import stat
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

#: The file whose lock says that the directory is in use.
LOCK = "lock"
#: How the names of temporary directories begin, and what their lock files say.
_TEMPORARY, _MARK = "gcp-dicom-emulator-", b"temporary\n"
#: What is kept.
CONTENT = ("metadata.sqlite", "bigquery.duckdb", "blobs")
#: How the names begin of all that is kept and of what SQLite, DuckDB and BigQuery's jobs put beside it.
_OWN = ("metadata.sqlite", "bigquery", "blobs")
#: What is to replace everything: while it is written, when it is whole, and when nothing old is left.
_INCOMING, _REPLACING, _MOVING = "incoming", "replacing", "moving"


class State:
    """One data directory.

    :param directory: where to keep everything; ``None`` for a temporary directory that :meth:`close` removes.
    :raises OSError: the directory cannot be made, holds what an emulator did not write, or another process or object uses it.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._temporary = directory is None
        if directory is None:
            _remove_leftovers(Path(tempfile.gettempdir()))
        self.directory = Path(tempfile.mkdtemp(prefix=_TEMPORARY)) if directory is None else directory
        self.directory.mkdir(parents=True, exist_ok=True)
        _refuse_other_content(self.directory)
        self._blobs = self.directory / "blobs"
        self._lock: int | None = _lock(self.directory)
        # A directory that somebody chose is nobody's leftover, whatever it was before.
        os.truncate(self._lock, 0)
        if self._temporary:
            os.write(self._lock, _MARK)
        _finish_replacing(self.directory)
        self._blobs.mkdir(exist_ok=True)
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._write_lock = threading.RLock()
        #: What is to be done once the transaction is committed.
        self._afterwards: list[Callable[[], None]] = []
        self._blob_queries: list[str] = []

    @property
    def bigquery_path(self) -> Path:
        """The DuckDB database file of BigQuery."""
        return self.directory / "bigquery.duckdb"

    def create_tables(self, script: str) -> None:
        """Run a service's ``CREATE TABLE IF NOT EXISTS`` statements.

        :raises OSError: the tables are there already, but lack columns.
        """
        with self._write_lock:
            self._connection().executescript(script)
        with contextlib.closing(sqlite3.connect(":memory:")) as new:
            new.executescript(script)
            if not columns(new) <= self.columns():
                raise OSError(errno.EINVAL, "another version of the emulator wrote it", str(self.directory))

    def columns(self) -> set[tuple[str, str]]:
        """Return the names of all tables of the metadata, with each of their columns."""
        return columns(self._connection())

    def query(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[sqlite3.Row]:
        """Run a SELECT and return all its rows."""
        return self._connection().execute(sql, parameters).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection inside the only write transaction; commit at the end, roll back on an exception.

        What a client was told is committed: a killed process loses nothing that it acknowledged. Transactions of one thread nest.
        """
        with self._write_lock:
            connection = self._connection()
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.commit()
            except BaseException:
                # Also when it cannot be committed: it must not stay open, and take in what comes next.
                self._afterwards.clear()
                connection.rollback()
                raise
            afterwards, self._afterwards = self._afterwards, []
        for action in afterwards:
            action()

    def when_committed(self, action: Callable[[], None]) -> None:
        """Do something once the transaction, in which this is called, is committed as a whole."""
        self._afterwards.append(action)

    def remove_when_committed(self, blob: Path) -> None:
        """Remove a blob once the transaction, in which this is called, is committed as a whole."""
        self.when_committed(lambda: blob.unlink(missing_ok=True))

    def new_blob(self) -> Path:
        """Return a path for a new blob, which does not exist yet. Write it whole before a transaction names it."""
        name = uuid.uuid4().hex
        folder = self._blobs / name[:2]
        folder.mkdir(exist_ok=True)
        return folder / name

    def blob(self, blob_id: str) -> Path:
        """Return the path of the blob whose file name is ``blob_id``."""
        return self._blobs.joinpath(blob_id[:2], blob_id)

    def register_blobs(self, sql: str) -> None:
        """Tell which blobs a service's tables name, by a SELECT of one column, so that :meth:`sweep` spares them."""
        self._blob_queries.append(sql)

    def sweep(self) -> None:
        """Remove the blobs that no table names: what a killed process had written but not yet acknowledged."""
        named = {row[0] for sql in self._blob_queries for row in self.query(sql)}
        for folder in self._blobs.iterdir():
            for blob in folder.iterdir():
                if blob.name not in named:
                    blob.unlink()

    def new_content(self) -> Path:
        """Return an empty directory, to be filled for :meth:`replace`."""
        incoming = self.directory / _INCOMING
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir()
        return incoming

    def replace(self) -> None:
        """Put what is in :meth:`new_content` in place of everything. A process that is killed meanwhile has all of the old or the new.

        No service may be at work; they are to be made anew afterwards.
        """
        self.disconnect()
        (self.directory / _INCOMING).rename(self.directory / _REPLACING)
        _finish_replacing(self.directory)
        self._blobs.mkdir(exist_ok=True)
        self._blob_queries.clear()

    def disconnect(self) -> None:
        """Close all connections, so that the files are whole; the next use opens new ones."""
        with self._write_lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
            self._local = threading.local()

    def close(self) -> None:
        """Close all connections and remove a temporary directory."""
        self.disconnect()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self.directory / "metadata.sqlite", timeout=60, isolation_level=None, check_same_thread=False
            )
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")
            # NORMAL survives the death of the process at any moment; only a power cut may lose the last commits.
            connection.execute("PRAGMA synchronous=NORMAL")
            self._local.connection = connection
            with self._write_lock:
                self._connections.append(connection)
        return connection


def columns(database: sqlite3.Connection) -> set[tuple[str, str]]:
    """Return the names of all tables of a database, with each of their columns."""
    found = database.execute(
        "SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns"
        " WHERE tables.type = 'table'"
    )
    return {(table, column) for table, column in found}


def _refuse_other_content(directory: Path) -> None:
    """Refuse a directory of somebody else's: what replaces everything removes what was there.

    :raises OSError: it is one.
    """
    # A file system has lost+found at its root.
    names = {path.name for path in directory.iterdir() if not path.name.startswith(".")} - {"lost+found"}
    if names and names.isdisjoint((LOCK, "metadata.sqlite")):
        raise OSError(errno.ENOTEMPTY, "it is not empty, and an emulator did not create it", str(directory))


def _finish_replacing(directory: Path) -> None:
    """Do what :meth:`State.replace` began: each step can be done again after a kill."""
    replacing, moving = directory / _REPLACING, directory / _MOVING
    if replacing.exists():
        for old in directory.iterdir():
            if old.name.startswith(_OWN):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        replacing.rename(moving)
    if moving.exists():
        for new in moving.iterdir():
            new.rename(directory / new.name)
        moving.rmdir()
    shutil.rmtree(directory / _INCOMING, ignore_errors=True)


def _remove_leftovers(parent: Path) -> None:
    """Remove the temporary directories of processes that were killed: ours, said to be temporary, and locked by nobody."""
    for directory in parent.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(OSError):
            found = directory.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            descriptor = os.open(directory / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # What is said is read under the lock: an emulator says it after it has locked.
                if os.read(descriptor, len(_MARK) + 1) == _MARK:
                    shutil.rmtree(directory, ignore_errors=True)
            finally:
                os.close(descriptor)


def _lock(directory: Path) -> int:
    """Lock a directory for as long as the returned file descriptor is open; it is closed when the process dies, however it dies."""
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise OSError(errno.EBUSY, "another emulator uses it", str(directory)) from error
    return descriptor
