"""The methods of an API, read from the discovery document that google-api-python-client ships.

The documents are the authority for paths, methods and fields: a method the emulator has no code for is still known by its name.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any
from urllib.parse import unquote

from multidict import MultiDict, MultiMapping

from gcp_dicom_emulator.rest.errors import ApiError

_PLACEHOLDER = re.compile(r"\{\+?(\w+)\}")
_DOCUMENTS = resources.files("googleapiclient.discovery_cache").joinpath("documents")
#: What is not plain text in the documents' patterns of parameters.
_ANY = re.compile(r"\[\^/\]\+|\.\*")
_UNKNOWN = "Unknown name "
_INTEGER = re.compile("-?[0-9]{1,20}")
#: Which integers have a format.
_RANGES = {f"int{bits}": range(-(1 << bits - 1), 1 << bits - 1) for bits in (32, 64)} | {
    f"uint{bits}": range(1 << bits) for bits in (32, 64)
}


@dataclass(frozen=True)
class Method:
    """One REST method.

    :param method_id: as the discovery document names it, e.g. ``healthcare.projects.locations.datasets.create``.
    :param api: the document's name and version, e.g. ``healthcare.v1``.
    :param http_method: ``GET``, ``POST``, …
    :param pattern: a regular expression of the raw (still percent-encoded) path; its groups are the path parameters.
    :param literals: how many characters of the path are not parameters; of two methods that match, the one with more is meant.
    :param request: the name of the request's schema.
    :param response: the name of the answer's schema.
    :param query: the names of its query parameters.
    :param choices: of those that have one of several values, which.
    :param media: how the path differs from the plain one: ``""``, ``"upload"`` or ``"download"``.
    :param texts: what is in each path that the pattern matches, the longest first: it is in the fewest others.
    :param beginnings: what may be the first segment of a path that the pattern matches.
    """

    method_id: str
    api: str
    http_method: str
    pattern: str
    literals: int
    request: str | None
    response: str | None
    query: frozenset[str]
    media: str = ""
    texts: tuple[str, ...] = ()
    beginnings: tuple[str, ...] = ()
    choices: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """The pattern, compiled when it may be meant: to compile hundreds takes longer than all else that is done at the start."""
        return re.compile(self.pattern)

    def check_choices(self, query: MultiMapping[str]) -> None:
        """Check the query parameters that have one of several values.

        :raises ApiError: 400 for another value.
        """
        for name, choices in self.choices:
            for value in query.getall(name, ()):
                if value not in choices:
                    reason = "invalidParameter"
                    raise ApiError(400, f"Invalid value for {name}: {value!r}. It is one of {', '.join(choices)}.", reason=reason)

    def match(self, raw_path: str) -> re.Match[str] | None:
        for text in self.texts:  # of each request, hundreds of methods are asked: a generator takes four times as long
            if text not in raw_path:
                return None
        return self.regex.fullmatch(raw_path)


def find_method(methods: Iterable[Method], http_method: str, raw_path: str) -> tuple[Method, dict[str, str]] | None:
    """Return the first of some methods that a request may mean, and its path parameters, decoded; ``None`` when there is none.

    :raises ApiError: 400 for a path that is not UTF-8.
    """
    for method in methods:
        if method.http_method == http_method and (match := method.match(raw_path)):
            try:
                return method, {name: unquote(value, errors="strict") for name, value in match.groupdict().items()}
            except UnicodeDecodeError as error:
                raise ApiError(400, f"The path is not percent-encoded UTF-8: {raw_path}") from error
    return None


class Api:
    """An API of Google's as its discovery document describes it.

    :param name: the API's name and version as in the document's file name, e.g. ``healthcare.v1beta1``.
    """

    def __init__(self, name: str) -> None:
        document = json.loads(_DOCUMENTS.joinpath(f"{name}.json").read_text())
        self.name = name
        self.revision: str = document["revision"]
        self.schemas: dict[str, Any] = document["schemas"]
        self._parameters = frozenset(document["parameters"])
        self.methods = sorted(self._methods(document, document["servicePath"]), key=lambda m: -m.literals)
        #: By verb and by the first segment of the path: of each request, all APIs are asked.
        self._by_beginning: defaultdict[tuple[str, str], list[Method]] = defaultdict(list)
        for method in self.methods:
            for beginning in method.beginnings:
                self._by_beginning[method.http_method, beginning].append(method)

    def _methods(self, node: dict[str, Any], service_path: str) -> Iterator[Method]:
        for method in node.get("methods", {}).values():
            yield self._method(method, service_path + method["path"], service_path)
            if method.get("useMediaDownloadService"):
                yield self._method(method, "download/" + service_path + method["path"], media="download")
            protocols = method.get("mediaUpload", {}).get("protocols", {})
            for path in sorted({protocol["path"].lstrip("/") for protocol in protocols.values()}):
                yield self._method(method, path, media="upload")
                # A resumable upload goes on by PUT on the same path.
                yield self._method(method, path, media="upload", http_method="PUT")
                # By DELETE it is cancelled.
                yield self._method(method, path, media="upload", http_method="DELETE")
        for resource in node.get("resources", {}).values():
            yield from self._methods(resource, service_path)

    def _method(
        self, method: dict[str, Any], path: str, service_path: str = "", *, media: str = "", http_method: str = ""
    ) -> Method:
        pattern, end, texts, whole = "/", 0, [], path
        if service_path:
            # Google's Node clients leave it out when an environment variable says where the emulator is.
            pattern, end = f"/(?:{re.escape(service_path)})?", len(service_path)
        for placeholder in _PLACEHOLDER.finditer(path):
            name = placeholder.group(1)
            values = method["parameters"][name].get("pattern", "[^/]+").removeprefix("^").removesuffix("$")
            pattern += re.escape(path[end : placeholder.start()]) + f"(?P<{name}>{values})"
            texts += [path[end : placeholder.start()], *_ANY.split(values)]
            whole = whole.replace(placeholder[0], values)
            end = placeholder.end()
        pattern += re.escape(path[end:])
        parameters = {name: one for name, one in method.get("parameters", {}).items() if one["location"] == "query"}
        texts.append(path[end:])
        return Method(
            method_id=method["id"],
            api=self.name,
            http_method=http_method or method["httpMethod"],
            pattern=pattern,
            literals=len(_PLACEHOLDER.sub("", path)),
            request=method.get("request", {}).get("$ref"),
            response=method.get("response", {}).get("$ref"),
            query=frozenset(parameters),
            choices=tuple((name, tuple(one["enum"])) for name, one in parameters.items() if "enum" in one),
            media=media,
            texts=tuple(sorted((text for text in texts if len(text) > 1), key=len, reverse=True)),
            beginnings=tuple({text.partition("/")[0] for text in (whole, whole.removeprefix(service_path))}),
        )

    def find(self, http_method: str, raw_path: str) -> tuple[Method, dict[str, str]] | None:
        """Return the method that a request means, and its path parameters, decoded; ``None`` when there is none.

        :raises ApiError: 400 for a path that is not UTF-8.
        """
        beginning = raw_path[1:].partition("/")[0]
        return find_method(self._by_beginning.get((http_method, beginning), ()), http_method, raw_path)

    def canonical_query(self, method: Method, query: MultiMapping[str]) -> MultiMapping[str]:
        """Return a request's query parameters with all names in lowerCamelCase; see :meth:`canonical_body`.

        :raises ApiError: 400 for a parameter that the method does not have.
        """
        known = method.query | self._parameters
        if query.keys() <= known:
            return query
        canonical = MultiDict((name if name in known else _camel(name), value) for name, value in query.items())
        problems = [
            f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.'
            for name in query
            if name not in known and _camel(name) not in known
        ]
        if problems:
            violations = [{"description": problem} for problem in problems]
            details = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}]
            raise ApiError(400, "\n".join(problems), details=details)
        return canonical

    def canonical_body(self, schema: str, body: Any, *, strict: bool = True, nulls: bool = False) -> Any:
        """Return a request's body with all fields in lowerCamelCase.

        Google's parser takes the fields' original snake_case names as well.

        :param strict: refuse fields that the schema does not have, rather than leave them out.
        :param nulls: keep fields that are null. They say what a patch deletes, and nothing elsewhere.
        :raises ApiError: 400 for a field that the schema does not have or a value of another type.
        """
        problems: list[tuple[str, str]] = []
        canonical = self._canonical({"$ref": schema}, body, "", problems, nulls)
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

    def _canonical(self, schema: dict[str, Any], value: Any, path: str, problems: list[tuple[str, str]], nulls: bool) -> Any:
        if "$ref" in schema:
            schema = self.schemas[schema["$ref"]]
        kind = schema.get("type")
        if value is None or kind == "any":
            return value
        if kind == "object":
            return self._canonical_object(schema, value, path, problems, nulls)
        if kind == "array":
            items = value if isinstance(value, list) else [value]
            if None in items and schema["items"].get("type") != "any":
                problems.append((path, f"Invalid value at '{path}', null in a list"))
            return [self._canonical(schema["items"], item, f"{path}[{i}]", problems, nulls) for i, item in enumerate(items)]
        if (
            kind == "string"
            and "format" not in schema
            and self.name.startswith("bigquery")
            and isinstance(value, bool | int | float)
        ):
            return json.dumps(value)  # Google's Node client sends a query parameter's value as it is, and BigQuery takes it
        try:
            return _canonical_scalar(kind, schema.get("format"), value)
        except ValueError:
            name = schema["format"] if schema.get("format") in _RANGES else str(kind)
            problems.append((path, f"Invalid value at '{path}' (TYPE_{name.upper()}), {json.dumps(value)}"))
            return value

    def _canonical_object(
        self, schema: dict[str, Any], value: Any, path: str, problems: list[tuple[str, str]], nulls: bool
    ) -> Any:
        if not isinstance(value, dict):
            problems.append((path, f"Invalid value at '{path}' (type OBJECT), {json.dumps(value)}"))
            return value
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        canonical = {}
        for key, item in value.items():
            name = key if key in properties else _camel(key)
            where = f"{path}.{key}" if path else key
            kind = properties.get(name, others)
            if kind is None:
                at = f" at '{path}'" if path else ""
                problems.append((path, f'{_UNKNOWN}"{key}"{at}: Cannot find field.'))
            elif item is not None or nulls or kind.get("type") == "any" or kind.get("$ref") == "JsonValue":
                canonical[name if name in properties else key] = self._canonical(kind, item, where, problems, nulls)
        return canonical


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)


def _integer(value: float | str, form: str) -> int:
    """Return an integer of a size.

    :raises ValueError: when it is none.
    """
    if isinstance(value, float) and not value.is_integer():
        raise ValueError
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        raise ValueError
    number = int(value)
    if number not in _RANGES[form]:
        raise ValueError
    return number


def _canonical_scalar(kind: str | None, form: str | None, value: Any) -> Any:
    """Return a boolean, number or string as an answer has it: JSON has 64 bits of an integer as a string.

    :raises ValueError: when it is none.
    """
    if kind == "boolean":
        if not isinstance(value, bool) and value not in ("true", "false"):
            raise ValueError
        return value in (True, "true")
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError
    if kind == "integer":
        return _integer(value, form or "int64")
    if kind == "number":
        return float(value)
    if form in _RANGES:
        return str(_integer(value, form))
    if not isinstance(value, str):
        raise ValueError
    return value
