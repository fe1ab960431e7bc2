"""DICOM stores as assets (datasets, before Airflow 3), named in one way.

``provider_info`` tells Airflow that these functions are responsible for URIs with the scheme ``dicomstore``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult

from airflow_dicom.resource_names import DicomStoreName

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Asset
    from openlineage.client.generated.base import Dataset

_SCHEME = "dicomstore"


def dicom_store_asset(
    *, project_id: str, location: str, dataset_id: str, dicom_store_id: str, extra: dict[str, Any] | None = None
) -> Asset:
    """Return the asset of a DICOM store, ``dicomstore://project/location/dataset/store``.

    :param extra: what the asset is to carry beside its URI.
    :raises ValueError: a part of the name is missing or has a character that no resource name has.
    """
    from airflow.providers.common.compat.sdk import Asset

    return Asset(uri=DicomStoreName(project_id, location, dataset_id, dicom_store_id).uri, extra=extra)


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Return a DICOM store's URI in the one form that Airflow compares.

    :param uri: ``dicomstore://project/location/dataset/store``, or with the store's resource name,
        ``dicomstore://projects/…/locations/…/datasets/…/dicomStores/…``.
    :raises ValueError: it names no DICOM store.
    """
    if uri.query or uri.fragment:
        raise ValueError(f"{uri.geturl()!r} names no DICOM store: there is something behind the store's name.")
    store = _parse(f"{uri.netloc}{uri.path}")
    return uri._replace(netloc=store.project_id, path=f"/{store.location}/{store.dataset_id}/{store.dicom_store_id}")


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> Dataset:
    """Return what OpenLineage calls a DICOM store's asset.

    :param lineage_context: is not used.
    """
    from airflow_dicom.openlineage import dicom_store

    return dicom_store(_parse(asset.uri.removeprefix(f"{_SCHEME}://")))


def _parse(name: str) -> DicomStoreName:
    name = name.rstrip("/")
    if name.startswith("projects/"):
        return DicomStoreName.parse(name)
    parts = name.split("/")
    if len(parts) != 4:
        raise ValueError(
            f"{_SCHEME}://{name} names no DICOM store; it must look like {_SCHEME}://project/location/dataset/store."
        )
    return DicomStoreName(*parts)
