"""Regular expressions of RE2, which BigQuery and DuckDB have, where they differ from Python's."""

from __future__ import annotations

import re
from collections.abc import Iterator

#: A class of characters by name is one only inside of brackets.
_TOKEN = re.compile(r"\\Q.*?(?:\\E|\Z)|\\.|\(\?P?<\w+>|\(\?|\[:\^?\w+:\]|.", re.DOTALL)

#: The classes that Python writes otherwise, as a part of a set.
_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": r"\w",
    "xdigit": "0-9A-Fa-f",
}


def groups(pattern: str) -> int:
    """Return how many capturing groups a pattern has."""
    return sum(token == "(" or token.startswith(("(?P<", "(?<")) for token, in_set in _tokens(pattern) if not in_set)


def in_python(pattern: str) -> re.Pattern[str]:
    """Return a pattern as Python has it.

    :raises ValueError: Python has no such pattern.
    """
    # Without the flag m, Python's $ matches before a last line's end, too.
    end = "$" if re.match(r"\(\?\w*m", pattern) else r"\Z"
    parts = [end if token == "$" and not in_set else _in_python(token, in_set) for token, in_set in _tokens(pattern)]
    try:
        return re.compile("".join(parts), re.ASCII)
    except re.error as error:
        raise ValueError(f"The emulator does not know the regular expression {pattern!r} here: {error}") from error


def _tokens(pattern: str) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a pattern, and whether each is inside of brackets."""
    in_set, first = False, 0
    for match in _TOKEN.finditer(pattern):
        token = match.group()
        if in_set and token.startswith("(?"):
            yield from ((one, True) for one in token)
        elif not in_set and token.startswith("[:"):
            # The set begins here: no name of a class.
            yield "[", False
            in_set, first = True, match.start() + 1
            yield from ((one, True) for one in token[1:-1])
            yield "]", False
            in_set = False
        else:
            ends = in_set and token == "]" and match.start() > first
            yield token, in_set and not ends
            if ends:
                in_set = False
            elif not in_set and token == "[":
                in_set, first = True, match.end() + pattern.startswith("^", match.end())


def _in_python(token: str, in_set: bool) -> str:
    if in_set and token.startswith("[:"):
        name = token.strip("[:^]")
        if "^" in token or name not in _CLASSES:
            raise ValueError(f"The emulator does not know the class {token} of a regular expression here.")
        return _CLASSES[name]
    if in_set:
        return rf"\{token}" if token in "[]&~|" else token
    if token.startswith(r"\Q"):
        return re.escape(token[2:].removesuffix(r"\E"))
    if token.startswith("(?<"):
        return f"(?P{token[2:]}"
    return r"\Z" if token == r"\z" else token
