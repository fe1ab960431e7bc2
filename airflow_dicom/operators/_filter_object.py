"""A filter file in its bucket: what the filter operators say of it, and what an export reads there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_dicom.assets import tell_outlets
from airflow_dicom.exceptions import DicomArgumentError, DicomEmptyResult
from airflow_dicom.filter_paths import FilterPath
from airflow_dicom.gcs_uris import parse_gs_uri

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from google.cloud.storage import Blob, Bucket

    from airflow_dicom.operators._connection import ConnectionOperator

#: The XCom key of the number of lines.
PATH_COUNT_KEY = "path_count"

#: The XCom key of the number of instances that the lines mean, for an export's ``expected_instances``; ``None`` if nobody knows.
EXPECTED_INSTANCES_KEY = "expected_instances"

#: The XCom key of all numbers: ``paths``, ``studies``, ``series``, ``instances`` (``None`` if nobody knows), ``bytes``, ``crc32c``;
#: and of the object: ``filter_uri``, ``generation``.
SUMMARY_KEY = "filter_file"

#: What is counted of a filter.
_COUNTED = ("paths", "studies", "series", "instances")

#: How the keys of the object's own metadata begin.
_METADATA_PREFIX = "airflow-dicom-"

#: The filter object's metadata key that says which BigQuery job made it.
JOB_METADATA_KEY = f"{_METADATA_PREFIX}job-id"


def metadata_of(counts: Mapping[str, int | None], **more: str) -> dict[str, str]:
    """Return what a filter object carries as metadata of its own: its counts, and what else is known.

    :param counts: ``paths``, ``studies``, ``series``, ``instances``.
    """
    numbers = {f"{_METADATA_PREFIX}{name}": str(value) for name, value in counts.items() if value is not None}
    return {**numbers, **more}


def announce(operator: ConnectionOperator, context: Context, uri: str, blob: Blob, counts: Mapping[str, int | None]) -> None:
    """Log what a filter holds, push it as XComs, and let the outlets' events carry it."""
    summary = {
        **counts,
        "bytes": blob.size,
        "crc32c": blob.crc32c,
        "filter_uri": uri,
        "generation": str(blob.generation),  # above what a float can hold
    }
    numbers = ", ".join(f"{value} {key}" for key, value in {**counts, "bytes": blob.size}.items() if value is not None)
    operator.log.info("%s: %s", numbers, uri)
    for key, value in (
        (PATH_COUNT_KEY, counts["paths"]),
        (EXPECTED_INSTANCES_KEY, counts["instances"]),
        (SUMMARY_KEY, summary),
    ):
        context["ti"].xcom_push(key=key, value=value)
    tell_outlets(operator, context, [uri], summary)


def counts_of(paths: Sequence[FilterPath]) -> dict[str, int | None]:
    """Return how many lines there are, and how many studies, series and instances they mean; ``None`` where nobody knows."""
    levels = {path.level for path in paths}
    return {
        "paths": len(paths),
        "studies": len({path.study for path in paths}),
        "series": len({(path.study, path.series) for path in paths}) if "study" not in levels else None,
        "instances": len(paths) if levels <= {"instance"} else None,
    }


def write_paths(operator: ConnectionOperator, context: Context, uri: str, paths: Sequence[FilterPath]) -> None:
    """Write a filter that is at hand, and say what it holds."""
    counts = counts_of(paths)
    bucket, name = bucket_and_name(operator, uri)
    blob = bucket.blob(name)
    blob.metadata = metadata_of(counts)
    # Also the checksum is sent, and checked by the service.
    blob.upload_from_string("".join(f"{path}\n" for path in paths), content_type="text/plain", checksum="crc32c")
    announce(operator, context, uri, blob, counts)


def read_lines(operator: ConnectionOperator, uri: str, generation: str | None = None) -> Iterator[str]:
    """Return the lines of a filter, without those that are blank.

    :param generation: the version that the task is about; ``None`` for the newest.
    :raises DicomArgumentError: there is no such object, or another version has replaced it.
    """
    from google.api_core.exceptions import NotFound

    bucket, name = bucket_and_name(operator, uri)
    version = {} if generation is None else {"generation": int(generation)}
    try:
        with bucket.blob(name, **version).open("r") as lines:
            for line in lines:
                if line.strip():
                    yield line.rstrip("\r\n")
    except NotFound as error:
        what = "there is no such object" if generation is None else f"its generation {generation} is not there any more"
        raise DicomArgumentError(f"filter_uri is {uri!r}; {what}. Run the task that makes it again.") from error


def end_empty(operator: Any, uri: str | None, what: str) -> NoReturn:
    """End a task that has nothing to write: it is skipped, or fails, as its ``on_empty`` says.

    An object that is there is removed, as lines would have replaced it: it names what an earlier run has selected.

    :param uri: the object; ``None`` where none was to be written.
    :param what: what is empty, in words.
    :raises AirflowSkipException: ``on_empty`` is ``"skip"``.
    :raises DicomEmptyResult: it is ``"fail"``.
    """
    if uri is not None:
        remove(operator, uri)
    if operator.on_empty == "skip":
        raise AirflowSkipException(f"{what}.")
    raise DicomEmptyResult(f"{what}. If that is acceptable, set on_empty to 'skip' or 'succeed'.")


def bucket_and_name(operator: ConnectionOperator, uri: str) -> tuple[Bucket, str]:
    """Return the bucket, with the operator's connection, and the object's name."""
    from airflow.providers.google.cloud.hooks.gcs import GCSHook

    bucket, name = parse_gs_uri(uri, argument="uri")
    hook = GCSHook(gcp_conn_id=operator.gcp_conn_id, impersonation_chain=operator.impersonation_chain)
    return hook.get_conn().bucket(bucket), name


def remove(operator: ConnectionOperator, uri: str) -> None:
    """Remove an object, if it is there."""
    bucket, name = bucket_and_name(operator, uri)
    remove_blob(bucket.blob(name))


def remove_blob(blob: Blob) -> None:
    """Remove an object, if it is there. The client sends a deletion again whose answer was lost, and is told that there is none."""
    from google.api_core.exceptions import NotFound

    with contextlib.suppress(NotFound):
        blob.delete()


@dataclass(frozen=True)
class FilterObject:
    """A filter file as it was read.

    :param uri: ``gs://bucket/name``.
    :param generation: which version of the object.
    :param counts: how many ``paths``, ``studies``, ``series`` and ``instances`` there are, as the operator that made it says: those
        that it knew.
    """

    uri: str
    generation: str
    counts: Mapping[str, int]

    @property
    def instances(self) -> int | None:
        """How many instances its lines mean; ``None`` if nobody knows."""
        return self.counts.get("instances")

    @classmethod
    def read(cls, operator: ConnectionOperator, uri: str) -> FilterObject:
        """Read the object's metadata.

        :raises DicomArgumentError: there is no such object.
        """
        bucket, name = bucket_and_name(operator, uri)
        blob = bucket.get_blob(name)
        if blob is None:
            raise DicomArgumentError(f"filter_uri is {uri!r}; there is no such object. Run the task that makes it again.")
        metadata = blob.metadata or {}
        known = {name: metadata.get(f"{_METADATA_PREFIX}{name}") for name in _COUNTED}
        return cls(uri, str(blob.generation), {name: int(value) for name, value in known.items() if value})

    def check_generation(self, made: str) -> None:
        """Refuse another version of the object than the one that the task before made.

        :raises DicomArgumentError: another run has replaced it.
        """
        if self.generation != made:
            raise DicomArgumentError(
                f"filter_uri is {self.uri!r}; the object was replaced since the task before this one made it (generation {made}, now "
                f"{self.generation}): an export would be about another run's selection. Give each run a filter of its own, such as "
                "gs://bucket/filters/{{ run_id }}.txt, and clear both tasks."
            )


def generation_made_upstream(operator: Any, context: Context, uri: str) -> str | None:
    """Return the version of a filter that a task right before this one has made; ``None`` where none has made this object."""
    for task_id in sorted(operator.upstream_task_ids):
        for summary in _summaries(context["ti"].xcom_pull(task_ids=task_id, key=SUMMARY_KEY)):
            if summary.get("filter_uri") == uri:
                return str(summary["generation"])
    return None


def _summaries(pulled: Any) -> Iterable[Mapping[str, Any]]:
    if isinstance(pulled, Mapping):
        return [pulled]
    # A mapped task's XComs come together.
    return [item for item in pulled if isinstance(item, Mapping)] if isinstance(pulled, Iterable) else []
