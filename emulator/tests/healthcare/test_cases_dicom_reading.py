"""Files that are a little broken, or rare, and what comes of them: read and written whole, or refused by name.

The numbers are those of the list that these files were first seen in.
"""

from __future__ import annotations

import itertools
import json
import struct
from typing import Any

import pytest
import requests
from pydicom.dataset import FileDataset

from gcp_dicom_emulator.healthcare.dicom import writing
from gcp_dicom_emulator.healthcare.dicom.headers import attributes
from gcp_dicom_emulator.healthcare.dicom.reading import parse, read, read_dataset
from tests.healthcare import dicom_bytes as b
from tests.healthcare.conftest import World, encoded, instance

PATH = "studies/1.2/series/1.2.3/instances/1.2.3.4"


def image(**elements: Any) -> FileDataset:
    """An instance of 16 by 16 pixels of 8 bits."""
    pixels = {"Rows": 16, "Columns": 16, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "SamplesPerPixel": 1}
    pixels |= {"PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME2", "PixelData": bytes(range(256))}
    return instance("1.2", "1.2.3", "1.2.3.4", **{**pixels, **elements})


def rle() -> bytes:
    from pydicom.uid import RLELossless

    dataset = image()
    dataset.compress(RLELossless, generate_instance_uid=False)
    return encoded(dataset)


def of(*elements: bytes, syntax: str = b.EXPLICIT) -> bytes:
    return b.part10([*b.uids(), *elements], syntax)


def described(data: bytes) -> dict[str, Any]:
    """What a file has, as DICOM JSON."""
    return attributes(parse(data))


def web(world: World, path: str) -> requests.Response:
    return requests.get(f"{world.emulator.url}/v1/{world.store}/dicomWeb/{path}", timeout=120)


def metadata(world: World, *files: bytes) -> dict[str, Any]:
    """What the store says of the last of some files once it has them."""
    world.fill(*files)
    answer = web(world, f"{PATH}/metadata")
    assert answer.status_code == 200, answer.text
    (found,) = json.loads(answer.text, parse_constant=pytest.fail)
    return dict(found)


def row(world: World, **destination: Any) -> dict[str, Any]:
    """The only row of a metadata export."""
    ended = world.end(world.start_export(bigqueryDestination={"tableUri": world.table("t"), **destination}))
    assert ended["metadata"]["counter"] == {"success": "1"}
    ((text,),) = world.rows("t", "TO_JSON_STRING(t)", "AS t")
    return dict(json.loads(text))


def json_row(world: World) -> dict[str, Any]:
    return row(world, schemaJson={})


def counter(world: World, **body: Any) -> tuple[dict[str, str], list[str]]:
    """An export's counters, and why instances failed."""
    ended = world.end(world.start_export(**body))
    return ended["metadata"]["counter"], [entry["error"]["message"] for entry in world.logs(ended)]


@pytest.mark.parametrize("cut", [8, 40])
def test_case_01_a_file_that_ends_within_its_pixels(world: World, cut: int) -> None:
    found = metadata(world, rle()[:-cut])
    assert found["00280010"]["Value"] == [16]
    assert found["7FE00010"]["vr"] == "OB"
    assert row(world)["Rows"] == 16
    ended, reasons = counter(
        world,
        gcsDestination={"uriPrefix": world.uri("out"), "mimeType": "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"},
    )
    assert ended == {"failure": "1"}
    assert "(7FE0,0010)" in reasons[0]
    assert not world.files("out")
    assert web(world, PATH).status_code == 406
    assert web(world, f"{PATH}/bulkdata/7FE00010/0").status_code == 406
    assert counter(world, gcsDestination={"uriPrefix": world.uri("as-is")})[0] == {"success": "1"}
    assert list(world.files("as-is").values()) == [rle()[:-cut]]


def test_case_01_native_pixels_that_are_cut(world: World) -> None:
    world.fill(encoded(image())[:-100])
    mime_type = f"application/dicom; transfer-syntax={b.IMPLICIT}"
    ended, (reason,) = counter(world, gcsDestination={"uriPrefix": world.uri("out"), "mimeType": mime_type})
    assert ended == {"failure": "1"}
    assert "(7FE0,0010) has 256 bytes, and the file only 156 more" in reason


def test_case_01_a_file_that_ends_elsewhere_is_not_imported(world: World) -> None:
    world.put("cut", encoded(instance("1.2", "1.2.3", "1.2.3.4", StudyID="12345678"))[:-3])
    ended = world.end(world.start_import(world.uri("cut")))
    assert ended["metadata"]["counter"] == {"failure": "1"}
    (entry,) = world.logs(ended)
    assert "(0020,0010) has 8 bytes, and the file only 5 more" in entry["error"]["message"]


def test_case_02_a_value_representation_of_blanks(world: World) -> None:
    dataset = image(PixelPaddingValue=0, RequestingPhysician="Doe^Jane")
    data = encoded(dataset).replace(b"\x28\x00\x20\x01US", b"\x28\x00\x20\x01  ")
    found = metadata(world, data)
    assert found["00280120"] == {"vr": "US", "Value": [0]}
    assert found["00321032"]["Value"] == [{"Alphabetic": "Doe^Jane"}]
    assert "7FE00010" in found
    flattened = row(world)
    assert flattened["PixelPaddingValue"] == 0
    assert flattened["RequestingPhysician"]["Alphabetic"] == {"FamilyName": "Doe", "GivenName": "Jane"} | dict.fromkeys(
        ("MiddleName", "NamePrefix", "NameSuffix")
    )


def test_case_04_a_fragment_of_odd_length(tmp_path: Any) -> None:
    path, out = tmp_path / "in", tmp_path / "out"
    table = struct.pack("<2I", 0, 8 + 3)
    path.write_bytes(of(b.encapsulated(table, b"\1\2\3", b"\4\5\6\7\x08")))
    writing.write(read_dataset(path), out)
    element = read(out).elements[0x7FE00010]
    assert [element.data[start:end] for start, end in element.fragments or ()] == [
        struct.pack("<2I", 0, 8 + 4),
        b"\1\2\3\0",
        b"\4\5\6\7\x08\0",
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [("2.5", "2.5"), ("1e2", "1e2"), ("1_0", "1_0"), ("+7", 7), ("007", 7), ("9007199254740993", "9007199254740993")],
)
def test_case_05_integers_are_integers(world: World, text: str, value: Any) -> None:
    found = metadata(world, of(b.element(0x00200013, "IS", text)))
    assert found["00200013"] == {"vr": "IS", "Value": [value]}
    assert json_row(world)["Metadata"]["00200013"] == {"vr": "IS", "Value": [value]}
    (result,) = web(world, "instances").json()
    assert result["00200013"]["Value"] == [value]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1_000", "1_000"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("+1E2", 100.0),
        ("1e999", "1e999"),
        ("nan", "nan"),
        ("0.1234567890123456789", "0.1234567890123456789"),
        ("-0.100000000000000000", -0.1),
    ],
)
def test_case_05_decimals_are_what_a_double_holds(world: World, text: str, value: Any) -> None:
    assert metadata(world, of(b.element(0x00180050, "DS", text)))["00180050"] == {"vr": "DS", "Value": [value]}


@pytest.mark.parametrize(
    ("tag", "vr", "text", "value"),
    [
        (0x00200037, "DS", "1\\\\0\\0\\1\\0", [1, None, 0, 0, 1, 0]),
        (0x00280030, "DS", "1\\", [1, None]),
        (0x00280030, "DS", "\\1", [None, 1]),
        (0x00081160, "IS", "1\\\\3", [1, None, 3]),
        (0x00080008, "CS", "ORIGINAL\\\\AXIAL", ["ORIGINAL", None, "AXIAL"]),
        (0x00081070, "PN", "A\\\\B", [{"Alphabetic": "A"}, None, {"Alphabetic": "B"}]),
        (0x00080008, "CS", "\\\\", None),
        (0x00100040, "CS", "  ", None),
    ],
)
def test_case_06_an_empty_value_among_others_is_null(world: World, tag: int, vr: str, text: str, value: Any) -> None:
    expected = {"vr": vr} | ({"Value": value} if value else {})
    assert metadata(world, of(b.element(tag, vr, text)))[f"{tag:08X}"] == expected
    assert json_row(world)["Metadata"][f"{tag:08X}"] == expected


def test_case_07_a_private_block_behind_the_pixels(world: World) -> None:
    pixels = b.element(0x7FE00010, "OW", bytes(512))
    world.fill(of(pixels, b.element(0x80010010, "LO", "CREATOR"), b.element(0x80011001, "LO", "behind")))
    assert {"Tag": "Tag_80011001", "Data": ["behind"]} in row(world)["OtherElements"]
    from gcp_dicom_emulator.bigquery.names import TableName

    world.emulator.bigquery.catalog.delete_table(TableName("demo", world.tables, "t"))
    assert json_row(world)["Metadata"]["80011001"] == {"vr": "LO", "Value": ["behind"]}


def test_case_08_chinese_by_iso_2022(world: World) -> None:
    name = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab"
    found = metadata(
        world,
        of(
            b.element(0x00080005, "CS", "\\ISO 2022 IR 58"),
            b.element(0x00100010, "PN", name),
            b.element(0x00100020, "LO", b"\x1b$)A\xd5\xc5"),
        ),
    )
    assert found["00100010"]["Value"] == [{"Alphabetic": "Zhang^XiaoDong", "Ideographic": "张^小东"}]
    assert found["00100020"]["Value"] == ["张"]
    assert row(world)["PatientID"] == "张"


@pytest.mark.parametrize(
    ("declared", "data", "text"),
    [
        ("ISO_IR_192", "王".encode(), "王"),
        ("iso_ir 192", "王".encode(), "王"),
        ("ISO-IR-192", "王".encode(), "王"),
        ("ISO 2022 IR 192", "王".encode(), "王"),
        ("ISO_IR_144", "Люкс".encode("iso8859_5"), "Люкс"),
        ("ISO IR 101", "Čapek".encode("iso8859_2"), "Čapek"),
        ("ISO_2022_IR_149", b"\x1b$)C\xfb\xf3", "洪"),
        ("\\iso2022 ir 149", b"\x1b$)C\xfb\xf3", "洪"),
        ("ISO_IR 203", "Œuvre€".encode("iso8859_15"), "Œuvre€"),
    ],
)
def test_case_08_defined_terms_as_devices_write_them(tmp_path: Any, declared: str, data: bytes, text: str) -> None:
    path = tmp_path / "in"
    path.write_bytes(of(b.element(0x00080005, "CS", declared), b.element(0x00081030, "LO", data)))
    assert described(path.read_bytes())["00081030"]["Value"] == [text]
    writing.write(read_dataset(path), tmp_path / "out")
    assert described((tmp_path / "out").read_bytes())["00081030"]["Value"] == [text]


def test_case_08_a_character_set_without_a_value_in_an_item(tmp_path: Any) -> None:
    utf_8 = b.element(0x00080005, "CS", "ISO_IR 192")
    item = b.element(0x00080005, "CS", "") + b.element(0x00400007, "LO", "ü".encode())
    path = tmp_path / "in"
    path.write_bytes(of(utf_8, b.sequence(0x00400275, item)))
    writing.write(read_dataset(path), tmp_path / "out")
    for file in (path, tmp_path / "out"):
        (found,) = described(file.read_bytes())["00400275"]["Value"]
        assert found["00400007"]["Value"] == ["ü"]


def test_case_10_what_is_unknown_is_little_endian_in_big_endian_too(world: World, tmp_path: Any) -> None:
    def big(tag: int, vr: str, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        head = struct.pack(">HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
        return head + (struct.pack(">HI", 0, len(value)) if vr == "UN" else struct.pack(">H", len(value))) + value

    head = b.part10([], "1.2.840.10008.1.2.2")
    uids = [big(b.INSTANCE, "UI", b"1.2.3.4"), big(b.STUDY, "UI", b"1.2"), big(b.SERIES, "UI", b"1.2.3")]
    private = [big(0x00090010, "LO", b"GEMS_IDEN_01"), big(0x00091027, "UN", struct.pack("<i", 978683914))]
    data = head + b"".join([uids[0], *private, *uids[1:]])
    assert metadata(world, data)["00091027"] == {"vr": "SL", "Value": [978683914]}
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(data)
    dataset = read_dataset(path)
    writing.write(dataset, out)
    assert read(out).elements[0x00091027].value == struct.pack(">i", 978683914), "it is written as SL, which is big endian"
    dataset = read_dataset(path)
    dataset.file_meta.TransferSyntaxUID = b.EXPLICIT
    writing.write(dataset, out)
    assert read(out).elements[0x00091027].value == struct.pack("<i", 978683914)


def test_case_12_an_ambiguous_value_representation(world: World) -> None:
    head = [b.implicit(tag, uid) for tag, uid in ((b.INSTANCE, "1.2.3.4"), (b.STUDY, "1.2"), (b.SERIES, "1.2.3"))]
    found = metadata(world, b.part10([*head, b.implicit(0x50003000, b"\1\2\3\4")], b.IMPLICIT))
    assert found["50003000"] == {"vr": "OB", "InlineBinary": "AQIDBA=="}
    answer = web(world, PATH)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 1000])
def test_case_14_any_number_of_zeros(tmp_path: Any, implicit: bool, count: int) -> None:
    dataset = image()
    if implicit:
        dataset.file_meta.TransferSyntaxUID = b.IMPLICIT
    path = tmp_path / "in"
    path.write_bytes(encoded(dataset) + bytes(count))
    assert max(read(path).elements) == 0x7FE00010


def test_case_14_the_byte_that_pads_pixels_of_an_odd_length() -> None:
    found = parse(of(b.element(0x7FE00010, "OB", b"\1\2\3\0", length=3)))
    assert found.elements[0x7FE00010].value == b"\1\2\3"


@pytest.mark.parametrize("implicit", [True, False])
def test_case_14_zeros_behind_the_data_set(world: World, tmp_path: Any, implicit: bool) -> None:
    dataset = image()
    if implicit:
        dataset.file_meta.TransferSyntaxUID = b.IMPLICIT
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(encoded(dataset) + bytes(1000))
    writing.write(read_dataset(path), out)
    assert out.stat().st_size < path.stat().st_size - 900
    assert metadata(world, path.read_bytes()).keys() == metadata(world, path.read_bytes()).keys()
    assert web(world, PATH).status_code == 200


@pytest.mark.parametrize(
    "syntax", [*(f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112)), "1.2.840.10008.1.2.8.1", "1.9"]
)
def test_case_15_a_transfer_syntax_of_any_name_is_written(tmp_path: Any, syntax: str) -> None:
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(of(b.element(0x00100010, "PN", "Doe"), b.encapsulated(b"", b"1234"), syntax=syntax))
    dataset = read_dataset(path)
    dataset.PatientName = "New^Name"
    writing.write(dataset, out)
    before, after = read(path), read(out)
    assert after.transfer_syntax == syntax
    assert after.elements[0x00100010].text == "New^Name"
    assert after.elements[0x7FE00010].value == before.elements[0x7FE00010].value


# Low


def test_names_have_only_groups_that_are_not_empty(world: World) -> None:
    data = of(b.element(0x00080005, "CS", "ISO_IR 192"), b.element(0x00100010, "PN", "=山田^太郎"))
    assert metadata(world, data)["00100010"]["Value"] == [{"Ideographic": "山田^太郎"}]


def test_without_a_class_and_without_a_transfer_syntax(world: World) -> None:
    dataset = image()
    del dataset.SOPClassUID
    data = of(*_elements(dataset), syntax="")
    found = metadata(world, data)
    assert found["00280010"]["Value"] == [16]
    assert web(world, PATH).status_code == 200
    for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.5"):
        ended, reasons = counter(
            world,
            gcsDestination={"uriPrefix": world.uri(syntax), "mimeType": f"application/dicom; transfer-syntax={syntax}"},
        )
        assert ended == {"success": "1"}, reasons


def _elements(dataset: FileDataset) -> list[bytes]:
    """The elements of a data set, without the UIDs of the instance, encoded."""
    pixels = [(0x00280002, "US", 1), (0x00280010, "US", 16), (0x00280011, "US", 16), (0x00280100, "US", 8)]
    pixels += [(0x00280101, "US", 8), (0x00280102, "US", 7), (0x00280103, "US", 0)]
    return [
        *(b.element(tag, vr, struct.pack("<H", value)) for tag, vr, value in pixels),
        b.element(0x00280004, "CS", "MONOCHROME2"),
        b.element(0x7FE00010, "OB", dataset.PixelData),
    ]


def test_a_header_that_lies_about_value_representations(world: World, tmp_path: Any) -> None:
    uids = ((b.INSTANCE, "1.2.3.4"), (b.STUDY, "1.2"), (b.SERIES, "1.2.3"))
    data = b.part10([*(b.implicit(tag, uid) for tag, uid in uids), b.implicit(0x00100010, "Doe^Jane")], b.EXPLICIT)
    assert metadata(world, data)["00100010"]["Value"] == [{"Alphabetic": "Doe^Jane"}]
    mime_type = f"application/dicom; transfer-syntax={b.EXPLICIT}"
    assert counter(world, gcsDestination={"uriPrefix": world.uri("out"), "mimeType": mime_type})[0] == {"success": "1"}
    path = tmp_path / "out"
    path.write_bytes(next(iter(world.files("out").values())))
    assert read(path).is_as_declared
    assert read(path).elements[0x00100010].text == "Doe^Jane"
    as_is = counter(world, gcsDestination={"uriPrefix": world.uri("as-is")})
    assert as_is[0] == {"success": "1"}
    assert next(iter(world.files("as-is").values())) == data


def test_a_structure_set_with_a_contour_of_many_points(world: World) -> None:
    """Written without value representations, as no other way has room for so long a DS."""
    points = "\\".join(itertools.islice(itertools.cycle(("-123.45", "0.5", "67.8")), 250_000))
    contour = b.implicit(0x30060040, b.item(b.implicit(0x30060050, points)))
    uids = ((b.INSTANCE, "1.2.3.4"), (b.STUDY, "1.2"), (b.SERIES, "1.2.3"))
    data = b.part10([*(b.implicit(tag, uid) for tag, uid in uids), b.implicit(0x30060039, b.item(contour))], b.IMPLICIT)
    (roi,) = metadata(world, data)["30060039"]["Value"]
    (found,) = roi["30060040"]["Value"]
    assert found["30060050"]["Value"][:3] == [-123.45, 0.5, 67.8]
    assert len(found["30060050"]["Value"]) == 250_000
