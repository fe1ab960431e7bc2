"""What an operator does that removes things: its retry finishes what an earlier try has begun, and finds less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from airflow_dicom.operators._filtered import FilteredOperator
from airflow_dicom.operators._operations import OperationsOperator, OperationsWork
from airflow_dicom.policy import Policy

if TYPE_CHECKING:
    from airflow_dicom.operators._operation import OperationWork
    from airflow_dicom.work.journal import Journal, Record
    from airflow_dicom.work.plan import Plan


class FinishingOperator(FilteredOperator, OperationsOperator):
    """An operator that removes what its requests name. That a try has begun is stored, so that its retry may find a part gone."""

    found_out: ClassVar[Sequence[str]] = ("finishes",)

    def policy(self) -> Policy:
        """Return how to judge the end: a retry does not see what an earlier try has removed."""
        policy = super().policy()
        return replace(policy, on_empty="succeed", expected_instances=None) if self.finishes else policy

    def begins(self, plan: Plan, journal: Journal) -> None:
        """Store that requests are sent from now on."""
        journal.store(plan)

    def _submit_new(self, plan: Plan, journal: Journal, found: Record | str, doubt: str) -> OperationWork:
        self.finishes = journal.goes_on(plan, found)
        work = super()._submit_new(plan, journal, found, doubt)
        if not self._is_done_in_part():
            journal.forget()  # nothing was there, so there is nothing to finish
        return work

    def _is_done_in_part(self) -> bool:
        return self.finishes or (isinstance(self._work, OperationsWork) and self._work.has_some)
