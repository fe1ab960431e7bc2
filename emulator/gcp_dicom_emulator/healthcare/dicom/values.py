"""What the bytes of an element mean: texts and numbers. Sources: PS3.5, sections 6.1 and 6.2."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.healthcare.dicom.charsets import DEFAULT_CHARSET, Charset, decode
from gcp_dicom_emulator.healthcare.dicom.reading import BYTES

if TYPE_CHECKING:
    from gcp_dicom_emulator.healthcare.dicom.reading import Element

#: Value representations whose values are bytes, and how many bytes a word of them has.
BINARY = {**dict.fromkeys(("OB", "UN"), 1), "OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
assert set(BINARY) == {*BYTES, "UN"}
#: What struct calls them, and how many bytes each has.
_NUMBERS = {
    "FD": ("d", 8),
    "FL": ("f", 4),
    "SL": ("i", 4),
    "SS": ("h", 2),
    "SV": ("q", 8),
    "UL": ("I", 4),
    "US": ("H", 2),
    "UV": ("Q", 8),
}
#: A text is one value, whatever backslashes it has.
_ONE_TEXT = frozenset(("LT", "ST", "UR", "UT"))
_WITH_CHARACTER_SET = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
_TEXTS = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"))
#: Blanks before the value mean nothing either.
_STRIPPED = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI"))


def values(element: Element, encodings: Charset) -> list[Any]:
    """Return the values of an element: text, numbers, or bytes; a tag (AT) as a number; none for an empty value.

    :raises ValueError: it does not have whole numbers of its size.
    """
    vr, data = element.vr, element.value
    if not data:
        return []
    if vr in _TEXTS:
        return _texts(vr, data, encodings)
    if kind := _NUMBERS.get(vr):
        return _unpacked(kind, data, element.little)
    if vr == "AT":
        halves = _unpacked(("H", 2), data, element.little)
        return [group << 16 | number for group, number in zip(halves[::2], halves[1::2], strict=True)]
    return [data]


def _texts(vr: str, data: bytes, encodings: Charset) -> list[Any]:
    text = (decode(data, encodings, is_name=vr == "PN") if vr in _WITH_CHARACTER_SET else data.decode("latin-1")).rstrip("\0 ")
    if "\\" not in text or vr in _ONE_TEXT:
        text = text.lstrip(" ") if vr in _STRIPPED else text
        return [text] if text else []
    if vr in _STRIPPED:
        return [value.strip("\0 ") for value in text.split("\\")]
    return [value.rstrip("\0 ") for value in text.split("\\")]


def is_readable(element: Element) -> bool:
    """Return whether a value is of its value representation."""
    try:
        values(element, DEFAULT_CHARSET)
    except ValueError:
        return False
    return True


def little_endian(element: Element) -> bytes:
    """Return the bytes of a value that is bytes, its words in little endian."""
    word, data = BINARY.get(element.vr, 1), element.value
    if element.little or word == 1 or element.fragments is not None:
        return data
    whole = len(data) // word * word
    turned = bytearray(data)
    for place in range(word):
        turned[place:whole:word] = data[word - 1 - place : whole : word]
    return bytes(turned)


def _unpacked(kind: tuple[str, int], data: bytes, little: bool) -> list[Any]:
    letter, size = kind
    count, rest = divmod(len(data), size)
    if rest:
        raise ValueError(f"{len(data)} bytes are no numbers of {size} bytes")
    return list(struct.unpack(f"{'<' if little else '>'}{count}{letter}", data))
