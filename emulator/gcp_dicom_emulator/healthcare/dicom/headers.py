"""What a store knows of an instance without opening it again: what identifies it, and what searches match and return."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from gcp_dicom_emulator.healthcare.names import is_uid

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset, FileDataset

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

_ALL = [*STUDY_ATTRIBUTES, *SERIES_ATTRIBUTES, *INSTANCE_ATTRIBUTES]
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
#: A binary value that is longer is bulk data, in bytes.
MAX_VALUE = 1024
_SMALL = 1 << 20
_DEFLATED, _MAX_INFLATED = b"1.2.840.10008.1.2.1.99", 256 << 20
#: Value representations whose values JSON may not have: NaN and the infinities, also below a sequence.
_NUMBERS = ("DS", "FD", "FL", "SQ")


class NotDicom(Exception):
    """A file that cannot be stored; the text says why."""


@dataclass(frozen=True)
class Header:
    """What :func:`read_header` finds.

    :param uids: study, series and instance.
    :param attributes: what searches match and return, as DICOM JSON (PS3.18, annex F).
    """

    uids: tuple[str, str, str]
    sop_class: str
    transfer_syntax: str
    attributes: str


def read_headers(paths: Sequence[Path]) -> list[Header | NotDicom]:
    """Read the beginning of files; return why where one cannot be stored."""
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
    """Read the beginning of a file.

    :raises NotDicom: it is no DICOM file as PS3.10 has it, or a UID is none.
    :raises FileNotFoundError: there is no file.
    """
    try:
        dataset = read(path, _ALL)
        study, series, instance = (str(dataset.get(keyword) or "") for keyword in _UIDS)
        transfer_syntax = str(dataset.file_meta.get("TransferSyntaxUID") or "")
        sop_class = str(dataset.get("SOPClassUID") or "")
    except FileNotFoundError:
        raise
    except Exception as error:
        # pydicom raises whatever a broken file makes it stumble over.
        raise NotDicom(f"not a DICOM file: {error}") from error
    for keyword, uid in zip(_UIDS, (study, series, instance), strict=True):
        if not is_uid(uid):
            raise NotDicom(f"invalid {keyword}: {uid!r}")
    return Header((study, series, instance), sop_class, transfer_syntax, json.dumps(to_json(dataset)))


def read(path: Path, keywords: list[str] | None = None) -> FileDataset:
    """Read the elements of a file up to its pixels; values may be whatever the sender made of them.

    :param keywords: which ones; by default all.
    :raises Exception: pydicom raises whatever a broken file makes it stumble over.
    """
    import pydicom
    from pydicom import config

    config.settings.reading_validation_mode = config.IGNORE
    with _open(path) as file:
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=keywords)


def _open(path: Path) -> BinaryIO:
    if path.stat().st_size >= _SMALL:
        return _File(path.open("rb", buffering=0))
    # Parsing memory is a third faster than parsing a file.
    data = path.read_bytes()
    return _Memory(data) if _DEFLATED in data else io.BytesIO(data)


class _Memory(io.BytesIO):
    """A file's content, of which a deflated data set is no bomb."""

    def read(self, size: int | None = -1, /) -> bytes:
        return _checked(super().read(size), size)


class _File(io.BufferedReader):
    """A file, of which a deflated data set is no bomb."""

    def read(self, size: int | None = -1, /) -> bytes:
        return _checked(super().read(size), size)


def _checked(data: bytes, size: int | None) -> bytes:
    """Return what was read, if it may be inflated.

    pydicom reads all that is left of a file only where that is deflated, and inflates it as a whole. Where that begins is for
    pydicom to say: the lengths in a file may lie.

    :raises ValueError: it is too large.
    """
    if size == -1:
        inflater, inflated = zlib.decompressobj(-zlib.MAX_WBITS), 0
        rest = data
        while rest and not inflater.eof:
            inflated += len(inflater.decompress(rest, _SMALL))
            rest = inflater.unconsumed_tail
            if inflated > _MAX_INFLATED:
                raise ValueError(f"inflated, it is larger than {_MAX_INFLATED >> 20} MiB")
    return data


def to_json(dataset: Dataset) -> dict[str, Any]:
    """Return the elements of a data set as DICOM JSON, without those whose values cannot be read, or are binary or large."""
    found = {}
    for tag in sorted(dataset.keys()):
        try:
            element = element_to_json(dataset[tag], "")
        except Exception:
            continue  # pydicom raises whatever a broken value makes it stumble over
        if "BulkDataURI" not in element and "InlineBinary" not in element:
            found[f"{tag:08X}"] = element
    return found


def element_to_json(element: DataElement, address: str | None = None) -> dict[str, Any]:
    """Return an element as DICOM JSON (PS3.18, annex F).

    :param address: what stands for a binary value that is long; by default the value itself does.

    :raises Exception: it cannot be read, or JSON has no such values.
    """
    described: dict[str, Any] = element.to_json_dict(None if address is None else lambda _: address, MAX_VALUE)
    if element.VR in _NUMBERS:
        json.dumps(described, allow_nan=False)
    return described
