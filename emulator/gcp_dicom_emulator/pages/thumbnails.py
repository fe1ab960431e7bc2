"""Thumbnails of instances for the page at ``/``."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from gcp_dicom_emulator.healthcare.dicom.pixels import rendered

if TYPE_CHECKING:
    from pydicom import Dataset

_SIZE = 160


@functools.lru_cache(maxsize=500)
def thumbnail(path: Path) -> tuple[str, bytes]:
    """Return a small picture of an instance, which never changes, and its media type; of one without pixels, its modality.

    :param path: the instance.
    """
    try:
        return "image/png", _png(path)
    except Exception:
        # Codecs raise whatever a broken file makes them stumble over, and many instances are not images.
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
    return rendered(path, None, "image/png", (_SIZE, _SIZE))


def _placeholder(modality: str) -> bytes:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100"><rect width="100" height="100" fill="#222"/>'
        f'<text x="50" y="56" text-anchor="middle" font-family="sans-serif" font-size="18" fill="#888">{escape(modality[:8] or "?")}'
        "</text></svg>"
    ).encode()
