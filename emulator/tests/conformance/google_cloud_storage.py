"""google-cloud-storage, pointed at the emulator by ``STORAGE_EMULATOR_HOST``."""

from __future__ import annotations

import datetime
import io
import tempfile
from pathlib import Path

from google.api_core.exceptions import Conflict, NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage import transfer_manager

from tests.conformance.checks import CT, MR, PROJECT, equal, new_id, raises

DATA = CT * 20  # over the 256 KiB of a chunk, three times


def connect(url: str) -> storage.Client:
    return storage.Client(PROJECT, AnonymousCredentials())


def new_bucket(client: storage.Client, *names: str) -> storage.Bucket:
    """A new bucket with objects whose content is their name."""
    bucket = client.create_bucket(new_id("bucket-"))
    for name in names:
        bucket.blob(name).upload_from_string(name)
    return bucket


def names(blobs: storage.client.page_iterator.Iterator) -> list[str]:
    return [blob.name for blob in blobs]


def check_buckets(client: storage.Client) -> None:
    bucket = new_bucket(client)
    equal(bucket.name in [found.name for found in client.list_buckets()], True)
    bucket.labels = {"site": "a"}
    bucket.patch()
    equal(client.get_bucket(bucket.name).labels, {"site": "a"})
    with raises(Conflict):
        client.create_bucket(bucket.name)
    bucket.delete()
    equal(client.lookup_bucket(bucket.name), None)


def check_simple_upload(client: storage.Client) -> None:
    blob = new_bucket(client).blob("a/ct.dcm")
    blob.upload_from_string(CT, content_type="application/dicom")
    equal((blob.size, blob.content_type), (len(CT), "application/dicom"))
    equal(blob.download_as_bytes(), CT)


def check_resumable_upload(client: storage.Client) -> None:
    blob = new_bucket(client).blob("large", chunk_size=256 * 1024)
    blob.upload_from_file(io.BytesIO(DATA), size=len(DATA))
    equal(blob.download_as_bytes(checksum="crc32c"), DATA)


def check_stream(client: storage.Client) -> None:
    blob = new_bucket(client).blob("stream")
    with blob.open("wb", chunk_size=256 * 1024) as writer:
        for start in range(0, len(DATA), 100_000):
            writer.write(DATA[start : start + 100_000])
    with blob.open("rb") as reader:
        reader.seek(len(CT))
        equal(reader.read(len(CT)), CT)


def check_files(client: storage.Client) -> None:
    blob = new_bucket(client).blob("file")
    with tempfile.TemporaryDirectory() as directory:
        source, copy = Path(directory, "source.dcm"), Path(directory, "copy.dcm")
        source.write_bytes(MR)
        blob.upload_from_filename(source)
        blob.download_to_filename(copy)
        equal(copy.read_bytes(), MR)


def check_transfer_manager(client: storage.Client) -> None:
    bucket = new_bucket(client)
    with tempfile.TemporaryDirectory() as directory:
        source, copy = Path(directory, "source"), Path(directory, "copy")
        source.mkdir()
        contents = {"a.dcm": CT, "b.dcm": MR, "large": DATA}
        for name, data in contents.items():
            (source / name).write_bytes(data)
        threads = {"worker_type": transfer_manager.THREAD, "raise_exception": True}
        transfer_manager.upload_many_from_filenames(bucket, list(contents), source_directory=str(source), **threads)
        transfer_manager.download_many_to_path(bucket, list(contents), destination_directory=str(copy), **threads)
        equal({path.name: path.read_bytes() for path in copy.iterdir()}, contents)
        large = bucket.get_blob("large")
        pieces = {"chunk_size": 256 * 1024, "worker_type": transfer_manager.THREAD}
        transfer_manager.download_chunks_concurrently(large, str(copy / "again"), **pieces)
        equal((copy / "again").read_bytes(), DATA)


def check_ranges(client: storage.Client) -> None:
    blob = new_bucket(client).blob("b")
    blob.upload_from_string(CT)
    equal(blob.download_as_bytes(start=128, end=131), b"DICM")
    equal(blob.download_as_bytes(start=len(CT) - 10), CT[-10:])


def check_lists(client: storage.Client) -> None:
    bucket = new_bucket(client, "a/1.dcm", "a/b/2.dcm", "a/3.txt", "c.dcm")
    equal(names(client.list_blobs(bucket)), ["a/1.dcm", "a/3.txt", "a/b/2.dcm", "c.dcm"])
    equal(names(client.list_blobs(bucket, prefix="a/")), ["a/1.dcm", "a/3.txt", "a/b/2.dcm"])
    folders = client.list_blobs(bucket, prefix="a/", delimiter="/")
    equal((names(folders), folders.prefixes), (["a/1.dcm", "a/3.txt"], {"a/b/"}))
    equal(names(client.list_blobs(bucket, match_glob="**.dcm")), ["a/1.dcm", "a/b/2.dcm", "c.dcm"])
    equal(names(client.list_blobs(bucket, start_offset="a/3", end_offset="c")), ["a/3.txt", "a/b/2.dcm"])


def check_paging(client: storage.Client) -> None:
    bucket = new_bucket(client, *(f"{n:02}" for n in range(7)))
    pages = [names(page) for page in client.list_blobs(bucket, page_size=3).pages]
    equal(pages, [["00", "01", "02"], ["03", "04", "05"], ["06"]])


def check_compose(client: storage.Client) -> None:
    bucket = new_bucket(client, *(f"{n:02}" for n in range(33)))
    parts = [bucket.blob(f"{n:02}") for n in range(32)]
    whole = bucket.blob("whole")
    whole.compose(parts)
    equal(whole.download_as_bytes(), b"".join(f"{n:02}".encode() for n in range(32)))
    equal((whole.component_count, whole.md5_hash), (32, None))


def check_copy_and_rewrite(client: storage.Client) -> None:
    bucket, other = new_bucket(client, "a"), new_bucket(client)
    equal(bucket.copy_blob(bucket.blob("a"), other, "copy").download_as_bytes(), b"a")
    rewritten = other.blob("rewritten")
    equal(rewritten.rewrite(bucket.blob("a")), (None, 1, 1))
    equal(rewritten.download_as_bytes(), b"a")
    bucket.rename_blob(bucket.blob("a"), "b")
    equal(names(client.list_blobs(bucket)), ["b"])


def check_storage_class(client: storage.Client) -> None:
    blob = new_bucket(client, "a").blob("a")
    blob.update_storage_class("NEARLINE")
    blob.reload()
    equal((blob.storage_class, blob.download_as_bytes()), ("NEARLINE", b"a"))


def check_preconditions(client: storage.Client) -> None:
    blob = new_bucket(client).blob("a")
    blob.upload_from_string("1", if_generation_match=0)
    first = blob.generation
    with raises(PreconditionFailed):
        blob.upload_from_string("2", if_generation_match=0)
    blob.upload_from_string("2", if_generation_match=first)
    with raises(PreconditionFailed):
        blob.delete(if_generation_match=first)
    with raises(PreconditionFailed):
        blob.reload(if_metageneration_match=7)
    equal((blob.generation > first, blob.download_as_bytes()), (True, b"2"))


def check_metadata(client: storage.Client) -> None:
    bucket = new_bucket(client, "a")
    blob = bucket.blob("a")
    blob.metadata, blob.cache_control = {"patient": "1CT1"}, "no-store"
    blob.custom_time = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    blob.patch()
    found = bucket.get_blob("a")
    equal((found.metadata, found.cache_control, found.metageneration), ({"patient": "1CT1"}, "no-store", 2))
    equal((found.custom_time, found.download_as_bytes()), (blob.custom_time, b"a"))


def check_delete(client: storage.Client) -> None:
    bucket = new_bucket(client, "a", "b", "c")
    bucket.delete_blob("a")
    bucket.delete_blobs(["b"])
    equal(names(client.list_blobs(bucket)), ["c"])
    with raises(Conflict):
        bucket.delete()
    with raises(NotFound):
        bucket.blob("a").download_as_bytes()
    bucket.delete(force=True)
    equal(bucket.exists(), False)


def check_batch(client: storage.Client) -> None:
    bucket = new_bucket(client, "a", "b", "c/ä?")
    with client.batch():
        bucket.delete_blob("a")
        bucket.delete_blob("c/ä?")
        blob = bucket.blob("b")
        blob.metadata = {"patient": "1CT1"}
        blob.patch()
    equal(names(client.list_blobs(bucket)), ["b"])
    equal(bucket.get_blob("b").metadata, {"patient": "1CT1"})
    with raises(NotFound), client.batch():
        bucket.delete_blob("a")


def check_odd_names(client: storage.Client) -> None:
    odd = ["a b", "ä/ö", "q?x=1&y#z", "100%25", "a+b", "./..", "line\u2028end"]
    bucket = new_bucket(client, *odd)
    equal(set(names(client.list_blobs(bucket))), set(odd))
    equal([bucket.blob(name).download_as_bytes().decode() for name in odd], odd)
