"""The Healthcare API, its DICOM part, over HTTP.

Source: the discovery documents ``healthcare.v1`` and ``healthcare.v1beta1``.
"""

from __future__ import annotations

import json
import re
from typing import Any

from aiohttp import web

from airflow_dicom.emulator.bigquery.service import BigQueryService
from airflow_dicom.emulator.errors import ApiError
from airflow_dicom.emulator.faults import OPERATION_KINDS, Faults
from airflow_dicom.emulator.healthcare.exporting import Exporter
from airflow_dicom.emulator.healthcare.importing import Importer
from airflow_dicom.emulator.healthcare.instances import Instances
from airflow_dicom.emulator.healthcare.operations import INVALID_ARGUMENT, OperationError, Operations, Run
from airflow_dicom.emulator.healthcare.stores import Resources
from airflow_dicom.emulator.server import Call, Handler
from airflow_dicom.emulator.state import State
from airflow_dicom.emulator.storage.objects import ObjectStore

_PAGE, _MAX_PAGE = 100, 1000
_NUMBER = re.compile("[0-9]{1,19}")
_TYPE = "type.googleapis.com/google.cloud.healthcare"


class HealthcareService:
    """Datasets, DICOM stores and operations over HTTP.

    :param state: where everything is kept.
    :param objects: the emulated Cloud Storage.
    :param bigquery: the emulated BigQuery.
    :param faults: what is to go wrong with operations.
    """

    apis = ["healthcare.v1", "healthcare.v1beta1"]

    def __init__(self, state: State, objects: ObjectStore, bigquery: BigQueryService, faults: Faults) -> None:
        self.instances = Instances(state)
        self.operations = Operations(state)
        self._faults = faults
        #: How an operation ends in which single instances failed: ``"error"`` or ``"response"``; the documentation shows both.
        self.partial_failure = "error"
        self._datasets = Resources(state, "datasets", frozenset({"timeZone"}))
        self._stores = Resources(state, "dicomStores", frozenset({"labels"}))
        self._importer = Importer(state, objects, self.instances)
        self._exporter = Exporter(state, objects, self.instances, bigquery, self.operations)
        self.operations.register("create_dataset", self._created_dataset)
        self.operations.register("import", self._imported)
        self.operations.register("export", self._exported)

    @property
    def operation_seconds(self) -> float:
        """How long an operation takes at least, in seconds; its counters move meanwhile."""
        return self.operations.seconds

    @operation_seconds.setter
    def operation_seconds(self, seconds: float) -> None:
        self.operations.seconds = seconds

    def handlers(self) -> dict[str, Handler]:
        """Return the code by method id."""
        datasets, stores = "healthcare.projects.locations.datasets", "healthcare.projects.locations.datasets.dicomStores"
        return {
            f"{datasets}.create": self._create_dataset,
            f"{datasets}.get": lambda call: self._datasets.get(call.path["name"]),
            f"{datasets}.list": lambda call: _page(call, "datasets", self._datasets.children(call.path["parent"])),
            f"{datasets}.patch": lambda call: self._datasets.patch(
                call.path["name"], call.query.get("updateMask", ""), call.body
            ),
            f"{datasets}.delete": lambda call: self._delete(self._datasets, call),
            f"{datasets}.operations.get": lambda call: self.operations.get(call.path["name"]),
            f"{datasets}.operations.list": self._list_operations,
            f"{datasets}.operations.cancel": self._cancel,
            f"{stores}.create": self._create_store,
            f"{stores}.get": lambda call: self._stores.get(call.path["name"]),
            f"{stores}.list": self._list_stores,
            f"{stores}.patch": lambda call: self._stores.patch(call.path["name"], call.query.get("updateMask", ""), call.body),
            f"{stores}.delete": lambda call: self._delete(self._stores, call),
            f"{stores}.import": self._import,
            f"{stores}.export": self._export,
            f"{stores}.getDICOMStoreMetrics": self._metrics,
        }

    def start(self) -> None:
        """Go on with what a killed emulator left."""
        self.operations.resume()

    def close(self) -> None:
        """Stop background work."""
        self.operations.close()

    async def logs_page(self, request: web.Request) -> web.Response:
        """Show the errors of single instances of an operation, as ``logsUrl`` promises."""
        entries = self.operations.logs(request.query.get("operation", ""))
        return web.json_response({"entries": entries}, dumps=lambda value: json.dumps(value, indent=2))

    # Datasets and stores

    def _create_dataset(self, call: Call) -> dict[str, Any]:
        dataset = self._datasets.create(call.path["parent"], call.query.get("datasetId", ""), call.body)
        return self._start(call, "create_dataset", dataset["name"], "dataset.DatasetService.CreateDataset", dataset["name"])

    def _created_dataset(self, run: Run) -> dict[str, Any]:
        version = run.request["api_version"]
        return {"@type": f"{_TYPE}.{version}.dataset.Dataset", **self._datasets.get(run.request["name"])}

    def _create_store(self, call: Call) -> dict[str, Any]:
        self._datasets.get(call.path["parent"])
        return self._stores.create(call.path["parent"], call.query.get("dicomStoreId", ""), call.body)

    def _list_stores(self, call: Call) -> dict[str, Any]:
        self._datasets.get(call.path["parent"])
        if call.query.get("filter"):
            raise ApiError(501, "The emulator does not filter dicomStores.list.")
        return _page(call, "dicomStores", self._stores.children(call.path["parent"]))

    def _delete(self, resources: Resources, call: Call) -> dict[str, Any]:
        resources.delete(call.path["name"])
        self.instances.delete_below(call.path["name"])
        return {}

    def _metrics(self, call: Call) -> dict[str, Any]:
        name = self._stores.get(call.path["name"])["name"]
        studies, series, instances, size = self.instances.counts(name)
        counts = {"studyCount": studies, "seriesCount": series, "instanceCount": instances, "blobStorageSizeBytes": size}
        return {"name": name, **{key: str(value) for key, value in counts.items()}}

    # Operations

    def _import(self, call: Call) -> dict[str, Any]:
        store = self._stores.get(call.path["name"])["name"]
        call.body = _without_nulls(call.body)
        self._importer.check(call.body)
        return self._start(call, "import", store.partition("/dicomStores/")[0], "dicom.DicomService.ImportDicomData", store)

    def _export(self, call: Call) -> dict[str, Any]:
        store = self._stores.get(call.path["name"])["name"]
        call.body = _without_nulls(call.body)
        self._exporter.check(call.body)
        return self._start(call, "export", store.partition("/dicomStores/")[0], "dicom.DicomService.ExportDicomData", store)

    def _start(self, call: Call, kind: str, dataset: str, api_method: str, name: str) -> dict[str, Any]:
        version = call.method.api.partition(".")[2]
        request = {"name": name, "body": call.body, "api_version": version}
        fault = self._faults.take(OPERATION_KINDS, call.method.method_id, call.request.raw_path)
        if fault is not None:
            request["fault"] = {"kind": fault.kind, "code": fault.code, "seconds": fault.seconds}
        return self.operations.start(kind, version, dataset, api_method, request, call.base_url)

    def _imported(self, run: Run) -> dict[str, Any]:
        self._importer.run(run)
        run.suffer(self._faults)
        return self._response(run, "ImportDicomDataResponse", "importing")

    def _exported(self, run: Run) -> dict[str, Any]:
        self._exporter.run(run)
        run.suffer(self._faults)
        return self._response(run, "ExportDicomDataResponse", "exporting")

    def _response(self, run: Run, message: str, doing: str) -> dict[str, Any]:
        if run.failure and self.partial_failure == "error":
            raise OperationError(
                INVALID_ARGUMENT,
                f"invalid_argument: {doing} one or more instances failed. Please use the link in the metadata.logsUrl field to view "
                "the error logs for this operation.",
            )
        return {"@type": f"{_TYPE}.{run.request['api_version']}.dicom.{message}"}

    def _list_operations(self, call: Call) -> dict[str, Any]:
        self._datasets.get(call.path["name"])
        if call.query.get("filter"):
            raise ApiError(501, "The emulator does not filter operations.list; neither does the documented service.")
        if call.query.get("returnPartialSuccess") == "true":
            raise ApiError(501, "The emulator does not do returnPartialSuccess; neither does the service, by default.")
        token = call.query.get("pageToken", "")
        if token and not _NUMBER.fullmatch(token):
            raise ApiError(400, f"pageToken is {token!r}, which no listing has returned.")
        page, following = self.operations.of_dataset(
            call.path["name"], min(int(token), 1 << 62) if token else None, _page_size(call)
        )
        answer: dict[str, Any] = {"operations": page} if page else {}
        if following is not None:
            answer["nextPageToken"] = str(following)
        return answer

    def _cancel(self, call: Call) -> dict[str, Any]:
        self.operations.cancel(call.path["name"])
        return {}


def _without_nulls(body: dict[str, Any]) -> dict[str, Any]:
    """Leave out the fields that are null, which means that they are not set."""
    return {key: _without_nulls(value) if isinstance(value, dict) else value for key, value in body.items() if value is not None}


def _page_size(call: Call) -> int:
    value = call.query.get("pageSize") or "0"
    if not _NUMBER.fullmatch(value):
        raise ApiError(400, f"pageSize is {value!r}; it must be a number.")
    return min(int(value) or _PAGE, _MAX_PAGE)


def _page(call: Call, key: str, resources: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a page of resources that are sorted by name; the token is the last name of the page before."""
    after = call.query.get("pageToken", "")
    rest = [resource for resource in resources if resource["name"] > after]
    size = _page_size(call)
    answer: dict[str, Any] = {key: rest[:size]} if rest else {}
    if len(rest) > size:
        answer["nextPageToken"] = rest[size - 1]["name"]
    return answer
