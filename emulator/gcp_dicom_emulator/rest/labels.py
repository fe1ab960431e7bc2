"""Labels, which all of Google's resources have by the same rules."""

from __future__ import annotations

import unicodedata

from gcp_dicom_emulator.rest.errors import ApiError

_MAX_LABELS = 64
_LABEL_CHARACTERS = "lower-case letters, digits, '_' and '-', in at most 128 bytes"


def check_labels(labels: dict[str, str]) -> None:
    """Check the labels of a resource.

    :raises ApiError: 400 for too many, or one of another form than documented.
    """
    if len(labels) > _MAX_LABELS:
        raise ApiError(400, f"There are {len(labels)} labels; a resource has at most {_MAX_LABELS}.")
    for key, value in labels.items():
        if not (1 <= len(key) <= 63 and _is_letter(key[0]) and all(map(_is_label_character, key)) and _fits(key)):
            raise ApiError(
                400, f"Invalid label key {key!r}: it begins with a lower-case letter and has 1 to 63 of {_LABEL_CHARACTERS}."
            )
        if not (isinstance(value, str) and len(value) <= 63 and all(map(_is_label_character, value)) and _fits(value)):
            raise ApiError(400, f"Invalid value {value!r} of label {key!r}: it has up to 63 of {_LABEL_CHARACTERS}.")


def _is_letter(character: str) -> bool:
    return unicodedata.category(character) in ("Ll", "Lo")


def _is_label_character(character: str) -> bool:
    return character in "_-" or unicodedata.category(character) in ("Ll", "Lo", "Nd", "Nl", "No")


def _fits(text: str) -> bool:
    return len(text.encode(errors="replace")) <= 128
