"""JSON as Google's parser takes it: single quotes, names without quotes and trailing commas, as the documentation's samples have."""

from __future__ import annotations

import json
from typing import Any

from gcp_dicom_emulator.rest.errors import ApiError

#: How long what is not strict JSON may be. A person typed it; and the slow parser takes a second for some thousand characters.
_MAX_LENIENT = 4096

#: How many digits a double surely has.
_SURE_DIGITS = 15


class ExactFloat(float):
    """A number with the text that it was, which may have more digits."""

    text: str


def exact_float(text: str) -> float:
    """Return a number; one with more digits than a double holds keeps its text."""
    if len(text) <= _SURE_DIGITS:
        return float(text)
    made = ExactFloat(text)
    made.text = text
    return made


def loads(body: bytes) -> Any:
    """Parse a request's body; an empty one is an empty object.

    :raises ApiError: 400 when it is not JSON even by the lenient rules.
    """
    if not body.strip():
        return {}
    try:
        text = body.decode("utf-8")
        try:
            return json.loads(text, parse_float=exact_float)
        except json.JSONDecodeError:
            if len(text) > _MAX_LENIENT:
                raise
            import json5

            return json5.loads(text)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"Invalid JSON payload received. {error}") from error
