"""The pixels of an instance, frame by frame, whatever transfer syntax they are in.

Sources: PS3.5, section 8 and annex A; PS3.3, C.7.6.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.healthcare.dicom import jpeg
from gcp_dicom_emulator.healthcare.dicom.reading import EXPLICIT_LITTLE_ENDIAN, read_dataset

if TYPE_CHECKING:
    from pydicom import Dataset, FileDataset
    from pydicom.pixels.decoders.base import Decoder

#: What is larger is neither decoded nor encoded; the limits of the API's conformance statement.
_MAX_FILE_BYTES, _MAX_FRAME_BYTES = 1 << 30, 150 << 20
PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_UNDEFINED = 0xFFFFFFFF
#: How many bytes a word has in the value representations of other endianness.
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


class CannotDecode(Exception):
    """There are no pixels, or none that can be had; the text says why."""


class NoSuchFrame(Exception):
    """An instance has fewer frames; the text says how many."""


def read_image(path: Path, *, as_stored: bool = False) -> FileDataset:
    """Read an instance of which the pixels are wanted; words are little endian, and what is not encapsulated says so.

    :param as_stored: whether big-endian words stay as they are.
    :raises CannotDecode: it is too large.
    :raises CannotRead: it cannot be read whole.
    """
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise CannotDecode("the instance is larger than 1 GiB")
    jpeg.register_decoders()
    dataset = read_dataset(path)
    if not as_stored and not is_encapsulated(dataset):
        from pydicom import uid

        _turn_around(dataset)
        dataset.file_meta.TransferSyntaxUID = uid.UID(EXPLICIT_LITTLE_ENDIAN)
        dataset.set_original_encoding(False, True, dataset.original_character_set)
    return dataset


def is_encapsulated(dataset: Dataset) -> bool:
    """Return whether the pixels are in fragments, as compressed ones are."""
    element: Any = dataset.get_item("PixelData") if "PixelData" in dataset else None
    if element is None:
        return False
    return bool(element.length == _UNDEFINED if element.is_raw else element.is_undefined_length)


def has_overlays_in_words(dataset: Dataset) -> bool:
    """Return whether an overlay is in bits of the pixels' words that are not stored, as it once could be (PS3.5, 8.1.2)."""
    for group in range(0x60000000, 0x60200000, 0x20000):
        allocated = dataset[group | 0x0100].value if group | 0x0100 in dataset else 1
        if allocated != 1 and group | 0x3000 not in dataset:
            return True
    return False


def clear_words(dataset: FileDataset) -> None:
    """Set the bits of the pixels' words to zero that are not stored.

    :raises CannotDecode: the pixels are compressed, or the data set does not say which bits are stored.
    """
    import numpy

    if is_encapsulated(dataset):
        raise CannotDecode("the pixels are compressed, with bits in their words that are not stored")
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    mask = (1 << stored) - 1 << int(dataset.HighBit) + 1 - stored
    order = "<" if dataset["PixelData"].VR == "OB" or dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    words = numpy.frombuffer(dataset.PixelData, f"{order}u{allocated // 8}")
    dataset.PixelData = (words & mask).astype(words.dtype).tobytes()


def pixel_keyword(dataset: Dataset) -> str:
    """Return which element has the pixels.

    :raises CannotDecode: none has.
    """
    for keyword in PIXEL_KEYWORDS:
        if keyword in dataset:
            if dataset[keyword].is_empty:
                raise CannotDecode(f"{keyword} is empty")
            return keyword
    raise CannotDecode("there is no pixel data")


def number_of_frames(dataset: Dataset) -> int:
    """Return how many frames a data set says it has; 1 where it says nothing.

    :raises ValueError: what it says is not a number.
    """
    return max(1, int(dataset.get("NumberOfFrames") or 1))


def frame_bits(dataset: Dataset) -> int:
    """Return how many bits a frame has that is not compressed; for what is not one byte or more a pixel, not always whole bytes.

    :raises ValueError: the data set does not say.
    :raises CannotDecode: it is too many.
    """
    for keyword in ("Rows", "Columns", "BitsAllocated"):
        if not dataset.get(keyword):
            raise ValueError(f"there is no {keyword}")
    rows, columns, allocated = int(dataset.Rows), int(dataset.Columns), int(dataset.BitsAllocated)
    bits = rows * columns * int(dataset.get("SamplesPerPixel") or 1) * allocated
    if bits // 8 > _MAX_FRAME_BYTES:
        raise CannotDecode("a frame is larger than 150 MiB")
    return bits * 2 // 3 if has_shared_chrominance(dataset) else bits


def has_shared_chrominance(dataset: Dataset) -> bool:
    """Return whether two pixels have one chrominance (PS3.3, C.7.6.3.1.2), and are not compressed."""
    return dataset.get("PhotometricInterpretation") == "YBR_FULL_422" and not is_encapsulated(dataset)


def check_native_length(dataset: Dataset) -> None:
    """Check that pixels that are not encapsulated are all there.

    :raises ValueError: the data set does not say how many there are to be.
    :raises CannotDecode: they are not.
    """
    count, length = number_of_frames(dataset), len(dataset[pixel_keyword(dataset)].value)
    needed = -(-frame_bits(dataset) * count // 8)
    if length < needed:
        raise CannotDecode(f"there are {length} bytes of pixel data; {count} frames need {needed}")


def native_frames(dataset: Dataset, indices: Iterable[int]) -> Iterator[bytes]:
    """Yield frames that are not encapsulated as they stand; those of one bit a pixel begin at a whole byte each.

    :raises CannotDecode: they are not all there.
    """
    import numpy

    check_native_length(dataset)
    bits, pixels = frame_bits(dataset), dataset[pixel_keyword(dataset)].value
    for index in indices:
        start, end = index * bits, (index + 1) * bits
        frame = pixels[start // 8 : -(-end // 8)]
        if start % 8:
            unpacked = numpy.unpackbits(numpy.frombuffer(frame, "uint8"), bitorder="little")[start % 8 :][:bits]
            frame = numpy.packbits(unpacked, bitorder="little").tobytes()
        elif end % 8:
            # The next frame's bits are in the last byte.
            frame = frame[:-1] + bytes((frame[-1] & (1 << end % 8) - 1,))
        yield frame


def decoder_of(dataset: FileDataset) -> Decoder:
    """Return what decodes the pixels.

    :raises CannotDecode: there is no codec for the transfer syntax, or it is not that of the pixels.
    """
    from pydicom.pixels.decoders.base import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise CannotDecode(f"the emulator has no codec for the transfer syntax {syntax}") from error
    if decoder.is_encapsulated != is_encapsulated(dataset):
        raise CannotDecode(f"the pixels are in fragments, as those of the transfer syntax {syntax} are not")
    return decoder


def words(dataset: FileDataset, indices: Sequence[int] | None = None, *, in_rgb: bool = False) -> Iterator[Any]:
    """Yield frames as they were before they were compressed: arrays of rows, columns and, with colours, samples.

    :param indices: which ones, from 0; by default all.
    :param in_rgb: whether luminance and chrominance become red, green and blue.
    :raises Exception: there is no codec, or the pixels are broken. Codecs raise what they like.
    """
    pixel_keyword(dataset)
    frame_bits(dataset)
    decoder, found, batches = decoder_of(dataset), 0, [indices]
    if has_shared_chrominance(dataset):
        # pydicom takes all frames but the first to be as long as that becomes.
        batches = [[index] for index in (range(number_of_frames(dataset)) if indices is None else indices)]
    for batch in batches:
        # Which bits count is for values() to say: HighBit has a part in it.
        for frame, _ in decoder.iter_array(dataset, indices=batch, raw=not in_rgb, correct_unused_bits=False):
            yield frame
            found += 1
    if indices is None and found < number_of_frames(dataset):
        raise CannotDecode(f"there are only {found} of {number_of_frames(dataset)} frames")


def values(dataset: FileDataset, indices: Sequence[int] | None = None) -> Iterator[Any]:
    """Yield the values of frames of one sample a pixel, floats or integers: arrays of rows and columns.

    Of a word only the bits from HighBit down count, as many as BitsStored says; whatever the file or a decoder has in the others.

    :raises Exception: as :func:`words` does.
    """
    for frame in words(dataset, indices):
        yield frame if frame.dtype.kind == "f" else _stored_bits(frame, dataset)


def _stored_bits(frame: Any, dataset: Dataset) -> Any:
    allocated, stored = 8 * frame.dtype.itemsize, int(dataset.BitsStored)
    high = int(dataset.get("HighBit", stored - 1))
    if not 0 < stored <= high + 1:
        raise CannotDecode(f"there are {stored} BitsStored, and HighBit is {high}")
    if high + 1 > allocated:  # a decoder found fewer bits than the data set says
        return frame
    signed = frame.astype(f"{'i' if dataset.PixelRepresentation else 'u'}{frame.dtype.itemsize}")
    return signed << (allocated - 1 - high) >> (allocated - stored)


def _turn_around(dataset: Dataset) -> None:
    """Turn the bytes of big-endian words around where pydicom leaves them: in strings of words, at any depth."""
    import numpy
    from pydicom import DataElement

    element: Any
    for element in list(dataset.values()):
        if element.VR == "SQ":
            for item in element.value or []:
                _turn_around(item)
        elif element.is_raw and not element.is_little_endian and (word := _WORDS.get(element.VR)):
            value = (element.value or b"").ljust(-(-len(element.value or b"") // word) * word, b"\0")
            turned = numpy.frombuffer(value, f">u{word}").astype(f"<u{word}").tobytes()
            dataset[element.tag] = DataElement(element.tag, element.VR, turned)
