"""Metrics, storage classes, and what is known of an instance's storage."""

from __future__ import annotations

from typing import Any

import pytest

from tests.healthcare.conftest import World, encoded, http_error, instance

ONE = "1.2/series/1.2.3/instances/1"


@pytest.fixture
def filled(versioned: World) -> World:
    """Two studies: three instances in two series, and one."""
    uids = [("1.2", "1.2.3", "1"), ("1.2", "1.2.3", "2"), ("1.2", "1.2.4", "3"), ("1.3", "1.3.1", "4")]
    versioned.fill(*(instance(*each, PatientName="A^B") for each in uids))
    return versioned


def studies(world: World) -> Any:
    return world.stores.dicomWeb().studies()


def set_class(world: World, path: str, storage_class: str) -> dict[str, Any]:
    body = {"blobStorageSettings": {"blobStorageClass": storage_class}}
    request = studies(world).setBlobStorageSettings(resource=f"{world.store}/dicomWeb/studies/{path}", body=body)
    return world.end(request.execute())


def classes(world: World) -> list[str]:
    pages = world.emulator.healthcare.instances.pages(world.store, None, 100)
    return [each.storage_class for page in pages for each in page]


def test_metrics_of_a_study_and_of_a_series(filled: World) -> None:
    study, size = f"{filled.store}/dicomWeb/studies/1.2", len(encoded(instance("1.2", "1.2.3", "1", PatientName="A^B")))
    found = studies(filled).getStudyMetrics(study=study).execute()
    assert found == {"study": study, "seriesCount": "2", "instanceCount": "3", "blobStorageSizeBytes": str(3 * size)}
    series = f"{study}/series/1.2.3"
    found = studies(filled).series().getSeriesMetrics(series=series).execute()
    assert found == {"series": series, "instanceCount": "2", "blobStorageSizeBytes": str(2 * size)}


def test_the_storage_of_an_instance(filled: World) -> None:
    name = f"{filled.store}/dicomWeb/studies/{ONE}"
    info = studies(filled).series().instances().getStorageInfo(resource=name).execute()
    assert info["referencedResource"] == name
    blob = info["blobStorageInfo"]
    assert blob["sizeBytes"] == str(len(encoded(instance("1.2", "1.2.3", "1", PatientName="A^B"))))
    assert blob["storageClass"] == "STANDARD"
    assert int(info["structuredStorageInfo"]["sizeBytes"]) > 100
    ended = set_class(filled, ONE, "ARCHIVE")
    assert ended["metadata"]["counter"] == {"success": "1"}
    after = studies(filled).series().instances().getStorageInfo(resource=name).execute()["blobStorageInfo"]
    assert after["storageClass"] == "ARCHIVE"
    assert after["storageClassUpdateTime"] > blob["storageClassUpdateTime"]


def test_no_such_study_series_or_instance(filled: World) -> None:
    name = f"{filled.store}/dicomWeb/studies/9"
    assert http_error(studies(filled).getStudyMetrics(study=name))[:2] == (404, "NOT_FOUND")
    series = studies(filled).series()
    assert http_error(series.getSeriesMetrics(series=f"{name}/series/1"))[:2] == (404, "NOT_FOUND")
    assert http_error(series.instances().getStorageInfo(resource=f"{name}/series/1/instances/1"))[:2] == (404, "NOT_FOUND")
    assert http_error(studies(filled).getStudyMetrics(study=name.replace("/s/", "/t/")))[:2] == (404, "NOT_FOUND")
    assert http_error(studies(filled).getStudyMetrics(study=f"{filled.store}/dicomWeb/studies/x"))[0] == 400


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("1.2", ["COLDLINE", "COLDLINE", "COLDLINE", "STANDARD"]),
        ("1.2/series/1.2.3/", ["COLDLINE", "COLDLINE", "STANDARD", "STANDARD"]),
        (ONE, ["COLDLINE", "STANDARD", "STANDARD", "STANDARD"]),
    ],
)
def test_storage_classes_below_a_resource(filled: World, version: str, path: str, expected: list[str]) -> None:
    ended = set_class(filled, path, "COLDLINE")
    assert ended["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    method = f"google.cloud.healthcare.{version}.storageinfo.StorageInfoService.SetBlobStorageSettings"
    assert ended["metadata"]["apiMethodName"] == method
    assert ended["metadata"]["counter"] == {"success": str(expected.count("COLDLINE"))}
    assert classes(filled) == expected


def test_the_storage_classes_that_a_filter_names(filled: World) -> None:
    filled.put("filter.txt", b"/studies/1.3\n/studies/1.2/series/1.2.4\n")
    body = {
        "blobStorageSettings": {"blobStorageClass": "NEARLINE"},
        "filterConfig": {"resourcePathsGcsUri": filled.uri("filter.txt")},
    }
    ended = filled.end(filled.stores.setBlobStorageSettings(resource=filled.store, body=body).execute())
    assert ended["metadata"]["counter"] == {"success": "2"}
    assert classes(filled) == ["STANDARD", "STANDARD", "NEARLINE", "NEARLINE"]


def test_the_storage_class_of_a_whole_store(filled: World) -> None:
    body = {"blobStorageSettings": {"blobStorageClass": "ARCHIVE"}}
    filled.end(filled.stores.setBlobStorageSettings(resource=filled.store, body=body).execute())
    assert classes(filled) == ["ARCHIVE"] * 4


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"blobStorageSettings": {}},
        {"blobStorageSettings": {"blobStorageClass": "BLOB_STORAGE_CLASS_UNSPECIFIED"}},
        {"blobStorageSettings": {"blobStorageClass": "WARM"}},
        {"blobStorageSettings": {"blobStorageClass": "ARCHIVE"}, "filterConfig": {}},
        {"blobStorageSettings": {"blobStorageClass": "ARCHIVE"}, "filterConfig": {"resourcePathsGcsUri": "gs://b/*"}},
    ],
)
def test_bad_requests(world: World, body: dict[str, Any]) -> None:
    assert http_error(world.stores.setBlobStorageSettings(resource=world.store, body=body))[:2] == (400, "INVALID_ARGUMENT")


def test_a_filter_is_for_a_store(world: World) -> None:
    body = {
        "blobStorageSettings": {"blobStorageClass": "ARCHIVE"},
        "filterConfig": {"resourcePathsGcsUri": world.uri("filter.txt")},
    }
    request = studies(world).setBlobStorageSettings(resource=f"{world.store}/dicomWeb/studies/1", body=body)
    assert http_error(request)[:2] == (400, "INVALID_ARGUMENT")
