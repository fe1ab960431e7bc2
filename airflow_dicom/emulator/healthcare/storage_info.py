"""How much is stored, and in which storage class: metrics, ``getStorageInfo`` and ``setBlobStorageSettings``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow_dicom.emulator.errors import ApiError
from airflow_dicom.emulator.healthcare.filters import apply_filter
from airflow_dicom.emulator.healthcare.instances import Instance, Instances
from airflow_dicom.emulator.healthcare.operations import Run
from airflow_dicom.emulator.state import State
from airflow_dicom.emulator.storage.objects import ObjectStore, timestamp
from airflow_dicom.emulator.storage.uris import parse_gs_uri
from airflow_dicom.filter_paths import FilterPath

STORAGE_CLASSES = ("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE")
_BATCH = 200


class StorageInfo:
    """Answers about sizes and storage classes, and changes the latter."""

    def __init__(self, state: State, objects: ObjectStore, instances: Instances) -> None:
        self._state = state
        self._objects = objects
        self._instances = instances

    def metrics(self, store: str, path: FilterPath | None = None) -> dict[str, Any]:
        """Return the counts and sizes of a store, a study or a series.

        :param path: the study or series; ``None`` for the whole store.
        :raises ApiError: 404 for a study or series without instances.
        """
        where, parameters = _below(store, path)
        (row,) = self._state.query(
            "SELECT COUNT(DISTINCT study) AS studies, COUNT(DISTINCT study || '/' || series) AS series, COUNT(*) AS instances,"
            f" COALESCE(SUM(size), 0) AS size FROM dicom_instances WHERE {where}",
            parameters,
        )
        if path is not None and not row["instances"]:
            raise ApiError(404, f"not found: {store}/dicomWeb{path}")
        counts = {"instanceCount": row["instances"], "blobStorageSizeBytes": row["size"]}
        if path is None:
            counts = {"studyCount": row["studies"], **counts}
        if path is None or path.level == "study":
            counts = {"seriesCount": row["series"], **counts}
        return {key: str(value) for key, value in counts.items()}

    def of_instance(self, store: str, path: FilterPath) -> dict[str, Any]:
        """Return the ``StorageInfo`` of an instance.

        :raises ApiError: 404 when there is none.
        """
        where, parameters = _below(store, path)
        rows = self._state.query(f"SELECT * FROM dicom_instances WHERE {where}", parameters)
        if not rows:
            raise ApiError(404, f"not found: {store}/dicomWeb{path}")
        (row,) = rows
        return {
            "referencedResource": f"{store}/dicomWeb{path}",
            "blobStorageInfo": {
                "sizeBytes": str(row["size"]),
                "storageClass": row["storage_class"],
                "storageClassUpdateTime": row["updated"],
            },
            "structuredStorageInfo": {"sizeBytes": str(_structured_size(self._state.blob(row["blob"])))},
        }

    def check(self, body: dict[str, Any], path: FilterPath | None) -> None:
        """Check a request to ``setBlobStorageSettings``.

        :param path: the study, series or instance; ``None`` for a store.
        :raises ApiError: 400 for a request that the API refuses.
        """
        storage_class = (body.get("blobStorageSettings") or {}).get("blobStorageClass")
        if storage_class not in STORAGE_CLASSES:
            raise ApiError(400, f"blobStorageSettings.blobStorageClass must be one of {', '.join(STORAGE_CLASSES)}.")
        filter_config = body.get("filterConfig")
        if filter_config is not None:
            if path is not None:
                raise ApiError(400, "filterConfig needs a DICOM store as the resource.")
            check_filter(filter_config)

    def run(self, run: Run) -> None:
        """Change the storage class of a resource's instances, or of those that a filter names."""
        store, body = run.request["name"], run.request["body"]
        storage_class = body["blobStorageSettings"]["blobStorageClass"]
        filter_uri = (body.get("filterConfig") or {}).get("resourcePathsGcsUri")
        path = run.request.get("path")
        try:
            if filter_uri:
                apply_filter(run, filter_uri, self._objects, self._instances)
            elif path:
                self._instances.set_filter(run.name, [FilterPath.parse(path)])
            filtered = run.name if filter_uri or path else None
            run.pending = self._instances.count(store, filtered)
            for page in self._instances.pages(store, filtered, 1 if run.one_by_one else _BATCH):
                run.step()
                self._set_class(store, page, storage_class)
                run.count(success=len(page))
        finally:
            self._instances.forget_filter(run.name)

    def _set_class(self, store: str, page: list[Instance], storage_class: str) -> None:
        with self._state.transaction() as connection:
            connection.executemany(
                "UPDATE dicom_instances SET storage_class = ?, updated = ?"
                " WHERE store = ? AND study = ? AND series = ? AND instance = ? AND storage_class <> ?",
                [(storage_class, timestamp(), store, *instance.uids, storage_class) for instance in page],
            )


def check_filter(filter_config: dict[str, Any]) -> None:
    """Check a ``DicomFilterConfig``.

    :raises ApiError: 400 when it does not name one object.
    """
    _, name = parse_gs_uri(filter_config.get("resourcePathsGcsUri") or "")
    if not name or "*" in name:
        raise ApiError(400, "filterConfig.resourcePathsGcsUri must name one object.")


def split_path(name: str) -> tuple[str, FilterPath]:
    """Split a resource's name below ``dicomWeb`` into the store and the path.

    :raises ApiError: 400 when it names no study, series or instance.
    """
    store, _, path = name.partition("/dicomWeb")
    try:
        return store, FilterPath.parse(path.removesuffix("/"))
    except ValueError as error:
        raise ApiError(400, f"Invalid resource {name!r}: {error}") from error


def _below(store: str, path: FilterPath | None) -> tuple[str, tuple[str, ...]]:
    """Return the condition of a store's, a study's, a series' or an instance's rows, and its parameters."""
    uids = [uid for uid in (path.study, path.series, path.instance) if uid is not None] if path else []
    columns = ("store", "study", "series", "instance")[: len(uids) + 1]
    return " AND ".join(f"{column} = ?" for column in columns), (store, *uids)


def _structured_size(path: Path) -> int:
    """Return how many bytes an instance's elements take as JSON, as ``schemaJson`` counts them."""
    import pydicom

    from airflow_dicom.emulator.healthcare.rows import json_row

    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    row = json_row(dataset, source_store=None, blob_storage_size=0, storage_class="", last_updated="")
    size: int = row["StructuredStorageSize"]
    return size
