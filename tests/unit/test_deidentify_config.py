from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest

from airflow_dicom.deidentify_config import FILTER_PROFILES, V1BETA1_FIELDS, request_fields
from airflow_dicom.exceptions import DicomArgumentError
from tests.conftest import NEWEST


def schemas(version: str) -> dict[str, Any]:
    documents = resources.files("googleapiclient") / "discovery_cache" / "documents"
    found: dict[str, Any] = json.loads((documents / f"healthcare.{version}.json").read_text())["schemas"]
    return found


def fields(known: dict[str, Any], message: str = "DeidentifyConfig", above: str = "", depth: int = 2) -> set[str]:
    """Return the fields of a message, and of those in it."""
    found = set()
    for name, field in known[message].get("properties", {}).items():
        found.add(f"{above}{name}")
        if depth > 1 and "$ref" in field:
            found |= fields(known, field["$ref"], f"{above}{name}.", depth - 1)
    return found


def test_fields_of_v1beta1_are_those_of_the_discovery_documents() -> None:
    only = fields(schemas("v1beta1")) - fields(schemas("v1"))
    found = {name for name in only if "." not in name or name.partition(".")[0] not in only}
    assert found == set(V1BETA1_FIELDS) or (not NEWEST and found > set(V1BETA1_FIELDS))  # v1 of an older document lacks more


def test_profiles_are_those_of_the_discovery_document() -> None:
    known = schemas("v1")["DicomConfig"]["properties"]["filterProfile"]["enum"]
    assert set(known) == {*FILTER_PROFILES, "TAG_FILTER_PROFILE_UNSPECIFIED"}


@pytest.mark.parametrize("profile", FILTER_PROFILES)
def test_profile(profile: str) -> None:
    assert request_fields(profile, "v1") == {"config": {"dicom": {"filterProfile": profile}}}


def test_object_and_config() -> None:
    assert request_fields("gs://rules/deid.json", "v1") == {"gcsConfigUri": "gs://rules/deid.json"}
    image = {"image": {"textRedactionMode": "REDACT_ALL_TEXT"}}
    assert request_fields(image, "v1") == {"config": image}


@pytest.mark.parametrize("config", [None, "", "basic", "gs://rules", "gs://", 7, ["KEEP_ALL_PROFILE"]])
def test_what_names_no_config(config: object) -> None:
    with pytest.raises(DicomArgumentError, match="config is"):
        request_fields(config, "v1")


@pytest.mark.parametrize("field", V1BETA1_FIELDS)
def test_field_of_v1beta1_in_v1(field: str) -> None:
    first, _, second = field.partition(".")
    config = {first: {second: "x"} if second else {"x": 1}}
    with pytest.raises(DicomArgumentError, match=f"config has {field}, which only v1beta1 knows: set api_version='v1beta1'"):
        request_fields(config, "v1")
    assert request_fields(config, "v1beta1") == {"config": config}


@pytest.mark.parametrize("queries", [[], None, [""], ["PatientID", "None"]], ids=repr)
def test_an_action_that_got_lost(queries):
    actions = [{"queries": ["PatientName"], "removeTag": {}}, {"queries": queries, "removeTag": {}}]
    with pytest.raises(DicomArgumentError, match=r"config\.dicomTagConfig\.actions\[1\]\.queries.* is empty"):
        request_fields({"dicomTagConfig": {"actions": actions}}, "v1beta1")
    sent = {"dicomTagConfig": {"actions": actions[:1]}}
    assert request_fields(sent, "v1beta1") == {"config": sent}
