"""What GoogleSQL refuses of literals, and SQLGlot's tokenizer takes, such as the escape sequence of ``'\\d'``, or ``0b11``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.sql.query_errors import invalid_query

if TYPE_CHECKING:
    from sqlglot.tokenizer_core import Token

_HEX = "[0-9a-fA-F]"
#: Anything but a backslash, or an escape sequence.
_IN_BYTES = re.compile(rf"[^\\]+|\\(?:[abfnrtv\\?'\"`]|[0-3][0-7][0-7]|[xX]{_HEX}{{2}})")
_IN_TEXT = re.compile(
    rf"{_IN_BYTES.pattern}|\\u(?![dD][89a-fA-F]){_HEX}{{4}}|\\U(?!0000[dD][89a-fA-F])00(?:0{_HEX}|10){_HEX}{{4}}"
)
_ESCAPE = re.compile(rb"\\([xX]..|[0-3]..|.)", re.DOTALL)
_CHARACTERS = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_BEGINNING = re.compile(r"""(?P<prefix>[a-zA-Z]*)(?P<quote>'''|\"""|['"`])""")


def check(tokens: list[Token], text: str) -> None:
    """Refuse literals that GoogleSQL does not have.

    :param tokens: those of a text.
    :raises ApiError: 400 for a literal that is none.
    """
    for token in tokens:
        kind = token.token_type.name
        if kind in ("STRING", "BYTE_STRING", "RAW_STRING", "IDENTIFIER"):
            _check_text(text[token.start : token.end + 1], text, token.start)
        elif kind == "NUMBER" and re.match(r"\w", text[token.end + 1 : token.end + 2]) and not _is_in_path(token, text):
            raise _error("Missing whitespace between literal and alias", text, token.end + 1)


def _is_in_path(token: Token, text: str) -> bool:
    """Say whether a number begins a part of a name without backticks: ``my-project-1a.dataset.2b``."""
    return text[token.start] == "." or re.search(r"\w[-.]$", text[: token.start][-2:]) is not None


def _check_text(literal: str, text: str, start: int) -> None:
    """Check a text, bytes or a name in its quotes.

    :param start: its place in the whole text.
    """
    found = _BEGINNING.match(literal)
    if found is None:
        return  # a name without backticks
    if len(found["quote"]) == 1 and "\n" in literal:
        raise _error(f"Unclosed {'identifier' if found['quote'] == '`' else 'string'} literal", text, start)
    prefix, place = found["prefix"].lower(), found.end()
    allowed = _IN_BYTES if "b" in prefix else _IN_TEXT
    end = len(literal) - len(found["quote"])
    while "r" not in prefix and place < end:
        match = allowed.match(literal, place, end)
        if match is None:
            raise _error(f"Illegal escape sequence: {literal[place : min(place + 2, end)]}", text, start + place)
        place = match.end()


def _error(message: str, text: str, at: int) -> Exception:
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return invalid_query(f"Syntax error: {message} at [{line}:{column}]")


def raw(parser: Any, token: Token) -> Any:
    """Return a literal whose backslashes stand for themselves: ``r'…'`` or ``rb'…'``."""
    from sqlglot import exp

    if "b" in parser.sql[token.start : token.start + 2].lower():
        return _bytes(token.text.encode())
    return exp.Literal.string(token.text)


def escaped_bytes(parser: Any, token: Token) -> Any:
    """Return ``b'…'``: a character is its UTF-8, an escape sequence one byte, which SQLGlot's text does not tell apart."""
    literal = parser.sql[token.start : token.end + 1]
    found = _BEGINNING.match(literal)
    inside = literal[found.end() : -len(found["quote"])].encode() if found else token.text.encode("latin-1")
    return _bytes(_ESCAPE.sub(lambda match: _unescaped(match[1]), inside))


def _unescaped(escape: bytes) -> bytes:
    if escape[:1] in b"xX":
        return bytes.fromhex(escape[1:].decode())
    return _CHARACTERS.get(escape) or (bytes([int(escape, 8)]) if escape.isdigit() else escape)


def _bytes(data: bytes) -> Any:
    """Return a literal of bytes, each a character."""
    from sqlglot import exp

    return exp.ByteString(this=data.decode("latin-1"))
