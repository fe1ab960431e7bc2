"""The formats of an export to Cloud Storage: other transfer syntaxes, raw frames, consumer images.

Sources: ``GcsDestination.mimeType`` of the Healthcare API; the limits in its DICOM conformance statement.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, MutableSequence, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.healthcare.dicom import jpeg, rle
from gcp_dicom_emulator.healthcare.dicom.frames import (
    PIXEL_KEYWORDS,
    CannotDecode,
    NoSuchFrame,
    check_native_length,
    decoder_of,
    frame_bits,
    has_overlays_in_words,
    has_shared_chrominance,
    is_encapsulated,
    native_frames,
    number_of_frames,
    pixel_keyword,
    read_image,
    values,
    words,
)
from gcp_dicom_emulator.healthcare.dicom.reading import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from gcp_dicom_emulator.healthcare.dicom.writing import write
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from pydicom import Dataset, FileDataset
    from pydicom.uid import UID

_MIME_TYPE = re.compile(r'([a-z]+/[a-z-]+)(?:\s*;\s*transfer-syntax="?(\*|[0-9.]+)"?)?', re.IGNORECASE)
_UNCOMPRESSED = (IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, "1.2.840.10008.1.2.1.99")
#: What the API converts to, in the order of its documentation.
_TRANSFER_SYNTAXES = (*_UNCOMPRESSED, *jpeg.MAX_BITS, rle.UID)
#: What the API converts to, but no codec of the emulator: JPEG XL, High-Throughput JPEG 2000, deflated frames.
_WITHOUT_CODEC = (
    *(f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112, 201, 202, 203)),
    "1.2.840.10008.1.2.8.1",
)
#: Media type -> the transfer syntaxes it may have; ``""``: none is given.
_MEDIA_TYPES: dict[str, tuple[str, ...]] = {
    "application/dicom": ("*", "", *_TRANSFER_SYNTAXES, *_WITHOUT_CODEC),
    "application/octet-stream": ("*", EXPLICIT_LITTLE_ENDIAN),
    "image/jpeg": (jpeg.BASELINE,),
    "image/png": ("",),
}
_LOSSY_METHODS = {
    jpeg.BASELINE: "ISO_10918_1",
    jpeg.EXTENDED: "ISO_10918_1",
    jpeg.LS_NEAR_LOSSLESS: "ISO_14495_1",
    jpeg.JPEG_2000: "ISO_15444_1",
}
#: Extended Offset Table, and its lengths.
_EXTENDED_OFFSETS = (0x7FE00001, 0x7FE00002)
#: Of all frames, decompressed. Not a documented limit: it keeps the emulator's memory whole.
_MAX_PIXEL_BYTES = 1 << 30


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
        transfer_syntax = transfer_syntax or EXPLICIT_LITTLE_ENDIAN
    return media_type, transfer_syntax


def convert(source: Path, target: Path, transfer_syntax: str) -> None:
    """Write an instance in another transfer syntax.

    :raises Exception: it cannot be done: there is no codec for such pixels, or they are broken. Codecs raise what they like.
    """
    from pydicom import uid

    dataset = read_image(source)
    if is_encapsulated(dataset):
        _decompress_below(dataset, dataset.file_meta.TransferSyntaxUID)
        _decompress(dataset)
    elif any(keyword in dataset for keyword in PIXEL_KEYWORDS):
        with contextlib.suppress(ValueError):  # nobody can tell how many there are to be; they stay as they are
            check_native_length(dataset)
    for tag in _EXTENDED_OFFSETS:  # they are those of other fragments
        if tag in dataset:
            del dataset[tag]
    if transfer_syntax not in _UNCOMPRESSED:
        _compress(dataset, transfer_syntax)
    dataset.file_meta.TransferSyntaxUID = uid.UID(transfer_syntax)
    write(dataset, target)


def raw_frames(source: Path, transfer_syntax: str, numbers: Sequence[int] | None = None) -> Iterator[bytes]:
    """Yield the pixel data of frames, as it is stored (``*``), uncompressed in little endian, or compressed by one of the JPEG family.

    Each is decoded when it is its turn: together they may be much larger than the file. Those of one bit a pixel begin at whole
    bytes.

    :param numbers: which frames, from 1; by default all, in their order.
    :raises NoSuchFrame: there is no frame of one of the numbers.
    :raises Exception: there are no pixels, or they are broken.
    """
    from pydicom import encaps

    dataset = read_image(source, as_stored=transfer_syntax == "*")
    if transfer_syntax in jpeg.MAX_BITS and dataset.file_meta.TransferSyntaxUID == transfer_syntax:
        transfer_syntax = "*"
    pixel_keyword(dataset)
    count = number_of_frames(dataset)
    if numbers and max(numbers) > count:
        raise NoSuchFrame(f"it has {count} frames; there is no frame {max(numbers)}")
    indices = [number - 1 for number in numbers] if numbers else None
    if transfer_syntax in jpeg.MAX_BITS:
        _check_compressible(dataset, transfer_syntax)
        yield from _as_jpeg(dataset, transfer_syntax, indices)
    elif not is_encapsulated(dataset):
        yield from native_frames(dataset, range(count) if indices is None else indices)
    elif transfer_syntax != "*":
        yield from (frame.tobytes() for frame in words(dataset, indices, in_rgb=True))
    elif indices is None:
        yield from _stored_frames(dataset, count)
    else:
        yield from (encaps.get_frame(dataset.PixelData, index, number_of_frames=count) for index in indices)


def _stored_frames(dataset: Dataset, count: int) -> Iterator[bytes]:
    from pydicom import encaps

    found = 0
    for frame in encaps.generate_frames(dataset.PixelData, number_of_frames=count):
        yield frame
        found += 1
    if found < count:
        raise CannotDecode(f"there are only {found} of {count} frames")


def _decompress_below(dataset: Dataset, transfer_syntax: UID) -> None:
    """Decompress pixels in items of sequences, such as icons: compressed, they are in the transfer syntax of the whole."""
    import pydicom

    element: Any
    for element in list(dataset.values()):
        for item in (element.value or []) if element.VR == "SQ" else []:
            _decompress_below(item, transfer_syntax)
            if is_encapsulated(item):
                item.file_meta = pydicom.dataset.FileMetaDataset()
                item.file_meta.TransferSyntaxUID = transfer_syntax
                _decompress(item)
                del item.file_meta


def _decompress(dataset: FileDataset) -> None:
    """Decompress all frames, unless together they are a bomb."""
    from pydicom import encaps

    # As many as there are, whatever NumberOfFrames says: so many are decompressed.
    count = sum(1 for _ in encaps.generate_frames(dataset.PixelData, number_of_frames=number_of_frames(dataset)))
    if count < number_of_frames(dataset):
        raise CannotDecode(f"there are only {count} of {number_of_frames(dataset)} frames")
    if frame_bits(dataset) * count // 8 > _MAX_PIXEL_BYTES:
        raise CannotDecode(f"decompressed, it is larger than {_MAX_PIXEL_BYTES >> 30} GiB")
    decoder_of(dataset)
    dataset.decompress(generate_instance_uid=False)


def _compress(dataset: FileDataset, transfer_syntax: str) -> None:
    """Compress all frames; values stay as they are, or nearly so where the transfer syntax is lossy."""
    from pydicom import encaps

    _check_compressible(dataset, transfer_syntax)
    before = len(dataset.PixelData)
    if transfer_syntax == rle.UID:
        frames = list(map(rle.encode_frame, words(dataset)))
        if has_shared_chrominance(dataset):
            dataset.PhotometricInterpretation = "YBR_FULL"  # each pixel has its own now
    else:
        frames = _as_jpeg(dataset, transfer_syntax)
    dataset.PixelData = encaps.encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    if int(dataset.get("SamplesPerPixel") or 1) > 1:
        dataset.PlanarConfiguration = 0
    if method := _LOSSY_METHODS.get(transfer_syntax):
        dataset.LossyImageCompression = "01"
        _append(dataset, "LossyImageCompressionRatio", f"{before / max(1, len(dataset.PixelData)):.2f}")
        _append(dataset, "LossyImageCompressionMethod", method)


def _check_compressible(dataset: FileDataset, transfer_syntax: str) -> None:
    allocated = (8, 16, 32) if transfer_syntax == rle.UID else (8, 16)
    if pixel_keyword(dataset) != "PixelData" or int(dataset.BitsAllocated) not in allocated:
        described = f"{pixel_keyword(dataset)} of {int(dataset.BitsAllocated)} bits a sample"
        raise CannotDecode(f"{described} cannot be compressed; it must be PixelData of {' or '.join(map(str, allocated))}")


def _append(dataset: FileDataset, keyword: str, value: str) -> None:
    """Add a value behind those of earlier compressions, for what they lost stays lost (PS3.3, C.7.6.1.1.5)."""
    known = dataset.get(keyword)
    earlier = known if isinstance(known, MutableSequence) else [known] if known else []
    setattr(dataset, keyword, [*earlier, value])


def _as_jpeg(dataset: FileDataset, transfer_syntax: str, indices: Sequence[int] | None = None) -> list[bytes]:
    """Return frames, compressed by one of the JPEG family: samples have as many bits as are stored, and no others.

    :param indices: which ones, from 0; by default all.
    """
    bits, colour = int(dataset.BitsStored), int(dataset.get("SamplesPerPixel") or 1) > 1
    if bits > jpeg.MAX_BITS[transfer_syntax] or (colour and bits > 8 and transfer_syntax in jpeg.DECODER_DEPENDENCIES):
        raise CannotDecode(f"there are {bits} bits in a sample")
    if has_overlays_in_words(dataset):
        raise CannotDecode("overlays are in bits of the pixels' words, which would be lost")
    is_lossy = transfer_syntax in (jpeg.BASELINE, jpeg.EXTENDED)
    if is_lossy and (dataset.PixelRepresentation or dataset.PhotometricInterpretation == "PALETTE COLOR"):
        raise CannotDecode("lossy JPEG has neither signed samples nor palettes")
    # JPEG names its components, and decoders believe it: the lossless one encodes red, green and blue, as the lossy one takes them.
    named = transfer_syntax in jpeg.DECODER_DEPENDENCIES or dataset.PhotometricInterpretation == "YBR_FULL_422"
    in_rgb = named or is_encapsulated(dataset)
    frames = words(dataset, indices, in_rgb=in_rgb) if colour else values(dataset, indices)
    if is_lossy:
        bits = 8 if bits <= 8 else 12  # there is nothing between, and what is lost may need more than was stored
    compressed = [jpeg.encode_frame(frame, transfer_syntax, bits) for frame in frames]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 if bits <= 8 else 16, bits, bits - 1
    if colour and in_rgb:
        dataset.PhotometricInterpretation = "YBR_FULL_422" if is_lossy else "RGB"
    return compressed
