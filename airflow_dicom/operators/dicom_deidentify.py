"""De-identify DICOM instances: of a store into another store, of a dataset into a new dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_dicom.deidentify_config import check_config, request_fields
from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.links.dicom import DicomDestinationLink
from airflow_dicom.operators._dataset import DatasetOperator
from airflow_dicom.operators._filtered import FilteredOperator
from airflow_dicom.operators._operation import OperationOperator
from airflow_dicom.resource_names import DatasetName, DicomStoreName
from airflow_dicom.work.plan import Plan, Repeat

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_dicom.typing import Templated


class DicomDeidentifyOperator(FilteredOperator):
    """Copy a DICOM store's instances into another store without what identifies patients (``dicomStores.deidentify``).

    Each request makes new UIDs, so that a second one would add the same instances again under other names: it is never sent twice
    unless a person clears the task. Instances that cannot be de-identified count as failed, and are not copied. The service
    agent needs ``roles/storage.objectViewer`` on the bucket of the filter, or of the configuration.

    .. seealso:: https://cloud.google.com/healthcare-api/docs/how-tos/dicom-deidentify

    :param destination_store: the store to write to, ``projects/…/locations/…/datasets/…/dicomStores/…``. It must exist, in the
        location of the source (templated)
    :param config: what to remove: a ``DeidentifyConfig``; the ``gs://`` URI of an object that holds one as JSON; or the name of a
        profile: ``MINIMAL_KEEP_LIST_PROFILE``, ``ATTRIBUTE_CONFIDENTIALITY_BASIC_PROFILE``, ``DEIDENTIFY_TAG_CONTENTS`` or
        ``KEEP_ALL_PROFILE``. A profile alone leaves text in the pixels as it is (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._filtered.FilteredOperator` and
    :class:`~airflow_dicom.operators.DicomOperationOperator`.
    """

    template_fields: Sequence[str] = ("destination_store", "config", *FilteredOperator.template_fields)
    operator_extra_links = (*FilteredOperator.operator_extra_links, DicomDestinationLink())
    checks = {"destination_store": DicomStoreName.parse, "config": check_config}

    def __init__(self, *, destination_store: Templated, config: dict[str, Any] | Templated, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.destination_store: Any = destination_store
        self.config: Any = config
        self._check_literals()

    def plan_of_all(self, context: Context) -> Plan:
        """Return the request with a ``DeidentifyDicomStoreRequest``."""
        destination = DicomStoreName.of_argument(self.destination_store, "destination_store")
        if destination == self.store:
            raise DicomArgumentError(
                f"destination_store is the source itself, {destination}: give the copies a store of their own."
            )
        return Plan(
            method="dicomStores.deidentify",
            name=str(self.store),
            parameter="sourceStore",
            body={"destinationStore": str(destination), **request_fields(self.config, self.api_version)},
            subject=f"De-identification of {self.store} into {destination}",
            repeat=Repeat.DOUBLES,
            result={"destination_store": str(destination)},
            links={DicomDestinationLink.key: DicomDestinationLink.url(destination)},
            inputs=[self.store.uri],
            outputs=[destination.uri],
        )


class DicomDeidentifyDatasetOperator(DatasetOperator, OperationOperator):
    """Copy a Healthcare dataset, with all its stores, into a new one without what identifies patients (``datasets.deidentify``).

    The service makes the destination; a second request fails with code 6, and changes nothing.

    .. seealso:: https://cloud.google.com/healthcare-api/docs/how-tos/dicom-deidentify

    :param destination_dataset: the dataset to make, ``projects/…/locations/…/datasets/…``. It must not exist; its location is the
        source's (templated)
    :param config: as :class:`DicomDeidentifyOperator` takes it (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._dataset.DatasetOperator` and
    :class:`~airflow_dicom.operators._operation.OperationOperator`.
    """

    template_fields: Sequence[str] = ("dataset", "destination_dataset", "config", *OperationOperator.template_fields)
    checks = {"destination_dataset": DatasetName.parse, "config": check_config}

    def __init__(self, *, destination_dataset: Templated, config: dict[str, Any] | Templated, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.destination_dataset: Any = destination_dataset
        self.config: Any = config
        self._check_literals()

    def plan(self, context: Context) -> Plan:
        """Return the request with a ``DeidentifyDatasetRequest``."""
        destination = DatasetName.of_argument(self.destination_dataset, "destination_dataset")
        return Plan(
            method="deidentify",
            name=str(self.dataset_name),
            parameter="sourceDataset",
            body={"destinationDataset": str(destination), **request_fields(self.config, self.api_version)},
            subject=f"De-identification of {self.dataset_name} into {destination}",
            repeat=Repeat.FAILS,
            result={"destination_dataset": str(destination)},
        )
