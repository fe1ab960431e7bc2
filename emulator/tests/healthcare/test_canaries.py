"""Nothing that de-identification removes is left anywhere in the file.

Each example hides canaries, values that nothing else has, at any depth and in any value representation, in elements that the
configuration wants away. None of them may be in the bytes of the result. ``FUZZ`` multiplies the number of examples.
"""

from __future__ import annotations

import io
import os
import zlib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import DataElement, Dataset, dcmwrite
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from gcp_dicom_emulator.healthcare.operations.deidentify import Job, NewUids, deidentify
from gcp_dicom_emulator.healthcare.operations.deidentify_rules import parse_config
from tests.healthcare.conftest import instance

pytestmark = pytest.mark.slow

FUZZ = int(os.environ.get("FUZZ", "1"))
RELAXED = settings(
    max_examples=50 * FUZZ,
    derandomize=FUZZ == 1,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))

#: By value representation. Numbers of a few bytes are none: any file may have those.
CANARIES: dict[str, Any] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"), "CANARY_JANE"),
    **dict.fromkeys(("OB", "OD", "OF", "OL", "OV", "OW", "UN"), b"CANARY_J" * 2),
    "AS": "077Y",
    "DA": "19770707",
    "DS": "770770.5",
    "DT": "19770707070707",
    "IS": "770770770",
    "TM": "070707.77",
    "UI": "1.2.770770.7",
}
TEXTS = sorted({value if isinstance(value, bytes) else value.encode() for value in CANARIES.values()})
#: Elements that may have anything, unless what they are in is to go: (0008,0104) Code Meaning and the like.
HARMLESS = {"LO": 0x00080104, "CS": 0x0040A040, "UT": 0x0040A160, "DS": 0x0040A30A, "OB": 0x00282000}
#: Sequences whose items stay: two that table E.1-1 of PS3.15 does not have, and one with X/Z/U*.
OPEN = (0x52009229, 0x0040A168, 0x00081140)


@cache
def table() -> list[int]:
    """The tags of table E.1-1, some of those that repeat, and private ones."""
    text = resources.files("gcp_dicom_emulator.healthcare.operations").joinpath("basic_profile.tsv").read_text()
    rows = [int(tag, 16) for tag, _, _ in (line.partition("\t") for line in text.splitlines()) if "x" not in tag]
    return [*(tag for tag in rows if tag >> 16 > 2), 0x50020010, 0x60024000, 0x60FE3000, 0x00091001, 0x7FE11010]


def element(tag: int, vr: str, value: Any) -> DataElement:
    made = DataElement(tag, vr, value, already_converted=vr == "UN")
    made.VR = vr  # pydicom replaces UN by what it knows
    return made


def item(*elements: DataElement) -> Dataset:
    made = Dataset()
    for each in elements:
        made[each.tag] = each
    return made


def as_unknown(sequence: list[Dataset]) -> bytes:
    """A sequence as the value of an element of the value representation UN. Source: PS3.5, 6.2.2, note 4."""
    value = b""
    for each in sequence:
        file = DicomBytesIO()
        file.is_implicit_VR = file.is_little_endian = True
        write_dataset(file, each)
        value += b"\xfe\xff\x00\xe0" + len(file.getvalue()).to_bytes(4, "little") + file.getvalue()
    return value


@st.composite
def canaries(draw: st.DrawFn, tag: int, syntax: str) -> DataElement:
    """An element with a canary, of its own value representation or, where files say which, of another."""
    known = dictionary_VR(tag) if dictionary_has_tag(tag) else "LO"
    others = [] if syntax == IMPLICIT else ["UN", "SQ", "LO", "OB", "UT"]
    vr = draw(st.sampled_from([*known.split(" or "), *others]))
    if vr == "SQ" or (vr == "UN" and known == "SQ"):
        inner = draw(st.sampled_from(sorted(HARMLESS)))
        sequence = [item(element(HARMLESS[inner], inner, CANARIES[inner]))]
        if draw(st.booleans()):
            sequence = [item(), item(element(OPEN[0], "SQ", sequence))]
        return element(tag, vr, sequence if vr == "SQ" else as_unknown(sequence))
    return element(tag, vr, CANARIES.get(vr, 7))


@st.composite
def files(draw: st.DrawFn, tags: list[int]) -> bytes:
    """An instance with canaries in elements of the tags, at any depth."""
    dataset = instance("1.2", "1.2.3", "1.2.3.4")
    syntax = dataset.file_meta.TransferSyntaxUID = draw(st.sampled_from((IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN)))
    for tag in draw(st.lists(st.sampled_from(tags), min_size=1, max_size=5, unique=True)):
        made = draw(canaries(tag, syntax))
        for around in draw(st.lists(st.sampled_from(OPEN), max_size=3)):
            made = element(around, "SQ", [item(made)])
        dataset[made.tag] = made
    file = io.BytesIO()
    dcmwrite(file, dataset, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG_ENDIAN, force_encoding=True)
    return file.getvalue()


def left(folder: Path, data: bytes, config: dict[str, Any]) -> list[bytes]:
    """The canaries that are in a file once it is de-identified."""
    (folder / "source").write_bytes(data)
    rules = parse_config(config)
    deidentify(Job(folder / "source", folder / "target", ()), rules, NewUids("secret"))
    made = (folder / "target").read_bytes()
    if DEFLATED.encode() in made:
        begin = 144 + int.from_bytes(made[140:144], "little")  # the length of the file meta information
        made = made[:begin] + zlib.decompress(made[begin:], -zlib.MAX_WBITS)
    return [text for text in TEXTS if text in made]


def chosen() -> list[int]:
    """Every third tag of the table, but for what an image cannot do without."""
    return [tag for tag in table()[::3] if tag >> 16 not in (0x0004, 0x0008, 0x0020)]


def listed() -> dict[str, list[str]]:
    return {"tags": [f"{tag:08X}" for tag in chosen()]}


@given(data=st.deferred(lambda: files(table())))
@RELAXED
def test_the_basic_profile(tmp_path: Path, data: bytes) -> None:
    config = {"dicom": {"filterProfile": "ATTRIBUTE_CONFIDENTIALITY_BASIC_PROFILE"}}
    assert left(tmp_path, data, config) == []


@given(data=st.deferred(lambda: files(chosen())))
@RELAXED
def test_the_basic_profile_that_keeps_identifiers(tmp_path: Path, data: bytes) -> None:
    config = {"dicom": {"filterProfile": "ATTRIBUTE_CONFIDENTIALITY_BASIC_PROFILE", "skipIdRedaction": True}}
    assert left(tmp_path, data, config) == []


@pytest.mark.parametrize(
    "config",
    [
        {"dicom": {"filterProfile": "MINIMAL_KEEP_LIST_PROFILE"}},
        {"dicom": {"keepList": {"tags": ["Modality", "BodyPartExamined"]}}},
        {"dicomTagConfig": {"profileType": "MINIMAL_KEEP_LIST_PROFILE"}},
    ],
    ids=str,
)
@given(data=st.deferred(lambda: files([*table(), *HARMLESS.values()])))
@RELAXED
def test_what_is_on_no_list_of_what_to_keep(tmp_path: Path, config: dict[str, Any], data: bytes) -> None:
    assert left(tmp_path, data, config) == []


@given(data=st.deferred(lambda: files(chosen())))
@RELAXED
def test_a_list_of_what_to_remove(tmp_path: Path, data: bytes) -> None:
    assert left(tmp_path, data, {"dicom": {"removeList": listed()}}) == []


@pytest.mark.parametrize("action", ["deleteTag", "removeTag", "resetTag", "regenUidTag"])
@given(data=st.deferred(lambda: files(chosen())))
@RELAXED
def test_actions_of_tags(tmp_path: Path, action: str, data: bytes) -> None:
    config = {"profileType": "KEEP_ALL_PROFILE", "actions": [{"queries": listed()["tags"], action: {}}]}
    assert left(tmp_path, data, {"dicomTagConfig": config}) == []
