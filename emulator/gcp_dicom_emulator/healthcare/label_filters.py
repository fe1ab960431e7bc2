"""The filter of ``dicomStores.list``: ``labels.key=value``, combined with ``NOT``, ``AND``, ``OR`` and parentheses."""

from __future__ import annotations

import re
from collections.abc import Callable

from gcp_dicom_emulator.rest.errors import ApiError

Labels = dict[str, str]
Matches = Callable[[Labels], bool]

_TOKEN = re.compile(r"""\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<sign>[()=])|(?P<word>[^\s()="]+))""")
_MAX_LENGTH = 10_000
_MAX_DEPTH = 50


def parse_label_filter(text: str) -> Matches:
    """Return what tells whether a store's labels match.

    :raises ApiError: 400 for a filter that is none, or is about anything but labels.
    """
    if len(text) > _MAX_LENGTH:
        raise ApiError(400, f"Invalid filter: it is longer than {_MAX_LENGTH} characters.")
    parser = _Parser(text)
    matches = parser.alternatives(0)
    if parser.tokens:
        raise parser.error()
    return matches


class _Parser:
    """Reads a filter from left to right.

    :param text: the filter.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self.tokens: list[str] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if not match:
                raise self.error()
            self.tokens.append(match.group().strip())
            position = match.end()
        self.tokens.reverse()

    def error(self) -> ApiError:
        return ApiError(400, f"Invalid filter {self._text!r}; it must look like labels.key=value.")

    def alternatives(self, depth: int) -> Matches:
        found = [self._all(depth)]
        while self._next_is("OR"):
            found.append(self._all(depth))
        return lambda labels: any(matches(labels) for matches in found)

    def _all(self, depth: int) -> Matches:
        found = [self._one(depth)]
        while self._next_is("AND"):
            found.append(self._one(depth))
        return lambda labels: all(matches(labels) for matches in found)

    def _one(self, depth: int) -> Matches:
        if depth > _MAX_DEPTH:
            raise self.error()
        if self._next_is("NOT"):
            negated = self._one(depth + 1)
            return lambda labels: not negated(labels)
        if self._next_is("("):
            inner = self.alternatives(depth + 1)
            if not self._next_is(")"):
                raise self.error()
            return inner
        return self._comparison()

    def _comparison(self) -> Matches:
        field, equals, value = self._pop(), self._pop(), _unquoted(self._pop())
        collection, _, key = field.partition(".")
        if collection != "labels" or not key or equals != "=":
            raise self.error()
        key = _unquoted(key)
        return lambda labels: labels.get(key) == value

    def _next_is(self, token: str) -> bool:
        if self.tokens and self.tokens[-1] == token:
            self.tokens.pop()
            return True
        return False

    def _pop(self) -> str:
        if not self.tokens:
            raise self.error()
        return self.tokens.pop()


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith('"') else token
