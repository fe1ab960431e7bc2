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
_NUMBERS = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
#: What reads one of them, by whether it is little endian.
_ONE = {
    little: {vr: struct.Struct(f"{order}{letter}") for vr, letter in _NUMBERS.items()}
    for little, order in ((True, "<"), (False, ">"))
}
#: A text is one value, whatever backslashes it has.
_ONE_TEXT = frozenset(("LT", "ST", "UR", "UT"))
_WITH_CHARACTER_SET = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
_TEXTS = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"))
#: Blanks before the value mean nothing either.
_STRIPPED = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI"))


def values(vr: str, data: bytes, encodings: Charset, *, little: bool) -> list[Any]:
    """Return the values that bytes are: text, numbers, or bytes; a tag (AT) as a number; none for an empty value.

    :raises ValueError: they do not have whole numbers of their size.
    """
    if not data:
        return []
    if vr in _TEXTS:
        return _texts(vr, data, encodings)
    if vr in _NUMBERS:
        return _numbers(vr, data, little)
    if vr == "AT":
        halves = _numbers("US", data, little)
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
        values(element.vr, element.value, DEFAULT_CHARSET, little=element.little)
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


def _numbers(vr: str, data: bytes, little: bool) -> list[Any]:
    one = _ONE[little][vr]
    if len(data) == one.size:
        return list(one.unpack(data))
    count, rest = divmod(len(data), one.size)
    if rest:
        raise ValueError(f"{len(data)} bytes are not numbers of {one.size} bytes")
    return list(struct.unpack(f"{one.format[0]}{count}{one.format[1]}", data))
