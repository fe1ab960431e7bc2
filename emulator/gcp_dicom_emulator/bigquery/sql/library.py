"""GoogleSQL's functions that DuckDB has nothing for, in Python: rare ones, a row at a time.

DuckDB learns a function when a query first uses it. A ``ValueError`` is the query's error, NULL for any argument gives NULL.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

_USED = re.compile(r"\b(py_\w+)\(", re.IGNORECASE)


@dataclass(frozen=True)
class _Function:
    """A function as DuckDB calls it.

    :param parameters: DuckDB's types of its arguments.
    :param returns: DuckDB's type of its result.
    """

    code: Callable[..., Any]
    parameters: tuple[str, ...]
    returns: str


def uses(text: str) -> bool:
    """Say whether a statement uses one of these functions."""
    return _USED.search(text) is not None


def provide(connection: duckdb.DuckDBPyConnection, text: str, known: set[str]) -> None:
    """Teach DuckDB the functions that a statement uses.

    :param text: the statement in DuckDB's SQL.
    :param known: the names of those that it knows already; grows.
    """
    for name in {found.lower() for found in _USED.findall(text)} - known:
        function = FUNCTIONS.get(name)
        if function is not None:
            connection.create_function(name, function.code, list(function.parameters), function.returns)
            known.add(name)


# Text and bytes


def _normalize(text: str, form: str) -> str:
    return unicodedata.normalize(form, text)  # type: ignore[arg-type]


def _casefold(text: str, form: str) -> str:
    return unicodedata.normalize(form, unicodedata.normalize(form, text).casefold())  # type: ignore[arg-type]


def _from_base32(text: str) -> bytes:
    return base64.b32decode(text)


def _code_points_to_text(points: list[int]) -> str | None:
    if any(point is None for point in points):
        return None
    for point in points:
        if not 0 <= point <= 0x10FFFF or 0xD800 <= point <= 0xDFFF:
            raise ValueError(f"Invalid codepoint {point}")
    return "".join(map(chr, points))


def _code_points_to_bytes(points: list[int]) -> bytes | None:
    if any(point is None for point in points):
        return None
    for point in points:
        if not 0 <= point <= 255:
            raise ValueError(f"Invalid extended ASCII code {point}")
    return bytes(points)


_SOUNDS = {
    letter: digit for digit, letters in enumerate(("bfpv", "cgjkqsxz", "dt", "l", "mn", "r"), start=1) for letter in letters
}


def _soundex(text: str) -> str:
    letters = [char for char in text if char.isascii() and char.isalpha()]
    if not letters:
        return ""
    code, last = letters[0].upper(), _SOUNDS.get(letters[0].lower())
    for letter in letters[1:]:
        digit = _SOUNDS.get(letter.lower())
        if digit is not None and digit != last:
            code += str(digit)
        if letter.lower() not in "hw":
            last = digit
    return (code + "000")[:4]


def _translated(text: str, source: str, target: str) -> str:
    if len(set(source)) < len(source):
        raise ValueError("Duplicate character in TRANSLATE source characters")
    return text.translate({ord(char): target[place] if place < len(target) else None for place, char in enumerate(source)})


def _split_bytes(data: bytes, delimiter: bytes) -> list[bytes]:
    if not delimiter:
        return [bytes([byte]) for byte in data] or [b""]
    return data.split(delimiter)


def _instr(text: str, part: str, position: int, occurrence: int) -> int:
    if position == 0 or occurrence < 1 or not part:
        raise ValueError("The position and the occurrence of INSTR must not be 0 and its pattern not empty" if part else "INSTR")
    places = []
    place = text.find(part)
    while place >= 0:
        places.append(place + 1)
        place = text.find(part, place + 1)
    if position > 0:
        found = [place for place in places if place >= position]
    else:
        found = [place for place in reversed(places) if place <= len(text) + position + 1]
    return found[occurrence - 1] if occurrence <= len(found) else 0


# JSON


def _steps(path: str) -> list[str | int]:
    found: list[str | int] = []
    place = 1
    if not path.startswith("$"):
        raise ValueError(f"Invalid JSON path: {path}")
    pattern = re.compile(r'\.([^.\[\]"]+)|\."((?:[^"\\]|\\.)*)"|\[(\d+)\]|\[\'((?:[^\'\\]|\\.)*)\'\]')
    while place < len(path):
        match = pattern.match(path, place)
        if match is None:
            raise ValueError(f"Invalid JSON path: {path}")
        found.append(int(match[3]) if match[3] is not None else next(text for text in match.groups() if text is not None))
        place = match.end()
    return found


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


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


def _json_set(text: str, path: str, new: str) -> str:
    return _dump(_set(json.loads(text), _steps(path), json.loads(new), create=True))


def _json_remove(text: str, path: str) -> str:
    value = json.loads(text)
    steps = _steps(path)
    if not steps:
        raise ValueError("The JSONPath cannot be '$'")
    target = value
    for step in steps[:-1]:
        target = _child(target, step)
    last = steps[-1]
    if isinstance(target, dict) and isinstance(last, str):
        target.pop(last, None)
    elif isinstance(target, list) and isinstance(last, int) and last < len(target):
        del target[last]
    return _dump(value)


def _child(value: Any, step: str | int) -> Any:
    if isinstance(value, dict) and isinstance(step, str):
        return value.get(step)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return None


def _json_strip_nulls(text: str) -> str:
    return _dump(_stripped(json.loads(text)))


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: kept for name, item in value.items() if (kept := _stripped(item)) is not None}
    if isinstance(value, list):
        return [kept for item in value if (kept := _stripped(item)) is not None]
    return value


def _json_array_append(text: str, path: str, new: str) -> str:
    value = json.loads(text)
    steps = _steps(path)
    target: Any = value
    for step in steps:
        target = _child(target, step)
    if isinstance(target, list):
        target.append(json.loads(new))
    elif target is None and steps:
        value = _set(value, steps, [json.loads(new)], create=True)
    return _dump(value)


def _json_array_insert(text: str, path: str, new: str) -> str:
    value = json.loads(text)
    *steps, place = _steps(path)
    target: Any = value
    for step in steps:
        target = _child(target, step)
    if isinstance(target, list) and isinstance(place, int):
        target += [None] * (place - len(target))
        target.insert(place, json.loads(new))
    return _dump(value)


def _json_keys(text: str, depth: int) -> list[str]:
    if depth < 1:
        raise ValueError("max_depth must be positive")
    found: set[str] = set()

    def collect(value: Any, prefix: str, left: int) -> None:
        if not isinstance(value, dict) or left == 0:
            return
        for name, item in value.items():
            path = prefix + (name if re.fullmatch(r"\w+", name) else json.dumps(name, ensure_ascii=False))
            found.add(path)
            collect(item, path + ".", left - 1)

    collect(json.loads(text), "", depth)
    return sorted(found)


#: By the name that the translation calls them by.
FUNCTIONS = {
    "py_normalize": _Function(_normalize, ("VARCHAR", "VARCHAR"), "VARCHAR"),
    "py_casefold": _Function(_casefold, ("VARCHAR", "VARCHAR"), "VARCHAR"),
    "py_sha512": _Function(lambda data: hashlib.sha512(data).digest(), ("BLOB",), "BLOB"),
    "py_to_base32": _Function(lambda data: base64.b32encode(data).decode(), ("BLOB",), "VARCHAR"),
    "py_from_base32": _Function(_from_base32, ("VARCHAR",), "BLOB"),
    "py_text_of_bytes": _Function(lambda data: data.decode(errors="replace"), ("BLOB",), "VARCHAR"),
    "py_latin1": _Function(lambda data: data.decode("latin-1"), ("BLOB",), "VARCHAR"),
    "py_bytes": _Function(lambda text: text.encode("latin-1"), ("VARCHAR",), "BLOB"),
    "py_bytes_array": _Function(lambda texts: [text.encode("latin-1") for text in texts], ("VARCHAR[]",), "BLOB[]"),
    "py_upper_bytes": _Function(lambda data: data.upper(), ("BLOB",), "BLOB"),
    "py_lower_bytes": _Function(lambda data: data.lower(), ("BLOB",), "BLOB"),
    "py_split_bytes": _Function(_split_bytes, ("BLOB", "BLOB"), "BLOB[]"),
    "py_code_points_to_text": _Function(_code_points_to_text, ("BIGINT[]",), "VARCHAR"),
    "py_code_points_to_bytes": _Function(_code_points_to_bytes, ("BIGINT[]",), "BLOB"),
    "py_code_points": _Function(lambda text: [ord(char) for char in text], ("VARCHAR",), "BIGINT[]"),
    "py_code_points_of_bytes": _Function(list, ("BLOB",), "BIGINT[]"),
    "py_soundex": _Function(_soundex, ("VARCHAR",), "VARCHAR"),
    "py_translate": _Function(_translated, ("VARCHAR", "VARCHAR", "VARCHAR"), "VARCHAR"),
    "py_instr": _Function(_instr, ("VARCHAR", "VARCHAR", "BIGINT", "BIGINT"), "BIGINT"),
    "py_json_set": _Function(_json_set, ("JSON", "VARCHAR", "JSON"), "JSON"),
    "py_json_remove": _Function(_json_remove, ("JSON", "VARCHAR"), "JSON"),
    "py_json_strip_nulls": _Function(_json_strip_nulls, ("JSON",), "JSON"),
    "py_json_array_append": _Function(_json_array_append, ("JSON", "VARCHAR", "JSON"), "JSON"),
    "py_json_array_insert": _Function(_json_array_insert, ("JSON", "VARCHAR", "JSON"), "JSON"),
    "py_json_keys": _Function(_json_keys, ("JSON", "BIGINT"), "VARCHAR[]"),
}
