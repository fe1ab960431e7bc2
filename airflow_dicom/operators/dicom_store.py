"""Create, update, get, list and delete DICOM stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_dicom.links.dicom import DicomStoreLink
from airflow_dicom.operators._connection import NOT_GIVEN
from airflow_dicom.operators._dataset import DatasetOperator
from airflow_dicom.operators._resource import (
    CreateOperator,
    DeleteOperator,
    GetOperator,
    ListOperator,
    ResourceOperator,
    UpdateOperator,
)
from airflow_dicom.operators._store import StoreOperator
from airflow_dicom.typing import Templated

_STORE = ("dicom_store_id", "dicom_store")


class _Store(StoreOperator, ResourceOperator):
    """Which store an operator is about, for the API's methods."""

    collection = "dicomStores."
    id_parameter = "dicomStoreId"
    operator_extra_links = (DicomStoreLink(),)

    def resource_name(self) -> str:
        """Return the store's name."""
        return str(self.store)

    def execute(self, context: Any) -> Any:
        """Show the link, and do it."""
        from airflow_dicom.links import dicom as links

        self._check_arguments()
        links.show(self, context, {DicomStoreLink.key: DicomStoreLink.url(self.store)})
        return super().execute(context)


class DicomCreateStoreOperator(_Store, CreateOperator):
    """Make a DICOM store (``dicomStores.create``).

    ``body`` is a ``DicomStore``: ``labels``, ``notificationConfigs`` (Pub/Sub) and ``streamConfigs`` (BigQuery) as the API takes
    them. A store that is there already stays as it is.

    .. seealso:: https://cloud.google.com/healthcare-api/docs/how-tos/dicom-stores

    The other parameters are those of :class:`~airflow_dicom.operators._resource.CreateOperator` and
    :class:`~airflow_dicom.operators._store.StoreOperator`.
    """

    template_fields: Sequence[str] = (*_STORE, *CreateOperator.template_fields)


class DicomUpdateStoreOperator(_Store, UpdateOperator):
    """Change a DICOM store's labels or configurations (``dicomStores.patch``).

    The other parameters are those of :class:`~airflow_dicom.operators._resource.UpdateOperator` and
    :class:`~airflow_dicom.operators._store.StoreOperator`.
    """

    template_fields: Sequence[str] = (*_STORE, *UpdateOperator.template_fields)


class DicomGetStoreOperator(_Store, GetOperator):
    """Return a DICOM store: its labels and configurations (``dicomStores.get``).

    The parameters are those of :class:`~airflow_dicom.operators._store.StoreOperator`.
    """

    template_fields: Sequence[str] = (*_STORE, *GetOperator.template_fields)


class DicomDeleteStoreOperator(_Store, DeleteOperator):
    """Delete a DICOM store with all that is in it (``dicomStores.delete``); one that holds instances only if that is asked for.

    The other parameters are those of :class:`~airflow_dicom.operators._resource.DeleteOperator` and
    :class:`~airflow_dicom.operators._store.StoreOperator`.
    """

    template_fields: Sequence[str] = (*_STORE, *DeleteOperator.template_fields)

    def contents(self, name: str) -> str:
        """Return how many instances the store holds. Nobody says how soon its numbers follow, so a search has the last word."""
        if instances := self.hook.get_dicom_store_metrics(name).get("instanceCount", 0):
            return f"it holds {instances} instances"
        return "it holds instances" if any(self.dicomweb.search(name, "/instances")) else ""


class DicomListStoresOperator(DatasetOperator, ListOperator):
    """Return the names of a dataset's DICOM stores (``dicomStores.list``).

    :param label_filter: only stores with these labels, ``labels.key=value``. Given, but rendered to nothing, it is an error
        (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._dataset.DatasetOperator`.
    """

    collection, field = "dicomStores.", "dicomStores"
    template_fields: Sequence[str] = ("label_filter", *DatasetOperator.template_fields)

    def __init__(self, *, label_filter: Templated | None = NOT_GIVEN, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.label_filter: str | None
        self._narrow(label_filter=label_filter)

    def parent(self) -> str:
        """Return the dataset's name."""
        return str(self.dataset_name)

    def query(self) -> dict[str, Any]:
        """Return the filter."""
        return {} if self.label_filter is None else {"filter": self.label_filter}
