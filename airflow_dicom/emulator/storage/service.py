"""The Cloud Storage JSON API.

Source: the discovery document ``storage.v1``.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from aiohttp import web

from airflow_dicom.emulator import lenient_json
from airflow_dicom.emulator.errors import ApiError
from airflow_dicom.emulator.server import Call, Handler
from airflow_dicom.emulator.state import State
from airflow_dicom.emulator.storage.globs import glob_regex
from airflow_dicom.emulator.storage.objects import Bucket, ObjectStore, Preconditions, StoredObject, check_object_name
from airflow_dicom.emulator.storage.uploads import ContentRange, ResumableUploads, Upload, receive, split_multipart

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

#: What of a bucket the server decides.
_BUCKET_OUTPUT = ("kind", "id", "selfLink", "name", "projectNumber", "timeCreated", "updated", "metageneration", "etag")

#: Query parameters that ask for what the emulator does not have; they are refused rather than ignored.
_UNSUPPORTED = {"versions": "true", "softDeleted": "true"}
_MAX_SOURCES = 32
_PAGE = 1000


class StorageService:
    """Buckets and objects over HTTP.

    :param state: where they are kept.
    """

    apis = ["storage.v1"]

    def __init__(self, state: State) -> None:
        self.objects = ObjectStore(state)
        self._state = state
        self._uploads = ResumableUploads(state)

    def handlers(self) -> dict[str, Handler]:
        """Return the code by method id."""
        return {
            "storage.buckets.insert": self._insert_bucket,
            "storage.buckets.get": lambda call: bucket_resource(self.objects.get_bucket(call.path["bucket"]), call.base_url),
            "storage.buckets.list": self._list_buckets,
            "storage.buckets.patch": self._patch_bucket,
            "storage.buckets.update": self._patch_bucket,
            "storage.buckets.delete": lambda call: self.objects.delete_bucket(call.path["bucket"]),
            "storage.objects.insert": self._insert,
            "storage.objects.get": self._get,
            "storage.objects.list": self._list,
            "storage.objects.patch": self._patch,
            "storage.objects.update": self._update,
            "storage.objects.delete": self._delete,
            "storage.objects.compose": self._compose,
            "storage.objects.copy": self._copy,
            "storage.objects.rewrite": self._rewrite,
            "storage.projects.serviceAccount.get": self._service_account,
        }

    def close(self) -> None:
        """There is no background work."""

    # Buckets

    def _insert_bucket(self, call: Call) -> dict[str, Any]:
        properties = {key: value for key, value in call.body.items() if key not in _BUCKET_OUTPUT}
        bucket = self.objects.create_bucket(call.body.get("name", ""), call.query.get("project", ""), properties)
        return bucket_resource(bucket, call.base_url)

    def _list_buckets(self, call: Call) -> dict[str, Any]:
        buckets = self.objects.list_buckets(call.query.get("project", ""), call.query.get("prefix", ""))
        after = _page_start(call)
        page = [bucket for bucket in buckets if bucket.name > after]
        limit = _max_results(call)
        answer: dict[str, Any] = {"kind": "storage#buckets"}
        if page:
            answer["items"] = [bucket_resource(bucket, call.base_url) for bucket in page[:limit]]
        if len(page) > limit:
            answer["nextPageToken"] = _page_token(page[limit - 1].name)
        return answer

    def _patch_bucket(self, call: Call) -> dict[str, Any]:
        def change(properties: dict[str, Any]) -> dict[str, Any]:
            return merge(properties, {key: value for key, value in call.body.items() if key not in _BUCKET_OUTPUT})

        return bucket_resource(self.objects.update_bucket(call.path["bucket"], change), call.base_url)

    def _service_account(self, call: Call) -> dict[str, Any]:
        project = call.path["projectId"]
        return {
            "kind": "storage#serviceAccount",
            "email_address": f"service-{project}@gs-project-accounts.iam.gserviceaccount.com",
        }

    # Uploads

    async def _insert(self, call: Call) -> Any:
        _refuse_encryption(call.headers)
        upload_type = call.query.get("uploadType")
        if call.method.media != "upload":
            raise ApiError(400, "Objects are inserted below /upload/storage/v1.")
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
        await receive(call.request.content, blob)
        properties = {"contentType": call.headers.get("Content-Type", "application/octet-stream")}
        if encoding := call.query.get("contentEncoding"):
            properties["contentEncoding"] = encoding
        return await self._put(call, call.query.get("name", ""), blob, properties, dict(call.query))

    async def _insert_multipart(self, call: Call) -> dict[str, Any]:
        raw, blob = self._state.new_blob(), self._state.new_blob()
        try:
            await receive(call.request.content, raw)
            metadata, content_type = await asyncio.to_thread(split_multipart, raw, call.headers.get("Content-Type", ""), blob)
        finally:
            raw.unlink(missing_ok=True)
        properties = object_properties(metadata)
        properties.setdefault("contentType", content_type or "application/octet-stream")
        return await self._put(call, call.query.get("name") or metadata.get("name", ""), blob, properties, dict(call.query))

    async def _start_resumable(self, call: Call) -> web.Response:
        metadata = lenient_json.loads(await call.request.read())
        name = call.query.get("name") or metadata.get("name", "")
        check_object_name(name)
        self.objects.get_bucket(call.path["bucket"])
        properties = object_properties(metadata)
        properties.setdefault("contentType", call.headers.get("X-Upload-Content-Type", "application/octet-stream"))
        upload = await asyncio.to_thread(self._uploads.start, call.path["bucket"], name, properties, dict(call.query))
        location = f"{call.base_url}/upload/storage/v1/b/{quote(upload.bucket)}/o?uploadType=resumable&upload_id={upload.id}"
        return web.Response(headers={"Location": location, "X-GUploader-UploadID": upload.id})

    async def _resume(self, call: Call) -> Any:
        upload = self._uploads.get(call.query.get("upload_id", ""))
        content_range = ContentRange.parse(call.headers.get("Content-Range"), call.request.content_length or 0)
        if content_range.first is not None and content_range.first <= upload.received:
            # A client that lost an answer sends some bytes again.
            with upload.blob.open("r+b") as file:
                file.truncate(content_range.first)
            await receive(call.request.content, upload.blob, "ab")
        received = upload.received
        if content_range.total is None or received < content_range.total:
            headers = {"Range": f"bytes=0-{received - 1}"} if received else {}
            return web.Response(status=308, reason="Resume Incomplete", headers=headers)
        return await self._end_resumable(call, upload)

    async def _end_resumable(self, call: Call, upload: Upload) -> dict[str, Any]:
        try:
            return await self._put(call, upload.name, upload.blob, upload.properties, upload.query)
        finally:
            await asyncio.to_thread(self._uploads.forget, upload)

    async def _put(
        self, call: Call, name: str, blob: Any, properties: dict[str, Any], query: Mapping[str, str]
    ) -> dict[str, Any]:
        stored = await asyncio.to_thread(
            self.objects.put, call.path["bucket"], name, blob, properties, preconditions=preconditions_of(query)
        )
        return object_resource(stored, call.base_url)

    # Objects

    def _found(self, call: Call) -> StoredObject:
        _refuse_unsupported(call)
        return self.objects.get(call.path["bucket"], call.path["object"], _generation(call))

    def _get(self, call: Call) -> Any:
        _refuse_encryption(call.headers)
        found = self._found(call)
        try:
            preconditions_of(call.query).check(found)
        except ApiError:
            if "ifGenerationNotMatch" in call.query or "ifMetagenerationNotMatch" in call.query:
                return web.Response(status=304)
            raise
        if call.query.get("alt") == "media" or call.method.media == "download":
            return _media(found)
        return object_resource(found, call.base_url)

    def _list(self, call: Call) -> dict[str, Any]:
        _refuse_unsupported(call)
        listing = Listing(self.objects, call.path["bucket"], call.query)
        items, prefixes, last = listing.page(_page_start(call), _max_results(call))
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if items:
            answer["items"] = [object_resource(item, call.base_url) for item in items]
        if prefixes:
            answer["prefixes"] = prefixes
        if last is not None:
            answer["nextPageToken"] = _page_token(last)
        return answer

    def _patch(self, call: Call) -> dict[str, Any]:
        return self._change(call, lambda properties: merge(properties, object_properties(call.body)))

    def _update(self, call: Call) -> dict[str, Any]:
        return self._change(
            call, lambda _: {key: value for key, value in object_properties(call.body).items() if value is not None}
        )

    def _change(self, call: Call, change: Any) -> dict[str, Any]:
        found = self._found(call)
        changed = self.objects.update(found.bucket, found.name, change, preconditions_of(call.query))
        return object_resource(changed, call.base_url)

    def _delete(self, call: Call) -> None:
        _refuse_unsupported(call)
        self.objects.delete(call.path["bucket"], call.path["object"], preconditions_of(call.query), _generation(call))

    def _compose(self, call: Call) -> dict[str, Any]:
        bucket, wanted = call.path["destinationBucket"], call.body.get("sourceObjects", [])
        if not 1 <= len(wanted) <= _MAX_SOURCES:
            raise ApiError(400, f"The number of source components provided ({len(wanted)}) must be between 1 and {_MAX_SOURCES}.")
        sources = [self._source(bucket, source) for source in wanted]
        properties = object_properties(call.body.get("destination", {}))
        if "contentType" not in properties and sources[0].properties.get("contentType"):
            properties["contentType"] = sources[0].properties["contentType"]
        composed = self.objects.compose(bucket, call.path["destinationObject"], sources, properties, preconditions_of(call.query))
        if call.body.get("deleteSourceObjects"):
            for source in sources:
                self.objects.delete(bucket, source.name, generation=source.generation)
        return object_resource(composed, call.base_url)

    def _source(self, bucket: str, source: dict[str, Any]) -> StoredObject:
        generation = int(source["generation"]) if source.get("generation") else None
        found = self.objects.get(bucket, source.get("name", ""), generation)
        preconditions_of(source.get("objectPreconditions", {})).check(found)
        return found

    def _copy(self, call: Call) -> dict[str, Any]:
        return object_resource(self._copied(call), call.base_url)

    def _rewrite(self, call: Call) -> dict[str, Any]:
        copied = self._copied(call)
        return {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": str(copied.size),
            "objectSize": str(copied.size),
            "done": True,
            "resource": object_resource(copied, call.base_url),
        }

    def _copied(self, call: Call) -> StoredObject:
        _refuse_encryption(call.headers)
        source = self.objects.get(call.path["sourceBucket"], call.path["sourceObject"], _generation(call, "sourceGeneration"))
        preconditions_of(call.query, "Source").check(source)
        # Metadata in the body replaces the source's as a whole.
        properties = object_properties(call.body) or source.properties
        return self.objects.put(
            call.path["destinationBucket"],
            call.path["destinationObject"],
            self.objects.link(source),
            properties,
            preconditions=preconditions_of(call.query),
            component_count=source.component_count,
        )


class Listing:
    """A listing as its query parameters describe it."""

    def __init__(self, objects: ObjectStore, bucket: str, query: Mapping[str, str]) -> None:
        self._objects = objects
        self._bucket = bucket
        self._prefix = query.get("prefix", "")
        self._delimiter = query.get("delimiter", "")
        self._trailing = query.get("includeTrailingDelimiter") == "true"
        self._start = query.get("startOffset", "")
        self._end = query.get("endOffset", "")
        self._glob = glob_regex(query["matchGlob"]) if query.get("matchGlob") else None

    def page(self, after: str, limit: int) -> tuple[Sequence[StoredObject], Sequence[str], str | None]:
        """Return objects, prefixes, and the name after which the next page starts (``None`` at the end)."""
        items: list[StoredObject] = []
        prefixes: list[str] = []
        position = after
        while True:
            found = next(iter(self._objects.list(self._bucket, self._prefix, position, 1)), None)
            if found is None or (self._end and found.name >= self._end):
                return items, prefixes, None
            if len(items) + len(prefixes) >= limit:
                return items, prefixes, position
            group = self._group(found.name)
            if group is None:
                items_here, position = self._run(position, limit - len(items) - len(prefixes))
                items += items_here
                continue
            prefixes.append(group)
            if self._trailing and found.name == group:
                items.append(found)
            # Everything below the prefix is skipped in one step, however much it is.
            position = group + "\U0010ffff"

    def _run(self, position: str, limit: int) -> tuple[list[StoredObject], str]:
        """Return objects up to the next one that belongs to a prefix, and the last name that was looked at."""
        items: list[StoredObject] = []
        for found in self._objects.iterate(self._bucket, self._prefix, position):
            if self._group(found.name) is not None or (self._end and found.name >= self._end) or len(items) >= limit:
                break
            position = found.name
            if found.name >= self._start and (self._glob is None or self._glob.fullmatch(found.name)):
                items.append(found)
        return items, position

    def _group(self, name: str) -> str | None:
        if not self._delimiter:
            return None
        at = name.find(self._delimiter, len(self._prefix))
        return None if at < 0 else name[: at + len(self._delimiter)]


def bucket_resource(bucket: Bucket, base_url: str) -> dict[str, Any]:
    """Return a bucket as the API writes it."""
    return {
        "location": "US",
        "storageClass": "STANDARD",
        **bucket.properties,
        "kind": "storage#bucket",
        "id": bucket.name,
        "name": bucket.name,
        "selfLink": f"{base_url}/storage/v1/b/{bucket.name}",
        "projectNumber": "0",
        "timeCreated": bucket.created,
        "updated": bucket.updated,
        "metageneration": str(bucket.metageneration),
        "etag": base64.b64encode(str(bucket.metageneration).encode()).decode(),
    }


def object_resource(stored: StoredObject, base_url: str) -> dict[str, Any]:
    """Return an object as the API writes it."""
    path = f"b/{stored.bucket}/o/{quote(stored.name, safe='')}"
    resource: dict[str, Any] = {
        "storageClass": "STANDARD",
        **stored.properties,
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
        "etag": etag(stored),
        "timeCreated": stored.created,
        "updated": stored.updated,
        "timeStorageClassUpdated": stored.created,
        "timeFinalized": stored.created,
    }
    if stored.md5 is not None:
        resource["md5Hash"] = stored.md5
    if stored.component_count is not None:
        resource["componentCount"] = stored.component_count
    return resource


def etag(stored: StoredObject) -> str:
    """Return an object's entity tag."""
    return base64.b64encode(f"{stored.generation}/{stored.metageneration}".encode()).decode()


def object_properties(resource: dict[str, Any]) -> dict[str, Any]:
    """Return what a client may set of the object resource that it sent."""
    return {key: resource[key] for key in _OBJECT_PROPERTIES if key in resource}


def merge(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Return ``old`` with a patch: what is ``null`` in it is removed, objects are merged."""
    merged = dict(old)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def preconditions_of(query: Mapping[str, str], of: str = "") -> Preconditions:
    """Return the preconditions in a query, or in ``objectPreconditions``.

    :param of: ``"Source"`` for those on the source of a copy.
    :raises ApiError: 400 for one that is no number.
    """

    def number(name: str) -> int | None:
        value = query.get(name)
        if value is None:
            return None
        try:
            return int(value)
        except ValueError:
            raise ApiError(400, f"{name} is {value!r}; it must be a number.") from None

    return Preconditions(
        number(f"if{of}GenerationMatch"),
        number(f"if{of}GenerationNotMatch"),
        number(f"if{of}MetagenerationMatch"),
        number(f"if{of}MetagenerationNotMatch"),
    )


def _media(found: StoredObject) -> web.FileResponse:
    properties = found.properties
    headers = {
        "Content-Type": properties.get("contentType") or "application/octet-stream",
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
    return web.FileResponse(found.path, headers=headers)


def _generation(call: Call, name: str = "generation") -> int | None:
    value = call.query.get(name)
    if value is not None and not value.isdigit():
        raise ApiError(400, f"{name} is {value!r}; it must be a number.")
    return int(value) if value else None


def _max_results(call: Call) -> int:
    value = call.query.get("maxResults", str(_PAGE))
    if not value.isdigit() or int(value) < 1:
        raise ApiError(400, f"maxResults is {value!r}; it must be a number above 0.")
    return min(int(value), _PAGE)


def _page_token(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode()


def _page_start(call: Call) -> str:
    token = call.query.get("pageToken", "")
    try:
        return base64.urlsafe_b64decode(token).decode()
    except ValueError:
        raise ApiError(400, f"pageToken is {token!r}, which no listing has returned.") from None


def _refuse_unsupported(call: Call) -> None:
    for name, value in _UNSUPPORTED.items():
        if call.query.get(name, "").lower() == value:
            raise ApiError(501, f"The emulator keeps no {name} of objects.")


def _refuse_encryption(headers: Mapping[str, str]) -> None:
    if "X-Goog-Encryption-Key" in headers:
        raise ApiError(501, "The emulator does not do customer-supplied encryption keys.")
