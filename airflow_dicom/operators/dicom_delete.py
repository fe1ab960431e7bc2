"""Delete studies, series or instances from a DICOM store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_dicom.exceptions import DicomArgumentError, HealthcareApiError
from airflow_dicom.filter_paths import FilterPath, outermost
from airflow_dicom.operation import Operation
from airflow_dicom.operators._connection import NOT_GIVEN, one_or_many
from airflow_dicom.operators._filter_object import read_lines
from airflow_dicom.operators._finishing import FinishingOperator
from airflow_dicom.operators._operation import OperationWork
from airflow_dicom.operators._operations import OperationsWork, Request
from airflow_dicom.policy import Policy
from airflow_dicom.work.plan import Plan

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_dicom.hooks.healthcare import HealthcareHook
    from airflow_dicom.typing import Templated

_METHODS = {"study": "studies", "series": "studies.series", "instance": "studies.series.instances"}
_NOT_FOUND = 404


class DicomDeleteOperator(FinishingOperator):
    """Delete studies, series and instances from a DICOM store, and wait until they are gone (``dicomStores.studies.delete``, …).

    Exactly one of ``paths`` and ``filter_uri`` is given, so that it never empties a store: for that,
    :class:`~airflow_dicom.operators.DicomDeleteStoreOperator` has ``delete_contents``. All paths are checked before the first is
    deleted. What is not there counts as ``missing``; ``on_empty`` says what it means that nothing was there. From Airflow 3.3, a retry
    finishes what an earlier try has begun: less may be there then, whatever ``on_empty``, ``expected_instances`` and an approval say.
    A study or a series is an operation, an instance is deleted at once.

    .. seealso:: https://cloud.google.com/healthcare-api/docs/how-tos/dicomweb#deleting_a_study_series_or_instance

    :param paths: a path, ``/studies/UID[/series/UID[/instances/UID]]``, or a list of them (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._filtered.FilteredOperator` and
    :class:`~airflow_dicom.operators.DicomOperationOperator`.
    """

    found_out = (*FinishingOperator.found_out, "_counts")
    template_fields: Sequence[str] = ("paths", *FinishingOperator.template_fields)

    def __init__(self, *, paths: Sequence[str] | Templated | None = NOT_GIVEN, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.paths: Any
        self._narrow(paths=paths)
        #: How many paths were there, how many were not, and how many instances were deleted without an operation.
        self._counts: dict[str, int] = {}
        self._check_literals()

    def plan_of_all(self, context: Context) -> Plan:
        """Return the request: which paths, or which filter."""
        if bool(self.paths) == bool(self.filter_uri):
            raise DicomArgumentError(
                "Give paths or filter_uri. To delete all that a store holds, use DicomDeleteStoreOperator(delete_contents=True)."
            )
        paths = [str(path) for path in self._parsed(one_or_many(self.paths))] if self.paths else []
        return Plan(
            method="dicomStores.studies.delete",
            name=str(self.store),
            parameter="parent",
            body={"paths": paths},
            subject=f"Deletion of {_words(paths)} from {self.store}",
            result={"dicom_store": str(self.store)},
            outputs=[self.store.uri],
        )

    def requests(self, plan: Plan) -> Iterable[Request]:
        """Return a request for each path, the outermost only."""
        self._counts = {"found": 0, "missing": 0, "at_once": 0}
        for path in self._parsed(self._lines(plan)):
            yield Request(
                f"dicomStores.{_METHODS[path.level]}.delete", {"parent": plan.name, "dicomWebPath": str(path).removeprefix("/")}
            )

    def send(self, request: Request) -> Operation | None:
        """Send a request; what is not there is counted."""
        answer = _deleted(self.hook, request)
        if answer is None:
            self._counts["missing"] += 1
            return None
        self._counts["found"] += 1
        if "name" in answer:
            return Operation.from_response(answer)
        is_instance = "instances/" in request.parameters["dicomWebPath"]
        self._counts["at_once"] += is_instance
        return Operation("", done=True, success=int(is_instance))

    def policy(self) -> Policy:
        """Return how to judge the end. Whether anything was there, the paths say: the service may not count what it deletes."""
        policy = super().policy()
        return policy if self._counts.get("found") == 0 else replace(policy, on_empty="succeed")

    def _lines(self, plan: Plan) -> Iterable[str]:
        if self.paths:
            return one_or_many(self.paths)
        assert self.filter_uri is not None
        # The version that was looked at, and approved, if any was: another run may replace the object meanwhile.
        return read_lines(self, self.filter_uri, plan.versions.get(self.filter_uri))

    def _parsed(self, lines: Iterable[str]) -> list[FilterPath]:
        try:
            return outermost(FilterPath.parse(line) for line in lines)
        except ValueError as error:
            raise DicomArgumentError(f"{'paths' if self.paths else self.filter_uri}: {error} Nothing was deleted.") from error

    def _work_of_event(self, event: dict[str, Any]) -> OperationWork:
        if event["status"] == "timeout":
            return self._named(self._name_of_event(event))
        at_once = Operation("", done=True, success=self._counts.get("at_once", 0))
        return OperationsWork([super()._work_of_event(event).operation, at_once], self)

    def counted(self, operation: Operation) -> dict[str, Any]:
        """Return how many paths were not there."""
        return {"missing": self._counts.get("missing", 0)}


def _words(paths: list[str]) -> str:
    return f"{len(paths)} paths" if len(paths) > 1 else "".join(paths) or "instances"


def _deleted(hook: HealthcareHook, request: Request) -> dict[str, Any] | None:
    """Send a deletion; return its answer, or ``None`` where there was nothing to delete."""
    try:
        return hook.call(request.method, **request.parameters)
    except HealthcareApiError as error:
        if error.status_code != _NOT_FOUND:
            raise
        return {} if error.after_lost_answer else None  # the request whose answer was lost has deleted it
