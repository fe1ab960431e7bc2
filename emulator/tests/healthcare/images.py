"""Images of a few pixels."""

from __future__ import annotations

from typing import Any

import numpy
from pydicom.dataset import FileDataset

from tests.healthcare.conftest import instance


def image(pixels: Any, *, frames: int = 0, **elements: Any) -> FileDataset:
    """An image in Explicit VR Little Endian.

    :param pixels: words of eight or sixteen bits: frames if there are any, rows, columns, and of colours three samples.
    :param elements: of its data set, in place of those that the words suggest.
    """
    pixels = numpy.asarray(pixels)
    shape = pixels.shape[1:] if frames else pixels.shape
    bits = pixels.dtype.itemsize * 8
    described = {
        "SamplesPerPixel": 3 if len(shape) == 3 else 1,
        "PhotometricInterpretation": "RGB" if len(shape) == 3 else "MONOCHROME2",
        **({"PlanarConfiguration": 0} if len(shape) == 3 else {}),
        **({"NumberOfFrames": frames} if frames else {}),
        "Rows": shape[0],
        "Columns": shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": int(elements.get("BitsStored", bits)) - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }
    dataset = instance("1.2", "1.2.3", "1.2.3.4", **{**described, **elements})
    if "PixelData" not in elements:
        dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
        dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    return dataset


def gradient(rows: int, columns: int, dtype: str = "uint8", *, samples: int = 1) -> Any:
    """Pixels that are not all alike."""
    count = rows * columns * samples
    words = (numpy.arange(count) * 7919 % 251).astype(dtype)
    return words.reshape((rows, columns, samples) if samples > 1 else (rows, columns))
