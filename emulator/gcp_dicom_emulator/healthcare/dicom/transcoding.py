"""The formats of an export to Cloud Storage: other transfer syntaxes, raw frames, consumer images.

Sources: ``GcsDestination.mimeType`` of the Healthcare API; the limits in its DICOM conformance statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.healthcare.dicom import jpeg
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from pydicom import Dataset, FileDataset

_MIME_TYPE = re.compile(r'([a-z]+/[a-z-]+)(?:\s*;\s*transfer-syntax="?(\*|[0-9.]+)"?)?', re.IGNORECASE)
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_JPEG_LS_NEAR_LOSSLESS, _JPEG_2000 = "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91"
#: What the API converts to, in the order of its documentation.
_TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2",
    _EXPLICIT_LITTLE_ENDIAN,
    "1.2.840.10008.1.2.1.99",
    *jpeg.MAX_BITS,
    "1.2.840.10008.1.2.4.80",
    _JPEG_LS_NEAR_LOSSLESS,
    "1.2.840.10008.1.2.4.90",
    _JPEG_2000,
    "1.2.840.10008.1.2.5",
)
#: What the API converts to, but no codec of the emulator: JPEG XL, High-Throughput JPEG 2000, deflated frames.
_WITHOUT_CODEC = (
    *(f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112, 201, 202, 203)),
    "1.2.840.10008.1.2.8.1",
)
#: Media type -> the transfer syntaxes it may have; ``""``: none is given.
_MEDIA_TYPES: dict[str, tuple[str, ...]] = {
    "application/dicom": ("*", "", *_TRANSFER_SYNTAXES, *_WITHOUT_CODEC),
    "application/octet-stream": ("*", _EXPLICIT_LITTLE_ENDIAN),
    "image/jpeg": (jpeg.BASELINE,),
    "image/png": ("",),
}
#: How much the lossy codecs may lose: the largest error of a sample, and the ratio of compression.
_OPTIONS: dict[str, dict[str, Any]] = {_JPEG_LS_NEAR_LOSSLESS: {"jls_error": 2}, _JPEG_2000: {"j2k_cr": [10]}}
_LOSSY_METHODS = {
    jpeg.BASELINE: "ISO_10918_1",
    jpeg.EXTENDED: "ISO_10918_1",
    _JPEG_LS_NEAR_LOSSLESS: "ISO_14495_1",
    _JPEG_2000: "ISO_15444_1",
}
_MAX_FILE_BYTES = 1 << 30
_MAX_FRAME_BYTES = 150 << 20
#: Of all frames, decompressed. Not a documented limit: it keeps the emulator's memory whole.
_MAX_PIXEL_BYTES = 1 << 30
#: How many bytes a word has in the value representations of other endianness.
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


class CannotTranscode(Exception):
    """An instance cannot be converted; the text says why."""


class NoSuchFrame(Exception):
    """An instance has fewer frames; the text says how many."""


def parse_mime_type(mime_type: str) -> tuple[str, str]:
    """Return the media type and the transfer syntax that a ``mimeType`` asks for; ``*`` is the stored one.

    :raises ApiError: 400 for what the API does not know, 501 for what the emulator has no codec for.
    """
    match = _MIME_TYPE.fullmatch(mime_type or "application/dicom; transfer-syntax=*")
    media_type, transfer_syntax = (match.group(1).lower(), match.group(2) or "") if match else ("", "")
    if transfer_syntax not in _MEDIA_TYPES.get(media_type, ()):
        known = ", ".join(
            f"{media}; transfer-syntax={syntaxes[0]}" if syntaxes[0] else media for media, syntaxes in _MEDIA_TYPES.items()
        )
        raise ApiError(400, f"Unsupported mimeType {mime_type!r}; supported are {known}, and other transfer syntaxes.")
    if transfer_syntax in _WITHOUT_CODEC:
        raise ApiError(501, f"The emulator does not export {mime_type}: it has no codec for it.")
    if media_type == "application/dicom":
        # Formats are those of DICOMweb, says the reference, and that has this default.
        transfer_syntax = transfer_syntax or _EXPLICIT_LITTLE_ENDIAN
    return media_type, transfer_syntax


def convert(source: Path, target: Path, transfer_syntax: str) -> None:
    """Write an instance in another transfer syntax.

    :raises Exception: it cannot be done: there is no codec for such pixels, or they are broken. Codecs raise what they like.
    """
    from pydicom.uid import UID, UncompressedTransferSyntaxes

    wanted = UID(transfer_syntax)
    dataset = _read(source)
    if "PixelData" in dataset:
        _check_frame(dataset)
        if dataset.file_meta.TransferSyntaxUID.is_compressed:
            _check_all_frames(dataset)
            dataset.decompress(generate_instance_uid=False)
    elif wanted not in UncompressedTransferSyntaxes:
        raise CannotTranscode("there is no pixel data to compress")
    if not dataset.file_meta.TransferSyntaxUID.is_little_endian:
        _turn_around(dataset)
    if wanted not in UncompressedTransferSyntaxes:
        dataset.file_meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE_ENDIAN)
        _compress(dataset, transfer_syntax)
    dataset.file_meta.TransferSyntaxUID = wanted
    dataset.save_as(target, implicit_vr=wanted.is_implicit_VR, little_endian=True, enforce_file_format=True)


def raw_frames(source: Path, transfer_syntax: str, numbers: Sequence[int] | None = None) -> Iterator[bytes]:
    """Yield the pixel data of frames, as it is stored (``*``) or uncompressed in little endian.

    Each is decoded when it is its turn: together they may be much larger than the file.

    :param numbers: which frames, from 1; by default all, in their order.
    :raises NoSuchFrame: there is no frame of one of the numbers.
    :raises Exception: there are no pixels, or they are broken.
    """
    from pydicom.encaps import generate_frames, get_frame
    from pydicom.pixels.decoders.base import get_decoder

    dataset = _read(source)
    if "PixelData" not in dataset:
        raise CannotTranscode("there is no pixel data")
    _check_frame(dataset)
    count, syntax = number_of_frames(dataset), dataset.file_meta.TransferSyntaxUID
    if numbers and max(numbers) > count:
        raise NoSuchFrame(f"it has {count} frames; there is no frame {max(numbers)}")
    indices = [number - 1 for number in numbers] if numbers else None
    if syntax.is_encapsulated and transfer_syntax == "*":
        if indices is None:
            yield from generate_frames(dataset.PixelData, number_of_frames=count)
        else:
            yield from (get_frame(dataset.PixelData, index, number_of_frames=count) for index in indices)
        return
    if syntax.is_encapsulated and syntax.is_compressed:
        yield from (pixels.tobytes() for pixels, _ in get_decoder(syntax).iter_array(dataset, indices=indices))
        return
    if not syntax.is_little_endian and transfer_syntax != "*":
        _turn_around(dataset)
    bits = _frame_bits(dataset)
    if bits % 8 and count > 1:
        raise CannotTranscode("its frames do not begin at whole bytes")
    size = -(-bits // 8)
    if len(dataset.PixelData) < size * count:
        raise CannotTranscode(f"there are {len(dataset.PixelData)} bytes of pixel data; {count} frames need {size * count}")
    for index in range(count) if indices is None else indices:
        yield dataset.PixelData[index * size : (index + 1) * size]


def number_of_frames(dataset: Dataset) -> int:
    """Return how many frames a data set says it has; 1 where it says nothing."""
    return max(1, int(dataset.get("NumberOfFrames") or 1))


def _read(source: Path) -> FileDataset:
    import pydicom

    if source.stat().st_size > _MAX_FILE_BYTES:
        raise CannotTranscode("the instance is larger than 1 GiB")
    jpeg.register_decoders()
    return pydicom.dcmread(source)


def _frame_bits(dataset: Dataset) -> int:
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    bits = rows * columns * int(dataset.get("SamplesPerPixel") or 1) * int(dataset.BitsAllocated)
    # Two pixels share their chrominance.
    return bits * 2 // 3 if dataset.get("PhotometricInterpretation") == "YBR_FULL_422" else bits


def _check_frame(dataset: Dataset) -> None:
    if _frame_bits(dataset) // 8 > _MAX_FRAME_BYTES:
        raise CannotTranscode("a frame is larger than 150 MiB")


def _check_all_frames(dataset: Dataset) -> None:
    """Refuse compressed pixel data that is a bomb: pydicom decompresses all frames at once."""
    from pydicom.encaps import generate_frames

    # As many as there are, whatever NumberOfFrames says: so many are decompressed.
    count = sum(1 for _ in generate_frames(dataset.PixelData, number_of_frames=number_of_frames(dataset)))
    if _frame_bits(dataset) * count // 8 > _MAX_PIXEL_BYTES:
        raise CannotTranscode(f"decompressed, it is larger than {_MAX_PIXEL_BYTES >> 30} GiB")


def _turn_around(dataset: FileDataset) -> None:
    """Turn the bytes of a big-endian data set's words around."""
    import numpy
    from pydicom.uid import ExplicitVRLittleEndian

    for element in dataset.iterall():
        word = _WORDS.get(element.VR)
        if word and element.value:
            value = element.value.ljust(-(-len(element.value) // word) * word, b"\0")
            element.value = numpy.frombuffer(value, f">u{word}").astype(f"<u{word}").tobytes()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.set_original_encoding(False, True, dataset.original_character_set)


def _compress(dataset: FileDataset, transfer_syntax: str) -> None:
    before = len(dataset.PixelData)
    if transfer_syntax in jpeg.MAX_BITS:
        _compress_as_jpeg(dataset, transfer_syntax)
    else:
        dataset.compress(transfer_syntax, generate_instance_uid=False, **_OPTIONS.get(transfer_syntax, {}))
    if method := _LOSSY_METHODS.get(transfer_syntax):
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionRatio = f"{before / max(1, len(dataset.PixelData)):.2f}"
        dataset.LossyImageCompressionMethod = method


def _compress_as_jpeg(dataset: FileDataset, transfer_syntax: str) -> None:
    from pydicom.encaps import encapsulate
    from pydicom.pixels.utils import iter_pixels

    bits, colour = int(dataset.BitsStored), int(dataset.SamplesPerPixel) > 1
    lossless = transfer_syntax in (jpeg.LOSSLESS, jpeg.LOSSLESS_FIRST_ORDER)
    if bits > jpeg.MAX_BITS[transfer_syntax] or int(dataset.BitsAllocated) not in (8, 16) or (colour and bits > 8):
        raise CannotTranscode(f"there are {bits} bits in a sample")
    if not lossless and (dataset.PixelRepresentation or dataset.PhotometricInterpretation == "PALETTE COLOR"):
        raise CannotTranscode("lossy JPEG has neither signed samples nor palettes")
    # Signed samples keep their bits; the data set says how to read them. Colours become RGB.
    frames = (frame.view(f"u{frame.dtype.itemsize}") for frame in iter_pixels(dataset, raw=False))
    mask = (1 << bits) - 1
    dataset.PixelData = encapsulate([jpeg.encode_frame(frame & mask, transfer_syntax, bits) for frame in frames])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    if colour:
        dataset.PlanarConfiguration = 0
        dataset.PhotometricInterpretation = "RGB" if lossless else "YBR_FULL_422"
