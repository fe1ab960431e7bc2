"""External tables: their rows stay in objects, and are loaded anew by each statement that reads them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.bigquery.catalog import Catalog, Table
from gcp_dicom_emulator.bigquery.jobs import load_job
from gcp_dicom_emulator.bigquery.names import ANONYMOUS_DATASET, TableName
from gcp_dicom_emulator.bigquery.sql import types
from gcp_dicom_emulator.bigquery.sql.run import boolean
from gcp_dicom_emulator.bigquery.sql.types import Field
from gcp_dicom_emulator.rest.errors import ApiError

if TYPE_CHECKING:
    from gcp_dicom_emulator.storage.objects import ObjectStore

#: What is the same in a load job, and what of a table's options is.
_SAME = {"autodetect", "ignoreUnknownValues", "maxBadRecords", "parquetOptions", "sourceFormat", "sourceUris"}
_OPTIONS = {
    "csvOptions": {
        "allowJaggedRows", "allowQuotedNewlines", "encoding", "fieldDelimiter", "nullMarker", "quote", "skipLeadingRows",
    },
    "jsonOptions": {"encoding"},
    "avroOptions": {"useAvroLogicalTypes"},
}  # fmt: skip
_FORMATS = ("CSV", "NEWLINE_DELIMITED_JSON", "PARQUET", "AVRO")


def load_configuration(definition: dict[str, Any], fields: list[Field]) -> dict[str, Any]:
    """Return the load job that reads what an ``ExternalDataConfiguration`` defines.

    :param fields: the columns, none if they are in the objects.
    :raises ApiError: 400 for one that is wrong, 501 for what the emulator does not do.
    """
    if definition.get("sourceFormat") not in _FORMATS:
        raise ApiError(501, f"The emulator has no external tables of {definition.get('sourceFormat') or 'no format'}.")
    job: dict[str, Any] = {}
    for key, value in definition.items():
        if key in _SAME:
            job[key] = value
        elif key in _OPTIONS:
            unknown = [name for name, given in value.items() if given and name not in _OPTIONS[key]]
            if unknown:
                raise ApiError(501, f"The emulator's external tables do not do {key}.{unknown[0]}.")
            job |= value
        elif value and key != "schema" and (key, value) != ("compression", "NONE"):
            raise ApiError(501, f"The emulator's external tables do not do {key}.")
    if not job.get("sourceUris"):
        raise ApiError(400, "Required parameter is missing: sourceUris", reason="required")
    job["schema"] = {"fields": fields}
    return job


def fields_of(catalog: Catalog, objects: ObjectStore, name: TableName, resource: dict[str, Any]) -> list[Field]:
    """Return the columns of an external table that is to be made: those that are given, else those of its objects.

    :raises ApiError: as :func:`load_configuration`, and what is wrong with the objects, if they have to be read.
    """
    definition = resource["externalDataConfiguration"]
    given = (resource.get("schema") or definition.get("schema") or {}).get("fields") or []
    fields = types.normalize_fields(given)
    job = load_configuration(definition, fields)
    if fields:
        return fields
    if definition["sourceFormat"] in ("CSV", "NEWLINE_DELIMITED_JSON") and not boolean(definition.get("autodetect") or False):
        raise ApiError(400, "No schema specified on the table, and autodetect is not set.")
    loaded = _load(catalog, objects, name.project, job)
    try:
        return catalog.table(loaded).fields
    finally:
        catalog.delete_table(loaded)


def read(catalog: Catalog, objects: ObjectStore, table: Table) -> TableName:
    """Load the rows of an external table into one of no name, which the caller deletes, and return that.

    :raises ApiError: as for a load job.
    """
    job = load_configuration(table.resource["externalDataConfiguration"], table.fields)
    return _load(catalog, objects, table.name.project, {**job, "autodetect": False})


def _load(catalog: Catalog, objects: ObjectStore, project: str, job: dict[str, Any]) -> TableName:
    name = TableName(project, ANONYMOUS_DATASET, f"external{uuid.uuid4().hex}")
    load_job.run(catalog, objects, project, {**job, "destinationTable": name.reference()}, None)
    return name
