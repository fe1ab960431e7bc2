"""The Cloud Storage JSON API.

Source: the discovery document ``storage.v1``.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote
from weakref import WeakValueDictionary

from aiohttp import web

from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.server import Call, Handler
from gcp_dicom_emulator.storage import buckets, retention
from gcp_dicom_emulator.storage.globs import glob_regex
from gcp_dicom_emulator.storage.objects import (
    Bucket,
    Checksums,
    Digest,
    ObjectStore,
    Preconditions,
    StoredObject,
    behind,
    check_object_name,
)
from gcp_dicom_emulator.storage.times import http_time
from gcp_dicom_emulator.storage.uploads import (
    SIZE,
    ContentRange,
    ResumableUploads,
    Upload,
    new_blob_file,
    receive,
    receive_multipart,
    take_chunk,
)

#: What a client may set of an object.
_OBJECT_PROPERTIES = (
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "customTime",
    "metadata",
    "storageClass",
)
#: What besides keeps it from being deleted, and what a copy does not get.
_HOLDS = ("eventBasedHold", "retention", "temporaryHold")
#: Parameters of objects' methods that would change what comes of them.
_NOT_DONE = ("filter", "kmsKeyName", "destinationKmsKeyName", "dropContextGroups", "restoreToken")
#: Conditions of reading.
_READING = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
_MAX_SOURCES = 32
#: A rewrite goes on by whole MiB.
_REWRITTEN = 1 << 20
_PAGE = 1000
_CHUNK = 1 << 20
#: What gzip begins with.
_GZIP = b"\x1f\x8b"


#: What makes new properties of old ones.
Change = Callable[[dict[str, Any]], dict[str, Any]]


class StorageService:
    """Buckets and objects over HTTP.

    :param state: where they are kept.
    """

    apis = ["storage.v1"]

    def __init__(self, state: State) -> None:
        self.objects = ObjectStore(state)
        self._state = state
        self._uploads = ResumableUploads(state)
        self.objects.bucket_watchers.append(self._uploads.forget_bucket)
        self._resuming: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def handlers(self) -> dict[str, Handler]:
        """Return the code by method id."""
        return {
            "storage.buckets.insert": self._insert_bucket,
            "storage.buckets.get": self._get_bucket,
            "storage.buckets.getStorageLayout": self._get_storage_layout,
            "storage.buckets.list": self._list_buckets,
            "storage.buckets.patch": self._patch_bucket,
            "storage.buckets.update": self._update_bucket,
            "storage.buckets.lockRetentionPolicy": self._lock_retention,
            "storage.buckets.delete": self._delete_bucket,
            "storage.objects.insert": self._insert,
            "storage.objects.get": self._get,
            "storage.objects.list": self._list,
            "storage.objects.patch": self._patch,
            "storage.objects.update": self._update,
            "storage.objects.delete": self._delete,
            "storage.objects.compose": self._compose,
            "storage.objects.copy": self._copy,
            "storage.objects.move": self._move,
            "storage.objects.rewrite": self._rewrite,
            "storage.projects.serviceAccount.get": self._service_account,
        }

    def close(self) -> None:
        """There is no background work."""

    # Buckets

    def _insert_bucket(self, call: Call) -> dict[str, Any]:
        object_retention = is_true(call.query, "enableObjectRetention")
        properties = buckets.created(buckets.settings(call.body), object_retention=object_retention)
        bucket = self.objects.create_bucket(call.body.get("name") or "", call.query.get("project", ""), properties)
        return buckets.resource(bucket, call.base_url)

    def _get_bucket(self, call: Call) -> Any:
        bucket = self.objects.get_bucket(call.path["bucket"])
        return _unless_known(call, bucket) or buckets.resource(bucket, call.base_url)

    def _get_storage_layout(self, call: Call) -> dict[str, Any]:
        bucket = buckets.resource(self.objects.get_bucket(call.path["bucket"]), call.base_url)
        return {
            "kind": "storage#storageLayout",
            "bucket": bucket["name"],
            "location": bucket["location"],
            "locationType": bucket["locationType"],
            "hierarchicalNamespace": {"enabled": False},
        }

    def _list_buckets(self, call: Call) -> dict[str, Any]:
        found = self.objects.list_buckets(call.query.get("project", ""), call.query.get("prefix", ""))
        start, _ = _page_start(call)
        page = [bucket for bucket in found if bucket.name >= start]
        limit = _max_results(call)
        answer: dict[str, Any] = {"kind": "storage#buckets"}
        if page:
            answer["items"] = [buckets.resource(bucket, call.base_url) for bucket in page[:limit]]
        if len(page) > limit:
            answer["nextPageToken"] = _page_token(page[limit].name)
        return answer

    def _patch_bucket(self, call: Call) -> dict[str, Any]:
        patch = buckets.settings(call.body)
        return self._change_bucket(call, lambda old: buckets.changed(old, merge(old, patch)))

    def _update_bucket(self, call: Call) -> dict[str, Any]:
        new = buckets.settings(call.body)
        return self._change_bucket(call, lambda old: buckets.changed(old, new))

    def _lock_retention(self, call: Call) -> dict[str, Any]:
        if "ifMetagenerationMatch" not in call.query:
            raise ApiError(400, "Required parameter: ifMetagenerationMatch", reason="required")
        return self._change_bucket(call, buckets.lock_retention)

    def _delete_bucket(self, call: Call) -> None:
        _refuse_unsupported(call)
        self.objects.delete_bucket(call.path["bucket"], preconditions_of(call.query))

    def _change_bucket(self, call: Call, change: Change) -> dict[str, Any]:
        _refuse_unsupported(call)
        bucket = self.objects.update_bucket(call.path["bucket"], change, preconditions_of(call.query))
        return buckets.resource(bucket, call.base_url)

    def _service_account(self, call: Call) -> dict[str, Any]:
        project = call.path["projectId"]
        return {
            "kind": "storage#serviceAccount",
            "email_address": f"service-{project}@gs-project-accounts.iam.gserviceaccount.com",
        }

    # Uploads

    async def _insert(self, call: Call) -> Any:
        _refuse_unsupported(call)
        await asyncio.to_thread(self._check_acl, call)
        upload_type = call.query.get("uploadType")
        if call.method.media != "upload":
            raise ApiError(400, "Objects are inserted below /upload/storage/v1.")
        if call.request.method == "DELETE":
            return await asyncio.to_thread(self._cancel, call)
        if call.request.method == "PUT" or "upload_id" in call.query:
            return await self._resume(call)
        if upload_type == "resumable":
            return await self._start_resumable(call)
        if upload_type == "multipart":
            return await self._insert_multipart(call)
        if upload_type == "media":
            return await self._insert_media(call)
        raise ApiError(400, f"uploadType is {upload_type!r}; it must be media, multipart or resumable.")

    async def _insert_media(self, call: Call) -> dict[str, Any]:
        blob = self._state.new_blob()
        with new_blob_file(blob) as file:
            await receive(call.request.content, file)
        properties = {"contentType": call.headers.get("Content-Type", "application/octet-stream")}
        return await asyncio.to_thread(self._put, call, call.query.get("name", ""), blob, properties)

    async def _insert_multipart(self, call: Call) -> dict[str, Any]:
        blob = self._state.new_blob()
        try:
            first, content_type = await receive_multipart(call.request, blob)
            metadata = call.parse(first)
        except BaseException:
            blob.unlink(missing_ok=True)
            raise
        metadata.setdefault("contentType", content_type or "application/octet-stream")
        name = call.query.get("name") or metadata.get("name", "")
        return await asyncio.to_thread(self._put, call, name, blob, metadata)

    async def _start_resumable(self, call: Call) -> web.Response:
        metadata = call.parse(await call.request.read())
        name = call.query.get("name") or metadata.get("name", "")
        metadata.setdefault("contentType", call.headers.get("X-Upload-Content-Type", "application/octet-stream"))
        location = await asyncio.to_thread(self.start_resumable, call, name, metadata, dict(call.query))
        return web.Response(headers={"Location": location, "X-GUploader-UploadID": location.rpartition("=")[2]})

    def start_resumable(self, call: Call, name: str, metadata: dict[str, Any], query: dict[str, str]) -> str:
        """Start a resumable upload to the bucket of a call; return where it goes on.

        :param query: the preconditions of the object, as query parameters.
        """
        if size := number_of(call.headers, SIZE):
            query[SIZE] = str(size)
        check_object_name(name)
        self.objects.get_bucket(call.path["bucket"])
        preconditions_of(query)
        upload = self._uploads.start(call.path["bucket"], name, metadata, query)
        return f"{call.base_url}/upload/storage/v1/b/{quote(upload.bucket)}/o?uploadType=resumable&upload_id={upload.id}"

    async def _resume(self, call: Call) -> Any:
        upload_id = call.query.get("upload_id", "")
        # A client that gave up on an answer may send a chunk while its last one is still being written.
        lock = self._resuming.setdefault(upload_id, asyncio.Lock())
        async with lock:
            if answer := self._uploads.answer(upload_id):
                return answer
            upload = self._uploads.get(upload_id)
            more = await take_chunk(call.request, upload.blob, upload.size)
            if more is None:
                return await self._end_resumable(call, upload)
            size = ContentRange.parse(call.headers.get("Content-Range"), None).total
            await asyncio.to_thread(self._uploads.keep_size, upload, size)
            return more

    def _cancel(self, call: Call) -> web.Response:
        """Forget a resumable upload. The service answers 499: the client has closed it."""
        upload = self._uploads.get(call.query.get("upload_id", ""))
        self._uploads.forget(upload)
        upload.blob.unlink(missing_ok=True)
        return web.Response(status=499, reason="Client Closed Request")

    async def _end_resumable(self, call: Call, upload: Upload) -> dict[str, Any]:
        try:
            return await asyncio.to_thread(self._put, call, upload.name, upload.blob, upload.properties, upload)
        except BaseException:
            await asyncio.to_thread(self._uploads.forget, upload)
            raise

    def _put(self, call: Call, name: str, blob: Path, metadata: dict[str, Any], upload: Upload | None = None) -> dict[str, Any]:
        """Make a blob an object, in the same transaction as it ends a resumable upload."""
        bucket, query = (upload.bucket, upload.query) if upload else (call.path["bucket"], call.query)
        answer: dict[str, Any] = {}

        def end(stored: StoredObject) -> None:
            answer.update(self._resource(stored, call))
            if upload:
                self._uploads.end(upload, answer)

        try:
            digest = Digest.of(blob)
            Checksums.of(metadata, call.headers).check(digest)
            preconditions, properties = preconditions_of(query), object_properties(metadata)
            if encoding := query.get("contentEncoding"):
                properties["contentEncoding"] = encoding
        except BaseException:
            blob.unlink(missing_ok=True)
            raise
        self.objects.put(bucket, name, blob, properties, preconditions=preconditions, digest=digest, within=end)
        return answer

    def _check_acl(self, call: Call) -> None:
        """Refuse a predefined access control list where the bucket that is written to has none."""
        if wanted := call.query.get("predefinedAcl") or call.query.get("destinationPredefinedAcl"):
            bucket = call.path.get("destinationBucket") or call.path["bucket"]
            buckets.check_acl(self.objects.get_bucket(bucket), wanted)

    # Objects

    def _resource(self, stored: StoredObject, call: Call) -> dict[str, Any]:
        return object_resource(stored, self.objects.get_bucket(stored.bucket), call.base_url)

    def _found(self, call: Call) -> StoredObject:
        _refuse_unsupported(call)
        return self.objects.get(call.path["bucket"], call.path["object"], number_of(call.query, "generation"))

    def _get(self, call: Call) -> Any:
        found = self._found(call)
        if answer := _unless_known(call, found):
            return answer
        if call.query.get("alt") == "media" or call.method.media == "download":
            return self.media(call, found)
        return self._resource(found, call)

    def media(self, call: Call, found: StoredObject, etag: str | None = None) -> web.StreamResponse:
        """Return an object's content, or the part of it that a request's ``Range`` asks for.

        :param etag: the entity tag that the client knows the object by.
        :raises ApiError: 416 for a range that it does not have.
        """
        try:
            file = found.path.open("rb")
        except FileNotFoundError:
            # It has been replaced or removed this very moment.
            return self.media(call, self._found(call))
        if _is_to_be_decompressed(call, found) and file.read(len(_GZIP)) == _GZIP:
            file.seek(0)
            headers = _media_headers(found)
            del headers["Content-Encoding"], headers["Accept-Ranges"]
            return Download(_Decompressed(file), 0, None, status=200, headers=headers)
        try:
            wanted = call.request.http_range if _is_current(call.headers, found, etag or found.etag) else slice(None)
        except ValueError:
            wanted = slice(None)
        if wanted.start == 0 and wanted.stop is None and call.headers.get("Range", "").partition("=")[2].strip().startswith("-"):
            wanted = slice(found.size, None)  # the last no bytes
        start, end, _ = wanted.indices(found.size)
        if wanted.start is None:
            return Download(file, 0, found.size, status=200, headers=_media_headers(found))
        if start >= end:
            file.close()
            raise ApiError(416, "The requested range cannot be satisfied.", headers={"Content-Range": f"bytes */{found.size}"})
        headers = {**_media_headers(found), "Content-Range": f"bytes {start}-{end - 1}/{found.size}"}
        return Download(file, start, end, status=206, headers=headers)

    def _list(self, call: Call) -> dict[str, Any]:
        _refuse_unsupported(call)
        listing = Listing(self.objects, call.path["bucket"], call.query)
        items, prefixes, start = listing.page(_page_start(call), _max_results(call))
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if items:
            bucket = self.objects.get_bucket(call.path["bucket"])
            answer["items"] = [object_resource(item, bucket, call.base_url) for item in items]
        if prefixes:
            answer["prefixes"] = prefixes
        if start is not None:
            answer["nextPageToken"] = _page_token(*start)
        return answer

    def _patch(self, call: Call) -> dict[str, Any]:
        return self._change(call, lambda old: merge(old, object_properties(call.body)))

    def _update(self, call: Call) -> dict[str, Any]:
        return self._change(call, lambda _: object_properties(call.body))

    def _change(self, call: Call, change: Change) -> dict[str, Any]:
        _refuse_unsupported(call)
        self._check_acl(call)
        override = is_true(call.query, "overrideUnlockedRetention")

        def changed(bucket: Bucket, old: dict[str, Any]) -> dict[str, Any]:
            # An update that says nothing of the class leaves it: the object stays where it is.
            kept = {key: old[key] for key in ("storageClass",) if key in old}
            return retention.held(bucket, old, {**kept, **change(old)}, override=override)

        generation, preconditions = number_of(call.query, "generation"), preconditions_of(call.query)
        stored = self.objects.update(call.path["bucket"], call.path["object"], changed, preconditions, generation)
        return self._resource(stored, call)

    def _delete(self, call: Call) -> None:
        _refuse_unsupported(call)
        self.objects.delete(
            call.path["bucket"], call.path["object"], preconditions_of(call.query), number_of(call.query, "generation")
        )

    def _compose(self, call: Call) -> dict[str, Any]:
        _refuse_unsupported(call)
        self._check_acl(call)
        bucket, wanted = call.path["destinationBucket"], call.body.get("sourceObjects") or []
        if not 1 <= len(wanted) <= _MAX_SOURCES:
            raise ApiError(400, f"The number of source components provided ({len(wanted)}) must be between 1 and {_MAX_SOURCES}.")
        sources = [self._source(bucket, source) for source in wanted]
        if len({source.properties.get("storageClass") or "STANDARD" for source in sources}) > 1:
            raise ApiError(400, "The source objects must have the same storage class.")
        properties = object_properties(call.body.get("destination") or {})
        is_move = bool(call.body.get("deleteSourceObjects"))
        composed = self.objects.compose(
            bucket, call.path["destinationObject"], sources, properties, preconditions_of(call.query), delete_sources=is_move
        )
        return self._resource(composed, call)

    def _source(self, bucket: str, source: dict[str, Any]) -> StoredObject:
        name = source.get("name") or ""
        check_object_name(name)
        found = self.objects.get(bucket, name, number_of(source, "generation"))
        preconditions_of(source.get("objectPreconditions") or {}).check(found)
        return found

    def _copy(self, call: Call) -> dict[str, Any]:
        return self._resource(self._copied(call), call)

    def _move(self, call: Call) -> dict[str, Any]:
        _refuse_unsupported(call)
        bucket, source = call.path["bucket"], call.path["sourceObject"]
        if source == call.path["destinationObject"]:
            raise ApiError(400, "An object cannot be moved to itself.")
        condition = preconditions_of(call.query)
        moved = self.objects.move(
            bucket, source, call.path["destinationObject"], preconditions_of(call.query, "Source"), condition
        )
        return self._resource(moved, call)

    def _rewrite(self, call: Call) -> dict[str, Any]:
        limit, token = number_of(call.query, "maxBytesRewrittenPerCall"), call.query.get("rewriteToken", "")
        if limit is not None and (not limit or limit % _REWRITTEN):
            raise ApiError(400, f"maxBytesRewrittenPerCall is {limit}; it must be a multiple of {_REWRITTEN}.")
        if limit or token:
            source = self.objects.get(
                call.path["sourceBucket"], call.path["sourceObject"], number_of(call.query, "sourceGeneration")
            )
            rewritten = _rewritten(token, call, source) + (limit or source.size)
            if rewritten < source.size and self._bytes_move(call, source):
                return {
                    "kind": "storage#rewriteResponse",
                    "totalBytesRewritten": str(rewritten),
                    "objectSize": str(source.size),
                    "done": False,
                    "rewriteToken": _rewrite_token(rewritten, call, source),
                }
        copied = self._copied(call)
        return {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": str(copied.size),
            "objectSize": str(copied.size),
            "done": True,
            "resource": self._resource(copied, call),
        }

    def _bytes_move(self, call: Call, source: StoredObject) -> bool:
        """Return whether an object's bytes go elsewhere by a rewrite: to another location, or into another class."""
        old, new = (self.objects.get_bucket(call.path[name]) for name in ("sourceBucket", "destinationBucket"))
        properties = object_properties(call.body) or source.properties
        classes = [found.get("storageClass") or "STANDARD" for found in (source.properties, properties)]
        return old.properties.get("location") != new.properties.get("location") or classes[0] != classes[1]

    def _copied(self, call: Call) -> StoredObject:
        _refuse_unsupported(call)
        self._check_acl(call)
        preconditions = preconditions_of(call.query)
        source, blob = self.objects.link(
            call.path["sourceBucket"],
            call.path["sourceObject"],
            number_of(call.query, "sourceGeneration"),
            preconditions_of(call.query, "Source"),
        )
        # Metadata in the body replaces the source's as a whole.
        properties = object_properties(call.body) or without_holds(source.properties)
        return self.objects.put(
            call.path["destinationBucket"],
            call.path["destinationObject"],
            blob,
            properties,
            preconditions=preconditions,
            component_count=source.component_count,
        )


class _Decompressed(gzip.GzipFile):
    """What is in a gzip file, which it closes as well."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file)
        self._file = file

    def close(self) -> None:
        super().close()
        self._file.close()


class Download(web.StreamResponse):
    """A part of a file that is open already, so that its bytes stay when the object goes.

    :param file: the file, which the response closes.
    :param start: the offset of the first byte.
    :param end: the offset behind the last byte; ``None`` for all there is, however much.
    """

    def __init__(
        self, file: BinaryIO | gzip.GzipFile, start: int, end: int | None, *, status: int, headers: dict[str, str]
    ) -> None:
        super().__init__(status=status, headers=headers)
        if end is None:
            self.enable_chunked_encoding()
        else:
            self.content_length = end - start
        self._file = file
        self._part = (start, end)

    async def prepare(self, request: web.BaseRequest) -> Any:
        """Send it."""
        with self._file as file:
            writer = await super().prepare(request)
            position, end = self._part
            file.seek(position)
            if request.method == "HEAD":
                return writer
            while end is None or position < end:
                data = await asyncio.to_thread(file.read, _CHUNK if end is None else min(_CHUNK, end - position))
                if not data:
                    break
                await self.write(data)
                position += len(data)
        return writer


#: A name, and a generation, from which a listing goes on.
Position = tuple[str, int]


class Listing:
    """A listing as its query parameters describe it."""

    def __init__(self, objects: ObjectStore, bucket: str, query: Mapping[str, str]) -> None:
        self._objects = objects
        self._bucket = bucket
        self._prefix = query.get("prefix", "")
        self._delimiter = query.get("delimiter", "")
        self._trailing = is_true(query, "includeTrailingDelimiter")
        self._start = query.get("startOffset", "")
        self._end = query.get("endOffset", "")
        self._glob = glob_regex(query["matchGlob"]) if query.get("matchGlob") else None
        self._versions = is_true(query, "versions")

    def page(self, start: Position, limit: int) -> tuple[Sequence[StoredObject], Sequence[str], Position | None]:
        """Return objects, prefixes, and where the next page starts (``None`` at the end)."""
        items: list[StoredObject] = []
        prefixes: list[str] = []
        position = max(start, (self._start, 0))
        while True:
            found = next(iter(self._list(position, 1)), None)
            if found is None or (self._end and found.name >= self._end):
                return items, prefixes, None
            if len(items) + len(prefixes) >= limit:
                return items, prefixes, position
            group = self._group(found.name)
            if group is None:
                items_here, position = self._run(position, limit - len(items) - len(prefixes))
                items += items_here
                continue
            if self._matches(group):
                prefixes.append(group)
                if self._trailing and found.name == group:
                    items += [each for each in self._list((group, 0), _PAGE if self._versions else 1) if each.name == group]
            # Everything below the prefix is skipped in one step, however much it is.
            following = behind(group)
            if isinstance(following, bytes):
                return items, prefixes, None
            position = following, 0

    def _list(self, start: Position, limit: int) -> Sequence[StoredObject]:
        if self._versions:
            return self._objects.list_versions(self._bucket, self._prefix, start=start, limit=limit)
        return self._objects.list(self._bucket, self._prefix, start=start[0], limit=limit)

    def _run(self, position: Position, limit: int) -> tuple[list[StoredObject], Position]:
        """Return objects up to the next one that belongs to a prefix, and the first position that was not looked at."""
        items: list[StoredObject] = []
        while page := self._list(position, _PAGE):
            for found in page:
                if self._group(found.name) is not None or (self._end and found.name >= self._end):
                    return items, position
                position = (found.name, found.generation + 1) if self._versions else (found.name + "\0", 0)
                if self._matches(found.name):
                    items.append(found)
                if len(items) >= limit:  # not one more, which would read another thousand
                    return items, position
        return items, position

    def _matches(self, name: str) -> bool:
        return self._glob is None or self._glob.fullmatch(name) is not None

    def _group(self, name: str) -> str | None:
        if not self._delimiter:
            return None
        at = name.find(self._delimiter, len(self._prefix))
        return None if at < 0 else name[: at + len(self._delimiter)]


def object_resource(stored: StoredObject, bucket: Bucket, base_url: str) -> dict[str, Any]:
    """Return an object as the API writes it.

    :param bucket: its bucket.
    """
    # The slash on its own: quote() is much faster where nothing else is to be quoted.
    path = f"b/{stored.bucket}/o/{quote(stored.name).replace('/', '%2F')}"
    resource: dict[str, Any] = {
        "storageClass": "STANDARD",
        **{key: value for key, value in stored.properties.items() if key != retention.RELEASED},
        "kind": "storage#object",
        "id": f"{stored.bucket}/{stored.name}/{stored.generation}",
        "selfLink": f"{base_url}/storage/v1/{path}",
        "mediaLink": f"{base_url}/download/storage/v1/{path}?generation={stored.generation}&alt=media",
        "name": stored.name,
        "bucket": stored.bucket,
        "generation": str(stored.generation),
        "metageneration": str(stored.metageneration),
        "size": str(stored.size),
        "crc32c": stored.crc32c,
        "etag": stored.etag,
        "timeCreated": stored.created,
        "updated": stored.updated,
        "timeStorageClassUpdated": stored.created,
        "timeFinalized": stored.created,
    }
    if stored.md5 is not None:
        resource["md5Hash"] = stored.md5
    if stored.component_count is not None:
        resource["componentCount"] = stored.component_count
    if stored.deleted is not None:
        resource["timeDeleted"] = stored.deleted
    if until := retention.expiration(bucket, stored.created, stored.properties):
        resource["retentionExpirationTime"] = until
    return resource


def object_properties(resource: dict[str, Any]) -> dict[str, Any]:
    """Return what a client may set of the object resource that it sent.

    :raises ApiError: 501 for what would encrypt it, for contexts, and for who may do what.
    """
    for name in ("kmsKeyName", "customerEncryption", "contexts", "acl"):
        if resource.get(name):
            raise ApiError(501, f"The emulator's objects have no {name}.")
    properties = {key: resource[key] for key in (*_OBJECT_PROPERTIES, *_HOLDS) if key in resource}
    buckets.settle_class(properties)
    return properties


def without_holds(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of an object's copy."""
    return {key: value for key, value in properties.items() if key in _OBJECT_PROPERTIES}


def merge(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Return ``old`` with a patch: what is ``null`` in it is removed, objects are merged."""
    merged = dict(old)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = merge(merged.get(key, {}), value)
        else:
            merged[key] = value
    return merged


def preconditions_of(query: Mapping[str, Any], of: str = "") -> Preconditions:
    """Return the preconditions in a query, or in ``objectPreconditions``.

    :param of: ``"Source"`` for those on the source of a copy.
    :raises ApiError: 400 for one that is not a number.
    """
    return Preconditions(
        number_of(query, f"if{of}GenerationMatch"),
        number_of(query, f"if{of}GenerationNotMatch"),
        number_of(query, f"if{of}MetagenerationMatch"),
        number_of(query, f"if{of}MetagenerationNotMatch"),
    )


def is_true(query: Mapping[str, str], name: str) -> bool:
    """Tell whether a query parameter is true; Google's Python client writes ``True``.

    :raises ApiError: 400 for what is neither true nor false.
    """
    value = query.get(name, "")
    if value.lower() not in ("true", "false", ""):
        raise ApiError(400, f"{name} is {value!r}; it must be true or false.")
    return value.lower() == "true"


def number_of(fields: Mapping[str, Any], name: str) -> int | None:
    """Return a number that a client wrote; ``None`` for none.

    :raises ApiError: 400 for what is not one.
    """
    value = fields.get(name)
    if value is not None and not re.fullmatch("[0-9]{1,18}", str(value)):
        raise ApiError(400, f"{name} is {value!r}; it must be a number.")
    return None if value is None else int(value)


def _unless_known(call: Call, found: StoredObject | Bucket) -> web.Response | None:
    """Check the preconditions of reading; return the answer when the client knows already what it asks for."""
    wanted, known = (_etags(call.headers.get(name, "")) for name in ("If-Match", "If-None-Match"))
    if wanted and not wanted & {"*", found.etag}:
        raise ApiError(412, "At least one of the pre-conditions you specified did not hold: If-Match.")
    if known & {"*", found.etag}:
        return web.Response(status=304)
    preconditions = preconditions_of(call.query)
    preconditions.matching.check(found)
    try:
        preconditions.check(found)
    except ApiError:
        return web.Response(status=304)
    return None


def _is_current(headers: Mapping[str, str], found: StoredObject, etag: str) -> bool:
    """Say whether a part is wanted of this object (``If-Range``), rather than of an earlier one."""
    wanted = headers.get("If-Range", "").strip()
    modified = datetime.fromisoformat(found.updated).replace(microsecond=0)
    return not wanted or wanted.strip('"') == etag.strip('"') or http_time(wanted) == modified


def _etags(header: str) -> set[str]:
    return {part.strip().strip('"') for part in header.split(",")} - {""}


def _media_headers(found: StoredObject) -> dict[str, str]:
    properties = found.properties
    headers = {
        "Content-Type": properties.get("contentType") or "application/octet-stream",
        "Accept-Ranges": "bytes",
        "ETag": found.etag,
        "X-Goog-Generation": str(found.generation),
        "X-Goog-Metageneration": str(found.metageneration),
        "X-Goog-Hash": f"crc32c={found.crc32c}" + (f",md5={found.md5}" if found.md5 else ""),
        "X-Goog-Stored-Content-Length": str(found.size),
        "X-Goog-Stored-Content-Encoding": properties.get("contentEncoding") or "identity",
    }
    for name, key in (
        ("Content-Encoding", "contentEncoding"),
        ("Content-Disposition", "contentDisposition"),
        ("Content-Language", "contentLanguage"),
        ("Cache-Control", "cacheControl"),
    ):
        if properties.get(key):
            headers[name] = properties[key]
    # What came as JSON may hold what no header can.
    return {name: re.sub(r"[\x00-\x1f\x7f]", " ", value) for name, value in headers.items()}


def _is_to_be_decompressed(call: Call, found: StoredObject) -> bool:
    """Say whether what is stored as gzip goes to a client that does not take gzip."""
    return (
        found.properties.get("contentEncoding") == "gzip"
        and not _takes_gzip(call.headers.get("Accept-Encoding", ""))
        and "no-transform" not in (found.properties.get("cacheControl") or "")
    )


def _takes_gzip(header: str) -> bool:
    """Say whether an ``Accept-Encoding`` names gzip, and does not refuse it."""
    weights = dict(re.findall(r"([\w-]+)(?:\s*;\s*q=([01](?:\.\d*)?))?", header.lower()))
    return "gzip" in weights and float(weights["gzip"] or 1) > 0


def _max_results(call: Call) -> int:
    value = number_of(call.query, "maxResults")
    if value == 0:
        raise ApiError(400, "maxResults is 0; it must be a number above 0.")
    return min(value or _PAGE, _PAGE)


def _rewrite_token(rewritten: int, call: Call, source: StoredObject) -> str:
    """Return a token that says how far a rewrite is, and which one that is."""
    which = json.dumps([sorted(call.path.items()), source.generation, call.body], sort_keys=True)
    return f"{rewritten}-{hashlib.sha256(which.encode()).hexdigest()}"


def _rewritten(token: str, call: Call, source: StoredObject) -> int:
    """Return how far a rewrite is.

    :raises ApiError: 400 for a token that this rewrite has not been given.
    """
    rewritten = int(token.partition("-")[0]) if re.fullmatch("[0-9]{1,18}-[0-9a-f]{64}", token) else 0
    if token and token != _rewrite_token(rewritten, call, source):
        raise ApiError(400, f"rewriteToken is {token!r}, which this rewrite has not returned.")
    return rewritten


def _page_token(name: str, generation: int = 0) -> str:
    # No name has a line feed in it.
    text = f"{name}\n{generation}" if generation else name
    return base64.urlsafe_b64encode(text.encode()).decode()


def _page_start(call: Call) -> Position:
    token = call.query.get("pageToken", "")
    try:
        name, _, generation = base64.b64decode(token, altchars=b"-_", validate=True).decode().partition("\n")
        return name, number_of({"generation": generation or "0"}, "generation") or 0
    except ValueError:
        raise ApiError(400, f"pageToken is {token!r}, which no listing has returned.") from None


def _refuse_unsupported(call: Call) -> None:
    """Refuse what would change a request's effect, and does not here.

    :raises ApiError: 501.
    """
    refuse_encryption(call.headers)
    refuse_conditions(call)
    if is_true(call.query, "softDeleted"):
        raise ApiError(501, "The emulator keeps no objects that are deleted softly.")
    for name in _NOT_DONE:
        if call.query.get(name):
            raise ApiError(501, f"The emulator does not do {name}.")


def refuse_conditions(call: Call) -> None:
    """Refuse conditions of reading where something is written.

    :raises ApiError: 501.
    """
    for name in _READING if call.request.method not in ("GET", "HEAD") else ():
        if name in call.headers:
            raise ApiError(501, f"The emulator does not do {name} of {call.request.method}.")


def refuse_encryption(headers: Mapping[str, str]) -> None:
    """Refuse a key of the client's own, or one that KMS has.

    :raises ApiError: 501.
    """
    if "X-Goog-Encryption-Key" in headers or "X-Goog-Copy-Source-Encryption-Key" in headers:
        raise ApiError(501, "The emulator does not do customer-supplied encryption keys.")
    if "X-Goog-Encryption-Kms-Key-Name" in headers:
        raise ApiError(501, "The emulator does not do keys of KMS.")
