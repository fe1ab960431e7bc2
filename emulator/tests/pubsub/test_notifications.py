"""What DICOM stores and buckets publish."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from pydicom.data import get_testdata_file

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.client import Client
from gcp_dicom_emulator.pytest_plugin import DicomStore
from gcp_dicom_emulator.seeding import create_store

#: google-cloud-storage parses the topics of notification configurations, and takes no project of fewer than six letters.
PROJECT = "demo-project"
TOPICS = {name: f"projects/{PROJECT}/topics/{name}" for name in ("new", "old", "bulk", "bucket")}
CT = Path(str(get_testdata_file("CT_small.dcm")))
STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"


@pytest.fixture
def world(emulator: Emulator) -> Callable[[str], list[dict[str, Any]]]:
    """A topic and a subscription of each name; return what takes the messages of one."""
    emulator.reset()
    for name, topic in TOPICS.items():
        emulator.pubsub.topics.create({"name": topic})
        emulator.pubsub.subscriptions.create({"name": f"projects/demo/subscriptions/{name}", "topic": topic})

    def taken(name: str) -> list[dict[str, Any]]:
        subscription = f"projects/demo/subscriptions/{name}"
        received = emulator.pubsub.deliveries.pull(subscription, 1000)
        if received:
            emulator.pubsub.deliveries.acknowledge(subscription, [each["ackId"] for each in received])
        messages = [each["message"] for each in received]
        return [{**each, "data": base64.b64decode(each.get("data", "")).decode()} for each in messages]

    return taken


@pytest.fixture
def store(emulator: Emulator, world: object) -> DicomStore:
    store = DicomStore(emulator)
    with Client(emulator.url) as client:
        create_store(client, store.name)
        configs = {
            "notificationConfigs": [{"pubsubTopic": TOPICS["new"]}],
            "notificationConfig": {"pubsubTopic": TOPICS["old"]},
        }
        client.call("PATCH", f"/v1/{store.name}?updateMask=notificationConfig,notificationConfigs", configs)
    emulator.storage.objects.create_bucket(store.bucket, "demo")
    return store


def run(emulator: Emulator, verb: str, path: str, body: dict[str, Any] | None = None) -> None:
    """Start an operation, and wait for its end."""
    with Client(emulator.url) as client:
        name = client.call(verb, f"/v1/{path}", body)["name"]
        while not client.call("GET", f"/v1/{name}").get("done"):
            pass


def upload_and_import(store: DicomStore) -> None:
    store.upload(CT)
    run(store.emulator, "POST", f"{store.name}:import", {"gcsSource": {"uri": f"gs://{store.bucket}/*"}})


def send(store: DicomStore, path: Path) -> None:
    requests.post(
        f"{store.emulator.url}/v1/{store.name}/dicomWeb/studies",
        data=path.read_bytes(),
        headers={"Content-Type": "application/dicom"},
        timeout=60,
    ).raise_for_status()


def test_an_instance_that_is_stored(store, world):
    send(store, CT)
    (message,) = world("new")
    attributes = message["attributes"]
    path = (
        f"{store.name}/dicomWeb/studies/{STUDY}/series/{attributes['seriesInstanceUID']}/instances/{attributes['sopInstanceUID']}"
    )
    assert message["data"] == path
    assert (attributes["action"], attributes["storeName"], attributes["studyInstanceUID"]) == (
        "StoreInstances",
        store.name,
        STUDY,
    )
    assert (attributes["modality"], attributes["storageClass"]) == ("CT", "STANDARD")
    assert attributes["versionId"].isdigit()
    assert parsedate_to_datetime(attributes["lastUpdatedTime"])
    assert "previousStorageClass" not in attributes
    (message,) = world("old")
    assert message["data"] == path
    assert "attributes" not in message


def test_an_instance_that_is_refused_is_not_told(store, world):
    send(store, CT)
    world("new")
    with pytest.raises(requests.HTTPError):
        send(store, CT)
    assert world("new") == []


def test_an_import_is_told_by_the_new_configuration_and_by_the_old_one_on_demand(store, world):
    upload_and_import(store)
    assert [message["attributes"]["action"] for message in world("new")] == ["ImportDicomData"]
    assert world("old") == []
    upload_and_import(store)
    assert world("new") == []  # what is there already
    with Client(store.emulator.url) as client:
        config = {"notificationConfig": {"pubsubTopic": TOPICS["bulk"], "sendForBulkImport": True}}
        client.call("PATCH", f"/v1/{store.name}?updateMask=notificationConfig", config)
    run(store.emulator, "DELETE", f"{store.name}/dicomWeb/studies/{STUDY}")
    world("new")
    upload_and_import(store)
    assert len(world("bulk")) == 1


def test_changes_of_class_and_deletions(store, world):
    send(store, CT)
    world("new"), world("old")
    body = {"blobStorageSettings": {"blobStorageClass": "ARCHIVE"}}
    run(store.emulator, "POST", f"{store.name}:setBlobStorageSettings", body)
    run(store.emulator, "POST", f"{store.name}:setBlobStorageSettings", body)
    (changed,) = world("new")
    found = {key: changed["attributes"][key] for key in ("action", "storageClass", "previousStorageClass")}
    assert found == {"action": "SetBlobSettings", "storageClass": "ARCHIVE", "previousStorageClass": "STANDARD"}
    run(store.emulator, "DELETE", f"{store.name}/dicomWeb/studies/{STUDY}")
    (deleted,) = world("new")
    assert deleted["attributes"]["action"] == "DeleteStudy"
    assert deleted["data"] == changed["data"]
    assert world("old") == []


def test_a_topic_that_is_gone_stops_nobody(store, world, caplog):
    store.emulator.pubsub.topics.delete(TOPICS["new"])
    send(store, CT)
    assert len(store.instances()) == 1
    assert f"1 notifications are not published to {TOPICS['new']}" in caplog.text


@pytest.mark.parametrize(
    "config",
    [
        {"notificationConfig": {"pubsubTopic": "arrivals"}},
        {"notificationConfigs": [{}]},
        {"notificationConfigs": [{"pubsubTopic": TOPICS["new"]}] * 2},
    ],
)
def test_configurations_that_make_no_sense(store, config):
    answer = requests.patch(
        f"{store.emulator.url}/v1/{store.name}", params={"updateMask": next(iter(config))}, json=config, timeout=60
    )
    assert answer.status_code == 400


@pytest.fixture
def bucket(store: DicomStore) -> storage.Bucket:
    return storage.Client(project="demo", credentials=AnonymousCredentials()).get_bucket(store.bucket)


def test_events_of_a_bucket(bucket, world):
    notification = bucket.notification(
        topic_name="bucket", topic_project=PROJECT, custom_attributes={"of": "us"}, payload_format="JSON_API_V1"
    )
    before = bucket.metageneration
    notification.create()
    bucket.reload()
    assert bucket.metageneration == before + 1
    blob = bucket.blob("a/b.dcm")
    blob.upload_from_string(b"one")
    first = blob.generation
    blob.upload_from_string(b"two")
    blob.metadata = {"k": "v"}
    blob.patch()
    bucket.rename_blob(blob, "c")
    received = world("bucket")
    found = [message["attributes"] for message in received]
    others = [each.get("overwroteGeneration") or each.get("overwrittenByGeneration") for each in found]
    messages = [(each["eventType"], each["objectId"], other) for each, other in zip(found, others, strict=True)]
    assert messages == [
        ("OBJECT_FINALIZE", "a/b.dcm", None),
        ("OBJECT_DELETE", "a/b.dcm", str(blob.generation)),
        ("OBJECT_FINALIZE", "a/b.dcm", str(first)),
        ("OBJECT_METADATA_UPDATE", "a/b.dcm", None),
        ("OBJECT_FINALIZE", "c", None),
        ("OBJECT_DELETE", "a/b.dcm", None),
    ]
    attributes, resource = received[0]["attributes"], json.loads(received[0]["data"])
    assert (
        attributes["notificationConfig"] == f"projects/_/buckets/{bucket.name}/notificationConfigs/{notification.notification_id}"
    )
    assert (attributes["of"], attributes["payloadFormat"], attributes["bucketId"]) == ("us", "JSON_API_V1", bucket.name)
    assert attributes["objectGeneration"] == resource["generation"] == str(first)
    assert (resource["name"], resource["size"]) == ("a/b.dcm", "3")


def test_versions_are_archived(bucket, world):
    bucket.versioning_enabled = True
    bucket.patch()
    bucket.notification(topic_name="bucket", topic_project=PROJECT, payload_format="NONE").create()
    blob = bucket.blob("a")
    blob.upload_from_string(b"one")
    first = blob.generation
    blob.upload_from_string(b"two")
    bucket.delete_blob("a")
    bucket.delete_blob("a", generation=first)
    received = world("bucket")
    kinds = ["OBJECT_FINALIZE", "OBJECT_ARCHIVE", "OBJECT_FINALIZE", "OBJECT_ARCHIVE", "OBJECT_DELETE"]
    assert [message["attributes"]["eventType"] for message in received] == kinds
    assert {message["data"] for message in received} == {""}


def test_only_what_is_asked_for(bucket, world):
    wanted = bucket.notification(
        topic_name="bucket", topic_project=PROJECT, event_types=["OBJECT_FINALIZE"], blob_name_prefix="in/"
    )
    wanted.create()
    for name in ("in/a", "out/a"):
        bucket.blob(name).upload_from_string(b"x")
    bucket.delete_blob("in/a")
    assert [message["attributes"]["objectId"] for message in world("bucket")] == ["in/a"]
    assert [each.notification_id for each in bucket.list_notifications()] == [wanted.notification_id]
    assert bucket.get_notification(wanted.notification_id).blob_name_prefix == "in/"
    wanted.delete()
    assert list(bucket.list_notifications()) == []
    bucket.blob("in/b").upload_from_string(b"x")
    assert world("bucket") == []


def test_notification_configurations_that_make_no_sense(emulator, bucket):
    topic = f"//pubsub.googleapis.com/{TOPICS['bucket']}"

    def insert(**body: object) -> int:
        url = f"{emulator.url}/storage/v1/b/{bucket.name}/notificationConfigs"
        return requests.post(url, json={"payload_format": "NONE", "topic": topic, **body}, timeout=60).status_code

    assert insert(topic=TOPICS["bucket"]) == 400
    assert insert(topic=f"{topic}-missing") == 404
    assert insert(payload_format="XML") == 400
    assert insert(event_types=["OBJECT_FINALISE"]) == 400
    assert [insert(event_types=["OBJECT_DELETE"]) for _ in range(11)] == [200] * 10 + [400]
