"""Settings of buckets and objects: obeyed, refused, or kept where nothing comes of them here."""

from __future__ import annotations

import datetime
import itertools
import time
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.cloud import storage

from gcp_dicom_emulator import Emulator

NUMBERS = itertools.count()


def insert(emulator: Emulator, query: str = "", **settings: Any) -> requests.Response:
    body = {"name": f"settings-{next(NUMBERS)}", **settings}
    return requests.post(f"{emulator.url}/storage/v1/b?project=demo{query}", json=body, timeout=10)


def test_f9_retention_keeps_objects(client: storage.Client, bucket: storage.Bucket) -> None:
    bucket.retention_period = 3600
    bucket.patch()
    assert bucket.retention_policy_effective_time is not None
    assert not bucket.retention_policy_locked
    blob = bucket.blob("a")
    blob.upload_from_string(b"x")
    blob.reload()
    assert blob.retention_expiration_time == blob.time_created + datetime.timedelta(seconds=3600)
    for forbidden in (blob.delete, lambda: bucket.blob("a").upload_from_string(b"y")):
        with pytest.raises(exceptions.Forbidden, match="retention policy"):
            forbidden()
    assert blob.download_as_bytes() == b"x"
    bucket.retention_period = None
    bucket.patch()
    assert bucket.retention_policy_effective_time is None
    blob.reload()
    assert blob.retention_expiration_time is None
    blob.delete()


def test_f9_retention_ends(bucket: storage.Bucket) -> None:
    bucket.retention_period = 1
    bucket.patch()
    blob = bucket.blob("a")
    blob.upload_from_string(b"x")
    with pytest.raises(exceptions.Forbidden):
        blob.delete()
    time.sleep(1.1)
    blob.delete()


def test_f9_a_locked_retention_cannot_be_reduced(emulator: Emulator, bucket: storage.Bucket) -> None:
    url = f"{emulator.url}/storage/v1/b/{bucket.name}/lockRetentionPolicy"
    assert requests.post(url, timeout=10).status_code == 400
    assert requests.post(f"{url}?ifMetagenerationMatch=1", timeout=10).status_code == 400
    bucket.retention_period = 3600
    bucket.patch()
    bucket.lock_retention_policy()
    assert bucket.retention_policy_locked
    for period in (None, 1800):
        bucket.retention_period = period
        with pytest.raises(exceptions.Forbidden, match="locked"):
            bucket.patch()
        bucket.reload()
    bucket.retention_period = 7200
    bucket.patch()


@pytest.mark.parametrize("hold", ["temporary_hold", "event_based_hold"])
def test_f9_holds_keep_objects(bucket: storage.Bucket, hold: str) -> None:
    blob = bucket.blob("a")
    blob.upload_from_string(b"x")
    setattr(blob, hold, True)
    blob.patch()
    with pytest.raises(exceptions.Forbidden, match="hold"):
        blob.delete()
    assert bucket.copy_blob(blob, bucket, "b").event_based_hold is None
    setattr(blob, hold, False)
    blob.patch()
    blob.delete()


def test_f9_a_default_hold_and_the_retention_that_begins_when_it_ends(bucket: storage.Bucket) -> None:
    bucket.default_event_based_hold = True
    bucket.retention_period = 3600
    bucket.patch()
    blob = bucket.blob("a")
    blob.upload_from_string(b"x")
    blob.reload()
    assert (blob.event_based_hold, blob.retention_expiration_time) == (True, None)
    with pytest.raises(exceptions.Forbidden, match="Event-Based hold"):
        blob.delete()
    time.sleep(0.05)
    blob.event_based_hold = False
    blob.patch()
    assert blob.retention_expiration_time > blob.time_created + datetime.timedelta(seconds=3600)
    with pytest.raises(exceptions.Forbidden, match="retention"):
        blob.delete()


def test_f9_retention_of_objects(emulator: Emulator, client: storage.Client, bucket: storage.Bucket) -> None:
    until = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def retain(name: str, retention: dict[str, str], query: str = "") -> requests.Response:
        return requests.patch(f"{emulator.url}/storage/v1/b/{name}/o/a{query}", json={"retention": retention}, timeout=10)

    bucket.blob("a").upload_from_string(b"x")
    answer = retain(bucket.name, {"mode": "Unlocked", "retainUntilTime": until})
    assert (answer.status_code, "enableObjectRetention" in answer.text) == (400, True)
    name = insert(emulator, "&enableObjectRetention=true").json()["name"]
    blob = client.bucket(name).blob("a")
    blob.upload_from_string(b"x")
    assert retain(name, {"mode": "Unlocked"}).status_code == 400
    assert retain(name, {"mode": "Unlocked", "retainUntilTime": "soon"}).status_code == 400
    assert retain(name, {"mode": "Unlocked", "retainUntilTime": until}).json()["retention"]["mode"] == "Unlocked"
    with pytest.raises(exceptions.Forbidden):
        blob.delete()
    assert retain(name, {}).status_code == 200  # a patch without members changes nothing
    for _ in range(2):
        assert retain(name, {"mode": "Unlocked", "retainUntilTime": "2026-01-01T00:00:00Z"}).status_code == 403
    lifted = retain(name, {"mode": None, "retainUntilTime": None}, "?overrideUnlockedRetention=true")  # type: ignore[dict-item]
    assert "retention" not in lifted.json()
    blob.delete()


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({}, {"location": "US", "locationType": "multi-region", "rpo": "DEFAULT"}),
        ({"location": "europe-west4"}, {"location": "EUROPE-WEST4", "locationType": "region"}),
        ({"location": "nam4", "rpo": "ASYNC_TURBO"}, {"locationType": "dual-region", "rpo": "ASYNC_TURBO"}),
        (
            {"location": "us", "customPlacementConfig": {"dataLocations": ["us-east1", "US-WEST1"]}},
            {"locationType": "dual-region", "customPlacementConfig": {"dataLocations": ["US-EAST1", "US-WEST1"]}},
        ),
        ({"hierarchicalNamespace": {"enabled": False}}, {"hierarchicalNamespace": {"enabled": False}}),
        ({"softDeletePolicy": {"retentionDurationSeconds": "0"}}, {"softDeletePolicy": {"retentionDurationSeconds": "0"}}),
        ({"lifecycle": {"rule": []}, "labels": {"a": "b"}}, {"labels": {"a": "b"}}),
    ],
)
def test_f9_settings_that_are_taken(emulator: Emulator, settings: dict[str, Any], shown: dict[str, Any]) -> None:
    bucket = insert(emulator, **settings).json()
    assert {key: bucket.get(key) for key in shown} == shown


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"softDeletePolicy": {"retentionDurationSeconds": "604800"}}, 501),
        ({"autoclass": {"enabled": True}}, 501),
        ({"hierarchicalNamespace": {"enabled": True}}, 501),
        ({"logging": {"logBucket": "b"}}, 501),
        ({"encryption": {"defaultKmsKeyName": "k"}}, 501),
        ({"iamConfiguration": {"publicAccessPrevention": "unexpected value"}}, 400),
        ({"rpo": "ASYNC_TURBO"}, 400),
        ({"rpo": "SOON"}, 400),
        ({"location": "us", "customPlacementConfig": {"dataLocations": ["us-east1"]}}, 400),
        ({"retentionPolicy": {"retentionPeriod": "0"}}, 400),
        ({"labels": {"Team": "ct"}}, 400),
        ({"labels": {"team": "x" * 64}}, 400),
    ],
)
def test_f9_settings_that_are_refused(emulator: Emulator, settings: dict[str, Any], code: int) -> None:
    assert insert(emulator, **settings).status_code == code
    name = insert(emulator).json()["name"]
    assert requests.patch(f"{emulator.url}/storage/v1/b/{name}", json=settings, timeout=10).status_code == code
