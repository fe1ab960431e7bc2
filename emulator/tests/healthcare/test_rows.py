"""The rows and columns of metadata exports, from files as they are on disk."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import math
import struct
from pathlib import Path
from typing import Any

import pydicom
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import keyword_for_tag

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.healthcare.dicom.reading import CannotRead, File, parse, read
from gcp_dicom_emulator.healthcare.dicom.rows import Flattener, json_row, json_schema
from tests.healthcare.dicom_bytes import INSTANCE, SERIES, STUDY, element, implicit, part10, sequence, uids

COLUMNS = Path(__file__).with_name("columns.tsv")
UTC = datetime.UTC
_TABLES = itertools.count()


def dicom(*elements: bytes, meta: bytes = b"") -> File:
    """A file of these elements and the UIDs that any instance has, read as an export reads it."""
    return parse(part10([*uids(), *elements], meta=meta), cut_pixels=True)


UIDS = ("TransferSyntaxUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def row_of(*elements: bytes) -> dict[str, Any]:
    """A row, but for the UIDs."""
    row = Flattener().add(dicom(*elements), None)
    return {name: value for name, value in row.items() if name not in UIDS}


def column_of(*elements: bytes) -> dict[str, Any]:
    """The column that the elements need besides those of the UIDs."""
    flattener = Flattener()
    flattener.add(dicom(*elements), None)
    [column] = [column for column in flattener.schema() if column["name"] not in UIDS]
    return column


def other(*data: tuple[str, list[str]]) -> dict[str, Any]:
    return {"OtherElements": [{"Tag": tag, "Data": values} for tag, values in data]}


class Loader:
    """Loads rows into the emulator's BigQuery and gets them back by Google's client."""

    def __init__(self, emulator: Emulator, directory: Path) -> None:
        self._emulator = emulator
        self._directory = directory
        self._dataset = f"rows_{next(_TABLES)}"
        emulator.bigquery.catalog.create_dataset("demo", self._dataset)

    def load(self, rows: list[dict[str, Any]], schema: list[dict[str, Any]]) -> list[dict[str, Any]]:
        table = f"t{next(_TABLES)}"
        path = self._directory / table
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        loaded = self._emulator.bigquery.load_json_lines("demo", self._dataset, table, schema, path, "WRITE_EMPTY")
        assert loaded == len(rows)
        options = {"api_endpoint": self._emulator.url}
        with bigquery.Client(project="demo", credentials=AnonymousCredentials(), client_options=options) as client:
            return [dict(row.items()) for row in client.list_rows(f"demo.{self._dataset}.{table}")]

    def flattened(self, *datasets: File) -> list[dict[str, Any]]:
        flattener = Flattener()
        rows = [flattener.add(dataset, None) for dataset in datasets]
        return self.load(rows, flattener.schema())


@pytest.fixture(scope="module")
def loader(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Loader:
    return Loader(emulator, tmp_path_factory.mktemp("rows"))


# Value representations

VALUES: list[tuple[str, int, str, bytes | str, str, str, Any]] = [
    # VR, tag, keyword, value, type, mode, value in BigQuery
    ("AE", 0x00080054, "RetrieveAETitle", " A \\B", "STRING", "REPEATED", ["A", "B"]),
    ("AS", 0x00101010, "PatientAge", "018M", "STRING", "NULLABLE", "018M"),
    ("AT", 0x00280009, "FrameIncrementPointer", b"\x18\0\x63\x10", "INTEGER", "REPEATED", [0x00181063]),
    ("AT", 0x00209165, "DimensionIndexPointer", b"\xff\xff\xff\xff", "INTEGER", "NULLABLE", 0xFFFFFFFF),
    ("CS", 0x00080060, "Modality", "CT", "STRING", "NULLABLE", "CT"),
    ("CS", 0x00080008, "ImageType", "ORIGINAL\\PRIMARY", "STRING", "REPEATED", ["ORIGINAL", "PRIMARY"]),
    ("DA", 0x00080020, "StudyDate", "20200229", "DATE", "NULLABLE", datetime.date(2020, 2, 29)),
    ("DA", 0x00080020, "StudyDate", "2020.02.29", "DATE", "NULLABLE", datetime.date(2020, 2, 29)),
    ("DS", 0x00180050, "SliceThickness", " 1.50 ", "STRING", "NULLABLE", "1.50"),
    ("DS", 0x00280030, "PixelSpacing", "0.5\\1e-3", "STRING", "REPEATED", ["0.5", "1e-3"]),
    ("DT", 0x0008002A, "AcquisitionDateTime", "2020", "TIMESTAMP", "NULLABLE", datetime.datetime(2020, 1, 1, tzinfo=UTC)),
    (
        "DT",
        0x0008002A,
        "AcquisitionDateTime",
        "20200102030405.678901+0130",
        "TIMESTAMP",
        "NULLABLE",
        datetime.datetime(2020, 1, 2, 1, 34, 5, 678901, tzinfo=UTC),
    ),
    ("FD", 0x00189073, "AcquisitionDuration", struct.pack("<d", 0.1), "FLOAT", "NULLABLE", 0.1),
    ("FL", 0x00189461, "FieldOfViewDimensionsInFloat", struct.pack("<2f", 1.5, -2), "FLOAT", "REPEATED", [1.5, -2.0]),
    ("IS", 0x00200013, "InstanceNumber", " 007 ", "STRING", "NULLABLE", "007"),
    ("LO", 0x00100020, "PatientID", "x y ", "STRING", "NULLABLE", "x y"),
    ("LT", 0x00104000, "PatientComments", "a\\b\r\nc ", "STRING", "NULLABLE", "a\\b\r\nc"),
    ("SH", 0x00080050, "AccessionNumber", "x", "STRING", "NULLABLE", "x"),
    ("SL", 0x00186020, "ReferencePixelX0", struct.pack("<i", -(2**31)), "INTEGER", "NULLABLE", -(2**31)),
    ("SS", 0x00189219, "TagAngleSecondAxis", struct.pack("<h", -2), "INTEGER", "NULLABLE", -2),
    ("ST", 0x00080081, "InstitutionAddress", "a\\b", "STRING", "NULLABLE", "a\\b"),
    ("SV", 0x00720082, "SelectorSVValue", struct.pack("<2q", -(2**63), 1), "INTEGER", "REPEATED", [-(2**63), 1]),
    ("TM", 0x00080030, "StudyTime", "235959.999999", "TIME", "NULLABLE", datetime.time(23, 59, 59, 999999)),
    ("TM", 0x00080030, "StudyTime", "12", "TIME", "NULLABLE", datetime.time(12)),
    ("TM", 0x00080030, "StudyTime", "12:34:56", "TIME", "NULLABLE", datetime.time(12, 34, 56)),
    ("UC", 0x00080119, "LongCodeValue", "a\\b", "STRING", "NULLABLE", "a\\b"),
    ("UI", 0x00080016, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2", "STRING", "NULLABLE", "1.2.840.10008.5.1.4.1.1.2"),
    ("UL", 0x00186018, "RegionLocationMinX0", struct.pack("<I", 2**32 - 1), "INTEGER", "NULLABLE", 2**32 - 1),
    ("UR", 0x00081190, "RetrieveURL", "http://a/b?c", "STRING", "NULLABLE", "http://a/b?c"),
    ("US", 0x00280010, "Rows", struct.pack("<H", 65535), "INTEGER", "NULLABLE", 65535),
    ("US", 0x00280120, "PixelPaddingValue", struct.pack("<H", 65535), "INTEGER", "NULLABLE", 65535),
    ("SS", 0x00280120, "PixelPaddingValue", struct.pack("<h", -2000), "INTEGER", "NULLABLE", -2000),
    ("UT", 0x0040A160, "TextValue", "a\\b" * 1000, "STRING", "NULLABLE", "a\\b" * 1000),
    ("UV", 0x00720083, "SelectorUVValue", struct.pack("<Q", 2**63 - 1), "INTEGER", "REPEATED", [2**63 - 1]),
]


@pytest.mark.parametrize(("vr", "tag", "keyword", "value", "type_", "mode", "expected"), VALUES, ids=lambda part: str(part)[:30])
def test_values(
    loader: Loader, vr: str, tag: int, keyword: str, value: bytes | str, type_: str, mode: str, expected: Any
) -> None:
    data = element(tag, vr, value)
    assert column_of(data) == {"name": keyword, "type": type_, "mode": mode}
    [row] = loader.flattened(dicom(data))
    assert row[keyword] == expected


@pytest.mark.parametrize(("vr", "tag", "keyword"), sorted({case[:3] for case in VALUES}))
def test_empty_values(loader: Loader, vr: str, tag: int, keyword: str) -> None:
    data = element(tag, vr, b"")
    repeated = column_of(data)["mode"] == "REPEATED"
    [row] = loader.flattened(dicom(data))
    assert row[keyword] == ([] if repeated else None)
    assert "OtherElements" not in row


@pytest.mark.parametrize(
    ("vr", "tag", "value", "data"),
    [
        ("DA", 0x00080020, "20201301", ["20201301"]),
        ("DA", 0x00080020, "20200230", ["20200230"]),
        ("DA", 0x00080020, "00000101", ["00000101"]),
        ("DA", 0x00080020, "20200101-20200102", ["20200101-20200102"]),
        ("DA", 0x00080020, "20200101\\20200102", ["20200101", "20200102"]),
        ("DA", 0x00080020, "yesterday", ["yesterday"]),
        ("TM", 0x00080030, "250000", ["250000"]),
        ("TM", 0x00080030, "235960", ["235960"]),
        ("TM", 0x00080030, "1", ["1"]),
        ("TM", 0x00080030, "120000.1234567", ["120000.1234567"]),
        ("DT", 0x0008002A, "20201301", ["20201301"]),
        ("DT", 0x0008002A, "99991231235959-2300", ["99991231235959-2300"]),
        ("DT", 0x0008002A, "noon", ["noon"]),
        ("US", 0x00280010, b"\1\0\2\0", ["1", "2"]),
        ("UV", 0x00720083, struct.pack("<Q", 2**63), [str(2**63)]),
        ("PN", 0x00100010, "A\\B", ["A", "B"]),
        ("PN", 0x00100010, "A^B^C^D^E^F", ["A^B^C^D^E^F"]),
        ("PN", 0x00100010, "A=B=C=D", ["A=B=C=D"]),
        ("LO", 0x00280010, "many", ["many"]),
        ("LO", 0x00081140, "no sequence", ["no sequence"]),
    ],
)
def test_what_does_not_fit_its_column_is_in_other_elements(
    loader: Loader, vr: str, tag: int, value: bytes | str, data: list[str]
) -> None:
    [row] = loader.flattened(dicom(element(tag, vr, value)))
    assert row["OtherElements"] == other((f"Tag_{tag:08X}", data))["OtherElements"]
    assert not row.get(keyword_for_tag(tag))


@pytest.mark.parametrize(
    ("vr", "tag", "value", "expected"),
    [
        ("IS", 0x00200013, "x", {"InstanceNumber": "x"}),
        ("IS", 0x00200013, "1.5", {"InstanceNumber": "1.5"}),
        ("IS", 0x00200013, "99999999999", {"InstanceNumber": "99999999999"}),
        ("DS", 0x00180050, "x", {"SliceThickness": "x"}),
        ("DS", 0x00180050, "1\\2", {"SliceThickness": "1\\2"}),
        ("DS", 0x00280030, "1.0\\x", {"PixelSpacing": ["1.0", "x"]}),
        ("DS", 0x00280030, "1.00000000000000000001\\\\2", {"PixelSpacing": ["1.00000000000000000001", "", "2"]}),
        ("CS", 0x00080060, "much too long for a code string", {"Modality": "much too long for a code string"}),
    ],
)
def test_columns_of_strings_take_any_text(vr: str, tag: int, value: str, expected: dict[str, Any]) -> None:
    """IS and DS are STRING in BigQuery."""
    assert row_of(element(tag, vr, value)) == expected


def test_numbers_that_json_does_not_have(loader: Loader) -> None:
    values = (math.nan, math.inf, -math.inf, 1.5)
    data = element(0x0018605A, "FL", struct.pack("<4f", *values))
    duration = element(0x00189073, "FD", struct.pack("<d", math.inf))
    [row] = loader.flattened(dicom(data, duration))
    first, *rest = row["TableOfParameterValues"]
    assert math.isnan(first)
    assert rest == [math.inf, -math.inf, 1.5]
    assert row["AcquisitionDuration"] == math.inf


NAME_FIELDS = ["FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix"]


def test_the_columns_of_names() -> None:
    parts = [{"name": name, "type": "STRING", "mode": "NULLABLE"} for name in NAME_FIELDS]
    groups = [
        {"name": group, "type": "RECORD", "mode": "NULLABLE", "fields": parts}
        for group in ("Alphabetic", "Ideographic", "Phonetic")
    ]
    one = {"name": "PatientName", "type": "RECORD", "mode": "NULLABLE", "fields": groups}
    assert column_of(element(0x00100010, "PN", "A")) == one
    many = {"name": "OperatorsName", "type": "RECORD", "mode": "REPEATED", "fields": groups}
    assert column_of(element(0x00081070, "PN", "")) == many


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A^B^C^D^E", {"Alphabetic": dict(zip(NAME_FIELDS, "ABCDE", strict=True))}),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", {"Ideographic": {"FamilyName": "山田", "GivenName": "太郎"}}),
        ("=山田", {"Alphabetic": None, "Ideographic": {"FamilyName": "山田"}, "Phonetic": None}),
        ("^B", {"Alphabetic": {"FamilyName": None, "GivenName": "B"}}),
        (" A ^ B ", {"Alphabetic": {"FamilyName": "A", "GivenName": "B"}}),
        ("A^B^C^D^E^^=B^=^=", {"Alphabetic": {"NameSuffix": "E"}, "Ideographic": {"FamilyName": "B"}}),
        ("^^=", None),
        ("", None),
    ],
)
def test_names(loader: Loader, text: str, expected: dict[str, Any] | None) -> None:
    [row] = loader.flattened(dicom(element(0x00080005, "CS", "ISO_IR 192"), element(0x00100010, "PN", text)))
    found = row["PatientName"]
    if expected is None:
        assert not any(any(group.values()) for group in (found or {}).values() if group)
        return
    for group, names in expected.items():
        if names is None:
            assert not any((found[group] or {}).values())
        else:
            assert {name: found[group][name] for name in names} == names


def test_several_names(loader: Loader) -> None:
    [row] = loader.flattened(dicom(element(0x00081070, "PN", "A^B\\\\C")))
    assert [name["Alphabetic"]["FamilyName"] for name in row["OperatorsName"]] == ["A", "C"]


@pytest.mark.parametrize(
    ("charset", "data"),
    [("ISO_IR 100", "Bjørn".encode("latin-1")), ("ISO_IR 192", "Bjørn".encode()), ("GB18030", "Bjørn".encode("gb18030"))],
)
def test_character_sets(charset: str, data: bytes) -> None:
    row = row_of(element(0x00080005, "CS", charset), element(0x00100020, "LO", data))
    assert row == {"SpecificCharacterSet": [charset], "PatientID": "Bjørn"}


@pytest.mark.parametrize("data", [b"a\0b", b"\xff\xfe", b"\x1b$)C\xff", b'"\\', b"\x01\x7f"])
def test_strange_bytes_load(loader: Loader, data: bytes) -> None:
    for charset in ("ISO_IR 192", "\\ISO 2022 IR 149", "nonsense", ""):
        [row] = loader.flattened(dicom(element(0x00080005, "CS", charset), element(0x00104000, "LT", data)))
        assert row["PatientComments"]


# Elements


def test_bulk_data_is_left_out() -> None:
    for vr in ("OB", "OD", "OF", "OL", "OV", "OW", "UN"):
        assert row_of(element(0x00091010, vr, b"12345678"), element(0x00420011, vr, b"12345678")) == {}


def test_the_file_meta_information_is_included_but_for_its_version() -> None:
    meta = element(0x00020001, "OB", b"\0\1") + element(0x00020002, "UI", "1.2") + element(0x00020003, "UI", "1.2.3.4")
    flattener = Flattener()
    row = flattener.add(dicom(meta=meta), None)
    assert list(row)[:3] == ["MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID"]
    assert [column["name"] for column in flattener.schema()][:3] == list(row)[:3]


def test_private_and_unknown_elements() -> None:
    creator, private = element(0x00090010, "LO", "ACME 1.0"), element(0x00091002, "LO", "a\\b")
    number, unknown = element(0x00091003, "FD", struct.pack("<d", 0.5)), element(0x00100023, "SH", "x")
    expected = other(
        ("Tag_00090010", ["ACME 1.0"]), ("Tag_00091002", ["a", "b"]), ("Tag_00091003", ["0.5"]), ("Tag_00100023", ["x"])
    )
    assert row_of(creator, private, number, unknown) == expected
    column = column_of(private)
    assert column == {
        "name": "OtherElements",
        "type": "RECORD",
        "mode": "REPEATED",
        "fields": [{"name": "Tag", "type": "STRING", "mode": "NULLABLE"}, {"name": "Data", "type": "STRING", "mode": "REPEATED"}],
    }


def test_group_lengths_are_left_out() -> None:
    assert row_of(element(0x00080000, "UL", b"\1\0\0\0"), element(0x00090000, "UL", b"\1\0\0\0")) == {}


def test_sequences(loader: Loader) -> None:
    code = [element(0x00080100, "SH", f"{number}") + element(0x00091001, "LO", "p") for number in range(2)]
    data = sequence(0x00081032, *code)
    column = column_of(data)
    assert (column["name"], column["type"], column["mode"]) == ("ProcedureCodeSequence", "RECORD", "REPEATED")
    assert [field["name"] for field in column["fields"]] == ["CodeValue", "OtherElements"]
    [row] = loader.flattened(dicom(data))
    private = [{"Tag": "Tag_00091001", "Data": ["p"]}]
    assert row["ProcedureCodeSequence"] == [{"CodeValue": f"{number}", "OtherElements": private} for number in range(2)]


def test_items_that_differ(loader: Loader) -> None:
    first = dicom(sequence(0x00081032, element(0x00080100, "SH", "a"), b""))
    second = dicom(sequence(0x00081032, element(0x00080104, "LO", "b")))
    rows = loader.flattened(first, second, dicom())
    assert [row["ProcedureCodeSequence"] for row in rows] == [
        [{"CodeValue": "a", "CodeMeaning": None}, {"CodeValue": None, "CodeMeaning": None}],
        [{"CodeValue": None, "CodeMeaning": "b"}],
        [],
    ]


def test_a_sequence_without_elements_has_no_column(loader: Loader) -> None:
    empty = (sequence(0x00081032), sequence(0x00081032, b""), sequence(0x00081032, sequence(0x00081140, b"")))
    for data in empty:
        [row] = loader.flattened(dicom(data))
        assert set(row) == set(UIDS)


@pytest.mark.parametrize("tag", [0x00091010, 0x00100023, 0x00100010, 0x50002600])
def test_sequences_that_the_dictionary_does_not_have(loader: Loader, tag: int) -> None:
    """Those of private and of unknown elements, where the dictionary says that it is not a sequence, and of repeating groups."""
    data = sequence(tag, element(0x00100020, "LO", "x"))
    assert column_of(data)["name"] == f"Tag_{tag:08X}"
    name = element(0x00100010, "PN", "A")
    first, second = loader.flattened(dicom(data), dicom(name))
    assert first[f"Tag_{tag:08X}"] == [{"PatientID": "x"}]
    assert second["PatientName"]["Alphabetic"]["FamilyName"] == "A"


def test_repeating_groups(loader: Loader) -> None:
    overlays = [element(group << 16 | 0x0010, "US", struct.pack("<H", group & 0xFF)) for group in (0x6000, 0x6002)]
    column = column_of(*overlays)
    assert (column["name"], column["type"], column["mode"]) == ("OverlayRows", "RECORD", "REPEATED")
    [row] = loader.flattened(dicom(*overlays, element(0x60003000, "OW", b"1234")))
    assert row["OverlayRows"] == [{"Tag": "Tag_60000010", "Data": ["0"]}, {"Tag": "Tag_60020010", "Data": ["2"]}]
    assert "OverlayData" not in row


def nested(levels: int) -> bytes:
    """A value below that many sequences."""
    data = element(0x00100020, "LO", "x")
    for _ in range(levels):
        data = sequence(0x0040A730, data)
    return data


@pytest.mark.slow
def test_fifteen_levels_of_sequences(loader: Loader) -> None:
    [row] = loader.flattened(dicom(nested(15)))
    assert "DroppedTags" not in row
    for _ in range(15):
        [row] = row["ContentSequence"]
    assert row == {"PatientID": "x"}


@pytest.mark.slow
def test_a_sixteenth_level_is_dropped(loader: Loader) -> None:
    reference = ".".join(["0040A730"] * 16)
    level = sequence(0x0040A730, element(0x00100020, "LO", "beside") + nested(1))
    for _ in range(14):
        level = sequence(0x0040A730, level)
    [row] = loader.flattened(dicom(level))
    assert row["DroppedTags"] == [{"TagName": "ContentSequence", "TagReference": reference}]
    for _ in range(15):
        [row] = row["ContentSequence"]
    assert row["PatientID"] == "beside"
    found = json_of(dicom(level))
    assert found["DroppedTags"] == [reference]


def test_a_sequence_of_more_than_a_mebibyte_is_dropped(loader: Loader) -> None:
    def text(size: int) -> bytes:
        return sequence(0x00081032, element(0x0040A160, "UT", "x" * size))

    small, large = 2**20 - 100, 2**20
    [row] = loader.flattened(dicom(text(small)))
    assert len(row["ProcedureCodeSequence"][0]["TextValue"]) == small
    flattener = Flattener()
    row = flattener.add(dicom(text(large)), None)
    assert row["DroppedTags"] == [{"TagName": "ProcedureCodeSequence", "TagReference": "00081032"}]
    assert "ProcedureCodeSequence" not in row
    names = [column["name"] for column in flattener.schema()]
    assert names[-1] == "DroppedTags"
    assert loader.load([row], flattener.schema())[0]["DroppedTags"] == row["DroppedTags"]
    assert json_of(dicom(text(large)))["DroppedTags"] == ["00081032"]


def test_a_long_text_outside_sequences_stays() -> None:
    assert len(row_of(element(0x00104000, "UT", "x" * 2**21))["PatientComments"]) == 2**21


def test_an_implicit_file_without_what_tells_a_choice_of_representations(loader: Loader) -> None:
    """LUT data is ``US or OW``, which depends on its descriptor; the padding value is ``US or SS``."""
    elements = [implicit(tag, uid) for tag, uid in ((INSTANCE, "1.2.3.4"), (STUDY, "1.2"), (SERIES, "1.2.3"))]
    elements += [implicit(0x00283006, b"\1\0\2\0"), implicit(0x00280120, b"\1\0")]
    [row] = loader.flattened(parse(part10(elements, "1.2.840.10008.1.2")))
    assert "LUTData" not in row
    assert row["PixelPaddingValue"] == 1
    assert "OtherElements" not in row


# Columns


def test_columns_are_sorted_by_tag_and_the_catch_alls_are_last() -> None:
    flattener = Flattener()
    flattener.add(dicom(element(0x00280010, "US", b"\1\0")), "store")
    flattener.add(dicom(element(0x00100020, "LO", "x"), element(0x00090010, "LO", "x"), nested(16)), None)
    flattener.add(dicom(sequence(0x00091010, element(0x00100020, "LO", "x"))), None)
    assert [column["name"] for column in flattener.schema()] == [
        "TransferSyntaxUID",
        "SOPInstanceUID",
        "PatientID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "Rows",
        "Tag_00091010",
        "OtherElements",
        "DroppedTags",
        "SourceDicomStore",
    ]


def test_columns_without_rows() -> None:
    assert [column["name"] for column in Flattener().schema()] == ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]


def pydicom_files() -> list[File]:
    """All DICOM files that pydicom comes with."""
    root = Path(str(pydicom.data.__file__)).parent
    found = []
    for path in sorted(root.rglob("*")):
        if path.is_file():
            with contextlib.suppress(CannotRead):
                found.append(read(path, cut_pixels=True))
    return found


@pytest.fixture(scope="module")
def every_file() -> list[File]:
    files = pydicom_files()
    assert len(files) > 50
    return files


def test_columns_are_those_of_a_real_export(every_file: list[File]) -> None:
    """``columns.tsv`` has those of a real export, the Imaging Data Commons', that pydicom's files have as well."""
    flattener = Flattener()
    for dataset in every_file:
        flattener.add(dataset, None)
    real = [tuple(line.split("\t")) for line in COLUMNS.read_text().splitlines()]
    names = {name for name, _, _ in real}
    ours = [(column["name"], column["type"], column["mode"]) for column in flattener.schema() if column["name"] in names]
    assert ours == real


@pytest.mark.slow
def test_every_file_of_pydicom_loads(loader: Loader, every_file: list[File]) -> None:
    rows = loader.flattened(*every_file)
    assert [row["SOPInstanceUID"] for row in rows] == [dataset.uid(INSTANCE) or None for dataset in every_file]


# schemaJson


def json_of(dataset: File) -> dict[str, Any]:
    return json_row(
        dataset, source_store=None, blob_storage_size=1, storage_class="STANDARD", last_updated="2020-01-01T00:00:00.000Z"
    )


def test_metadata_is_in_the_dicom_json_model(loader: Loader) -> None:
    dataset = dicom(
        element(0x00100010, "PN", "A^B"),
        element(0x00080020, "DA", "not a date"),
        element(0x00280010, "US", b"\1\0"),
        element(0x00280030, "DS", "0.5\\1"),
        element(0x00091010, "LO", "private"),
        element(0x00104000, "LT", ""),
        element(0x00420011, "OB", b"1234"),
        sequence(0x00081032, element(0x00080100, "SH", "a")),
    )
    row = json_of(dataset)
    assert row["Metadata"] == {
        "00020010": {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]},
        "00080018": {"vr": "UI", "Value": ["1.2.3.4"]},
        "00080020": {"vr": "DA", "Value": ["not a date"]},
        "00081032": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["a"]}}]},
        "00091010": {"vr": "LO", "Value": ["private"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]},
        "00104000": {"vr": "LT"},
        "0020000D": {"vr": "UI", "Value": ["1.2"]},
        "0020000E": {"vr": "UI", "Value": ["1.2.3"]},
        "00280010": {"vr": "US", "Value": [1]},
        "00280030": {"vr": "DS", "Value": [0.5, 1.0]},
    }
    assert row["DroppedTags"] == []
    [loaded] = loader.load([row], json_schema(False))
    assert loaded["Metadata"] == row["Metadata"]
    assert loaded["LastUpdated"] == datetime.datetime(2020, 1, 1, tzinfo=UTC)


def test_what_json_has_no_number_for_is_text() -> None:
    values = (math.nan, math.inf, -math.inf)
    row = json_of(dicom(element(0x0018605A, "FL", struct.pack("<3f", *values)), element(0x00200013, "IS", "x")))
    assert row["Metadata"]["0018605A"]["Value"] == ["NaN", "Infinity", "-Infinity"]
    assert row["Metadata"]["00200013"]["Value"] == ["x"]
    assert row["DroppedTags"] == []


def test_what_is_not_of_its_value_representation_is_dropped() -> None:
    dataset = dicom(
        element(0x00280010, "US", b"\1\0"),
        element(0x00189073, "FD", b"1234"),
        sequence(0x00081032, element(0x00280010, "UL", b"12")),
    )
    row = json_of(dataset)
    assert row["DroppedTags"] == ["00081032.00280010", "00189073"]
    assert "00189073" not in row["Metadata"]
    flattened = Flattener().add(dataset, None)
    assert flattened["DroppedTags"] == [
        {"TagName": "Rows", "TagReference": "00081032.00280010"},
        {"TagName": "AcquisitionDuration", "TagReference": "00189073"},
    ]
    assert flattened["Rows"] == 1


def test_every_instance_of_pydicom_loads_as_json(loader: Loader, every_file: list[File]) -> None:
    instances = [file for file in every_file if all(map(file.uid, (STUDY, SERIES, INSTANCE)))]
    rows = loader.load([json_of(dataset) for dataset in instances], json_schema(False))
    assert [row["SOPInstanceUID"] for row in rows] == [file.uid(INSTANCE) for file in instances]


# Anything at all

VRS = [
    *(
        "AE",
        "AS",
        "AT",
        "CS",
        "DA",
        "DS",
        "DT",
        "FD",
        "FL",
        "IS",
        "LO",
        "LT",
        "OB",
        "OD",
        "OF",
        "OL",
        "OV",
        "OW",
        "PN",
        "SH",
        "SL",
    ),
    *("SS", "ST", "SV", "TM", "UC", "UI", "UL", "UN", "UR", "US", "UT", "UV"),
]
RESERVED = {0x00080018, 0x0020000D, 0x0020000E}
KNOWN_TAGS = sorted(tag for tag in DicomDictionary if 0x00080000 < tag < 0x7FE00000 and tag not in RESERVED)
SEQUENCES = [tag for tag in KNOWN_TAGS if DicomDictionary[tag][0] == "SQ"]
OFTEN = [0x00080005, 0x00080020, 0x00080030, 0x0008002A, 0x00100010, 0x00280010, 0x00280103, 0x00283002, 0x00283006]
VALUES_OFTEN = [b"", b"20200101", b"1.5\\2", b"120000.5", b"20200101120000+0100", b"A^B=C", b"NaN", b"inf"]


@st.composite
def elements(draw: st.DrawFn, depth: int = 0) -> bytes:
    """One element: of a tag that there is or is not, of the VR it should have or any other, with a value that fits or not."""
    tag = draw(st.integers(8, 0x7FDF)) << 16 | draw(st.integers(1, 0xFFFF))
    tag = draw(
        st.sampled_from([tag, OFTEN[tag % len(OFTEN)], KNOWN_TAGS[tag % len(KNOWN_TAGS)], SEQUENCES[tag % len(SEQUENCES)]])
    )
    if tag in RESERVED:
        tag += 0x10
    usual = DicomDictionary.get(tag, ("UN",))[0]
    if depth < 3 and (usual == "SQ" or draw(st.integers(0, 9)) == 0):
        items = draw(st.lists(st.lists(elements(depth=depth + 1), max_size=3), max_size=2))
        return sequence(tag, *map(ordered, items))
    vr = usual if usual in VRS and draw(st.booleans()) else draw(st.sampled_from(VRS))
    text = st.text("0123456789.+-^=\\: aä山\0\n\x1b\"'{}", max_size=24).map(str.encode)
    return element(tag, vr, draw(st.one_of(st.sampled_from(VALUES_OFTEN), text, st.binary(max_size=24))))


def ordered(found: list[bytes]) -> bytes:
    """Elements by tag, each tag once."""
    by_tag = {struct.unpack("<HH", data[:4]): data for data in found}
    return b"".join(by_tag[tag] for tag in sorted(by_tag))


def readable(found: list[bytes]) -> File | None:
    """A file of these elements; ``None`` when it cannot be read, which no import takes."""
    try:
        return dicom(*{data[:4]: data for data in found}.values())
    except CannotRead:
        return None


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(elements(), max_size=8), min_size=1, max_size=3))
def test_any_files_load(loader: Loader, files: list[list[bytes]]) -> None:
    datasets = [dataset for file in files if (dataset := readable(file))]
    assume(datasets)
    assert len(loader.flattened(*datasets)) == len(datasets)
    assert len(loader.load([json_of(dataset) for dataset in datasets], json_schema(False))) == len(datasets)
