"""GEOGRAPHY as well-known text: read from text and bytes, written as BigQuery writes it.

Points are as BigQuery has them. Of all else the text is kept: nothing is made valid, turned around or put together.
"""

from __future__ import annotations

import re
import struct

_TOKEN = re.compile(r"\s*([A-Za-z]+|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[(),])")
#: How deep the parentheses of a kind are.
_DEPTHS = {"POINT": 1, "LINESTRING": 1, "POLYGON": 2, "MULTIPOINT": 1, "MULTILINESTRING": 2, "MULTIPOLYGON": 3}
#: The kinds of well-known bytes, by number.
_KINDS = {
    1: "POINT",
    2: "LINESTRING",
    3: "POLYGON",
    4: "MULTIPOINT",
    5: "MULTILINESTRING",
    6: "MULTIPOLYGON",
    7: "GEOMETRYCOLLECTION",
}


def canonical(text: str) -> str:
    """Return well-known text, or hexadecimal well-known bytes, as BigQuery writes it.

    :raises ValueError: for what is neither, or has coordinates that are not on earth.
    """
    if text.lstrip().startswith("{"):
        raise ValueError("The emulator reads no GeoJSON.")
    if re.fullmatch(r"\s*0[01](?:[0-9a-fA-F]{2})+\s*", text):
        return of_bytes(bytes.fromhex(text))
    reader = _Reader(text)
    made = reader.geometry()
    reader.end()
    return made


def _fault(text: str) -> ValueError:
    return ValueError(f"ST_GeogFromText failed: Invalid WKT: {text[:100]}")


class _Reader:
    def __init__(self, text: str) -> None:
        self._text, self._tokens = text, []
        place = 0
        while match := _TOKEN.match(text, place):
            self._tokens.append(match[1])
            place = match.end()
        if text[place:].strip():
            raise _fault(text)
        self._tokens.reverse()

    def _take(self) -> str:
        if not self._tokens:
            raise _fault(self._text)
        return self._tokens.pop()

    def _expect(self, token: str) -> None:
        if self._take() != token:
            raise _fault(self._text)

    def end(self) -> None:
        """Check that nothing is left."""
        if self._tokens:
            raise _fault(self._text)

    def geometry(self) -> str:
        """Read a geometry, and return it as text."""
        kind = self._take().upper()
        if kind != "GEOMETRYCOLLECTION" and kind not in _DEPTHS:
            raise _fault(self._text)
        if self._tokens and self._tokens[-1].upper() == "EMPTY":
            self._take()
            return "GEOMETRYCOLLECTION EMPTY"
        self._expect("(")
        if kind == "GEOMETRYCOLLECTION":
            return f"{kind}({self._list(self.geometry)})"
        return f"{kind}({self._list(lambda: self._parts(_DEPTHS[kind] - 1))})" if kind != "POINT" else self._point()

    def _list(self, one: object) -> str:
        assert callable(one)
        items = [one()]
        while (token := self._take()) == ",":
            items.append(one())
        if token != ")":
            raise _fault(self._text)
        return ", ".join(items)

    def _parts(self, depth: int) -> str:
        if depth:
            self._expect("(")
            return f"({self._list(lambda: self._parts(depth - 1))})"
        if self._tokens and self._tokens[-1] == "(":  # as MULTIPOINT has it
            self._take()
            made = self._coordinates()
            self._expect(")")
            return made
        return self._coordinates()

    def _point(self) -> str:
        made = self._coordinates()
        self._expect(")")
        return f"POINT({made})"

    def _coordinates(self) -> str:
        try:
            return _written(float(self._take()), float(self._take()))
        except ValueError as error:
            raise error if str(error).startswith(("The", "ST_")) else _fault(self._text) from error


def _written(x: float, y: float) -> str:
    """Return a point's coordinates."""
    if not abs(y) <= 90:
        raise ValueError(f"ST_GeogFromText failed: Latitude must be between -90 and 90 degrees. Actual value was {y:g}")
    if not abs(x) <= 180:
        raise ValueError("The emulator takes longitudes between -180 and 180 degrees.")
    return f"{_number(x)} {_number(y)}"


def _number(value: float) -> str:
    return repr(value).removesuffix(".0") if value else "0"


def of_bytes(data: bytes) -> str:
    """Return well-known bytes as text.

    :raises ValueError: for what is not that.
    """
    try:
        made, end = _read(data, 0)
    except (struct.error, IndexError, KeyError) as error:
        raise ValueError("ST_GeogFromWKB failed: Invalid WKB") from error
    if end != len(data):
        raise ValueError("ST_GeogFromWKB failed: Invalid WKB")
    return made


def _read(data: bytes, place: int) -> tuple[str, int]:
    """Read a geometry; return its text, and where the next begins."""
    order = "<" if data[place] else ">"
    kind = _KINDS[struct.unpack_from(f"{order}I", data, place + 1)[0]]
    place += 5
    if kind.startswith(("MULTI", "GEOMETRY")):
        (count,) = struct.unpack_from(f"{order}I", data, place)
        place += 4
        parts = []
        for _ in range(count):
            made, place = _read(data, place)
            parts.append(made if kind == "GEOMETRYCOLLECTION" else made.partition("(")[2][:-1])
        joined = ", ".join(parts if kind in ("GEOMETRYCOLLECTION", "MULTIPOINT") else [f"({part})" for part in parts])
        return (f"{kind}({joined})" if parts else "GEOMETRYCOLLECTION EMPTY"), place
    made, place = _shape(data, place, order, _DEPTHS[kind] - 1 if kind != "POINT" else -1)
    return f"{kind}({made})", place


def _shape(data: bytes, place: int, order: str, depth: int) -> tuple[str, int]:
    """Read coordinates (depth -1), a line (0) or rings (1)."""
    if depth < 0:
        return _written(*struct.unpack_from(f"{order}dd", data, place)), place + 16
    (count,) = struct.unpack_from(f"{order}I", data, place)
    place += 4
    parts = []
    for _ in range(count):
        made, place = _shape(data, place, order, depth - 1)
        parts.append(f"({made})" if depth else made)
    return ", ".join(parts), place
