"""DICOM stores as assets (datasets, before Airflow 3), named in one way.

``provider_info`` tells Airflow that these functions are responsible for URIs with the scheme ``dicomstore``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult

from airflow_dicom.resource_names import DicomStoreName

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Asset, BaseOperator, Context
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


def arrivals_asset(
    *,
    subscription: str,
    gcp_conn_id: str = "google_cloud_default",
    impersonation_chain: str | Sequence[str] | None = None,
    name: str | None = None,
) -> Asset:
    """Return an asset that changes when messages arrive in a subscription of Pub/Sub: those of a DICOM store, or of a bucket.

    A DAG whose schedule names it runs when something has arrived; its first task reads what, by
    :func:`~airflow_dicom.arrivals.collect_arrivals`. Each DAG needs a subscription, and thus an asset, of its own. Its ack deadline
    should be 60 seconds. The account of the triggerer needs ``roles/pubsub.subscriber`` on it.

    :param subscription: its full name, ``projects/…/subscriptions/…``.
    :param gcp_conn_id: the Google Cloud connection, which the triggerer must have.
    :param impersonation_chain: the service account to impersonate, or a chain of them.
    :param name: the asset's name; by default the subscription's.
    :raises ImportError: Airflow is older than 3.3; the text names what it has instead.
    :raises ValueError: ``subscription`` is not such a name.
    """
    from airflow.sdk import Asset, AssetWatcher

    from airflow_dicom.triggers.events import DicomNotificationTrigger

    trigger = DicomNotificationTrigger(
        subscription=subscription, gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain
    )
    return Asset(name=name or subscription, watchers=[AssetWatcher(name="arrivals", trigger=trigger)])


def tell_outlets(operator: BaseOperator, context: Context, outputs: Iterable[str], done: Mapping[str, Any]) -> None:
    """Let the events of a task's outlets carry what was done, so that a DAG which they start knows how much.

    An ``AssetAlias`` gets an event for each asset that was written; an asset keeps what its event carries already.

    :param outputs: what was written, as :class:`~airflow_dicom.work.plan.Plan` names it.
    :param done: counters and names, which can be JSON.
    """
    events: Any = context.get("outlet_events")
    if events is None or not operator.outlets:
        return
    from airflow.providers.common.compat.sdk import Asset, AssetAlias

    for outlet in operator.outlets:
        if isinstance(outlet, AssetAlias):
            for uri in outputs:
                events[outlet].add(Asset(uri=_asset_uri(uri)), extra=dict(done))
        elif isinstance(outlet, Asset):
            events[outlet].extra.update(done)


def _asset_uri(output: str) -> str:
    """Return the URI of an output as an asset; a table's is that of the Google provider."""
    if output.startswith("bq://"):
        return "bigquery://" + "/".join(output.removeprefix("bq://").rsplit(".", 2))
    return output


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
