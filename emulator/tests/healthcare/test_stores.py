"""Datasets and DICOM stores."""

from __future__ import annotations

import pytest
import requests

from tests.healthcare.conftest import LOCATION, World, encoded, http_error, instance, wait_for


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
    request = world.datasets.patch(name=world.dataset, updateMask="encryptionSpec", body={"encryptionSpec": {"kmsKeyName": "k"}})
    assert http_error(request)[:2] == (501, "UNIMPLEMENTED")


def test_whom_a_store_tells_of_its_changes_is_checked(world: World) -> None:
    for body in (
        {"notificationConfig": {"pubsubTopic": "arrivals"}},
        {"notificationConfigs": [{}]},
        {"streamConfigs": [{}]},
    ):
        request = world.stores.create(parent=world.dataset, dicomStoreId="a", body=body)
        assert http_error(request)[:2] == (400, "INVALID_ARGUMENT")
        request = world.stores.patch(name=world.store, updateMask="*", body=body)
        assert http_error(request)[:2] == (400, "INVALID_ARGUMENT")


def test_a_patch_needs_a_mask_and_changes_only_what_that_names(world: World) -> None:
    assert http_error(world.stores.patch(name=world.store, body={"labels": {"a": "b"}}))[0] == 400
    world.datasets.patch(name=world.dataset, updateMask="time_zone", body={"timeZone": "UTC"}).execute()
    assert world.datasets.get(name=world.dataset).execute()["timeZone"] == "UTC"
    world.datasets.patch(name=world.dataset, updateMask="timeZone", body={}).execute()
    assert world.datasets.get(name=world.dataset).execute() == {"name": world.dataset}


@pytest.mark.parametrize(("mask", "status"), [("labels.a", 501), ("nonsense", 400), ("name", 400), ("labels,nonsense", 400)])
def test_a_patch_does_not_ignore_what_it_cannot_do(world: World, mask: str, status: int) -> None:
    request = world.stores.patch(name=world.store, updateMask=mask, body={"labels": {"a": "b"}})
    assert http_error(request)[0] == status
    assert world.stores.get(name=world.store).execute() == {"name": world.store}


def test_a_patch_of_all_fields(world: World) -> None:
    world.stores.patch(name=world.store, updateMask="*", body={"labels": {"a": "b"}}).execute()
    assert world.stores.get(name=world.store).execute() == {"name": world.store, "labels": {"a": "b"}}
    world.stores.patch(name=world.store, updateMask="*", body={}).execute()
    assert world.stores.get(name=world.store).execute() == {"name": world.store}


@pytest.mark.parametrize("labels", [{"é": "漢-_1"}, {"k" * 63: "v" * 63}, {"a": ""}, {f"k{n}": "v" for n in range(64)}])
def test_good_labels(world: World, labels: dict[str, str]) -> None:
    made = world.stores.create(parent=world.dataset, dicomStoreId="labelled", body={"labels": labels}).execute()
    assert made["labels"] == labels


@pytest.mark.parametrize(
    "labels",
    [
        {"": "a"},
        {"A": "a"},
        {"1a": "a"},
        {"a b": "a"},
        {"a": "A"},
        {"a": "b.c"},
        {"k" * 64: "a"},
        {"a": "v" * 64},
        {"a": "漢" * 43},
        {f"k{n}": "v" for n in range(65)},
    ],
)
def test_bad_labels(world: World, labels: dict[str, str]) -> None:
    create = world.stores.create(parent=world.dataset, dicomStoreId="labelled", body={"labels": labels})
    patch = world.stores.patch(name=world.store, updateMask="labels", body={"labels": labels})
    assert http_error(create)[:2] == http_error(patch)[:2] == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "Europe", "../UTC", "/etc/passwd", "a\0b"])
def test_bad_time_zones(world: World, zone: str) -> None:
    request = world.datasets.patch(name=world.dataset, updateMask="timeZone", body={"timeZone": zone})
    assert http_error(request)[:2] == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("text", "matching"),
    [
        ("labels.site=berlin", ["a", "b"]),
        ('labels.site = "berlin"', ["a", "b"]),
        ("labels.site=berlin AND labels.kind=ct", ["a"]),
        ("labels.site=berlin OR labels.kind=mr", ["a", "b", "c"]),
        ("NOT labels.site=berlin", ["c", "s"]),
        ("labels.kind=mr AND NOT (labels.site=berlin OR labels.site=rome)", ["c"]),
        ("labels.kind=mr AND labels.site=oslo OR labels.kind=ct", ["a", "c"]),
        ("labels.none=x", []),
        (" ", ["a", "b", "c", "s"]),
    ],
)
def test_filters_of_labels(versioned: World, text: str, matching: list[str]) -> None:
    for store_id, site, kind in (("a", "berlin", "ct"), ("b", "berlin", "mr"), ("c", "oslo", "mr")):
        body = {"labels": {"site": site, "kind": kind}}
        versioned.stores.create(parent=versioned.dataset, dicomStoreId=store_id, body=body).execute()
    found = versioned.stores.list(parent=versioned.dataset, filter=text).execute().get("dicomStores", [])
    assert [store["name"].rpartition("/")[2] for store in found] == matching


@pytest.mark.parametrize(
    "text",
    [
        "name=a",
        "labels=a",
        "labels.=a",
        "labels.a",
        "labels.a=",
        "labels.a=b c",
        "labels.a>b",
        "(labels.a=b",
        "labels.a=b)",
        '"',
        "NOT",
        "(" * 100,
        "NOT " * 1000 + "labels.a=b",
        "a" * 20_000,
        "labels.a=b AND",
        "AND",
        "\\",
    ],
)
def test_bad_filters_of_labels(world: World, text: str) -> None:
    assert http_error(world.stores.list(parent=world.dataset, filter=text))[:2] == (400, "INVALID_ARGUMENT")


def test_locations(versioned: World) -> None:
    locations = versioned.api.projects().locations()
    found = []
    request = locations.list(name="projects/demo", pageSize=10)
    while request is not None:
        answer = request.execute()
        assert len(answer["locations"]) <= 10
        found += answer["locations"]
        request = locations.list_next(request, answer)
    assert LOCATION in [location["name"] for location in found]
    assert len({location["name"] for location in found}) == len(found) > 20
    assert locations.get(name=LOCATION).execute() in found
    assert http_error(locations.list(name="projects/demo", filter="displayName=tokyo"))[0] == 501


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


@pytest.mark.parametrize("token", ["x", "²", "cHJvamVjdHM=", "Og==", "/w=="])
def test_bad_page_tokens(world: World, token: str) -> None:
    assert http_error(world.stores.list(parent=world.dataset, pageToken=token))[:2] == (400, "INVALID_ARGUMENT")
    assert http_error(world.datasets.list(parent=LOCATION, pageToken=token))[:2] == (400, "INVALID_ARGUMENT")
    assert http_error(world.api.projects().locations().list(name="projects/demo", pageToken=token))[0] == 400


def test_pages_of_datasets(world: World) -> None:
    location = f"projects/p{world.number}/locations/eu"
    for dataset_id in ("a", "b", "c"):
        world.end(world.datasets.create(parent=location, datasetId=dataset_id, body={}).execute())
    first = world.datasets.list(parent=location, pageSize=2).execute()
    second = world.datasets.list(parent=location, pageSize=2, pageToken=first["nextPageToken"]).execute()
    assert [len(page["datasets"]) for page in (first, second)] == [2, 1]
    assert "nextPageToken" not in second


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


def test_what_is_under_way_does_not_come_into_a_store_made_anew(world: World) -> None:
    for number in range(100):
        world.put(f"in/{number}", encoded(instance("1.2", "1.3", f"1.4.{number}")))
    world.emulator.healthcare.operation_seconds = 100
    started = world.start_import(world.uri("in/**"))
    wait_for(lambda: "counter" in world.operation(started["name"])["metadata"], "the start")
    world.stores.delete(name=world.store).execute()
    world.emulator.healthcare.operation_seconds = 0
    ended = world.end(started)
    assert ended["error"]["code"] == 5
    world.stores.create(parent=world.dataset, dicomStoreId="s", body={}).execute()
    assert world.metrics()["instanceCount"] == "0"


def test_deleting_is_done_as_a_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fill(instance("1.2", "1.3", "1.4"))

    def fail(_: str) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(world.emulator.healthcare.instances, "delete_below", fail)
        assert http_error(world.stores.delete(name=world.store))[0] == 500
    assert world.metrics()["instanceCount"] == "1"
    assert world.stores.delete(name=world.store).execute() == {}
