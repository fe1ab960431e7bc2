"""Where an export goes: a folder in Cloud Storage, or a table in BigQuery. No Airflow, no Google library.

Source: ``ExportDicomDataRequest`` in the Healthcare API's discovery document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from airflow_dicom.work.plan import Repeat

_TABLE = re.compile(r"(?:bq://)?(?P<project>(?:[a-z0-9.-]+:)?[^.`\s/:]+)\.(?P<dataset>[^.`\s/:]+)\.(?P<table>[^.`\s/:]+)")
_DICOM = "application/dicom"

SCHEMAS = {"flattened": "schemaFlattened", "json": "schemaJson"}
#: What becomes of a second request, by ``write_disposition``.
REPEATS = {"WRITE_EMPTY": Repeat.FAILS, "WRITE_TRUNCATE": Repeat.SAFE, "WRITE_APPEND": Repeat.DOUBLES}


def table_name(table: Any) -> str:
    """Return ``project.dataset.table``.

    :raises ValueError: it is not the name of a table.
    """
    match = _TABLE.fullmatch(table) if isinstance(table, str) else None
    if not match:
        raise ValueError(f"bigquery_table is {table!r}; it must be project.dataset.table, with or without bq:// before it.")
    return ".".join(match.groups())


def check_mime_type(mime_type: Any) -> None:
    """Check ``mime_type``; which ones there are, the service says.

    :raises ValueError: it is not a text.
    """
    if not isinstance(mime_type, str):
        raise ValueError(f"mime_type is {mime_type!r}; it must be a text such as application/dicom or image/jpeg.")


@dataclass(frozen=True)
class ExportDestination:
    """A destination, in the words of the operator's arguments.

    :raises ValueError: the arguments do not go together.
    """

    gcs_uri_prefix: str | None
    mime_type: str | None
    bigquery_table: str | None
    write_disposition: str
    bigquery_schema: str
    include_source_store: bool
    verify: str

    def __post_init__(self) -> None:
        if bool(self.gcs_uri_prefix) == bool(self.bigquery_table):
            given = "both are" if self.gcs_uri_prefix else "neither is"
            raise ValueError(f"An export has one destination: give gcs_uri_prefix or bigquery_table; {given} given.")
        if self.verify == "objects" and (not self.gcs_uri_prefix or not (self.mime_type or _DICOM).startswith(_DICOM)):
            raise ValueError("verify='objects' goes with gcs_uri_prefix, and objects that are DICOM files.")
        if self.bigquery_table and self.mime_type:
            raise ValueError("mime_type goes with gcs_uri_prefix; a BigQuery table gets metadata only.")

    @property
    def uri(self) -> str:
        """``gs://bucket/folder`` or ``bq://project.dataset.table``."""
        return self.gcs_uri_prefix or f"bq://{table_name(self.bigquery_table)}"

    @property
    def repeat(self) -> Repeat:
        """What becomes of a request that is sent twice."""
        return Repeat.SAFE if self.gcs_uri_prefix else REPEATS[self.write_disposition]

    @property
    def result(self) -> dict[str, str]:
        """What the task returns beside the operation."""
        return {"gcs_uri_prefix" if self.gcs_uri_prefix else "bigquery_table": self.uri.removeprefix("bq://")}

    @property
    def body(self) -> dict[str, Any]:
        """An ``ExportDicomDataRequest``."""
        if self.gcs_uri_prefix:
            return {"gcsDestination": {"uriPrefix": self.uri, **({"mimeType": self.mime_type} if self.mime_type else {})}}
        destination = {"tableUri": self.uri, "writeDisposition": self.write_disposition, SCHEMAS[self.bigquery_schema]: {}}
        return {"bigqueryDestination": destination | ({"includeSourceStore": True} if self.include_source_store else {})}
