"""What a store knows of an instance without opening it again: what identifies it, and what searches match and return."""

from __future__ import annotations

import io
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_dicom.filter_paths import is_uid

if TYPE_CHECKING:
    from pydicom import Dataset

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
#: A value that is longer is not part of a search's results.
_MAX_VALUE = 1024
_SMALL = 1 << 20
_DEFLATED, _HEAD = b"1.2.840.10008.1.2.1.99", 4096
_MAX_INFLATED = 256 << 20


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


def read_header(path: Path) -> Header:
    """Read the beginning of a file.

    :raises NotDicom: it is no DICOM file as PS3.10 has it, or a UID is none.
    :raises FileNotFoundError: there is no file.
    """
    import pydicom
    from pydicom import config

    # Other values are the sender's affair; a store takes what it can identify.
    config.settings.reading_validation_mode = config.IGNORE
    try:
        _check_deflated(path)
        # Parsing memory is a third faster than parsing a file, where that is small.
        source = io.BytesIO(path.read_bytes()) if path.stat().st_size < _SMALL else path
        dataset = pydicom.dcmread(source, stop_before_pixels=True, specific_tags=_ALL)
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


def _check_deflated(path: Path) -> None:
    """Refuse a deflated data set that is a bomb: pydicom inflates it as a whole.

    :raises ValueError: it is too large.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if _DEFLATED not in head:
            return
        from pydicom.filereader import read_file_meta_info

        # Behind the preamble, the prefix, and the group's length, which says how long the group is.
        length = read_file_meta_info(path).FileMetaInformationGroupLength
        file.seek(128 + 4 + 12 + length)
        inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while chunk := inflater.unconsumed_tail or file.read(_SMALL):
            size += len(inflater.decompress(chunk, _SMALL))
            if size > _MAX_INFLATED:
                raise ValueError(f"inflated, it is larger than {_MAX_INFLATED >> 20} MiB")


def to_json(dataset: Dataset) -> dict[str, Any]:
    """Return the elements of a data set as DICOM JSON, without those whose values cannot be read, or are binary or large."""
    found = {}
    for tag in sorted(dataset.keys()):
        try:
            element = dataset[tag].to_json_dict(lambda _: "", _MAX_VALUE)
        except Exception:
            continue  # pydicom raises whatever a broken value makes it stumble over
        if "BulkDataURI" not in element and "InlineBinary" not in element:
            found[f"{tag:08X}"] = element
    return found
