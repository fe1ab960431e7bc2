"""What the bytes of an element mean: texts and numbers. Sources: PS3.5, sections 6.1 and 6.2."""

from __future__ import annotations

import codecs
import functools
import struct
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.healthcare.dicom.reading import BYTES

if TYPE_CHECKING:
    from gcp_dicom_emulator.healthcare.dicom.reading import Element, Elements

#: Value representations whose values are bytes, and how many bytes a word of them has.
BINARY = {**dict.fromkeys(("OB", "UN"), 1), "OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
assert set(BINARY) == {*BYTES, "UN"}
#: Python encodings, the first being the one without escape sequences.
Charset = tuple[str, ...]
DEFAULT_CHARSET: Charset = ("iso8859",)
_CHARACTER_SET = 0x00080005
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
_ESCAPE = 0x1B
#: What ends the effect of an escape sequence, besides the backslash.
_CONTROLS, _NAME_DELIMITERS = frozenset(b"\n\f\r\t\\"), frozenset(b"^=\\")
#: pydicom takes this for a part of the text.
_IR_58 = "\x1b$)A"


def charset_of(elements: Elements, around: Charset) -> Charset:
    """Return in which characters a data set's texts are.

    :param around: in which those of the data set are that it is an item of.
    """
    declared = elements.get(_CHARACTER_SET)
    return _charset(declared.text) if declared else around


@functools.lru_cache(1000)
def _charset(declared: str) -> Charset:
    from pydicom.charset import convert_encodings

    terms = [term.strip() for term in declared.split("\\")]
    return tuple(encoding if _is_known(encoding) else DEFAULT_CHARSET[0] for encoding in convert_encodings(terms))


def _is_known(encoding: str) -> bool:
    """Return whether an encoding is one of DICOM: pydicom takes any name that Python knows, such as ``rot13``."""
    from pydicom.charset import python_encoding

    return codecs.lookup(encoding).name in {codecs.lookup(known).name for known in python_encoding.values()}


def values(element: Element, charset: Charset) -> list[Any]:
    """Return the values of an element: text, numbers, or bytes; a tag (AT) as a number; none for an empty value.

    :raises ValueError: it does not have whole numbers of its size.
    """
    vr, data = element.vr, element.value
    if not data:
        return []
    if vr in _TEXTS:
        return _texts(vr, data, charset)
    if kind := _NUMBERS.get(vr):
        return _unpacked(kind, data, element.little)
    if vr == "AT":
        halves = _unpacked(("H", 2), data, element.little)
        return [group << 16 | number for group, number in zip(halves[::2], halves[1::2], strict=True)]
    return [data]


def _texts(vr: str, data: bytes, charset: Charset) -> list[Any]:
    text = (_decoded(vr, data, charset) if vr in _WITH_CHARACTER_SET else data.decode("latin-1")).rstrip("\0 ")
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


def _decoded(vr: str, data: bytes, charset: Charset) -> str:
    if _ESCAPE in data:
        from pydicom.charset import decode_bytes

        return decode_bytes(data, charset, set(_NAME_DELIMITERS if vr == "PN" else _CONTROLS)).replace(_IR_58, "")
    return data.decode("ascii") if data.isascii() else data.decode(charset[0], errors="replace")
