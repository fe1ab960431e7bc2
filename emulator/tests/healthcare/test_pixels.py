"""Pixels: pictures, frames and other transfer syntaxes.

The expected values are those that PS3.3 and PS3.5 say, worked out by hand; dcmtk's dcm2pnm agrees where nothing else is said.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import imagecodecs
import numpy
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate

from gcp_dicom_emulator.healthcare.dicom import jpeg
from gcp_dicom_emulator.healthcare.dicom.pixels import CannotRender, pictures, rendered
from gcp_dicom_emulator.healthcare.dicom.transcoding import convert, raw_frames
from tests.healthcare.conftest import encoded
from tests.healthcare.images import gradient, image

IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))
RLE = "1.2.840.10008.1.2.5"


def saved(folder: Path, dataset: FileDataset, syntax: str = "") -> Path:
    """A data set as a file.

    :param syntax: what it is to be in, whatever it is in; its words must be as they are to stand there.
    """
    path = folder / "image.dcm"
    if syntax:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        pydicom.dcmwrite(path, dataset, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG_ENDIAN, force_encoding=True)
    else:
        path.write_bytes(encoded(dataset))
    return path


def shown(path: Path, number: int = 1, size: tuple[int, int] | None = None) -> Any:
    """A frame's picture as an array."""
    return numpy.asarray(Image.open(io.BytesIO(rendered(path, number, "image/png", size))))


def converted(path: Path, syntax: str) -> FileDataset:
    target = path.with_name("converted.dcm")
    convert(path, target, syntax)
    return pydicom.dcmread(target)


def items(**elements: Any) -> list[Dataset]:
    """A sequence of one item."""
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return [item]


# Pictures

RAMP = numpy.arange(0, 256, 36, "uint8").reshape(1, 8)


@pytest.mark.parametrize("syntax", ["", RLE, jpeg.LOSSLESS, jpeg.LS_LOSSLESS, jpeg.JPEG_2000_LOSSLESS])
def test_case_18_signed_words_of_twelve_bits(tmp_path: Path, syntax: str) -> None:
    """Bits above BitsStored are not those of a value, whatever decoder gave the words."""
    words = numpy.array([[0x0C18, 0x0FFF, 0x0000, 0x0005, 0x03E8, 0x07FF]], "uint16")
    path = saved(tmp_path, image(words, BitsStored=12, PixelRepresentation=1))
    if syntax:
        convert(path, path, syntax)
    assert shown(path).tolist() == [[0, 83, 83, 84, 167, 255]]


def test_case_18_jpeg_ls_of_words_that_are_not_extended(tmp_path: Path) -> None:
    """As dcmcjpls writes them: the precision is that of BitsStored, and no sign is in the words."""
    words = numpy.array([[0x0C18, 0x0FFF, 0x0000, 0x0005, 0x03E8, 0x07FF]] * 32, "uint16")
    dataset = image(words, BitsStored=12, PixelRepresentation=1)
    dataset.PixelData = encapsulate([jpeg.encode_frame(words, jpeg.LS_LOSSLESS, 12)])
    dataset["PixelData"].is_undefined_length = True
    path = saved(tmp_path, dataset, jpeg.LS_LOSSLESS)
    assert shown(path)[0].tolist() == [0, 83, 83, 84, 167, 255]


def test_values_end_at_the_high_bit(tmp_path: Path) -> None:
    words = numpy.array([[0x000F, 0x7FFF, 0x800F, 0xFFF0]], "uint16")
    path = saved(tmp_path, image(words, BitsStored=12, HighBit=15))
    assert shown(path).tolist() == [[0, 127, 127, 255]]


@pytest.mark.parametrize("order", ["planes", RLE, jpeg.LOSSLESS, jpeg.JPEG_2000_LOSSLESS])
def test_colours_in_any_order(tmp_path: Path, order: str) -> None:
    """Planes of a colour each, as run-length coding has them, are not a picture until they are put together."""
    colours = gradient(33, 40, samples=3)
    if order == "planes":
        dataset = image(colours, PlanarConfiguration=1)
        dataset.PixelData = colours.transpose(2, 0, 1).tobytes()
        path = saved(tmp_path, dataset)
    else:
        path = saved(tmp_path, image(colours))
        convert(path, path, order)
    assert (shown(path) == colours).all()
    assert (shown(path, size=(20, 20)).shape) == (16, 20, 3)
    assert Image.open(io.BytesIO(rendered(path, 1, "image/jpeg"))).size == (40, 33)
    assert [numpy.asarray(Image.open(io.BytesIO(picture))).tolist() for picture in pictures(path, "image/png")] == [
        colours.tolist()
    ]


def test_frames_whose_pixels_share_their_chrominance(tmp_path: Path) -> None:
    """Two pixels have two bytes of luminance and one each of the chrominances (PS3.3, C.7.6.3.1.2)."""
    luminance = gradient(3 * 4, 6).reshape(3, 4, 6)
    grey = numpy.full((3, 4, 3, 2), 128, "uint8")
    shared = numpy.concatenate([luminance.reshape(3, 4, 3, 2), grey], axis=3)
    pixels = numpy.repeat(luminance[..., None], 3, axis=3)
    dataset = image(pixels, frames=3, PhotometricInterpretation="YBR_FULL_422")
    dataset.PixelData = shared.tobytes()
    path = saved(tmp_path, dataset)
    found = [numpy.asarray(Image.open(io.BytesIO(picture))) for picture in pictures(path, "image/png")]
    assert (numpy.stack(found) == pixels).all()
    for syntax in (RLE, jpeg.JPEG_2000_LOSSLESS):
        copy = converted(path, syntax)
        assert copy.PhotometricInterpretation == ("YBR_FULL" if syntax == RLE else "RGB")
        assert (copy.pixel_array == pixels).all()
    streams = raw_frames(path, jpeg.JPEG_2000_LOSSLESS, [3, 1])
    assert [imagecodecs.jpeg2k_decode(stream).tolist() for stream in streams] == [pixels[2].tolist(), pixels[0].tolist()]


@pytest.mark.parametrize("where", ["shared", "frame", "classic"])
def test_case_19_functional_groups(tmp_path: Path, where: str) -> None:
    """A window of 40/400 over values that are stored with an offset of 1024."""
    voi, rescaling = {"WindowCenter": 40, "WindowWidth": 400}, {"RescaleSlope": 1, "RescaleIntercept": -1024}
    groups = items(FrameVOILUTSequence=items(**voi), PixelValueTransformationSequence=items(**rescaling))
    elements: dict[str, Any] = {**voi, **rescaling}
    if where == "shared":
        elements = {"SharedFunctionalGroupsSequence": groups}
    elif where == "frame":
        others = items(
            FrameVOILUTSequence=items(WindowCenter=0, WindowWidth=1), PixelValueTransformationSequence=items(**rescaling)
        )
        elements = {"PerFrameFunctionalGroupsSequence": [*others, *groups]}
    words = numpy.array([[1024, 1088, 0, 4000]], "uint16")
    path = saved(tmp_path, image(numpy.stack([words, words]), frames=2, **elements))
    assert shown(path, 2).tolist() == [[102, 143, 0, 255]]


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_case_20_a_table_of_values_of_interest(tmp_path: Path, syntax: str) -> None:
    table = items(LUTDescriptor=[256, 0, 8], LUTData=list(range(255, -1, -1)))
    for element, vr in (("LUTDescriptor", "US"), ("LUTData", "US")):
        table[0][element].VR = vr
    dataset = image(RAMP, VOILUTSequence=table)
    assert shown(saved(tmp_path, dataset, syntax)).tolist() == (255 - RAMP).tolist()


def test_case_20_a_table_for_signed_values(tmp_path: Path) -> None:
    """What is below the first value that a table maps has the first entry, what is above the last one has that."""
    table = items(LUTDescriptor=[4, 0x10000 - 2, 16], LUTData=[0, 0x4000, 0x8000, 0xFFFF])
    for element in table[0]:
        element.VR = "US"
    words = numpy.array([[-100, -2, -1, 0, 1, 100]], "int16")
    assert shown(saved(tmp_path, image(words, VOILUTSequence=table))).tolist() == [[0, 0, 63, 127, 255, 255]]


@pytest.mark.parametrize(
    ("function", "width", "expected"),
    [
        ("LINEAR", 101, [0, 1, 103, 128, 255, 255]),
        ("LINEAR_EXACT", 100, [0, 0, 102, 127, 255, 255]),
        ("SIGMOID", 100, [4, 30, 102, 127, 224, 250]),
        ("LINEAR", 1, [0, 0, 0, 255, 255, 255]),
        (None, 101, [0, 1, 103, 128, 255, 255]),
    ],
)
def test_case_20_functions_of_a_window(tmp_path: Path, function: str | None, width: float, expected: list[int]) -> None:
    words = numpy.array([[0, 50, 90, 100, 150, 200]], "uint8")
    dataset = image(words, WindowCenter=100, WindowWidth=width, **({"VOILUTFunction": function} if function else {}))
    assert shown(saved(tmp_path, dataset)).tolist() == [expected]


@pytest.mark.parametrize("elements", [{"WindowWidth": 0}, {"WindowWidth": 100, "VOILUTFunction": "CUBIC"}])
def test_windows_that_say_nothing(tmp_path: Path, elements: dict[str, Any]) -> None:
    path = saved(tmp_path, image(RAMP, WindowCenter=100, **elements))
    with pytest.raises(CannotRender, match=r"WindowWidth|VOILUTFunction"):
        shown(path)


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("vr", ["US", "OW"])
def test_packed_modality_tables(tmp_path: Path, vr: str, syntax: str) -> None:
    """256 entries of eight bits in 128 words (PS3.3, C.11.1.1.1)."""
    entries = numpy.arange(255, -1, -1, "uint8")
    words = entries.view("<u2")
    value: Any = words.tolist() if vr == "US" else words.astype(">u2" if syntax == BIG_ENDIAN else "<u2").tobytes()
    table = items(LUTDescriptor=[256, 0, 8], LUTData=value, ModalityLUTType="US")
    table[0]["LUTDescriptor"].VR, table[0]["LUTData"].VR = "US", vr
    assert (
        shown(saved(tmp_path, image(RAMP, ModalityLUTSequence=table), syntax)).tolist()
        == ((numpy.float64(255 - RAMP) - 3) / 252 * 255).astype("uint8").tolist()
    )


@pytest.mark.parametrize(
    ("photometric", "shape", "inverse"),
    [("MONOCHROME2", "INVERSE", True), ("MONOCHROME1", "IDENTITY", False), ("MONOCHROME1", "INVERSE", True)],
)
def test_the_shape_of_a_presentation_table(tmp_path: Path, photometric: str, shape: str, inverse: bool) -> None:
    """It says what the photometric interpretation says where there is none (PS3.3, C.11.6.1.2)."""
    dataset = image(RAMP, PhotometricInterpretation=photometric, PresentationLUTShape=shape, WindowCenter=128, WindowWidth=256)
    assert shown(saved(tmp_path, dataset)).tolist() == ((255 - RAMP) if inverse else RAMP).tolist()


def test_a_table_that_is_too_short(tmp_path: Path) -> None:
    table = items(LUTDescriptor=[256, 0, 16], LUTData=[1, 2, 3])
    for element in table[0]:
        element.VR = "US"
    with pytest.raises(CannotRender, match="a table has 6 bytes for 256 entries"):
        shown(saved(tmp_path, image(RAMP, ModalityLUTSequence=table)))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_no_value(tmp_path: Path, photometric: str) -> None:
    words = numpy.array([[-2000, -1000, 0, 1000]], "int16")
    dataset = image(words, PixelPaddingValue=-2000, PhotometricInterpretation=photometric)
    dataset["PixelPaddingValue"].VR = "SS"
    expected = [0, 0, 127, 255] if photometric == "MONOCHROME2" else [0, 255, 127, 0]
    assert shown(saved(tmp_path, dataset)).tolist() == [expected]


def test_a_range_of_padding(tmp_path: Path) -> None:
    words = numpy.array([[60000, 65535, 63000, 10, 20]], "uint16")
    dataset = image(words, PixelPaddingValue=65535, PixelPaddingRangeLimit=60000)
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        dataset[keyword].VR = "US"
    assert shown(saved(tmp_path, dataset)).tolist() == [[0, 0, 0, 0, 255]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_case_21_floats(tmp_path: Path, dtype: str) -> None:
    """Rendered, as frames, and refused where they are to be compressed."""
    floats = numpy.array([[-1.5, 0, numpy.nan, 1.5]], dtype)
    dataset = image(numpy.zeros((1, 4), "uint16"), PixelData=b"")
    del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    dataset.BitsAllocated = floats.itemsize * 8
    keyword = "FloatPixelData" if dtype == "float32" else "DoubleFloatPixelData"
    setattr(dataset, keyword, floats.tobytes())
    path = saved(tmp_path, dataset)
    assert shown(path).tolist() == [[0, 127, 0, 255]]
    assert list(raw_frames(path, "*")) == list(raw_frames(path, EXPLICIT)) == [floats.tobytes()]
    assert converted(path, IMPLICIT)[keyword].value == floats.tobytes()
    with pytest.raises(Exception, match=f"{keyword} of {floats.itemsize * 8} bits a sample cannot be compressed"):
        converted(path, RLE)


@pytest.mark.parametrize("syntax", ["*", EXPLICIT])
def test_case_22_frames_of_bits(tmp_path: Path, syntax: str) -> None:
    """Each frame begins at a whole byte, wherever its bits are in the pixel data."""
    bits = numpy.random.default_rng(1).integers(0, 2, (3, 10, 10)).astype("uint8")
    packed = numpy.packbits(bits.ravel(), bitorder="little").tobytes()
    dataset = image(bits, frames=3, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=packed)
    path = saved(tmp_path, dataset)
    expected = [numpy.packbits(frame.ravel(), bitorder="little").tobytes() for frame in bits]
    assert list(raw_frames(path, syntax)) == expected
    assert list(raw_frames(path, syntax, [2])) == expected[1:2]
    assert (shown(path, 2) == bits[1] * 255).all()
    assert converted(path, IMPLICIT).PixelData == packed
    for compressed in (RLE, jpeg.LS_LOSSLESS):
        with pytest.raises(Exception, match="PixelData of 1 bits a sample cannot be compressed; it must be PixelData of 8 or 16"):
            converted(path, compressed)


# Transfer syntaxes


@pytest.mark.parametrize("syntax", [DEFLATED, BIG_ENDIAN, IMPLICIT, EXPLICIT])
def test_case_9_pictures_of_any_uncompressed_transfer_syntax(tmp_path: Path, syntax: str) -> None:
    words = gradient(9, 7, "uint16")
    stands = words.astype(">u2") if syntax == BIG_ENDIAN else words
    path = saved(tmp_path, image(stands), syntax)
    assert shown(path).tolist() == (words / words.max() * 255).astype("uint8").tolist()
    assert list(pictures(path, "image/png")) == [rendered(path, 1, "image/png")]
    assert list(raw_frames(path, EXPLICIT)) == [words.tobytes()]
    assert (converted(path, jpeg.JPEG_2000_LOSSLESS).pixel_array == words).all()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN, IMPLICIT, DEFLATED])
def test_case_10_palettes(tmp_path: Path, syntax: str, bits: int) -> None:
    """Three tables of four entries; those of eight bits are packed in words."""
    order = ">u2" if syntax == BIG_ENDIAN else "<u2"
    dataset = image(numpy.array([[0, 1, 2, 3]], "uint8"), PhotometricInterpretation="PALETTE COLOR")
    if syntax == BIG_ENDIAN:
        dataset.PixelData, dataset["PixelData"].VR = bytes((1, 0, 3, 2)), "OW"
    colours = {"Red": [0, 85, 170, 255], "Green": [255, 170, 85, 0], "Blue": [7, 6, 5, 4]}
    for name, entries in colours.items():
        words = numpy.array(entries, "uint8").view("<u2") if bits == 8 else numpy.array(entries, "uint16") << 8
        dataset.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [4, 0, bits])
        dataset.add_new(f"{name}PaletteColorLookupTableData", "OW", words.astype(order).tobytes())
    path = saved(tmp_path, dataset, syntax)
    assert shown(path).tolist() == [[list(colour) for colour in zip(*colours.values(), strict=True)]]
    convert(path, path.with_name("little"), EXPLICIT)
    assert shown(path.with_name("little")).tolist() == shown(path).tolist()


LOSSLESS = (RLE, jpeg.LOSSLESS, jpeg.LOSSLESS_FIRST_ORDER, jpeg.LS_LOSSLESS, jpeg.JPEG_2000_LOSSLESS)
LOSSY = {jpeg.BASELINE: 12, jpeg.EXTENDED: 12, jpeg.LS_NEAR_LOSSLESS: 2, jpeg.JPEG_2000: 12}
SHAPES = [(1, 1), (1, 2), (2, 1), (3, 3), (5, 31), (8, 8), (16, 16), (31, 31), (512, 16), (33, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_case_11_small_images_in_every_codec(tmp_path: Path, syntax: str, shape: tuple[int, int]) -> None:
    random = numpy.random.default_rng(1)
    for dtype, bits, samples in (
        ("uint8", 8, 1),
        ("uint16", 12, 1),
        ("int16", 16, 1),
        ("int16", 12, 1),
        ("uint16", 8, 1),
        ("uint8", 8, 3),
    ):
        least = -(1 << bits - 1) if dtype == "int16" else 0
        size = shape if samples == 1 else (*shape, samples)
        pixels = random.integers(least, least + (1 << bits), size).astype(dtype)
        after = converted(saved(tmp_path, image(pixels, BitsStored=bits)), syntax)
        assert after.file_meta.TransferSyntaxUID == syntax
        assert (after.pixel_array == pixels).all(), (dtype, bits, samples)
        assert next(raw_frames(tmp_path / "converted.dcm", EXPLICIT))


@pytest.mark.parametrize(
    ("syntax", "dtype", "samples"),
    [
        (RLE, "uint32", 1),
        (RLE, "uint32", 3),
        *((syntax, "uint16", 3) for syntax in (RLE, jpeg.LS_LOSSLESS, jpeg.JPEG_2000_LOSSLESS)),
    ],
)
def test_long_samples_without_loss(tmp_path: Path, syntax: str, dtype: str, samples: int) -> None:
    pixels = numpy.random.default_rng(1).integers(0, 1 << numpy.dtype(dtype).itemsize * 8, (20, 30, samples), dtype)
    pixels = pixels if samples > 1 else pixels[..., 0]
    after = converted(saved(tmp_path, image(pixels)), syntax)
    assert (after.pixel_array == pixels).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("syntax", "loss"), LOSSY.items())
def test_case_11_small_images_with_loss(tmp_path: Path, syntax: str, loss: int, shape: tuple[int, int]) -> None:
    for pixels in (gradient(*shape) // 64 + 200, numpy.full((*shape, 3), 255, "uint8")):
        after = converted(saved(tmp_path, image(pixels)), syntax)
        assert abs(after.pixel_array.astype(int) - pixels).max() <= loss
        assert after.LossyImageCompression == "01"


@pytest.mark.parametrize("syntax", [jpeg.LS_LOSSLESS, jpeg.LS_NEAR_LOSSLESS, jpeg.JPEG_2000_LOSSLESS, jpeg.LOSSLESS])
@pytest.mark.parametrize(("bits", "allocated"), [(8, 8), (9, 16), (12, 16), (16, 16)])
def test_the_precision_of_a_stream_is_that_of_its_words(tmp_path: Path, syntax: str, bits: int, allocated: int) -> None:
    """Readers take a word of a stream of eight bits or less for a byte: dcmdjpls refuses it where BitsAllocated is 16."""
    pixels = numpy.full((64, 64), (1 << bits) - 1, "uint16")
    after = converted(saved(tmp_path, image(pixels, BitsStored=bits)), syntax)
    assert (after.BitsAllocated, after.BitsStored, after.HighBit) == (allocated, bits, bits - 1)
    assert after.pixel_array.max() <= (1 << bits) - 1
    assert after.pixel_array.min() >= (1 << bits) - 3


@pytest.mark.parametrize(("syntax", "bits", "stored"), [(jpeg.BASELINE, 5, 8), (jpeg.EXTENDED, 8, 8), (jpeg.EXTENDED, 10, 12)])
def test_lossy_jpeg_has_eight_or_twelve_bits(tmp_path: Path, syntax: str, bits: int, stored: int) -> None:
    pixels = numpy.random.default_rng(1).integers(0, 1 << bits, (32, 32)).astype("uint16")
    after = converted(saved(tmp_path, image(pixels, BitsStored=bits)), syntax)
    assert (after.BitsStored, after.HighBit) == (stored, stored - 1)
    assert abs(after.pixel_array.astype(int) - pixels).max() < 8


@pytest.mark.parametrize("bits", [5, 12, 16])
def test_what_is_lost_changes_no_sign(tmp_path: Path, bits: int) -> None:
    pixels = numpy.random.default_rng(1).integers(-(1 << bits - 1), 1 << bits - 1, (64, 64)).astype("int16")
    after = converted(saved(tmp_path, image(pixels, BitsStored=bits)), jpeg.LS_NEAR_LOSSLESS)
    found = after.pixel_array.astype(int)
    assert abs(found - pixels).max() <= 2


def test_streams_have_eight_bits_at_least(tmp_path: Path) -> None:
    """dcmdjpls does not read others. The precision is the first byte of a frame's header (ITU T.87)."""
    data = converted(saved(tmp_path, image(gradient(64, 64) & 31, BitsStored=5)), jpeg.LS_LOSSLESS).PixelData
    assert data[data.index(b"\xff\xf7") + 4] == 8


def test_words_above_the_stored_bits_are_kept_where_nothing_is_compressed(tmp_path: Path) -> None:
    words = numpy.array([[0xF00F, 0x1234]], "uint16")
    path = saved(tmp_path, image(words, BitsStored=12))
    assert next(raw_frames(path, "*")) == words.tobytes()
    assert converted(path, IMPLICIT).PixelData == words.tobytes()
    assert list(raw_frames(path, EXPLICIT)) == [words.tobytes()]
    assert (converted(path, jpeg.LS_LOSSLESS).pixel_array == (words & 0xFFF)).all()


def test_an_overlay_in_the_pixels_is_not_lost(tmp_path: Path) -> None:
    dataset = image(numpy.array([[0x1001, 0x0002]], "uint16"), BitsStored=12)
    for tag, value in ((0x60000010, 1), (0x60000011, 2), (0x60000100, 16), (0x60000102, 12)):
        dataset.add_new(tag, "US", value)
    path = saved(tmp_path, dataset)
    with pytest.raises(Exception, match="overlays"):
        converted(path, jpeg.LS_LOSSLESS)
    assert converted(path, DEFLATED).PixelData == dataset.PixelData


def test_pixels_that_are_cut_short(tmp_path: Path) -> None:
    dataset = image(gradient(64, 64, "uint16"))
    dataset.PixelData = dataset.PixelData[:-1000]
    path = saved(tmp_path, dataset)
    for syntax in (IMPLICIT, DEFLATED, RLE, jpeg.JPEG_2000_LOSSLESS):
        with pytest.raises(Exception, match=r"7192|insufficient|expected"):
            converted(path, syntax)
    with pytest.raises(CannotRender):
        shown(path)


@pytest.mark.parametrize("missing", ["Rows", "BitsAllocated"])
def test_what_nobody_can_count_is_converted_as_it_stands(tmp_path: Path, missing: str) -> None:
    dataset = image(RAMP)
    del dataset[missing]
    path = saved(tmp_path, dataset)
    assert converted(path, IMPLICIT).PixelData == dataset.PixelData
    with pytest.raises(Exception, match=missing):
        converted(path, RLE)


@pytest.mark.parametrize("wanted", [IMPLICIT, RLE, jpeg.LS_LOSSLESS])
def test_pixels_that_are_empty(tmp_path: Path, wanted: str) -> None:
    path = saved(tmp_path, image(RAMP, PixelData=b""))
    with pytest.raises(Exception, match="PixelData is empty"):
        converted(path, wanted)
    with pytest.raises(Exception, match="PixelData is empty"):
        list(raw_frames(path, "*"))
    with pytest.raises(CannotRender, match="PixelData is empty"):
        shown(path)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.8.1", "1.2.3.4"])
def test_case_15_what_has_no_codec_says_so(tmp_path: Path, syntax: str) -> None:
    dataset = image(gradient(8, 8), PixelData=encapsulate([b"what a codec makes"]))
    dataset["PixelData"].is_undefined_length = True
    path = saved(tmp_path, dataset, syntax)
    reason = f"no codec for the transfer syntax {syntax}"
    with pytest.raises(Exception, match=reason):
        converted(path, EXPLICIT)
    with pytest.raises(Exception, match=reason):
        list(raw_frames(path, EXPLICIT))
    with pytest.raises(CannotRender, match=reason):
        shown(path)
    assert list(raw_frames(path, "*")) == [b"what a codec makes"]


def test_fragments_in_a_transfer_syntax_without(tmp_path: Path) -> None:
    dataset = image(gradient(8, 8), PixelData=encapsulate([bytes(64)] * 4))
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    path = saved(tmp_path, dataset, RLE)
    path.write_bytes(path.read_bytes().replace(RLE.encode(), EXPLICIT.encode()))
    for attempt in (lambda: list(raw_frames(path, EXPLICIT)), lambda: converted(path, IMPLICIT), lambda: shown(path)):
        with pytest.raises(Exception, match="in fragments"):
            attempt()


@pytest.mark.parametrize("syntax", [RLE, jpeg.LS_LOSSLESS])
def test_frames_that_are_missing(tmp_path: Path, syntax: str) -> None:
    path = saved(tmp_path, image(numpy.stack([gradient(40, 40)] * 2), frames=2))
    convert(path, path, syntax)
    dataset = pydicom.dcmread(path)
    dataset.NumberOfFrames = 3
    dataset.save_as(path)
    with pytest.raises(CannotRender):
        list(pictures(path, "image/png"))
    for raw in (EXPLICIT, "*"):
        with pytest.raises(Exception, match="frames"):
            list(raw_frames(path, raw))
    for wanted in (IMPLICIT, RLE):
        with pytest.raises(Exception, match="frames"):
            converted(path, wanted)


@pytest.mark.parametrize("syntax", [EXPLICIT, RLE, jpeg.JPEG_2000_LOSSLESS])
def test_an_extended_offset_table_ends_with_its_fragments(tmp_path: Path, syntax: str) -> None:
    pixels = numpy.stack([gradient(40, 40), gradient(40, 40).T])
    dataset = image(pixels, frames=2)
    dataset.compress(pydicom.uid.RLELossless, generate_instance_uid=False, encapsulate_ext=True)
    after = converted(saved(tmp_path, dataset), syntax)
    assert "ExtendedOffsetTable" not in after
    assert "ExtendedOffsetTableLengths" not in after
    assert (after.pixel_array == pixels).all()


@pytest.mark.parametrize("syntax", [IMPLICIT, jpeg.JPEG_2000_LOSSLESS])
def test_compressed_icons_are_decompressed_as_well(tmp_path: Path, syntax: str) -> None:
    """They were left in fragments of the old transfer syntax, which the header no longer says (PS3.5, A.4)."""
    small, dataset = image(gradient(8, 8)), image(gradient(16, 16))
    small.compress(pydicom.uid.RLELossless)
    dataset.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    dataset.IconImageSequence = items(**{element.keyword: element.value for element in small if element.tag.group == 0x28})
    dataset.IconImageSequence[0].add(small["PixelData"])
    after = converted(saved(tmp_path, dataset), syntax)
    assert not after.IconImageSequence[0]["PixelData"].is_undefined_length
    assert after.IconImageSequence[0].PixelData == gradient(8, 8).tobytes()
    assert (after.pixel_array == gradient(16, 16)).all()


@pytest.mark.parametrize(("earlier", "method"), [("10.5", "ISO_10918_1"), (["20", "10.5"], ["ISO_10918_1", "ISO_14495_1"])])
def test_what_was_lost_earlier_is_still_said(tmp_path: Path, earlier: Any, method: Any) -> None:
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": earlier, "LossyImageCompressionMethod": method}
    after = converted(saved(tmp_path, image(gradient(64, 64), **lossy)), jpeg.JPEG_2000)
    assert list(after.LossyImageCompressionMethod) == [*([method] if isinstance(method, str) else method), "ISO_15444_1"]
    assert after.LossyImageCompressionRatio[-2] == 10.5
    assert len(after.LossyImageCompressionRatio) == len(after.LossyImageCompressionMethod)


@pytest.mark.parametrize("keyword", ["BitsStored", "BitsAllocated", "Rows", "PhotometricInterpretation", "PixelRepresentation"])
def test_attributes_that_are_missing_are_named(tmp_path: Path, keyword: str) -> None:
    dataset = image(RAMP)
    del dataset[keyword]
    with pytest.raises(CannotRender, match=re.sub("(?<=[a-z])(?=[A-Z])", " ?", keyword)):
        shown(saved(tmp_path, dataset))


@pytest.mark.parametrize("syntax", [jpeg.LS_LOSSLESS, jpeg.JPEG_2000_LOSSLESS])
def test_luminance_and_chrominance_stay_without_loss(tmp_path: Path, syntax: str) -> None:
    pixels = gradient(40, 40, samples=3)
    after = converted(saved(tmp_path, image(pixels, PhotometricInterpretation="YBR_FULL")), syntax)
    assert after.PhotometricInterpretation == "YBR_FULL"
    assert (pydicom.pixels.pixel_array(after, raw=True) == pixels).all()
