"""What a request of DICOMweb asks for: the alternatives of its ``Accept``, and its parameters."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.server import Call

_PARAMETER = re.compile(r';\s*([\w-]+)\s*=\s*(?:"([^"]*)"|([^;,\s]*))')
#: Those of all Google APIs.
_COMMON = frozenset(("alt", "prettyPrint", "key", "access_token", "quotaUser", "$.xgafv", "uploadType"))


class Alternative(NamedTuple):
    """One alternative of an ``Accept``.

    :param kind: its media type.
    :param parameters: of the media type; names are in lower case.
    """

    kind: str
    parameters: dict[str, str]


def accept(call: Call) -> str:
    """Return what a request accepts, as it is written."""
    return ", ".join(call.request.headers.getall("Accept", ["*/*"]))


def alternatives(call: Call) -> list[Alternative]:
    """Return what a request accepts, the most wanted first; without what it refuses (``q=0``)."""
    weighed = []
    for part in re.findall(r'(?:[^,"]|"[^"]*")+', accept(call)):
        parameters = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(part)}
        weight = _weight(parameters.pop("q", "1"))
        if weight > 0:
            weighed.append((weight, Alternative(part.partition(";")[0].strip().lower(), parameters)))
    return [alternative for _, alternative in sorted(weighed, key=lambda each: -each[0])]


def _weight(text: str) -> float:
    """Return the weight of an alternative; what is not a number says nothing."""
    return float(text) if re.fullmatch(r"[01](\.[0-9]{0,3})?", text) else 1.0


def parameters(call: Call) -> list[tuple[str, str]]:
    """Return a request's parameters but those of all Google APIs.

    :raises ApiError: 400 for one that is there twice; ``includefield`` may be.
    """
    found = [(name, value) for name, value in call.query.items() if name not in _COMMON]
    names = [name for name, _ in found if name != "includefield"]
    for name in names:
        if names.count(name) > 1:
            raise ApiError(400, f"{name} is there twice.")
    return found


def check_parameters(call: Call, known: Collection[str] = ()) -> None:
    """Check that a request has no other parameters than these.

    :raises ApiError: 501 when it has.
    """
    unknown = {name for name, _ in parameters(call)} - set(known)
    if unknown:
        raise ApiError(501, f"The emulator does not do {', '.join(sorted(unknown))} here.")
