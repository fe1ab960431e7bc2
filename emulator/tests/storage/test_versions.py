"""Versions of objects: kept, listed, read, copied back and deleted one by one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.cloud import storage
from hypothesis import given, settings
from hypothesis import strategies as st

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.storage.objects import ObjectStore, StoredObject


@pytest.fixture
def versioned(bucket: storage.Bucket) -> storage.Bucket:
    bucket.versioning_enabled = True
    bucket.patch()
    return bucket


def put(bucket: storage.Bucket, name: str, *contents: str) -> list[int]:
    """Upload contents, one over the other; return their generations."""
    generations = []
    for content in contents:
        blob = bucket.blob(name)
        blob.upload_from_string(content)
        generations.append(blob.generation)
    return generations


def versions(bucket: storage.Bucket, **options: object) -> list[tuple[str, int]]:
    return [(blob.name, blob.generation) for blob in bucket.list_blobs(versions=True, **options)]


def test_f9_a_replaced_and_a_deleted_object_are_kept(versioned: storage.Bucket) -> None:
    first, second = put(versioned, "a", "one", "two")
    versioned.blob("a").delete()
    assert list(versioned.list_blobs()) == []
    assert not versioned.blob("a").exists()
    assert versions(versioned) == [("a", first), ("a", second)]
    assert versioned.blob("a", generation=first).download_as_bytes() == b"one"
    found = versioned.get_blob("a", generation=second)
    assert found is not None
    assert found.download_as_bytes() == b"two"
    assert found._properties["timeDeleted"] >= found._properties["timeCreated"]


def test_f9_a_version_is_restored_by_copying_it(versioned: storage.Bucket) -> None:
    first, second = put(versioned, "a", "one", "two")
    restored = versioned.copy_blob(versioned.blob("a"), versioned, "a", source_generation=first)
    assert versioned.blob("a").download_as_bytes() == b"one"
    assert versions(versioned) == [("a", first), ("a", second), ("a", restored.generation)]


def test_f9_a_version_that_is_named_is_deleted_for_ever(versioned: storage.Bucket) -> None:
    first, second = put(versioned, "a", "one", "two")
    versioned.blob("a", generation=first).delete()
    assert versions(versioned) == [("a", second)]
    versioned.blob("a", generation=second).delete()
    assert versions(versioned) == []
    with pytest.raises(exceptions.NotFound):
        versioned.blob("a", generation=second).delete()
    versioned.delete()


def test_f9_a_bucket_with_noncurrent_objects_is_not_empty(versioned: storage.Bucket) -> None:
    put(versioned, "a", "one")
    versioned.blob("a").delete()
    with pytest.raises(exceptions.Conflict):
        versioned.delete()


def test_f9_without_versioning_nothing_more_is_kept(versioned: storage.Bucket) -> None:
    first, _ = put(versioned, "a", "one", "two")
    versioned.versioning_enabled = False
    versioned.patch()
    (third,) = put(versioned, "a", "three")
    assert versions(versioned) == [("a", first), ("a", third)]
    versioned.blob("a").delete()
    assert versions(versioned) == [("a", first)]


def test_f9_properties_of_a_version(versioned: storage.Bucket) -> None:
    first, _ = put(versioned, "a", "one", "two")
    old = versioned.blob("a", generation=first)
    old.metadata = {"x": "y"}
    old.patch()
    assert (old.generation, old.metageneration) == (first, 2)
    live = versioned.get_blob("a")
    assert live is not None
    assert live.metadata is None


def test_f9_versions_are_listed_page_by_page(versioned: storage.Bucket) -> None:
    expected = [(name, generation) for name in ("a", "b/c", "d") for generation in put(versioned, name, "1", "2", "3")]
    for size in (1, 2, 4, 100):
        assert versions(versioned, page_size=size) == expected
    found = versioned.list_blobs(versions=True, delimiter="/", page_size=2)
    assert [blob.name for blob in found] == ["a"] * 3 + ["d"] * 3
    assert found.prefixes == {"b/"}


def test_f9_versions_outlive_a_restart(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        with Emulator(tmp_path) as emulator:
            objects = emulator.storage.objects
            if content == b"one":
                objects.create_bucket("bucket", properties={"versioning": {"enabled": True}})
            objects.put_bytes("bucket", "a", content)
    with Emulator(tmp_path) as emulator:
        assert [found.path.read_bytes() for found in emulator.storage.objects.list_versions("bucket")] == [b"one", b"two"]


def test_an_object_is_moved(versioned: storage.Bucket) -> None:
    (source,), (replaced,) = put(versioned, "a/b", "one"), put(versioned, "c", "two")
    moved = versioned.move_blob(versioned.blob("a/b"), "c", if_source_generation_match=source, if_generation_match=replaced)
    assert versioned.blob("c").download_as_bytes() == b"one"
    assert [blob.name for blob in versioned.list_blobs()] == ["c"]
    assert versions(versioned) == [("a/b", source), ("c", replaced), ("c", moved.generation)]
    with pytest.raises(exceptions.NotFound):
        versioned.move_blob(versioned.blob("a/b"), "d")
    with pytest.raises(exceptions.PreconditionFailed):
        versioned.move_blob(versioned.blob("c"), "d", if_source_generation_match=source)
    with pytest.raises(exceptions.BadRequest):
        versioned.move_blob(versioned.blob("c"), "c")
    assert [blob.name for blob in versioned.list_blobs()] == ["c"]


def test_a_composed_object_has_the_content_type_that_it_is_given(bucket: storage.Bucket) -> None:
    bucket.blob("a").upload_from_string(b"x", content_type="text/plain")
    for kind in (None, "application/dicom"):
        whole = bucket.blob("b")
        whole.content_type = kind
        whole.compose([bucket.blob("a")])
        assert whole.content_type == kind


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "delete", "delete one", "on", "off"]), st.sampled_from("ab"), st.integers(0, 5)),
        max_size=25,
    )
)
def test_f9_versions_are_those_of_a_model(steps: list[tuple[str, str, int]]) -> None:
    """The model is a list of all versions, of which the live one of a name is marked."""
    state = State()
    objects, keeps = ObjectStore(state), True
    objects.create_bucket("bucket", properties={"versioning": {"enabled": True}})
    kept: list[StoredObject] = []
    live: dict[str, StoredObject] = {}
    for step, name, number in steps:
        if step in ("on", "off"):
            keeps = step == "on"
            objects.update_bucket("bucket", lambda _, keeps=keeps: {"versioning": {"enabled": keeps}})  # type: ignore[misc]
            continue
        if step == "delete one" and kept:
            one = kept.pop(number % len(kept))
            objects.delete("bucket", one.name, generation=one.generation)
            if live.get(one.name) == one:
                del live[one.name]
        old = live.pop(name, None) if step in ("put", "delete") else None
        if old is not None and not keeps:
            kept.remove(old)
        if step == "put":
            live[name] = objects.put_bytes("bucket", name, b"x")
            kept.append(live[name])
        elif old is not None:
            objects.delete("bucket", name)
    found = [(one.name, one.generation) for one in objects.list_versions("bucket")]
    assert found == sorted((one.name, one.generation) for one in kept)
    assert [one.generation for one in objects.list("bucket")] == [one.generation for _, one in sorted(live.items())]
    blobs = {name for folder in (state.directory / "blobs").iterdir() for name in os.listdir(folder)}
    assert blobs == {one.blob for one in kept}
    state.close()


def test_a_listing_has_all_versions_of_an_object_that_ends_in_the_delimiter(versioned: storage.Bucket) -> None:
    first, second = put(versioned, "a/", "one", "two")
    (third,) = put(versioned, "a/b", "three")
    found = versions(versioned, delimiter="/", include_trailing_delimiter=True)
    assert found == [("a/", first), ("a/", second)]
    assert versions(versioned) == [("a/", first), ("a/", second), ("a/b", third)]
