"""``dicomStores.import``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from gcp_dicom_emulator.healthcare.dicom.headers import Header, NotDicom, read_headers
from gcp_dicom_emulator.healthcare.dicom.helpers import Helpers
from gcp_dicom_emulator.healthcare.instances import Instance, Instances
from gcp_dicom_emulator.healthcare.operations.operations import Run
from gcp_dicom_emulator.healthcare.storage_info import STORAGE_CLASSES
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.storage.objects import ObjectStore, StoredObject
from gcp_dicom_emulator.storage.uris import parse_gs_uri

_BATCH = 200
#: ``folder/**`` or ``folder/**.dcm``.
_ALL_BELOW = re.compile(r"[^*?]*\*\*(\.[^*?/]+)?", re.DOTALL)
_UNSPECIFIED = "BLOB_STORAGE_CLASS_UNSPECIFIED"


class Importer:
    """Copies objects into a store, each as one instance.

    :param state: where blobs are made.
    :param helpers: read headers of many objects.
    """

    def __init__(self, state: State, objects: ObjectStore, instances: Instances, helpers: Helpers) -> None:
        self._state = state
        self._helpers = helpers
        self._objects = objects
        self._instances = instances

    def check(self, body: dict[str, Any]) -> None:
        """Check a request.

        :raises ApiError: 400 for a source that the API refuses.
        """
        uri = body.get("gcsSource", {}).get("uri", "")
        if not uri:
            raise ApiError(400, "gcsSource.uri is required.")
        _check_source(uri)
        storage_class = body.get("blobStorageSettings", {}).get("blobStorageClass", _UNSPECIFIED)
        if storage_class not in (_UNSPECIFIED, *STORAGE_CLASSES):
            raise ApiError(400, f"Invalid value at 'blob_storage_settings.blob_storage_class', {storage_class!r}")

    def run(self, run: Run) -> None:
        """Import; count and log what fails one by one."""
        store, body = run.request["name"], run.request["body"]
        storage_class = body.get("blobStorageSettings", {}).get("blobStorageClass", _UNSPECIFIED)
        if storage_class == _UNSPECIFIED:
            storage_class = "STANDARD"
        uri = body["gcsSource"]["uri"]
        run.pending = total = sum(1 for _ in self._matching(uri))
        matching = self._matching(uri)
        while batch := list(islice(matching, 1 if run.one_by_one else _BATCH)):
            run.step()
            good = []
            parts = self._helpers.share(read_headers, [source.path for source in batch], of=total)
            for source, header in zip(batch, chain.from_iterable(parts), strict=True):
                try:
                    good.append(self._instance(source, header, storage_class))
                except NotDicom as error:
                    run.count(failure=1)
                    run.log("ImportDicomLogEntry", str(error), source=f"gs://{source.bucket}/{source.name}")
            self._instances.add(store, good, "ImportDicomData")
            run.count(success=len(good))

    def _matching(self, uri: str) -> Iterator[StoredObject]:
        bucket, pattern = parse_gs_uri(uri)
        self._objects.get_bucket(bucket)
        regex = uri_regex(pattern)
        prefix = re.split(r"[*?]", pattern)[0]
        return (found for found in self._objects.iterate(bucket, prefix) if regex.fullmatch(found.name))

    def _instance(self, source: StoredObject, header: Header | NotDicom, storage_class: str) -> Instance:
        if isinstance(header, NotDicom):
            raise header
        blob = self._state.new_blob()
        try:
            # The object's blob never changes, so that the instance can share its bytes.
            os.link(source.path, blob)
        except FileNotFoundError as error:
            raise NotDicom("it was deleted meanwhile") from error
        return Instance(*header.uids, blob, source.size, header.transfer_syntax, storage_class, attributes=header.attributes)


def _check_source(uri: str) -> None:
    """Check an import's URI: ``**`` stands only at the end or before a file's extension, and with no other wildcard.

    :raises ApiError: 400.
    """
    bucket, pattern = parse_gs_uri(uri)
    if re.search(r"[*?\s]", bucket):
        raise ApiError(400, f"gcsSource.uri is {uri!r}; a wildcard cannot stand for a part of the bucket's name.")
    if not pattern or pattern.endswith("/"):
        raise ApiError(400, f"gcsSource.uri is {uri!r}; a folder alone names no object.")
    if "**" in pattern and not _ALL_BELOW.fullmatch(pattern):
        raise ApiError(
            400, f"gcsSource.uri is {uri!r}; ** stands at the end or before a file extension, without other wildcards."
        )


def uri_regex(pattern: str) -> re.Pattern[str]:
    """Return what matches the object names that an import's URI means."""
    tokens = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    return re.compile("".join(tokens.get(part, re.escape(part)) for part in parts), re.DOTALL)
