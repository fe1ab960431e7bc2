"""The files that an import could not handle: read from Cloud Logging, kept in a bucket, read again by another import."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from airflow_dicom import polling
from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.gcs_uris import check_object_uri
from airflow_dicom.operation import split_names
from airflow_dicom.operators._filter_object import bucket_and_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_dicom.operation import Operation
    from airflow_dicom.operators._connection import ConnectionOperator

#: The XCom key of the object with all of them, and that of a few.
FAILED_URIS_KEY, FAILED_SAMPLE_KEY = "failed_uris", "failed_sample"

#: How many are shown.
_SAMPLE = 5

#: Seconds after which it is asked again whether there are more: an entry needs a while to arrive.
_PAUSES = (2.0, 5.0, 10.0)


def write_failed_files(operator: ConnectionOperator, context: Context, operation: Operation, uri: str) -> str:
    """Write which files failed, and why, to an object; return a few of them in words.

    That they cannot be read, or written, changes nothing about the import: it is logged.

    :param uri: the object, ``gs://bucket/name``.
    """
    try:
        files = _of_log(operator, operation)
        bucket, name = bucket_and_name(operator, uri)
        bucket.blob(name).upload_from_string(
            "".join(f"{json.dumps(file)}\n" for file in files), content_type="application/x-ndjson"
        )
    except Exception as error:  # whatever Google's libraries raise
        operator.log.warning("Which files failed is not in %s: %s", uri, error)
        return ""
    context["ti"].xcom_push(key=FAILED_URIS_KEY, value=uri)
    context["ti"].xcom_push(key=FAILED_SAMPLE_KEY, value=files[:_SAMPLE])
    shown = "\n".join(f"  {file['uri']}: {file['message']}" for file in files[:_SAMPLE])
    words = f"Failed files, {len(files)} of {operation.failure}, are in {uri}:\n{shown}"
    operator.log.warning("%s", words)
    return words


def _of_log(operator: ConnectionOperator, operation: Operation) -> list[dict[str, Any]]:
    from airflow_dicom.hooks.cloud_logging import CloudLoggingHook

    hook = CloudLoggingHook(gcp_conn_id=operator.gcp_conn_id, impersonation_chain=operator.impersonation_chain)
    names = split_names(operation.name)
    found = [file for name in names for file in hook.failed_files(name)]
    for pause in _PAUSES:
        if len(found) >= operation.failure:
            break
        time.sleep(min(pause, polling.LONGEST_PAUSE))
        found = [file for name in names for file in hook.failed_files(name)]
    return found


def read_failed_files(operator: ConnectionOperator, uri: str) -> Sequence[str]:
    """Return the URIs that an object of :func:`write_failed_files` names.

    :raises DicomArgumentError: there is no such object, or it is another one.
    """
    bucket, name = bucket_and_name(operator, uri)
    blob = bucket.get_blob(name)
    if blob is None:
        raise DicomArgumentError(f"only_failed_of is {uri!r}; there is no such object. Did a file fail?")
    uris: list[str] = []
    for number, line in enumerate(blob.download_as_text().splitlines(), 1):
        try:
            found = json.loads(line)["uri"]
            check_object_uri(found, argument="uri")
        except (ValueError, KeyError, TypeError) as error:
            raise DicomArgumentError(f"only_failed_of is {uri!r}; line {number} does not name a file: {error}") from error
        uris.append(found)
    if not uris:
        raise DicomArgumentError(f"only_failed_of is {uri!r}; it names no file.")
    return list(dict.fromkeys(uris))
