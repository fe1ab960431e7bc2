"""Durations and times as JSON has them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from gcp_dicom_emulator.rest.errors import ApiError

_DURATION = re.compile(r"(-?\d{1,12}(?:\.\d{1,9})?)s")


def seconds(text: str, field: str, lowest: float, highest: float) -> float:
    """Return a duration such as ``600s`` in seconds.

    :param field: whose value it is, for the error.
    :raises ApiError: 400 for what is not a duration, or is not from ``lowest`` to ``highest``.
    """
    found = _DURATION.fullmatch(text)
    if not found or not lowest <= float(found.group(1)) <= highest:
        raise ApiError(400, f"{field} is {text!r}; it must be a duration from {lowest:.9g}s to {highest:.9g}s.")
    return float(found.group(1))


def instant(at: float) -> str:
    """Return a time, in seconds since the epoch, as RFC 3339 with microseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
