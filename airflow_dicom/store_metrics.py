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


class Arrival:
    """Tells, by counts that are seen one after the other, whether all has arrived.

    :param least: how much must be there.
    :param still_for: seconds for which nothing may have been added or removed; ``None`` for none.
    """

    def __init__(self, least: Counts, still_for: float | None = None) -> None:
        self._least = least
        self._still_for = still_for
        self._last: Counts | None = None
        self._since = 0.0

    def has_news(self, counts: Counts) -> bool:
        """Tell whether these are other counts than the last ones that :meth:`is_over` has seen."""
        return counts != self._last

    def is_over(self, counts: Counts, now: float) -> bool:
        """Tell whether it has.

        :param now: seconds, by a clock that only goes forward.
        """
        if self.has_news(counts):
            self._last, self._since = counts, now
        return counts.reach(self._least) and (self._still_for is None or now - self._since >= self._still_for)
