"""Cloud Logging's ``entries.list`` (v2), for the errors of single files and instances that operations leave.

Source: ``ListLogEntriesRequest`` and ``LogEntry`` in the discovery document of ``logging.v2``; the page on Logging's query language.
Of that, the emulator knows comparisons of a few fields, all of which must hold. The rest answers 501.
"""

from __future__ import annotations

import asyncio
import json
import operator
import re
from collections.abc import Callable
from typing import Any

from aiohttp import web

from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest import lenient_json
from gcp_dicom_emulator.rest.endpoints import Endpoint
from gcp_dicom_emulator.rest.errors import ApiError

#: The fields of the request, and what each must be.
_FIELDS: dict[str, type] = {
    "resourceNames": list,
    "projectIds": list,
    "filter": str,
    "orderBy": str,
    "pageSize": int,
    "pageToken": str,
}
_SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")
_ORDERS = {"": "ASC", "timestamp": "ASC", "timestamp asc": "ASC", "timestamp desc": "DESC"}
_COMPARISON = re.compile(
    r"""\s*(?:AND\s+)?(?P<field>[\w.@]+)\s*(?P<sign>>=|<=|=|>|<)\s*(?P<value>"(?:[^"\\]|\\.)*"|[\w.:+-]+)(?=\s|$)"""
)
_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_EQUAL_ONLY = ("operation.id", "resource.type", "logName", "resource.labels.dataset_id", "resource.labels.project_id")
_PROJECT = re.compile(r"projects/([^/]+)")
_MAX_PAGE, _PAGE = 1000, 50

Entry = dict[str, Any]


class LogEntries:
    """The endpoint.

    :param state: where the operations' entries are kept.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def endpoints(self) -> list[Endpoint]:
        """Return it."""
        return [Endpoint("POST", "/v2/entries:list", self._list)]

    async def _list(self, request: web.Request) -> web.Response:
        body = lenient_json.loads(await request.read())
        return web.json_response(await asyncio.to_thread(self.page, body))

    def page(self, body: Any) -> dict[str, Any]:
        """Return the answer to a request.

        :raises ApiError: 400 for a request that Logging refuses, 501 for what the emulator does not do.
        """
        projects, matches, order, size, start = _parse(body)
        rows = self._state.query("SELECT operation, entry FROM operation_logs ORDER BY rowid")
        entries = [_complete(row["operation"], json.loads(row["entry"]), number) for number, row in enumerate(rows)]
        found = [
            entry for entry in entries if _project_of(entry) in projects and all(matches_one(entry) for matches_one in matches)
        ]
        if order == "DESC":
            found.reverse()
        answer: dict[str, Any] = {"entries": found[start : start + size]} if found[start:] else {}
        if len(found) > start + size:
            answer["nextPageToken"] = str(start + size)
        return answer


def _parse(body: Any) -> tuple[set[str], list[Callable[[Entry], bool]], str, int, int]:
    """Return the projects, what an entry must match, the order, and the page's size and start."""
    if not isinstance(body, dict):
        raise ApiError(400, "The request must be a ListLogEntriesRequest.")
    for name, value in body.items():
        if name not in _FIELDS:
            raise ApiError(400, f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
        if not isinstance(value, _FIELDS[name]) or isinstance(value, bool):
            raise ApiError(400, f"Invalid value at '{name}', {value!r}")
    names = [*body.get("resourceNames", []), *(f"projects/{project}" for project in body.get("projectIds", []))]
    if not names:
        raise ApiError(400, "resourceNames must name at least one project.")
    projects = {match[1] for name in names if (match := _PROJECT.fullmatch(str(name)))}
    if len(projects) < len(set(names)):
        raise ApiError(501, f"The emulator lists the entries of projects only, not of {names}.")
    order = body.get("orderBy", "").strip()
    if order not in _ORDERS:
        raise ApiError(400, f"orderBy is {order!r}; it can be 'timestamp asc' or 'timestamp desc'.")
    size = body.get("pageSize") or _PAGE
    if size < 0:
        raise ApiError(400, "pageSize must not be negative.")
    token = body.get("pageToken", "") or "0"
    if not token.isdecimal():
        raise ApiError(400, f"pageToken is {token!r}, which no listing has returned.")
    return projects, _parse_filter(body.get("filter", "")), _ORDERS[order], min(size, _MAX_PAGE), int(token)


def _parse_filter(text: str) -> list[Callable[[Entry], bool]]:
    found, position = [], 0
    while text[position:].strip():
        match = _COMPARISON.match(text, position)
        if not match:
            raise ApiError(501, f"The emulator does not understand this part of the filter: {text[position:].strip()[:200]!r}")
        found.append(_comparison(match["field"], match["sign"], _unquoted(match["value"])))
        position = match.end()
    return found


def _comparison(field: str, sign: str, value: str) -> Callable[[Entry], bool]:
    compare = _SIGNS[sign]
    if field == "severity":
        if value not in _SEVERITIES:
            raise ApiError(400, f"severity is compared with {value!r}; it can be one of {', '.join(_SEVERITIES)}.")
        return lambda entry: compare(_SEVERITIES.index(entry["severity"]), _SEVERITIES.index(value))
    if field == "timestamp":
        return lambda entry: compare(entry["timestamp"], value)
    if field not in _EQUAL_ONLY or sign != "=":
        raise ApiError(501, f"The emulator does not compare {field} by {sign}.")
    return lambda entry: bool(_value(entry, field) == value)


def _value(entry: Entry, field: str) -> Any:
    value: Any = entry
    for part in field.split("."):
        value = value.get(part, {})
    return value


def _complete(operation: str, entry: Entry, number: int) -> Entry:
    """Return an entry with the fields that Logging adds."""
    _, project, _, location, _, dataset, *_ = operation.split("/")
    return {
        "insertId": f"{number:016d}",
        "logName": f"projects/{project}/logs/healthcare.googleapis.com%2Foperations",
        "receiveTimestamp": entry["timestamp"],
        "resource": {
            "type": "healthcare_dataset",
            "labels": {"project_id": project, "location": location, "dataset_id": dataset},
        },
        **entry,
    }


def _project_of(entry: Entry) -> str:
    return str(entry["resource"]["labels"]["project_id"])


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
