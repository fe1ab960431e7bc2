"""What of an export has arrived in Cloud Storage, by the names of the objects. No Airflow, no Google library."""

from __future__ import annotations

from collections.abc import Iterable

_SUFFIX = ".dcm"


def path_of_object(name: str, prefix: str) -> str | None:
    """Return the path of the instance that an object holds if an export wrote it; ``None`` for a name that no export writes.

    :param name: the object's name.
    :param prefix: the export's folder, with the slash at its end, or empty for the bucket itself.
    """
    parts = name.removeprefix(prefix).split("/")
    if not name.startswith(prefix) or len(parts) != 3 or not parts[2].endswith(_SUFFIX):
        return None
    return f"/studies/{parts[0]}/series/{parts[1]}/instances/{parts[2].removesuffix(_SUFFIX)}"


def missing_lines(lines: Iterable[str], arrived: Iterable[str]) -> list[str]:
    """Return the lines of a filter of which nothing has arrived, each once.

    A line that names a study or a series does not say how many instances it covers: one of them is enough.

    :param lines: the filter's lines.
    :param arrived: the paths of the instances that have arrived.
    """
    known: set[str] = set()
    for path in arrived:
        known |= {path, path.rpartition("/instances/")[0], path.rpartition("/series/")[0]}
    return [line for line in dict.fromkeys(lines) if line and line not in known]
