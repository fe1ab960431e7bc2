"""Datasets and DICOM stores."""

from __future__ import annotations

import pytest
import requests

from tests.emulator.healthcare.conftest import LOCATION, World, http_error, instance


def test_creating_a_dataset_is_an_operation(versioned: World, version: str) -> None:
    body = {"timeZone": "Europe/Berlin"}
    started = versioned.datasets.create(parent=LOCATION, datasetId=f"new{versioned.number}", body=body).execute()
    assert started.keys() == {"name"}
    name = f"{LOCATION}/datasets/new{versioned.number}"
    assert started["name"].startswith(f"{name}/operations/")
    ended = versioned.end(started)
    kind = f"type.googleapis.com/google.cloud.healthcare.{version}.dataset.Dataset"
    assert ended["response"] == {"@type": kind, "name": name, "timeZone": "Europe/Berlin"}
    method = f"google.cloud.healthcare.{version}.dataset.DatasetService.CreateDataset"
    assert ended["metadata"]["apiMethodName"] == method
    assert versioned.datasets.get(name=name).execute() == {"name": name, "timeZone": "Europe/Berlin"}


def test_datasets_are_listed_patched_and_deleted(versioned: World) -> None:
    location = f"projects/p{versioned.number}/locations/eu"
    assert versioned.datasets.list(parent=location).execute() == {}
    versioned.end(versioned.datasets.create(parent=location, datasetId="a", body={}).execute())
    name = f"{location}/datasets/a"
    patched = {"name": name, "timeZone": "UTC"}
    assert versioned.datasets.patch(name=name, updateMask="timeZone", body={"timeZone": "UTC"}).execute() == patched
    assert versioned.datasets.list(parent=location).execute() == {"datasets": [patched]}
    assert versioned.datasets.delete(name=name).execute() == {}
    assert http_error(versioned.datasets.get(name=name))[:2] == (404, "NOT_FOUND")


def test_a_store_lives(versioned: World) -> None:
    stores = versioned.stores
    name = f"{versioned.dataset}/dicomStores/images"
    made = {"name": name, "labels": {"a": "b"}}
    body = {"labels": {"a": "b"}}
    assert stores.create(parent=versioned.dataset, dicomStoreId="images", body=body).execute() == made
    assert stores.get(name=name).execute() == made
    listed = stores.list(parent=versioned.dataset).execute()["dicomStores"]
    assert listed == [made, {"name": versioned.store}]
    changed = {"name": name, "labels": {"c": "d"}}
    assert stores.patch(name=name, updateMask="labels", body={"labels": {"c": "d"}}).execute() == changed
    assert stores.get(name=name).execute() == changed
    assert stores.delete(name=name).execute() == {}
    assert http_error(stores.get(name=name))[:2] == (404, "NOT_FOUND")
    assert [store["name"] for store in stores.list(parent=versioned.dataset).execute()["dicomStores"]] == [versioned.store]


def test_a_name_can_be_used_once(world: World) -> None:
    request = world.stores.create(parent=world.dataset, dicomStoreId="s", body={})
    assert http_error(request)[:2] == (409, "ALREADY_EXISTS")
    request = world.datasets.create(parent=LOCATION, datasetId=f"d{world.number}", body={})
    assert http_error(request)[:2] == (409, "ALREADY_EXISTS")


@pytest.mark.parametrize("method", ["get", "delete", "patch", "getDICOMStoreMetrics", "import_", "export"])
def test_no_such_store(world: World, method: str) -> None:
    further = {
        "patch": {"body": {}, "updateMask": "labels"},
        "import_": {"body": {"gcsSource": {"uri": "gs://b/*"}}},
        "export": {"body": {"gcsDestination": {"uriPrefix": "gs://b"}}},
    }.get(method, {})
    request = getattr(world.stores, method)(name=f"{world.dataset}/dicomStores/none", **further)
    status, canonical, message = http_error(request)
    assert (status, canonical) == (404, "NOT_FOUND")
    assert f"{world.dataset}/dicomStores/none" in message


def test_no_such_dataset(world: World) -> None:
    name = f"{LOCATION}/datasets/none"
    assert http_error(world.datasets.get(name=name))[0] == 404
    assert http_error(world.datasets.delete(name=name))[0] == 404
    assert http_error(world.stores.list(parent=name))[0] == 404
    assert http_error(world.stores.create(parent=name, dicomStoreId="a", body={}))[0] == 404


@pytest.mark.parametrize("store_id", ["a", "A-b_c.9", "ü漢字", "x" * 256])
def test_good_ids(world: World, store_id: str) -> None:
    name = f"{world.dataset}/dicomStores/{store_id}"
    assert world.stores.create(parent=world.dataset, dicomStoreId=store_id, body={}).execute() == {"name": name}
    assert world.stores.get(name=name).execute() == {"name": name}


@pytest.mark.parametrize("store_id", ["", "a b", "a/b", "../a", "a\n", "a%2Fb", "x" * 257])
def test_bad_ids(world: World, store_id: str) -> None:
    request = world.stores.create(parent=world.dataset, dicomStoreId=store_id, body={})
    assert http_error(request)[:2] == (400, "INVALID_ARGUMENT")


def test_unknown_fields_are_refused_as_google_does(world: World) -> None:
    answer = world.curl(f"{world.dataset}/dicomStores?dicomStoreId=a", '{"output_config": {}}')
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == 400
    assert error["status"] == "INVALID_ARGUMENT"
    assert error["message"] == 'Invalid JSON payload received. Unknown name "output_config": Cannot find field.'
    assert error["details"][0]["@type"] == "type.googleapis.com/google.rpc.BadRequest"


def test_what_the_emulator_would_not_act_on_is_refused(world: World) -> None:
    body = {"notificationConfig": {"pubsubTopic": "projects/p/topics/t"}}
    request = world.stores.create(parent=world.dataset, dicomStoreId="a", body=body)
    assert http_error(request)[:2] == (501, "UNIMPLEMENTED")
    request = world.stores.patch(name=world.store, updateMask="notificationConfig", body=body)
    assert http_error(request)[:2] == (501, "UNIMPLEMENTED")
    assert http_error(world.stores.list(parent=world.dataset, filter="labels.a=b"))[0] == 501
    assert http_error(world.stores.deidentify(sourceStore=world.store, body={}))[0] == 501


def test_a_patch_needs_a_mask_and_changes_only_what_that_names(world: World) -> None:
    assert http_error(world.stores.patch(name=world.store, body={"labels": {"a": "b"}}))[0] == 400
    world.datasets.patch(name=world.dataset, updateMask="time_zone", body={"timeZone": "UTC"}).execute()
    assert world.datasets.get(name=world.dataset).execute()["timeZone"] == "UTC"
    world.datasets.patch(name=world.dataset, updateMask="timeZone", body={}).execute()
    assert world.datasets.get(name=world.dataset).execute() == {"name": world.dataset}


@pytest.mark.parametrize("mask", ["labels.a", "nonsense"])
def test_a_patch_does_not_ignore_what_it_cannot_do(world: World, mask: str) -> None:
    request = world.stores.patch(name=world.store, updateMask=mask, body={"labels": {"a": "b"}})
    assert http_error(request)[0] == 501


def test_pages(versioned: World) -> None:
    ids = sorted(["a", "b", "b2", "c", "é", "s"])
    for store_id in ids:
        if store_id != "s":
            versioned.stores.create(parent=versioned.dataset, dicomStoreId=store_id, body={}).execute()
    request = versioned.stores.list(parent=versioned.dataset, pageSize=4)
    pages = []
    while request is not None:
        answer = request.execute()
        pages.append([store["name"].rpartition("/")[2] for store in answer["dicomStores"]])
        request = versioned.stores.list_next(request, answer)
    assert pages == [ids[:4], ids[4:]]


@pytest.mark.parametrize("size", ["-1", "x", "²"])
def test_bad_page_sizes(world: World, size: str) -> None:
    assert world.curl(f"{world.dataset}/dicomStores?pageSize={size}").status_code == 400


@pytest.mark.parametrize(("name", "other"), [("a_b", "axb"), ("up", "UP")])
def test_deleting_a_dataset_leaves_others_alone(world: World, name: str, other: str) -> None:
    parents = [f"{LOCATION}/datasets/{world.number}{each}" for each in (name, other)]
    for parent in parents:
        world.end(world.datasets.create(parent=LOCATION, datasetId=parent.rpartition("/")[2], body={}).execute())
        world.dataset, world.store = parent, f"{parent}/dicomStores/s"
        world.stores.create(parent=parent, dicomStoreId="s", body={}).execute()
        world.fill(instance("1.2", "1.2.3", "1.2.3.4"))
    world.datasets.delete(name=parents[0]).execute()
    assert http_error(world.stores.get(name=f"{parents[0]}/dicomStores/s"))[0] == 404
    assert world.metrics()["instanceCount"] == "1"
    world.put("export/x", b"")
    assert "response" in world.end(world.start_export(gcsDestination={"uriPrefix": world.uri("export")}))
    assert world.files("export/1.2/")


def test_a_deleted_store_takes_its_instances_with_it(world: World) -> None:
    world.fill(instance("1.2", "1.2.3", "1.2.3.4"))
    world.stores.delete(name=world.store).execute()
    world.stores.create(parent=world.dataset, dicomStoreId="s", body={}).execute()
    assert world.metrics()["instanceCount"] == "0"


def test_metrics(versioned: World) -> None:
    datasets = [instance("1.2", "1.2.3", "1"), instance("1.2", "1.2.3", "2"), instance("1.2", "1.2.4", "3")]
    versioned.fill(*datasets, instance("1.3", "1.2.3", "4"))
    metrics = versioned.metrics()
    size = metrics.pop("blobStorageSizeBytes")
    assert int(size) > 0
    assert metrics == {"name": versioned.store, "studyCount": "2", "seriesCount": "3", "instanceCount": "4"}


def test_an_unknown_path(world: World) -> None:
    answer = requests.get(f"{world.emulator.url}/v1/projects", timeout=120)
    assert answer.status_code == 404
    assert answer.json()["error"]["status"] == "NOT_FOUND"
