"""Copy jobs."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery import schemas
from gcp_dicom_emulator.bigquery.catalog import Catalog, Table, row_bytes
from gcp_dicom_emulator.bigquery.jobs import load
from gcp_dicom_emulator.bigquery.names import TableName
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    import duckdb


def _resource(operation: str, source: Table, expiration: str | None) -> dict[str, Any] | None:
    """Return what a clone or a snapshot says about where it comes from, and when it ends."""
    if operation not in ("CLONE", "SNAPSHOT"):
        if expiration:
            raise ApiError(400, "destinationExpirationTime is for clones and snapshots.")
        return None
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    name = operation.lower()
    definition = {f"{name}Definition": {"baseTableReference": source.name.reference(), f"{name}Time": now}}
    if not expiration:
        return definition
    try:
        at = datetime.datetime.fromisoformat(expiration)
    except ValueError:
        raise ApiError(400, f"Invalid value for destinationExpirationTime: {expiration}") from None
    return {**definition, "expirationTime": str(int(at.timestamp() * 1000))}


def run(catalog: Catalog, project: str, configuration: dict[str, Any]) -> tuple[int, int]:
    """Copy tables with the same columns into one, and return how many rows that were, and how many bytes.

    :param project: the job's project.
    :param configuration: the ``JobConfigurationTableCopy``.
    :raises ApiError: 404, 409 or 400 as for every job.
    """
    operation = configuration.get("operationType") or "COPY"
    if operation not in ("COPY", "CLONE", "SNAPSHOT", "RESTORE", "OPERATION_TYPE_UNSPECIFIED"):
        raise ApiError(400, f"Invalid value for operationType: {operation}")
    references = configuration.get("sourceTables") or [configuration.get("sourceTable") or {}]
    sources = [catalog.table(TableName.from_reference(reference, project)) for reference in references]
    name = TableName.from_reference(configuration.get("destinationTable") or {}, project)
    fields = sources[0].fields
    if operation in ("CLONE", "SNAPSHOT", "RESTORE") and len(sources) > 1:
        raise ApiError(400, f"A job of type {operation} has one source table.")
    resource = _resource(operation, sources[0], configuration.get("destinationExpirationTime"))
    for source in sources[1:]:
        schemas.check_evolution(source.fields, fields, str(source.name))

    def fill(cursor: duckdb.DuckDBPyConnection) -> str:
        selects = [schemas.select_as(source.fields, fields, source.rows()) for source in sources]
        return catalog.engine.create_table(cursor, fields, " UNION ALL ".join(selects))

    rows = load.write(
        catalog,
        name,
        fields,
        fill,
        configuration.get("writeDisposition") or "WRITE_EMPTY",
        create_disposition=configuration.get("createDisposition") or "CREATE_IF_NEEDED",
        resource=resource,
    )
    return rows, rows * row_bytes(fields)
