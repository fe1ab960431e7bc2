"""Create, update, get, list and delete Healthcare datasets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_dicom.exceptions import DicomArgumentError, HealthcareApiError
from airflow_dicom.operators._connection import is_nothing
from airflow_dicom.operators._dataset import DatasetOperator, HealthcareOperator
from airflow_dicom.operators._resource import (
    CreateOperator,
    DeleteOperator,
    GetOperator,
    ListOperator,
    ResourceOperator,
    UpdateOperator,
)
from airflow_dicom.resource_names import LocationName

#: What a dataset may hold, by the field of the answer that lists it.
_KINDS = ("dicomStores", "fhirStores", "hl7V2Stores", "consentStores")
#: What the emulator answers about kinds of stores that it does not have.
_NOT_IMPLEMENTED = 501


class _Dataset(DatasetOperator, ResourceOperator):
    """Which dataset an operator is about, for the API's methods."""

    collection = ""
    id_parameter = "datasetId"

    def resource_name(self) -> str:
        """Return the dataset's name."""
        return str(self.dataset_name)


class DicomCreateDatasetOperator(_Dataset, CreateOperator):
    """Make a Healthcare dataset, and wait until it is there (``datasets.create``).

    ``body`` is a ``Dataset``: ``timeZone``, ``encryptionSpec``.

    The other parameters are those of :class:`~airflow_dicom.operators._resource.CreateOperator` and
    :class:`~airflow_dicom.operators._dataset.DatasetOperator`.
    """

    template_fields: Sequence[str] = ("dataset", *CreateOperator.template_fields)

    def _create(self, body: dict[str, Any], *, repeatable: bool) -> dict[str, Any]:
        operation = super()._create(body, repeatable=repeatable)
        self.hook.wait_for_operation(operation["name"])
        return self._get()


class DicomUpdateDatasetOperator(_Dataset, UpdateOperator):
    """Change a Healthcare dataset's time zone (``datasets.patch``).

    The other parameters are those of :class:`~airflow_dicom.operators._resource.UpdateOperator` and
    :class:`~airflow_dicom.operators._dataset.DatasetOperator`.
    """

    template_fields: Sequence[str] = ("dataset", *UpdateOperator.template_fields)


class DicomGetDatasetOperator(_Dataset, GetOperator):
    """Return a Healthcare dataset (``datasets.get``).

    The parameters are those of :class:`~airflow_dicom.operators._dataset.DatasetOperator`.
    """

    template_fields: Sequence[str] = ("dataset", *GetOperator.template_fields)


class DicomDeleteDatasetOperator(_Dataset, DeleteOperator):
    """Delete a Healthcare dataset with all its stores (``datasets.delete``); one that holds stores only if that is asked for.

    The other parameters are those of :class:`~airflow_dicom.operators._resource.DeleteOperator` and
    :class:`~airflow_dicom.operators._dataset.DatasetOperator`.
    """

    template_fields: Sequence[str] = ("dataset", *DeleteOperator.template_fields)

    def contents(self, name: str) -> str:
        """Return which stores it holds, of whatever kind."""
        stores = [store["name"].partition("/datasets/")[2] for kind in _KINDS for store in self._list(kind, name)]
        return f"it holds {', '.join(stores)}" if stores else ""

    def _list(self, kind: str, name: str) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = self.hook.call(f"{kind}.list", parent=name).get(kind, [])
        except HealthcareApiError as error:
            if error.status_code != _NOT_IMPLEMENTED:
                raise
            return []
        return found


class DicomListDatasetsOperator(ListOperator):
    """Return the names of a location's Healthcare datasets (``datasets.list``). ``dataset_id`` is not used.

    The parameters are those of :class:`~airflow_dicom.operators._dataset.HealthcareOperator`.
    """

    collection, field = "", "datasets"
    template_fields: Sequence[str] = HealthcareOperator.template_fields

    def parent(self) -> str:
        """Return the location's name.

        :raises DicomArgumentError: it is not given, or has a character that no resource name has.
        """
        if is_nothing(self.location):
            raise DicomArgumentError(f"location is {self.location!r}; say in which one the datasets are.")
        return str(LocationName(str(self._project_id()), str(self.location)))
