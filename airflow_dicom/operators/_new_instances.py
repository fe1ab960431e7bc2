"""How many instances an operation has added to a store, as far as the store's metrics tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_dicom.exceptions import GoogleApiError
from airflow_dicom.operators._operations import OperationsOperator

if TYPE_CHECKING:
    from airflow_dicom.operation import Operation
    from airflow_dicom.operators._operation import OperationWork
    from airflow_dicom.work.journal import Journal
    from airflow_dicom.work.plan import Plan


class NewInstancesOperator(OperationsOperator):
    """An operator that adds instances to a store.

    :param count_new: whether the result tells how many instances are new to the store, and how many it had already:
        ``new_instances`` and ``duplicates``. They come from the store's number of instances before and after, so they are right only
        if nothing else changes the store meanwhile; where they cannot be, they are ``None``
    """

    found_out: ClassVar[Sequence[str]] = ("_held",)
    switches: ClassVar[Sequence[str]] = ("count_new",)
    at_the_end: ClassVar[Sequence[str]] = ("count_new",)

    def __init__(self, *, count_new: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count_new = count_new
        #: How many instances the store held before; ``None`` for a try that goes on with the operation of another.
        self._held: int | None = None

    def _submit(self, plan: Plan, journal: Journal) -> OperationWork:
        self._held = self._instances() if self.count_new else None
        return super()._submit(plan, journal)

    def _instances(self) -> int:
        return int(self.hook.get_dicom_store_metrics(str(self.store)).get("instanceCount") or 0)

    def counted(self, operation: Operation) -> dict[str, Any]:
        """Return how many instances are new, if that is asked for."""
        if not self.count_new or not operation.done:
            return {}
        new = self._new()
        if new is not None and 0 <= new <= operation.success:
            return {"new_instances": new, "duplicates": operation.success - new}
        return {"new_instances": None, "duplicates": None}

    def _new(self) -> int | None:
        """Return how many instances the store holds more than before; ``None`` where nobody tells."""
        if self._held is None:
            return None
        try:
            return self._instances() - self._held
        except GoogleApiError as error:
            self.log.warning("How many instances are new cannot be told: %s", error)
            return None
