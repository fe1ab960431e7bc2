"""Rows of CSV with more values than there are columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator


def cutter(columns: int, delimiter: str, quote: str) -> Callable[[str], Iterator[str]]:
    """Return what yields a text of CSV in pieces, without what its rows have behind the last column.

    :param quote: the character around values that may have the others; empty for none.
    """
    between, around = re.escape(delimiter), re.escape(quote)
    plain = rf"[^{between}\r\n]*+"
    quoted = rf"{around}(?:[^{around}]|{around}{around})*+{around}{plain}|" if quote else ""
    value = re.compile(rf"({quoted}{plain})({between}|\r\n|\n|\r|\Z)")

    def cut(text: str) -> Iterator[str]:
        number, place = 0, 0
        while place < len(text) and (match := value.match(text, place)):
            is_last = match[2] != delimiter
            if number < columns:
                yield match[1]
            if is_last or number < columns - 1:
                yield match[2]
            number, place = 0 if is_last else number + 1, match.end()
        # A quote without an end, which the reader of the rows refuses.
        yield text[place:]

    return cut
