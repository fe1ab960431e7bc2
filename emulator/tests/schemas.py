"""Checks what goes over the wire against the discovery documents, with code of its own, not the emulator's.

A request is checked when it is answered with success: many tests send wrong ones on purpose. Every answer is checked.
"""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

from aiohttp import web

from gcp_dicom_emulator.rest import lenient_json
from gcp_dicom_emulator.rest.discovery import Method
from gcp_dicom_emulator.rest.server import Server

#: What Google's servers take and the documents leave out.
_UNDOCUMENTED = {
    "alt",
    "uploadType",
    "upload_id",  # in a resumable upload's URL
    "prettyPrint",
    "projection",  # of bigquery.jobs.get, as Google's Python client sends it
}
#: Attributes of instances, which a search takes as query parameters.
_SEARCHES = ("searchForInstances", "searchForSeries", "searchForStudies")


class Document:
    """A discovery document.

    In a request, Google's parser takes a field's original snake_case name, a number or boolean as a string and a string as a number,
    and null for a field that is not there; in an answer, nothing but what the document says is right.

    :param name: e.g. ``healthcare.v1``.
    """

    def __init__(self, name: str) -> None:
        text = resources.files("googleapiclient.discovery_cache.documents").joinpath(f"{name}.json").read_text()
        document = json.loads(text)
        self._schemas: dict[str, Any] = document["schemas"]
        self._parameters = set(document["parameters"]) | _UNDOCUMENTED
        self.methods = {method["id"]: method for method in _methods(document)}

    def check_query(self, method_id: str, names: Iterator[str]) -> Iterator[str]:
        """Yield what is wrong with a request's query parameters."""
        if method_id.endswith(_SEARCHES):
            return
        known = self._parameters | set(self.methods[method_id].get("parameters", {}))
        yield from (f"unknown query parameter {name!r}" for name in names if name not in known)

    def check(self, schema: dict[str, Any], value: Any, where: str) -> Iterator[str]:
        """Yield what is wrong with a JSON value.

        :param where: the value's place, for the message; it begins with ``request`` or ``response``.
        """
        if "$ref" in schema:
            schema = self._schemas[schema["$ref"]]
        kind, form = schema.get("type"), schema.get("format")
        if kind == "any":
            return
        if where.startswith("request"):
            if value is None:
                return
            value = _strict(kind, form, value)
        if kind == "object":
            yield from self._check_object(schema, value, where)
        elif kind == "array":
            if not isinstance(value, list):
                yield f"{where}: {value!r} is not of type array"
                return
            for item in value:
                yield from self.check(schema["items"], item, f"{where}[]")
        elif not _SCALARS[str(kind), form](value):
            yield f"{where}: {value!r} is not of type {form or kind}"
        elif "enum" in schema and value not in schema["enum"]:
            yield f"{where}: {value!r} is none of the enum"
        elif "pattern" in schema and not re.fullmatch(schema["pattern"], value):
            yield f"{where}: {value!r} does not match {schema['pattern']}"

    def _check_object(self, schema: dict[str, Any], value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{where}: {value!r} is not of type object"
            return
        # An Any, as in an operation's metadata, names its own schema.
        named = str(value.get("@type", "")).rpartition(".")[2]
        if named in self._schemas:
            schema = self._schemas[named]
            value = {key: item for key, item in value.items() if key != "@type"}
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        for name, item in value.items():
            key = _camel(name) if where.startswith("request") and name not in properties else name
            if key in properties:
                yield from self.check(properties[key], item, f"{where}.{key}")
            elif others is None:
                yield f"{where}.{key}: unknown field"
            else:
                yield from self.check(others, item, f"{where}.*")


def _methods(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from node.get("methods", {}).values()
    for resource in node.get("resources", {}).values():
        yield from _methods(resource)


def _strict(kind: str | None, form: str | None, value: Any) -> Any:
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    if kind == "string" and _is_number(value):
        return str(value)
    return int(value) if kind == "integer" and isinstance(value, str) else value


def _camel(name: str) -> str:
    return re.sub("_([a-z])", lambda found: found[1].upper(), name)


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", value) is not None


def _is_base64(value: Any) -> bool:
    try:
        return base64.b64encode(base64.b64decode(value)).decode() == value
    except ValueError:
        return False


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


#: JSON has 64 bits of an integer as a string.
_SCALARS: dict[tuple[str, str | None], Callable[[Any], bool]] = {
    ("boolean", None): lambda value: isinstance(value, bool),
    ("integer", "int32"): _is_integer,
    ("integer", "uint32"): _is_integer,
    ("number", "double"): _is_number,
    ("number", "float"): _is_number,
    ("string", None): lambda value: isinstance(value, str),
    ("string", "byte"): _is_base64,
    ("string", "date"): _matches(r"\d{4}-\d\d-\d\d"),
    ("string", "date-time"): _is_time,
    ("string", "google-datetime"): _is_time,
    ("string", "google-duration"): _matches(r"-?\d+(\.\d{1,9})?s"),
    ("string", "google-fieldmask"): lambda value: isinstance(value, str),
    ("string", "int64"): _matches(r"-?\d+"),
    ("string", "uint64"): _matches(r"\d+"),
}

_ERROR = {
    "type": "object",
    "properties": {
        "code": {"type": "integer", "format": "int32"},
        "message": {"type": "string"},
        "status": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "string"}}},
        "details": {"type": "array", "items": {"type": "any"}},
    },
}


#: The API whose answers are in XML.
XML = "storage.xml"


class WireChecker:
    """Checks all that the emulators of this process take and answer.

    :ivar problems: what was wrong, each once, with the method's id.
    :ivar checked: how many answers were checked.
    """

    def __init__(self) -> None:
        self.problems: set[str] = set()
        self.checked = 0
        self._document = functools.cache(Document)

    def install(self) -> Callable[[], None]:
        """Look at each call of each server; return what undoes that."""
        answer = Server._answer

        async def checked(server: Server, request: web.Request, method: Method, path: dict[str, str]) -> web.StreamResponse:
            response = await answer(server, request, method, path)
            body = await request.read() if _is_json(request) and response.status < 400 else b""
            self._check(method, request, body, response)
            return response

        Server._answer = checked  # type: ignore[method-assign]

        def undo() -> None:
            Server._answer = answer  # type: ignore[method-assign]

        return undo

    def _check(self, method: Method, request: web.Request, body: bytes, response: web.StreamResponse) -> None:
        if method.api == XML:
            return  # no document describes it
        document = self._document(method.api)
        described = document.methods[method.method_id]
        problems: list[str] = []
        if response.status < 400:
            problems += document.check_query(method.method_id, iter(request.query))
            if body and method.media != "upload" and "request" in described:
                problems += document.check(described["request"], lenient_json.loads(body), "request")
        if not isinstance(response, web.Response) or response.content_type != "application/json":
            self.problems |= {f"{method.method_id}: {problem}" for problem in problems}
            return
        if response.text:
            self.checked += 1
            problems += self._check_answer(document, described, request, response)
        self.problems |= {f"{method.method_id}: {problem}" for problem in problems}

    def _check_answer(
        self, document: Document, described: dict[str, Any], request: web.Request, response: web.Response
    ) -> Iterator[str]:
        answer = json.loads(response.text or "")
        if response.status >= 400:
            yield from document.check({"type": "object", "properties": {"error": _ERROR}}, answer, "error")
            if answer["error"]["code"] != response.status:
                yield f"the envelope's code is {answer['error']['code']}, the status {response.status}"
        elif described.get("response", {}).get("$ref") not in (None, "HttpBody") and request.query.get("alt") != "media":
            yield from document.check(described["response"], answer, "response")


def _is_json(request: web.Request) -> bool:
    return request.content_type == "application/json"
