"""What the operators share that may start several operations, one for each thing that they are about."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_dicom import polling
from airflow_dicom.exceptions import GoogleApiError
from airflow_dicom.operation import Operation, split_names
from airflow_dicom.operators._operation import DicomOperationOperator, OperationWork
from airflow_dicom.operators._waiting import LeftToTheNextTry
from airflow_dicom.resource_names import OperationName

if TYPE_CHECKING:
    from airflow_dicom.work.journal import Journal
    from airflow_dicom.work.plan import Plan

#: How many operations may run at once: a task that starts more waits in its worker until some are done.
AT_ONCE = 100


class Request(NamedTuple):
    """One of the requests of a plan.

    :param method: the REST method, such as ``dicomStores.import``.
    :param parameters: its parameters, and ``body``.
    """

    method: str
    parameters: dict[str, Any]


class OperationsWork(OperationWork):
    """Several operations of one dataset, seen as one.

    :param operations: as last seen.
    :param operator: whose hook asks.
    """

    def __init__(self, operations: list[Operation], operator: DicomOperationOperator) -> None:
        self._operations = operations
        super().__init__(Operation.together(operations), operator)

    @property
    def has_some(self) -> bool:
        """Whether a request had something to do."""
        return bool(self._operations)

    def add(self, operation: Operation) -> None:
        """Add one that was just started."""
        self._operations.append(operation)
        self.operation = Operation.together(self._operations)

    def poll(self) -> str:
        """Ask for each that is not done; return the counters, in words, if they have changed."""
        before = self.operation
        for index, one in enumerate(self._operations):
            if not one.done:
                self._operations[index] = self._operator.get_operation(one.name)
        self.operation = Operation.together(self._operations)
        running = sum(not one.done for one in self._operations)
        return f"{self.operation.progress()} ({running} operations run)" if self.operation.counters != before.counters else ""

    def cancel(self) -> None:
        """Ask the service to stop those that are not done: each, whatever it answers about another."""
        refused = []
        for one in self._operations:
            try:
                if not one.done:
                    self._operator.hook.cancel_operation(one.name)
            except GoogleApiError as error:
                refused.append(error)
        if refused:
            raise refused[0]

    def wait_for_room(self, pause: float) -> None:
        """Wait until fewer operations run than may."""
        while sum(not one.done for one in self._operations) >= AT_ONCE:
            time.sleep(min(pause, polling.LONGEST_PAUSE))
            self.poll()


class OperationsOperator(DicomOperationOperator):
    """An operator whose plan is several requests that are safe to repeat, each an operation: started, waited for and judged as one."""

    def requests(self, plan: Plan) -> Iterable[Request]:
        """Return the requests of a plan."""
        raise NotImplementedError

    def begins(self, plan: Plan, journal: Journal) -> None:
        """Called when all requests are known, before the first is sent."""

    def send(self, request: Request) -> Operation | None:
        """Send a request; return its operation, or one without a name that is done, or ``None`` if there was nothing to do."""
        return Operation.from_response(self.hook.call(request.method, **request.parameters))

    def _submit(self, plan: Plan, journal: Journal) -> OperationWork:
        # Known from now on, so that an error, or a kill, does not leave them running.
        self._work = work = OperationsWork([], self)
        requests = list(self.requests(plan))
        self.begins(plan, journal)
        for request in requests:
            if self._killed:
                self._stop_waiting()  # once more: an answer may have come meanwhile
                raise LeftToTheNextTry(f"{plan.subject}: no more is sent, since Airflow stops this try.")
            work.wait_for_room(pause=1.0)
            if operation := self.send(request):
                work.add(operation)
        return work

    def _named(self, name: str) -> OperationWork:
        return OperationsWork([Operation(one) for one in split_names(str(OperationName.parse(name)))], self)

    def _look_up(self, name: str) -> OperationWork:
        return OperationsWork([Operation.from_response(one) for one in self.hook.get_operations(name)], self)
