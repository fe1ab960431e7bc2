"""``projects.locations``."""

from __future__ import annotations

from typing import Any

from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.server import Call

#: Where the service is; the emulator takes any other name as well.
LOCATIONS = (
    "asia-east1",
    "asia-east2",
    "asia-northeast1",
    "asia-northeast2",
    "asia-northeast3",
    "asia-south1",
    "asia-southeast1",
    "asia-southeast2",
    "australia-southeast1",
    "europe-central2",
    "europe-north1",
    "europe-west1",
    "europe-west2",
    "europe-west3",
    "europe-west4",
    "europe-west6",
    "me-central1",
    "me-west1",
    "northamerica-northeast1",
    "southamerica-east1",
    "southamerica-west1",
    "us",
    "us-central1",
    "us-east1",
    "us-east4",
    "us-west1",
    "us-west2",
    "us-west3",
    "us-west4",
)


def get_location(call: Call) -> dict[str, Any]:
    """Return a location; there is any."""
    return _location(call.path["name"])


def list_locations(call: Call) -> list[dict[str, Any]]:
    """Return the service's locations.

    :raises ApiError: 501 for a filter.
    """
    for parameter in ("filter", "extraLocationTypes"):
        if call.query.get(parameter):
            raise ApiError(501, f"The emulator does not do {parameter} of locations.list.")
    return [_location(f"{call.path['name']}/locations/{location}") for location in LOCATIONS]


def _location(name: str) -> dict[str, Any]:
    location = name.rpartition("/")[2]
    return {"name": name, "locationId": location, "labels": {"cloud.googleapis.com/region": location}}
