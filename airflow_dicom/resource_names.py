"""The resource names of the Healthcare API. No Airflow, no Google library.

Source: the ``name`` and ``parent`` parameters in the Healthcare API's discovery document.
"""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass, fields
from typing import Any, ClassVar, Self

from airflow_dicom.exceptions import DicomArgumentError

_SEGMENT = re.compile(r"[^/\s:?#%*]+")
#: A project of a domain, ``example.com:project``, has a colon in its name.
_PROJECT_ID = re.compile(r"(?:[a-z0-9.-]+\.[a-z]+:)?[^/\s:?#%*]+")


@dataclass(frozen=True)
class _ResourceName:
    """A path of collections and ids, such as ``projects/p/locations/l``.

    :raises DicomArgumentError: a part is missing or has a character that no resource name has.
    """

    collections: ClassVar[tuple[str, ...]]
    what: ClassVar[str]

    def __post_init__(self) -> None:
        for field, value in zip(fields(self), astuple(self), strict=True):
            valid = _PROJECT_ID if field.name == "project_id" else _SEGMENT
            if not isinstance(value, str) or not valid.fullmatch(value):
                raise DicomArgumentError(
                    f"{field.name} is {value!r}; the name of {self.what} needs a text without '/', ':' or spaces there."
                )

    def __str__(self) -> str:
        return "/".join(f"{collection}/{value}" for collection, value in zip(self.collections, astuple(self), strict=True))

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a name as the API writes it.

        :raises DicomArgumentError: it is not the name of such a resource.
        """
        parts = name.split("/") if isinstance(name, str) else []
        if tuple(parts[::2]) != cls.collections or len(parts) != 2 * len(cls.collections):
            pattern = "/".join(f"{collection}/…" for collection in cls.collections)
            raise DicomArgumentError(f"{name!r} is not the name of {cls.what}; it must look like {pattern}.")
        return cls(*parts[1::2])

    @classmethod
    def of_argument(cls, value: Any, argument: str) -> Self:
        """Read the value of an operator's argument.

        :raises DicomArgumentError: it is not the name of such a resource.
        """
        try:
            return cls.parse(value)
        except DicomArgumentError as error:
            raise DicomArgumentError(f"{argument}: {error}") from error


@dataclass(frozen=True)
class LocationName(_ResourceName):
    """``projects/…/locations/…``."""

    collections: ClassVar = ("projects", "locations")
    what: ClassVar = "a location"

    project_id: str
    location: str


@dataclass(frozen=True)
class DatasetName(_ResourceName):
    """``projects/…/locations/…/datasets/…``."""

    collections: ClassVar = ("projects", "locations", "datasets")
    what: ClassVar = "a Healthcare dataset"

    project_id: str
    location: str
    dataset_id: str


@dataclass(frozen=True)
class DicomStoreName(_ResourceName):
    """``projects/…/locations/…/datasets/…/dicomStores/…``."""

    collections: ClassVar = ("projects", "locations", "datasets", "dicomStores")
    what: ClassVar = "a DICOM store"

    project_id: str
    location: str
    dataset_id: str
    dicom_store_id: str

    @property
    def uri(self) -> str:
        """``dicomstore://project/location/dataset/store``, as assets and lineage write it."""
        return f"dicomstore://{self.project_id}/{self.location}/{self.dataset_id}/{self.dicom_store_id}"

    @property
    def dataset(self) -> DatasetName:
        """The dataset that holds the store."""
        return DatasetName(self.project_id, self.location, self.dataset_id)


@dataclass(frozen=True)
class OperationName(_ResourceName):
    """``projects/…/locations/…/datasets/…/operations/…``."""

    collections: ClassVar = ("projects", "locations", "datasets", "operations")
    what: ClassVar = "a long-running operation"

    project_id: str
    location: str
    dataset_id: str
    operation_id: str

    @property
    def dataset(self) -> DatasetName:
        """The dataset in which the operation runs."""
        return DatasetName(self.project_id, self.location, self.dataset_id)
