"""What of an export has arrived in Cloud Storage, by the names of the objects. No Airflow, no Google library.

A filter may have millions of lines, and a bucket as many objects: neither is held in memory. Both are gone through in the order of the
objects' names; the lines are sorted on the disk.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import tempfile
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from airflow_dicom.filter_paths import FilterPath

_SUFFIX = ".dcm"

#: How many lines are sorted in memory: some 25 MB.
_LINES_AT_ONCE = 100_000


class Page(NamedTuple):
    """A part of a listing.

    :param names: what exports wrote, in order.
    :param following: from where the listing goes on; ``None`` at its end.
    """

    names: list[str]
    following: str | None


def is_of_export(name: str) -> bool:
    """Tell whether an export writes objects with such a name below its folder."""
    return name.count("/") == 2 and name.endswith(_SUFFIX)


def object_of_line(line: str) -> str:
    """Return how the names of the objects begin that a line of a filter means, below the export's folder."""
    uids = line.split("/")[2::2]
    return "/".join(uids) + (_SUFFIX if len(uids) == 3 else "/")


def line_of_object(beginning: str) -> str:
    """Return the line that :func:`object_of_line` was given."""
    return str(FilterPath(*beginning.removesuffix(_SUFFIX).rstrip("/").split("/")))


@contextlib.contextmanager
def in_order(lines: Iterable[str]) -> Iterator[Iterator[str]]:
    """Sort lines that end with a line feed, and give each once; what does not fit into memory lies in temporary files meanwhile."""
    left = iter(lines)
    with tempfile.TemporaryDirectory(prefix="airflow-dicom-") as directory, contextlib.ExitStack() as files:
        parts: list[Iterable[str]] = []
        while part := sorted(set(itertools.islice(left, _LINES_AT_ONCE))):
            path = Path(directory, str(len(parts)))
            path.write_text("".join(part))
            parts.append(files.enter_context(path.open()))
        yield (line for line, _ in itertools.groupby(heapq.merge(*parts)))


def without_objects(beginnings: Iterable[str], page_from: Callable[[str], Page]) -> Iterator[str]:
    """Yield the beginnings of which no object's name is one.

    Only the parts of the listing are asked for in which such a name can be.

    :param beginnings: what :func:`object_of_line` returned, in order.
    :param page_from: lists names from one on.
    """
    names: list[str] = []
    following: str | None = ""
    for beginning in beginnings:
        at = bisect_left(names, beginning)
        while at == len(names) and following is not None and (following <= beginning or following.startswith(beginning)):
            names, following = page_from(max(beginning, following))
            at = bisect_left(names, beginning)
        if at == len(names) or not names[at].startswith(beginning):
            yield beginning
