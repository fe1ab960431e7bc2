"""GoogleSQL's functions that DuckDB has nothing for, in Python: rare ones, a row at a time.

DuckDB learns a function when a query first uses it. A ``ValueError`` is the query's error, NULL for any argument gives NULL.
"""

from __future__ import annotations

import base64
import decimal
import functools
import hashlib
import math
import operator
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql import (
    decimals,
    fingerprints,
    formats,
    geographies,
    json_changes,
    moments,
    patterns,
    strftime,
    strptime,
)

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
    nulls: Any = "special"  # the value's own name has moved between DuckDB's versions
    for name in {found.lower() for found in _USED.findall(text)} - known:
        function = FUNCTIONS.get(name)
        if function is not None:
            code, parameters = _of_values(function.code), function.parameters
            connection.create_function(name, code, [*parameters], function.returns, null_handling=nulls)
            known.add(name)


def _of_values(code: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is NULL where an argument is. DuckDB would do that, but takes no NULL from it then."""

    @functools.wraps(code)
    def called(*arguments: Any) -> Any:
        return None if None in arguments else code(*arguments)

    return called


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


_PARSED = re.compile(r"\s*([+-]?)\s*([\d,]*\.?\d*(?:[eE][+-]?\d+)?)\s*([+-]?)\s*")


def _number(text: str) -> str:
    """Return what PARSE_NUMERIC reads, as a number that DuckDB reads."""
    match = _PARSED.fullmatch(text)
    if match is None or not re.match(r"[,.]*\d", match[2]) or (match[1] and match[3]):
        raise ValueError(f'Invalid input to PARSE_NUMERIC: "{text}"')
    return match[1] + match[3] + match[2].replace(",", "")


def _split_bytes(data: bytes, delimiter: bytes) -> list[bytes]:
    if not delimiter:
        return [bytes([byte]) for byte in data] or [b""]
    return data.split(delimiter)


def _instr(text: str, part: str, position: int, occurrence: int) -> int:
    if position == 0 or occurrence < 1:
        raise ValueError("The position of INSTR must not be 0, its occurrence positive")
    places = []
    place = text.find(part)
    while place >= 0:
        places.append(place + 1)
        place = text.find(part, place + 1)
    if position > 0:
        found = [place for place in places if place >= position]
    else:
        # An empty part is also behind the last character.
        found = [place for place in reversed(places) if place <= len(text) + position + (1 if part else 2)]
    return found[occurrence - 1] if occurrence <= len(found) else 0


def _regexp_instr(text: str, pattern: str, position: int, occurrence: int, is_end: int) -> int:
    if position < 1 or occurrence < 1 or is_end not in (0, 1):
        raise ValueError("The position and the occurrence of REGEXP_INSTR must be positive, its occurrence_position 0 or 1")
    expression = patterns.in_python(pattern)
    if expression.groups > 1:
        raise ValueError("Regular expression has more than 1 capturing group")
    if not pattern or position > len(text) + 1:
        return 0
    # To the pattern, the text begins at the position.
    matches = [match for match in expression.finditer(text[position - 1 :]) if match.end() > match.start()]
    if occurrence > len(matches):
        return 0
    match = matches[occurrence - 1]
    return (match.end(expression.groups) if is_end else match.start(expression.groups)) + position


def _bits(operation: Callable[[int, int], int]) -> Callable[[list[bytes | None], int], bytes | None]:
    """Return an aggregate of the bits of BYTES, which are of one length, or are made so with zeros behind them."""

    def aggregate(items: list[bytes | None], pads: int) -> bytes | None:
        values = [item for item in items if item is not None]
        if not values:
            return None
        size = max(map(len, values))
        if not pads and any(len(value) != size for value in values):
            raise ValueError("The values of a bitwise aggregate of BYTES must be of one length")
        return functools.reduce(operation, (int.from_bytes(value.ljust(size, b"\0")) for value in values)).to_bytes(size)

    return aggregate


def _statistic(name: str, items: list[str | None]) -> float | None:
    """Return STDDEV, VARIANCE, COVAR or CORR of NUMERICs, exactly.

    :param name: SQLGlot's name of the function.
    :param items: the numbers, or pairs of them.
    """
    rows = [[Fraction(word) for word in item.split()] for item in items if item is not None]
    count, is_population = len(rows), name.endswith("Pop")
    if not count or (count < 2 and not is_population):
        return None
    means = [sum(column) / count for column in zip(*rows, strict=True)]

    def moment(one: int, other: int) -> Fraction:
        return Fraction(sum((row[one] - means[one]) * (row[other] - means[other]) for row in rows))

    last = len(means) - 1
    both = moment(0, last)
    if name == "Corr":
        square = moment(0, 0) * moment(1, 1)
        return math.copysign(_root(both * both / square), both) if square else math.nan
    value = both / (count if is_population else count - 1)
    return _root(value) if name.startswith("Stddev") else float(value)


def _root(value: Fraction) -> float:
    with decimal.localcontext() as context:
        context.prec = 60
        return float((Decimal(value.numerator) / Decimal(value.denominator)).sqrt())


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
    "py_number": _Function(_number, ("VARCHAR",), "VARCHAR"),
    "py_decimal": _Function(decimals.calculated, ("VARCHAR", "VARCHAR", "VARCHAR[]", "BOOLEAN"), "VARCHAR"),
    "py_bignumeric": _Function(decimals.bignumeric, ("VARCHAR", "BOOLEAN"), "VARCHAR"),
    "py_bignumeric_of_real": _Function(decimals.bignumeric_of_real, ("DOUBLE", "BOOLEAN"), "VARCHAR"),
    "py_instr": _Function(_instr, ("VARCHAR", "VARCHAR", "BIGINT", "BIGINT"), "BIGINT"),
    "py_groups": _Function(patterns.groups, ("VARCHAR",), "BIGINT"),
    "py_regexp_instr": _Function(_regexp_instr, ("VARCHAR", "VARCHAR", "BIGINT", "BIGINT", "BIGINT"), "BIGINT"),
    "py_json": _Function(json_changes.canonical, ("VARCHAR",), "VARCHAR"),
    "py_parse_json": _Function(json_changes.parsed, ("VARCHAR", "VARCHAR"), "VARCHAR"),
    "py_json_line": _Function(json_changes.line, ("VARCHAR",), "VARCHAR"),
    "py_json_set": _Function(json_changes.put, ("JSON", "VARCHAR", "JSON", "BOOLEAN"), "JSON"),
    "py_json_remove": _Function(json_changes.removed, ("JSON", "VARCHAR"), "JSON"),
    "py_json_strip_nulls": _Function(json_changes.without_nulls, ("JSON", "VARCHAR", "BOOLEAN", "BOOLEAN"), "JSON"),
    "py_json_array_append": _Function(json_changes.appended, ("JSON", "VARCHAR", "JSON", "BOOLEAN"), "JSON"),
    "py_json_array_insert": _Function(json_changes.inserted, ("JSON", "VARCHAR", "JSON", "BOOLEAN"), "JSON"),
    "py_json_query": _Function(json_changes.queried, ("JSON", "VARCHAR"), "JSON"),
    "py_json_exact_float": _Function(json_changes.exact_float, ("VARCHAR",), "DOUBLE"),
    "py_json_pretty": _Function(json_changes.pretty, ("VARCHAR", "BOOLEAN"), "VARCHAR"),
    "py_fingerprint": _Function(fingerprints.fingerprint, ("BLOB",), "BIGINT"),
    "py_format": _Function(formats.formatted, ("VARCHAR", "VARCHAR", "VARCHAR[]"), "VARCHAR"),
    "py_text_of_bytes_as": _Function(formats.text_of_bytes, ("BLOB", "VARCHAR"), "VARCHAR"),
    "py_bytes_of_text_as": _Function(formats.bytes_of_text, ("VARCHAR", "VARCHAR"), "BLOB"),
    "py_text_of_moment": _Function(formats.text_of_moment, ("VARCHAR", "VARCHAR", "VARCHAR"), "VARCHAR"),
    "py_moment_of_text": _Function(moments.read, ("VARCHAR", "VARCHAR", "VARCHAR", "BOOLEAN"), "VARCHAR"),
    "py_strftime": _Function(strftime.write, ("BIGINT", "BIGINT", "VARCHAR", "VARCHAR"), "VARCHAR"),
    "py_strptime": _Function(strptime.read, ("VARCHAR", "VARCHAR", "VARCHAR", "VARCHAR"), "VARCHAR"),
    "py_text_of_number": _Function(formats.text_of_number, ("VARCHAR", "VARCHAR", "VARCHAR"), "VARCHAR"),
    "py_statistic": _Function(_statistic, ("VARCHAR", "VARCHAR[]"), "DOUBLE"),
    "py_bit_and": _Function(_bits(operator.and_), ("BLOB[]", "BIGINT"), "BLOB"),
    "py_bit_or": _Function(_bits(operator.or_), ("BLOB[]", "BIGINT"), "BLOB"),
    "py_bit_xor": _Function(_bits(operator.xor), ("BLOB[]", "BIGINT"), "BLOB"),
    "py_geography": _Function(geographies.canonical, ("VARCHAR",), "VARCHAR"),
    "py_geography_of_bytes": _Function(geographies.of_bytes, ("BLOB",), "VARCHAR"),
    "py_json_keys": _Function(json_changes.keys, ("JSON", "BIGINT", "VARCHAR"), "VARCHAR[]"),
}
