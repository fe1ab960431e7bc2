"""What the operators share that take a filter file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.gcs_uris import check_object_uri
from airflow_dicom.links.dicom import FilterFileLink
from airflow_dicom.operators._approval import check_approval
from airflow_dicom.operators._connection import NOT_GIVEN, as_count
from airflow_dicom.operators._filter_object import FilterObject, generation_made_upstream
from airflow_dicom.operators._operation import DicomOperationOperator, OperationWork

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_dicom.typing import Templated
    from airflow_dicom.work.plan import Plan

#: The value of ``expected_instances`` that means the number which the filter carries.
_OF_FILTER = "filter"


class FilteredOperator(DicomOperationOperator):
    """An operation on those instances of a store that a filter file names, or on all.

    :param filter_uri: a filter file: one object with a line ``/studies/UID[/series/UID[/instances/UID]]`` for each thing that the
        operation is about; left out, it is about everything. Given, but rendered to nothing, it is an error. Where a task right
        before this one made the filter, no other run's filter under the same name is taken for it (templated)
    :param expected_instances: how many instances must be handled; ``None`` when nobody knows; ``"filter"`` for the number that the
        filter operators of this package write into the filter's metadata. The service ignores a filter's lines that match nothing:
        this catches it (templated)
    :param approved_by: the id of a :class:`~airflow_dicom.operators.filter_approval.FilterApprovalOperator` right before this task:
        nothing is sent unless a person has approved this very filter, and the store holds as many instances of it as the person was
        told
    """

    template_fields: Sequence[str] = ("filter_uri", *DicomOperationOperator.template_fields)
    operator_extra_links = (*DicomOperationOperator.operator_extra_links, FilterFileLink())
    checks = {
        "filter_uri": lambda uri: check_object_uri(uri, argument="filter_uri"),
        "expected_instances": lambda value: value == _OF_FILTER or as_count(value, "expected_instances"),
    }

    #: Whether this try finishes what an earlier one has begun, so that less may be there.
    finishes = False

    def __init__(self, *, filter_uri: Templated | None = NOT_GIVEN, approved_by: str | None = NOT_GIVEN, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filter_uri: str | None
        self.approved_by: str | None
        self._narrow(filter_uri=filter_uri, approved_by=approved_by)

    def plan_of_all(self, context: Context) -> Plan:
        """Return what to ask of the service when there is no filter."""
        raise NotImplementedError

    def plan(self, context: Context) -> Plan:
        """Return what :meth:`plan_of_all` does, about what the filter names."""
        plan = self.plan_of_all(context)
        resumes = self._work is not None and self.expected_instances != _OF_FILTER
        versions = {} if resumes else self._read_filter(context)
        if not self.filter_uri:
            return plan
        return replace(
            plan,
            body={**plan.body, "filterConfig": {"resourcePathsGcsUri": self.filter_uri}},
            subject=f"{plan.subject}, filtered by {self.filter_uri}",
            links={**plan.links, FilterFileLink.key: FilterFileLink.url(self.filter_uri)},
            inputs=[*plan.inputs, self.filter_uri],
            versions=versions,
        )

    def _submit_new(self, *arguments: Any) -> OperationWork:
        if self.approved_by is not None:
            assert self._context is not None
            check_approval(self, self._context, self.approved_by, has_begun=self.finishes)
        return super()._submit_new(*arguments)

    def _read_filter(self, context: Context) -> dict[str, str]:
        """Read what the filter carries, where the task asks for it or a task before has said which version it made.

        :return: the version that was read. ``expected_instances="filter"`` is the filter's number from now on.
        """
        wants_number = self.expected_instances == _OF_FILTER
        if not self.filter_uri:
            if wants_number:
                raise DicomArgumentError("expected_instances is 'filter', and there is no filter_uri.")
            return {}
        made = generation_made_upstream(self, context, self.filter_uri)
        if made is None and not wants_number:
            return {}
        found = FilterObject.read(self, self.filter_uri)
        if made is not None:
            found.check_generation(made)
        if wants_number and found.instances is None:
            raise DicomArgumentError(
                f"expected_instances is 'filter', and {self.filter_uri} does not say how many instances it covers. A filter operator "
                "of this package knows where each line names an instance, or with metadata_table."
            )
        if wants_number:
            self.expected_instances = found.instances
        return {self.filter_uri: found.generation}
