"""How much is stored, and in which storage class: metrics, ``getStorageInfo`` and ``setBlobStorageSettings``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gcp_dicom_emulator.healthcare.dicom.reading import read
from gcp_dicom_emulator.healthcare.dicom.rows import json_row
from gcp_dicom_emulator.healthcare.instances import Instances
from gcp_dicom_emulator.healthcare.names import ResourcePath
from gcp_dicom_emulator.healthcare.operations.filters import check_filter, filtering
from gcp_dicom_emulator.healthcare.operations.operations import Run
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.storage.objects import ObjectStore

STORAGE_CLASSES = ("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE")
_BATCH = 200


class StorageInfo:
    """Answers about sizes and storage classes, and changes the latter."""

    def __init__(self, objects: ObjectStore, instances: Instances) -> None:
        self._objects = objects
        self._instances = instances

    def metrics(self, store: str, path: ResourcePath | None = None) -> dict[str, Any]:
        """Return the counts and sizes of a store, a study or a series.

        :param path: the study or series; ``None`` for the whole store.
        :raises ApiError: 404 for a study or series without instances.
        """
        studies, series, instances, size = self._instances.counts(store, path)
        if path is not None and not instances:
            raise ApiError(404, f"not found: {store}/dicomWeb{path}")
        counts = {"instanceCount": instances, "blobStorageSizeBytes": size}
        if path is None:
            counts = {"studyCount": studies, **counts}
        if path is None or path.level == "study":
            counts = {"seriesCount": series, **counts}
        return {key: str(value) for key, value in counts.items()}

    def of_instance(self, store: str, path: ResourcePath) -> dict[str, Any]:
        """Return the ``StorageInfo`` of an instance.

        :raises ApiError: 404 when there is none.
        """
        found = self._instances.below(store, path)
        if not found:
            raise ApiError(404, f"not found: {store}/dicomWeb{path}")
        (instance,) = found
        return {
            "referencedResource": f"{store}/dicomWeb{path}",
            "blobStorageInfo": {
                "sizeBytes": str(instance.size),
                "storageClass": instance.storage_class,
                "storageClassUpdateTime": instance.updated,
            },
            "structuredStorageInfo": {"sizeBytes": str(_structured_size(instance.path))},
        }

    def check(self, body: dict[str, Any], path: ResourcePath | None) -> None:
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
        store, storage_class = run.request["name"], run.request["body"]["blobStorageSettings"]["blobStorageClass"]
        with filtering(run, self._objects, self._instances) as filtered:
            run.pending = self._instances.count(store, filtered)
            for page in self._instances.pages(store, filtered, 1 if run.one_by_one else _BATCH):
                run.step()
                self._instances.set_storage_class(store, page, storage_class)
                run.count(success=len(page))


def split_path(name: str) -> tuple[str, ResourcePath]:
    """Split a resource's name below ``dicomWeb`` into the store and the path.

    :raises ApiError: 400 when it names no study, series or instance.
    """
    store, _, path = name.partition("/dicomWeb")
    try:
        return store, ResourcePath.parse(path.removesuffix("/"))
    except ValueError as error:
        raise ApiError(400, f"Invalid resource {name!r}: {error}") from error


def _structured_size(path: Path) -> int:
    """Return how many bytes an instance's elements take as JSON, as ``schemaJson`` counts them."""
    file = read(path, cut_pixels=True)
    row = json_row(file, source_store=None, blob_storage_size=0, storage_class="", last_updated="")
    size: int = row["StructuredStorageSize"]
    return size
