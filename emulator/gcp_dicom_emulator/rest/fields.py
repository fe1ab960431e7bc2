"""The query parameter ``fields``: which parts of an answer a client wants, such as ``items(name,size),nextPageToken``."""

from __future__ import annotations

import re
from typing import Any

from gcp_dicom_emulator.rest.errors import ApiError

#: What is wanted of an object, by the fields' names, ``*`` for all of them; ``None`` for all that is in it.
Selection = dict[str, Any] | None

_NAME = re.compile(r"[^,/()]+")


def parse(text: str) -> Selection:
    """Parse the parameter.

    :raises ApiError: 400 when it is not a selection of fields.
    """
    try:
        selection, rest = _list(text)
    except RecursionError:
        rest = text
    if rest:
        raise ApiError(400, f"Invalid field selection {text[:200]}", reason="invalidParameter")
    return selection


def check(selection: Selection, schema: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Check that all fields are in a schema.

    :param schemas: those that ``schema`` may refer to.
    :raises ApiError: 400 for a field that is not.
    """
    while "$ref" in schema or schema.get("type") == "array":
        schema = schemas[schema["$ref"]] if "$ref" in schema else schema["items"]
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    if schema.get("type") == "any":
        return
    for name, inner in (selection or {}).items():
        if name == "*":
            continue  # what is below it need not be in each field
        if found := properties.get(name, others):
            check(inner, found, schemas)
        else:
            raise ApiError(400, f"Invalid field selection {name[:200]}", reason="invalidParameter")


def select(value: Any, selection: Selection) -> Any:
    """Return what is wanted of an answer."""
    if selection is None:
        return value
    if isinstance(value, list):
        return [select(item, selection) for item in value if isinstance(item, (dict, list))]
    wanted = {key: selection.get(key, selection.get("*")) for key in value if key in selection or "*" in selection}
    return {
        key: select(value[key], inner) for key, inner in wanted.items() if inner is None or isinstance(value[key], (dict, list))
    }


def _list(text: str) -> tuple[Selection, str]:
    """Parse fields with commas between them; return them, and the text behind them."""
    selection, rest = _field(text)
    while rest.startswith(","):
        more, rest = _field(rest[1:])
        selection = _merged(selection, more)
    return selection, rest


def _field(text: str) -> tuple[Selection, str]:
    name = _NAME.match(text)
    if name is None:
        raise ApiError(400, f"Invalid field selection {text[:200]}", reason="invalidParameter")
    inner: Selection = None
    rest = text[name.end() :]
    if rest.startswith("/"):
        inner, rest = _field(rest[1:])
    elif rest.startswith("("):
        inner, rest = _list(rest[1:])
        if not rest.startswith(")"):
            raise ApiError(400, f"Invalid field selection {text[:200]}", reason="invalidParameter")
        rest = rest[1:]
    return {name[0].strip(): inner}, rest


def _merged(one: Selection, other: Selection) -> Selection:
    if one is None or other is None:
        return None
    return one | {name: _merged(one[name], inner) if name in one else inner for name, inner in other.items()}
