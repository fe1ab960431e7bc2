"""The Healthcare API, BigQuery and Cloud Storage as a walk needs them: in memory, and no faster than the walk lets them be."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_dicom.exceptions import BigQueryApiError, BigQueryApiTransientError, HealthcareApiError, HealthcareApiTransientError
from airflow_dicom.hooks.bigquery_jobs import BigQueryJobHook
from airflow_dicom.hooks.healthcare import HealthcareHook

if TYPE_CHECKING:
    from .fake_airflow import Worker

#: After so many polls a piece of work ends, so that each wait has an end.
POLLS = 3


@dataclass
class Work:
    """An operation, or a job.

    :param run: whose it is: the name of the task's run.
    :param submitted: when, by the service's clock.
    :param request: what was asked for.
    :param sent_by: Airflow's id of the try that asked.
    :param approved: whether the selection was approved at any time since that try's process had begun.
    :param wrote: how many rows or objects it has written.
    """

    name: str
    run: str
    submitted: int
    request: Any
    sent_by: int = 0
    approved: bool = False
    polls: int = 0
    done: bool = False
    cancel_requested: bool = False
    #: Whether the service was asked to stop it, and refused.
    cancel_refused: bool = False
    wrote: int = 0
    failed: int = 0
    error_code: int | None = None
    selected: tuple[str, ...] = ()


@dataclass
class Service:
    """What is at Google's. One clock counts all that happens."""

    works: dict[str, Work] = field(default_factory=dict)
    #: The rows of each table: the run whose operation wrote it, and the instance.
    tables: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    objects: dict[str, Blob] = field(default_factory=dict)
    #: Of which job's result the object of a generation was composed.
    composed: dict[int, str] = field(default_factory=dict)
    #: What the source holds.
    source: list[str] = field(default_factory=lambda: ["1", "2"])
    #: The paths that were deleted.
    gone: set[str] = field(default_factory=set)
    #: How often the store's metrics were asked for.
    looks: int = 0
    #: The XComs of the task that asks a person to approve the filter, by their keys.
    approval: dict[str, Any] = field(default_factory=dict)
    #: What happens to the next request: ``lose`` its answer, ``unavailable``, ``forbidden``.
    trouble: str = ""
    refuses_first_cancel: bool = False
    _clock: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.write_filter()
        self.answer("Approve")

    def now(self) -> int:
        return next(self._clock)

    def submit(self, name: str, run: str, request: Any) -> Work:
        work = self.works[name] = Work(name, run, self.now(), request)
        return work

    def write_filter(self) -> None:
        """Write the filter that is there from the start, again."""
        counts = {"airflow-dicom-instances": "2"}
        self.objects["f.txt"] = Blob(self, "f.txt", generation=self.now(), metadata=counts)

    def answer(self, choice: str) -> None:
        """Let a person look at the filter and at what the store holds of it, and answer."""
        shown = {"filter_uri": "gs://filters/f.txt", "generation": str(self.objects["f.txt"].generation)}
        self.approval = {
            "return_value": {"chosen_options": [choice]},
            "filter_file": {**shown, "instances": len(self.source)},
        }

    def is_approved(self) -> bool:
        """Tell whether a person has approved what there is now."""
        answer, shown = self.approval["return_value"], self.approval["filter_file"]
        is_same = shown["generation"] == str(self.objects["f.txt"].generation) and shown["instances"] == len(self.source)
        return is_same and answer == {"chosen_options": ["Approve"]}

    def poll(self, name: str) -> Work:
        work = self.works[name]
        work.polls += 1
        if work.polls > POLLS:
            self.end(work)
        return work

    def metrics(self) -> dict[str, str]:
        """Return what the store holds; now and then, one more has arrived."""
        self.looks += 1
        if self.looks % POLLS == 0:
            self.source.append(str(len(self.source) + 1))
        return {"instanceCount": str(len(self.source))}

    def cancel(self, name: str) -> None:
        if not self.works[name].done:
            self.works[name].cancel_requested = True

    def end(self, work: Work, how: str = "well") -> None:
        """End work: ``well``, ``in part`` or ``empty``; where it was cancelled, never well."""
        if work.done:
            return
        if work.cancel_requested and how == "well":
            how = "in part"
        destination = work.request.get("bigqueryDestination", {})
        made = work.request.get("destinationDataset")
        table = self.tables.setdefault(made or destination.get("tableUri", "elsewhere"), [])
        disposition = destination.get("writeDisposition")
        work.done = True
        if (disposition == "WRITE_EMPTY" or made) and table:
            work.error_code = 6
            return
        if how == "empty" or (how == "in part" and "query" in work.request):
            work.error_code = 1 if work.cancel_requested else 13
            return
        if disposition == "WRITE_TRUNCATE":
            table.clear()
        work.selected = tuple(self.source[:1] if how == "in part" else self.source)
        work.wrote, work.failed = len(work.selected), len(self.source) - len(work.selected)
        table += [(work.run, instance) for instance in work.selected]
        if how == "in part":
            work.error_code = 1 if work.cancel_requested else None
            work.failed = max(1, work.failed)
        elif "path" in work.request:
            self.gone.add(work.request["path"])
        if "query" in work.request:
            prefix = re.search(r"gs://filters/([^*]+)\*", work.request["query"])
            assert prefix
            self.objects[f"{prefix[1]}0.csv"] = Blob(self, f"{prefix[1]}0.csv", work.name, self.now())


@dataclass
class Blob:
    """An object, by the job that wrote its content."""

    service: Service
    name: str
    content: str = ""
    generation: int = 0
    metadata: dict[str, str] | None = None
    content_type: str = ""
    size: int = 7
    crc32c: str = ""
    call: Callable[[str], None] = lambda what: None

    def compose(self, parts: list[Blob], **_: Any) -> None:
        self.call("compose")
        if any(part.name not in self.service.objects for part in parts):
            raise BigQueryApiError("a part is gone", status_code=404)
        assert len({part.content for part in parts}) == 1, "a filter of two queries"
        self.content, self.generation = parts[0].content, self.service.now()
        self.service.composed[self.generation] = self.content
        self.service.objects[self.name] = Blob(self.service, self.name, self.content, self.generation, self.metadata)
        self.call("composed")

    def delete(self) -> None:
        self.call("delete")
        self.service.objects.pop(self.name, None)


@dataclass
class FakeBucket:
    service: Service
    call: Callable[[str], None]
    name: str = "filters"

    def _seen(self, blob: Blob) -> Blob:
        return Blob(blob.service, blob.name, blob.content, blob.generation, blob.metadata, call=self.call)

    def list_blobs(self, prefix: str, max_results: int | None = None) -> list[Blob]:
        self.call("list")
        return [self._seen(blob) for name, blob in sorted(self.service.objects.items()) if name.startswith(prefix)]

    def get_blob(self, name: str) -> Blob | None:
        self.call("get object")
        found = self.service.objects.get(name)
        return self._seen(found) if found else None

    def blob(self, name: str) -> Blob:
        return Blob(self.service, name, call=self.call)


class _FakeHook:
    """What the two hooks share.

    :param worker: the process that calls: it stands before and after each request, where it may be stopped or killed.
    """

    error: Any
    transient_error: Any

    def __init__(self, service: Service, worker: Worker) -> None:
        self.service, self.worker = service, worker

    def call(self, method: str, *, repeatable: bool = True, **parameters: Any) -> dict[str, Any]:
        method = method.removeprefix("projects.locations.datasets.")
        self.worker.call(f"before {method}")
        trouble, self.service.trouble = self.service.trouble, ""
        if trouble in ("unavailable", "forbidden") and method.endswith(".cancel"):
            self._work(parameters.get("name") or parameters["jobId"]).cancel_refused = True
        if trouble == "unavailable":
            raise self.transient_error("unavailable", status_code=503)
        if trouble == "forbidden":
            raise self.error("forbidden", status_code=403)
        answer = self.answer(method, **parameters)
        if trouble == "lose":
            if not repeatable:
                raise self.transient_error("no answer")
            self.worker.call(f"again {method}")
            answer = self.answer(method, **parameters)
        self.worker.call(f"after {method}")
        name = answer.get("name") or answer.get("jobReference", {}).get("jobId")
        if name:
            self.worker.learn(self.service.works[name])
        return answer

    def answer(self, method: str, **parameters: Any) -> dict[str, Any]:
        raise NotImplementedError

    def _work(self, name: str) -> Work:
        if name not in self.service.works:
            raise self.error("not found", status_code=404)
        return self.service.works[name]


class FakeHealthcareHook(_FakeHook, HealthcareHook):
    error, transient_error = HealthcareApiError, HealthcareApiTransientError

    def answer(self, method: str, **parameters: Any) -> dict[str, Any]:
        if method == "operations.cancel":
            self.worker.cancels(self._work(parameters["name"]))
            self.service.cancel(parameters["name"])
            return {}
        if method == "operations.get":
            self._work(parameters["name"])
            return operation_json(self.service.poll(parameters["name"]))
        name = next(value for parameter, value in parameters.items() if parameter != "body")
        if method == "operations.list":
            return {"operations": [operation_json(self.service.poll(one)) for one in self.service.works]}
        if method == "dicomStores.getDICOMStoreMetrics":
            return self.service.metrics()
        if method.endswith(".delete"):
            path = f"/{parameters['dicomWebPath']}"
            if path in self.service.gone:
                raise self.error("not found", status_code=404)
            if "/instances/" in path:
                self.service.gone.add(path)
                return {}
            return self._start(name, {"path": path})
        return self._start(name, parameters["body"])

    def _start(self, store: str, request: Any) -> dict[str, Any]:
        name = f"{store.partition('/dicomStores/')[0]}/operations/{len(self.service.works)}"
        work = self.service.submit(name, self.worker.task.run, request)
        work.sent_by, work.approved = self.worker.ti_id, self.worker.was_approved
        return operation_json(work)

    def count_what_the_filter_names(self) -> int:
        self.worker.call("before the count")
        return len(self.service.source)


def operation_json(work: Work) -> dict[str, Any]:
    metadata = {
        "counter": {"success": str(work.wrote), "failure": str(work.failed)},
        "cancelRequested": work.cancel_requested,
        "createTime": "2026-01-01T00:00:00Z",
    }
    ended = {"error": {"code": work.error_code, "message": "…"}} if work.error_code else {"response": {}}
    return {"name": work.name, "metadata": metadata, **({"done": True, **ended} if work.done else {})}


class FakeBigQueryHook(_FakeHook, BigQueryJobHook):
    error, transient_error = BigQueryApiError, BigQueryApiTransientError

    def answer(self, method: str, **parameters: Any) -> dict[str, Any]:
        if method == "jobs.insert":
            configuration, job_id = parameters["body"]["configuration"], parameters["body"]["jobReference"]["jobId"]
            if configuration.get("dryRun"):
                query = {"schema": {"fields": [{"name": "path"}]}}
                reference = {"projectId": "demo", "jobId": ""}
                return {"jobReference": reference, "status": {"state": "DONE"}, "statistics": {"query": query}}
            if job_id in self.service.works:
                raise self.error("exists", status_code=409)
            work = self.service.submit(job_id, self.worker.task.run, configuration["query"])
            self.worker.learn(work)  # its id is the operator's own
            return job_json(work)
        work = self._work(parameters["jobId"])
        if method == "jobs.cancel":
            self.worker.cancels(work)
            self.service.cancel(parameters["jobId"])
            return {}
        return job_json(self.service.poll(parameters["jobId"]))


def job_json(work: Work) -> dict[str, Any]:
    status: dict[str, Any] = {"state": "DONE" if work.done else "RUNNING"}
    if work.error_code:
        status["errorResult"] = {"message": "stopped"}
    statistics = {"query": {"exportDataStatistics": {"fileCount": "1", "rowCount": str(work.wrote)}}} if work.done else {}
    return {
        "jobReference": {"projectId": "demo", "location": "US", "jobId": work.name},
        "status": status,
        "statistics": statistics,
    }


class FakeAsyncHook:
    """What the triggers ask; they stop nowhere."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def __aenter__(self) -> FakeAsyncHook:
        return self

    async def __aexit__(self, *_: Any) -> None:
        pass

    async def get_operation(self, name: str) -> dict[str, Any]:
        return operation_json(self.service.poll(name))

    async def cancel_operation(self, name: str) -> None:
        if self.service.refuses_first_cancel:
            self.service.refuses_first_cancel = False
            raise HealthcareApiError("forbidden", status_code=403)
        self.service.cancel(name)

    async def list_operations(self, name: str) -> list[dict[str, Any]]:
        return [operation_json(self.service.poll(one)) for one in self.service.works]

    async def get_dicom_store_metrics(self, name: str) -> dict[str, str]:
        return self.service.metrics()

    async def get_job(self, project_id: str, job_id: str, location: str | None) -> dict[str, Any]:
        return job_json(self.service.poll(job_id))

    async def cancel_job(self, project_id: str, job_id: str, location: str | None) -> None:
        self.service.cancel(job_id)
