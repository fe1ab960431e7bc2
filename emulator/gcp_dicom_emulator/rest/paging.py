"""Pages of a listing, whose token holds the last name of the page before."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from gcp_dicom_emulator.rest.errors import ApiError

_PAGE, _MAX_PAGE = 100, 1000
_NUMBER = re.compile("[0-9]{1,19}")


def page_size(text: str | None) -> int:
    """Return how many resources a ``pageSize`` asks for.

    :raises ApiError: 400 for what is not a number.
    """
    if not _NUMBER.fullmatch(text or "0"):
        raise ApiError(400, f"pageSize is {text!r}; it must be a number.")
    return min(int(text or "0") or _PAGE, _MAX_PAGE)


def page(key: str, resources: list[dict[str, Any]], below: str, size: str | None, token: str | None) -> dict[str, Any]:
    """Return a page of resources that are sorted by name.

    :param key: the field that holds them.
    :param below: what all their names begin with.
    :param size: the ``pageSize`` of the request.
    :param token: its ``pageToken``.
    :raises ApiError: 400 for a ``pageSize`` that is not a number, and for a token that no such listing returned.
    """
    after, most = _name_of(token, below), page_size(size)
    rest = [resource for resource in resources if resource["name"] > after]
    answer: dict[str, Any] = {key: rest[:most]} if rest else {}
    if len(rest) > most:
        answer["nextPageToken"] = base64.urlsafe_b64encode(rest[most - 1]["name"].encode()).decode()
    return answer


def _name_of(token: str | None, below: str) -> str:
    try:
        name = base64.b64decode((token or "").encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        name = ""
    if token and not name.startswith(below):
        raise ApiError(400, f"pageToken is {token!r}, which no such listing has returned.")
    return name
