"""The DICOM JSON Model. Source: PS3.18, annex F."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.healthcare.dicom.charsets import Charset
from gcp_dicom_emulator.healthcare.dicom.reading import charset_of
from gcp_dicom_emulator.healthcare.dicom.values import BINARY, little_endian, values

if TYPE_CHECKING:
    from gcp_dicom_emulator.healthcare.dicom.reading import Element, Elements

#: Says what stands for a binary value, which is at an address (``TAG/ITEM/TAG``); ``None`` for nothing, not even the element.
Binary = Callable[["Element", str], dict[str, Any] | None]

_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
#: The largest integer below which a double holds all of them, and how many digits a double always holds.
_LARGEST, _DIGITS = 2**53, 15


def to_json(elements: Elements, around: Charset, binary: Binary, address: str = "") -> dict[str, Any]:
    """Return a data set, sequences included, group lengths not.

    :param around: the characters of the data set that it is an item of.
    :param binary: what stands for binary values.
    :param address: where the data set is.
    """
    charset, found = charset_of(elements, around), {}
    for tag in sorted(elements):
        if tag & 0xFFFF:
            described = _described(elements[tag], charset, binary, f"{address}{tag:08X}")
            if described is not None:
                found[f"{tag:08X}"] = described
    return found


def _described(element: Element, charset: Charset, binary: Binary, address: str) -> dict[str, Any] | None:
    if element.items is not None:
        items = [to_json(item.elements, charset, binary, f"{address}/{number}/") for number, item in enumerate(element.items, 1)]
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
    if element.vr in BINARY:
        return binary(element, address)
    try:
        return element_to_json(element, charset)
    except ValueError:
        # What is not of its VR is nothing that is known: bytes.
        return binary(element._replace(vr="UN"), address)


def element_to_json(element: Element, charset: Charset) -> dict[str, Any]:
    """Return an element that is neither binary nor a sequence.

    :raises ValueError: its value is not of its value representation.
    """
    vr = element.vr
    found = values(vr, element.value, charset, little=element.little)
    convert = _CONVERTERS.get(vr)
    if convert is not None:
        found = [convert(value) for value in found]
    elif "" in found:
        found = [value or None for value in found]
    if not found or (found[0] is None and not any(value is not None for value in found)):
        return {"vr": vr}
    return {"vr": vr, "Value": found}


def inline(element: Element) -> dict[str, Any]:
    """Return a binary element with its value."""
    data = little_endian(element)
    return {"vr": element.vr, "InlineBinary": base64.b64encode(data).decode()} if data else {"vr": element.vr}


def _name(text: str) -> dict[str, str] | None:
    """Return a name's groups that are not empty."""
    groups = (group.rstrip(" ^") for group in text.split("=", 3))
    return {name: group for name, group in zip(_GROUPS, groups, strict=False) if group} or None


def _integer_string(text: str) -> int | str | None:
    if not _INTEGER.fullmatch(text):
        return text or None
    return _safe(int(text)) if len(text) < 100 else text


def _decimal_string(text: str) -> float | str | None:
    """Return a number where a double holds what the text says, else the text."""
    if not _DECIMAL.fullmatch(text):
        return text or None
    number = float(text)
    if not math.isfinite(number) or (len(text) > _DIGITS and _digits(text) != _digits(repr(number))):
        return text
    return number


def _digits(text: str) -> tuple[str, int]:
    """Return a number's digits without leading and trailing zeros, and where its decimal point is."""
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, fraction = mantissa.lstrip("+-").partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(digits) - len(fraction) + int(exponent or 0)
    return (digits.rstrip("0"), point) if digits.rstrip("0") else ("", 0)


def _safe(number: int) -> int | str:
    """Return an integer, as text where not every reader of JSON can hold it."""
    return number if -_LARGEST < number < _LARGEST else str(number)


def _float(number: float) -> float | str:
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "AT": "{:08X}".format,
    "DS": _decimal_string,
    "FD": _float,
    "FL": _float,
    "IS": _integer_string,
    "PN": _name,
    "SV": _safe,
    "UV": _safe,
}
