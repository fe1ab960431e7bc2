"""JPEG as pydicom does not do it by itself: encoding, and decoding what is lossless or has 12 bits. By imagecodecs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner

BASELINE, EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
LOSSLESS, LOSSLESS_FIRST_ORDER = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
#: How many bits a sample may have.
MAX_BITS = {BASELINE: 8, EXTENDED: 12, LOSSLESS: 16, LOSSLESS_FIRST_ORDER: 16}

#: What pydicom wants of a plugin.
DECODER_DEPENDENCIES = dict.fromkeys(MAX_BITS, ("imagecodecs",))
_LABEL = "imagecodecs"
_QUALITY = 95
_registering = threading.Lock()


def is_available(uid: str) -> bool:
    """Tell pydicom whether it can use :func:`decode_frame`."""
    return uid in DECODER_DEPENDENCIES


def register_decoders() -> None:
    """Let pydicom decode all kinds of JPEG."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    with _registering:
        for syntax in MAX_BITS:
            decoder = get_decoder(UID(syntax))
            if _LABEL not in decoder.available_plugins:
                decoder.add_plugin(_LABEL, (__name__, "decode_frame"))


def decode_frame(source: bytes, runner: DecodeRunner) -> bytes:
    """Return the samples of a frame, colours by pixel, in the colours that the data set names."""
    import imagecodecs
    import numpy

    colours: dict[str, Any] = {}
    if runner.samples_per_pixel == 3:
        # Neither side is to convert: the data set says what the components are.
        colours = {"colorspace": "YCBCR", "outcolorspace": "YCBCR"}
        if runner.photometric_interpretation == "RGB":
            colours = {"colorspace": "RGB", "outcolorspace": "RGB"}
    pixels = imagecodecs.jpeg8_decode(source, **colours)
    if runner.samples_per_pixel == 3:
        runner.set_option("planar_configuration", 0)
    if pixels.dtype.itemsize * 8 != runner.bits_allocated:
        runner.set_option("bits_allocated", pixels.dtype.itemsize * 8)
    return bytes(numpy.ascontiguousarray(pixels).tobytes())


def encode_frame(pixels: Any, transfer_syntax: str, bits: int) -> bytes:
    """Return a frame as JPEG.

    :param pixels: rows, columns and, with colours, samples; unsigned. Colours are RGB; those of a lossy one become YCbCr.
    :param bits: how many of a sample are used.
    :raises Exception: it cannot be done.
    """
    import imagecodecs

    options: dict[str, Any] = {"bitspersample": bits, "level": _QUALITY}
    colour = pixels.ndim == 3
    if transfer_syntax in (LOSSLESS, LOSSLESS_FIRST_ORDER):
        options = {"bitspersample": bits, "lossless": True, "predictor": 1}
        if colour:
            options |= {"colorspace": "RGB", "outcolorspace": "RGB"}
    elif colour:
        options |= {"colorspace": "RGB", "outcolorspace": "YCBCR", "subsampling": "422"}
    return bytes(imagecodecs.jpeg8_encode(pixels, **options))
