"""Airflow's own hook of Cloud Storage against the emulator, on which the filter operators and the export's check rely."""

from __future__ import annotations

import base64
import gzip
import hashlib

import pytest
from airflow.providers.google.cloud.hooks.gcs import GCSHook
from gcp_dicom_emulator import Emulator


@pytest.fixture
def bucket(emulator: Emulator) -> str:
    emulator.reset()
    for name in ("mine", "other"):
        emulator.storage.objects.create_bucket(name, "demo")
    return "mine"


def test_lists(emulator: Emulator, bucket: str):
    for name in ("a/1", "a/2", "a/b/3", "d/5.txt"):
        emulator.storage.objects.put_bytes(bucket, name, b"x")
    hook = GCSHook()
    assert hook.list(bucket, prefix="a/") == ["a/1", "a/2", "a/b/3"]
    assert hook.list(bucket, prefix="a/", max_results=1) == ["a/1", "a/2", "a/b/3"]
    assert hook.list(bucket, match_glob="*/*.txt") == ["d/5.txt"]


def test_uploads_and_downloads(bucket: str):
    hook = GCSHook()
    hook.upload(bucket, "x/y.txt", data="text", metadata={"a": "b"})
    assert hook.download(bucket, "x/y.txt") == b"text"
    assert hook.exists(bucket, "x/y.txt")
    assert not hook.exists(bucket, "x/z.txt")
    assert hook.get_size(bucket, "x/y.txt") == 4
    assert hook.get_md5hash(bucket, "x/y.txt") == base64.b64encode(hashlib.md5(b"text").digest()).decode()
    assert hook.get_metadata(bucket, "x/y.txt") == {"a": "b"}


def test_uploads_gzipped(emulator: Emulator, bucket: str):
    GCSHook().upload(bucket, "a", data="text" * 100, gzip=True)
    assert gzip.decompress(emulator.storage.objects.get(bucket, "a").path.read_bytes()) == b"text" * 100


def test_rewrites_between_buckets(emulator: Emulator, bucket: str):
    GCSHook().upload(bucket, "a/ü", data="text")
    GCSHook().rewrite(bucket, "a/ü", "other", "b/ü")
    GCSHook().copy(bucket, "a/ü", "other", "c")
    assert [found.name for found in emulator.storage.objects.list("other", "")] == ["b/ü", "c"]
    assert GCSHook().download("other", "b/ü") == b"text"


def test_composes(bucket: str):
    for part in ("a", "b"):
        GCSHook().upload(bucket, part, data=part)
    GCSHook().compose(bucket, ["b", "a"], "whole")
    assert GCSHook().download(bucket, "whole") == b"ba"
