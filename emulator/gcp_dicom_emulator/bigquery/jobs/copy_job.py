"""Copy jobs."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery import schemas
from gcp_dicom_emulator.bigquery.catalog import Catalog
from gcp_dicom_emulator.bigquery.jobs import load
from gcp_dicom_emulator.bigquery.names import TableName
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    import duckdb


def run(catalog: Catalog, project: str, configuration: dict[str, Any]) -> int:
    """Copy tables with the same columns into one, and return how many rows that were.

    :param project: the job's project.
    :param configuration: the ``JobConfigurationTableCopy``.
    :raises ApiError: 404, 409 or 400 as for every job; 501 for snapshots.
    """
    operation = configuration.get("operationType") or "COPY"
    if operation not in ("COPY", "CLONE", "OPERATION_TYPE_UNSPECIFIED"):
        raise ApiError(501, f"The emulator's copy jobs do not do {operation}.")
    references = configuration.get("sourceTables") or [configuration.get("sourceTable") or {}]
    sources = [catalog.table(TableName.from_reference(reference, project)) for reference in references]
    name = TableName.from_reference(configuration.get("destinationTable") or {}, project)
    fields = sources[0].fields
    resource = None
    if operation == "CLONE":
        if len(sources) > 1:
            raise ApiError(400, "A clone has one source table.")
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        resource = {"cloneDefinition": {"baseTableReference": sources[0].name.reference(), "cloneTime": now}}
    for source in sources[1:]:
        schemas.check_evolution(source.fields, fields, str(source.name))

    def fill(cursor: duckdb.DuckDBPyConnection) -> str:
        selects = [schemas.select_as(source.fields, fields, source.rows()) for source in sources]
        return catalog.engine.create_table(cursor, fields, " UNION ALL ".join(selects))

    return load.write(
        catalog,
        name,
        fields,
        fill,
        configuration.get("writeDisposition") or "WRITE_EMPTY",
        create_disposition=configuration.get("createDisposition") or "CREATE_IF_NEEDED",
        resource=resource,
    )
