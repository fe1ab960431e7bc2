"""WADO-RS: instances, their metadata, frames, pictures and bulk data.

Sources: PS3.18, section 10.4; the DICOM conformance statement of the Healthcare API.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from aiohttp import web

from gcp_dicom_emulator.healthcare.dicom import jpeg
from gcp_dicom_emulator.healthcare.dicom.charsets import DEFAULT_CHARSET
from gcp_dicom_emulator.healthcare.dicom.dicom_json import inline, to_json
from gcp_dicom_emulator.healthcare.dicom.frames import NoSuchFrame
from gcp_dicom_emulator.healthcare.dicom.pixels import CannotRender, rendered
from gcp_dicom_emulator.healthcare.dicom.reading import CannotRead, read
from gcp_dicom_emulator.healthcare.dicom.transcoding import convert, parse_mime_type, raw_frames
from gcp_dicom_emulator.healthcare.dicom.values import BINARY, is_readable, little_endian
from gcp_dicom_emulator.healthcare.dicomweb.asked import Alternative, accept, alternatives, check_parameters
from gcp_dicom_emulator.healthcare.instances import Instance, Instances
from gcp_dicom_emulator.healthcare.storage_info import split_path
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.server import Call, Handler

if TYPE_CHECKING:
    from gcp_dicom_emulator.healthcare.dicom.reading import Element

log = logging.getLogger(__name__)

_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
#: Media types of compressed frames, and the transfer syntaxes that they may have, the first by default.
_COMPRESSED = {"image/jpeg": (jpeg.BASELINE,), "image/jp2": (jpeg.JPEG_2000_LOSSLESS, jpeg.JPEG_2000)}
#: Media types of pictures, and the transfer syntaxes that say the same.
_PICTURES = {"image/jpeg": (jpeg.BASELINE,), "image/png": ()}
#: A binary value that is longer is bulk data, in bytes.
_MAX_INLINE = 1024
_CHUNK = 1 << 18


@dataclass(frozen=True)
class _Wanted:
    """What one alternative of an ``Accept`` asks for.

    :param media_type: of the content; ``*/*`` for whatever there is.
    :param transfer_syntax: as it is written; ``""`` where none is.
    :param multipart: whether it is to be a part of a multipart message.
    """

    media_type: str
    transfer_syntax: str
    multipart: bool


class Retrieval:
    """Retrieves.

    :param get_store: raises when there is no such store.
    """

    def __init__(self, instances: Instances, get_store: Callable[[str], Any]) -> None:
        self._instances = instances
        self._get_store = get_store

    def handlers(self, stores: str) -> dict[str, Handler]:
        """Return the code by method id.

        :param stores: what the ids of a store's methods begin with.
        """
        series, instances = f"{stores}.studies.series", f"{stores}.studies.series.instances"
        return {
            f"{stores}.studies.retrieveStudy": self._retrieve,
            f"{series}.retrieveSeries": self._retrieve,
            f"{instances}.retrieveInstance": self._retrieve,
            f"{stores}.studies.retrieveMetadata": self._metadata,
            f"{series}.retrieveMetadata": self._metadata,
            f"{instances}.retrieveMetadata": self._metadata,
            f"{instances}.retrieveRendered": self._rendered,
            f"{instances}.frames.retrieveFrames": self._frames,
            f"{instances}.frames.retrieveRendered": self._rendered,
            f"{instances}.bulkdata.retrieveBulkdata": self._bulkdata,
        }

    async def _retrieve(self, call: Call) -> web.StreamResponse:
        found, url = await asyncio.to_thread(self._found, call)
        wanted = _choose(call, ("application/dicom",), _check_instances)
        transfer_syntax = wanted.transfer_syntax or _EXPLICIT_LITTLE_ENDIAN
        if not wanted.multipart and len(found) > 1:
            raise ApiError(406, f"There are {len(found)} instances; they need multipart/related.")
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "instance"
            # The first one before the answer begins, so that what cannot be converted is told.
            file = await _converted(found[0], target, transfer_syntax)
            if not wanted.multipart:
                return await _whole(call, file)
            parts = _Parts(call, "application/dicom")
            await parts.begin()
            for number, instance in enumerate(found):
                try:
                    file = file if number == 0 else await _converted(instance, target, transfer_syntax)
                except ApiError as error:
                    log.warning("%s is not retrieved as a whole: %s", url, error.message)
                    parts.abort()
                    break
                await parts.add(_chunks(file))
            return await parts.end()

    def _metadata(self, call: Call) -> web.Response:
        found, url = self._found(call, "/metadata")
        _choose(call, ("application/dicom+json", "application/json"), parts=False)
        answer = []
        for instance in found:
            try:
                answer.append(metadata(instance.path, f"{url}/{_path(instance)}/bulkdata"))
            except FileNotFoundError:
                continue  # it was deleted since it was found
            except CannotRead as error:
                raise ApiError(406, f"{_path(instance)} cannot be read: {error}.") from error
        return web.Response(text=json.dumps(answer), content_type="application/dicom+json")

    async def _frames(self, call: Call) -> web.StreamResponse:
        _, _, text = call.path["dicomWebPath"].rpartition("/frames/")
        (instance,), _ = await asyncio.to_thread(self._found, call, f"/frames/{text}")
        numbers = _numbers(text)
        wanted = _choose(call, ("application/octet-stream", *_COMPRESSED, "image/png"), _check_frames)
        if not wanted.multipart and len(numbers) > 1:
            raise ApiError(406, f"There are {len(numbers)} frames; they need multipart/related.")
        syntax = _syntax_of_frames(instance, wanted)
        frames = await asyncio.to_thread(_frames, instance, numbers, wanted.media_type, syntax)
        # A viewer knows by this how to decode what it gets.
        syntax = (instance.transfer_syntax if syntax == "*" else syntax) or _EXPLICIT_LITTLE_ENDIAN
        described = wanted.media_type if wanted.media_type == "image/png" else f"{wanted.media_type}; transfer-syntax={syntax}"
        if not wanted.multipart:
            return web.Response(body=frames[0], headers={"Content-Type": described})
        parts = _Parts(call, wanted.media_type, described)
        await parts.begin()
        for frame in frames:
            await parts.add([frame])
        return await parts.end()

    def _rendered(self, call: Call) -> web.Response:
        path, _, text = call.path["dicomWebPath"].removesuffix("/rendered").partition("/frames/")
        (instance,), _ = self._found(call, call.path["dicomWebPath"].removeprefix(path), ("viewport",))
        numbers = _numbers(text) if text else [1]
        if len(numbers) > 1:
            raise ApiError(400, "One frame at a time can be rendered.")
        wanted = _choose(call, tuple(_PICTURES), _check_picture, parts=False)
        picture = _picture(instance, numbers[0], wanted.media_type, _viewport(call.query.get("viewport", "")))
        return web.Response(body=picture, content_type=wanted.media_type)

    async def _bulkdata(self, call: Call) -> web.StreamResponse:
        _, _, text = call.path["dicomWebPath"].partition("/bulkdata/")
        (instance,), _ = await asyncio.to_thread(self._found, call, f"/bulkdata/{text}")
        wanted = _choose(call, ("application/octet-stream",))
        value = await asyncio.to_thread(_bulk_value, instance.path, text)
        if not wanted.multipart:
            return web.Response(body=value, content_type="application/octet-stream")
        parts = _Parts(call, "application/octet-stream")
        await parts.begin()
        await parts.add([value])
        return await parts.end()

    def _found(self, call: Call, behind: str = "", parameters: Sequence[str] = ()) -> tuple[list[Instance], str]:
        """Return the instances that a request names, and the URL of the store's DICOMweb.

        :param behind: what follows their path.
        :param parameters: those that the request may have.
        """
        check_parameters(call, parameters)
        store = self._get_store(call.path["parent"])["name"]
        name = f"{store}/dicomWeb/{call.path['dicomWebPath'].removesuffix(behind)}"
        found = self._instances.below(store, split_path(name)[1])
        if not found:
            raise ApiError(404, f"not found: {name}")
        return found, f"{call.base_url}/{call.method.api.partition('.')[2]}/{store}/dicomWeb"


class _Parts:
    """A multipart/related answer, written part by part.

    :param media_type: of the parts.
    :param described: the same, with its parameters.
    """

    def __init__(self, call: Call, media_type: str, described: str = "") -> None:
        self._boundary = uuid.uuid4().hex
        self._request = call.request
        self._type = described or media_type
        self._line_end = ""
        kind = f'multipart/related; type="{media_type}"; boundary={self._boundary}'
        self._response = web.StreamResponse(headers={"Content-Type": kind})

    async def begin(self) -> None:
        await self._response.prepare(self._request)

    async def add(self, content: Sequence[bytes] | Iterator[bytes]) -> None:
        # Small parts are one write each, which is what takes the time.
        before = f"{self._line_end}--{self._boundary}\r\nContent-Type: {self._type}\r\n\r\n".encode()
        for chunk in content:
            await self._response.write(before + chunk)
            before = b""
        await self._response.write(before)
        self._line_end = "\r\n"

    async def end(self) -> web.StreamResponse:
        if self._request.transport is not None and not self._request.transport.is_closing():
            await self._response.write(f"{self._line_end}--{self._boundary}--\r\n".encode())
            await self._response.write_eof()
        return self._response

    def abort(self) -> None:
        """Let the client see that the answer is not whole."""
        if self._request.transport is not None:
            self._request.transport.abort()


def metadata(path: Path, bulkdata: str) -> dict[str, Any]:
    """Return all elements of an instance as DICOM JSON (PS3.18, annex F), long binary values by their address.

    :param path: the instance.
    :param bulkdata: what the addresses begin with.
    :raises CannotRead: more than its pixels is cut.
    """

    def binary(element: Element, address: str) -> dict[str, Any]:
        if element.undefined or element.end - element.start > _MAX_INLINE:
            return {"vr": element.vr, "BulkDataURI": f"{bulkdata}/{address}/0"}
        return inline(element)

    return to_json(read(path, cut_pixels=True).elements, DEFAULT_CHARSET, binary)


def _bulk_value(path: Path, text: str) -> bytes:
    """Return the value at an address that the metadata has: tags, each followed by the number of an item, 0 for the value itself."""
    steps = text.split("/")
    items = all(re.fullmatch("[1-9][0-9]{0,8}", item) for item in steps[1:-2:2])
    if not items or len(steps) % 2 or steps[-1] != "0" or not all(re.fullmatch("[0-9A-Fa-f]{8}", tag) for tag in steps[::2]):
        raise ApiError(400, f"{text!r} is not bulk data: it must be TAG[/ITEM/TAG…]/0, as the metadata has it.")
    try:
        elements = read(path).elements
        for tag, item in zip(steps[:-2:2], steps[1:-2:2], strict=True):
            elements = (elements[int(tag, 16)].items or [])[int(item) - 1].elements
        element = elements[int(steps[-2], 16)]
    except (KeyError, IndexError, FileNotFoundError) as error:
        raise ApiError(404, f"There is no value at {text}.") from error
    except CannotRead as error:
        raise ApiError(406, f"The instance cannot be read whole: {error}.") from error
    if element.items is not None or (element.vr not in BINARY and is_readable(element)):
        raise ApiError(404, f"The value at {text} is not binary; it is in the metadata.")
    return little_endian(element)


def _choose(
    call: Call, offered: Sequence[str], check: Callable[[_Wanted], None] = lambda wanted: None, *, parts: bool = True
) -> _Wanted:
    """Return the most wanted alternative of the request's ``Accept`` that can be given.

    :param offered: media types; the first is what is given to those who take everything.
    :param check: raises ApiError when an alternative of such a media type cannot be given.
    :param parts: whether it can be given as a part of a multipart message.
    :raises ApiError: none can be given; what was wrong with the first of an offered media type, if there is one.
    """
    problem = None
    for wanted in map(_wanted, alternatives(call)):
        if wanted.multipart and not parts:
            continue
        if wanted.media_type in ("*/*", ""):
            wanted = _Wanted(offered[0], wanted.transfer_syntax, multipart=True)
        elif wanted.media_type.endswith("/*") and (match := [one for one in offered if one.startswith(wanted.media_type[:-1])]):
            wanted = _Wanted(match[0], wanted.transfer_syntax, wanted.multipart)
        elif wanted.media_type not in offered:
            continue
        try:
            check(wanted)
        except ApiError as error:
            problem = problem or error
        else:
            return wanted
    raise problem or ApiError(406, f"Here is {' or '.join(offered)}; the request's Accept is {accept(call)!r}.")


def _check_instances(wanted: _Wanted) -> None:
    syntax = wanted.transfer_syntax or _EXPLICIT_LITTLE_ENDIAN
    try:
        parse_mime_type(f"application/dicom; transfer-syntax={syntax}")
    except ApiError as error:
        if error.code != 400:
            raise
        raise ApiError(406, f"Instances do not come in the transfer syntax {syntax!r}.") from error


def _check_picture(wanted: _Wanted) -> None:
    if wanted.transfer_syntax not in ("", "*", *_PICTURES[wanted.media_type]):
        raise ApiError(406, f"{wanted.media_type} does not come in the transfer syntax {wanted.transfer_syntax}.")


def _check_frames(wanted: _Wanted) -> None:
    if wanted.media_type == "image/png":
        _check_picture(wanted)
    elif wanted.transfer_syntax not in ("", "*", *(syntaxes := _COMPRESSED.get(wanted.media_type, (_EXPLICIT_LITTLE_ENDIAN,)))):
        known = " or ".join(("*", *syntaxes))
        raise ApiError(406, f"Frames of {wanted.media_type} have the transfer syntax {known}, not {wanted.transfer_syntax}.")


def _syntax_of_frames(instance: Instance, wanted: _Wanted) -> str:
    """Return the transfer syntax of the frames that an alternative means; ``*`` is the stored one, whatever it is."""
    if wanted.media_type not in _COMPRESSED:
        return wanted.transfer_syntax or _EXPLICIT_LITTLE_ENDIAN
    if wanted.transfer_syntax not in ("", "*"):
        return wanted.transfer_syntax
    known = _COMPRESSED[wanted.media_type]
    return instance.transfer_syntax if instance.transfer_syntax in known else known[0]


def _wanted(alternative: Alternative) -> _Wanted:
    kind, parameters = alternative
    multipart = kind in ("multipart/related", "multipart/*")
    return _Wanted(parameters.get("type", "").lower() if multipart else kind, parameters.get("transfer-syntax", ""), multipart)


async def _converted(instance: Instance, target: Path, transfer_syntax: str) -> BinaryIO:
    """Return an instance in a transfer syntax, opened; ``*`` is its own.

    :raises ApiError: 406 when it cannot be converted, 404 when it was deleted since it was found.
    """
    try:
        if transfer_syntax in ("*", instance.transfer_syntax):
            return instance.path.open("rb")
        await asyncio.to_thread(convert, instance.path, target, transfer_syntax)
    except FileNotFoundError as error:
        raise ApiError(404, f"not found: {_path(instance)}") from error
    except Exception as error:
        # Codecs raise whatever they stumble over.
        raise ApiError(
            406,
            f"{_path(instance)} cannot be converted from {instance.transfer_syntax} to {transfer_syntax}: {error}. "
            "With transfer-syntax=* it comes as it is stored.",
        ) from error
    return target.open("rb")


def _frames(instance: Instance, numbers: list[int], media_type: str, transfer_syntax: str) -> list[bytes]:
    if media_type == "image/png":
        return [_picture(instance, number, media_type) for number in numbers]
    try:
        return list(raw_frames(instance.path, transfer_syntax, numbers))
    except NoSuchFrame as error:
        raise ApiError(404, f"{_path(instance)}: {error}.") from error
    except Exception as error:
        # Codecs raise whatever they stumble over.
        raise ApiError(406, f"{_path(instance)} has no frames to be had: {error}") from error


def _picture(instance: Instance, number: int, media_type: str, size: tuple[int, int] | None = None) -> bytes:
    try:
        return rendered(instance.path, number, media_type, size)
    except NoSuchFrame as error:
        raise ApiError(404, f"{_path(instance)}: {error}.") from error
    except CannotRender as error:
        raise ApiError(406, f"{_path(instance)} cannot be rendered: {error}") from error


def _numbers(text: str) -> list[int]:
    if not re.fullmatch("[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*", text):
        raise ApiError(400, f"{text!r} is not a list of frame numbers; they count from 1, with commas between them.")
    return [int(number) for number in text.split(",")]


def _viewport(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    if re.fullmatch("[1-9][0-9]{0,3},[1-9][0-9]{0,3}", text):
        width, height = text.split(",")
        return int(width), int(height)
    raise ApiError(501, f"The emulator's viewport is width,height, each at most 9999; it is {text!r}.")


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk


async def _whole(call: Call, file: BinaryIO) -> web.StreamResponse:
    """Answer with an instance that is not a part of anything."""
    headers = {"Content-Type": "application/dicom", "Content-Length": str(os.fstat(file.fileno()).st_size)}
    response = web.StreamResponse(headers=headers)
    await response.prepare(call.request)
    for chunk in _chunks(file):
        await response.write(chunk)
    await response.write_eof()
    return response


def _path(instance: Instance) -> str:
    return "studies/{}/series/{}/instances/{}".format(*instance.uids)
