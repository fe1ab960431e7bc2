"""The methods of an API, read from the discovery document that google-api-python-client ships.

The documents are the authority for paths, methods and fields: a method the emulator has no code for is still known by its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import unquote

from airflow_dicom.emulator.errors import ApiError

_PLACEHOLDER = re.compile(r"\{\+?(\w+)\}")
_UNKNOWN = "Unknown name "


@dataclass(frozen=True)
class Method:
    """One REST method.

    :param method_id: as the discovery document names it, e.g. ``healthcare.projects.locations.datasets.create``.
    :param api: the document's name and version, e.g. ``healthcare.v1``.
    :param http_method: ``GET``, ``POST``, …
    :param regex: matches the raw (still percent-encoded) path; its groups are the path parameters.
    :param literals: how many characters of the path are no parameter; of two methods that match, the one with more is meant.
    :param request: the name of the request's schema.
    :param media: how the path differs from the plain one: ``""``, ``"upload"`` or ``"download"``.
    """

    method_id: str
    api: str
    http_method: str
    regex: re.Pattern[str]
    literals: int
    request: str | None
    media: str = ""


class Api:
    """An API of Google's as its discovery document describes it.

    :param name: the API's name and version as in the document's file name, e.g. ``healthcare.v1beta1``.
    """

    def __init__(self, name: str) -> None:
        text = resources.files("googleapiclient.discovery_cache.documents").joinpath(f"{name}.json").read_text()
        document = json.loads(text)
        self.name = name
        self.revision: str = document["revision"]
        self.schemas: dict[str, Any] = document["schemas"]
        self.methods = sorted(self._methods(document, document["servicePath"]), key=lambda m: -m.literals)

    def _methods(self, node: dict[str, Any], service_path: str) -> Iterator[Method]:
        for method in node.get("methods", {}).values():
            yield self._method(method, service_path + method["path"])
            if method.get("useMediaDownloadService"):
                yield self._method(method, "download/" + service_path + method["path"], media="download")
            protocols = method.get("mediaUpload", {}).get("protocols", {})
            for path in sorted({protocol["path"].lstrip("/") for protocol in protocols.values()}):
                yield self._method(method, path, media="upload")
                # A resumable upload goes on by PUT on the same path.
                yield self._method(method, path, media="upload", http_method="PUT")
        for resource in node.get("resources", {}).values():
            yield from self._methods(resource, service_path)

    def _method(self, method: dict[str, Any], path: str, *, media: str = "", http_method: str = "") -> Method:
        pattern, end = "/", 0
        for placeholder in _PLACEHOLDER.finditer(path):
            name = placeholder.group(1)
            values = method["parameters"][name].get("pattern", "[^/]+").removeprefix("^").removesuffix("$")
            pattern += re.escape(path[end : placeholder.start()]) + f"(?P<{name}>{values})"
            end = placeholder.end()
        pattern += re.escape(path[end:])
        return Method(
            method_id=method["id"],
            api=self.name,
            http_method=http_method or method["httpMethod"],
            regex=re.compile(pattern),
            literals=len(_PLACEHOLDER.sub("", path)),
            request=method.get("request", {}).get("$ref"),
            media=media,
        )

    def find(self, http_method: str, raw_path: str) -> tuple[Method, dict[str, str]] | None:
        """Return the method that a request means, and its path parameters, decoded; ``None`` when there is none.

        :raises ApiError: 400 for a path that is no UTF-8.
        """
        for method in self.methods:
            if method.http_method == http_method and (match := method.regex.fullmatch(raw_path)):
                try:
                    return method, {name: unquote(value, errors="strict") for name, value in match.groupdict().items()}
                except UnicodeDecodeError as error:
                    raise ApiError(400, f"The path is not percent-encoded UTF-8: {raw_path}") from error
        return None

    def canonical_body(self, schema: str, body: Any, *, strict: bool = True) -> Any:
        """Return a request's body with all fields in lowerCamelCase.

        Google's parser takes the fields' original snake_case names as well.

        :param strict: refuse fields that the schema does not have, rather than leave them out.
        :raises ApiError: 400 for a field that the schema does not have or a value of another type.
        """
        problems: list[tuple[str, str]] = []
        canonical = self._canonical({"$ref": schema}, body, "", problems)
        if not strict:
            problems = [problem for problem in problems if not problem[1].startswith(_UNKNOWN)]
        if problems:
            raise ApiError(
                400,
                "Invalid JSON payload received. " + "\n".join(description for _, description in problems),
                details=[
                    {
                        "@type": "type.googleapis.com/google.rpc.BadRequest",
                        "fieldViolations": [
                            {"field": field, "description": f"Invalid JSON payload received. {description}"}
                            for field, description in problems
                        ],
                    }
                ],
            )
        return canonical

    def _canonical(self, schema: dict[str, Any], value: Any, path: str, problems: list[tuple[str, str]]) -> Any:
        if "$ref" in schema:
            schema = self.schemas[schema["$ref"]]
        kind = schema.get("type")
        if value is None or kind == "any":
            return value
        if kind == "object":
            if not isinstance(value, dict):
                problems.append((path, f"Invalid value at '{path}' (type OBJECT), {json.dumps(value)}"))
                return value
            properties, others = schema.get("properties", {}), schema.get("additionalProperties")
            canonical = {}
            for key, item in value.items():
                name = key if key in properties else _camel(key)
                where = f"{path}.{key}" if path else key
                if name in properties:
                    canonical[name] = self._canonical(properties[name], item, where, problems)
                elif others is not None:
                    canonical[key] = self._canonical(others, item, where, problems)
                else:
                    at = f" at '{path}'" if path else ""
                    problems.append((path, f'{_UNKNOWN}"{key}"{at}: Cannot find field.'))
            return canonical
        if kind == "array":
            return self._canonical_list(schema["items"], value if isinstance(value, list) else [value], path, problems)
        if not _is_scalar(kind, schema.get("format"), value):
            problems.append((path, f"Invalid value at '{path}' (TYPE_{str(kind).upper()}), {json.dumps(value)}"))
        elif kind == "boolean":
            return value in (True, "true")
        return value

    def _canonical_list(self, schema: dict[str, Any], items: list[Any], path: str, problems: list[tuple[str, str]]) -> list[Any]:
        if None in items and schema.get("type") != "any":
            problems.append((path, f"Invalid value at '{path}', null in a list"))
        return [self._canonical(schema, item, f"{path}[{i}]", problems) for i, item in enumerate(items)]


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)


def _is_scalar(kind: str | None, form: str | None, value: Any) -> bool:
    if kind == "boolean":
        return isinstance(value, bool) or value in ("true", "false")
    if kind in ("integer", "number") or (form or "").startswith(("int", "uint")):
        return isinstance(value, (int, float, str)) and not isinstance(value, bool)
    return isinstance(value, str)
