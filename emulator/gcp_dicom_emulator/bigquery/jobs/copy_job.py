"""Copy jobs."""

from __future__ import annotations

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
    :raises ApiError: 404, 409 or 400 as for every job; 501 for snapshots and clones.
    """
    if (configuration.get("operationType") or "COPY") not in ("COPY", "OPERATION_TYPE_UNSPECIFIED"):
        raise ApiError(501, f"The emulator's copy jobs do not do {configuration['operationType']}.")
    references = configuration.get("sourceTables") or [configuration.get("sourceTable") or {}]
    sources = [catalog.table(TableName.from_reference(reference, project)) for reference in references]
    name = TableName.from_reference(configuration.get("destinationTable") or {}, project)
    fields = sources[0].fields
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
    )
