"""The names that the Healthcare API gives to DICOM: of a store, and of what lies in it.

Sources: the discovery document; DICOM PS3.5, section 9.1, for UIDs.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Self

_UID_LENGTH = 64
_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*", re.ASCII)
_RESOURCE_PATH = re.compile(r"/studies/([^/]*)(?:/series/([^/]*)(?:/instances/([^/]*))?)?")
_STORE = re.compile(
    r"projects/((?:[a-z0-9.-]+\.[a-z]+:)?[^/\s:?#%*]+)/locations/([^/\s:?#%*]+)"
    r"/datasets/([^/\s:?#%*]+)/dicomStores/([^/\s:?#%*]+)"
)


def is_uid(text: str) -> bool:
    """Tell whether a text is a UID as DICOM writes it."""
    return len(text) <= _UID_LENGTH and _UID.fullmatch(text) is not None


class StoreName(NamedTuple):
    """``projects/…/locations/…/datasets/…/dicomStores/…`` in its parts."""

    project_id: str
    location: str
    dataset_id: str
    dicom_store_id: str

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a store's name.

        :raises ValueError: it is not the name of a DICOM store.
        """
        if found := _STORE.fullmatch(name):
            return cls(*found.groups())
        raise ValueError(
            f"{name!r} is not the name of a DICOM store, which looks like projects/…/locations/…/datasets/…/dicomStores/…."
        )

    @property
    def dataset(self) -> str:
        """The name of the dataset that holds the store."""
        return f"projects/{self.project_id}/locations/{self.location}/datasets/{self.dataset_id}"

    def __str__(self) -> str:
        return f"{self.dataset}/dicomStores/{self.dicom_store_id}"


class ResourcePath(NamedTuple):
    """A study, one of its series, or an instance of that: ``/studies/UID[/series/UID[/instances/UID]]``.

    A line of a filter file is one, and so is what stands behind ``dicomWeb`` in a URL.
    """

    study: str
    series: str | None = None
    instance: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a path.

        :raises ValueError: it is not one, or has something else than UIDs in it.
        """
        if not (found := _RESOURCE_PATH.fullmatch(text)):
            raise ValueError(f"{text!r} is not a DICOM resource path such as /studies/UID/series/UID/instances/UID.")
        for uid in found.groups():
            if uid is not None and not is_uid(uid):
                raise ValueError(f"{text!r} is not a DICOM resource path: {uid!r} is not a UID.")
        return cls(*found.groups())

    @property
    def level(self) -> str:
        """What it is: ``study``, ``series`` or ``instance``."""
        if self.instance is not None:
            return "instance"
        return "study" if self.series is None else "series"

    def __str__(self) -> str:
        levels = zip(("studies", "series", "instances"), self, strict=True)
        return "".join(f"/{collection}/{uid}" for collection, uid in levels if uid is not None)
