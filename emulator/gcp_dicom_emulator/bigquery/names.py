"""Names of BigQuery's tables: parse, format, check."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from gcp_dicom_emulator.rest.errors import ApiError

_PROJECT = re.compile(r"[a-z0-9.:_-]{1,100}", re.IGNORECASE)
_DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")
# Letters, marks, numbers, connectors, dashes and spaces: what \w, "-" and " " are in Unicode.
_TABLE = re.compile(r"[\w\- ]{1,1024}")
_ROUTINE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")

#: The dataset of results without a destination; names that begin with an underscore are hidden from lists.
ANONYMOUS_DATASET = "_anonymous"
#: What the datasets of sessions' and scripts' temporary tables begin with.
SESSION_PREFIX = "_session_"


@dataclass(frozen=True, order=True)
class DatasetName:
    """The name of a dataset.

    :raises ApiError: 400 for a name that BigQuery does not allow.
    """

    project: str
    dataset: str

    def __post_init__(self) -> None:
        if not _PROJECT.fullmatch(self.project):
            raise ApiError(400, f"Invalid project ID '{self.project}'.")
        if not _DATASET.fullmatch(self.dataset):
            raise ApiError(
                400,
                f'Invalid dataset ID "{self.dataset}". Dataset IDs must be alphanumeric (plus underscores) and must be at most '
                "1024 characters long.",
            )

    def __str__(self) -> str:
        return f"{self.project}:{self.dataset}"

    def reference(self) -> dict[str, str]:
        """Return the ``datasetReference``."""
        return {"projectId": self.project, "datasetId": self.dataset}


@dataclass(frozen=True, order=True)
class RoutineName:
    """The name of a routine.

    :raises ApiError: 400 for a name that BigQuery does not allow.
    """

    project: str
    dataset: str
    routine: str

    def __post_init__(self) -> None:
        DatasetName(self.project, self.dataset)
        if not _ROUTINE.fullmatch(self.routine):
            raise ApiError(400, f'Invalid routine ID "{self.routine}".')

    def __str__(self) -> str:
        return f"{self.project}:{self.dataset}.{self.routine}"

    def reference(self) -> dict[str, str]:
        """Return the ``routineReference``."""
        return {"projectId": self.project, "datasetId": self.dataset, "routineId": self.routine}


@dataclass(frozen=True, order=True)
class TableName:
    """The name of a table.

    :raises ApiError: 400 for a name that BigQuery does not allow, 501 for one with a decorator.
    """

    project: str
    dataset: str
    table: str

    def __post_init__(self) -> None:
        DatasetName(self.project, self.dataset)
        if "$" in self.table or "@" in self.table:
            raise ApiError(501, f"The emulator has no partitions and does not look back in time: {self.table}")
        if not _TABLE.fullmatch(self.table):
            raise ApiError(
                400,
                f'Invalid table ID "{self.table}". Table IDs must consist of letters, marks, numbers, connectors, dashes or '
                "spaces and must be at most 1024 characters long.",
            )

    def __str__(self) -> str:
        return f"{self.project}:{self.dataset}.{self.table}"

    @property
    def parent(self) -> DatasetName:
        """The table's dataset."""
        return DatasetName(self.project, self.dataset)

    def reference(self) -> dict[str, str]:
        """Return the ``tableReference``."""
        return {"projectId": self.project, "datasetId": self.dataset, "tableId": self.table}

    @classmethod
    def from_reference(cls, reference: dict[str, Any], project: str) -> TableName:
        """Return the name that a ``TableReference`` means.

        :param reference: the reference; its project may be absent.
        :param project: the project when the reference has none.
        :raises ApiError: 400 when the dataset or the table is missing.
        """
        missing = [key for key in ("datasetId", "tableId") if not reference.get(key)]
        if missing:
            raise ApiError(400, f"Required parameter is missing: {missing[0]}", reason="required")
        return cls(reference.get("projectId") or project, reference["datasetId"], reference["tableId"])
