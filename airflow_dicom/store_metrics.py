"""What the Healthcare API counts in a DICOM store. No Airflow, no Google library.

Source: ``DicomStoreMetrics`` in the Healthcare API's discovery document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def with_integers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics with their numbers as integers: in the API's JSON, an int64 is a text."""
    return {name: int(value) if name.endswith(("Count", "Bytes")) else value for name, value in metrics.items()}


@dataclass(frozen=True)
class Counts:
    """How many studies, series and instances a store holds."""

    studies: int = 0
    series: int = 0
    instances: int = 0

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> Counts:
        """Read a ``DicomStoreMetrics``; the API leaves out zeros."""
        return cls(*(int(metrics.get(f"{name}Count") or 0) for name in ("study", "series", "instance")))

    def reach(self, least: Counts) -> bool:
        """Tell whether there is at least so much of each."""
        return self.studies >= least.studies and self.series >= least.series and self.instances >= least.instances

    def __str__(self) -> str:
        return f"{self.studies} studies, {self.series} series, {self.instances} instances"
