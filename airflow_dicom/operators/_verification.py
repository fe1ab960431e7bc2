"""What an export has delivered to Cloud Storage, compared with what it was to deliver."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from airflow_dicom.delivery import missing_lines, path_of_object
from airflow_dicom.exceptions import DicomUnexpectedCount
from airflow_dicom.operators._filter_object import bucket_and_name, read_lines

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_dicom.operation import Operation
    from airflow_dicom.operators.dicom_export import DicomExportOperator
    from airflow_dicom.work.plan import Plan

#: The XCom key of the filter that is written of what is missing.
MISSING_FILTER_URI_KEY = "missing_filter_uri"

#: How many missing lines an exception shows.
_SAMPLE = 5


def check_objects(operator: DicomExportOperator, context: Context, plan: Plan, operation: Operation) -> None:
    """Compare the objects at the destination with the filter, or without one, with the operation's counters.

    :raises DicomUnexpectedCount: something is missing.
    """
    arrived = _arrived(operator, operation)
    if operator.filter_uri:
        _compare_with_filter(operator, operator.filter_uri, context, plan, operation, arrived)
    elif len(arrived) < operation.success:
        raise DicomUnexpectedCount(
            f"{plan.subject}: operation {operation.name} exported {operation.success} instances, {len(arrived)} objects of it are "
            "there. Does something delete or move them? A retry, or a clear, exports them again.",
            operation,
        )


def _compare_with_filter(
    operator: DicomExportOperator, uri: str, context: Context, plan: Plan, operation: Operation, arrived: set[str]
) -> None:
    missing = missing_lines(read_lines(operator, uri), arrived)
    if not missing:
        operator.log.info("%d objects are there, some for each line of the filter.", len(arrived))
        return
    missing_uri = f"{uri}.missing-{operation.name.rpartition('/')[2]}"
    bucket, name = bucket_and_name(operator, missing_uri)
    bucket.blob(name).upload_from_string("".join(f"{line}\n" for line in missing), content_type="text/plain")
    context["ti"].xcom_push(key=MISSING_FILTER_URI_KEY, value=missing_uri)
    if len(missing) <= operation.failure:
        operator.log.warning(
            "%d lines of the filter matched no exported object, and as many instances failed: %s", len(missing), missing_uri
        )
        return
    sample = "\n".join(f"  {line}" for line in missing[:_SAMPLE])
    raise DicomUnexpectedCount(
        f"{plan.subject}: {len(missing)} lines of the filter matched no exported object:\n{sample}\n"
        f"{'  …' + chr(10) if len(missing) > _SAMPLE else ''}Operation: {operation.name}\nCounters: {operation.progress()}\n"
        f"All of them are in {missing_uri}, which is a filter: pass it as filter_uri to export only these. What the store does "
        "not hold cannot be exported.",
        operation,
    )


def _arrived(operator: DicomExportOperator, operation: Operation) -> set[str]:
    """Return the paths of the instances whose objects were written since the operation was started."""
    bucket, prefix = bucket_and_name(operator, operator.gcs_uri_prefix)
    prefix = f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""
    since = datetime.datetime.fromisoformat(operation.create_time)
    blobs = bucket.list_blobs(prefix=prefix, fields="items(name,updated),nextPageToken")
    paths = {path_of_object(blob.name, prefix) for blob in blobs if blob.updated >= since}
    return {path for path in paths if path is not None}
