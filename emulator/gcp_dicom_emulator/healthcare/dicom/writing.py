"""The one way to write a DICOM file: what was not changed since it was read is written as it stood.

pydicom writes transfer syntaxes that it knows, decodes text that it then cannot encode again, and lengths that are odd.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from gcp_dicom_emulator.healthcare.dicom.charsets import DEFAULT_CHARSET, Charset, charset, decode
from gcp_dicom_emulator.healthcare.dicom.reading import (
    DEFLATED,
    EXPLICIT_BIG_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    LONG_VRS,
)

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset, FileDataset

_UNDEFINED = 0xFFFFFFFF
#: Value representations whose bytes are the same in either order.
_TEXTS = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"))
_ORDERLESS = _TEXTS | {"OB", "UI", "UN"}
_WITH_CHARACTER_SET = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))


def write(dataset: FileDataset, target: Path) -> None:
    """Write a file in the transfer syntax of its ``file_meta``; without one, in the encoding that it was read in.

    Group lengths, which are retired, are left out.

    :raises Exception: pydicom raises whatever a value that was set makes it stumble over.
    """
    _complete(dataset)
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    encoder = _Encoder(implicit=syntax == IMPLICIT_LITTLE_ENDIAN, little=syntax != EXPLICIT_BIG_ENDIAN)
    with target.open("wb") as file:
        file.write((dataset.preamble or bytes(128)).ljust(128, b"\0") + b"DICM" + _meta(dataset.file_meta))
        body: Any = _Deflated(file) if syntax in DEFLATED else file
        for part in encoder.elements(dataset, DEFAULT_CHARSET):
            body.write(part)
        if body is not file:
            body.close()


def _complete(dataset: FileDataset) -> None:
    """Give the file meta information what PS3.10, 7.1 wants and the data set has."""
    from pydicom import uid

    meta = dataset.file_meta
    if not meta.get("TransferSyntaxUID"):
        meta.TransferSyntaxUID = uid.UID(IMPLICIT_LITTLE_ENDIAN if dataset.original_encoding[0] else EXPLICIT_LITTLE_ENDIAN)
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        if named := _uid(dataset, keyword):
            setattr(meta, f"MediaStorage{keyword}", named)
    if "FileMetaInformationVersion" not in meta:
        meta.FileMetaInformationVersion = b"\0\1"
    if "ImplementationClassUID" not in meta:
        meta.ImplementationClassUID = uid.PYDICOM_IMPLEMENTATION_UID


def _uid(dataset: Dataset, keyword: str) -> str:
    """Return a UID without decoding its element, which would no longer be written as it stood."""
    value: Any = dataset.get_item(keyword).value if keyword in dataset else ""
    return value.decode("latin-1").strip("\0 ") if isinstance(value, bytes) else str(value or "")


def _meta(meta: Dataset) -> bytes:
    body = b"".join(_Encoder(implicit=False, little=True).elements(meta, DEFAULT_CHARSET))
    return struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(body)) + body


class _Deflated:
    """Deflates what is written to a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        self._length = 0

    def write(self, data: bytes) -> None:
        self._put(self._deflater.compress(data))

    def close(self) -> None:
        self._put(self._deflater.flush())
        self._put(b"\0" * (self._length % 2))  # PS3.5, A.5

    def _put(self, data: bytes) -> None:
        self._length += len(data)
        self._file.write(data)


def _charset_of(dataset: Dataset, around: Charset) -> Charset:
    declared = dataset.get_item("SpecificCharacterSet") if "SpecificCharacterSet" in dataset else None
    if declared is None:
        return around
    value: Any = declared.value or ""
    if isinstance(value, bytes):
        value = value.decode("latin-1").strip("\0 ")
    text = value if isinstance(value, str) else "\\".join(value)
    return charset(text) if text else around


def _has(data: bytes, element: DataElement, encodings: Charset) -> bool:
    """Return whether bytes have all of an element's text: pydicom writes ``?`` for what an encoding does not have."""
    from pydicom import multival

    value: Any = element.value
    texts = value if isinstance(value, multival.MultiValue) else [value or ""]
    written = decode(data, encodings, is_name=element.VR == "PN").rstrip(" ")
    return written == "\\".join(map(str, texts)).rstrip(" ")


class _Encoder:
    """Encodes data sets.

    :param implicit: whether value representations are not written.
    """

    def __init__(self, *, implicit: bool, little: bool) -> None:
        self._implicit = implicit
        self._little = little
        self._order = "<" if little else ">"

    def elements(self, dataset: Dataset, around: Charset) -> Iterator[bytes]:
        """Yield a data set's elements in parts.

        :param around: the characters of the data set that it is an item of.
        """
        encodings = _charset_of(dataset, around)
        same_charset = dataset.original_character_set == list(encodings)
        for tag in sorted(dataset.keys()):
            if not tag.element:
                continue
            element: Any = dataset.get_item(tag)
            if element.VR == "SQ" and not element.is_raw:
                yield from self._sequence(element, encodings)
                continue
            stands = (
                element.is_raw
                and element.VR is not None
                and (element.is_little_endian == self._little or element.VR in _ORDERLESS)
                and (same_charset or element.VR not in _WITH_CHARACTER_SET)
            )
            if stands:
                yield from self._value(tag, element.VR, element.value or b"", element.length == _UNDEFINED)
            else:
                decoded = self._unambiguous(dataset, dataset[tag])
                yield from self._value(tag, decoded.VR, self._encoded(decoded, encodings), decoded.is_undefined_length)

    def _sequence(self, element: DataElement, encodings: Charset) -> Iterator[bytes]:
        parts: list[bytes] = []
        for item in element.value or []:
            content = b"".join(self.elements(item, encodings))
            if getattr(item, "is_undefined_length_sequence_item", False):
                parts += (self._head(0xFFFE, 0xE000, _UNDEFINED), content, self._head(0xFFFE, 0xE00D, 0))
            else:
                parts += (self._head(0xFFFE, 0xE000, len(content)), content)
        yield from self._value(element.tag, "SQ", b"".join(parts), bool(element.is_undefined_length))

    def _value(self, tag: Any, vr: str, value: bytes, undefined: bool) -> Iterator[bytes]:
        """Yield an element in parts; its length is even, and of a VR that can have it."""
        padding = (b" " if vr in _TEXTS else b"\0") * (len(value) % 2)
        length = _UNDEFINED if undefined else len(value) + len(padding)
        if self._implicit:
            yield self._head(tag.group, tag.element, length)
        elif vr in LONG_VRS or length > 0xFFFF:
            vr = vr if vr in LONG_VRS else "UN"  # PS3.5, 6.2.2
            yield struct.pack(f"{self._order}HH2sHI", tag.group, tag.element, vr.encode(), 0, length)
        else:
            yield struct.pack(f"{self._order}HH2sH", tag.group, tag.element, vr.encode(), length)
        yield value + padding if padding else value
        if undefined:
            yield self._head(0xFFFE, 0xE0DD, 0)

    def _head(self, group: int, number: int, length: int) -> bytes:
        return struct.pack(f"{self._order}HHI", group, number, length)

    def _encoded(self, element: DataElement, encodings: Charset) -> bytes:
        """Return the bytes of a value that was decoded or set."""
        from pydicom import filebase, filewriter

        buffer = filebase.DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = self._little, True
        filewriter.write_data_element(buffer, element, list(encodings))
        data = buffer.getvalue()[8 : -8 if element.is_undefined_length else None]
        if element.VR in _WITH_CHARACTER_SET and not _has(data, element, encodings):
            raise ValueError(f"{element.tag} has characters that the character set {encodings[0]} does not have")
        return data

    def _unambiguous(self, dataset: Dataset, element: DataElement) -> DataElement:
        from pydicom import filewriter

        if " or " in element.VR:
            filewriter.correct_ambiguous_vr_element(element, dataset, self._little)
            element.VR = element.VR.split(" or ")[0]
        return element
