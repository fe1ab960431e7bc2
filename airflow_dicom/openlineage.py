"""What the operators read and write, in OpenLineage's words. Loaded only where the OpenLineage provider asks an operator.

Source: https://openlineage.io/docs/spec/naming for buckets and BigQuery tables. It does not know DICOM stores: they are named as
their assets are, see :mod:`airflow_dicom.assets`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_dicom.resource_names import DicomStoreName

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.generated.base import Dataset


def dicom_store(store: DicomStoreName) -> Dataset:
    """Return a DICOM store."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    name = "/".join((store.project_id, store.location, store.dataset_id, store.dicom_store_id))
    return Dataset(namespace="dicomstore", name=name)


def _gcs(uri: str) -> Dataset:
    from airflow.providers.common.compat.openlineage.facet import Dataset

    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return Dataset(namespace=f"gs://{bucket}", name=name.rstrip("/") or "/")


def _bigquery_table(uri: str) -> Dataset:
    from airflow.providers.common.compat.openlineage.facet import Dataset

    return Dataset(namespace="bigquery", name=uri.removeprefix("bq://"))


def _dataset(uri: str) -> Dataset:
    """Return what OpenLineage calls a thing.

    :param uri: as a :class:`~airflow_dicom.work.plan.Plan` names it.
    """
    if uri.startswith("gs://"):
        return _gcs(uri)
    if uri.startswith("bq://"):
        return _bigquery_table(uri)
    return dicom_store(DicomStoreName(*uri.removeprefix("dicomstore://").split("/")))


def lineage(
    inputs: Sequence[str], outputs: Sequence[str], *, source: str = "", query_id: str | None = None
) -> OperatorLineage[Any, Any]:
    """Return what the OpenLineage provider wants to know of a task.

    :param inputs: the URIs of what is read.
    :param outputs: the URIs of what is written.
    :param source: the service that did the work.
    :param query_id: the work's name there; ``None`` when none was started.
    """
    from airflow.providers.common.compat.openlineage.facet import ExternalQueryRunFacet
    from airflow.providers.openlineage.extractors import OperatorLineage

    facets = {"externalQuery": ExternalQueryRunFacet(externalQueryId=query_id, source=source)} if query_id else {}
    return OperatorLineage(
        inputs=[_dataset(uri) for uri in inputs], outputs=[_dataset(uri) for uri in outputs], run_facets=facets
    )
