"""The JPEG family as pydicom does not do it by itself: encoding, and decoding what is lossless or has 12 bits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner

BASELINE, EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
LOSSLESS, LOSSLESS_FIRST_ORDER = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
LS_LOSSLESS, LS_NEAR_LOSSLESS = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS, JPEG_2000 = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
#: How many bits a sample may have.
MAX_BITS = {
    BASELINE: 8,
    EXTENDED: 12,
    **dict.fromkeys((LOSSLESS, LOSSLESS_FIRST_ORDER, LS_LOSSLESS, LS_NEAR_LOSSLESS, JPEG_2000_LOSSLESS, JPEG_2000), 16),
}

#: What pydicom wants of a plugin.
DECODER_DEPENDENCIES = dict.fromkeys((BASELINE, EXTENDED, LOSSLESS, LOSSLESS_FIRST_ORDER), ("imagecodecs",))
_LABEL = "imagecodecs"
#: How much the lossy codecs may lose: JPEG's own scale; the largest error of a sample.
_QUALITY, _LARGEST_ERROR = 95, 2
#: OpenJPEG's default; it fails where a resolution would have no pixel.
_RESOLUTIONS = 6
#: pyjpegls has no room for the headers of smaller images, in bytes.
_SMALL = 1024
_registering = threading.Lock()


def is_available(uid: str) -> bool:
    """Tell pydicom whether it can use :func:`decode_frame`."""
    return uid in DECODER_DEPENDENCIES


def register_decoders() -> None:
    """Let pydicom decode all kinds of JPEG."""
    from pydicom import uid
    from pydicom.pixels.decoders.base import get_decoder

    with _registering:
        for syntax in DECODER_DEPENDENCIES:
            decoder = get_decoder(uid.UID(syntax))
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
    """Return a frame, compressed.

    :param pixels: rows, columns and, with colours, samples. Where they are signed, the data set says so. Colours that lossy JPEG
        encodes are RGB, and become YCbCr.
    :param bits: how many of a sample are used.
    :raises Exception: it cannot be done.
    """
    import numpy

    # Eight bits get a byte, for readers take the precision for the length of a word.
    size = 1 if bits <= 8 else 2
    if transfer_syntax in (JPEG_2000_LOSSLESS, JPEG_2000):
        samples = numpy.ascontiguousarray(pixels.astype(f"{pixels.dtype.kind}{size}"))
        return _encode_jpeg_2000(samples, bits, lossless=transfer_syntax == JPEG_2000_LOSSLESS)
    # The others know nothing of signs; samples keep their bits. dcmtk does not read streams of fewer than eight.
    precision = max(bits, 8)
    words = numpy.ascontiguousarray(pixels.astype(f"{pixels.dtype.kind}{size}")).view(f"u{size}")
    if transfer_syntax in (LS_LOSSLESS, LS_NEAR_LOSSLESS):
        # A sample must not become one of the other sign, or of more bits, by what it loses.
        has_room = bits >= 8 and (pixels.dtype.kind == "u" or abs(pixels.astype(int)).max() < (1 << bits - 1) - _LARGEST_ERROR)
        return _encode_jpeg_ls(words, _LARGEST_ERROR if transfer_syntax == LS_NEAR_LOSSLESS and has_room else 0, precision)
    return _encode_jpeg(words & (1 << precision) - 1, precision, lossless=transfer_syntax in (LOSSLESS, LOSSLESS_FIRST_ORDER))


def _encode_jpeg(pixels: Any, bits: int, *, lossless: bool) -> bytes:
    import imagecodecs

    options: dict[str, Any] = {"bitspersample": bits, "level": _QUALITY}
    colour = pixels.ndim == 3
    if lossless:
        options = {"bitspersample": bits, "lossless": True, "predictor": 1}
        if colour:
            options |= {"colorspace": "RGB", "outcolorspace": "RGB"}
    elif colour:
        options |= {"colorspace": "RGB", "outcolorspace": "YCBCR", "subsampling": "422"}
    return bytes(imagecodecs.jpeg8_encode(pixels, **options))


def _encode_jpeg_ls(words: Any, largest_error: int, precision: int) -> bytes:
    import imagecodecs
    import jpeg_ls

    if words.nbytes < _SMALL:
        # Without loss. The stream has all bits of a word, so that signs are where pydicom looks for them.
        return bytes(imagecodecs.jpegls_encode(words))
    samples = words.shape[2] if words.ndim == 3 else 1
    interleaved = {"interleave_mode": 2} if samples > 1 else {}
    data = (words & (1 << precision) - 1).tobytes()
    return bytes(jpeg_ls.encode_buffer(data, *words.shape[:2], samples, precision, lossy_error=largest_error, **interleaved))


def _encode_jpeg_2000(pixels: Any, bits: int, *, lossless: bool) -> bytes:
    import imagecodecs

    resolutions = min(_RESOLUTIONS, min(pixels.shape[:2]).bit_length())
    # What is lost is only what the irreversible wavelet loses. OpenJPEG makes nonsense of small images that are to be smaller still.
    return bytes(
        imagecodecs.jpeg2k_encode(
            pixels, 0, codecformat="j2k", reversible=lossless, resolutions=resolutions, bitspersample=bits, mct=False
        )
    )
