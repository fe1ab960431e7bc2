"""The instances of DICOM stores: rows in SQLite, bytes in blobs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection, Row

from gcp_dicom_emulator.healthcare.names import ResourcePath
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.storage.times import timestamp

_TABLES = """
CREATE TABLE IF NOT EXISTS dicom_instances (
    store TEXT NOT NULL, study TEXT NOT NULL, series TEXT NOT NULL, instance TEXT NOT NULL, blob TEXT NOT NULL, size INTEGER NOT NULL,
    transfer_syntax TEXT NOT NULL, storage_class TEXT NOT NULL, updated TEXT NOT NULL,
    PRIMARY KEY (store, study, series, instance)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dicom_attributes (
    store TEXT NOT NULL, study TEXT NOT NULL, series TEXT NOT NULL, instance TEXT NOT NULL, attributes TEXT NOT NULL,
    PRIMARY KEY (store, study, series, instance)
) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS forget_attributes AFTER DELETE ON dicom_instances BEGIN
    DELETE FROM dicom_attributes
    WHERE (store, study, series, instance) = (old.store, old.study, old.series, old.instance);
END;
CREATE TABLE IF NOT EXISTS filter_lines (
    operation TEXT NOT NULL, study TEXT NOT NULL, series TEXT NOT NULL, instance TEXT NOT NULL,
    PRIMARY KEY (operation, study, series, instance)
) WITHOUT ROWID;
"""

#: Three look-ups an instance, however many lines a filter has.
_FILTERED = (
    " AND ("
    + " OR ".join(
        f"EXISTS (SELECT 1 FROM filter_lines f WHERE f.operation = :operation AND f.study = i.study AND {condition})"
        for condition in (
            "f.series = '' AND f.instance = ''",
            "f.series = i.series AND f.instance = ''",
            "f.series = i.series AND f.instance = i.instance",
        )
    )
    + ")"
)


@dataclass(frozen=True)
class Instance:
    """One stored instance.

    :param path: its bytes as they were stored; immutable.
    :param attributes: what searches match and return, as DICOM JSON; of use when it is added.
    """

    study: str
    series: str
    instance: str
    path: Path
    size: int
    transfer_syntax: str
    storage_class: str
    updated: str = ""
    attributes: str = "{}"

    @property
    def uids(self) -> tuple[str, str, str]:
        """Study, series and instance."""
        return self.study, self.series, self.instance


@dataclass(frozen=True)
class Change:
    """What has just become of instances of a store.

    :param store: the store's name.
    :param kind: ``INSERT``, ``UPDATE`` of the storage class, or ``DELETE``.
    :param action: the method that did it, as notifications name it.
    :param instances: as they are now; as they were, where they are deleted.
    :param previous: the storage classes that they had before an update.
    """

    store: str
    kind: str
    action: str
    instances: list[Instance]
    previous: list[str] = dataclasses.field(default_factory=list)


class Instances:
    """All instances of all stores.

    :param state: where they are kept.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        #: Told of each change, inside its transaction.
        self.watchers: list[Callable[[Change], None]] = []
        state.create_tables(_TABLES)
        state.register_blobs("SELECT blob FROM dicom_instances")

    def _tell(self, change: Change) -> None:
        if change.instances:
            for watcher in self.watchers:
                watcher(change)

    def add(self, store: str, instances: Iterable[Instance], action: str) -> list[Instance]:
        """Add instances in one transaction; return those that the store had already, which stay as they were.

        The blobs of those that are not added are removed.

        :param action: the method that adds them; see :class:`Change`.
        :raises ApiError: 404 when there is no such store: it was deleted after the request was accepted.
        """
        unused = instances = list(instances)
        try:
            with self._state.transaction() as connection:
                if not connection.execute("SELECT 1 FROM healthcare_resources WHERE name = ?", (store,)).fetchone():
                    raise ApiError(404, f"not found: {store}")
                instances = [dataclasses.replace(new, updated=timestamp()) for new in instances]
                known = [new for new in instances if not self._add(connection, store, new)]
                added = [new for new in instances if new not in known]
                self._tell(Change(store, "INSERT", action, added))
            unused = known
        finally:
            for instance in unused:
                instance.path.unlink(missing_ok=True)
        return known

    def _add(self, connection: Connection, store: str, new: Instance) -> bool:
        added = connection.execute(
            "INSERT OR IGNORE INTO dicom_instances VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (store, *new.uids, new.path.name, new.size, new.transfer_syntax, new.storage_class, new.updated),
        ).rowcount
        if added:
            connection.execute("INSERT INTO dicom_attributes VALUES (?, ?, ?, ?, ?)", (store, *new.uids, new.attributes))
        return bool(added)

    def count(self, store: str, operation: str | None = None) -> int:
        """Return how many instances a store has, or a filter names.

        :param operation: whose filter; ``None`` for all instances.
        """
        sql = f"SELECT COUNT(*) AS n FROM dicom_instances i WHERE store = :store{_FILTERED if operation else ''}"
        count: int = self._state.query(sql, {"store": store, "operation": operation})[0]["n"]
        return count

    def counts(self, store: str, path: ResourcePath | None = None) -> tuple[int, int, int, int]:
        """Return how many studies, series and instances there are, and their bytes.

        :param path: a study, a series or an instance; ``None`` for the whole store.
        """
        where, parameters = _below(store, path)
        (row,) = self._state.query(
            "SELECT COUNT(DISTINCT study) AS a, COUNT(DISTINCT study || '/' || series) AS b, COUNT(*) AS c,"
            f" COALESCE(SUM(size), 0) AS d FROM dicom_instances WHERE {where}",
            parameters,
        )
        return row["a"], row["b"], row["c"], row["d"]

    def pages(self, store: str, operation: str | None, size: int) -> Iterator[list[Instance]]:
        """Yield a store's instances, or those that a filter names, in the order of their UIDs.

        :param operation: whose filter; ``None`` for all instances.
        :param size: how many a page has at most.
        """
        after = ("", "", "")
        sql = (
            "SELECT * FROM dicom_instances i WHERE store = :store AND (study, series, instance) > (:study, :series, :instance)"
            f"{_FILTERED if operation else ''} ORDER BY study, series, instance LIMIT :size"
        )
        while True:
            parameters = {"store": store, "operation": operation, "size": size}
            rows = self._state.query(sql, parameters | dict(zip(("study", "series", "instance"), after, strict=True)))
            if not rows:
                return
            page = [self._instance(row) for row in rows]
            yield page
            after = page[-1].uids

    def below(self, store: str, path: ResourcePath) -> list[Instance]:
        """Return the instances of a study or a series, or one instance, in the order of their UIDs."""
        where, parameters = _below(store, path)
        rows = self._state.query(f"SELECT * FROM dicom_instances WHERE {where} ORDER BY study, series, instance", parameters)
        return [self._instance(row) for row in rows]

    def set_storage_class(self, store: str, instances: Iterable[Instance], storage_class: str) -> None:
        """Change the storage class of instances that have another one."""
        now = timestamp()
        changed: list[Instance] = []
        previous: list[str] = []
        with self._state.transaction() as connection:
            for instance in instances:
                key = (store, *instance.uids, storage_class)
                where = "store = ? AND study = ? AND series = ? AND instance = ? AND storage_class <> ?"
                row = connection.execute(f"SELECT * FROM dicom_instances WHERE {where}", key).fetchone()
                if row is None:
                    continue
                connection.execute(
                    f"UPDATE dicom_instances SET storage_class = ?, updated = ? WHERE {where}", (storage_class, now, *key)
                )
                changed.append(dataclasses.replace(self._instance(row), storage_class=storage_class, updated=now))
                previous.append(row["storage_class"])
            self._tell(Change(store, "UPDATE", "SetBlobSettings", changed, previous))

    def delete(self, store: str, path: ResourcePath) -> int:
        """Remove a study, a series or an instance, and return how many instances that were."""
        where, parameters = _below(store, path)
        with self._state.transaction() as connection:
            deleted = self.below(store, path)
            self._tell(Change(store, "DELETE", f"Delete{path.level.title()}", deleted))
            connection.execute(f"DELETE FROM dicom_instances WHERE {where}", parameters)
            for instance in deleted:
                self._state.remove_when_committed(instance.path)
        return len(deleted)

    def modality(self, store: str, instance: Instance) -> str:
        """Return the Modality of an instance; nothing where it has none."""
        rows = self._state.query(
            "SELECT json_extract(attributes, '$.00080060.Value[0]') AS modality FROM dicom_attributes"
            " WHERE store = ? AND study = ? AND series = ? AND instance = ?",
            (store, *instance.uids),
        )
        return (rows[0]["modality"] or "") if rows else ""

    def delete_below(self, name: str) -> None:
        """Remove all instances of a store, or of a dataset's stores."""
        below = "FROM dicom_instances WHERE store = :name OR substr(store, 1, length(:name) + 1) = :name || '/'"
        with self._state.transaction() as connection:
            rows = connection.execute(f"SELECT blob {below}", {"name": name}).fetchall()
            connection.execute(f"DELETE {below}", {"name": name})
            for row in rows:
                self._state.remove_when_committed(self._state.blob(row["blob"]))

    def set_filter(self, operation: str, paths: Iterable[ResourcePath]) -> None:
        """Remember an operation's filter, in place of what it had."""
        lines = ((operation, path.study, path.series or "", path.instance or "") for path in paths)
        with self._state.transaction() as connection:
            connection.execute("DELETE FROM filter_lines WHERE operation = ?", (operation,))
            connection.executemany("INSERT OR IGNORE INTO filter_lines VALUES (?, ?, ?, ?)", lines)

    def forget_filter(self, operation: str) -> None:
        """Forget an operation's filter."""
        self.set_filter(operation, ())

    def _instance(self, row: Row) -> Instance:
        return Instance(
            row["study"],
            row["series"],
            row["instance"],
            self._state.blob(row["blob"]),
            row["size"],
            row["transfer_syntax"],
            row["storage_class"],
            row["updated"],
        )


def _below(store: str, path: ResourcePath | None) -> tuple[str, tuple[str, ...]]:
    """Return the condition for the rows of a store, a study, a series or an instance, and its parameters."""
    uids = [uid for uid in (path.study, path.series, path.instance) if uid is not None] if path else []
    columns = ("store", "study", "series", "instance")[: len(uids) + 1]
    return " AND ".join(f"{column} = ?" for column in columns), (store, *uids)
