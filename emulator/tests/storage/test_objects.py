"""Buckets and objects, through the clients that Airflow uses and through plain HTTP."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import io
import json
import os
import select
import socket
from pathlib import Path
from urllib.parse import quote

import google_crc32c
import pytest
import requests
from gcloud.aio.storage import Storage
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.rest.faults import Fault
from gcp_dicom_emulator.storage.objects import ObjectStore, Preconditions

QUARTER = 256 * 1024

NAMES = [
    "a",
    "folder/file.dcm",
    "/leading",
    "trailing/",
    "//",
    "a/../b",
    "../../../../etc/passwd",
    "./a",
    "...",
    "a%2Fb",
    "%2e%2e%2f",
    "100%",
    "a+b c",
    "a?b#c&d=e",
    "o/copyTo/b/x/o/y",
    "quote\"'\\",
    "tab\tand\x01control",
    "bell\x00nul",
    "Ärzte/患者/🩻",
    "e\u0301 is not é",
    "\U0010ffff",
    "x" * 1024,
    "é" * 512,
]


def crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def object_url(emulator: Emulator, bucket: storage.Bucket, name: str) -> str:
    return f"{emulator.url}/storage/v1/b/{bucket.name}/o/{quote(name, safe='')}"


def upload_url(emulator: Emulator, bucket: storage.Bucket, upload_type: str, name: str = "a") -> str:
    return f"{emulator.url}/upload/storage/v1/b/{bucket.name}/o?uploadType={upload_type}&name={quote(name, safe='')}"


def multipart(metadata: object, data: bytes) -> tuple[bytes, dict[str, str]]:
    body = (
        b"--line\r\nContent-Type: application/json\r\n\r\n"
        + json.dumps(metadata).encode()
        + b"\r\n--line\r\nContent-Type: text/plain\r\n\r\n"
        + data
        + b"\r\n--line--\r\n"
    )
    return body, {"Content-Type": "multipart/related; boundary=line"}


def start_resumable(http: requests.Session, emulator: Emulator, bucket: storage.Bucket, name: str = "a", **metadata: str) -> str:
    answer = http.post(upload_url(emulator, bucket, "resumable", name), json=metadata)
    assert answer.status_code == 200, answer.text
    return answer.headers["Location"]


def send_chunk(http: requests.Session, session: str, data: bytes, first: int, total: int | str) -> requests.Response:
    content_range = f"bytes {first}-{first + len(data) - 1}/{total}"
    return http.put(session, data=data, headers={"Content-Range": content_range})


def status(http: requests.Session, session: str, total: int | str = "*") -> requests.Response:
    return http.put(session, headers={"Content-Range": f"bytes */{total}"})


class TestBuckets:
    def test_is_made_read_and_listed(self, client: storage.Client, bucket: storage.Bucket):
        again = client.get_bucket(bucket.name)
        assert (again.location, again.storage_class, again.metageneration) == ("US", "STANDARD", 1)
        assert bucket.name in [found.name for found in client.list_buckets()]

    def test_is_not_made_twice(self, client: storage.Client, bucket: storage.Bucket):
        with pytest.raises(exceptions.Conflict):
            client.create_bucket(bucket.name)

    def test_a_missing_one_is_not_found(self, client: storage.Client):
        with pytest.raises(exceptions.NotFound):
            client.get_bucket("missing")
        with pytest.raises(exceptions.NotFound):
            list(client.list_blobs("missing"))
        with pytest.raises(exceptions.NotFound):
            client.bucket("missing").blob("a").upload_from_string(b"x")
        with pytest.raises(exceptions.NotFound):
            client.bucket("missing").delete()

    def test_one_that_is_not_empty_is_deleted_by_force(self, client: storage.Client, bucket: storage.Bucket):
        bucket.blob("a").upload_from_string(b"1")
        bucket.blob("a").upload_from_string(b"2")
        bucket.delete(force=True)
        assert not bucket.exists()

    def test_labels_are_merged_and_removed(self, bucket: storage.Bucket):
        bucket.labels = {"a": "1", "b": "2"}
        bucket.patch()
        bucket.labels = {"b": "3"}
        bucket.patch()
        bucket.reload()
        assert bucket.labels == {"b": "3"}
        assert bucket.metageneration == 3

    def test_update_replaces_what_it_does_not_name(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket):
        url = f"{emulator.url}/storage/v1/b/{bucket.name}"
        http.patch(url, json={"labels": {"a": "1"}}).raise_for_status()
        http.put(url, json={"storageClass": "NEARLINE"}).raise_for_status()
        found = http.get(url).json()
        assert found["storageClass"] == "NEARLINE"
        assert "labels" not in found

    def test_is_removed_only_when_empty(self, client: storage.Client, bucket: storage.Bucket):
        bucket.blob("a").upload_from_string(b"x")
        with pytest.raises(exceptions.Conflict):
            bucket.delete()
        bucket.blob("a").delete()
        bucket.delete()
        assert client.lookup_bucket(bucket.name) is None

    def test_preconditions_hold(self, bucket: storage.Bucket):
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.patch(if_metageneration_match=7)
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.delete(if_metageneration_match=7)
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.reload(if_metageneration_match=7)
        bucket.patch(if_metageneration_match=1)
        bucket.delete(if_metageneration_match=2)

    @pytest.mark.parametrize("name", ["ab", "Upper", "-a-", "a b", "a/b", "ü-bucket", "a" * 64, "a." + "b" * 64, "..", "1.2.3.4"])
    def test_bad_names_are_refused(self, emulator: Emulator, http: requests.Session, name: str):
        assert http.post(f"{emulator.url}/storage/v1/b?project=demo", json={"name": name}).status_code == 400

    @pytest.mark.parametrize("name", ["abc", "a" * 63, "a_b-c.d", ".".join(["b" * 63] * 3)])
    def test_good_names_are_taken(self, client: storage.Client, name: str):
        client.create_bucket(name).delete()

    def test_a_name_that_is_no_text_is_refused(self, emulator: Emulator, http: requests.Session):
        assert http.post(f"{emulator.url}/storage/v1/b?project=demo", json={"name": 5}).status_code == 400

    def test_listing_has_pages_and_a_prefix(self, emulator: Emulator, client: storage.Client):
        for name in ("pages-c", "pages-a", "pages-b", "other"):
            client.create_bucket(name, project="pages")
        found = client.list_buckets(project="pages", prefix="pages-", page_size=2)
        assert [[bucket.name for bucket in page] for page in found.pages] == [["pages-a", "pages-b"], ["pages-c"]]


class TestUploads:
    def test_media(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket):
        answer = http.post(upload_url(emulator, bucket, "media"), data=b"text", headers={"Content-Type": "text/plain"})
        assert answer.status_code == 200
        assert (answer.json()["size"], answer.json()["contentType"]) == ("4", "text/plain")
        assert bucket.blob("a").download_as_bytes() == b"text"

    def test_multipart(self, bucket: storage.Bucket):
        blob = bucket.blob("a")
        blob.metadata = {"who": "me"}
        blob.cache_control = "no-store"
        blob.upload_from_string(b"text", content_type="text/x")
        found = bucket.get_blob("a")
        assert (found.size, found.content_type, found.metadata, found.cache_control) == (4, "text/x", {"who": "me"}, "no-store")
        assert found.download_as_bytes() == b"text"

    @pytest.mark.parametrize(
        "data", [b"", b"\r\n", b"--lin", b"\r\n--linen\r\n", b"\r\n--line-\r\n", b" --line--\r\n", bytes(range(256)) * 9000]
    )
    def test_multipart_keeps_every_byte(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket, data: bytes):
        body, headers = multipart({"name": "a"}, data)
        http.post(upload_url(emulator, bucket, "multipart"), data=body, headers=headers).raise_for_status()
        assert bucket.blob("a").download_as_bytes() == data

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (b"", "multipart/related; boundary=line"),
            (b"no parts", "multipart/related; boundary=line"),
            (b"no boundary", "text/plain"),
            (multipart({}, b"x")[0][:-10], "multipart/related; boundary=line"),
            (multipart([], b"x")[0], "multipart/related; boundary=line"),
            (multipart({"name": 5}, b"x")[0], "multipart/related; boundary=line"),
            (multipart({"metadata": {"a": {}}}, b"x")[0], "multipart/related; boundary=line"),
        ],
    )
    def test_a_broken_multipart_is_refused(
        self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket, body: bytes, content_type: str
    ):
        url = f"{emulator.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=multipart"
        answer = http.post(url, data=body, headers={"Content-Type": content_type})
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]
        assert list(bucket.list_blobs()) == []

    def test_an_unknown_kind_is_refused(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket):
        assert http.post(upload_url(emulator, bucket, "telepathy"), data=b"x").status_code == 400

    def test_replaces_the_object_under_a_new_generation(self, bucket: storage.Bucket):
        blob = bucket.blob("a")
        blob.upload_from_string(b"one")
        first = blob.generation
        blob.upload_from_string(b"two")
        assert blob.generation > first
        assert bucket.blob("a").download_as_bytes() == b"two"
        assert bucket.get_blob("a", generation=first) is None

    def test_gzip_is_decompressed_for_who_does_not_take_it(
        self, emulator: Emulator, bucket: storage.Bucket, http: requests.Session
    ):
        data = b"text" * 1_000_000
        blob = bucket.blob("a")
        blob.content_encoding = "gzip"
        blob.upload_from_string(gzip.compress(data))
        url = f"{emulator.url}/storage/v1/b/{bucket.name}/o/a?alt=media"
        plain = {"Accept-Encoding": "identity"}
        answer = http.get(url, headers={**plain, "Range": "bytes=1-2"}, timeout=60)
        assert (answer.status_code, answer.content == data) == (200, True)
        assert "Content-Encoding" not in answer.headers
        for accepted, encoding in (("identity, gzip;q=0", None), ("br;q=1.0, GZIP ; q=0.1", "gzip")):
            answer = http.get(url, headers={"Accept-Encoding": accepted}, timeout=60)
            assert answer.headers.get("Content-Encoding") == encoding
        blob.cache_control = "no-transform"
        blob.patch()
        answer = http.get(url, headers=plain, timeout=60)  # whose content is decompressed by this client
        assert (answer.headers["Content-Encoding"], answer.content == data) == ("gzip", True)
        bucket.blob("b").upload_from_string(b"no gzip")
        other = bucket.blob("b")
        other.content_encoding = "gzip"
        other.patch()
        answer = http.get(url.replace("/o/a", "/o/b"), headers=plain, timeout=60, stream=True)
        assert answer.raw.read(decode_content=False) == b"no gzip"

    @pytest.mark.parametrize("size", [4, 5 * 1024 * 1024])
    async def test_gcloud_aio_uploads_and_downloads(self, emulator: Emulator, bucket: storage.Bucket, size: int):
        data = os.urandom(size)
        async with Storage() as aio:
            uploaded = await aio.upload(bucket.name, "a/b", data, metadata={"metadata": {"k": "v"}})
            assert await aio.download(bucket.name, "a/b") == data
            found = await aio.download_metadata(bucket.name, "a/b")
        assert (uploaded["size"], found["metadata"]) == (str(size), {"k": "v"})

    async def test_gcloud_aio_uploads_many_at_once(self, emulator: Emulator, bucket: storage.Bucket):
        async with Storage() as aio:
            await asyncio.gather(*(aio.upload(bucket.name, f"{n:03}", str(n)) for n in range(50)))
        assert [blob.name for blob in bucket.list_blobs()] == [f"{n:03}" for n in range(50)]

    def test_an_upload_that_breaks_off_leaves_nothing(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket):
        def half():
            yield b"x" * 1000
            raise ConnectionAbortedError

        with pytest.raises(requests.ConnectionError):
            http.post(upload_url(emulator, bucket, "media"), data=half())
        assert list(bucket.list_blobs()) == []


class TestResumable:
    def test_the_client_sends_chunks(self, emulator: Emulator, bucket: storage.Bucket):
        data = os.urandom(5 * QUARTER + 7)
        blob = bucket.blob("a", chunk_size=QUARTER)
        blob.upload_from_file(io.BytesIO(data), content_type="text/x")
        assert [r.status for r in emulator.requests][-6:] == [308] * 5 + [200]
        assert blob.content_type == "text/x"
        assert bucket.blob("a").download_as_bytes() == data

    @pytest.mark.parametrize("size", [0, 1, QUARTER, 2 * QUARTER, 2 * QUARTER + 1])
    def test_the_client_streams_what_has_no_known_size(self, bucket: storage.Bucket, size: int):
        data = os.urandom(size)
        with bucket.blob("a").open("wb", chunk_size=QUARTER) as file:
            file.write(data)
        assert bucket.blob("a").download_as_bytes() == data

    def test_tells_how_far_it_is(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket):
        session = start_resumable(http, emulator, bucket)
        assert (status(http, session).status_code, status(http, session).headers.get("Range")) == (308, None)
        assert send_chunk(http, session, b"a" * QUARTER, 0, "*").status_code == 308
        answer = status(http, session)
        assert (answer.status_code, answer.headers["Range"]) == (308, f"bytes=0-{QUARTER - 1}")
        assert list(bucket.list_blobs()) == []

    def test_goes_on_behind_a_gap_only_when_it_is_filled(
        self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket
    ):
        first, second, third = (os.urandom(QUARTER) for _ in range(3))
        total = 3 * QUARTER
        session = start_resumable(http, emulator, bucket)
        send_chunk(http, session, first, 0, total)
        # The second chunk is lost, the third one comes.
        assert send_chunk(http, session, third, 2 * QUARTER, total).headers["Range"] == f"bytes=0-{QUARTER - 1}"
        assert send_chunk(http, session, second, QUARTER, total).status_code == 308
        assert send_chunk(http, session, third, 2 * QUARTER, total).status_code == 200
        assert bucket.blob("a").download_as_bytes() == first + second + third

    def test_takes_a_chunk_twice(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket):
        session = start_resumable(http, emulator, bucket)
        for _ in range(2):
            assert send_chunk(http, session, b"a" * QUARTER, 0, QUARTER + 1).status_code == 308
        assert send_chunk(http, session, b"b", QUARTER, QUARTER + 1).status_code == 200
        assert bucket.blob("a").download_as_bytes() == b"a" * QUARTER + b"b"

    def test_keeps_what_has_come_when_an_older_chunk_comes_again(
        self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket
    ):
        session = start_resumable(http, emulator, bucket)
        send_chunk(http, session, b"a" * 2 * QUARTER, 0, 2 * QUARTER + 1)
        # The service ignores bytes at an offset that it has already.
        answer = send_chunk(http, session, b"b" * QUARTER, 0, 2 * QUARTER + 1)
        assert (answer.status_code, answer.headers["Range"]) == (308, f"bytes=0-{2 * QUARTER - 1}")
        assert send_chunk(http, session, b"cc", 2 * QUARTER - 1, 2 * QUARTER + 1).status_code == 200
        assert bucket.blob("a").download_as_bytes() == b"a" * 2 * QUARTER + b"c"

    @pytest.mark.parametrize("kind", ["reset", "lose_answer", "status"])
    @pytest.mark.parametrize("chunk", [1, 2, 3])
    def test_the_client_recovers_a_lost_chunk(self, emulator: Emulator, bucket: storage.Bucket, retry, kind, chunk):
        data = os.urandom(2 * QUARTER + 5)
        blob = bucket.blob(f"{kind}-{chunk}", chunk_size=QUARTER)
        fault = emulator.faults.add(Fault(kind, resource="*upload_id=*", times=0))

        class Source(io.BytesIO):
            """Sets off the fault when the client reads the chunk."""

            def read(self, size=-1):
                if self.tell() == (chunk - 1) * QUARTER:
                    fault.times = 1
                return super().read(size)

        blob.upload_from_file(Source(data), retry=retry)
        assert fault.fired == 1
        assert bucket.blob(blob.name).download_as_bytes() == data

    def test_a_request_waits_for_the_chunk_that_is_coming(
        self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket
    ):
        session = start_resumable(http, emulator, bucket)
        path = session.removeprefix(emulator.url)
        coming, asking = (socket.create_connection(("127.0.0.1", emulator.port), timeout=60) for _ in range(2))
        with coming, asking:
            coming.sendall(
                f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nContent-Range: bytes 0-5/*\r\n\r\nabc".encode()
            )
            # Its bytes are there before the other request's, and the server reads one event after the other.
            asking.sendall(f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Range: bytes */*\r\n\r\n".encode())
            assert select.select([asking], [], [], 0.3)[0] == []
            coming.sendall(b"def")
            assert b"Range: bytes=0-5" in asking.recv(10_000)

    def test_the_end_is_told_again_to_who_lost_it(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket):
        session = start_resumable(http, emulator, bucket)
        ended = send_chunk(http, session, b"abc", 0, 3)
        for again in (status(http, session), status(http, session, 3), send_chunk(http, session, b"abc", 0, 3)):
            assert (again.status_code, again.json()) == (200, ended.json())
        assert bucket.get_blob("a").generation == int(ended.json()["generation"])

    async def test_gcloud_aio_uploads(self, emulator: Emulator, bucket: storage.Bucket):
        async with Storage() as aio:
            await aio.upload(bucket.name, "a", b"x" * 1000, force_resumable_upload=True)
        assert bucket.blob("a").download_as_bytes() == b"x" * 1000

    def test_checks_the_name_at_the_start(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket):
        assert http.post(upload_url(emulator, bucket, "resumable", ".."), json={}).status_code == 400
        assert http.post(upload_url(emulator, bucket, "resumable"), json=[]).status_code == 400

    def test_an_unknown_one_is_not_found(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket):
        url = upload_url(emulator, bucket, "resumable") + "&upload_id=unknown"
        assert send_chunk(http, url, b"abc", 0, 3).status_code == 404

    def test_stays_with_the_bucket_it_was_started_in(
        self, emulator: Emulator, http: requests.Session, client: storage.Client, bucket: storage.Bucket
    ):
        other = client.create_bucket(f"{bucket.name}-other")
        session = start_resumable(http, emulator, bucket).replace(f"/{bucket.name}/", f"/{other.name}/")
        send_chunk(http, session, b"abc", 0, 3)
        assert list(other.list_blobs()) == []

    @pytest.mark.parametrize("content_range", ["bytes 0-2", "0-2/3", "bytes 2-0/3", "bytes 0-2/2", "bytes 0-1/3", "nonsense"])
    def test_a_wrong_content_range_is_refused(
        self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket, content_range: str
    ):
        session = start_resumable(http, emulator, bucket)
        assert http.put(session, data=b"abc", headers={"Content-Range": content_range}).status_code == 400
        assert send_chunk(http, session, b"abc", 0, 3).status_code == 200

    @pytest.mark.parametrize("total", ["*", "6"])
    def test_the_last_chunk_may_leave_its_end_open(
        self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket, total: str
    ):
        session = start_resumable(http, emulator, bucket)
        assert send_chunk(http, session, b"abc", 0, "*").status_code == 308
        assert http.put(session, data=iter([b"d"]), headers={"Content-Range": f"bytes 4-*/{total}"}).status_code == 308
        answer = http.put(session, data=iter([b"de", b"f"]), headers={"Content-Range": f"bytes 3-*/{total}"})
        assert (answer.status_code, answer.json()["size"]) == (200, "6")
        assert bucket.blob("a").download_as_bytes() == b"abcdef"

    def test_a_chunked_body_may_be_the_whole(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket):
        answer = http.put(start_resumable(http, emulator, bucket), data=iter([b"abc", b"def"]))
        assert (answer.status_code, answer.json()["size"]) == (200, "6")

    def test_preconditions_hold_at_the_end(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket):
        answer = http.post(upload_url(emulator, bucket, "resumable") + "&ifGenerationMatch=0", json={})
        bucket.blob("a").upload_from_string(b"other")
        assert send_chunk(http, answer.headers["Location"], b"abc", 0, 3).status_code == 412
        assert status(http, answer.headers["Location"]).status_code == 404
        assert bucket.blob("a").download_as_bytes() == b"other"


class TestChecksums:
    DATA = b"what was meant"

    def test_are_those_of_the_content(self, bucket: storage.Bucket):
        blob = bucket.blob("a")
        blob.upload_from_string(self.DATA)
        assert (blob.md5_hash, blob.crc32c) == (md5(self.DATA), crc32c(self.DATA))

    @pytest.mark.parametrize("wrong", [{"md5Hash": md5(b"other")}, {"crc32c": crc32c(b"other")}])
    def test_a_multipart_upload_with_another_is_refused(
        self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket, wrong: dict[str, str]
    ):
        body, headers = multipart({"name": "a", **wrong}, self.DATA)
        answer = http.post(upload_url(emulator, bucket, "multipart"), data=body, headers=headers)
        assert answer.status_code == 400
        assert bucket.get_blob("a") is None

    @pytest.mark.parametrize(
        "header",
        [
            {"X-Goog-Hash": f"md5={md5(b'other')}"},
            {"X-Goog-Hash": f"crc32c={crc32c(DATA)},md5={md5(b'other')}"},
            {"X-Goog-Hash": f"crc32c={crc32c(b'other')}"},
            {"Content-MD5": md5(b"other")},
        ],
    )
    def test_a_media_upload_with_another_is_refused(
        self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket, header: dict[str, str]
    ):
        answer = http.post(upload_url(emulator, bucket, "media"), data=self.DATA, headers=header)
        assert answer.status_code == 400
        assert bucket.get_blob("a") is None

    def test_a_resumable_upload_with_another_is_refused(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket):
        session = start_resumable(http, emulator, bucket, md5Hash=md5(b"other"))
        assert send_chunk(http, session, self.DATA, 0, len(self.DATA)).status_code == 400
        session = start_resumable(http, emulator, bucket)
        headers = {"X-Goog-Hash": f"crc32c={crc32c(b'other')}", "Content-Range": f"bytes 0-{len(self.DATA) - 1}/{len(self.DATA)}"}
        assert http.put(session, data=self.DATA, headers=headers).status_code == 400
        assert bucket.get_blob("a") is None

    @pytest.mark.parametrize("checksum", ["md5", "crc32c", "auto"])
    @pytest.mark.parametrize("size", [0, 10, 2 * QUARTER + 1])
    def test_the_client_s_own_checks_pass(self, bucket: storage.Bucket, checksum: str, size: int):
        data = os.urandom(size)
        bucket.blob("a", chunk_size=QUARTER).upload_from_file(io.BytesIO(data), checksum=checksum)
        assert bucket.blob("a").download_as_bytes(checksum=checksum) == data


class TestMetadata:
    def test_patch_merges_and_removes(self, bucket: storage.Bucket):
        blob = bucket.blob("a")
        blob.upload_from_string(b"x")
        generation = blob.generation
        blob.metadata = {"a": "1", "b": "2"}
        blob.patch()
        blob.metadata = {"a": None, "c": "ü"}
        blob.patch()
        found = bucket.get_blob("a")
        assert found.metadata == {"b": "2", "c": "ü"}
        assert (found.generation, found.metageneration) == (generation, 3)

    def test_update_replaces(self, bucket: storage.Bucket):
        blob = bucket.blob("a")
        blob.metadata = {"a": "1"}
        blob.upload_from_string(b"x")
        blob.metadata = {"b": "2"}
        blob.update()
        assert bucket.get_blob("a").metadata == {"b": "2"}

    def test_what_the_server_says_cannot_be_set(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket):
        bucket.blob("a").upload_from_string(b"x")
        changed = http.patch(object_url(emulator, bucket, "a"), json={"size": "99", "name": "b", "generation": "1"}).json()
        assert (changed["size"], changed["name"]) == ("1", "a")
        assert changed["generation"] != "1"

    def test_of_the_wrong_type_is_refused(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket):
        bucket.blob("a").upload_from_string(b"x")
        for body in ({"metadata": "text"}, {"contentType": {}}, {"metadata": {"a": []}}, []):
            assert http.patch(object_url(emulator, bucket, "a"), json=body).status_code == 400

    def test_headers_of_a_download_carry_it(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket):
        blob = bucket.blob("a")
        blob.cache_control, blob.content_disposition, blob.content_language = "no-cache", "attachment; filename=x", "de"
        blob.upload_from_string(b"text", content_type="text/x")
        headers = http.get(object_url(emulator, bucket, "a") + "?alt=media").headers
        assert headers["Content-Type"] == "text/x"
        assert headers["Cache-Control"] == "no-cache"
        assert headers["Content-Disposition"] == "attachment; filename=x"
        assert headers["Content-Language"] == "de"
        assert headers["X-Goog-Generation"] == str(blob.generation)
        assert headers["X-Goog-Hash"] == f"crc32c={crc32c(b'text')},md5={md5(b'text')}"

    def test_that_no_header_can_hold_does_not_break_the_download(
        self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket
    ):
        bucket.blob("a").upload_from_string(b"text")
        http.patch(object_url(emulator, bucket, "a"), json={"contentDisposition": "a\r\nX-Evil: ü"}).raise_for_status()
        answer = http.get(object_url(emulator, bucket, "a") + "?alt=media")
        assert (answer.status_code, answer.content) == (200, b"text")
        assert "X-Evil" not in answer.headers


class TestRanges:
    DATA = bytes(range(100))

    @pytest.fixture
    def url(self, emulator: Emulator, bucket: storage.Bucket) -> str:
        bucket.blob("a").upload_from_string(self.DATA)
        return f"{emulator.url}/download/storage/v1/b/{bucket.name}/o/a?alt=media"

    @pytest.mark.parametrize(
        ("wanted", "start", "end"),
        [("0-0", 0, 1), ("10-19", 10, 20), ("90-", 90, 100), ("-7", 93, 100), ("95-1000", 95, 100), ("-1000", 0, 100)],
    )
    def test_a_part(self, http: requests.Session, url: str, wanted: str, start: int, end: int):
        answer = http.get(url, headers={"Range": f"bytes={wanted}"})
        assert (answer.status_code, answer.content) == (206, self.DATA[start:end])
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/100"

    def test_a_part_beyond_the_end_is_refused(self, http: requests.Session, url: str):
        assert http.get(url, headers={"Range": "bytes=100-"}).status_code == 416

    def test_the_client_downloads_in_chunks(self, emulator: Emulator, url: str, bucket: storage.Bucket):
        data = os.urandom(3 * QUARTER + 1)
        bucket.blob("big").upload_from_string(data)
        assert bucket.blob("big", chunk_size=QUARTER).download_as_bytes() == data
        assert [r.status for r in emulator.requests][-4:] == [206] * 4

    def test_the_client_downloads_a_part(self, url: str, bucket: storage.Bucket):
        assert bucket.blob("a").download_as_bytes(start=5, end=9) == self.DATA[5:10]

    def test_the_client_downloads_an_empty_object(self, bucket: storage.Bucket):
        bucket.blob("empty").upload_from_string(b"")
        assert bucket.blob("empty").download_as_bytes() == b""
        assert bucket.blob("empty", chunk_size=QUARTER).download_as_bytes() == b""
        with bucket.blob("empty").open("rb") as file:
            assert file.read() == b""

    def test_that_makes_no_sense_is_ignored(self, http: requests.Session, url: str):
        for nonsense in ("bytes=x", "bytes=5-2", "bytes=0-1,5-6", "lines=1-2"):
            answer = http.get(url, headers={"Range": nonsense})
            assert (answer.status_code, answer.content) == (200, self.DATA)

    async def test_a_download_while_the_object_is_replaced_is_whole(self, emulator: Emulator, bucket: storage.Bucket):
        contents = [bytes([n]) * 200_000 for n in range(30)]
        bucket.blob("busy").upload_from_string(contents[0])
        async with Storage() as aio:
            replacing = asyncio.gather(*(aio.upload(bucket.name, "busy", content) for content in contents))
            downloads = await asyncio.gather(*(aio.download(bucket.name, "busy") for _ in range(100)))
            await replacing
        assert set(downloads) <= set(contents)

    def test_the_client_seeks(self, url: str, bucket: storage.Bucket):
        with bucket.blob("a").open("rb") as file:
            file.seek(50)
            assert file.read(10) == self.DATA[50:60]


class TestCopies:
    def test_copy_takes_the_metadata_along(self, bucket: storage.Bucket):
        blob = bucket.blob("a")
        blob.metadata = {"k": "v"}
        blob.upload_from_string(b"text", content_type="text/x")
        copied = bucket.copy_blob(blob, bucket, "b")
        assert (copied.metadata, copied.content_type, copied.md5_hash) == ({"k": "v"}, "text/x", md5(b"text"))
        assert copied.generation > blob.generation
        assert copied.download_as_bytes() == b"text"

    def test_a_copy_outlives_its_source(self, bucket: storage.Bucket):
        blob = bucket.blob("a")
        blob.upload_from_string(b"text")
        copied = bucket.copy_blob(blob, bucket, "b")
        blob.upload_from_string(b"other")
        blob.delete()
        assert copied.download_as_bytes() == b"text"

    def test_onto_itself(self, bucket: storage.Bucket):
        blob = bucket.blob("a")
        blob.upload_from_string(b"text")
        blob.update_storage_class("NEARLINE")
        found = bucket.get_blob("a")
        assert (found.storage_class, found.download_as_bytes()) == ("NEARLINE", b"text")

    async def test_gcloud_aio_copies(self, emulator: Emulator, bucket: storage.Bucket):
        bucket.blob("a").upload_from_string(b"text")
        async with Storage() as aio:
            await aio.copy(bucket.name, "a", bucket.name, new_name="b")
        assert bucket.blob("b").download_as_bytes() == b"text"

    def test_metadata_in_the_request_replaces_the_source_s(
        self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket
    ):
        blob = bucket.blob("a")
        blob.metadata = {"k": "v"}
        blob.upload_from_string(b"text", content_type="text/x")
        url = f"{object_url(emulator, bucket, 'a')}/copyTo/b/{bucket.name}/o/b"
        http.post(url, json={"contentType": "text/y"}).raise_for_status()
        found = bucket.get_blob("b")
        assert (found.content_type, found.metadata) == ("text/y", None)

    def test_of_a_missing_object_is_not_found(self, bucket: storage.Bucket):
        with pytest.raises(exceptions.NotFound):
            bucket.copy_blob(bucket.blob("missing"), bucket, "b")

    def test_source_preconditions_hold(self, bucket: storage.Bucket):
        blob = bucket.blob("a")
        blob.upload_from_string(b"text")
        for condition in ({"if_source_generation_match": 1}, {"if_source_generation_not_match": blob.generation}):
            with pytest.raises(exceptions.PreconditionFailed):
                bucket.copy_blob(blob, bucket, "b", **condition)
        bucket.copy_blob(blob, bucket, "b", if_source_generation_match=blob.generation, if_generation_match=0)
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.copy_blob(blob, bucket, "b", if_generation_match=0)


class TestCompose:
    def parts(self, bucket: storage.Bucket, contents: list[bytes]) -> list[storage.Blob]:
        blobs = [bucket.blob(f"part-{number}") for number in range(len(contents))]
        for blob, content in zip(blobs, contents, strict=True):
            blob.upload_from_string(content, content_type="text/x")
        return blobs

    def test_concatenates_thirty_two(self, bucket: storage.Bucket):
        contents = [os.urandom(n * 100) for n in range(32)]
        whole = bucket.blob("whole")
        whole.compose(self.parts(bucket, contents))
        assert (whole.component_count, whole.md5_hash, whole.crc32c) == (32, None, crc32c(b"".join(contents)))
        assert whole.size == sum(len(content) for content in contents)
        assert whole.download_as_bytes() == b"".join(contents)

    def test_refuses_thirty_three_and_none(self, bucket: storage.Bucket):
        (part,) = self.parts(bucket, [b"x"])
        for number in (33, 0):
            with pytest.raises(exceptions.BadRequest):
                bucket.blob("whole").compose([part] * number)
        assert bucket.get_blob("whole") is None

    def test_counts_components_of_components(self, bucket: storage.Bucket):
        whole, twice = bucket.blob("whole"), bucket.blob("twice")
        whole.compose(self.parts(bucket, [b"a", b"b", b"c"]))
        twice.compose([whole, whole, bucket.blob("part-0")])
        assert (twice.component_count, twice.download_as_bytes()) == (7, b"abcabca")

    def test_appends_to_one_of_its_sources(self, bucket: storage.Bucket):
        first, second = self.parts(bucket, [b"a", b"b"])
        first.compose([first, second])
        assert bucket.blob("part-0").download_as_bytes() == b"ab"

    def test_a_missing_source_is_not_found(self, bucket: storage.Bucket):
        with pytest.raises(exceptions.NotFound):
            bucket.blob("whole").compose([bucket.blob("missing")])

    def test_preconditions_hold(self, bucket: storage.Bucket):
        parts = self.parts(bucket, [b"a", b"b"])
        whole = bucket.blob("whole")
        with pytest.raises(exceptions.PreconditionFailed):
            whole.compose(parts, if_source_generation_match=[parts[0].generation, 1])
        whole.compose(parts, if_source_generation_match=[part.generation for part in parts], if_generation_match=0)
        with pytest.raises(exceptions.PreconditionFailed):
            whole.compose(parts, if_generation_match=0)

    def test_removes_its_sources_when_asked(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket):
        self.parts(bucket, [b"a", b"b"])
        body = {"sourceObjects": [{"name": "part-0"}, {"name": "part-1"}, {"name": "part-1"}], "deleteSourceObjects": True}
        answer = http.post(f"{object_url(emulator, bucket, 'part-0')}/compose", json=body)
        assert answer.status_code == 200
        assert [blob.name for blob in bucket.list_blobs()] == ["part-0"]
        assert bucket.blob("part-0").download_as_bytes() == b"abb"

    def test_changes_nothing_when_a_source_cannot_be_removed(
        self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket
    ):
        parts = self.parts(bucket, [b"a", b"b", b"c"])
        parts[1].temporary_hold = True
        parts[1].patch()
        body = {"sourceObjects": [{"name": part.name} for part in parts], "deleteSourceObjects": True}
        answer = http.post(f"{object_url(emulator, bucket, 'whole')}/compose", json=body)
        assert answer.status_code == 403
        assert {blob.name: blob.download_as_bytes() for blob in bucket.list_blobs()} == {
            "part-0": b"a",
            "part-1": b"b",
            "part-2": b"c",
        }

    @pytest.mark.parametrize(
        "body",
        [
            {"sourceObjects": [{"name": "part-0", "generation": "x"}]},
            {"sourceObjects": [{"name": 5}]},
            {"sourceObjects": ["part-0"]},
            {"sourceObjects": [{"name": "\ud800"}]},
            {"sourceObjects": [{"name": "part-0", "objectPreconditions": {"ifGenerationMatch": "x"}}]},
        ],
    )
    def test_nonsense_is_refused(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket, body: dict):
        self.parts(bucket, [b"a"])
        assert http.post(f"{object_url(emulator, bucket, 'whole')}/compose", json=body).status_code == 400


class TestDelete:
    def test_removes(self, bucket: storage.Bucket):
        bucket.blob("a").upload_from_string(b"x")
        bucket.blob("a").delete()
        assert bucket.get_blob("a") is None
        with pytest.raises(exceptions.NotFound):
            bucket.blob("a").delete()

    def test_of_another_generation_removes_nothing(self, bucket: storage.Bucket):
        bucket.blob("a").upload_from_string(b"x")
        with pytest.raises(exceptions.NotFound):
            bucket.blob("a", generation=1).delete()
        assert bucket.get_blob("a")

    def test_frees_the_disk(self, tmp_path: Path):
        with Emulator(tmp_path) as emulator:
            emulator.storage.objects.create_bucket("bucket")
            emulator.storage.objects.put_bytes("bucket", "a", b"x")
            url = f"{emulator.url}/storage/v1/b/bucket/o/a"
            assert files(tmp_path / "blobs") == [b"x"]
            assert requests.delete(url).status_code == 204
            assert files(tmp_path / "blobs") == []

    def test_in_a_batch(self, client: storage.Client, bucket: storage.Bucket):
        bucket.blob("a").upload_from_string(b"x")
        bucket.blob("b").upload_from_string(b"x")
        bucket.delete_blobs([bucket.blob("a"), bucket.blob("b")])
        assert list(bucket.list_blobs()) == []


def files(directory: Path) -> list[bytes]:
    """Return the contents of all files below a directory."""
    return [path.read_bytes() for path in directory.rglob("*") if path.is_file()]


class TestPreconditions:
    @pytest.fixture
    def blob(self, bucket: storage.Bucket) -> storage.Blob:
        blob = bucket.blob("a")
        blob.upload_from_string(b"x")
        return blob

    def failing(self, blob: storage.Blob) -> list[dict[str, int]]:
        return [
            {"if_generation_match": 1},
            {"if_generation_match": 0},
            {"if_metageneration_match": 2},
        ]

    def holding(self, blob: storage.Blob) -> dict[str, int]:
        return {"if_generation_match": blob.generation, "if_metageneration_match": blob.metageneration}

    @pytest.mark.parametrize("method", ["delete", "patch", "reload", "download_as_bytes"])
    def test_that_fails_is_412(self, bucket: storage.Bucket, blob: storage.Blob, method: str):
        for condition in self.failing(blob):
            with pytest.raises(exceptions.PreconditionFailed):
                getattr(bucket.blob("a"), method)(**condition)
        getattr(bucket.blob("a"), method)(**self.holding(blob))

    def test_of_an_upload(self, bucket: storage.Bucket, blob: storage.Blob):
        for condition in self.failing(blob):
            with pytest.raises(exceptions.PreconditionFailed):
                bucket.blob("a").upload_from_string(b"y", **condition)
        assert bucket.blob("a").download_as_bytes() == b"x"
        bucket.blob("a").upload_from_string(b"y", **self.holding(blob))

    def test_generation_zero_means_that_there_is_none(self, bucket: storage.Bucket, blob: storage.Blob):
        bucket.blob("new").upload_from_string(b"y", if_generation_match=0)
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.blob("new").upload_from_string(b"z", if_generation_match=0)
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.blob("newer").upload_from_string(b"z", if_generation_not_match=0)

    @pytest.mark.parametrize("media", ["", "&alt=media"])
    def test_reading_what_is_known_already_is_304(
        self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket, blob: storage.Blob, media: str
    ):
        url = object_url(emulator, bucket, "a")
        for condition in (f"ifGenerationNotMatch={blob.generation}", "ifMetagenerationNotMatch=1"):
            answer = http.get(f"{url}?{condition}{media}")
            assert (answer.status_code, answer.content) == (304, b"")
        assert http.get(f"{url}?ifGenerationNotMatch=1{media}").status_code == 200

    def test_that_must_match_and_does_not_is_412_whatever_else_is_asked(
        self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket, blob: storage.Blob
    ):
        url = object_url(emulator, bucket, "a")
        assert http.get(f"{url}?ifGenerationMatch=1&ifMetagenerationNotMatch=9").status_code == 412

    def test_that_is_no_number_is_400(
        self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket, blob: storage.Blob
    ):
        url = object_url(emulator, bucket, "a")
        for query in ("ifGenerationMatch=x", "ifMetagenerationNotMatch=", "generation=x", "generation=-1"):
            assert http.get(f"{url}?{query}").status_code == 400, query

    def test_one_of_many_writers_wins(self, emulator: Emulator, bucket: storage.Bucket):
        async def race() -> list[int]:
            async with Storage() as aio:
                uploads = (aio.upload(bucket.name, "race", str(n), parameters={"ifGenerationMatch": "0"}) for n in range(20))
                return [
                    n
                    for n, result in enumerate(await asyncio.gather(*uploads, return_exceptions=True))
                    if isinstance(result, dict)
                ]

        (winner,) = asyncio.run(race())
        assert bucket.blob("race").download_as_bytes() == str(winner).encode()


class TestNames:
    @pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:20]))
    def test_is_taken_as_it_is(self, bucket: storage.Bucket, name: str):
        blob = bucket.blob(name)
        blob.upload_from_string(name.encode())
        assert [found.name for found in bucket.list_blobs()] == [name]
        assert [found.name for found in bucket.list_blobs(prefix=name)] == [name]
        assert bucket.get_blob(name).download_as_bytes() == name.encode()
        bucket.copy_blob(blob, bucket, "copy")
        assert bucket.blob("copy").download_as_bytes() == name.encode()
        blob.delete()
        assert bucket.get_blob(name) is None

    @pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:20]))
    async def test_is_taken_by_gcloud_aio_as_it_is(self, emulator: Emulator, bucket: storage.Bucket, name: str):
        async with Storage() as aio:
            await aio.upload(bucket.name, name, name.encode())
            assert await aio.download(bucket.name, name) == name.encode()
        assert [found.name for found in bucket.list_blobs()] == [name]

    @pytest.mark.parametrize("name", ["", ".", "..", "a\nb", "a\rb", ".well-known/acme-challenge/x", "x" * 1025, "é" * 513])
    def test_that_no_object_can_have_is_refused(
        self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket, name: str
    ):
        for kind in ("media", "resumable"):
            assert http.post(upload_url(emulator, bucket, kind, name), json={}).status_code == 400
        body, headers = multipart({"name": name}, b"x")
        url = f"{emulator.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=multipart"
        assert http.post(url, data=body, headers=headers).status_code == 400

    def test_that_is_no_utf_8_is_refused(self, emulator: Emulator, http: requests.Session, bucket: storage.Bucket):
        url = f"{emulator.url}/storage/v1/b/{bucket.name}/o/a%FF"
        assert http.get(url).status_code == 400

    def test_none_escapes_the_data_directory(self, tmp_path: Path):
        data = tmp_path / "a" / "b" / "data"
        with Emulator(data) as emulator:
            anonymous = storage.Client(
                project="demo", credentials=AnonymousCredentials(), client_options={"api_endpoint": emulator.url}
            )
            bucket = anonymous.create_bucket("bucket")
            for name in (*NAMES, "../../escaped", str(tmp_path / "escaped"), "..%2f..%2fescaped"):
                bucket.blob(name).upload_from_string(b"x")
            anonymous.close()
            kept = {path.relative_to(tmp_path).parts[:3] for path in tmp_path.rglob("*") if path.is_file()}
            assert kept == {("a", "b", "data")}
            blobs = [path for path in (data / "blobs").rglob("*") if path.is_file()]
            assert len(blobs) == len(NAMES) + 3
            assert all(path.name.isalnum() for path in blobs)


class TestRestart:
    def test_keeps_objects_and_uploads(self, tmp_path: Path, http: requests.Session):
        with Emulator(tmp_path) as emulator:
            anonymous = storage.Client(
                project="demo", credentials=AnonymousCredentials(), client_options={"api_endpoint": emulator.url}
            )
            bucket = anonymous.create_bucket("bucket")
            blob = bucket.blob("ü/1")
            blob.metadata = {"k": "v"}
            blob.upload_from_string(b"text")
            session = start_resumable(http, emulator, bucket, "two")
            send_chunk(http, session, b"a" * QUARTER, 0, "*")
            port = emulator.port
            anonymous.close()
        with Emulator(tmp_path) as emulator:
            session = session.replace(str(port), str(emulator.port))
            assert status(http, session).headers["Range"] == f"bytes=0-{QUARTER - 1}"
            ended = send_chunk(http, session, b"b", QUARTER, QUARTER + 1)
            assert ended.status_code == 200
            stored = emulator.storage.objects.get("bucket", "ü/1")
            assert (stored.path.read_bytes(), stored.generation) == (b"text", blob.generation)
            assert stored.properties["metadata"] == {"k": "v"}
            assert emulator.storage.objects.get("bucket", "two").path.read_bytes() == b"a" * QUARTER + b"b"
            assert int(ended.json()["generation"]) > blob.generation

    def test_sweeps_what_no_object_names(self, tmp_path: Path):
        with Emulator(tmp_path) as emulator:
            emulator.storage.objects.create_bucket("bucket")
            emulator.storage.objects.put_bytes("bucket", "a", b"x")
        (tmp_path / "blobs" / "ab").mkdir(exist_ok=True)
        (tmp_path / "blobs" / "ab" / "ab12").write_bytes(b"left behind by a kill")
        with Emulator(tmp_path):
            assert files(tmp_path / "blobs") == [b"x"]


def test_the_service_account(client: storage.Client) -> None:
    assert client.get_service_account_email().endswith("@gs-project-accounts.iam.gserviceaccount.com")


def test_entity_tags(bucket: storage.Bucket) -> None:
    blob = bucket.blob("a")
    blob.upload_from_string(b"x")
    blob.reload()
    first = blob.etag
    assert bucket.blob("a").download_as_bytes(if_etag_match=first) == b"x"
    with pytest.raises(exceptions.NotModified):
        bucket.blob("a").reload(if_etag_not_match=first)
    blob.upload_from_string(b"y")
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("a").reload(if_etag_match=first)
    bucket.blob("a").reload(if_etag_not_match=first)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.reload(if_etag_match="other")


@pytest.mark.parametrize(("location", "kind"), [("eu", "multi-region"), ("europe-west1", "region"), ("nam4", "dual-region")])
def test_f2_the_storage_layout(emulator: Emulator, http: requests.Session, location: str, kind: str) -> None:
    name = f"in-{location}"
    http.post(f"{emulator.url}/storage/v1/b?project=p", json={"name": name, "location": location}).raise_for_status()
    layout = http.get(f"{emulator.url}/storage/v1/b/{name}/storageLayout").json()
    assert (layout["location"], layout["locationType"]) == (location.upper(), kind)
    assert layout["hierarchicalNamespace"] == {"enabled": False}


def test_links_behind_a_proxy(emulator: Emulator, http: requests.Session, bucket: storage.Bucket) -> None:
    url = f"{emulator.url}/storage/v1/b/{bucket.name}"
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "storage.googleapis.com"}
    assert http.get(url, headers=headers).json()["selfLink"] == f"https://storage.googleapis.com/storage/v1/b/{bucket.name}"
    headers = {"X-Forwarded-Proto": "gopher", "X-Forwarded-Host": "a/b"}
    assert http.get(url, headers=headers).json()["selfLink"] == url


def test_a_resumable_upload_is_cancelled(http: requests.Session, emulator: Emulator, bucket: storage.Bucket) -> None:
    session = start_resumable(http, emulator, bucket)
    assert http.delete(session).status_code == 499
    assert http.put(session, data=b"x").status_code == 404
    assert bucket.get_blob("a") is None


def test_the_last_no_bytes_are_no_range(http: requests.Session, emulator: Emulator, bucket: storage.Bucket) -> None:
    bucket.blob("a").upload_from_string("0123")
    answer = http.get(f"{emulator.url}/storage/v1/b/{bucket.name}/o/a?alt=media", headers={"Range": "bytes=-0"})
    assert answer.status_code == 416


@pytest.mark.parametrize("later", [None, "2023-12-31T00:00:00Z", "yesterday"])
def test_a_custom_time_only_grows(http: requests.Session, emulator: Emulator, bucket: storage.Bucket, later: str | None) -> None:
    bucket.blob("a").upload_from_string("x")
    url = f"{emulator.url}/storage/v1/b/{bucket.name}/o/a"
    assert http.patch(url, json={"customTime": "2024-01-01T00:00:00Z"}).status_code == 200
    assert http.patch(url, json={"customTime": later}).status_code == 400
    assert http.patch(url, json={"customTime": "2024-01-01T00:00:00Z", "metadata": {"a": "b"}}).status_code == 200


def test_a_storage_class_exists(http: requests.Session, emulator: Emulator, bucket: storage.Bucket) -> None:
    blob = bucket.blob("a")
    blob.storage_class = "GLACIER"
    with pytest.raises(exceptions.BadRequest, match="GLACIER"):
        blob.upload_from_string("x")
    body = {"name": "classes-of-others", "storageClass": "GLACIER"}
    assert http.post(f"{emulator.url}/storage/v1/b?project=demo", json=body).status_code == 400


class TestStorageClasses:
    @pytest.fixture
    def nearline(self, client: storage.Client, bucket: storage.Bucket) -> storage.Bucket:
        cold = client.bucket(f"{bucket.name}-nearline")
        cold.storage_class = "NEARLINE"
        return client.create_bucket(cold)

    def test_a_new_object_has_that_of_its_bucket(self, emulator: Emulator, http: requests.Session, nearline: storage.Bucket):
        nearline.blob("media").upload_from_string("x")
        http.put(start_resumable(http, emulator, nearline, "resumable"), data=b"x").raise_for_status()
        http.put(f"{emulator.url}/{nearline.name}/xml", data=b"x").raise_for_status()
        nearline.blob("composed").compose([nearline.blob("media")])
        named = nearline.blob("named")
        named.storage_class = "COLDLINE"
        named.upload_from_string("x")
        found = {blob.name: blob.storage_class for blob in nearline.list_blobs()}
        assert found == {"named": "COLDLINE", **dict.fromkeys(("media", "resumable", "xml", "composed"), "NEARLINE")}
        # It stays when the bucket has another one from now on.
        nearline.storage_class = "STANDARD"
        nearline.patch()
        nearline.blob("new").upload_from_string("x")
        assert [nearline.get_blob(name).storage_class for name in ("media", "new")] == ["NEARLINE", "STANDARD"]

    def test_an_update_leaves_it(self, emulator: Emulator, http: requests.Session, nearline: storage.Bucket):
        nearline.blob("a").upload_from_string("x")
        answer = http.put(object_url(emulator, nearline, "a"), json={"contentType": "text/csv"})
        assert (answer.json()["contentType"], answer.json()["storageClass"]) == ("text/csv", "NEARLINE")


@pytest.mark.parametrize("name", ["goog-a", "my-google-b"])
def test_no_bucket_is_called_after_google(client: storage.Client, name: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="Invalid bucket name"):
        client.create_bucket(name)


def test_a_move_that_fails_at_its_end_loses_nothing(
    emulator: Emulator, bucket: storage.Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.blob("a").upload_from_string(b"one")
    bucket.blob("b").upload_from_string(b"two")
    delete, objects = ObjectStore.delete, emulator.storage.objects

    def fail(*arguments: object) -> None:
        delete(*arguments)  # type: ignore[arg-type]
        raise OSError("the disk is full")

    monkeypatch.setattr(ObjectStore, "delete", fail)
    with pytest.raises(OSError, match="full"):
        objects.move(bucket.name, "a", "b", Preconditions(), Preconditions())
    assert {blob.name: blob.download_as_bytes() for blob in bucket.list_blobs()} == {"a": b"one", "b": b"two"}


def test_a_resumable_upload_has_the_size_that_was_declared(
    http: requests.Session, emulator: Emulator, bucket: storage.Bucket
) -> None:
    def start(size: int) -> str:
        headers = {"X-Upload-Content-Length": str(size)}
        return http.post(upload_url(emulator, bucket, "resumable", "a"), json={}, headers=headers).headers["Location"]

    session = start(10)
    assert http.put(session, data=b"x" * 11).status_code == 400
    assert http.put(session, data=iter([b"x" * 9])).status_code == 400
    assert send_chunk(http, session, b"x", 0, 11).status_code == 400
    assert list(bucket.list_blobs()) == []
    session = start(10)
    assert send_chunk(http, session, b"x" * 5, 0, "*").status_code == 308
    assert send_chunk(http, session, b"x" * 5, 5, 10).status_code == 200
    assert http.put(start(0), data=b"not known before").status_code == 200


def test_a_chunk_that_goes_on_behind_its_end_is_not_kept(
    http: requests.Session, emulator: Emulator, bucket: storage.Bucket
) -> None:
    session = start_resumable(http, emulator, bucket)
    send_chunk(http, session, b"a" * QUARTER, 0, "*")
    # Without a Content-Length.
    headers = {"Content-Range": f"bytes {QUARTER}-{QUARTER + 1}/*"}
    assert http.put(session, data=iter([b"bcd"]), headers=headers).status_code == 400
    assert status(http, session).headers["Range"] == f"bytes=0-{QUARTER - 1}"


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "o?filter=contexts.a%3D%22b%22", 501),
        ("GET", "o?versions=yes", 400),
        ("GET", "o?includeTrailingDelimiter=1", 400),
        ("POST", "o/a/rewriteTo/b/{bucket}/o/b?destinationKmsKeyName=k", 501),
        ("POST", "o/a/copyTo/b/{bucket}/o/b?destinationKmsKeyName=k", 501),
        ("POST", "o/a/rewriteTo/b/{bucket}/o/b?rewriteToken=none", 400),
        ("POST", "o/a/rewriteTo/b/{bucket}/o/b?maxBytesRewrittenPerCall=1000", 400),
        ("POST", "o/a/compose?kmsKeyName=k", 501),
    ],
)
def test_parameters_that_nothing_would_come_of(
    http: requests.Session, emulator: Emulator, bucket: storage.Bucket, method: str, path: str, code: int
) -> None:
    bucket.blob("a").upload_from_string(b"one")
    url = f"{emulator.url}/storage/v1/b/{bucket.name}/{path.format(bucket=bucket.name)}"
    answer = http.request(method, url, json={"sourceObjects": [{"name": "a"}]} if "compose" in path else None)
    assert answer.status_code == code, answer.text
    assert [blob.name for blob in bucket.list_blobs()] == ["a"]


def test_a_key_or_a_context_of_an_upload_is_refused(http: requests.Session, emulator: Emulator, bucket: storage.Bucket) -> None:
    url = upload_url(emulator, bucket, "resumable", "a")
    assert http.post(f"{url}&kmsKeyName=k", json={}).status_code == 501
    session = start_resumable(http, emulator, bucket, contexts={"custom": {"a": {"value": "b"}}})  # type: ignore[arg-type]
    assert http.put(session, data=b"x").status_code == 501
    assert list(bucket.list_blobs()) == []


@pytest.mark.parametrize("kind", ["media", "multipart", "resumable"])
def test_the_encoding_in_the_query_of_any_upload(
    http: requests.Session, emulator: Emulator, bucket: storage.Bucket, kind: str
) -> None:
    url = f"{upload_url(emulator, bucket, kind, 'a')}&contentEncoding=gzip"
    if kind == "resumable":
        answer = http.put(http.post(url, json={}).headers["Location"], data=gzip.compress(b"x"))
    elif kind == "media":
        answer = http.post(url, data=gzip.compress(b"x"))
    else:
        body = b"--B\r\n\r\n{}\r\n--B\r\n\r\n" + gzip.compress(b"x") + b"\r\n--B--"
        answer = http.post(url, data=body, headers={"Content-Type": "multipart/related; boundary=B"})
    assert (answer.status_code, answer.json()["contentEncoding"]) == (200, "gzip")


def test_a_rewrite_goes_on_by_its_token(client: storage.Client, bucket: storage.Bucket) -> None:
    data = os.urandom(5 * QUARTER)
    bucket.blob("a").upload_from_string(data)
    moved = client.create_bucket(f"{bucket.name}-moved", location="EU").blob("b")
    api, path = client._connection.api_request, f"/b/{bucket.name}/o/a/rewriteTo/b/{bucket.name}-moved/o/b"
    query = {"maxBytesRewrittenPerCall": 4 * QUARTER}
    first = api(method="POST", path=path, query_params=query)
    assert (first["done"], first["totalBytesRewritten"], first["objectSize"]) == (False, str(4 * QUARTER), str(len(data)))
    assert not moved.exists()
    with pytest.raises(exceptions.BadRequest):
        api(method="POST", path=path + "2", query_params={"rewriteToken": first["rewriteToken"]})
    last = api(method="POST", path=path, query_params={**query, "rewriteToken": first["rewriteToken"]})
    assert (last["done"], last["totalBytesRewritten"], last["resource"]["name"]) == (True, str(len(data)), "b")
    assert moved.download_as_bytes() == data
    # What stays where it is, is there at once.
    assert api(method="POST", path=f"/b/{bucket.name}/o/a/rewriteTo/b/{bucket.name}/o/b", query_params=query)["done"]
    bucket.blob("a").upload_from_string(data[1:])
    with pytest.raises(exceptions.BadRequest):
        api(method="POST", path=path, query_params={"rewriteToken": first["rewriteToken"]})


@pytest.mark.parametrize("content_range", [None, "bytes 0-499/500", "bytes 0-499/*"])
def test_a_body_that_is_packed_for_its_way(
    http: requests.Session, emulator: Emulator, bucket: storage.Bucket, content_range: str | None
) -> None:
    session = start_resumable(http, emulator, bucket)
    headers = {"Content-Encoding": "gzip"} | ({"Content-Range": content_range} if content_range else {})
    answer = http.put(session, data=gzip.compress(b"hello" * 100), headers=headers)
    if answer.status_code == 308:
        assert answer.headers["Range"] == "bytes=0-499"
        answer = status(http, session, 500)
    assert answer.status_code == 200, answer.text
    assert bucket.blob("a").download_as_bytes() == b"hello" * 100


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("POST", "upload/storage/v1/b/{0}/o", "uploadType=media&name=a&predefinedAcl=everybody"),
        ("POST", "upload/storage/v1/b/{0}/o", "uploadType=resumable&name=a&predefinedAcl=publicReadWrite"),
        ("POST", "storage/v1/b/{0}/o/old/rewriteTo/b/{0}/o/a", "destinationPredefinedAcl=public-read"),
        ("GET", "storage/v1/b/{0}/o", "projection=everything"),
        ("POST", "storage/v1/b", "project=demo&predefinedAcl=bucketOwnerRead"),
    ],
)
def test_a_parameter_has_one_of_its_values(
    http: requests.Session, emulator: Emulator, bucket: storage.Bucket, method: str, path: str, query: str
) -> None:
    bucket.blob("old").upload_from_string(b"one")
    answer = http.request(method, f"{emulator.url}/{path.format(bucket.name)}?{query}", json={})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["errors"][0]["reason"] == "invalidParameter"
    assert [blob.name for blob in bucket.list_blobs()] == ["old"]


def test_a_predefined_acl_needs_a_bucket_that_has_acls(
    http: requests.Session, emulator: Emulator, bucket: storage.Bucket
) -> None:
    bucket.blob("a").upload_from_string(b"one", predefined_acl="publicRead")
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.patch()
    for upload in (bucket.blob("b"), bucket.blob("c", chunk_size=QUARTER)):
        with pytest.raises(exceptions.BadRequest, match="uniform bucket-level access"):
            upload.upload_from_string(b"one", predefined_acl="publicRead")
    for path in (f"a/rewriteTo/b/{bucket.name}/o/d", "d/compose"):
        url = f"{emulator.url}/storage/v1/b/{bucket.name}/o/{path}?destinationPredefinedAcl=private"
        answer = http.post(url, json={"sourceObjects": [{"name": "a"}]} if "compose" in path else {})
        assert (answer.status_code, "uniform bucket-level access" in answer.text) == (400, True)
    url = f"{emulator.url}/{bucket.name}/d"
    assert http.put(url, data=b"one", headers={"x-goog-acl": "public-read"}).status_code == 400
    assert [blob.name for blob in bucket.list_blobs()] == ["a"]


def test_an_object_has_no_list_of_who_may_do_what(http: requests.Session, emulator: Emulator, bucket: storage.Bucket) -> None:
    bucket.blob("a").upload_from_string(b"one")
    acl = {"acl": [{"entity": "allUsers", "role": "READER"}]}
    answer = http.patch(f"{emulator.url}/storage/v1/b/{bucket.name}/o/a", json=acl)
    assert (answer.status_code, "acl" in answer.json()["error"]["message"]) == (501, True)
    with pytest.raises(exceptions.MethodNotImplemented):
        bucket.blob("a").make_public(timeout=1, retry=None)


KEY = {
    "x-goog-encryption-algorithm": "AES256",
    "x-goog-encryption-key": base64.b64encode(b"k" * 32).decode(),
    "x-goog-encryption-key-sha256": base64.b64encode(hashlib.sha256(b"k" * 32).digest()).decode(),
}
KEY_OF_SOURCE = {name.replace("x-goog-", "x-goog-copy-source-"): value for name, value in KEY.items()}


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "storage/v1/b/{0}/o/a/compose", KEY),
        ("POST", "storage/v1/b/{0}/o/a/rewriteTo/b/{0}/o/a", KEY),
        ("POST", "storage/v1/b/{0}/o/a/rewriteTo/b/{0}/o/b", KEY_OF_SOURCE),
        ("POST", "storage/v1/b/{0}/o/a/copyTo/b/{0}/o/b", KEY_OF_SOURCE),
        ("PATCH", "storage/v1/b/{0}/o/a", KEY),
        ("DELETE", "storage/v1/b/{0}/o/a", {"If-Match": "other"}),
        ("PATCH", "storage/v1/b/{0}/o/a", {"If-Match": "other"}),
        ("PUT", "storage/v1/b/{0}/o/a", {"If-None-Match": "*"}),
        ("POST", "upload/storage/v1/b/{0}/o?uploadType=media&name=a", {"If-None-Match": "*"}),
        ("POST", "storage/v1/b/{0}/o/a/moveTo/o/b", {"If-Match": "other"}),
        ("PATCH", "storage/v1/b/{0}", {"If-Match": "other"}),
        ("DELETE", "storage/v1/b/{0}", {"If-Match": "other"}),
    ],
)
def test_headers_that_nothing_would_come_of(
    http: requests.Session, emulator: Emulator, bucket: storage.Bucket, method: str, path: str, headers: dict[str, str]
) -> None:
    bucket.blob("a").upload_from_string(b"one")
    before = [(blob.name, blob.generation, blob.metageneration) for blob in bucket.list_blobs()]
    body = {"sourceObjects": [{"name": "a"}]} if "compose" in path else {}
    answer = http.request(method, f"{emulator.url}/{path.format(bucket.name)}", json=body, headers=headers)
    assert answer.status_code == 501, answer.text
    assert [(blob.name, blob.generation, blob.metageneration) for blob in bucket.list_blobs()] == before


def test_a_storage_class_is_in_capitals(http: requests.Session, emulator: Emulator, bucket: storage.Bucket) -> None:
    url = f"{emulator.url}/storage/v1/b/{bucket.name}"
    assert http.patch(url, json={"storageClass": "nearline"}).json()["storageClass"] == "NEARLINE"
    a, b = bucket.blob("a"), bucket.blob("b")
    a.storage_class = "nearline"
    for blob in (a, b):
        blob.upload_from_string(b"one")
        assert blob.storage_class == "NEARLINE"
    bucket.blob("c").compose([a, b])
    assert http.post(f"{url}/o/a/rewriteTo/b/{bucket.name}/o/d", json={"storageClass": "coldline"}).status_code == 200
    assert bucket.get_blob("d").storage_class == "COLDLINE"


def test_what_is_composed_is_of_one_class(bucket: storage.Bucket) -> None:
    a, b = bucket.blob("a"), bucket.blob("b")
    b.storage_class = "NEARLINE"
    for blob in (a, b):
        blob.upload_from_string(b"one")
    with pytest.raises(exceptions.BadRequest, match="storage class"):
        bucket.blob("c").compose([a, b])
    assert [blob.name for blob in bucket.list_blobs()] == ["a", "b"]


def test_a_resumable_upload_keeps_the_size_that_a_chunk_has_named(
    http: requests.Session, emulator: Emulator, bucket: storage.Bucket
) -> None:
    session = start_resumable(http, emulator, bucket)
    assert send_chunk(http, session, b"a" * QUARTER, 0, 3 * QUARTER).status_code == 308
    answer = send_chunk(http, session, b"b" * QUARTER, QUARTER, 2 * QUARTER)
    assert (answer.status_code, str(3 * QUARTER) in answer.text) == (400, True)
    assert http.put(session, headers={"Content-Range": f"bytes */{QUARTER}"}).status_code == 400
    assert status(http, session).headers["Range"] == f"bytes=0-{QUARTER - 1}"
    assert list(bucket.list_blobs()) == []
    assert send_chunk(http, session, b"b" * 2 * QUARTER, QUARTER, 3 * QUARTER).status_code == 200


def test_a_range_of_what_was_replaced_meanwhile_is_the_whole(
    http: requests.Session, emulator: Emulator, bucket: storage.Bucket
) -> None:
    bucket.blob("a").upload_from_string(b"0123456789")
    for url in (f"{emulator.url}/storage/v1/b/{bucket.name}/o/a?alt=media", f"{emulator.url}/{bucket.name}/a"):
        tag = http.get(url).headers["ETag"]
        for known, code in {
            tag: 206,
            '"other"': 200,
            f"W/{tag}": 200,
            "Mon, 01 Jan 2001 00:00:00 GMT": 200,
        }.items():
            answer = http.get(url, headers={"Range": "bytes=2-4", "If-Range": known})
            assert (answer.status_code, answer.content) == (code, b"234" if code == 206 else b"0123456789")
    modified = http.get(url).headers["Last-Modified"]
    assert http.get(url, headers={"Range": "bytes=2-4", "If-Range": modified}).status_code == 206
