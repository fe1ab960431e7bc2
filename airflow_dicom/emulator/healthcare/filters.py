"""Filter files: which instances of a store an export is about."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_dicom.emulator.healthcare.instances import Instances
from airflow_dicom.emulator.healthcare.operations import Run
from airflow_dicom.emulator.storage.objects import ObjectStore
from airflow_dicom.emulator.storage.uris import parse_gs_uri
from airflow_dicom.filter_paths import FilterPath


def apply_filter(run: Run, uri: str, objects: ObjectStore, instances: Instances) -> None:
    """Read a filter file for an operation. Lines that are no path are ignored, as the service does, but logged.

    :raises ApiError: 404 when there is no such object.
    """
    bucket, name = parse_gs_uri(uri)
    path = objects.get(bucket, name).path

    def paths() -> Iterator[FilterPath]:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            for number, line in enumerate(file, 1):
                text = line.rstrip("\r\n")
                if not text:
                    continue
                try:
                    yield FilterPath.parse(text)
                except ValueError as error:
                    run.log("ExportDicomLogEntry", f"ignored line {number} of {uri}: {error}"[:500], resourceName=text[:200])

    instances.set_filter(run.name, paths())
