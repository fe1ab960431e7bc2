"""Reading and writing files: all elements, or an error; and what was read is written as it stood."""

from __future__ import annotations

import contextlib
import io
import struct
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file, get_testdata_files

from gcp_dicom_emulator.healthcare.dicom import reading, writing
from gcp_dicom_emulator.healthcare.dicom.reading import CannotRead, Element, parse, read, read_dataset
from tests.healthcare import dicom_bytes as b

RELAXED = settings(suppress_health_check=list(HealthCheck))
#: Files of pydicom's data that no reader can read whole, and why. dcmtk refuses all but the first, a DICOMDIR.
BROKEN = {
    "DICOMDIR-nooffset": "an item of (0004,1220) has 248 bytes; only 224 are left",
    "MR_truncated.dcm": "(7FE0,0010) has 8192 bytes, and the file only 8130 more",
    "rtplan_truncated.dcm": "(300A,00B0) has 976 bytes, and the file only 711 more",
}


def files() -> list[Path]:
    paths = sorted(Path(str(name)) for name in get_testdata_files())
    return [path for path in paths if path.is_file() and path.read_bytes()[128:132] == b"DICM"]


def flat(elements: dict[int, Element], around: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    """All values by their place, but for group lengths; odd ones padded."""
    found: dict[tuple[Any, ...], Any] = {}
    for tag, element in elements.items():
        if element.items is not None:
            found[(*around, tag)] = len(element.items)
            for number, item in enumerate(element.items):
                found |= flat(item.elements, (*around, tag, number))
        elif tag & 0xFFFF:
            found[(*around, tag)] = (element.vr, element.value + b"\0" * (len(element.value) % 2))
    return found


# Trees of elements, written by our own encoder

PLAIN = st.tuples(
    st.sampled_from([("LO", 0x00100020), ("US", 0x00280010), ("OB", 0x00420011), ("UT", 0x0040A160), ("UN", 0x00111234)]),
    st.binary(max_size=20).map(lambda value: value + b"\0" * (len(value) % 2)),
)


def encode(tree: list[Any], *, undefined: bool) -> list[bytes]:
    found = {}
    for node in tree:
        if isinstance(node, list):
            content = b"".join(_item(one, undefined) for one in node)
            length = b.UNDEFINED if undefined else len(content)
            found[0x00081115] = b.element(0x00081115, "SQ", content, length=length) + (b.DELIMITER if undefined else b"")
        else:
            (vr, tag), value = node
            found[tag] = b.element(tag, vr, value)
    return [found[tag] for tag in sorted(found)]


def _item(tree: list[Any], undefined: bool) -> bytes:
    content = b"".join(encode(tree, undefined=undefined))
    if not undefined:
        return b.item(content)
    return struct.pack("<HHI", 0xFFFE, 0xE000, b.UNDEFINED) + content + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)


TREES = st.recursive(st.lists(PLAIN, max_size=4), lambda inner: st.lists(PLAIN | st.lists(inner, max_size=3), max_size=4))


@given(TREES, st.booleans())
@RELAXED
def test_the_reader_finds_what_pydicom_finds(tree: list[Any], undefined: bool) -> None:
    data = b.part10([*b.uids(), *encode(tree, undefined=undefined)])
    ours = flat(parse(data).elements)
    assert {place: value for place, value in ours.items() if not isinstance(value, int)} == dict(_theirs(data))


def _theirs(data: bytes) -> list[tuple[tuple[Any, ...], tuple[str, bytes]]]:
    return list(_walk(pydicom.dcmread(io.BytesIO(data)), ()))


def _walk(dataset: Any, around: tuple[Any, ...]) -> Any:
    for tag in list(dataset.keys()):
        raw = dataset.get_item(tag)
        if raw.VR == "SQ":
            for number, item in enumerate(dataset[tag].value):
                yield from _walk(item, (*around, int(tag), number))
        else:
            yield (*around, int(tag)), (raw.VR, raw.value or b"")


@given(TREES, st.booleans(), st.data())
@RELAXED
def test_a_file_that_is_cut_is_refused_unless_it_is_cut_between_elements(tree: list[Any], undefined: bool, data: Any) -> None:
    whole = b.part10([*b.uids(), *encode(tree, undefined=undefined)])
    start = whole.index(b"\x08\x00\x18\x00UI")
    cut = whole[: data.draw(st.integers(start, len(whole)))]
    try:
        found = parse(cut).elements
    except CannotRead:
        return
    assert flat(found).items() <= flat(parse(whole).elements).items()
    assert sum(len(element.value) for element in found.values()) > 0 or len(cut) == start
    assert max((element.end for element in found.values()), default=start) == len(cut), "nothing is left over"


@given(TREES, st.booleans(), st.data())
@RELAXED
def test_whatever_is_broken_is_read_or_refused(tree: list[Any], undefined: bool, data: Any) -> None:
    broken = bytearray(b.part10([*b.uids(), *encode(tree, undefined=undefined)]))
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(132, len(broken) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CannotRead):
        parse(bytes(broken))


# Real files


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.name))
def test_files_of_pydicom(path: Path, tmp_path: Path) -> None:
    if reason := BROKEN.get(path.name):
        with pytest.raises(CannotRead) as caught:
            read(path)
        assert str(caught.value).endswith(reason)
        return
    before = read(path)
    writing.write(read_dataset(path), tmp_path / "written")
    assert flat(read(tmp_path / "written").elements) == flat(before.elements)


def test_most_files_are_written_byte_for_byte(tmp_path: Path) -> None:
    for name in (
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
        "JPEG2000.dcm",
        "reportsi.dcm",
        "MR_small_implicit.dcm",
        "test-SR.dcm",
    ):
        path = Path(str(get_testdata_file(name)))
        writing.write(read_dataset(path), tmp_path / "written")
        assert (tmp_path / "written").read_bytes() == path.read_bytes(), name


@pytest.mark.parametrize("small", [True, False])
def test_a_large_file_is_read_like_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: bool) -> None:
    monkeypatch.setattr(reading, "_SMALL", 1 << 30 if small else 0)
    path = tmp_path / "file"
    path.write_bytes(b.part10([*b.uids(), b.element(0x7FE00010, "OW", b"\1\2" * 1000)]) + bytes(512))
    assert read(path).elements[0x7FE00010].value == b"\1\2" * 1000
    path.write_bytes(b.part10([*b.uids(), b.element(0x7FE00010, "OW", b"\1\2" * 1000)])[:-1])
    with pytest.raises(CannotRead, match="has 2000 bytes, and the file only 1999 more"):
        read(path)


def test_pixels_that_may_be_cut() -> None:
    private = [b.element(0x80010010, "LO", "CREATOR"), b.element(0x80011001, "LO", "behind")]
    data = b.part10([*b.uids(), b.element(0x7FE00010, "OW", b"\1\2" * 10), *private])
    assert [*parse(data, cut_pixels=True).elements] == [b.INSTANCE, b.STUDY, b.SERIES, 0x7FE00010, 0x80010010, 0x80011001]
    cut = b.part10([*b.uids(), b.encapsulated(b"", b"\1\2\3\4")])
    for end in range(len(cut) - 27, len(cut)):
        assert [*parse(cut[:end], cut_pixels=True).elements] == [b.INSTANCE, b.STUDY, b.SERIES, 0x7FE00010]
        with pytest.raises(CannotRead):
            parse(cut[:end])
    with pytest.raises(CannotRead, match=r"\(8001,1001\) has 6 bytes, and the file only 5 more"):
        parse(data[:-1], cut_pixels=True)


def test_uids_are_compared_with_what_the_store_knows(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b.part10(b.uids()))
    assert read_dataset(path, ("1.2", "1.2.3", "1.2.3.4")).StudyInstanceUID == "1.2"
    with pytest.raises(CannotRead, match=r"SOPInstanceUID is '1.2.3.4'; the store knows it as '1.2.3.5'"):
        read_dataset(path, ("1.2", "1.2.3", "1.2.3.5"))


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        (
            [b.element(0x00100010, "PN", "A"), b.element(0x00100010, "PN", "B")],
            "(0010,0010) is there twice, with different values",
        ),
        ([struct.pack("<HHI", 0xFFFE, 0xE00D, 0)], "(FFFE,E00D), of an item or a delimiter, is where an element is expected"),
        (
            [b.element(0x00081115, "SQ", b.element(0x00100010, "PN", "A"))],
            "(0010,0010) is where an item of (0008,1115) is expected",
        ),
        ([b.element(0x00081115, "SQ", b.item(b"") + b.DELIMITER + b.item(b""))], "(0008,1115) ends before its length does"),
        ([b"\x10\x00\x10\x00UT\0"], "7 bytes are left, fewer than an element has"),
        ([b.element(0x00000002, "UI", "1.2")], "an element of group 0000 or 0002 is not one of a data set"),
        ([b.element(0x00100010, "PN", "A", length=99)], "(0010,0010) has 99 bytes"),
    ],
)
def test_what_is_refused(elements: list[bytes], reason: str) -> None:
    with pytest.raises(CannotRead) as caught:
        parse(b.part10(b.uids()) + b"".join(elements))
    assert reason in str(caught.value)


def test_nested_sequences() -> None:
    def nested(levels: int) -> bytes:
        content = b""
        for _ in range(levels):
            content = b.sequence(0x00081115, content)
        return b.part10([*b.uids(), content])

    assert len(flat(parse(nested(100)).elements)) == 103
    for levels in (400, 3000):
        with pytest.raises(CannotRead, match=r"\(0008,1115\) is nested deeper than 128 levels"):
            parse(nested(levels))


@pytest.mark.parametrize(
    "declared", ["ISO_IR\x00100", "rot13", "utf-16", "nonsense", "ISO_IR 192\\nonsense", "\\\\", "ISO-IR 192"]
)
def test_a_character_set_that_is_none(tmp_path: Path, declared: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b.part10([*b.uids(), b.element(0x00080005, "CS", declared), b.element(0x00100020, "LO", b"Bj\xc3\xb8rn")]))
    writing.write(read_dataset(path), tmp_path / "written")
    assert flat(read(tmp_path / "written").elements) == flat(read(path).elements)
    dataset = read_dataset(path)
    assert dataset.PatientID.startswith("Bj")
    dataset.PatientID = "other"
    writing.write(dataset, tmp_path / "written")
    assert read(tmp_path / "written").elements[0x00100020].text == "other"


def test_an_element_that_is_there_twice_with_the_same_value() -> None:
    name = b.element(0x00100010, "PN", "A")
    assert parse(b.part10(b.uids()) + name + name).elements[0x00100010].text == "A"
    sequence = b.sequence(0x00081115, name)
    assert len(parse(b.part10(b.uids()) + sequence + sequence).elements[0x00081115].items or ()) == 1
    with pytest.raises(CannotRead, match="twice, with different values"):
        parse(b.part10(b.uids()) + sequence + b.sequence(0x00081115, name, name))


def test_a_uid_with_blanks_is_written_as_it_stood(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b.part10(b.uids(instance=" 1.2.3.4")))
    writing.write(read_dataset(path), tmp_path / "written")
    assert read(tmp_path / "written").elements[b.INSTANCE].value == b" 1.2.3.4"
    assert read(tmp_path / "written").meta[0x00020003].text == "1.2.3.4"


@pytest.mark.parametrize("undefined", [False, True])
def test_an_item_without_value_representations_where_all_else_has_them(undefined: bool) -> None:
    content = b"\x09\0\x10\0\x04\0\0\0priv" + b"\x10\0\x10\0\x08\0\0\0Doe^Jane"
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF if undefined else len(content)) + content
    item += struct.pack("<HHI", 0xFFFE, 0xE00D, 0) if undefined else b""
    head = struct.pack("<HH2sHI", 0x0041, 0x1001, b"SQ", 0, len(item))
    found = parse(b.part10([*b.uids(), head + item])).elements[0x00411001].items
    assert found is not None
    assert [(each.vr, each.value) for each in found[0].elements.values()] == [("LO", b"priv"), ("PN", b"Doe^Jane")]
