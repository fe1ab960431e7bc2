"""STOW-RS: instances that are sent to a store in a request.

Sources: PS3.18, section 10.5; the DICOM conformance statement of the Healthcare API.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from aiohttp import web

from gcp_dicom_emulator.healthcare.dicom.headers import Header, NotDicom, read_header
from gcp_dicom_emulator.healthcare.dicomweb.asked import accept, alternatives, check_parameters
from gcp_dicom_emulator.healthcare.instances import Instance, Instances
from gcp_dicom_emulator.healthcare.names import is_uid
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.multipart import Multipart
from gcp_dicom_emulator.rest.server import Call, Handler
from gcp_dicom_emulator.storage.uploads import new_blob_file

_BATCH = 50
#: FailureReason: processing failed. The service gives no other; its words are in FailureDetail, an attribute of Google's own.
_FAILED = 272
_DETAIL = "00090097"
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_KEYWORDS = {
    "00081150": "ReferencedSOPClassUID",
    "00081155": "ReferencedSOPInstanceUID",
    "00081190": "RetrieveURL",
    "00081197": "FailureReason",
    "00081198": "FailedSOPSequence",
    "00081199": "ReferencedSOPSequence",
    _DETAIL: "FailureDetail",
}


class Store:
    """Takes instances.

    :param get_store: raises when there is no such store.
    """

    def __init__(self, state: State, instances: Instances, get_store: Callable[[str], Any]) -> None:
        self._state = state
        self._instances = instances
        self._get_store = get_store

    def handlers(self, stores: str) -> dict[str, Handler]:
        """Return the code by method id.

        :param stores: what the ids of a store's methods begin with.
        """
        return {f"{stores}.storeInstances": self._store, f"{stores}.studies.storeInstances": self._store}

    async def _store(self, call: Call) -> web.Response:
        store = self._get_store(call.path["parent"])["name"]
        study = call.path["dicomWebPath"].partition("/")[2] or None
        if study and not is_uid(study):
            raise ApiError(400, f"{study!r} is not a UID.")
        check_parameters(call)
        media_type = _accepted(call)
        url = f"{call.base_url}/{call.method.api.partition('.')[2]}/{store}/dicomWeb"
        stored, failed = [], []
        try:
            async for blobs in _batches(self._blobs(call.request)):
                for result in await asyncio.to_thread(self._add, store, study, blobs):
                    if isinstance(result, _Refused):
                        failed.append(_item(result.header, _reason(result.text)))
                    else:
                        stored.append(_item(result, {"00081190": ("UR", f"{url}/{_path(result)}")}))
        except ApiError as error:
            if not stored or error.code == 404:
                raise
            failed.append(_item(None, _reason(f"{error.message} This part is not stored, nor what is behind it.")))
        if not stored and not failed:
            raise ApiError(400, "The request has no instance.")
        answer: dict[str, Any] = {"00081190": ("UR", f"{url}/studies/{study}" if study else url)}
        answer |= {"00081198": ("SQ", failed)} if failed else {}
        answer |= {"00081199": ("SQ", stored)} if stored else {}
        text = (
            json.dumps(_json(answer)) if media_type.endswith("json") else f"<NativeDicomModel>{_xml(answer)}</NativeDicomModel>"
        )
        # 202: some were stored and some were not.
        return web.Response(text=text, status=409 if not stored else 202 if failed else 200, content_type=media_type)

    async def _blobs(self, request: web.Request) -> AsyncIterator[Path]:
        """Yield each instance that a request carries, written to a blob, which whoever has it removes.

        A part counts when the boundary behind it is there.
        """
        async for content in _contents(request):
            blob = self._state.new_blob()
            with new_blob_file(blob) as file:
                async for chunk in content:
                    file.write(chunk)  # to the page cache, which takes less time than another thread would
            yield blob

    def _add(self, store: str, study: str | None, blobs: list[Path]) -> list[Header | _Refused]:
        """Store instances in one transaction; return what is to be said of each."""
        headers: dict[Path, Header] = {}
        refused: dict[Path, _Refused] = {}
        for blob in blobs:
            try:
                header = read_header(blob)
            except NotDicom as error:
                refused[blob] = _Refused(str(error))
                continue
            if study and header.uids[0] != study:
                refused[blob] = _Refused(f"StudyInstanceUID is {header.uids[0]}; the request is for {study}", header)
            else:
                headers[blob] = header
        for blob in refused:
            blob.unlink()
        made = [_instance(blob, header) for blob, header in headers.items()]
        for known in self._instances.add(store, made, "StoreInstances"):
            refused[known.path] = _Refused("already exists", headers[known.path])
        return [refused.get(blob) or headers[blob] for blob in blobs]


def _instance(blob: Path, header: Header) -> Instance:
    size = blob.stat().st_size
    return Instance(*header.uids, blob, size, header.transfer_syntax, "STANDARD", attributes=header.attributes)


@dataclass(frozen=True)
class _Refused:
    """An instance that is not stored.

    :param text: why.
    """

    text: str
    header: Header | None = None


async def _batches(blobs: AsyncIterator[Path]) -> AsyncIterator[list[Path]]:
    """Yield as many at a time as one transaction is good for; also those before a part that is broken or does not come."""
    batch: list[Path] = []
    try:
        async for blob in blobs:
            batch.append(blob)
            if len(batch) == _BATCH:
                full, batch = batch, []
                yield full
    except Exception:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _accepted(call: Call) -> str:
    """Return the media type of the answer; XML unless JSON is asked for."""
    for alternative in alternatives(call):
        if alternative.kind in ("application/dicom+json", "application/json"):
            return "application/dicom+json"
        if alternative.kind in ("application/dicom+xml", "application/*", "*/*"):
            return "application/dicom+xml"
    raise ApiError(
        406, f"Storing answers application/dicom+json or application/dicom+xml; the request's Accept is {accept(call)!r}."
    )


async def _contents(request: web.Request) -> AsyncIterator[AsyncIterator[bytes]]:
    """Yield each instance that a request carries, to be read before the next one."""
    if request.content_type == "application/dicom":
        yield request.content.iter_any()
        return
    kind = request.headers.get("Content-Type", "")
    if request.content_type != "multipart/related":
        raise ApiError(
            415, f'Content-Type must be multipart/related; type="application/dicom", or application/dicom, not {kind!r}.'
        )
    async for part in Multipart(kind, request.content.iter_any()):
        part_type = part.headers.get("Content-Type", "application/dicom").partition(";")[0].strip().lower()
        if part_type != "application/dicom":
            raise ApiError(415, f"A part of the body is {part_type}; the emulator takes application/dicom.")
        yield part.chunks


def _path(header: Header) -> str:
    return "studies/{}/series/{}/instances/{}".format(*header.uids)


def _item(header: Header | None, more: dict[str, tuple[str, Any]]) -> dict[str, tuple[str, Any]]:
    """Return what the answer says of one instance; without a header nobody knows which."""
    known = {"00081150": ("UI", header.sop_class), "00081155": ("UI", header.uids[2])} if header else {}
    return known | more


def _reason(text: str) -> dict[str, tuple[str, Any]]:
    return {"00081197": ("US", _FAILED), _DETAIL: ("LT", text)}


def _json(elements: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    return {
        tag: {"vr": vr, "Value": [_json(item) for item in value] if vr == "SQ" else [value]} if value else {"vr": vr}
        for tag, (vr, value) in elements.items()
    }


def _xml(elements: dict[str, tuple[str, Any]]) -> str:
    """Return elements as PS3.19, annex A, writes them."""
    text = ""
    for tag, (vr, value) in elements.items():
        if vr == "SQ":
            content = "".join(f'<Item number="{number}">{_xml(item)}</Item>' for number, item in enumerate(value, 1))
        else:
            content = f'<Value number="1">{escape(_NOT_XML.sub("?", str(value)))}</Value>' if value else ""
        creator = ' privateCreator="GOOGLE"' if tag == _DETAIL else ""
        text += f'<DicomAttribute tag="{tag}" vr="{vr}" keyword={quoteattr(_KEYWORDS[tag])}{creator}>{content}</DicomAttribute>'
    return text
