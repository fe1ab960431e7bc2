"""Functions that change a JSON, or look for what is in it, in Python."""

from __future__ import annotations

import decimal
import json
import math
import re
from typing import Any

_STEP = re.compile(r'\.([^.\[\]"]+)|\."((?:[^"\\]|\\.)*)"|\[(\d+)\]|\[\'((?:[^\'\\]|\\.)*)\'\]')


def _steps(path: str) -> list[str | int]:
    found: list[str | int] = []
    place = 1
    if not path.startswith("$"):
        raise ValueError(f"Invalid JSON path: {path}")
    while place < len(path):
        match = _STEP.match(path, place)
        if match is None:
            raise ValueError(f"Invalid JSON path: {path}")
        found.append(int(match[3]) if match[3] is not None else next(text for text in match.groups() if text is not None))
        place = match.end()
    return found


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def canonical(text: str) -> str:
    """Return a JSON as BigQuery keeps it: members by their names, the first of those that share one, no white space.

    Source: https://cloud.google.com/bigquery/docs/json-data (canonicalization). Numbers stay as they are written.
    """
    return _written(json.loads(text, object_pairs_hook=_members, parse_float=_kept, parse_int=_kept))


def parsed(text: str, mode: str) -> str:
    """Return the JSON that PARSE_JSON makes of a text: numbers are those of 64 bits.

    :param mode: what becomes of a number with more digits: it is refused (``exact``), or rounded (``round``).
    :raises ValueError: for a text that is not a JSON, or a number that is too large.
    """
    if mode not in ("exact", "round"):
        raise ValueError(f"Invalid `wide_number_mode` specified: {mode}")

    def number(digits: str) -> str:
        if re.fullmatch(r"-?\d+", digits) and -(2**63) <= int(digits) < 2**64:
            return _kept(str(int(digits)))
        value = float(digits)
        if math.isinf(value) or (mode == "exact" and decimal.Decimal(digits) != decimal.Decimal(repr(value))):
            raise ValueError(f"Input number: {digits} cannot round-trip through string representation")
        return _kept(repr(value))

    def constant(name: str) -> str:
        raise ValueError(f"unexpected {name}")

    try:
        read = json.loads(text, object_pairs_hook=_members, parse_float=number, parse_int=number, parse_constant=constant)
        return _written(read)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Invalid input to PARSE_JSON: {error}") from error


def _kept(digits: str) -> str:
    return f"\0{digits}"


def _written(value: Any) -> str:
    """Write what was read with :func:`_kept`."""
    return re.sub(r'"\\u0000([-+.\deE]+)"', r"\1", _dump(value))


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(sorted(dict(reversed(pairs)).items()))


#: How the text begins in which a JSON is packed, in a line of an export.
PACKED = "\1json"


def line(text: str) -> str:
    """Return a line of an export without what is NULL, and with the JSONs that are packed in it."""
    return _written(_unpacked(json.loads(text, parse_float=_kept)))


def _unpacked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _unpacked(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_unpacked(item) for item in value]
    if isinstance(value, str) and value.startswith(PACKED):
        return json.loads(value.removeprefix(PACKED), object_pairs_hook=_members, parse_float=_kept, parse_int=_kept)
    return value


def _set(value: Any, steps: list[str | int], new: Any, *, create: bool) -> Any:
    if not steps:
        return new
    step, rest = steps[0], steps[1:]
    if value is None and create:
        value = [] if isinstance(step, int) else {}
    if isinstance(step, str) and isinstance(value, dict):
        if step in value or create:
            value[step] = _set(value.get(step), rest, new, create=create)
    elif isinstance(step, int) and isinstance(value, list):
        if step < len(value):
            value[step] = _set(value[step], rest, new, create=create)
        elif create:
            value += [None] * (step - len(value)) + [_set(None, rest, new, create=create)]
    return value


def put(text: str, path: str, new: str, create: bool) -> str:
    """Return JSON_SET of one path.

    :param create: whether what is not there is made.
    """
    return _dump(_set(json.loads(text), _steps(path), json.loads(new), create=create))


def removed(text: str, path: str) -> str:
    """Return JSON_REMOVE of one path."""
    value = json.loads(text)
    steps = _steps(path)
    if not steps:
        raise ValueError("The JSONPath cannot be '$'")
    target = _at(value, steps[:-1])
    last = steps[-1]
    if isinstance(target, dict) and isinstance(last, str):
        target.pop(last, None)
    elif isinstance(target, list) and isinstance(last, int) and last < len(target):
        del target[last]
    return _dump(value)


def _at(value: Any, steps: list[str | int]) -> Any:
    for step in steps:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def _has(value: Any, step: str | int) -> bool:
    if isinstance(step, int):
        return isinstance(value, list) and step < len(value)
    return isinstance(value, dict) and step in value


def without_nulls(text: str, path: str, include_arrays: bool, remove_empty: bool) -> str:
    """Return JSON_STRIP_NULLS."""
    value = json.loads(text)
    steps = _steps(path)
    target = _at(value, steps)
    stripped = _stripped(target, include_arrays, remove_empty)
    if remove_empty and (stripped == {} or (stripped == [] and include_arrays)):
        stripped = None
    if target is not None:
        value = _set(value, steps, stripped, create=False)
    return _dump(value)


def _stripped(value: Any, include_arrays: bool, remove_empty: bool) -> Any:
    def is_kept(item: Any) -> bool:
        is_container = isinstance(item, dict) or (isinstance(item, list) and include_arrays)
        return item is not None and not (remove_empty and is_container and not item)

    if isinstance(value, dict):
        inner = {name: _stripped(item, include_arrays, remove_empty) for name, item in value.items()}
        return {name: item for name, item in inner.items() if is_kept(item)}
    if isinstance(value, list):
        items = [_stripped(item, include_arrays, remove_empty) for item in value]
        return [item for item in items if is_kept(item)] if include_arrays else items
    return value


def appended(text: str, path: str, new: str, each: bool) -> str:
    """Return JSON_ARRAY_APPEND of one path.

    :param each: whether the elements of the new value are appended, not the value.
    """
    value = json.loads(text)
    steps = _steps(path)
    items = (json.loads(new) or []) if each else [json.loads(new)]
    target = _at(value, steps)
    if isinstance(target, list):
        target += items
    elif target is None and (not steps or _has(_at(value, steps[:-1]), steps[-1])):
        value = _set(value, steps, items, create=True)
    return _dump(value)


def inserted(text: str, path: str, new: str, each: bool) -> str:
    """Return JSON_ARRAY_INSERT of one path.

    :param each: whether the elements of the new value are inserted, not the value.
    """
    value = json.loads(text)
    *steps, place = _steps(path)
    items = (json.loads(new) or []) if each else [json.loads(new)]
    target = _at(value, steps)
    if target is None and isinstance(place, int):
        target = []
        value = _set(value, steps, target, create=True)
    if isinstance(target, list) and isinstance(place, int):
        target += [None] * (place - len(target))
        target[place:place] = items
    return _dump(value)


def keys(text: str, depth: int, mode: str) -> list[str]:
    """Return JSON_KEYS.

    :param mode: ``strict``: nothing inside of arrays; ``lax``: inside of arrays, but not those in arrays; ``lax recursive``.
    """
    words = mode.lower().split()
    if depth < 1:
        raise ValueError("max_depth must be positive")
    if words not in (["strict"], ["lax"], ["lax", "recursive"], ["recursive", "lax"]):
        raise ValueError(f"Invalid JSON mode specified: {mode}")
    found: set[str] = set()

    def collect(value: Any, prefix: str, left: int, in_array: bool) -> None:
        if isinstance(value, list) and "lax" in words and ("recursive" in words or not in_array):
            for item in value:
                collect(item, prefix, left, True)
        if not isinstance(value, dict) or left == 0:
            return
        for name, item in value.items():
            path = prefix + (name if re.fullmatch(r"\w+", name) else json.dumps(name, ensure_ascii=False))
            found.add(path)
            collect(item, path + ".", left - 1, False)

    collect(json.loads(text), "", depth, False)
    return sorted(found)


def queried(text: str, path: str) -> str:
    """Return JSON_QUERY of a path with modifiers: ``lax $.a``, ``lax recursive $.a``."""
    words = path.partition("$")[0].lower().split()
    if not set(words) <= {"lax", "recursive"} or len(set(words)) < len(words):
        raise ValueError("JSONPath must start with zero or more unique modifiers followed by '$'")
    if "lax" not in words:
        raise ValueError(
            "JSONPath has an invalid combination of modifiers. The 'lax' modifier must be included if 'recursive' is specified."
        )
    current = [json.loads(text)]
    for step in _steps("$" + path.partition("$")[2]):
        current = [found for value in current for found in _lax(value, step, is_recursive="recursive" in words)]
    return _dump(current)


def _lax(value: Any, step: str | int, *, is_recursive: bool) -> list[Any]:
    if isinstance(step, int):
        items = value if isinstance(value, list) else [value]
        return items[step : step + 1]
    if isinstance(value, list):
        inner = [item for item in value if is_recursive or not isinstance(item, list)]
        return [found for item in inner for found in _lax(item, step, is_recursive=is_recursive)]
    return [value[step]] if isinstance(value, dict) and step in value else []


def exact_float(text: str) -> float:
    """Return FLOAT64 of a JSON with ``wide_number_mode => 'exact'``."""
    try:
        exact = decimal.Decimal(text)
    except decimal.InvalidOperation:
        raise ValueError("The provided JSON input is not a number") from None
    value = float(exact)
    if exact.is_finite() and decimal.Decimal(repr(value)) != exact:
        raise ValueError(f"The provided JSON number: {text} cannot be converted to FLOAT64 without loss of precision")
    return value


_TOKENS = re.compile(r'"(?:\\.|[^"\\])*"|[\[\]{},:]|[^\s"\[\]{},:]+')


def pretty(text: str, wanted: bool) -> str:
    """Return a JSON text in lines; the same where that is not wanted."""
    if not wanted:
        return text
    tokens = _TOKENS.findall(text)
    written, depth = "", 0
    for place, token in enumerate(tokens):
        before = tokens[place - 1] if place else ""
        if token in "]}":
            depth -= 1
        if (before in ("[", "{", ",") and not (token in "]}" and before in "[{")) or (token in "]}" and before not in "[{"):
            written += "\n" + "  " * depth
        written += ": " if token == ":" else token
        if token in "[{":
            depth += 1
    return written
