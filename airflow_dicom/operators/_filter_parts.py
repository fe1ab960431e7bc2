"""What a BigQuery job writes beside a filter file, and the file that is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_dicom.bigquery_job import BigQueryJob
from airflow_dicom.exceptions import DicomArgumentError, FilterFileError
from airflow_dicom.operators._filter_object import JOB_METADATA_KEY, metadata_of, remove_blob

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket


@dataclass(frozen=True)
class FilterParts:
    """The parts of a filter file, of which one object is made.

    :param uri: the filter's, ``gs://bucket/name``.
    :param bucket: its bucket.
    :param name: its name there.
    """

    uri: str
    bucket: Bucket
    name: str

    def check(self) -> None:
        """Look below the target: to ask for the bucket itself takes a permission that ``roles/storage.objectUser`` lacks.

        :raises DicomArgumentError: there is no such bucket.
        :raises FilterFileError: the account may not list objects.
        """
        from google.api_core.exceptions import Forbidden, NotFound

        try:
            list(self.bucket.list_blobs(prefix=f"{self.name}.parts/", max_results=1))
        except NotFound as error:
            raise DicomArgumentError(
                f"filter_uri is {self.uri!r}; there is no bucket {self.bucket.name!r}. Create it first, or correct the name."
            ) from error
        except Forbidden as error:
            raise FilterFileError(
                f"Filter file {self.uri}: Airflow's account may not list the objects there: give it "
                f"roles/storage.objectUser on the bucket. ({error.message})"
            ) from error

    def pattern(self, job_id: str) -> str:
        """Return where a job writes its parts."""
        return f"gs://{self.bucket.name}/{self._scratch(job_id)}*.csv"

    def made_by(self, job: BigQueryJob) -> Blob | None:
        """Return the filter object when it is what this job made."""
        blob: Blob | None = self.bucket.get_blob(self.name)
        made_by = (blob.metadata or {}).get(JOB_METADATA_KEY) if blob is not None else None
        return blob if made_by == job.id else None

    def are_usable(self, job: BigQueryJob) -> bool:
        """Tell whether the filter can be, or has been, made of what a job has written."""
        return self.made_by(job) is not None or len(self._of(job)) == job.files

    def compose(self, job: BigQueryJob, counts: Mapping[str, int | None]) -> Blob:
        """Make the filter, unless it is there, and delete the parts.

        :param counts: what the filter carries as metadata.
        :raises FilterFileError: parts are missing.
        """
        made = self.made_by(job) or self._compose(job, counts)
        self.delete(job)
        return made

    def delete(self, job: BigQueryJob) -> None:
        """Delete all that is written on the way."""
        for blob in self.bucket.list_blobs(prefix=self._scratch(job.id)):
            remove_blob(blob)

    def _compose(self, job: BigQueryJob, counts: Mapping[str, int | None]) -> Blob:
        from airflow_dicom.hooks.compose import compose

        parts = self._of(job)
        if len(parts) != job.files:
            raise FilterFileError(
                f"Filter file {self.uri}: BigQuery wrote {job.files} parts below gs://{self.bucket.name}/{self._scratch(job.id)}, "
                f"{len(parts)} are there. Retry the task: it will run the query again."
            )
        metadata = metadata_of(counts, **{JOB_METADATA_KEY: job.id})
        made = compose(self.bucket, parts, self.name, self._scratch(job.id), metadata)
        if made.size != sum(part.size for part in parts):
            raise FilterFileError(f"Filter file {self.uri} has {made.size} bytes, its parts have other. Retry the task.")
        return made

    def _scratch(self, job_id: str) -> str:
        return f"{self.name}.parts/{job_id}/"

    def _of(self, job: BigQueryJob) -> list[Blob]:
        return [blob for blob in self.bucket.list_blobs(prefix=self._scratch(job.id)) if blob.name.endswith(".csv")]
