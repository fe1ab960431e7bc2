"""Which DICOM store an operator is about."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.operators._connection import ConnectionOperator
from airflow_dicom.resource_names import DicomStoreName

if TYPE_CHECKING:
    from airflow_dicom.hooks.healthcare import HealthcareHook
    from airflow_dicom.typing import Templated


class StoreOperator(ConnectionOperator):
    """An operator on one DICOM store.

    :param location: the dataset's location, e.g. ``europe-west4`` (templated)
    :param dataset_id: the Healthcare dataset (templated)
    :param dicom_store_id: the DICOM store (templated)
    :param project_id: the store's project; by default the connection's (templated)
    :param dicom_store: instead of these: the store's name, ``projects/…/locations/…/datasets/…/dicomStores/…`` (templated)
    :param api_version: ``"v1"``, or ``"v1beta1"`` for servers that lack ``filterConfig`` in v1 (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._connection.ConnectionOperator`.
    """

    template_fields: Sequence[str] = (
        *ConnectionOperator.template_fields,
        "project_id",
        "location",
        "dataset_id",
        "dicom_store_id",
        "dicom_store",
        "api_version",
    )

    def __init__(
        self,
        *,
        location: Templated | None = None,
        dataset_id: Templated | None = None,
        dicom_store_id: Templated | None = None,
        project_id: Templated | None = None,
        dicom_store: Templated | None = None,
        api_version: Templated = "v1",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.location: Any = location
        self.dataset_id: Any = dataset_id
        self.dicom_store_id: Any = dicom_store_id
        self.project_id: Any = project_id
        self.dicom_store: Any = dicom_store
        self.api_version: Any = api_version

    @cached_property
    def hook(self) -> HealthcareHook:
        """The hook for the worker."""
        from airflow_dicom.hooks.healthcare import HealthcareHook

        return HealthcareHook(self.gcp_conn_id, self.impersonation_chain, api_version=self.api_version)

    @cached_property
    def store(self) -> DicomStoreName:
        """The DICOM store's resource name.

        :raises DicomArgumentError: a part of it is missing or has a character that no resource name has.
        """
        parts = {"location": self.location, "dataset_id": self.dataset_id, "dicom_store_id": self.dicom_store_id}
        try:
            if self.dicom_store:
                if given := [name for name, value in {**parts, "project_id": self.project_id}.items() if value]:
                    raise DicomArgumentError(f"dicom_store names the whole store: give it or {', '.join(given)}, not both.")
                return DicomStoreName.parse(self.dicom_store)
            if missing := [name for name, value in parts.items() if not value]:
                raise DicomArgumentError(f"{', '.join(missing)}: not given; give dicom_store, or all parts of the store's name.")
            return DicomStoreName(self._project_id(), **{name: str(value) for name, value in parts.items()})
        except DicomArgumentError:
            raise
        except ValueError as error:
            raise DicomArgumentError(str(error)) from error

    def _project_id(self) -> str:
        # Kept, so that a task which resumes does not load Google's libraries to read the connection again.
        self.project_id = self.project_id or self.hook.project_id
        if not self.project_id:
            raise DicomArgumentError(f"project_id is not set, and neither is it in the connection {self.gcp_conn_id!r}.")
        project_id: str = self.project_id
        return project_id
