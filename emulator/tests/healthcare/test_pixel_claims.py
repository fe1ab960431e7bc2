"""Whatever a file says of its pixels, there is a picture of the size that it says, or a reason. ``FUZZ`` multiplies the examples."""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path
from typing import Any

import pydicom
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gcp_dicom_emulator.healthcare.dicom import jpeg
from gcp_dicom_emulator.healthcare.dicom.frames import NoSuchFrame
from gcp_dicom_emulator.healthcare.dicom.pixels import CannotRender
from gcp_dicom_emulator.healthcare.dicom.transcoding import raw_frames
from tests.healthcare.dicom_bytes import element, encapsulated, part10, sequence, uids
from tests.healthcare.images import gradient
from tests.healthcare.test_pixels import EXPLICIT, IMPLICIT, RLE, converted, shown

FUZZ = int(os.environ.get("FUZZ", "1"))
NUMBERS = st.sampled_from(
    [struct.pack("<H", number) for number in (0, 1, 2, 3, 4, 7, 8, 11, 12, 15, 16, 17, 32, 64, 255, 0xFFFF)] + [b""]
)
TEXTS = st.sampled_from(["", "0", "1", "2", "-1", "1.5", "1e3", "9999999999", "nan", "abc", "1\\2", "\\1"])
CLAIMS: dict[tuple[int, str], Any] = {
    **{
        (tag, "US"): NUMBERS
        for tag in (
            0x00280002,
            0x00280006,
            0x00280010,
            0x00280011,
            0x00280100,
            0x00280101,
            0x00280102,
            0x00280103,
            0x00280120,
            0x00280121,
        )
    },
    **{(tag, "DS"): TEXTS for tag in (0x00281050, 0x00281051, 0x00281052, 0x00281053)},
    (0x00280008, "IS"): TEXTS,
    (0x00281056, "CS"): st.sampled_from(["LINEAR", "SIGMOID", "LINEAR_EXACT", "X", ""]),
    (0x00280004, "CS"): st.sampled_from(
        ["MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "CMYK", ""]
    ),
    **{(tag, "US"): st.lists(NUMBERS, max_size=4).map(b"".join) for tag in (0x00281101, 0x00281102, 0x00281103)},
    **{(tag, "OW"): st.binary(max_size=16) for tag in (0x00281201, 0x00281202, 0x00281203)},
}
TABLES = st.tuples(
    st.lists(NUMBERS, min_size=2, max_size=4).map(b"".join), st.sampled_from(["US", "OW"]), st.binary(max_size=16)
).map(lambda table: element(0x00283002, "US", table[0]) + element(0x00283006, table[1], table[2]))


@st.composite
def claims(draw: st.DrawFn) -> bytes:
    """An image of eight by eight words that says anything of itself."""
    said = {
        (0x00280002, "US"): b"\1\0",
        (0x00280004, "CS"): "MONOCHROME2",
        (0x00280010, "US"): b"\x08\0",
        (0x00280011, "US"): b"\x08\0",
        (0x00280100, "US"): b"\x10\0",
        (0x00280101, "US"): b"\x0c\0",
        (0x00280102, "US"): b"\x0b\0",
        (0x00280103, "US"): b"\1\0",
    }
    for key in draw(st.lists(st.sampled_from(sorted(CLAIMS)), max_size=4, unique=True)):
        said[key] = draw(CLAIMS[key])
    elements = [*uids(), element(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.2")]
    elements += [element(tag, vr, value) for (tag, vr), value in said.items()]
    for tag in draw(st.lists(st.sampled_from([0x00283000, 0x00283010]), unique=True)):
        elements.append(sequence(tag, draw(TABLES)))
    kind = draw(st.sampled_from([(0x7FE00010, "OW"), (0x7FE00010, "OB"), (0x7FE00008, "OF"), (0x7FE00009, "OD")]))
    if draw(st.booleans()):
        elements.append(encapsulated(b"", draw(st.binary(max_size=100)), jpeg.encode_frame(gradient(8, 8), jpeg.LS_LOSSLESS, 8)))
    else:
        elements.append(element(*kind, draw(st.sampled_from([bytes(range(128)), bytes(64), b"", bytes(384)]))))
    return part10(elements, draw(st.sampled_from([EXPLICIT, RLE, jpeg.LS_LOSSLESS, jpeg.BASELINE])))


@given(data=claims(), syntax=st.sampled_from([IMPLICIT, RLE, *jpeg.MAX_BITS]))
@settings(
    max_examples=200 * FUZZ,
    derandomize=FUZZ == 1,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_whatever_a_file_says_of_its_pixels(tmp_path: Path, data: bytes, syntax: str) -> None:
    path = tmp_path / "image.dcm"
    path.write_bytes(data)
    with contextlib.suppress(CannotRender, NoSuchFrame):
        picture = shown(path)
        dataset = pydicom.dcmread(path)
        assert picture.shape[:2] == (dataset.Rows, dataset.Columns)
    frames: list[bytes] = []
    with contextlib.suppress(Exception):  # codecs raise what they like
        frames = list(raw_frames(path, EXPLICIT))
    if frames:
        assert len(frames) == max(1, int(pydicom.dcmread(path).get("NumberOfFrames") or 1))
    after = None
    with contextlib.suppress(Exception):
        after = converted(path, syntax)
    if after is not None and "PixelData" in after and not after["PixelData"].is_undefined_length:
        assert len(after.PixelData) >= after.Rows * after.Columns * after.SamplesPerPixel * after.BitsAllocated // 8
