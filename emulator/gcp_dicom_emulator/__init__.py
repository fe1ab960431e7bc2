"""A local emulator of the Healthcare API (DICOM), Cloud Storage, BigQuery and Pub/Sub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gcp_dicom_emulator.emulator import Emulator

__version__ = "0.1.0"
__all__ = ["Emulator"]


def __getattr__(name: str) -> Any:
    """Load the emulator when it is asked for: the pytest plugin and the command's help need none of it."""
    if name == "Emulator":
        from gcp_dicom_emulator.emulator import Emulator

        return Emulator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
