"""Thumbnails of instances for the page at ``/``."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom import Dataset

_SIZE = 160
#: What is bigger has no thumbnail: bytes of the file, and pixels of a frame.
_MAX_FILE, _MAX_PIXELS = 256 << 20, 32 << 20
_HEADER = ("Modality", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PixelData")


@functools.lru_cache(maxsize=500)
def thumbnail(path: Path) -> tuple[str, bytes]:
    """Return a small picture of an instance, which never changes, and its media type; of one without pixels, its modality.

    :param path: the instance.
    """
    try:
        return "image/png", _png(path)
    except Exception:
        # Codecs raise whatever a broken file makes them stumble over, and plenty of instances are no images.
        return "image/svg+xml", _placeholder(values(path, ("Modality",))["Modality"])


def values(path: Path, keywords: Sequence[str]) -> dict[str, str]:
    """Return some values of an instance as text; ``""`` for one that is missing or broken.

    :param path: the instance.
    """
    try:
        dataset = _header(path, keywords)
    except Exception:
        return dict.fromkeys(keywords, "")
    return {keyword: _text(dataset, keyword) for keyword in keywords}


def _header(path: Path, keywords: Sequence[str]) -> Dataset:
    import pydicom
    from pydicom import config

    config.settings.reading_validation_mode = config.IGNORE
    return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SpecificCharacterSet", *keywords])


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        return str(dataset.get(keyword) or "")[:100]
    except Exception:
        return ""


def _png(path: Path) -> bytes:
    from PIL import Image

    header: Any = _header(path, _HEADER)
    if path.stat().st_size > _MAX_FILE or header.Rows * header.Columns * (header.get("SamplesPerPixel") or 1) > _MAX_PIXELS:
        raise ValueError("it is too big for a thumbnail")
    with Image.open(io.BytesIO(_frame(path, int(header.get("NumberOfFrames") or 1) // 2))) as image:
        image.thumbnail((_SIZE, _SIZE))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
    return buffer.getvalue()


def _frame(path: Path, index: int) -> bytes:
    """Return the frame in the middle as a PNG."""
    import numpy
    import pydicom
    from PIL import Image
    from pydicom.pixels.processing import apply_rescale, apply_voi_lut
    from pydicom.pixels.utils import pixel_array

    # Its own reading: pixel_array() sets attributes of the dataset that it gets.
    dataset: Any = pydicom.dcmread(path, defer_size=1 << 20)
    pixels: Any = pixel_array(path, index=index)
    if dataset.SamplesPerPixel == 1:
        pixels = apply_voi_lut(apply_rescale(pixels, dataset), dataset).astype("float64")
        low, high = numpy.percentile(pixels, (0.5, 99.5))
        pixels = numpy.clip((pixels - low) / (high - low or 1) * 255, 0, 255)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            pixels = 255 - pixels
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype("uint8")).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _placeholder(modality: str) -> bytes:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100"><rect width="100" height="100" fill="#222"/>'
        f'<text x="50" y="56" text-anchor="middle" font-family="sans-serif" font-size="18" fill="#888">{escape(modality[:8] or "?")}'
        "</text></svg>"
    ).encode()
