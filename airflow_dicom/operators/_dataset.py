"""Which Healthcare dataset an operator is about."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.operators._connection import NOT_GIVEN, ConnectionOperator, OneOf, is_nothing
from airflow_dicom.resource_names import DatasetName, DicomStoreName

if TYPE_CHECKING:
    from airflow_dicom.hooks.healthcare import HealthcareHook
    from airflow_dicom.typing import Templated

Name = TypeVar("Name", DatasetName, DicomStoreName)


class HealthcareApiOperator(ConnectionOperator):
    """An operator that asks the Healthcare API.

    :param api_version: ``"v1"``, or ``"v1beta1"`` for what ``v1`` lacks (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._connection.ConnectionOperator`.
    """

    template_fields: Sequence[str] = ("api_version", *ConnectionOperator.template_fields)
    checks = {"api_version": OneOf("api_version", "v1", "v1beta1")}

    def __init__(self, *, api_version: Templated = "v1", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.api_version: Any = api_version

    @cached_property
    def hook(self) -> HealthcareHook:
        """The hook for the worker."""
        from airflow_dicom.hooks.healthcare import HealthcareHook

        return HealthcareHook(self.gcp_conn_id, self.impersonation_chain, api_version=self.api_version)


class HealthcareOperator(HealthcareApiOperator):
    """An operator on something in a Healthcare dataset.

    :param location: the dataset's location, e.g. ``europe-west4`` (templated)
    :param dataset_id: the Healthcare dataset (templated)
    :param project_id: its project; by default the connection's (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._dataset.HealthcareApiOperator`.
    """

    template_fields: Sequence[str] = ("project_id", "location", "dataset_id", *HealthcareApiOperator.template_fields)

    def __init__(
        self,
        *,
        location: Templated | None = None,
        dataset_id: Templated | None = None,
        project_id: Templated | None = NOT_GIVEN,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.location: Any = location
        self.dataset_id: Any = dataset_id
        self.project_id: Any
        self._replace_default(project_id=project_id)

    @property
    def dataset_name(self) -> DatasetName:
        """The resource name of the dataset.

        :raises DicomArgumentError: a part of it is missing or has a character that no resource name has.
        """
        raise NotImplementedError

    def _project_id(self) -> str:
        # Kept, so that a task which resumes does not load Google's libraries to read the connection again.
        self.project_id = self.project_id or self.hook.project_id
        if not self.project_id:
            raise DicomArgumentError(f"project_id is not set, and neither is it in the connection {self.gcp_conn_id!r}.")
        project_id: str = self.project_id
        return project_id

    def _resource_name(self, kind: type[Name], argument: str, **last: Any) -> Name:
        """Return a resource's name, from the argument that names it whole or from those that name its parts.

        :param argument: the one that names it whole.
        :param last: the arguments beside ``location`` and ``dataset_id`` that name a part.
        :raises DicomArgumentError: a part is missing, or has a character that no resource name has.
        """
        parts = {"location": self.location, "dataset_id": self.dataset_id, **last}
        whole = getattr(self, argument)
        if whole is not None and is_nothing(whole):
            raise DicomArgumentError(f"{argument} was given and is {whole!r} now: what it names got lost; nothing was sent.")
        what = argument.removeprefix("dicom_")
        if whole:
            if given := [name for name, value in {**parts, "project_id": self.project_id}.items() if value]:
                raise DicomArgumentError(f"{argument} names the whole {what}: give it or {', '.join(given)}, not both.")
            return kind.parse(whole)
        if missing := [name for name, value in parts.items() if is_nothing(value)]:
            raise DicomArgumentError(
                f"{', '.join(missing)}: not given, or nothing now; give {argument}, or all parts of the {what}'s name."
            )
        return kind(str(self._project_id()), *(str(value) for value in parts.values()))


class DatasetOperator(HealthcareOperator):
    """An operator on one Healthcare dataset.

    :param dataset: instead of ``project_id``, ``location`` and ``dataset_id``: the dataset's name,
        ``projects/…/locations/…/datasets/…`` (templated)

    The other parameters are those of :class:`~airflow_dicom.operators._dataset.HealthcareOperator`.
    """

    template_fields: Sequence[str] = ("dataset", *HealthcareOperator.template_fields)

    def __init__(self, *, dataset: Templated | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset: Any = dataset

    @property
    def dataset_name(self) -> DatasetName:
        """The resource name of the dataset."""
        return self._resource_name(DatasetName, "dataset")
