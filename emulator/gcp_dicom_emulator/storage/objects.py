"""The buckets and objects: rows in SQLite, bytes in blobs. No HTTP here."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.storage import retention
from gcp_dicom_emulator.storage.times import timestamp

_TABLES = """
CREATE TABLE IF NOT EXISTS buckets (
    name TEXT PRIMARY KEY, project TEXT NOT NULL, created TEXT NOT NULL, updated TEXT NOT NULL, metageneration INTEGER NOT NULL,
    properties TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bucket_notifications (
    bucket TEXT NOT NULL, id INTEGER NOT NULL, resource TEXT NOT NULL, PRIMARY KEY (bucket, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL, metageneration INTEGER NOT NULL, blob TEXT NOT NULL,
    size INTEGER NOT NULL, crc32c TEXT NOT NULL, md5 TEXT, component_count INTEGER, created TEXT NOT NULL, updated TEXT NOT NULL,
    properties TEXT NOT NULL,
    PRIMARY KEY (bucket, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS noncurrent_objects (
    bucket TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL, metageneration INTEGER NOT NULL, blob TEXT NOT NULL,
    size INTEGER NOT NULL, crc32c TEXT NOT NULL, md5 TEXT, component_count INTEGER, created TEXT NOT NULL, updated TEXT NOT NULL,
    properties TEXT NOT NULL, deleted TEXT NOT NULL,
    PRIMARY KEY (bucket, name, generation)
) WITHOUT ROWID;
"""

_BUCKET_NAME = re.compile(r"(?=.{3,222}\Z)[a-z0-9][a-z0-9_-]{0,62}(\.[a-z0-9_-]{1,63})*(?<=[a-z0-9])")
_IP_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_CHUNK = 1 << 20
#: How many columns a noncurrent object has: one more than a live one.
_VERSION_COLUMNS = 13


@dataclass(frozen=True)
class Bucket:
    """A bucket's row.

    :param properties: what a client may set: ``location``, ``storageClass``, ``labels`` …
    """

    name: str
    project: str
    created: str
    updated: str
    metageneration: int
    properties: dict[str, Any]

    @property
    def etag(self) -> str:
        """The entity tag."""
        return base64.b64encode(str(self.metageneration).encode()).decode()

    @property
    def keeps_versions(self) -> bool:
        """Whether a live object that is deleted or replaced becomes a noncurrent one."""
        return bool((self.properties.get("versioning") or {}).get("enabled"))


@dataclass(frozen=True)
class StoredObject:
    """An object's row: that of the live version, or of a noncurrent one.

    :param blob: the id of the blob with its bytes.
    :param crc32c: base64, as the API writes it.
    :param md5: base64; ``None`` for a composed object.
    :param properties: what a client may set: ``contentType``, ``metadata``, ``storageClass`` …
    :param deleted: since when it is noncurrent; ``None`` for the live version.
    :param state: where the blob is.
    """

    bucket: str
    name: str
    generation: int
    metageneration: int
    blob: str
    size: int
    crc32c: str
    md5: str | None
    component_count: int | None
    created: str
    updated: str
    properties: dict[str, Any]
    deleted: str | None
    state: State = field(repr=False, compare=False)

    @property
    def etag(self) -> str:
        """The entity tag."""
        return base64.b64encode(f"{self.generation}/{self.metageneration}".encode()).decode()

    @property
    def path(self) -> Path:
        """The blob: immutable, shared, and gone when the object is."""
        return self.state.blob(self.blob)


@dataclass(frozen=True)
class Preconditions:
    """The conditions of a request on the live object; ``None`` for one that was not given."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    @property
    def matching(self) -> Preconditions:
        """Those that say what the object must be, without those that say what it must not be."""
        return Preconditions(generation_match=self.generation_match, metageneration_match=self.metageneration_match)

    def check(self, current: StoredObject | Bucket | None) -> None:
        """Check them. Without an object, its generation is 0; a bucket has none.

        :raises ApiError: 412 for a condition that does not hold.
        """
        generation = current.generation if isinstance(current, StoredObject) else 0
        metageneration = current.metageneration if current else None
        if self.generation_match not in (None, generation):
            raise _condition("ifGenerationMatch", self.generation_match, generation)
        if self.generation_not_match == generation:
            raise _condition("ifGenerationNotMatch", self.generation_not_match, generation)
        if self.metageneration_match not in (None, metageneration):
            raise _condition("ifMetagenerationMatch", self.metageneration_match, metageneration)
        if metageneration is not None and self.metageneration_not_match == metageneration:
            raise _condition("ifMetagenerationNotMatch", self.metageneration_not_match, metageneration)


def _condition(name: str, wanted: int | None, found: int | None) -> ApiError:
    return ApiError(412, f"At least one of the pre-conditions you specified did not hold: {name}={wanted}, it is {found}.")


@dataclass
class Digest:
    """Size and checksums of what is fed to it."""

    size: int = 0
    _md5: Any = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))
    _crc32c: int = 0

    def update(self, data: bytes) -> None:
        """Feed some bytes."""
        import google_crc32c

        self.size += len(data)
        self._md5.update(data)
        self._crc32c = google_crc32c.extend(self._crc32c, data)

    @property
    def md5(self) -> str:
        """The MD5, base64."""
        return base64.b64encode(self._md5.digest()).decode()

    @property
    def md5_hex(self) -> str:
        """The MD5, in hexadecimal digits."""
        return str(self._md5.hexdigest())

    @property
    def crc32c(self) -> str:
        """The CRC32C, big endian, base64."""
        return base64.b64encode(self._crc32c.to_bytes(4, "big")).decode()

    @classmethod
    def of(cls, path: Path) -> Digest:
        """Read a file."""
        digest = cls()
        with path.open("rb") as file:
            while data := file.read(_CHUNK):
                digest.update(data)
        return digest


def join(parts: Iterable[Path], blob: Path) -> Digest:
    """Write files into a new blob, one after the other, and return its digest; nothing is left of it where one cannot be read."""
    digest = Digest()
    try:
        with blob.open("xb") as target:
            for part in parts:
                with part.open("rb") as file:
                    while data := file.read(_CHUNK):
                        target.write(data)
                        digest.update(data)
    except BaseException:
        blob.unlink(missing_ok=True)
        raise
    return digest


@dataclass(frozen=True)
class Checksums:
    """The checksums that a client says its upload has; several where it says it more than once.

    :param md5: base64.
    :param crc32c: base64.
    """

    md5: frozenset[str]
    crc32c: frozenset[str]

    @classmethod
    def of(cls, metadata: Mapping[str, Any], headers: Mapping[str, str]) -> Checksums:
        """Read them from an object resource and the headers of a request."""
        found = {"md5": {metadata.get("md5Hash", ""), headers.get("Content-MD5", "")}, "crc32c": {metadata.get("crc32c", "")}}
        for part in headers.get("X-Goog-Hash", "").split(","):
            name, _, value = part.strip().partition("=")
            found.setdefault(name, set()).add(value)
        return cls(frozenset(found["md5"] - {""}), frozenset(found["crc32c"] - {""}))

    def check(self, digest: Digest) -> None:
        """Compare them with those of what has come.

        :raises ApiError: 400 for one that is another.
        """
        for name, wanted, found in (("MD5", self.md5, digest.md5), ("CRC32C", self.crc32c, digest.crc32c)):
            for value in wanted - {found}:
                raise ApiError(400, f'Provided {name} "{value}" doesn\'t match calculated {name} "{found}".')


@dataclass(frozen=True)
class Event:
    """What has just become of an object, as notifications name it.

    :param kind: ``OBJECT_FINALIZE``, ``OBJECT_METADATA_UPDATE``, ``OBJECT_DELETE`` or ``OBJECT_ARCHIVE``.
    :param stored: the object as it is, or was.
    :param other: the generation that it replaced, or that replaced it.
    """

    kind: str
    stored: StoredObject
    other: int | None = None


class ObjectStore:
    """All buckets and objects.

    :param state: where they are kept.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        #: Told of each event, inside its transaction.
        self.watchers: list[Callable[[Event], None]] = []
        #: Told the name of each bucket that is removed, inside the transaction.
        self.bucket_watchers: list[Callable[[str], None]] = []
        state.create_tables(_TABLES)
        state.register_blobs("SELECT blob FROM objects UNION ALL SELECT blob FROM noncurrent_objects")
        rows = state.query("SELECT MAX(generation) FROM objects UNION ALL SELECT MAX(generation) FROM noncurrent_objects")
        self._generation: int = max(row[0] or 0 for row in rows)
        self._generation_lock = threading.Lock()

    def _tell(self, event: Event) -> None:
        for watcher in self.watchers:
            watcher(event)

    # Buckets

    def create_bucket(self, name: str, project: str = "", properties: dict[str, Any] | None = None) -> Bucket:
        """Make a bucket.

        :raises ApiError: 400 for a name that no bucket can have, 409 when there is one.
        """
        if not _BUCKET_NAME.fullmatch(name) or _IP_ADDRESS.fullmatch(name) or name.startswith("goog") or "google" in name:
            raise ApiError(400, f"Invalid bucket name: {name!r}")
        now = timestamp()
        with self._state.transaction() as connection:
            try:
                connection.execute(
                    "INSERT INTO buckets VALUES (?, ?, ?, ?, 1, ?)", (name, project, now, now, json.dumps(properties or {}))
                )
            except sqlite3.IntegrityError:
                raise ApiError(
                    409, "Your previous request to create the named bucket succeeded and you already own it.", reason="conflict"
                ) from None
        return self.get_bucket(name)

    def get_bucket(self, name: str) -> Bucket:
        """Return a bucket.

        :raises ApiError: 404 when there is none.
        """
        rows = self._state.query("SELECT * FROM buckets WHERE name = ?", (name,))
        if not rows:
            raise ApiError(404, f"The specified bucket does not exist: {name}")
        return _bucket(rows[0])

    def list_buckets(self, project: str, prefix: str = "") -> Sequence[Bucket]:
        """Return a project's buckets whose names start with ``prefix``, by name."""
        rows = self._state.query(
            "SELECT * FROM buckets WHERE project = ? AND name >= ? AND name < ? ORDER BY name", (project, prefix, behind(prefix))
        )
        return [_bucket(row) for row in rows]

    def update_bucket(
        self,
        name: str,
        change: Callable[[dict[str, Any]], dict[str, Any]],
        preconditions: Preconditions = Preconditions(),
    ) -> Bucket:
        """Replace a bucket's properties by what ``change`` makes of them.

        :raises ApiError: 404 when there is none, 412 for a precondition.
        """
        with self._state.transaction() as connection:
            bucket = self.get_bucket(name)
            preconditions.check(bucket)
            properties = change(bucket.properties)
            connection.execute(
                "UPDATE buckets SET properties = ?, updated = ?, metageneration = metageneration + 1 WHERE name = ?",
                (json.dumps(properties), timestamp(), name),
            )
        return self.get_bucket(name)

    def delete_bucket(self, name: str, preconditions: Preconditions = Preconditions()) -> None:
        """Remove an empty bucket.

        :raises ApiError: 404 when there is none, 409 when it is not empty, 412 for a precondition.
        """
        with self._state.transaction() as connection:
            preconditions.check(self.get_bucket(name))
            for table in ("objects", "noncurrent_objects"):
                if not connection.execute(f"SELECT 1 FROM {table} WHERE bucket = ? LIMIT 1", (name,)).fetchone():
                    continue
                raise ApiError(409, "The bucket you tried to delete is not empty.", reason="conflict")
            connection.execute("DELETE FROM buckets WHERE name = ?", (name,))
            connection.execute("DELETE FROM bucket_notifications WHERE bucket = ?", (name,))
            for watcher in self.bucket_watchers:
                watcher(name)

    # Objects

    def find(self, bucket: str, name: str) -> StoredObject | None:
        """Return an object; ``None`` when there is none."""
        rows = self._state.query("SELECT * FROM objects WHERE bucket = ? AND name = ?", (bucket, name))
        return self._object(rows[0]) if rows else None

    def get(self, bucket: str, name: str, generation: int | None = None) -> StoredObject:
        """Return an object.

        :param generation: which version, live or noncurrent; ``None`` for the live one.
        :raises ApiError: 404 when there is no such bucket or object.
        """
        found = self.find(bucket, name)
        if generation is not None and (found is None or found.generation != generation):
            sql = "SELECT * FROM noncurrent_objects WHERE bucket = ? AND name = ? AND generation = ?"
            rows = self._state.query(sql, (bucket, name, generation))
            found = self._object(rows[0]) if rows else None
        if found is None:
            self.get_bucket(bucket)
            raise ApiError(404, f"No such object: {bucket}/{name}" + (f"#{generation}" if generation is not None else ""))
        return found

    def list(self, bucket: str, prefix: str = "", *, start: str = "", limit: int | None = None) -> Sequence[StoredObject]:
        """Return objects whose names start with ``prefix`` and are not before ``start``, in the order of names.

        :raises ApiError: 404 when there is no such bucket.
        """
        self.get_bucket(bucket)
        rows = self._state.query(
            "SELECT * FROM objects WHERE bucket = ? AND name >= ? AND name < ? ORDER BY name LIMIT ?",
            (bucket, max(prefix, start), behind(prefix), -1 if limit is None else limit),
        )
        return [self._object(row) for row in rows]

    def list_versions(
        self, bucket: str, prefix: str = "", *, start: tuple[str, int] = ("", 0), limit: int | None = None
    ) -> Sequence[StoredObject]:
        """Return all versions as :meth:`list` returns live ones, those of a name in the order of their generations.

        :param start: the name and the generation that the first one may have.
        :raises ApiError: 404 when there is no such bucket.
        """
        self.get_bucket(bucket)
        name, generation = max((prefix, 0), start)
        rows = self._state.query(
            "SELECT * FROM (SELECT *, NULL FROM objects UNION ALL SELECT * FROM noncurrent_objects) "
            "WHERE bucket = :bucket AND name >= :name AND name < :behind AND (name > :name OR generation >= :generation) "
            "ORDER BY name, generation LIMIT :limit",
            {
                "bucket": bucket,
                "name": name,
                "generation": generation,
                "behind": behind(prefix),
                "limit": -1 if limit is None else limit,
            },
        )
        return [self._object(row) for row in rows]

    def iterate(self, bucket: str, prefix: str = "", *, start: str = "") -> Iterator[StoredObject]:
        """Yield what :meth:`list` returns, a thousand at a time, so that memory stays flat."""
        while page := self.list(bucket, prefix, start=start, limit=1000):
            yield from page
            start = page[-1].name + "\0"

    def put(
        self,
        bucket: str,
        name: str,
        blob: Path,
        properties: dict[str, Any] | None = None,
        *,
        preconditions: Preconditions = Preconditions(),
        digest: Digest | None = None,
        component_count: int | None = None,
        within: Callable[[StoredObject], None] = lambda _: None,
    ) -> StoredObject:
        """Make a finished file, written at ``state.new_blob()``, the content of an object, which is replaced where it exists.

        :param digest: of the file, when it is known already.
        :param component_count: of how many parts it is composed; it then has no MD5.
        :param within: called with the object inside the transaction, to change more with it.
        :raises ApiError: 400 for a name that no object can have, 404 when there is no such bucket, 412 for a precondition.
        """
        try:
            check_object_name(name)
            digest = digest or Digest.of(blob)
            with self._replacing(bucket) as replacing:
                current = self.find(bucket, name)
                preconditions.check(current)
                stored = self._replace(replacing, current, name, blob, properties or {}, digest, component_count)
                within(stored)
        except BaseException:
            blob.unlink(missing_ok=True)
            raise
        return stored

    def put_bytes(self, bucket: str, name: str, data: bytes, properties: dict[str, Any] | None = None) -> StoredObject:
        """Make ``data`` the content of an object; see :meth:`put`."""
        blob = self._state.new_blob()
        blob.write_bytes(data)
        return self.put(bucket, name, blob, properties)

    def put_many(self, bucket: str, items: Sequence[tuple[str, Path]], properties: dict[str, Any] | None = None) -> None:
        """Put many objects in one transaction; see :meth:`put`."""
        try:
            prepared = [(name, blob, Digest.of(blob)) for name, blob in items]
            with self._replacing(bucket) as replacing:
                for name, blob, digest in prepared:
                    check_object_name(name)
                    self._replace(replacing, self.find(bucket, name), name, blob, properties or {}, digest, None)
        except BaseException:
            for _, blob in items:
                blob.unlink(missing_ok=True)
            raise

    def update(
        self,
        bucket: str,
        name: str,
        change: Callable[[Bucket, dict[str, Any]], dict[str, Any]],
        preconditions: Preconditions = Preconditions(),
        generation: int | None = None,
    ) -> StoredObject:
        """Replace an object's properties by what ``change`` makes of its bucket and them; its generation stays."""
        with self._state.transaction() as connection:
            current = self.get(bucket, name, generation)
            preconditions.check(current)
            table = "noncurrent_objects" if current.deleted else "objects"
            connection.execute(
                f"UPDATE {table} SET properties = ?, updated = ?, metageneration = metageneration + 1 "
                "WHERE bucket = ? AND name = ? AND generation = ?",
                (json.dumps(change(self.get_bucket(bucket), current.properties)), timestamp(), bucket, name, current.generation),
            )
            changed = self.get(bucket, name, generation)
            self._tell(Event("OBJECT_METADATA_UPDATE", changed))
        return changed

    def delete(
        self, bucket: str, name: str, preconditions: Preconditions = Preconditions(), generation: int | None = None
    ) -> None:
        """Remove an object. Without a generation, the live one becomes noncurrent where the bucket keeps versions.

        :raises ApiError: 404 when there is none, 412 for a precondition, 403 when it is held or retained.
        """
        with self._replacing(bucket) as replacing:
            current = self.get(bucket, name, generation)
            preconditions.check(current)
            self._tell(Event(replacing.remove(current, for_ever=generation is not None), current))

    def link(
        self, bucket: str, name: str, generation: int | None = None, preconditions: Preconditions = Preconditions()
    ) -> tuple[StoredObject, Path]:
        """Return an object and, at no cost, a new blob with the same bytes, which stays when the object goes.

        :raises ApiError: 404 when there is no such object, 412 for a precondition.
        """
        # Nobody replaces it meanwhile.
        with self._state.transaction():
            source = self.get(bucket, name, generation)
            preconditions.check(source)
            blob = self._state.new_blob()
            os.link(source.path, blob)
        return source, blob

    def move(self, bucket: str, name: str, new_name: str, of_source: Preconditions, preconditions: Preconditions) -> StoredObject:
        """Give an object another name, in one step, and a new generation.

        :param of_source: the conditions on the object as it is.
        :param preconditions: those on the one that has the new name already.
        :raises ApiError: as for :meth:`put` and :meth:`delete`.
        """

        def remove(_: StoredObject) -> None:
            self.delete(bucket, name, of_source)

        with self._state.transaction():
            source, blob = self.link(bucket, name, None, of_source)
            return self.put(
                bucket, new_name, blob, source.properties,
                preconditions=preconditions, component_count=source.component_count, within=remove,
            )  # fmt: skip

    def compose(
        self,
        bucket: str,
        name: str,
        sources: Sequence[StoredObject],
        properties: dict[str, Any],
        preconditions: Preconditions,
        *,
        delete_sources: bool = False,
    ) -> StoredObject:
        """Concatenate objects into one.

        :param delete_sources: whether they go in the same step, but for the one that is replaced.
        :raises ApiError: as for :meth:`put` and :meth:`delete`; 404 when one of them is gone.
        """

        def delete(_: StoredObject) -> None:
            for source, generation in {(source.name, source.generation) for source in sources} if delete_sources else ():
                live = self.find(bucket, source)
                if source != name:
                    self.delete(bucket, source, generation=None if live and live.generation == generation else generation)

        blob = self._state.new_blob()
        try:
            digest = join([source.path for source in sources], blob)
        except FileNotFoundError as error:  # one has been replaced or removed this very moment
            gone = next((source for source in sources if not source.path.exists()), sources[0])
            raise ApiError(404, f"No such object: {bucket}/{gone.name}#{gone.generation}") from error
        count = sum(source.component_count or 1 for source in sources)
        return self.put(
            bucket, name, blob, properties, preconditions=preconditions, digest=digest, component_count=count, within=delete
        )

    @contextlib.contextmanager
    def _replacing(self, bucket: str) -> Iterator[_Replacing]:
        """Yield what removes objects inside a transaction, and their blobs once it is committed."""
        with self._state.transaction() as connection:
            yield _Replacing(self.get_bucket(bucket), connection, self._state)

    def _replace(
        self,
        replacing: _Replacing,
        current: StoredObject | None,
        name: str,
        blob: Path,
        properties: dict[str, Any],
        digest: Digest,
        component_count: int | None,
    ) -> StoredObject:
        generation, old = self._next_generation(), None
        if current is not None:
            self._tell(Event(replacing.remove(current), current, generation))
            old = current.generation
        now = timestamp()
        md5 = None if component_count else digest.md5
        if default_class := replacing.bucket.properties.get("storageClass"):
            properties = {**properties, "storageClass": properties.get("storageClass") or default_class}
        properties = retention.held(replacing.bucket, {}, properties)
        row = (
            replacing.bucket.name,
            name,
            generation,
            1,
            blob.name,
            digest.size,
            digest.crc32c,
            md5,
            component_count,
            now,
            now,
            json.dumps(properties),
        )
        replacing.connection.execute("INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        stored = self._object(row)
        self._tell(Event("OBJECT_FINALIZE", stored, old))
        return stored

    def _next_generation(self) -> int:
        with self._generation_lock:
            self._generation = max(self._generation + 1, time.time_ns() // 1000)
            return self._generation

    def _object(self, row: Sequence[Any]) -> StoredObject:
        # In the order of the tables' columns, which is that of the fields.
        *values, properties, deleted = row if len(row) == _VERSION_COLUMNS else (*row, None)
        return StoredObject(*[*values, json.loads(properties), deleted, self._state])


@dataclass
class _Replacing:
    """A transaction that removes objects of a bucket."""

    bucket: Bucket
    connection: sqlite3.Connection
    state: State

    def remove(self, found: StoredObject, *, for_ever: bool = False) -> str:
        """Remove a version of an object; the live one becomes noncurrent unless it is to go for ever. Return the event's kind.

        :raises ApiError: 403 when it is held or retained.
        """
        retention.check(self.bucket, found)
        table, key = "noncurrent_objects" if found.deleted else "objects", (found.bucket, found.name, found.generation)
        where = "WHERE bucket = ? AND name = ? AND generation = ?"
        archived = self.bucket.keeps_versions and not for_ever
        if archived:
            self.connection.execute(f"INSERT INTO noncurrent_objects SELECT *, ? FROM objects {where}", (timestamp(), *key))
        else:
            self.state.remove_when_committed(found.path)
        self.connection.execute(f"DELETE FROM {table} {where}", key)
        return "OBJECT_ARCHIVE" if archived else "OBJECT_DELETE"


def _bucket(row: sqlite3.Row) -> Bucket:
    return Bucket(**{**dict(row), "properties": json.loads(row["properties"])})


def check_object_name(name: str) -> None:
    """Check the rules for names of objects.

    :raises ApiError: 400 for a name that no object can have.
    """
    try:
        length = len(name.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise ApiError(400, f"The object name is not valid UTF-8: {name!r}") from error
    if not 1 <= length <= 1024:
        raise ApiError(400, f"An object name has 1 to 1024 bytes in UTF-8, not {length}.")
    if name in (".", "..") or "\r" in name or "\n" in name or name.startswith(".well-known/acme-challenge/"):
        raise ApiError(400, f"Invalid object name: {name!r}")


def behind(prefix: str) -> str | bytes:
    """Return what sorts directly behind all names with a prefix: to SQLite, bytes sort behind all text."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return b""
    # Surrogates are not allowed in names.
    last = "\ue000" if stem[-1] == "\ud7ff" else chr(ord(stem[-1]) + 1)
    return stem[:-1] + last
