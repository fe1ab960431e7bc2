"""Pictures of instances, as a viewer would show them.

Sources: PS3.3, C.7.6.3 (palettes), C.7.6.16 (functional groups), C.11.1 (modality), C.11.2 (values of interest).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.healthcare.dicom.frames import NoSuchFrame, number_of_frames, read_image, values, words

if TYPE_CHECKING:
    from pydicom import Dataset, FileDataset

#: A frame of more is not rendered.
_MAX_SAMPLES = 64 << 20
#: Of JPEG, from 1 to 100.
_QUALITY = 75


class CannotRender(Exception):
    """An instance, or one of its frames, of which there is no picture; the text says why."""


def pictures(path: Path, mime_type: str) -> Iterator[bytes]:
    """Yield a picture of each frame.

    :raises CannotRender: as :func:`rendered` does.
    """
    try:
        dataset = read_image(path)
        for index, frame in enumerate(_frames(dataset, None)):
            yield _encoded(_samples(dataset, index, frame), mime_type)
    except Exception as error:
        # Codecs raise whatever they stumble over.
        raise CannotRender(f"{type(error).__name__}: {error}") from error


def rendered(path: Path, number: int | None, mime_type: str, size: tuple[int, int] | None = None) -> bytes:
    """Return a picture of a frame.

    Colours of a palette are looked up. Other values go through the modality's rescaling or table, and the first window or else the
    first table of values of interest; without any, from the smallest value to the largest. What only pads the image is black.

    :param path: the instance.
    :param number: of the frame, from 1; ``None`` for the one in the middle.
    :param mime_type: ``image/jpeg`` or ``image/png``.
    :param size: the largest width and height; by default the frame's own.
    :raises CannotRender: there are no pixels, no codec, or the pixels are broken.
    :raises NoSuchFrame: there are fewer frames.
    """
    try:
        dataset = read_image(path)
        count = number_of_frames(dataset)
        if number is not None and number > count:
            raise NoSuchFrame(f"it has {count} frames; there is no frame {number}")
        index = count // 2 if number is None else number - 1
        [frame] = _frames(dataset, [index])
        return _encoded(_samples(dataset, index, frame), mime_type, size)
    except NoSuchFrame:
        raise
    except Exception as error:
        # Codecs raise whatever they stumble over.
        raise CannotRender(f"{type(error).__name__}: {error}") from error


def _encoded(samples: Any, mime_type: str, size: tuple[int, int] | None = None) -> bytes:
    import imagecodecs
    import numpy

    if size is not None:
        samples = _shrunk(samples, *size)
    samples = numpy.ascontiguousarray(samples)  # colours may come as planes, which the codec of PNG does not take
    return bytes(
        imagecodecs.png_encode(samples) if mime_type == "image/png" else imagecodecs.jpeg8_encode(samples, level=_QUALITY)
    )


def _shrunk(samples: Any, width: int, height: int) -> Any:
    """Return a picture that fits into a width and a height, in its proportions: a sample is the mean of those that it stands for."""
    import numpy

    rows, columns = samples.shape[:2]
    scale = min(1, height / rows, width / columns)
    if scale == 1:
        return samples
    tops, lefts = (numpy.arange(count) * of // count for of in (rows, columns) for count in [max(1, round(of * scale))])
    sums = numpy.add.reduceat(numpy.add.reduceat(samples.astype("uint32"), tops, axis=0), lefts, axis=1)
    counts = numpy.outer(numpy.diff(tops, append=rows), numpy.diff(lefts, append=columns))
    return (sums / (counts if samples.ndim == 2 else counts[..., None]) + 0.5).astype("uint8")


def _frames(dataset: FileDataset, indices: list[int] | None) -> Iterator[Any]:
    """Yield colours by pixel, or the values that were stored."""
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0) * samples > _MAX_SAMPLES:
        raise CannotRender("a frame is too large")
    return words(dataset, indices, in_rgb=True) if samples > 1 else values(dataset, indices)


def _samples(dataset: FileDataset, index: int, frame: Any) -> Any:
    """Return a frame's samples as eight bits each."""
    from pydicom.pixels.processing import apply_color_lut

    if frame.ndim == 3:
        return (frame >> max(0, int(dataset.BitsStored) - 8)).astype("uint8")
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        colours = apply_color_lut(frame, dataset)
        return (colours >> 8 * (colours.dtype.itemsize - 1)).astype("uint8")
    padding = _padding(dataset, frame)
    greys = _greys(_modality_values(dataset, index, frame), _of_frame(dataset, index, "FrameVOILUTSequence"), padding)
    shape = dataset.get("PresentationLUTShape") or {"MONOCHROME1": "INVERSE"}.get(dataset.PhotometricInterpretation)
    if shape == "INVERSE":
        greys = 1 - greys
    greys[padding] = 0
    return (greys * 255 + 1e-6).astype("uint8")  # a value that is a whole number but for what floats lose stays one


def _of_frame(dataset: Dataset, index: int, sequence: str) -> Dataset:
    """Return where a frame's attributes are: in the functional group of an enhanced object, else in the data set itself."""
    frames, shared = dataset.get("PerFrameFunctionalGroupsSequence") or [], dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in (*frames[index : index + 1], *shared[:1]):
        if found := groups.get(sequence):
            return found[0]  # type: ignore[no-any-return]
    return dataset


def _padding(dataset: Dataset, stored: Any) -> Any:
    """Return which pixels only pad the image, as an array of booleans (PS3.3, C.7.5.1.1.2)."""
    import numpy

    prefix = {"float32": "Float", "float64": "DoubleFloat"}.get(str(stored.dtype), "")
    value = dataset.get(f"{prefix}PixelPaddingValue")
    if value is None:
        return numpy.zeros(stored.shape, bool)
    limit = dataset.get(f"{prefix}PixelPaddingRangeLimit")
    # The value representation may be that of unsigned words where the pixels are not.
    low, high = sorted(numpy.array([value, value if limit is None else limit]).astype(stored.dtype))
    return (stored >= low) & (stored <= high)


def _modality_values(dataset: Dataset, index: int, stored: Any) -> Any:
    """Return what a modality measured, from the values that it stored (PS3.3, C.11.1)."""
    if dataset.get("ModalityLUTSequence"):
        return _looked_up(dataset.ModalityLUTSequence[0], stored)[0]
    group = _of_frame(dataset, index, "PixelValueTransformationSequence")
    slope, intercept = group.get("RescaleSlope"), group.get("RescaleIntercept")
    return stored if slope is None or intercept is None else stored * float(slope) + float(intercept)


def _greys(samples: Any, voi: Dataset, padding: Any) -> Any:
    """Return how light values are, from 0 to 1 (PS3.3, C.11.2).

    :param voi: has windows, tables, or neither.
    :param padding: which values do not count for the smallest and the largest.
    """
    import numpy

    center, width = (_first(voi.get(keyword)) for keyword in ("WindowCenter", "WindowWidth"))
    if center is not None and width is not None:
        return _windowed(samples.astype("float64"), center, width, str(voi.get("VOILUTFunction") or "LINEAR"))
    if voi.get("VOILUTSequence"):
        found, bits = _looked_up(voi.VOILUTSequence[0], samples)
        return found / ((1 << bits) - 1)
    measured = samples[numpy.isfinite(samples) & ~padding]
    low, high = (float(measured.min()), float(measured.max())) if measured.size else (0.0, 0.0)
    return numpy.nan_to_num(numpy.clip((samples.astype("float64") - low) / ((high - low) or 1), 0, 1))


def _first(value: Any) -> float | None:
    from pydicom import multival

    first = value[0] if isinstance(value, multival.MultiValue) and value else value
    return None if first is None or first == "" or first == [] else float(first)


def _windowed(samples: Any, center: float, width: float, function: str) -> Any:
    """Return how light values are through a window (PS3.3, C.11.2.1.2 and C.11.2.1.3)."""
    import numpy

    if width <= 0:
        raise CannotRender(f"WindowWidth is {width}")
    if function == "SIGMOID":
        return 1 / (1 + numpy.exp(numpy.clip(-4 * (samples - center) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return numpy.clip((samples - center) / width + 0.5, 0, 1)
    if function != "LINEAR":
        raise CannotRender(f"VOILUTFunction is {function}")
    if width <= 1:
        return (samples > center - 0.5).astype("float64")
    return numpy.clip((samples - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _looked_up(table: Dataset, samples: Any) -> tuple[Any, int]:
    """Return what a table has for values, and how many bits its entries have (PS3.3, C.11.1.1).

    :param table: an item of the Modality or the VOI LUT Sequence. Entries of eight bits may be packed in words.
    """
    import numpy

    count, first, bits = (int(number) for number in table.LUTDescriptor)
    count = count or 1 << 16
    if first >= 1 << 15 and samples.min() < 0:
        first -= 1 << 16  # its value representation is that of unsigned words, and it is not
    data = table["LUTData"].value
    entries = numpy.frombuffer(data, "<u2") if isinstance(data, bytes) else numpy.atleast_1d(data).astype("int64").astype("<u2")
    if len(entries) < count:
        entries = numpy.frombuffer(entries.tobytes(), "uint8")
    if len(entries) < count:
        raise CannotRender(f"a table has {len(entries)} bytes for {count} entries")
    places = numpy.clip(numpy.rint(samples).astype("int64") - first, 0, count - 1)
    return numpy.minimum(entries[places], (1 << bits) - 1).astype("float64"), bits
