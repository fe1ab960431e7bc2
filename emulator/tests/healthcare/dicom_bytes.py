"""A little encoder of DICOM files, for pydicom's own refuses what is wrong."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

from pydicom.dataset import FileDataset

LONG_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
UNDEFINED = 0xFFFFFFFF
STUDY, SERIES, INSTANCE = 0x0020000D, 0x0020000E, 0x00080018


def element(tag: int, vr: str, value: bytes | str, *, length: int | None = None) -> bytes:
    """An element in Explicit VR Little Endian.

    :param length: what to write in place of the value's length.
    """
    value = value.encode() if isinstance(value, str) else value
    value += (b"\0" if vr in ("UI", "OB", "UN") else b" ") * (len(value) % 2)
    length = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return head + (struct.pack("<HI", 0, length) if vr in LONG_VRS else struct.pack("<H", length)) + value


def implicit(tag: int, value: bytes | str) -> bytes:
    """An element in Implicit VR Little Endian."""
    value = value.encode() if isinstance(value, str) else value
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def item(content: bytes) -> bytes:
    """An item of a sequence, or a fragment."""
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


DELIMITER = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def sequence(tag: int, *items: bytes) -> bytes:
    return element(tag, "SQ", b"".join(map(item, items)))


def encapsulated(*fragments: bytes) -> bytes:
    """Pixel Data of fragments, the first being the offset table; lengths may be odd."""
    return element(0x7FE00010, "OB", b"", length=UNDEFINED) + b"".join(map(item, fragments)) + DELIMITER


def uids(study: str = "1.2", series: str = "1.2.3", instance: str = "1.2.3.4") -> list[bytes]:
    return [element(tag, "UI", uid) for tag, uid in ((INSTANCE, instance), (STUDY, study), (SERIES, series))]


def part10(elements: Sequence[bytes], syntax: str = EXPLICIT, meta: bytes = b"") -> bytes:
    """A file of elements that are encoded, in their order by tag.

    :param syntax: what the header says; ``""`` for nothing.
    :param meta: more elements of the header, of smaller tags.
    """
    meta += element(0x00020010, "UI", syntax) if syntax else b""
    meta = element(0x00020000, "UL", struct.pack("<I", len(meta))) + meta
    return b"\0" * 128 + b"DICM" + meta + b"".join(sorted(elements, key=lambda data: struct.unpack("<HH", data[:4])))


def encoded(dataset: FileDataset) -> bytes:
    """A data set as a file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
