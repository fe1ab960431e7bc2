"""The grammar of a filter file's lines: ``/studies/UID[/series/UID[/instances/UID]]``. No Airflow, no Google library.

Sources: ``ExportDicomDataRequest.filterConfig`` of the Healthcare API; UIDs in DICOM PS3.5, section 9.1.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from airflow_dicom.exceptions import DicomArgumentError

Level = Literal["study", "series", "instance"]

#: A UID has at most 64 characters; this regular expression cannot say so, since RE2 has no look-ahead.
MAX_UID_LENGTH = 64

#: Digits in components; no component has a leading zero, unless it is zero.
UID_REGEX = r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*"

#: A whole line, but for the length of its UIDs; in RE2's syntax, for BigQuery.
PATH_REGEX = rf"/studies/{UID_REGEX}(?:/series/{UID_REGEX}(?:/instances/{UID_REGEX})?)?"

_UID = re.compile(UID_REGEX, re.ASCII)


def is_uid(value: str) -> bool:
    """Tell whether a text is a DICOM UID."""
    return len(value) <= MAX_UID_LENGTH and _UID.fullmatch(value) is not None


@dataclass(frozen=True)
class FilterPath:
    """What one line names: a study, one of its series, or one instance of that.

    :param study: the StudyInstanceUID.
    :param series: the SeriesInstanceUID.
    :param instance: the SOPInstanceUID.
    """

    study: str
    series: str | None = None
    instance: str | None = None

    @classmethod
    def parse(cls, line: str) -> FilterPath:
        """Read one line, without its newline.

        :raises DicomArgumentError: it is not a path; the text says what is wrong.
        """
        if not isinstance(line, str):
            raise DicomArgumentError(f"{line!r} is not a DICOM resource path, but a {type(line).__name__}.")
        parts = line.split("/")
        collections, uids = tuple(parts[1::2]), parts[2::2]
        expected = ("studies", "series", "instances")[: len(collections)]
        if parts[0] or not uids or collections != expected or len(uids) != len(collections):
            raise DicomArgumentError(
                f"{line!r} is not a DICOM resource path; it must look like /studies/UID[/series/UID[/instances/UID]]."
            )
        for uid in uids:
            if not is_uid(uid):
                raise DicomArgumentError(
                    f"{line!r} is not a DICOM resource path: {uid!r} is not a UID, which has digits and dots, no leading zeros, and "
                    f"at most {MAX_UID_LENGTH} characters."
                )
        return cls(*uids)

    def __str__(self) -> str:
        text = f"/studies/{self.study}"
        if self.series is not None:
            text += f"/series/{self.series}"
        if self.instance is not None:
            text += f"/instances/{self.instance}"
        return text

    def is_in(self, paths: Collection[FilterPath]) -> bool:
        """Tell whether some paths name what holds this one: its study, or its series."""
        study, series = FilterPath(self.study), FilterPath(self.study, self.series)
        return (self.series is not None and study in paths) or (self.instance is not None and series in paths)

    @property
    def level(self) -> Level:
        """What the line names."""
        if self.instance is not None:
            return "instance"
        return "study" if self.series is None else "series"


def outermost(paths: Iterable[FilterPath]) -> list[FilterPath]:
    """Return each path once, in their order, without those of which another path names the study or the series."""
    unique = dict.fromkeys(paths)
    return [path for path in unique if not path.is_in(unique)]
