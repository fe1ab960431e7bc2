"""``dicomStores.import``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from gcp_dicom_emulator.kept.state import State
from tests.healthcare.conftest import World, encoded, http_error, instance, sample

NAMES = ["a.dcm", "a1.dcm", "a12.dcm", "b", "dir/c.dcm", "dir/sub/d.dcm", "dir/sub/e", "dir/[x].dcm", "dir/ü x.dcm"]


def imported(world: World) -> set[str]:
    """Which instances the store has, by their UIDs."""
    world.end(world.start_export(bigqueryDestination={"tableUri": world.table("t"), "writeDisposition": "WRITE_TRUNCATE"}))
    return {uid for (uid,) in world.rows("t", "SOPInstanceUID")}


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("a.dcm", ["a.dcm"]),
        ("*", ["a.dcm", "a1.dcm", "a12.dcm", "b"]),
        ("*.dcm", ["a.dcm", "a1.dcm", "a12.dcm"]),
        ("a*.dcm", ["a.dcm", "a1.dcm", "a12.dcm"]),
        ("a?.dcm", ["a1.dcm"]),
        ("a??.dcm", ["a12.dcm"]),
        ("?", ["b"]),
        ("*/*", ["dir/c.dcm", "dir/[x].dcm", "dir/ü x.dcm"]),
        ("*/*/?.dcm", ["dir/sub/d.dcm"]),
        ("dir?c.dcm", []),
        ("dir/[x].dcm", ["dir/[x].dcm"]),
        ("dir/[a-z].dcm", []),
        ("dir/?.dcm", ["dir/c.dcm"]),
        ("dir/**", ["dir/c.dcm", "dir/sub/d.dcm", "dir/sub/e", "dir/[x].dcm", "dir/ü x.dcm"]),
        ("dir/**.dcm", ["dir/c.dcm", "dir/sub/d.dcm", "dir/[x].dcm", "dir/ü x.dcm"]),
        ("**", NAMES),
        ("dir", []),
        ("A.dcm", []),
    ],
)
def test_wildcards(world: World, pattern: str, matching: list[str]) -> None:
    for number, name in enumerate(NAMES):
        world.put(name, encoded(instance("1.2", "1.2.3", f"1.2.3.{number}")))
    ended = world.end(world.start_import(world.uri(pattern)))
    assert "response" in ended
    assert ended["metadata"]["counter"] == ({"success": str(len(matching))} if matching else {})
    assert imported(world) == {f"1.2.3.{NAMES.index(name)}" for name in matching}


def bad_bodies() -> list[Any]:
    uris = ["", "gs://", "b/x", "http://b/x", "gs://b", "gs://b/", "gs://b/dir/", "gs://*/x", "gs://b/**/x", "gs://b/*/**"]
    uris += ["gs://b/**.dcm/x", "gs://b/x?/**", "gs://b/***"]
    return [{"gcsSource": {"uri": uri}} for uri in uris] + [
        {},
        {"gcsSource": {}},
        {"gcsSource": None},
        {"gcsSource": {"uri": None}},
        {"gcsSource": {"uri": ["gs://b/x", "gs://b/y"]}},
        {"gcsSource": "gs://b/x"},
        {"gcsSource": {"uri": "gs://b/x"}, "unknown": 1},
        {"gcsSource": {"uri": "gs://b/x"}, "blobStorageSettings": {"blobStorageClass": "HOT"}},
    ]


@pytest.mark.parametrize("body", bad_bodies(), ids=str)
def test_bad_requests(world: World, body: Any) -> None:
    assert http_error(world.stores.import_(name=world.store, body=body))[:2] == (400, "INVALID_ARGUMENT")


def test_what_is_null_is_not_set(world: World) -> None:
    world.put("a", encoded(instance("1.2", "1.2.3", "1")))
    started = world.start_import(world.uri("a"), blobStorageSettings=None)
    assert world.end(started)["metadata"]["counter"] == {"success": "1"}


def test_what_is_imported_is_the_file_itself(world: World) -> None:
    world.put("x/MR", sample("MR_small.dcm"))
    world.end(world.start_import(world.uri("x/*")))
    world.emulator.storage.objects.delete(world.bucket, "x/MR")
    assert world.metrics()["blobStorageSizeBytes"] == str(len(sample("MR_small.dcm")))
    world.end(world.start_export(gcsDestination={"uriPrefix": world.uri("out")}))
    assert list(world.files("out/").values()) == [sample("MR_small.dcm")]


def test_duplicates_are_ignored_and_no_failure(world: World) -> None:
    world.put("1", encoded(instance("1.2", "1.2.3", "1", PatientID="first")))
    world.put("2", encoded(instance("1.2", "1.2.3", "1", PatientID="second")))
    ended = world.end(world.start_import(world.uri("*")))
    assert "response" in ended
    assert ended["metadata"]["counter"] == {"success": "2"}
    again = world.end(world.start_import(world.uri("2")))
    assert again["metadata"]["counter"] == {"success": "1"}
    assert world.metrics()["instanceCount"] == "1"
    world.end(world.start_export(bigqueryDestination={"tableUri": world.table("t")}))
    assert world.rows("t", "PatientID") == [("first",)]


def test_one_instance_may_be_in_two_series(world: World) -> None:
    world.fill(instance("1.2", "1.2.3", "1"), instance("1.2", "1.2.4", "1"), instance("1.3", "1.2.3", "1"))
    assert world.metrics()["instanceCount"] == "3"


def without(*keywords: str) -> bytes:
    dataset = instance("1.2", "1.2.3", "1.2.3.4")
    for keyword in keywords:
        delattr(dataset, keyword)
    return encoded(dataset)


def with_uid(keyword: str, uid: str) -> bytes:
    dataset = instance("1.2", "1.2.3", "1.2.3.4")
    # Not by pydicom's own setter, which checks the value.
    placeholder = encoded(dataset)
    old = bytes(getattr(dataset, keyword), "ascii")
    old += b"\0" * (len(old) % 2)
    new = uid.encode() + b"\0" * (len(uid) % 2)
    tag = {"StudyInstanceUID": b"\x20\x00\x0d\x00UI", "SeriesInstanceUID": b"\x20\x00\x0e\x00UI"}[keyword]
    assert placeholder.count(tag) == 1
    head, _, tail = placeholder.partition(tag + len(old).to_bytes(2, "little") + old)
    return head + tag + len(new).to_bytes(2, "little") + new + tail


def wrong_length() -> bytes:
    """A study's UID as a number of three bytes, which pydicom finds only when it is asked for it."""
    data = with_uid("StudyInstanceUID", "1.2.3.4")
    return data.replace(b"\x20\x00\x0d\x00UI\x08\x001.2.3.4\0", b"\x20\x00\x0d\x00US\x03\x00123")


BROKEN = {
    "empty": b"",
    "text": b"no DICOM",
    "only a preamble": b"\0" * 128 + b"DICM",
    "no study": without("StudyInstanceUID"),
    "no series": without("SeriesInstanceUID"),
    "no instance": without("SOPInstanceUID"),
    "path": with_uid("StudyInstanceUID", "1.2/../..3"),
    "letters": with_uid("StudyInstanceUID", "1.2.x"),
    "leading zero": with_uid("SeriesInstanceUID", "1.02"),
    "too long": with_uid("SeriesInstanceUID", "1." + "2" * 63),
    "two": with_uid("SeriesInstanceUID", "1.2\\1.3"),
    "wrong length": wrong_length(),
    "cut": encoded(instance("1.2", "1.2.3", "1.2.3.4"))[:170],
    "no preamble": encoded(instance("1.2", "1.2.3", "1.2.3.4"))[132:],
    "directory": sample("DICOMDIR"),
}


def test_files_fail_one_by_one(world: World) -> None:
    for name, data in BROKEN.items():
        world.put(f"in/{name}", data)
    world.put("in/good", encoded(instance("1.2", "1.2.3", "1")))
    ended = world.end(world.start_import(world.uri("in/**")))
    assert ended["metadata"]["counter"] == {"success": "1", "failure": str(len(BROKEN))}
    logs = world.logs(ended)
    assert sorted(entry["source"] for entry in logs) == sorted(world.uri(f"in/{name}") for name in BROKEN)
    for entry in logs:
        assert entry["@type"] == "type.googleapis.com/google.cloud.healthcare.logging.ImportDicomLogEntry"
        assert entry["error"]["code"] == 3
        assert entry["error"]["message"]
    assert world.metrics()["instanceCount"] == "1"


def test_padded_uids(world: World) -> None:
    world.put("a", with_uid("StudyInstanceUID", "1.2.3 "))
    world.end(world.start_import(world.uri("a")))
    world.end(world.start_export(gcsDestination={"uriPrefix": world.uri("out")}))
    assert list(world.files("out/")) == ["out/1.2.3/1.2.3/1.2.3.4.dcm"]


def test_a_file_without_a_transfer_syntax_uid(world: World) -> None:
    dataset = instance("1.2", "1.2.3", "1.2.3.4")
    data = encoded(dataset)
    syntax = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"
    assert data.count(syntax) == 1
    data = data.replace(syntax, b"")
    length = int.from_bytes(data[140:144], "little") - len(syntax)
    world.put("a", data[:140] + length.to_bytes(4, "little") + data[144:])
    ended = world.end(world.start_import(world.uri("a")))
    assert ended["metadata"]["counter"] == {"success": "1"}


def test_partial_failure_as_an_error(world: World) -> None:
    world.put("bad", b"no DICOM")
    ended = world.end(world.start_import(world.uri("bad")))
    assert ended["done"] is True
    assert "response" not in ended
    assert ended["error"]["code"] == 3
    assert ended["error"]["message"].startswith("invalid_argument: importing one or more")
    assert ended["metadata"]["counter"] == {"failure": "1"}


def test_partial_failure_as_a_response(world: World) -> None:
    world.emulator.healthcare.partial_failure = "response"
    world.put("bad", b"no DICOM")
    ended = world.end(world.start_import(world.uri("bad")))
    assert ended["done"] is True
    assert "error" not in ended
    assert ended["response"]["@type"].endswith(".v1.dicom.ImportDicomDataResponse")
    assert ended["metadata"]["counter"] == {"failure": "1"}
    assert len(world.logs(ended)) == 1


@pytest.mark.parametrize("storage_class", ["", "BLOB_STORAGE_CLASS_UNSPECIFIED", "STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"])
def test_blob_storage_settings(world: World, storage_class: str) -> None:
    world.put("a", encoded(instance("1.2", "1.2.3", "1")))
    settings = {"blobStorageClass": storage_class} if storage_class else {}
    assert "response" in world.end(world.start_import(world.uri("a"), blobStorageSettings=settings))
    destination: dict[str, Any] = {"tableUri": world.table("t"), "schemaJson": {}}
    world.end(world.start_export(bigqueryDestination=destination))
    expected = storage_class if storage_class in ("NEARLINE", "COLDLINE", "ARCHIVE") else "STANDARD"
    assert world.rows("t", "StorageClass") == [(expected,)]


def test_no_such_bucket(world: World) -> None:
    ended = world.end(world.start_import("gs://nowhere-at-all/*"))
    assert ended["error"]["code"] == 5
    assert "nowhere-at-all" in ended["error"]["message"]


def test_nothing_matches(world: World) -> None:
    ended = world.end(world.start_import(world.uri("none/**")))
    assert "response" in ended
    assert ended["metadata"]["counter"] == {}
    assert "error" not in ended


def test_more_files_than_a_batch(world: World) -> None:
    count = 450
    for number in range(count):
        world.put(f"{number}.dcm", encoded(instance("1.2", "1.2.3", f"1.{number}")))
    assert world.end(world.start_import(world.uri("**.dcm")))["metadata"]["counter"] == {"success": str(count)}
    assert world.metrics()["instanceCount"] == str(count)


def test_nested_data_sets_do_not_matter(world: World) -> None:
    """Only the outermost level identifies an instance."""
    dataset = instance("1.2", "1.2.3", "1")
    inner = Dataset()
    inner.StudyInstanceUID = "9.9"
    dataset.ReferencedStudySequence = [inner]
    world.fill(dataset)
    assert imported(world) == {"1"}


def test_an_object_that_is_deleted_meanwhile_fails_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        world.put(f"in/{number}", encoded(instance("1.2", "1.3", f"1.4.{number}")))
    new_blob = State.new_blob

    def delete_and_go_on(state: State) -> Path:
        monkeypatch.undo()
        world.emulator.storage.objects.delete(world.bucket, "in/0")
        return new_blob(state)

    monkeypatch.setattr(State, "new_blob", delete_and_go_on)
    ended = world.end(world.start_import(world.uri("in/**")))
    assert ended["metadata"]["counter"] == {"success": "2", "failure": "1"}
    (entry,) = world.logs(ended)
    assert (entry["source"], entry["error"]["message"]) == (world.uri("in/0"), "it was deleted meanwhile")
