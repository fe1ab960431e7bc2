"""Filter files: which instances of a store an operation is about."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from gcp_dicom_emulator.healthcare.instances import Instances
from gcp_dicom_emulator.healthcare.names import ResourcePath
from gcp_dicom_emulator.healthcare.operations.operations import Run
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.storage.objects import ObjectStore
from gcp_dicom_emulator.storage.uris import parse_gs_uri


def check_filter(filter_config: dict[str, Any]) -> None:
    """Check a ``DicomFilterConfig``.

    :raises ApiError: 400 when it does not name one object.
    """
    _, name = parse_gs_uri(filter_config.get("resourcePathsGcsUri") or "")
    if not name or "*" in name:
        raise ApiError(400, "filterConfig.resourcePathsGcsUri must name one object.")


@contextlib.contextmanager
def filtering(run: Run, objects: ObjectStore, instances: Instances) -> Iterator[str | None]:
    """Apply the filter of an operation's request, or the path in it, while the context lasts; yield whose it is, ``None`` without one.

    Lines that are not paths are ignored, as the service does, but logged.

    :raises ApiError: 404 when there is no such object.
    """
    uri = (run.request["body"].get("filterConfig") or {}).get("resourcePathsGcsUri", "")
    path = run.request.get("path", "")
    if not uri and not path:
        yield None
        return
    try:
        instances.set_filter(run.name, _paths(run, uri, objects) if uri else [ResourcePath.parse(path)])
        yield run.name
    finally:
        instances.forget_filter(run.name)


def _paths(run: Run, uri: str, objects: ObjectStore) -> Iterator[ResourcePath]:
    with objects.get(*parse_gs_uri(uri)).path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for number, line in enumerate(file, 1):
            text = line.removesuffix("\n").removesuffix("\r")
            if not text:
                continue
            try:
                yield ResourcePath.parse(text)
            except ValueError as error:
                run.log("ExportDicomLogEntry", f"ignored line {number} of {uri}: {error}"[:500], resourceName=text[:200])
