"""A BigQuery job as data.

Source: ``Job`` of BigQuery's discovery document. No Airflow, no Google library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_dicom.exceptions import BigQueryApiTransientError

_NAME = re.compile(r"(?P<projectId>.+):(?P<location>[\w-]*)\.(?P<jobId>[\w-]+)")


def job_name(reference: Mapping[str, Any]) -> str:
    """Return ``project:location.job``, as BigQuery's console writes it.

    :param reference: a ``JobReference``.
    """
    return f"{reference['projectId']}:{reference.get('location') or ''}.{reference['jobId']}"


def job_reference(name: str) -> dict[str, str]:
    """Return the ``JobReference`` of a name.

    :raises ValueError: it is not the name of a job.
    """
    found = _NAME.fullmatch(name)
    if not found:
        raise ValueError(f"{name!r} is not the name of a BigQuery job.")
    return {key: value for key, value in found.groupdict().items() if value}


@dataclass(frozen=True)
class BigQueryJob:
    """One job as ``jobs.get`` and ``jobs.insert`` show it.

    :param reference: the ``JobReference``, with the location: outside the US and the EU, a job is not found without it.
    :param state: ``PENDING``, ``RUNNING`` or ``DONE``.
    :param error: what went wrong with the whole job; ``None`` if nothing did.
    :param columns: the names of the result's columns, as a dry run tells them.
    :param tables: what the query has read: ``project.dataset.table``.
    :param files: how many objects it has written.
    :param rows: how many lines it has written.
    """

    reference: Mapping[str, Any]
    state: str
    error: str | None = None
    columns: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    files: int = 0
    rows: int = 0

    @classmethod
    def from_response(cls, response: Mapping[str, Any]) -> BigQueryJob:
        """Read an answer of the API.

        :raises BigQueryApiTransientError: it is something else, such as the answer of a proxy.
        """
        reference, status = response.get("jobReference"), response.get("status")
        if not isinstance(reference, Mapping) or not isinstance(status, Mapping) or not isinstance(status.get("state"), str):
            raise BigQueryApiTransientError(f"The answer is not a BigQuery job: {str(response)[:200]}")
        query = response.get("statistics", {}).get("query", {})
        written = query.get("exportDataStatistics", {})
        error = status.get("errorResult")
        return cls(
            reference={key: reference[key] for key in ("projectId", "jobId", "location") if reference.get(key)},
            state=status["state"],
            error=str(error.get("message")) if error else None,
            columns=tuple(column["name"] for column in query.get("schema", {}).get("fields", [])),
            tables=tuple(
                sorted("{projectId}.{datasetId}.{tableId}".format(**table) for table in query.get("referencedTables", []))
            ),
            files=int(written.get("fileCount", 0)),  # int64 comes as a string
            rows=int(written.get("rowCount", 0)),
        )

    @property
    def name(self) -> str:
        """``project:location.job``."""
        return job_name(self.reference)

    @property
    def id(self) -> str:
        """The job's id."""
        return str(self.reference["jobId"])

    @property
    def done(self) -> bool:
        """Whether it ended, in whatever way."""
        return self.state == "DONE"
