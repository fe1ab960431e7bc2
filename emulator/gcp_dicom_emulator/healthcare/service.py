"""The Healthcare API, its DICOM part, over HTTP.

Source: the discovery documents ``healthcare.v1`` and ``healthcare.v1beta1``.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any

from gcp_dicom_emulator.bigquery.service import BigQueryService
from gcp_dicom_emulator.healthcare.dicom.helpers import Helpers
from gcp_dicom_emulator.healthcare.dicomweb.retrieve import Retrieval
from gcp_dicom_emulator.healthcare.dicomweb.search import Search
from gcp_dicom_emulator.healthcare.dicomweb.store import Store
from gcp_dicom_emulator.healthcare.instances import Instances
from gcp_dicom_emulator.healthcare.label_filters import parse_label_filter
from gcp_dicom_emulator.healthcare.locations import get_location, list_locations
from gcp_dicom_emulator.healthcare.names import ResourcePath
from gcp_dicom_emulator.healthcare.notifications import (
    Notifications,
    check_notification_config,
    check_notification_configs,
)
from gcp_dicom_emulator.healthcare.operations.deidentify import Deidentifier
from gcp_dicom_emulator.healthcare.operations.exporting import Exporter
from gcp_dicom_emulator.healthcare.operations.importing import Importer
from gcp_dicom_emulator.healthcare.operations.operations import INVALID_ARGUMENT, OperationError, Operations, Run
from gcp_dicom_emulator.healthcare.storage_info import StorageInfo, split_path
from gcp_dicom_emulator.healthcare.stores import Resources, check_time_zone
from gcp_dicom_emulator.healthcare.streaming import Streaming, check_stream_configs
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.pubsub.deliveries import Deliveries
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.faults import OPERATION_KINDS, Faults
from gcp_dicom_emulator.rest.iam import IamPolicies
from gcp_dicom_emulator.rest.labels import check_labels
from gcp_dicom_emulator.rest.paging import page, page_size
from gcp_dicom_emulator.rest.server import Call, Handler
from gcp_dicom_emulator.storage.objects import ObjectStore

_NUMBER = re.compile("[0-9]{1,19}")
_LOCATIONS = "healthcare.projects.locations"
_DATASETS = f"{_LOCATIONS}.datasets"
_STORES = f"{_DATASETS}.dicomStores"
#: The fields of a dataset and of a store that a client may set; those without a check need what the emulator does not have.
_DATASET_FIELDS = {"timeZone": check_time_zone, "encryptionSpec": None, "satisfiesPzi": None, "satisfiesPzs": None}
_STORE_FIELDS: dict[str, Callable[[Any], None] | None] = {
    "labels": check_labels,
    "notificationConfig": check_notification_config,
    "notificationConfigs": check_notification_configs,
    "streamConfigs": check_stream_configs,
}
#: The fields that tell others of a store's changes, which a de-identified copy of it does not take over.
_TELLING = ("notificationConfig", "notificationConfigs", "streamConfigs")
_DATASET_NAME = re.compile(r"projects/[^/]+/locations/[^/]+/datasets/[^/]+")
_STORE_NAME = re.compile(rf"{_DATASET_NAME.pattern}/dicomStores/[^/]+")
_TYPE = "type.googleapis.com/google.cloud.healthcare"


class HealthcareService:
    """Datasets, DICOM stores and operations over HTTP.

    :param state: where everything is kept.
    :param objects: the emulated Cloud Storage.
    :param bigquery: the emulated BigQuery.
    :param deliveries: the emulated Pub/Sub's messages.
    :param faults: what is to go wrong with operations.
    """

    apis = ["healthcare.v1", "healthcare.v1beta1"]

    def __init__(
        self, state: State, objects: ObjectStore, bigquery: BigQueryService, deliveries: Deliveries, faults: Faults
    ) -> None:
        self._state = state
        self.instances = Instances(state)
        self.operations = Operations(state)
        self._faults = faults
        #: How an operation ends in which single instances failed: ``"error"`` or ``"response"``; the documentation shows both.
        self.partial_failure = "error"
        self._datasets = Resources(state, "datasets", _DATASET_FIELDS)
        self._stores = Resources(state, "dicomStores", _STORE_FIELDS)
        self.instances.watchers.append(Notifications(self._stores.get, self.instances, deliveries))
        self._streaming = Streaming(state, self._stores.get, bigquery)
        self.instances.watchers.append(self._streaming)
        self._search = Search(state, self._stores.get)
        self._retrieval = Retrieval(self.instances, self._stores.get)
        self._store = Store(state, self.instances, self._stores.get)
        self._policies = IamPolicies(state)
        self._storage_info = StorageInfo(objects, self.instances)
        self._helpers = Helpers()
        self._deidentifier = Deidentifier(state, objects, self.instances, self._helpers)
        self._importer = Importer(state, objects, self.instances, self._helpers)
        self._exporter = Exporter(state, objects, self.instances, bigquery, self.operations, self._helpers)
        self.operations.register("create_dataset", self._created_dataset)
        self.operations.register("import", self._imported)
        self.operations.register("export", self._exported)
        self.operations.register("delete", self._deleted)
        self.operations.register("deidentify", self._deidentified)
        self.operations.register("set_blob_storage_settings", self._set_storage_class)

    @property
    def operation_seconds(self) -> float:
        """How long an operation takes at least, in seconds; its counters move meanwhile."""
        return self.operations.seconds

    @operation_seconds.setter
    def operation_seconds(self, seconds: float) -> None:
        self.operations.seconds = seconds

    def handlers(self) -> dict[str, Handler]:
        """Return the code by method id."""
        return {
            f"{_LOCATIONS}.get": get_location,
            f"{_LOCATIONS}.list": lambda call: _page(call, "locations", list_locations(call)),
            f"{_DATASETS}.create": self._create_dataset,
            f"{_DATASETS}.get": lambda call: self._datasets.get(call.path["name"]),
            f"{_DATASETS}.list": lambda call: _page(call, "datasets", self._datasets.children(call.path["parent"])),
            f"{_DATASETS}.patch": lambda call: self._datasets.patch(
                call.path["name"], call.query.get("updateMask", ""), call.body
            ),
            f"{_DATASETS}.delete": lambda call: self._delete(self._datasets, call),
            f"{_DATASETS}.deidentify": self._deidentify_dataset,
            f"{_DATASETS}.operations.get": lambda call: self.operations.poll(call.path["name"]),
            f"{_DATASETS}.operations.list": self._list_operations,
            f"{_DATASETS}.operations.cancel": self._cancel,
            f"{_STORES}.create": self._create_store,
            f"{_STORES}.get": lambda call: self._stores.get(call.path["name"]),
            f"{_STORES}.list": self._list_stores,
            f"{_STORES}.patch": lambda call: self._stores.patch(call.path["name"], call.query.get("updateMask", ""), call.body),
            f"{_STORES}.delete": lambda call: self._delete(self._stores, call),
            f"{_STORES}.import": self._import,
            f"{_STORES}.export": self._export,
            f"{_STORES}.deidentify": self._deidentify_store,
            f"{_STORES}.getDICOMStoreMetrics": self._metrics,
            f"{_STORES}.setBlobStorageSettings": self._set_blob_storage_settings,
            f"{_STORES}.dicomWeb.studies.setBlobStorageSettings": self._set_blob_storage_settings,
            f"{_STORES}.dicomWeb.studies.getStudyMetrics": lambda call: self._metrics_below(call, "study"),
            f"{_STORES}.dicomWeb.studies.series.getSeriesMetrics": lambda call: self._metrics_below(call, "series"),
            f"{_STORES}.dicomWeb.studies.series.instances.getStorageInfo": self._get_storage_info,
            f"{_STORES}.studies.delete": self._delete_below,
            f"{_STORES}.studies.series.delete": self._delete_below,
            f"{_STORES}.studies.series.instances.delete": self._delete_instance,
            **self._search.handlers(_STORES),
            **self._retrieval.handlers(_STORES),
            **self._store.handlers(_STORES),
            **self._policies.handlers(_DATASETS, self._datasets.get),
            **self._policies.handlers(_STORES, self._stores.get),
        }

    def start(self) -> None:
        """Go on with what a killed emulator left."""
        self.operations.resume()
        self._streaming.start()

    def close(self) -> None:
        """Stop background work."""
        self.operations.close()
        self._streaming.close()
        self._helpers.close()

    # Datasets and stores

    def _create_dataset(self, call: Call) -> dict[str, Any]:
        with self._state.transaction():
            name = self._datasets.create(call.path["parent"], call.query.get("datasetId", ""), call.body)["name"]
            return self._start(call, "create_dataset", name, "dataset.DatasetService.CreateDataset", name)

    def _created_dataset(self, run: Run) -> dict[str, Any]:
        version = run.request["api_version"]
        return {"@type": f"{_TYPE}.{version}.dataset.Dataset", **self._datasets.get(run.request["name"])}

    def _create_store(self, call: Call) -> dict[str, Any]:
        with self._state.transaction():
            self._datasets.get(call.path["parent"])
            return self._stores.create(call.path["parent"], call.query.get("dicomStoreId", ""), call.body)

    def _list_stores(self, call: Call) -> dict[str, Any]:
        self._datasets.get(call.path["parent"])
        stores = self._stores.children(call.path["parent"])
        if text := call.query.get("filter", "").strip():
            matches = parse_label_filter(text)
            stores = [store for store in stores if matches(store.get("labels", {}))]
        return _page(call, "dicomStores", stores)

    def _delete(self, resources: Resources, call: Call) -> dict[str, Any]:
        with self._state.transaction():
            resources.delete(call.path["name"])
            self._policies.delete_below(call.path["name"])
            self.instances.delete_below(call.path["name"])
        return {}

    def _metrics(self, call: Call) -> dict[str, Any]:
        name = self._stores.get(call.path["name"])["name"]
        return {"name": name, **self._storage_info.metrics(name)}

    def _metrics_below(self, call: Call, level: str) -> dict[str, Any]:
        name = call.path[level]
        store, path = split_path(name)
        self._stores.get(store)
        return {level: name, **self._storage_info.metrics(store, path)}

    def _get_storage_info(self, call: Call) -> dict[str, Any]:
        store, path = split_path(call.path["resource"])
        self._stores.get(store)
        return self._storage_info.of_instance(store, path)

    # Operations

    def _import(self, call: Call) -> dict[str, Any]:
        store = self._stores.get(call.path["name"])["name"]
        self._importer.check(call.body)
        return self._start(call, "import", store.partition("/dicomStores/")[0], "dicom.DicomService.ImportDicomData", store)

    def _export(self, call: Call) -> dict[str, Any]:
        store = self._stores.get(call.path["name"])["name"]
        self._exporter.check(call.body)
        return self._start(call, "export", store.partition("/dicomStores/")[0], "dicom.DicomService.ExportDicomData", store)

    def _deidentify_store(self, call: Call) -> dict[str, Any]:
        source = self._stores.get(call.path["sourceStore"])["name"]
        destination = call.body.get("destinationStore", "")
        if not _STORE_NAME.fullmatch(destination) or destination == source:
            raise ApiError(400, "destinationStore must be the full name of another DICOM store.")
        _check_location(source, destination)
        self._deidentifier.check(call.body)
        self._stores.get(destination)
        dataset, method = source.partition("/dicomStores/")[0], "deidentify.DeidentifyService.DeidentifyDicomStore"
        stores, secret = [(source, destination)], secrets.token_hex(16)
        return self._start(
            call, "deidentify", dataset, method, source, stores=stores, secret=secret, response="DeidentifyDicomStoreSummary"
        )

    def _deidentify_dataset(self, call: Call) -> dict[str, Any]:
        source = self._datasets.get(call.path["sourceDataset"])
        destination = call.body.get("destinationDataset", "")
        if not _DATASET_NAME.fullmatch(destination):
            raise ApiError(400, "destinationDataset must be the full name of a dataset that does not exist.")
        _check_location(source["name"], destination)
        self._deidentifier.check(call.body)
        parent, _, dataset_id = destination.partition("/datasets/")
        stores = []
        with self._state.transaction():
            self._datasets.create(parent, dataset_id, source)
            for store in self._stores.children(source["name"]):
                copied = {key: value for key, value in store.items() if key not in _TELLING}
                copy = self._stores.create(destination, store["name"].rpartition("/")[2], copied)
                stores.append((store["name"], copy["name"]))
            name, method = source["name"], "dataset.DatasetService.DeidentifyDataset"
            return self._start(
                call, "deidentify", name, method, name, stores=stores, secret=secrets.token_hex(16), response="DeidentifySummary"
            )

    def _deidentified(self, run: Run) -> dict[str, Any]:
        self._deidentifier.run(run)
        run.suffer(self._faults)
        return self._response(run, f"deidentify.{run.request['response']}", "de-identifying")

    def _set_blob_storage_settings(self, call: Call) -> dict[str, Any]:
        resource = call.path["resource"]
        store, path = split_path(resource) if "/dicomWeb/" in resource else (resource, None)
        self._stores.get(store)
        self._storage_info.check(call.body, path)
        dataset, method = store.partition("/dicomStores/")[0], "storageinfo.StorageInfoService.SetBlobStorageSettings"
        return self._start(call, "set_blob_storage_settings", dataset, method, store, path=str(path) if path else None)

    def _delete_below(self, call: Call) -> dict[str, Any]:
        store, path = self._dicom_web_path(call)
        level = "Study" if path.level == "study" else "Series"
        method = f"dicomweb.DicomWebService.Delete{level}"
        return self._start(call, "delete", store.partition("/dicomStores/")[0], method, store, path=str(path))

    def _deleted(self, run: Run) -> dict[str, Any]:
        path = ResourcePath.parse(run.request["path"])
        run.pending = len(self.instances.below(run.request["name"], path))
        run.step()
        with self._state.transaction():
            # What came after a deletion that a killed emulator has done stays.
            deleted = int(run.phase) if run.phase else self.instances.delete(run.request["name"], path)
            self.operations.set_phase(run, str(deleted))
        run.count(success=deleted)
        run.suffer(self._faults)
        return {"@type": "type.googleapis.com/google.protobuf.Empty"}

    def _delete_instance(self, call: Call) -> dict[str, Any]:
        store, path = self._dicom_web_path(call)
        self.instances.delete(store, path)
        return {}

    def _dicom_web_path(self, call: Call) -> tuple[str, ResourcePath]:
        """Return the store and what a request names below it; 404 if either is not there."""
        store = self._stores.get(call.path["parent"])["name"]
        name = f"{store}/dicomWeb/{call.path['dicomWebPath']}"
        _, path = split_path(name)
        if not self.instances.below(store, path):
            raise ApiError(404, f"not found: {name}")
        return store, path

    def _start(self, call: Call, kind: str, dataset: str, api_method: str, name: str, **further: Any) -> dict[str, Any]:
        version = call.method.api.partition(".")[2]
        request = {"name": name, "body": call.body, "api_version": version, **further}
        fault = self._faults.take(OPERATION_KINDS, call.method.method_id, call.request.raw_path)
        if fault is not None:
            request["fault"] = {"kind": fault.kind, "code": fault.code, "seconds": fault.seconds}
        return self.operations.start(kind, version, dataset, api_method, request, call.base_url)

    def _imported(self, run: Run) -> dict[str, Any]:
        self._importer.run(run)
        run.suffer(self._faults)
        return self._response(run, "dicom.ImportDicomDataResponse", "importing")

    def _exported(self, run: Run) -> dict[str, Any]:
        self._exporter.run(run)
        run.suffer(self._faults)
        return self._response(run, "dicom.ExportDicomDataResponse", "exporting")

    def _set_storage_class(self, run: Run) -> dict[str, Any]:
        self._storage_info.run(run)
        run.suffer(self._faults)
        return {"@type": "type.googleapis.com/google.protobuf.Empty"}

    def _response(self, run: Run, message: str, doing: str) -> dict[str, Any]:
        if run.failure and self.partial_failure == "error":
            raise OperationError(
                INVALID_ARGUMENT,
                f"invalid_argument: {doing} one or more instances failed. Please use the link in the metadata.logsUrl field to view "
                "the error logs for this operation.",
            )
        return {"@type": f"{_TYPE}.{run.request['api_version']}.{message}"}

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
            call.path["name"], min(int(token), 1 << 62) if token else None, page_size(call.query.get("pageSize"))
        )
        answer: dict[str, Any] = {"operations": page} if page else {}
        if following is not None:
            answer["nextPageToken"] = str(following)
        return answer

    def _cancel(self, call: Call) -> dict[str, Any]:
        self.operations.cancel(call.path["name"])
        return {}


def _check_location(source: str, destination: str) -> None:
    if source.split("/")[3] != destination.split("/")[3]:
        raise ApiError(400, "De-identifying data across multiple locations is not supported.")


def _page(call: Call, key: str, resources: list[dict[str, Any]]) -> dict[str, Any]:
    parent = call.path.get("parent") or call.path["name"]
    return page(key, resources, f"{parent}/", call.query.get("pageSize"), call.query.get("pageToken"))
