"""The files that an import could not handle: read from Cloud Logging, kept in a bucket, read again by another import."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow_dicom import polling
from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.gcs_uris import check_object_uri
from airflow_dicom.operation import split_names
from airflow_dicom.operators._connection import one_or_many
from airflow_dicom.operators._filter_object import bucket_and_name, remove
from airflow_dicom.work.journal import Journal, Try

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_dicom.operation import Operation
    from airflow_dicom.operators._connection import ConnectionOperator

#: The XCom key of the object with all of them, and that of a few.
FAILED_URIS_KEY, FAILED_SAMPLE_KEY = "failed_uris", "failed_sample"

#: The object's metadata key that says which try wrote it; only there if all files that failed are in it.
_TRY = "airflow-dicom-try"

#: How many are shown.
_SAMPLE = 5

#: Seconds after which it is asked again whether there are more: an entry needs a while to arrive.
_PAUSES = (2.0, 5.0, 10.0)


def list_failed_files(operator: ConnectionOperator, context: Context, operation: Operation, uri: str) -> str:
    """Write which files failed, and why, to an object; return a few of them in words.

    If none failed, the list of an earlier try or run is removed: another import would take its files for this one's. That a list
    cannot be made, written or removed changes nothing about the import: it is logged.

    :param uri: the object, ``gs://bucket/name``.
    """
    if operation.failure:
        return _write(operator, context, operation, uri)
    if operation.error_code is None:
        _remove(operator, uri)
    return ""


def _write(operator: ConnectionOperator, context: Context, operation: Operation, uri: str) -> str:
    try:
        files = _of_log(operator, operation)
        bucket, name = bucket_and_name(operator, uri)
        blob = bucket.blob(name)
        # An operation that ended in an error of its own has not looked at all files.
        if len(files) == operation.failure and (operation.error_code is None or operation.error_is_counted):
            blob.metadata = {_TRY: json.dumps(_this_try(operator, context))}
        blob.upload_from_string("".join(f"{json.dumps(file)}\n" for file in files), content_type="application/x-ndjson")
    except Exception as error:  # whatever Google's libraries raise
        operator.log.warning("Which files failed is not in %s: %s", uri, error)
        return ""
    context["ti"].xcom_push(key=FAILED_URIS_KEY, value=uri)
    context["ti"].xcom_push(key=FAILED_SAMPLE_KEY, value=files[:_SAMPLE])
    shown = "\n".join(f"  {file['uri']}: {file['message']}" for file in files[:_SAMPLE])
    words = f"Failed files, {len(files)} of {operation.failure}, are in {uri}:\n{shown}"
    operator.log.warning("%s", words)
    return words


def _remove(operator: ConnectionOperator, uri: str) -> None:
    try:
        remove(operator, uri)
    except Exception as error:  # whatever Google's libraries raise
        operator.log.warning("No file has failed, but %s, if it is there, names those of an earlier try or run: %s", uri, error)


def left_to_a_retry(operator: ConnectionOperator, context: Context, uri: str, uris: Sequence[str]) -> Sequence[str]:
    """Return what a task has to import: after a failed try all of whose failed files are known, these; otherwise everything.

    A clear imports everything again, as does a retry of a try that was killed.

    :param uri: the object to which the try before wrote them.
    :param uris: everything.
    """
    this = _this_try(operator, context)
    now = Try(**this["try"])
    if now.number == 1:
        return uris
    bucket, name = bucket_and_name(operator, uri)
    try:
        blob = bucket.get_blob(name)
    except Exception as error:  # whatever Google's libraries raise: an account may write there and not read
        operator.log.warning("Everything is imported again, since %s cannot be read: %s", uri, error)
        return uris
    try:
        written = json.loads((blob.metadata or {})[_TRY]) if blob is not None else {}
        earlier = Try(**written.pop("try"))
    except (KeyError, TypeError, ValueError):
        return uris
    of_this_task = written == {name: value for name, value in this.items() if name != "try"}
    if not of_this_task or earlier.number >= now.number or now.was_cleared_since(earlier):
        return uris
    left = read_failed_files(operator, uri)
    operator.log.info("Only the %d files that failed in try %d: %s", len(left), earlier.number, uri)
    return left


def _this_try(operator: Any, context: Context) -> dict[str, Any]:
    """Return which try of which task this is, and what it imports."""
    ti = context["ti"]
    uris = operator.gcs_uri if isinstance(operator.gcs_uri, str | None) else one_or_many(operator.gcs_uri)
    request = [str(operator.store), uris, operator.only_failed_of]
    return {
        "task": [ti.dag_id, ti.task_id, ti.run_id, ti.map_index],
        "request": hashlib.sha256(json.dumps(request).encode()).hexdigest(),
        "try": asdict(Journal.of(context, operator.retries).now),
    }


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
