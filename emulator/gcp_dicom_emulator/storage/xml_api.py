"""The Cloud Storage XML API: objects at their plain addresses, ``/{bucket}/{object}``, as signed URLs and clients of S3 have them.

What a signature says is not looked at, as no credentials are. Sources: the reference of the XML API; its elements are those of S3.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from xml.etree import ElementTree

from aiohttp import web

from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.discovery import Method
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.server import Call, Handler
from gcp_dicom_emulator.storage.buckets import check_acl, settle_class
from gcp_dicom_emulator.storage.multipart_uploads import MultipartUploads
from gcp_dicom_emulator.storage.objects import Checksums, Digest, Preconditions, StoredObject, behind
from gcp_dicom_emulator.storage.service import (
    Listing,
    StorageService,
    number_of,
    preconditions_of,
    refuse_conditions,
    refuse_encryption,
    without_holds,
)
from gcp_dicom_emulator.storage.times import http_time
from gcp_dicom_emulator.storage.uploads import new_blob_file, receive

#: The namespaces of listings and copies, and of uploads in parts.
_NAMESPACE, _NAMESPACE_OF_UPLOADS = "http://doc.s3.amazonaws.com/2006-03-01", "http://s3.amazonaws.com/doc/2006-03-01/"
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: What other paths of the emulator begin with, and so no bucket's address.
_TAKEN = "storage|upload|download|batch|bigquery|projects|resumable|v1beta1|oauth2|token|healthz"
_BUCKET = rf"/(?!(?:{_TAKEN})(?:/|$))(?P<bucket>[a-z0-9][a-z0-9._-]{{2,221}})"
_ADDRESSES = {"buckets": f"{_BUCKET}/?", "objects": f"{_BUCKET}/(?P<object>.+)"}
#: The verbs of each address; what has no code answers 501.
_VERBS = ("GET", "HEAD", "PUT", "POST", "DELETE")
METHODS = [
    Method(f"storage.xml.{kind}.{verb.lower()}", "storage.xml", verb, pattern, 0, None, None, frozenset())
    for kind, pattern in _ADDRESSES.items()
    for verb in _VERBS
]
#: Query parameters that mean something else of an object or a bucket than its content.
_OTHERS = {
    "acl", "attributes", "billing", "compose", "cors", "defaultObjectAcl", "delete", "encryption", "encryptionConfig", "legal-hold",
    "lifecycle", "location", "logging", "object-lock", "policy", "restore", "retention", "storageClass", "tagging", "versioning",
    "versions", "website", "websiteConfig",
}  # fmt: skip
#: Headers and the properties of an object that they are.
_PROPERTIES = {
    "Content-Type": "contentType",
    "Content-Encoding": "contentEncoding",
    "Content-Disposition": "contentDisposition",
    "Content-Language": "contentLanguage",
    "Cache-Control": "cacheControl",
    "X-Goog-Storage-Class": "storageClass",
    "X-Goog-Custom-Time": "customTime",
}
_METADATA = "x-goog-meta-"
#: Headers and the query parameters of the JSON API that are the same preconditions.
_CONDITIONS = {
    "X-Goog-If-Generation-Match": "ifGenerationMatch",
    "X-Goog-If-Metageneration-Match": "ifMetagenerationMatch",
}
_LENGTH_RANGE = "X-Goog-Content-Length-Range"
#: Headers of Google's and of Amazon's that something comes of here, or that say who asks and who may do what.
_KNOWN = re.compile(
    r"x-goog-(?:meta-.+|storage-class|custom-time|hash|resumable|content-length-range|copy-source(?:-if-[a-z-]+|-generation)?"
    r"|if-(?:meta)?generation-match|metadata-directive|acl|algorithm|allowed-resources|api-client|api-version|content-sha256|credential"
    r"|date|gcs-idempotency-token|project-id|request-params|request-reason|user-project|encryption-.+)"
    r"|x-amz-(?:copy-source(?:-if-[a-z-]+)?|metadata-directive|acl|checksum-.+|sdk-checksum-algorithm|content-sha256|credential|date"
    r"|expected-bucket-owner|request-payer|security-token|signature|user-agent)"
)
#: Canned access control lists of objects, of which nothing comes.
_ACLS = (
    "private", "public-read", "authenticated-read", "bucket-owner-read", "bucket-owner-full-control", "project-private",
)  # fmt: skip
_CODES = {
    400: "InvalidArgument", 403: "AccessDenied", 404: "NoSuchKey", 409: "InvalidBucketState", 412: "PreconditionFailed",
    416: "InvalidRange", 501: "NotImplemented",
}  # fmt: skip
_PAGE = 1000


class XmlApi:
    """Objects at their plain addresses.

    :param storage: the JSON API, whose objects they are.
    :param state: where uploads in parts are kept.
    """

    apis: list[str] = []

    def __init__(self, storage: StorageService, state: State) -> None:
        self._storage = storage
        self._objects = storage.objects
        self._state = state
        self._uploads = MultipartUploads(state)
        self._objects.bucket_watchers.append(self._uploads.forget_bucket)

    def handlers(self) -> dict[str, Handler]:
        """Return the code by method id."""
        code = {
            "buckets.get": self._list,
            "buckets.head": self._head_bucket,
            "objects.get": self._get,
            "objects.head": self._get,
            "objects.put": self._put,
            "objects.post": self._post,
            "objects.delete": self._delete,
        }
        return {method.method_id: self._in_xml(code.get(method.method_id.removeprefix("storage.xml."))) for method in METHODS}

    def close(self) -> None:
        """There is no background work."""

    def _in_xml(self, handler: Callable[[Call], Awaitable[web.StreamResponse]] | None) -> Handler:
        """Return the handler with its errors in XML; without one, all it does is one."""

        async def answer(call: Call) -> web.StreamResponse:
            try:
                if others := _OTHERS & call.query.keys():
                    raise ApiError(501, f"The emulator's XML API does not do ?{min(others)}.")
                if handler is None:
                    raise ApiError(501, f"The emulator's XML API does not do {call.request.method} of a bucket.")
                refuse_encryption(call.headers)
                _refuse_headers(call)
                if acl := call.headers.get("X-Goog-Acl") or call.headers.get("X-Amz-Acl"):
                    await asyncio.to_thread(self._check_acl, call.path["bucket"], acl)
                return await handler(call)
            except ApiError as error:
                return await asyncio.to_thread(self._failed, error, call)

        return answer

    def _failed(self, error: ApiError, call: Call) -> web.Response:
        code = _CODES.get(error.code, "InternalError")
        if error.reason == "NoSuchUpload":
            code = error.reason
        elif error.code == 404:
            try:
                self._objects.get_bucket(call.path["bucket"])
            except ApiError:
                code = "NoSuchBucket"
        body = _xml("Error", {"Code": code, "Message": _NOT_XML.sub("?", error.message)}, namespace=None)
        return _answer(body, status=error.code, headers=error.headers)

    def _check_acl(self, bucket: str, wanted: str) -> None:
        if wanted not in _ACLS:
            raise ApiError(400, f"The ACL {wanted!r} is not one of {', '.join(_ACLS)}.")
        check_acl(self._objects.get_bucket(bucket), wanted)

    # Buckets

    async def _head_bucket(self, call: Call) -> web.Response:
        await asyncio.to_thread(self._objects.get_bucket, call.path["bucket"])
        return web.Response()

    async def _list(self, call: Call) -> web.Response:
        if "uploads" in call.query:
            raise ApiError(501, "The emulator's XML API does not list uploads.")
        return _answer(await asyncio.to_thread(self._page, call.path["bucket"], call.query))

    def _page(self, bucket: str, query: Mapping[str, str]) -> bytes:
        second = query.get("list-type") == "2"
        delimiter, limit = query.get("delimiter", ""), number_of(query, "max-keys")
        limit = min(_PAGE if limit is None else limit, _PAGE)
        last = query.get("start-after" if second else "marker", "")
        start: str | bytes = behind(last) if delimiter and last.endswith(delimiter) else last + "\0" if last else ""
        if token := query.get("continuation-token" if second else "", ""):
            start = _from_token(token)
        self._objects.get_bucket(bucket)
        items: Sequence[StoredObject] = []
        prefixes: Sequence[str] = []
        following: str | None = None
        if limit and not isinstance(start, bytes):
            items, prefixes, position = Listing(self._objects, bucket, query).page((start, 0), limit)
            following = position[0] if position else None
        encode = quote if query.get("encoding-type") == "url" else str
        answer: dict[str, Any] = {"Name": bucket, "Prefix": encode(query.get("prefix", "")), "MaxKeys": str(limit)}
        answer |= {"Delimiter": encode(delimiter)} if delimiter else {}
        if second:
            answer |= {"KeyCount": str(len(items) + len(prefixes))}
            answer |= {"NextContinuationToken": _token(following)} if following is not None else {}
        else:
            answer |= {"Marker": encode(last)}
            shown = [*(item.name for item in items), *prefixes]
            answer |= {"NextMarker": encode(max(shown))} if following is not None and shown else {}
        answer |= {"IsTruncated": "true" if following is not None else "false"}
        answer |= {"EncodingType": "url"} if encode is quote else {}
        answer["Contents"] = [
            {
                "Key": encode(item.name),
                "Generation": str(item.generation),
                "MetaGeneration": str(item.metageneration),
                "LastModified": item.updated,
                "ETag": _etag(item),
                "Size": str(item.size),
                "StorageClass": item.properties.get("storageClass") or "STANDARD",
            }
            for item in items
        ]
        answer["CommonPrefixes"] = [{"Prefix": encode(prefix)} for prefix in prefixes]
        return _xml("ListBucketResult", answer)

    # Objects

    async def _get(self, call: Call) -> web.StreamResponse:
        if "uploadId" in call.query:
            raise ApiError(501, "The emulator's XML API does not list the parts of an upload.")
        return await asyncio.to_thread(self._media, call)

    def _media(self, call: Call) -> web.StreamResponse:
        found = self._objects.get(call.path["bucket"], call.path["object"], number_of(call.query, "generation"))
        _preconditions(call.headers).check(found)
        if _is_known(call.headers, found):
            return web.Response(status=304, headers={"ETag": _etag(found)})
        response = self._storage.media(call, found, _etag(found))
        response.headers.update(_headers(found))
        for name in ("Content-Type", "Content-Disposition", "Content-Encoding", "Content-Language", "Cache-Control"):
            if value := call.query.get(f"response-{name.lower()}"):
                response.headers[name] = re.sub(r"[\x00-\x1f\x7f]", " ", value)
        return response

    async def _put(self, call: Call) -> web.Response:
        if call.headers.get("X-Goog-Copy-Source") or call.headers.get("X-Amz-Copy-Source"):
            if await call.request.read():
                raise ApiError(400, "A copy has no body.")
            return await asyncio.to_thread(self._copy, call)
        if call.headers.get("Content-Encoding", "identity") != "identity":
            # aiohttp has unpacked the body: the object would not have the bytes that were sent.
            raise ApiError(501, "The emulator's XML API does not take bodies with a Content-Encoding.")
        blob = self._state.new_blob()
        with new_blob_file(blob) as file:
            await receive(call.request.content, file)
        # What is cancelled meanwhile goes on in its thread, and has the blob.
        return await asyncio.to_thread(self._store, call, blob)

    def _store(self, call: Call, blob: Path) -> web.Response:
        """Make a blob the object, or a part of it."""
        bucket, name, digest = call.path["bucket"], call.path["object"], Digest.of(blob)
        try:
            Checksums.of({}, call.headers).check(digest)
            _check_length(call.headers.get(_LENGTH_RANGE), blob.stat().st_size)
            properties, condition = _properties(call.headers), _preconditions(call.headers)
            if _is_of_upload(call):
                number = number_of(call.query, "partNumber") or 0
                tag = self._uploads.put(call.query.get("uploadId", ""), bucket, name, number, blob, digest)
                return web.Response(headers={"ETag": f'"{tag}"', **_hashes(digest.crc32c, digest.md5)})
        except BaseException:
            blob.unlink(missing_ok=True)
            raise
        stored = self._objects.put(bucket, name, blob, properties, preconditions=condition, digest=digest)
        return web.Response(headers=_headers(stored))

    def _copy(self, call: Call) -> web.Response:
        if "uploadId" in call.query:
            raise ApiError(501, "The emulator's XML API does not copy parts.")
        source = unquote(call.headers.get("X-Goog-Copy-Source") or call.headers["X-Amz-Copy-Source"]).lstrip("/")
        bucket, _, name = source.partition("/")
        generation = number_of(call.headers, "X-Goog-Copy-Source-Generation")
        found, blob = self._objects.link(bucket, name, generation, _preconditions(call.headers, "Copy-Source-"))
        try:
            _check_source(call.headers, found)
        except BaseException:
            blob.unlink(missing_ok=True)
            raise
        directives = (call.headers.get(f"X-{whose}-Metadata-Directive", "").upper() for whose in ("Goog", "Amz"))
        replace = "REPLACE" in directives
        properties = _properties(call.headers) if replace else without_holds(found.properties)
        stored = self._objects.put(
            call.path["bucket"], call.path["object"], blob, properties,
            preconditions=_preconditions(call.headers), component_count=found.component_count,
        )  # fmt: skip
        return _answer(
            _xml("CopyObjectResult", {"LastModified": stored.updated, "ETag": _etag(stored)}), headers=_headers(stored)
        )

    async def _post(self, call: Call) -> web.Response:
        bucket, name = call.path["bucket"], call.path["object"]
        if "uploads" in call.query:
            await asyncio.to_thread(self._objects.get_bucket, bucket)
            upload = await asyncio.to_thread(self._uploads.start, bucket, name, _properties(call.headers))
            answer = {"Bucket": bucket, "Key": name, "UploadId": upload}
            return _answer(_xml("InitiateMultipartUploadResult", answer, _NAMESPACE_OF_UPLOADS))
        if _is_of_upload(call):
            upload = call.query.get("uploadId", "")
            parts = _parts(await call.request.read())
            condition = _preconditions(call.headers)
            stored = await asyncio.to_thread(self._uploads.complete, upload, self._objects, bucket, name, parts, condition)
            location = f"{call.base_url}/{bucket}/{quote(name)}"
            answer = {"Location": location, "Bucket": bucket, "Key": name, "ETag": _etag(stored)}
            body = _xml("CompleteMultipartUploadResult", answer, _NAMESPACE_OF_UPLOADS)
            return _answer(body, headers=_headers(stored))
        if call.headers.get("X-Goog-Resumable", "").lower() == "start":
            query = {key: call.headers[header] for header, key in _CONDITIONS.items() if header in call.headers}
            location = await asyncio.to_thread(self._storage.start_resumable, call, name, _properties(call.headers), query)
            return web.Response(status=201, headers={"Location": location})
        raise ApiError(501, "The emulator's XML API does not do POST but for uploads in parts and resumable uploads.")

    async def _delete(self, call: Call) -> web.Response:
        bucket, name = call.path["bucket"], call.path["object"]
        if _is_of_upload(call):
            await asyncio.to_thread(self._uploads.abort, call.query.get("uploadId", ""), bucket, name)
        else:
            generation = number_of(call.query, "generation")
            await asyncio.to_thread(self._objects.delete, bucket, name, _preconditions(call.headers), generation)
        return web.Response(status=204)


def _is_of_upload(call: Call) -> bool:
    """Say whether a request is about an upload in parts, be it one that does not exist, and not about the object."""
    return "uploadId" in call.query or "partNumber" in call.query


def _refuse_headers(call: Call) -> None:
    """Refuse what would change the request's effect, and does not here.

    :raises ApiError: 501.
    """
    for name in map(str.lower, call.headers):
        if name.startswith(("x-goog-", "x-amz-")) and not _KNOWN.fullmatch(name):
            raise ApiError(501, f"The emulator's XML API does not do {name}.")
    refuse_conditions(call)


def _check_length(wanted: str | None, size: int) -> None:
    """Check an object's size against the range that a signed address may have.

    :raises ApiError: 400.
    """
    if wanted is None:
        return
    limits = re.fullmatch(r"([0-9]{1,18}),([0-9]{1,18})", wanted)
    if not limits or not int(limits[1]) <= size <= int(limits[2]):
        raise ApiError(400, f"The content has {size} bytes; {_LENGTH_RANGE} is {wanted!r}.")


def _properties(headers: Mapping[str, str]) -> dict[str, Any]:
    properties: dict[str, Any] = {key: headers[name] for name, key in _PROPERTIES.items() if headers.get(name)}
    settle_class(properties)
    metadata = {
        name.lower().removeprefix(_METADATA): value for name, value in headers.items() if name.lower().startswith(_METADATA)
    }
    return properties | ({"metadata": metadata} if metadata else {})


def _headers(stored: StoredObject) -> dict[str, str]:
    headers = {
        "ETag": _etag(stored),
        "Last-Modified": format_datetime(datetime.fromisoformat(stored.updated), usegmt=True),
        "X-Goog-Generation": str(stored.generation),
        "X-Goog-Metageneration": str(stored.metageneration),
        "X-Goog-Storage-Class": stored.properties.get("storageClass") or "STANDARD",
        **_hashes(stored.crc32c, stored.md5),
    }
    headers |= {f"{_METADATA}{name}": value for name, value in (stored.properties.get("metadata") or {}).items()}
    # What came as JSON may be what no header can be.
    return {
        name: re.sub(r"[\x00-\x1f\x7f]", " ", value)
        for name, value in headers.items()
        if re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name)
    }


def _hashes(crc32c: str, md5: str | None) -> dict[str, str]:
    return {"X-Goog-Hash": f"crc32c={crc32c}" + (f",md5={md5}" if md5 else "")}


def _etag(stored: StoredObject) -> str:
    """Return the entity tag: the MD5 where the object has one."""
    return f'"{base64.b64decode(stored.md5).hex()}"' if stored.md5 else f'"{stored.etag}"'


def _is_known(headers: Mapping[str, str], found: StoredObject, of: str = "") -> bool:
    """Check the conditions of reading.

    :param of: what the headers' names begin with.
    :return: whether the client has it already.
    :raises ApiError: 412 where it must be another.
    """
    wanted, known = (
        {tag.strip().removeprefix("W/") for tag in headers.get(f"{of}{name}", "").split(",")} - {""}
        for name in ("If-Match", "If-None-Match")
    )
    modified = datetime.fromisoformat(found.updated).replace(microsecond=0)
    before, since = (http_time(headers.get(f"{of}{name}")) for name in ("If-Unmodified-Since", "If-Modified-Since"))
    if (wanted and not wanted & {"*", _etag(found)}) or (not wanted and before is not None and modified > before):
        raise ApiError(412, "At least one of the pre-conditions you specified did not hold.")
    return bool(known & {"*", _etag(found)}) or (not known and since is not None and modified <= since)


def _check_source(headers: Mapping[str, str], found: StoredObject) -> None:
    """Check the conditions on the entity tag and the time of what is copied.

    :raises ApiError: 412 for one that does not hold.
    """
    for of in ("X-Goog-Copy-Source-", "X-Amz-Copy-Source-"):
        if _is_known(headers, found, of):
            raise ApiError(412, "At least one of the pre-conditions you specified did not hold.")


def _preconditions(headers: Mapping[str, str], of: str = "") -> Preconditions:
    """Return the preconditions in a request's headers.

    :param of: ``"Copy-Source-"`` for those on the source of a copy.
    """
    return preconditions_of({key: headers.get(header.replace("X-Goog-", f"X-Goog-{of}")) for header, key in _CONDITIONS.items()})


def _parts(body: bytes) -> list[tuple[int, str]]:
    """Return the numbers and entity tags of the parts that an upload is completed with.

    :raises ApiError: 400 for a body that does not list them.
    """
    try:
        if b"<!" in body:  # a document type may define entities without end
            raise ValueError
        root = ElementTree.fromstring(body)
        return [
            (int(part.findtext("{*}PartNumber", "")), part.findtext("{*}ETag", ""))
            for part in root.iter()
            if part.tag.rpartition("}")[2] == "Part"
        ]
    except (ElementTree.ParseError, ValueError):
        raise ApiError(400, "The body does not list parts, as a CompleteMultipartUpload does.") from None


def _xml(name: str, content: dict[str, Any], namespace: str | None = _NAMESPACE) -> bytes:
    """Return a document: a text is an element, a list of dictionaries are several."""
    root = ElementTree.Element(name, {"xmlns": namespace} if namespace else {})
    _fill(root, content)
    body: bytes = ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)
    return body


def _fill(parent: ElementTree.Element, content: dict[str, Any]) -> None:
    for name, value in content.items():
        for each in value if isinstance(value, list) else [value]:
            element = ElementTree.SubElement(parent, name)
            if isinstance(each, dict):
                _fill(element, each)
            elif _NOT_XML.search(each):
                raise ApiError(400, f"{each!r} cannot be written in XML. Ask with encoding-type=url.")
            else:
                element.text = each


def _answer(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, headers={**(headers or {}), "Content-Type": "application/xml; charset=UTF-8"})


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _from_token(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise ApiError(400, f"The continuation token is {token!r}, which no listing has returned.") from None
