"""What a store knows of an instance without opening it again: what identifies it, and what searches match and return."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcp_dicom_emulator.healthcare.dicom.charsets import DEFAULT_CHARSET
from gcp_dicom_emulator.healthcare.dicom.dicom_json import to_json
from gcp_dicom_emulator.healthcare.dicom.reading import UIDS, CannotRead, File, charset_of, read
from gcp_dicom_emulator.healthcare.names import is_uid

#: What a search returns of a study, of a series, of an instance. Source: PS3.18, tables 10.6.3-3 to 10.6.3-5.
STUDY_ATTRIBUTES = (
    "SpecificCharacterSet",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "TimezoneOffsetFromUTC",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "StudyDescription",
)
SERIES_ATTRIBUTES = (
    "Modality",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
)
INSTANCE_ATTRIBUTES = ("SOPClassUID", "SOPInstanceUID", "InstanceNumber", "Rows", "Columns", "BitsAllocated", "NumberOfFrames")

_SOP_CLASS = 0x00080016


class NotDicom(Exception):
    """A file that cannot be stored; the text says why."""


@dataclass(frozen=True)
class Header:
    """What :func:`read_header` finds.

    :param uids: study, series and instance.
    :param transfer_syntax: ``""`` where the file does not say it, or is not written in it.
    :param attributes: what searches match and return, as DICOM JSON (PS3.18, annex F).
    """

    uids: tuple[str, str, str]
    sop_class: str
    transfer_syntax: str
    attributes: str


def read_headers(paths: Sequence[Path]) -> list[Header | NotDicom]:
    """Read the headers of files; return why where one cannot be stored."""
    found: list[Header | NotDicom] = []
    for path in paths:
        try:
            found.append(read_header(path))
        except NotDicom as error:
            found.append(error)
        except FileNotFoundError:
            found.append(NotDicom("it was deleted meanwhile"))
    return found


def read_header(path: Path) -> Header:
    """Read the header of a file, of which nothing but its pixels may be cut.

    :raises NotDicom: it cannot be read, or a UID is none.
    :raises FileNotFoundError: there is no file.
    """
    try:
        file = read(path, cut_pixels=True)
    except CannotRead as error:
        raise NotDicom(str(error)) from error
    study, series, instance = (_checked(keyword, file.uid(tag)) for tag, keyword in UIDS.items())
    transfer_syntax = file.transfer_syntax if file.is_as_declared else ""
    return Header((study, series, instance), file.uid(_SOP_CLASS), transfer_syntax, json.dumps(attributes(file, _tags())))


def _checked(keyword: str, uid: str) -> str:
    if not is_uid(uid):
        raise NotDicom(f"invalid {keyword}: {uid!r}")
    return uid


@functools.cache
def _tags() -> tuple[int, ...]:
    from pydicom import datadict

    keywords = (*STUDY_ATTRIBUTES, *SERIES_ATTRIBUTES, *INSTANCE_ATTRIBUTES)
    return tuple(tag for keyword in keywords if (tag := datadict.tag_for_keyword(keyword)) is not None)


def attributes(file: File, tags: Sequence[int] | None = None) -> dict[str, Any]:
    """Return elements of a file as DICOM JSON, without those that are binary.

    :param tags: of which; by default of all.
    """
    elements = file.elements if tags is None else {tag: file.elements[tag] for tag in tags if tag in file.elements}
    return to_json(elements, charset_of(file.elements, DEFAULT_CHARSET), lambda element, address: None)
