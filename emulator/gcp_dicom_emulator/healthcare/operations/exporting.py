"""``dicomStores.export``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from gcp_dicom_emulator.bigquery.names import TableName
from gcp_dicom_emulator.bigquery.service import BigQueryService
from gcp_dicom_emulator.healthcare.dicom.helpers import Helpers
from gcp_dicom_emulator.healthcare.dicom.pixels import pictures
from gcp_dicom_emulator.healthcare.dicom.rows import Flattener, NoRow, json_schema, make_rows
from gcp_dicom_emulator.healthcare.dicom.transcoding import convert, parse_mime_type, raw_frames
from gcp_dicom_emulator.healthcare.instances import Instance, Instances
from gcp_dicom_emulator.healthcare.operations.filters import check_filter, filtering
from gcp_dicom_emulator.healthcare.operations.operations import UNAVAILABLE, OperationError, Operations, Run
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.storage.objects import ObjectStore
from gcp_dicom_emulator.storage.uris import parse_gs_uri

_BATCH = 200
_EXTENSIONS = {"application/octet-stream": "", "image/jpeg": ".jpg", "image/png": ".png"}
_TABLE_URI = re.compile(r"(?=.{1,2000}\Z)bq://([^.]+)\.([^.]+)\.([^.]+)", re.DOTALL)
_WRITE_DISPOSITIONS = ("WRITE_EMPTY", "WRITE_TRUNCATE", "WRITE_APPEND")

#: The phases in which the emulator may have written rows to BigQuery, and in which it has.
_LOADING, _LOADED = "loading", "loaded"


class Exporter:
    """Writes a store's instances to Cloud Storage, or their metadata to BigQuery.

    :param helpers: make rows of many instances.
    """

    def __init__(
        self,
        state: State,
        objects: ObjectStore,
        instances: Instances,
        bigquery: BigQueryService,
        operations: Operations,
        helpers: Helpers,
    ) -> None:
        self._state = state
        self._objects = objects
        self._instances = instances
        self._bigquery = bigquery
        self._operations = operations
        self._helpers = helpers

    def check(self, body: dict[str, Any]) -> None:
        """Check a request.

        :raises ApiError: 400 for a request that the API refuses, 501 for a format the emulator does not have.
        """
        gcs, table = body.get("gcsDestination"), body.get("bigqueryDestination")
        if (gcs is None) == (table is None):
            raise ApiError(400, "Exactly one of gcsDestination and bigqueryDestination is required.")
        if gcs is not None:
            parse_gs_uri(gcs.get("uriPrefix", ""))
            parse_mime_type(gcs.get("mimeType", ""))
        if table is not None:
            check_table(table)
        if "filterConfig" in body:
            check_filter(body["filterConfig"])

    def run(self, run: Run) -> None:
        """Export; count and log what fails one by one."""
        body = run.request["body"]
        with filtering(run, self._objects, self._instances) as filtered:
            if "gcsDestination" in body:
                self._to_cloud_storage(run, body["gcsDestination"], filtered)
            else:
                self._to_bigquery(run, body["bigqueryDestination"], filtered)

    def _pages(self, run: Run, filtered: str | None) -> Iterator[list[Instance]]:
        store = run.request["name"]
        run.pending = self._instances.count(store, filtered)
        for page in self._instances.pages(store, filtered, 1 if run.one_by_one else _BATCH):
            run.step()
            yield page

    # Cloud Storage

    def _to_cloud_storage(self, run: Run, destination: dict[str, Any], filtered: str | None) -> None:
        bucket, prefix = parse_gs_uri(destination["uriPrefix"])
        self._objects.get_bucket(bucket)
        prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        media_type, transfer_syntax = parse_mime_type(destination.get("mimeType", ""))
        for page in self._pages(run, filtered):
            written, success = [], 0
            for instance in page:
                blobs: list[Path] = []
                try:
                    names = self._write_files(instance, media_type, transfer_syntax, blobs)
                except Exception as error:
                    # Codecs raise whatever the pixel data makes them stumble over; the other instances go on.
                    for blob in blobs:
                        blob.unlink(missing_ok=True)
                    run.count(failure=1)
                    run.log("ExportDicomLogEntry", str(error), resourceName=_resource_name(run, instance))
                else:
                    path = "/".join(instance.uids)
                    written += [(f"{prefix}{path}{name}", blob) for name, blob in zip(names, blobs, strict=True)]
                    success += 1
            self._objects.put_many(bucket, written, {"contentType": media_type})
            run.count(success=success)

    def _write_files(self, instance: Instance, media_type: str, transfer_syntax: str, blobs: list[Path]) -> list[str]:
        """Write an instance's files to new blobs, and return the ends of their names.

        :param blobs: takes the blobs as they are made.
        """
        if media_type == "application/dicom":
            blobs.append(self._state.new_blob())
            if transfer_syntax in ("*", instance.transfer_syntax):
                os.link(instance.path, blobs[0])
            else:
                convert(instance.path, blobs[0], transfer_syntax)
            return [".dcm"]
        is_picture = media_type.startswith("image/")
        for frame in pictures(instance.path, media_type) if is_picture else raw_frames(instance.path, transfer_syntax):
            blobs.append(self._state.new_blob())
            blobs[-1].write_bytes(frame)
        extension = _EXTENSIONS[media_type]
        return [extension] if len(blobs) == 1 else [f"/{number}{extension}" for number in range(1, len(blobs) + 1)]

    # BigQuery

    def _to_bigquery(self, run: Run, destination: dict[str, Any], filtered: str | None) -> None:
        if run.phase.startswith(_LOADED):
            run.success, run.failure = map(int, run.phase.split()[1:])
            return
        project, dataset, table = table_of(destination)
        self._bigquery.catalog.get_dataset(project, dataset)
        disposition = _disposition(destination)
        if run.phase == _LOADING and disposition != "WRITE_TRUNCATE":
            raise OperationError(
                UNAVAILABLE, "The emulator was stopped while it wrote rows; whether they are there is not known."
            )
        if not disposition and self._bigquery.catalog.find(TableName(project, dataset, table)):
            raise ApiError(409, f"Already Exists: Table {project}:{dataset}.{table}")
        lines = self._state.new_blob()
        try:
            schema = self._write_lines(run, destination, filtered, lines)
            run.step()
            self._operations.set_phase(run, _LOADING)
            self._bigquery.load_json_lines(project, dataset, table, schema, lines, disposition or "WRITE_EMPTY", trusted=True)
            self._operations.set_phase(run, f"{_LOADED} {run.success} {run.failure}")
        finally:
            lines.unlink(missing_ok=True)

    def _write_lines(self, run: Run, destination: dict[str, Any], filtered: str | None, lines: Path) -> list[dict[str, Any]]:
        """Write a row of JSON for each instance; return the rows' schema."""
        source_store = run.request["name"] if destination.get("includeSourceStore") else None
        columns, total = Flattener(), 0
        flattened = "schemaJson" not in destination
        with lines.open("x", encoding="utf-8") as file:
            for page in self._pages(run, filtered):
                total = max(total, run.pending)
                parts = self._helpers.share(make_rows, page, flattened, source_store, of=total)
                for part in parts:
                    columns.merge(part.columns)
                made = chain.from_iterable(part.lines for part in parts)
                for instance, line in zip(page, made, strict=True):
                    if isinstance(line, NoRow):
                        run.count(failure=1)
                        run.log("ExportDicomLogEntry", line.reason, resourceName=_resource_name(run, instance))
                    else:
                        file.write(line)
                        run.count(success=1)
        return columns.schema() if flattened else json_schema(bool(source_store))


def _resource_name(run: Run, instance: Instance) -> str:
    study, series, uid = instance.uids
    return f"{run.request['name']}/dicomWeb/studies/{study}/series/{series}/instances/{uid}"


def table_of(destination: dict[str, Any]) -> tuple[str, str, str]:
    """Return project, dataset and table of a ``bigqueryDestination``.

    :raises ApiError: 400 for another ``tableUri``.
    """
    match = _TABLE_URI.fullmatch(destination.get("tableUri", ""))
    if not match:
        raise ApiError(
            400,
            f"Invalid tableUri {destination.get('tableUri')!r}; it must be bq://project.dataset.table, of at most 2000 characters.",
        )
    project, dataset, table = match.groups()
    return project, dataset, table


def _disposition(destination: dict[str, Any]) -> str:
    """Return the write disposition that a request means; ``""`` if there must be no table yet, not even an empty one."""
    disposition: str = destination.get("writeDisposition", "")
    if disposition in _WRITE_DISPOSITIONS:
        return disposition
    return "WRITE_TRUNCATE" if destination.get("force") else ""


def check_table(destination: dict[str, Any]) -> None:
    """Check a ``bigqueryDestination``.

    :raises ApiError: 400 for one that the API refuses, 501 for what the emulator does not do.
    """
    table_of(destination)
    disposition = destination.get("writeDisposition", "WRITE_DISPOSITION_UNSPECIFIED")
    if disposition not in (*_WRITE_DISPOSITIONS, "WRITE_DISPOSITION_UNSPECIFIED"):
        raise ApiError(400, f"Invalid value at 'bigquery_destination.write_disposition', {disposition!r}")
    if "schemaFlattened" in destination and "schemaJson" in destination:
        raise ApiError(400, "Only one of schemaFlattened and schemaJson can be set.")
    if "changeDataCaptureConfig" in destination:
        raise ApiError(501, "The emulator does not do changeDataCaptureConfig.")
