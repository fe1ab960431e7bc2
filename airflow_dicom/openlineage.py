"""What the operators read and write, in OpenLineage's words. Loaded only where the OpenLineage provider asks an operator.

Source: https://openlineage.io/docs/spec/naming for buckets and BigQuery tables. It does not know DICOM stores: they are named as
their assets are, see :mod:`airflow_dicom.assets`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.generated.base import Dataset

    from airflow_dicom.resource_names import DicomStoreName


def dicom_store(store: DicomStoreName) -> Dataset:
    """Return a DICOM store."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    name = "/".join((store.project_id, store.location, store.dataset_id, store.dicom_store_id))
    return Dataset(namespace="dicomstore", name=name)


def gcs_folder(uri: str) -> Dataset:
    """Return a folder, ``gs://bucket[/folder]``."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    bucket, _, folder = uri.removeprefix("gs://").partition("/")
    return Dataset(namespace=f"gs://{bucket}", name=folder.rstrip("/") or "/")


def gcs_object(uri: str) -> Dataset:
    """Return one object."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return Dataset(namespace=f"gs://{bucket}", name=name)


def bigquery_table(table: str) -> Dataset:
    """Return a table.

    :param table: ``project.dataset.table``.
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset

    return Dataset(namespace="bigquery", name=table)


def lineage(
    inputs: list[Dataset], outputs: list[Dataset], *, source: str = "", query_id: str | None = None
) -> OperatorLineage[Any, Any]:
    """Return what the OpenLineage provider wants to know of a task.

    :param source: the service that did the work.
    :param query_id: the work's name there; ``None`` when none was started.
    """
    from airflow.providers.common.compat.openlineage.facet import ExternalQueryRunFacet
    from airflow.providers.openlineage.extractors import OperatorLineage

    facets = {"externalQuery": ExternalQueryRunFacet(externalQueryId=query_id, source=source)} if query_id else {}
    return OperatorLineage(inputs=inputs, outputs=outputs, run_facets=facets)
