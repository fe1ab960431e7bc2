"""How a task names a ``DeidentifyConfig``. No Airflow, no Google library.

Source: ``DeidentifyDicomStoreRequest`` and ``DeidentifyConfig`` in the Healthcare API's discovery documents.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_dicom.exceptions import DicomArgumentError

_OBJECT = re.compile(r"gs://[^/*?\s]+/[^*?]*[^/*?]")

#: The profiles that the API knows by name, of those that say something.
FILTER_PROFILES = (
    "MINIMAL_KEEP_LIST_PROFILE",
    "ATTRIBUTE_CONFIDENTIALITY_BASIC_PROFILE",
    "KEEP_ALL_PROFILE",
    "DEIDENTIFY_TAG_CONTENTS",
)

#: Fields of a ``DeidentifyConfig`` that v1 lacks, and what v1 has instead.
V1BETA1_FIELDS = {
    "dicomTagConfig": "dicom (filterProfile, keepList, removeList, skipIdRedaction)",
    "fhirFieldConfig": "fhir",
    "operationMetadata": "nothing",
    "image.additionalInfoTypes": "image.customRegexes, or nothing",
    "image.excludeInfoTypes": "nothing",
    "text.profileType": "nothing",
}


def request_fields(config: Any, api_version: str) -> dict[str, Any]:
    """Return the fields of a request that say how to de-identify.

    :param config: a ``DeidentifyConfig``, the URI of an object that holds one, or the name of a profile.
    :param api_version: ``v1`` or ``v1beta1``.
    :raises DicomArgumentError: it is none of these, or has a field that this version of the API lacks.
    """
    if isinstance(config, Mapping):
        if api_version == "v1" and (unknown := [field for field in V1BETA1_FIELDS if _has(config, field)]):
            instead = "; ".join(f"instead of {field}, v1 has {V1BETA1_FIELDS[field]}" for field in unknown)
            raise DicomArgumentError(
                f"config has {', '.join(unknown)}, which only v1beta1 knows: set api_version='v1beta1' ({instead})."
            )
        if lost := _lost(config):
            raise DicomArgumentError(
                f"config is {config!r}: {lost} is empty, so that it would keep what it is to remove. To keep all on purpose, say "
                "KEEP_ALL_PROFILE."
            )
        return {"config": dict(config)}
    if config in FILTER_PROFILES:
        return {"config": {"dicom": {"filterProfile": config}}}
    if isinstance(config, str) and _OBJECT.fullmatch(config):
        return {"gcsConfigUri": config}
    raise DicomArgumentError(
        f"config is {config!r}; it must be a DeidentifyConfig, the gs:// URI of an object that holds one, or one of "
        f"{', '.join(FILTER_PROFILES)}."
    )


def check_config(config: Any) -> None:
    """Check the form of what names a ``DeidentifyConfig``, for any version of the API.

    :raises DicomArgumentError: it names none.
    """
    request_fields(config, "v1beta1")


def _lost(config: Mapping[str, Any], path: str = "config") -> str:
    """Return where a config says nothing, as one does that a template has rendered; ``""`` for one that says something."""
    if path == "config" and not any(config.values()):
        return path
    for name, value in config.items():
        at = f"{path}.{name}"
        if name == "removeList" and not (isinstance(value, Mapping) and value.get("tags")):
            return f"{at}.tags"
        if name == "queries" and not value:
            return at
        if found := _lost_in(value, at):
            return found
    return ""


def _lost_in(value: Any, at: str) -> str:
    if value is None or (isinstance(value, str) and value.strip() in ("", "None")):
        return at
    if isinstance(value, Mapping):
        return _lost(value, at)
    if isinstance(value, (list, tuple)):
        return next((found for number, item in enumerate(value) if (found := _lost_in(item, f"{at}[{number}]"))), "")
    return ""


def _has(config: Mapping[str, Any], field: str) -> bool:
    first, _, rest = field.partition(".")
    inner = config.get(first)
    return first in config and (not rest or (isinstance(inner, Mapping) and _has(inner, rest)))
