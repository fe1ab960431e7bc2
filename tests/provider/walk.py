"""The walk: any order of what can happen to a task, and what must hold after each step."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from airflow_dicom.operation import split_names
from airflow_dicom.operators import (
    DicomDeidentifyDatasetOperator,
    DicomDeidentifyOperator,
    DicomDeleteOperator,
    DicomExportOperator,
    DicomImportOperator,
    DicomSetBlobStorageSettingsOperator,
    FilterFileFromBigQueryOperator,
)
from airflow_dicom.sensors import DicomOperationSensor, DicomOperationsSensor, DicomStoreMetricsSensor

from .fake_airflow import Task, Worker
from .fake_service import FakeBigQueryHook, FakeBucket, FakeHealthcareHook, Service, Work

DATASET = "projects/demo/locations/us-central1/datasets/radiology"
STORE = f"{DATASET}/dicomStores/images"
FILTER = "gs://filters/f.txt"

#: What is deleted: the first two by operations, the last one at once.
PATHS = {
    "a": ["/studies/1", "/studies/2/series/1", "/studies/3/series/1/instances/1"],
    "b": ["/studies/4", "/studies/2/series/2", "/studies/3/series/1/instances/2"],
}

#: The operation that a sensor waits for, by what it is about.
OTHERS = {"a": f"{DATASET}/operations/0", "b": f"{DATASET}/operations/1"}

#: How many instances a sensor waits for.
LEAST = {"a": 3, "b": 4}


def sensor(kind: Any, **arguments: Callable[[str], Any]) -> Callable[..., Any]:
    """Return what makes a sensor.

    :param arguments: its arguments, by the request.
    """

    def make(request: str, poll_interval: float, **common: Any) -> Any:
        return kind(poke_interval=poll_interval, **{name: value(request) for name, value in arguments.items()}, **common)

    return make


SENSORS = {
    "operation sensor": sensor(DicomOperationSensor, operation=lambda request: OTHERS[request]),
    "operations sensor": sensor(DicomOperationsSensor, dataset=lambda request: DATASET),
    "metrics sensor": sensor(
        DicomStoreMetricsSensor, dicom_store=lambda request: STORE, min_instances=lambda request: LEAST[request]
    ),
}

#: Which operator, with what, by the argument that a change of the DAG's file changes.
OPERATORS: dict[str, Callable[..., Any]] = {
    "import": lambda request, **common: DicomImportOperator(dicom_store=STORE, gcs_uri=f"gs://source/{request}/**.dcm", **common),
    "import list": lambda request, **common: DicomImportOperator(
        dicom_store=STORE, gcs_uri=[f"gs://source/{request}/{number}/**" for number in range(3)], **common
    ),
    "counted import": lambda request, **common: DicomImportOperator(
        dicom_store=STORE, gcs_uri=f"gs://source/{request}/**.dcm", count_new=True, **common
    ),
    "delete": lambda request, **common: DicomDeleteOperator(
        dicom_store=STORE, paths=PATHS[request], on_empty="succeed", **common
    ),
    "export": lambda request, **common: DicomExportOperator(
        dicom_store=STORE, gcs_uri_prefix=f"gs://target/{request}", filter_uri=FILTER, **common
    ),
    "approved export": lambda request, **common: DicomExportOperator(
        dicom_store=STORE, gcs_uri_prefix=f"gs://target/{request}", filter_uri=FILTER, approved_by="approve", **common
    ),
    **{
        disposition: lambda request, disposition=disposition, **common: DicomExportOperator(
            dicom_store=STORE,
            bigquery_table=f"demo.dicom.{request}",
            write_disposition=disposition,
            filter_uri=FILTER,
            **common,
        )
        for disposition in ("WRITE_TRUNCATE", "WRITE_EMPTY", "WRITE_APPEND")
    },
    "deidentify": lambda request, **common: DicomDeidentifyOperator(
        dicom_store=STORE,
        destination_store=f"{STORE}-{request}",
        config="ATTRIBUTE_CONFIDENTIALITY_BASIC_PROFILE",
        filter_uri=FILTER,
        **common,
    ),
    "deidentify dataset": lambda request, **common: DicomDeidentifyDatasetOperator(
        dataset=DATASET,
        destination_dataset=f"projects/demo/locations/l/datasets/without-{request}",
        config="ATTRIBUTE_CONFIDENTIALITY_BASIC_PROFILE",
        **common,
    ),
    "storage class": lambda request, **common: DicomSetBlobStorageSettingsOperator(
        dicom_store=STORE, blob_storage_class={"a": "NEARLINE", "b": "COLDLINE"}[request], filter_uri=FILTER, **common
    ),
    "filter": lambda request, **common: FilterFileFromBigQueryOperator(
        sql=f"SELECT path FROM dicom.{request}", filter_uri="gs://filters/made.txt", project_id="demo", **common
    ),
    **SENSORS,
}

#: Mostly one run, and sometimes another beside it.
run = st.sampled_from([0, 0, 0, 1])

#: The states of a task that a person clears or marks.
BEGUN = ("running", "deferred", "success", "failed", "up_for_retry", "restarting", "again")

#: How far a try goes: some calls, or to its end.
calls = st.one_of(st.integers(0, 16), st.just(1000))


class Walk(RuleBasedStateMachine):
    """Two runs of a DAG's task, and what happens to them."""

    operator = "import"

    def __init__(self) -> None:
        super().__init__()
        self.service = Service()
        self.request = "a"
        self.deferrable = False
        if self.operator in SENSORS:
            for request, name in OTHERS.items():
                self.service.submit(name, "another", {"uri": f"gs://source/{request}/**"})
        self.tasks = [Task(name, self.service, self.make_operator, self.check_claim) for name in ("first", "second")]

    def make_operator(self, worker: Worker) -> Any:
        operator = OPERATORS[self.operator](
            self.request, task_id="task", deferrable=self.deferrable, poll_interval=0, retries=worker.task.retries
        )
        hook = FakeBigQueryHook if self.operator == "filter" else FakeHealthcareHook
        operator.__dict__["hook"] = hook(self.service, worker)
        operator.__dict__["bucket"] = FakeBucket(self.service, worker.call)
        if self.operator == "approved export":
            operator.upstream_task_ids.add("approve")
        worker.request = self.request
        return operator

    def is_about(self, work: Work, request: str) -> bool:
        """Tell whether work does what a request asks for."""
        words = {
            "filter": f"FROM dicom.{request}",
            "import": f"source/{request}/",
            "import list": f"source/{request}/",
            "counted import": f"source/{request}/",
            "operation sensor": f"source/{request}/",
            "export": f"target/{request}",
            "approved export": f"target/{request}",
            "deidentify": f"images-{request}'",
            "deidentify dataset": f"without-{request}'",
            "storage class": {"a": "NEARLINE", "b": "COLDLINE"}[request],
        }
        return words.get(self.operator, f"dicom.{request}") in str(work.request)

    # What must hold.

    def check_claim(self, worker: Worker, result: Any) -> None:
        """Nothing is lost that a green task claims."""
        if self.operator == "metrics sensor":
            assert LEAST[worker.request] <= result["instances"] <= len(self.service.source), "the task is green too early"
        elif self.operator == "operations sensor":
            assert all(work.done for work in self.service.works.values()), "the task is green, and something runs"
        elif self.operator == "delete":
            assert self.service.gone.issuperset(PATHS[worker.request]), "the task is green, and something is left"
        else:
            for name in split_names(result["operation"]) if isinstance(result, dict) else [self.made_of(worker)]:
                self.check_work(worker, self.service.works[name])
                if self.operator == "counted import" and result["new_instances"] is not None:
                    assert self.service.works[name].sent_by == worker.ti_id, (
                        "only who has sent the request knows how many are new"
                    )

    def check_work(self, worker: Worker, work: Work) -> None:
        assert work.done, "the task is green, and its work runs"
        assert work.error_code is None, "the task is green, and its work failed"
        assert not work.failed, "the task is green, and instances failed"
        assert self.is_about(work, worker.request), "the task is green by work for another request"
        if self.operator in SENSORS:
            return
        assert work.run == worker.task.run, "the task is green by another run's work"
        if worker.is_current:
            assert work.submitted > worker.task.cleared_at, "the task was cleared after it had succeeded, and did nothing again"

    def made_of(self, worker: Worker) -> str:
        """Return the job of which the filter is that a task has announced."""
        return self.service.composed[int(worker.task.xcoms["filter_file"]["generation"])]

    @invariant()
    def no_row_twice(self) -> None:
        if self.operator not in ("WRITE_APPEND", "deidentify"):
            return
        for task in self.tasks:
            wrote = sorted(work.submitted for work in self.service.works.values() if work.run == task.run and work.wrote)
            for before, after in itertools.pairwise(wrote):
                assert any(before < licence < after for licence in task.licences), "rows twice, and nobody had allowed it"

    @invariant()
    def never_more_than_asked_for(self) -> None:
        for work in self.service.works.values():
            if self.operator in SENSORS:
                assert not work.cancel_requested, "a sensor does not own what it waits for"
            elif self.operator == "delete":
                assert work.request["path"] in itertools.chain(*PATHS.values())
            elif self.operator not in ("import", "import list", "counted import", "deidentify dataset", "filter"):
                assert work.request["filterConfig"] == {"resourcePathsGcsUri": FILTER}, "the filter is lost"
            if self.operator == "approved export":
                assert work.approved, "sent, and nobody had approved what there was"

    @invariant()
    def nobody_cancels_what_another_try_has(self) -> None:
        for task in self.tasks:
            assert not task.wrongly_cancelled, "a process that was replaced has cancelled what another try goes on with"

    @invariant()
    def nothing_runs_for_nobody(self) -> None:
        if self.operator in SENSORS:
            return
        for task in self.tasks:
            # After a refusal, a person looks at what runs; after a kill, nobody was there to cancel.
            if task.has_ended and not (task.killed_last or task.has_refused or task.workers):
                mine = [work for work in task.known if work.submitted > task.looked_at]
                left = [work for work in mine if not (work.done or work.cancel_requested or work.cancel_refused)]
                assert not left, f"{task.state} for good, and {left[0].name} runs ({task.worker and task.worker.error!r})"

    # What happens.

    @initialize(deferrable=st.booleans(), retries=st.integers(0, 3), calls=calls, policy=st.booleans())
    def make(self, deferrable: bool, retries: int, calls: int, policy: bool = False) -> None:
        from airflow_dicom.retry_policy import DicomRetryPolicy  # Airflow 3.3

        self.deferrable = deferrable
        for task in self.tasks:
            task.retries, task.policy = retries, DicomRetryPolicy() if policy else None
            task.begin_anew()
        self.start(0, calls)

    def some(self, *states: str) -> bool:
        return any(task.state in states for task in self.tasks)

    def in_state(self, number: int, *states: str) -> Task | None:
        """Return a task that is in such a state: the one asked for, if it is."""
        order = [self.tasks[number], self.tasks[1 - number]]
        return next((task for task in order if task.state in states), None)

    @precondition(lambda self: self.some("scheduled", "up_for_retry", "restarting", "again"))
    @rule(number=run, calls=calls)
    def start(self, number: int, calls: int) -> None:
        if task := self.in_state(number, "scheduled", "up_for_retry", "restarting", "again"):
            task.start()
            task.worker.go(calls)

    @precondition(lambda self: any(task.workers for task in self.tasks))
    @rule(number=st.integers(0, 5), calls=calls)
    def go_on(self, number: int, calls: int) -> None:
        workers = [worker for task in self.tasks for worker in task.workers]
        workers[number % len(workers)].go(calls)

    @precondition(lambda self: self.some("deferred"))
    @rule(number=run, in_time=st.sampled_from([True, True, False]), calls=calls)
    def trigger_fires(self, number: int, in_time: bool, calls: int) -> None:
        if task := self.in_state(number, "deferred"):
            task.fire(in_time=in_time)
            task.worker.go(calls)

    # Rules are drawn with the same weight: what happens less often shares one.

    @rule(kind=st.sampled_from(["lose", "unavailable", "forbidden", "store"]))
    def trouble_comes(self, kind: str) -> None:
        self.service.trouble = kind

    @precondition(lambda self: self.some("running"))
    @rule(number=run, what=st.sampled_from(["is killed", "is told to stop", "stalls", "times out"]))
    def worker(self, number: int, what: str) -> None:
        if task := self.in_state(number, "running"):
            happens = {
                "is killed": task.kill,
                "is told to stop": task.stop,
                "stalls": task.stall,
                "times out": task.worker.time_out,
            }
            happens[what]()

    @precondition(lambda self: self.some("deferred"))
    @rule(number=run, what=st.sampled_from(["another triggerer takes it", "the resume is lost", "the file breaks at the resume"]))
    def deferral(self, number: int, what: str) -> None:
        if not (task := self.in_state(number, "deferred")):
            return
        if what == "another triggerer takes it":
            task.cancel_trigger(task.deferral.trigger)
        elif what == "the resume is lost":
            task.lose_resume()
        else:
            task.put_off()

    @precondition(lambda self: any(task.others or task.lingering for task in self.tasks))
    @rule()
    def what_was_replaced_hears_of_it(self) -> None:
        for task in self.tasks:
            for worker in task.others:
                worker.stop()
            while task.lingering:
                task.cancel_trigger(task.lingering.pop())

    @rule(number=run, reset=st.booleans(), run_ended=st.booleans(), and_kill=st.sampled_from([False, False, True]))
    def clear(self, number: int, reset: bool, run_ended: bool, and_kill: bool) -> None:
        if and_kill and (task := self.in_state(number, "running")):
            task.worker.kill()
            task.clear(reset=False, run_ended=False, moves=False)
            if task.state == "running":  # such a clear is not tried
                task.fail()
        elif task := self.in_state(number, *BEGUN):
            task.clear(reset=reset, run_ended=run_ended and task.has_ended)

    @rule(number=run, state=st.sampled_from(["success", "failed"]))
    def mark(self, number: int, state: str) -> None:
        if task := self.in_state(number, *BEGUN):
            task.mark(state)

    @rule(number=run, what=st.sampled_from(["request", "request", "retries", "clear of another task"]), retries=st.integers(0, 4))
    def person_changes(self, number: int, what: str, retries: int) -> None:
        if what == "request":
            self.request = "b" if self.request == "a" else "a"
        elif what == "retries":
            for task in self.tasks:
                task.retries = retries
        else:
            self.tasks[number].clear_number += 1

    @precondition(lambda self: self.some("success", "failed"))
    @rule(number=run)
    def delete_and_make_the_run_again(self, number: int) -> None:
        task = self.in_state(number, "success", "failed")
        if task and not task.workers:
            task.begin_anew()

    @precondition(lambda self: any(not work.done for work in self.service.works.values()))
    @rule(how=st.sampled_from(["well", "well", "in part", "empty"]))
    def work_ends(self, how: str) -> None:
        self.service.end(next(work for work in self.service.works.values() if not work.done), how)

    @rule(what=st.sampled_from(["source grows", "tables are emptied"]))
    def data(self, what: str) -> None:
        if what == "source grows":
            self.service.source.append(str(len(self.service.source) + 1))
        else:
            for rows in self.service.tables.values():
                rows.clear()

    @precondition(lambda self: self.operator == "approved export")
    @rule(what=st.sampled_from(["Approve", "Reject", "the filter is made again", "the store has more of it"]))
    def approval(self, what: str) -> None:
        if what == "the filter is made again":
            self.service.write_filter()
        elif what == "the store has more of it":
            self.service.source.append(str(len(self.service.source) + 1))
        else:
            self.service.answer(what)
        for worker in itertools.chain(*(task.workers for task in self.tasks)):
            worker.was_approved |= self.service.is_approved()

    def teardown(self) -> None:
        """See all of it through: no task is stuck."""
        self.service.trouble = ""
        self.what_was_replaced_hears_of_it()
        for task in self.tasks:
            for _ in range(50):
                if task.state == "deferred":
                    task.fire()
                elif task.state == "running" and task.worker is not None and not task.worker.ended:
                    task.worker.go(1000)
                elif task.state in ("up_for_retry", "restarting", "again"):
                    task.start()
                else:
                    break
                self.no_row_twice()
            assert task.has_ended or task.state == "scheduled", f"stuck: {task.state}"
        self.nothing_runs_for_nobody()
        for work in list(self.service.works.values()):
            self.service.end(work)
        self.no_row_twice()
        for task in self.tasks:
            for worker in task.workers:
                worker.kill()


def walk(operator: str, sequences: int, steps: int = 12, *, derandomize: bool = True) -> None:
    """Walk.

    :param operator: a key of :data:`OPERATORS`.
    :param sequences: how many orders of events to try.
    :param steps: how many events each has, at most.
    :param derandomize: whether to try the same orders each time.
    """
    machine = type("Walk", (Walk,), {"operator": operator})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=sequences,
            stateful_step_count=steps,
            database=None,
            report_multiple_bugs=False,
            derandomize=derandomize,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # twelve events are short enough; to shrink them takes minutes
        ),
    )
