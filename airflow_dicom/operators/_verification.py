"""What an export has delivered to Cloud Storage, compared with what it was to deliver."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow_dicom.delivery import Page, in_order, is_of_export, line_of_object, object_of_line, without_objects
from airflow_dicom.exceptions import DicomUnexpectedCount
from airflow_dicom.operators._filter_object import bucket_and_name, generation_made_upstream, read_lines

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from google.cloud.storage import Blob

    from airflow_dicom.operation import Operation
    from airflow_dicom.operators.dicom_export import DicomExportOperator
    from airflow_dicom.work.plan import Plan

#: The XCom key of the filter that is written of what is missing.
MISSING_FILTER_URI_KEY = "missing_filter_uri"

#: How many missing lines an exception shows.
_SAMPLE = 5

#: The most objects that a request lists.
_PAGE = 1000


class _Listing:
    """The objects that an operation has written.

    :ivar requests: how many there were.
    """

    def __init__(self, operator: DicomExportOperator, operation: Operation) -> None:
        self._bucket, folder = bucket_and_name(operator, operator.gcs_uri_prefix)
        self._folder = f"{folder.rstrip('/')}/" if folder.rstrip("/") else ""
        # The event of an earlier release does not say it.
        created = operation.create_time or operator.get_operation(operation.name).create_time
        self._since = datetime.datetime.fromisoformat(created)
        self.requests = 0

    def count(self) -> int:
        """Return how many there are."""
        return sum(len(names) for names, _ in self._pages(""))

    def page_from(self, name: str) -> Page:
        """Return a page that begins at a name below the export's folder."""
        return next(self._pages(name))

    def _pages(self, start: str) -> Iterator[Page]:
        options: dict[str, Any] = {"fields": "items(name,updated),nextPageToken", "page_size": _PAGE}
        listing = self._bucket.list_blobs(prefix=self._folder, start_offset=self._folder + start, **options)
        for page in listing.pages:
            self.requests += 1
            blobs: list[Blob] = list(page)
            goes_on = listing.next_page_token is not None
            if not blobs and goes_on:
                continue  # the service may send an empty page
            names = [blob.name.removeprefix(self._folder) for blob in blobs if blob.updated >= self._since]
            last = blobs[-1].name.removeprefix(self._folder) if blobs else ""
            yield Page([name for name in names if is_of_export(name)], f"{last}\0" if goes_on else None)


def check_objects(operator: DicomExportOperator, context: Context, plan: Plan, operation: Operation) -> None:
    """Compare the objects at the destination with the filter, or without one, with the operation's counters.

    :raises DicomUnexpectedCount: something is missing.
    """
    pages = 1 + operation.success // _PAGE
    listing = _Listing(operator, operation)
    if operator.filter_uri:
        operator.log.info(
            "Looking for objects of each line of the filter: %d requests if nothing else lies there, else up to one for each line.",
            pages,
        )
        _compare_with_filter(operator, operator.filter_uri, context, plan, operation, listing)
        return
    operator.log.info("Counting the objects: %d requests if nothing else lies there.", pages)
    if (arrived := listing.count()) < operation.success:
        raise DicomUnexpectedCount(
            f"{plan.subject}: operation {operation.name} exported {operation.success} instances, {arrived} objects of it are "
            "there. Does something delete or move them? A retry, or a clear, exports them again.",
            operation,
        )


def _compare_with_filter(
    operator: DicomExportOperator, uri: str, context: Context, plan: Plan, operation: Operation, listing: _Listing
) -> None:
    count, sample = 0, ""
    # The version that the export was about, where that is known: another run may have replaced the object since.
    lines = read_lines(operator, uri, generation_made_upstream(operator, context, uri))
    beginnings = (f"{object_of_line(line)}\n" for line in lines)
    with tempfile.TemporaryFile() as missing, in_order(beginnings) as sorted_beginnings:
        for beginning in without_objects((found.rstrip("\n") for found in sorted_beginnings), listing.page_from):
            line = f"{line_of_object(beginning)}\n"
            missing.write(line.encode())
            sample += f"  {line}" if count < _SAMPLE else ""
            count += 1
        if not count:
            operator.log.info("Objects are there for each line of the filter; it took %d requests.", listing.requests)
            return
        missing_uri = f"{uri}.missing-{operation.name.rpartition('/')[2]}"
        bucket, name = bucket_and_name(operator, missing_uri)
        bucket.blob(name).upload_from_file(missing, rewind=True, content_type="text/plain")
    context["ti"].xcom_push(key=MISSING_FILTER_URI_KEY, value=missing_uri)
    if count <= operation.failure:
        operator.log.warning(
            "%d lines of the filter matched no exported object, and as many instances failed: %s", count, missing_uri
        )
        return
    raise DicomUnexpectedCount(
        f"{plan.subject}: {count} lines of the filter matched no exported object:\n{sample}"
        f"{'  …' + chr(10) if count > _SAMPLE else ''}Operation: {operation.name}\nCounters: {operation.progress()}\n"
        f"All of them are in {missing_uri}, which is a filter: pass it as filter_uri to export only these. What the store does "
        "not hold cannot be exported.",
        operation,
    )
