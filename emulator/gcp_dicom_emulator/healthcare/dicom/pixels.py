"""Pictures of instances, as a viewer would show them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gcp_dicom_emulator.healthcare.dicom import jpeg

#: What is larger is not rendered: bytes of a file, samples of a frame.
_MAX_FILE, _MAX_SAMPLES = 1 << 30, 64 << 20
_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG"}
_HEADER = ["Rows", "Columns", "SamplesPerPixel", "NumberOfFrames"]


class CannotRender(Exception):
    """An instance, or one of its frames, of which there is no picture; the text says why."""


def frame_count(path: Path) -> int:
    """Return how many frames an instance has.

    :raises CannotRender: it is no image, or too large for one.
    """
    import pydicom

    try:
        header: Any = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_HEADER)
        rows, columns, samples, frames = (int(header.get(keyword) or 0) for keyword in _HEADER)
        size = path.stat().st_size
    except Exception as error:
        # pydicom raises whatever a broken value makes it stumble over.
        raise CannotRender(f"{type(error).__name__}: {error}") from error
    if not rows or not columns:
        raise CannotRender("it has no pixels")
    if size > _MAX_FILE or rows * columns * (samples or 1) > _MAX_SAMPLES:
        raise CannotRender("it is too large")
    return max(1, frames)


def pictures(path: Path, mime_type: str) -> Iterator[bytes]:
    """Yield a picture of each frame.

    :raises CannotRender: as :func:`rendered` does.
    """
    for number in range(1, frame_count(path) + 1):
        yield rendered(path, number, mime_type)


def rendered(path: Path, number: int, mime_type: str, size: tuple[int, int] | None = None) -> bytes:
    """Return a picture of a frame.

    Colours of a palette are looked up. Other values go through the modality's rescaling or table, and the first window; without
    a window, from the smallest value to the largest.

    :param path: the instance.
    :param number: of the frame, from 1.
    :param mime_type: ``image/jpeg`` or ``image/png``.
    :param size: the largest width and height; by default the frame's own.
    :raises CannotRender: there is no such frame, no pixels, no codec, or the pixels are broken.
    """
    from PIL import Image

    count = frame_count(path)
    if not 1 <= number <= count:
        raise CannotRender(f"there is no frame {number}, only {count}")
    try:
        picture = Image.fromarray(_samples(path, number - 1))
    except Exception as error:
        # Codecs raise whatever they stumble over.
        raise CannotRender(f"{type(error).__name__}: {error}") from error
    if size is not None:
        picture.thumbnail(size)
    buffer = io.BytesIO()
    picture.save(buffer, _FORMATS[mime_type])
    return buffer.getvalue()


def _samples(path: Path, index: int) -> Any:
    """Return a frame's samples as eight bits each."""
    import numpy
    import pydicom
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
    from pydicom.pixels.utils import pixel_array

    jpeg.register_decoders()
    # Its own reading: pixel_array() sets attributes of the data set that it gets.
    dataset: Any = pydicom.dcmread(path, defer_size=1 << 20)
    samples: Any = pixel_array(path, index=index)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        colours = apply_color_lut(samples, dataset)
        return (colours >> 8 * (colours.dtype.itemsize - 1)).astype("uint8")
    if dataset.SamplesPerPixel > 1:
        return (samples >> max(0, dataset.BitsStored - 8)).astype("uint8")
    samples = apply_modality_lut(samples, dataset).astype("float64")
    low, high = _window(dataset) or (samples.min(), samples.max())
    values = numpy.clip((samples - low) / ((high - low) or 1) * 255, 0, 255)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = 255 - values
    return values.astype("uint8")


def _window(dataset: Any) -> tuple[float, float] | None:
    """Return the values that the first window shows as black and as white (PS3.3, C.11.2.1.2)."""
    from pydicom.multival import MultiValue

    centers, widths = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    if centers is None or not widths:
        return None
    center, width = (float(one[0] if isinstance(one, MultiValue) else one) for one in (centers, widths))
    return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
