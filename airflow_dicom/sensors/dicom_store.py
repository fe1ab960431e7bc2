"""Wait for what a DICOM store holds, or until nothing is under way in a dataset."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.links import dicom as links
from airflow_dicom.links.dicom import DicomStoreLink
from airflow_dicom.operators._connection import as_count, is_nothing
from airflow_dicom.operators._dataset import DatasetOperator
from airflow_dicom.operators._store import StoreOperator
from airflow_dicom.operators._waiting import as_seconds
from airflow_dicom.sensors._polling import PollingSensor
from airflow_dicom.store_metrics import Arrival, Counts

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_dicom.triggers.dicom import DicomOperationsTrigger, DicomStoreMetricsTrigger
    from airflow_dicom.typing import Templated


class DicomStoreMetricsSensor(StoreOperator, PollingSensor):
    """Wait until a DICOM store holds enough, or grows no more (``dicomStores.getDICOMStoreMetrics``).

    All conditions that are given must hold. A store that is empty does not grow either: say how much must be there, too.

    :param min_studies: how many studies there must be (templated)
    :param min_series: how many series there must be (templated)
    :param min_instances: how many instances there must be (templated)
    :param no_growth_for: seconds, or a ``timedelta``, for which the counts must stay as they are. The count of time begins anew when
        a triggerer or a worker is replaced; not with ``mode="reschedule"``, which forgets what it has seen

    The other parameters are those of :class:`~airflow_dicom.operators._store.StoreOperator` and
    :class:`~airflow_dicom.sensors._polling.PollingSensor`.
    """

    template_fields: Sequence[str] = ("min_studies", "min_series", "min_instances", *StoreOperator.template_fields)
    operator_extra_links = (DicomStoreLink(),)

    def __init__(
        self,
        *,
        min_studies: int | Templated = 0,
        min_series: int | Templated = 0,
        min_instances: int | Templated = 0,
        no_growth_for: float | timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.min_studies: Any = min_studies
        self.min_series: Any = min_series
        self.min_instances: Any = min_instances
        self.no_growth_for = no_growth_for
        self._arrival: Arrival | None = None
        if no_growth_for is not None and self.reschedule and not self.deferrable:
            raise DicomArgumentError("no_growth_for does not go with mode='reschedule', which forgets what it has seen: defer.")

    def execute(self, context: Context) -> dict[str, int]:
        """Wait for the store.

        :return: ``{"studies", "series", "instances"}``, as integers.
        :raises AirflowSensorTimeout: it was not so after ``timeout``.
        """
        self._check_arguments()
        links.begin(self)
        links.show(self, context, {DicomStoreLink.key: DicomStoreLink.url(self.store)}, part_ends=self.deferrable)
        self._arrival = Arrival(self._least(), self._still_for())
        result: dict[str, int] = super().execute(context)
        return result

    def awaited(self) -> str:
        """Return what is waited for, in words."""
        still = f", and no growth for {self._still_for():g} s," if self.no_growth_for is not None else ""
        return f"{self.store} did not have {self._least()}{still}"

    def ask(self, context: Context) -> dict[str, int] | None:
        """Ask once for the store's metrics."""
        assert self._arrival is not None
        counts = Counts.of(self.hook.get_dicom_store_metrics(str(self.store)))
        if self._arrival.has_news(counts):
            self.log.info("%s has %s.", self.store, counts)
        return asdict(counts) if self._arrival.is_over(counts, time.monotonic()) else None

    def trigger(self, **waiting: Any) -> DicomStoreMetricsTrigger:
        """Return the trigger that waits."""
        from airflow_dicom.triggers.dicom import DicomStoreMetricsTrigger

        return DicomStoreMetricsTrigger(
            dicom_store=str(self.store),
            least=asdict(self._least()),
            still_for=self._still_for(),
            api_version=self.api_version,
            **waiting,
        )

    def result(self, context: Context, event: Mapping[str, Any]) -> dict[str, int]:
        """Return the counts that the trigger has seen."""
        counts: dict[str, int] = event["counts"]
        return counts

    def _least(self) -> Counts:
        names = ("min_studies", "min_series", "min_instances")
        if lost := [name for name in names if is_nothing(getattr(self, name))]:
            raise DicomArgumentError(
                f"{lost[0]} is {getattr(self, lost[0])!r}; it must be a whole number, and is 0 where it is left out."
            )
        least = Counts(*(as_count(getattr(self, name), name) or 0 for name in names))
        if least == Counts() and self.no_growth_for is None:
            raise DicomArgumentError(f"Give {', '.join(names)} or no_growth_for: there is nothing to wait for.")
        return least

    def _still_for(self) -> float | None:
        return None if self.no_growth_for is None else as_seconds(self.no_growth_for, "no_growth_for")


class DicomOperationsSensor(DatasetOperator, PollingSensor):
    """Wait until no operation runs in a dataset, whoever started it (``operations.list``).

    Airflow's account needs ``roles/healthcare.datasetAdmin``: no smaller role may list operations.

    The parameters are those of :class:`~airflow_dicom.operators._dataset.DatasetOperator` and
    :class:`~airflow_dicom.sensors._polling.PollingSensor`.
    """

    template_fields: Sequence[str] = DatasetOperator.template_fields

    def awaited(self) -> str:
        """Return what is waited for, in words."""
        return f"Operations still ran in {self.dataset_name}"

    def ask(self, context: Context) -> dict[str, int] | None:
        """Ask once for the dataset's operations."""
        operations = self.hook.list_operations(str(self.dataset_name))
        running = [one["name"] for one in operations if not one.get("done")]
        if running:
            self.log.info("%d operations run: %s", len(running), ", ".join(running[:5]))
        return None if running else {"running": 0}

    def trigger(self, **waiting: Any) -> DicomOperationsTrigger:
        """Return the trigger that waits."""
        from airflow_dicom.triggers.dicom import DicomOperationsTrigger

        return DicomOperationsTrigger(dataset=str(self.dataset_name), api_version=self.api_version, **waiting)

    def result(self, context: Context, event: Mapping[str, Any]) -> dict[str, int]:
        """Return that none runs."""
        return {"running": 0}
