"""The XML API: objects at their plain addresses."""

from __future__ import annotations

import datetime
import gzip
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
import requests
from google.cloud import storage
from google.cloud.storage import transfer_manager
from google.oauth2 import service_account

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.keyfile import keyfile, private_key
from tests.storage.test_objects import NAMES

PART = 5 << 20


@pytest.fixture
def url(emulator: Emulator, bucket: storage.Bucket) -> str:
    return f"{emulator.url}/{bucket.name}"


def texts(answer: requests.Response, path: str) -> list[str | None]:
    return [element.text for element in ElementTree.fromstring(answer.content).iterfind(path.replace("/", "/{*}"))]


def code(answer: requests.Response) -> tuple[int, str | None]:
    assert answer.headers["Content-Type"].startswith("application/xml")
    return answer.status_code, ElementTree.fromstring(answer.content).findtext("Code")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("...", "a/../b", "./a", "../../../../etc/passwd")])
def test_f8_what_is_put_is_read_and_deleted(http: requests.Session, url: str, bucket: storage.Bucket, name: str) -> None:
    address = f"{url}/{quote(name, safe='')}"
    headers = {"Content-Type": "application/dicom", "x-goog-meta-site": "a", "Cache-Control": "no-store"}
    answer = http.put(address, data=b"0123456789", headers=headers)
    assert (answer.status_code, answer.content) == (200, b"")
    etag = f'"{hashlib.md5(b"0123456789").hexdigest()}"'
    assert answer.headers["ETag"] == etag
    blob = bucket.get_blob(name)
    assert blob is not None
    assert (blob.content_type, blob.metadata, blob.cache_control) == ("application/dicom", {"site": "a"}, "no-store")
    for answer in (http.get(address), http.head(address)):
        assert answer.status_code == 200
        assert answer.content == (b"0123456789" if answer.request.method == "GET" else b"")
        found = [
            answer.headers[key] for key in ("Content-Length", "Content-Type", "ETag", "x-goog-meta-site", "x-goog-generation")
        ]
        assert found == ["10", "application/dicom", etag, "a", str(blob.generation)]
        assert answer.headers["Last-Modified"].endswith("GMT")
    answer = http.get(address, headers={"Range": "bytes=2-4"})
    assert (answer.status_code, answer.content, answer.headers["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    assert http.delete(address).status_code == 204
    assert code(http.get(address)) == (404, "NoSuchKey")
    assert http.head(address).status_code == 404
    assert code(http.delete(address)) == (404, "NoSuchKey")


def test_f8_conditions(http: requests.Session, url: str) -> None:
    first = http.put(f"{url}/a", data=b"x", headers={"x-goog-if-generation-match": "0"})
    assert code(http.put(f"{url}/a", data=b"y", headers={"x-goog-if-generation-match": "0"})) == (412, "PreconditionFailed")
    assert http.get(f"{url}/a", headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    assert http.get(f"{url}/a", headers={"If-Match": first.headers["ETag"]}).content == b"x"
    assert code(http.get(f"{url}/a", headers={"If-Match": '"other"'})) == (412, "PreconditionFailed")
    modified = http.head(f"{url}/a").headers["Last-Modified"]
    assert http.get(f"{url}/a", headers={"If-Modified-Since": modified}).status_code == 304
    assert http.get(f"{url}/a", headers={"If-Unmodified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"}).status_code == 412
    assert code(http.get(f"{url}/a", headers={"Range": "bytes=9-"})) == (416, "InvalidRange")
    assert code(http.put(f"{url}/a", data=b"y", headers={"Content-MD5": "AAAA"})) == (400, "InvalidArgument")
    assert http.get(f"{url}/a?generation={first.headers['x-goog-generation']}").content == b"x"


def test_f8_a_copy(http: requests.Session, url: str, bucket: storage.Bucket) -> None:
    http.put(f"{url}/a", data=b"x", headers={"x-goog-meta-k": "v"})
    answer = http.put(f"{url}/b", headers={"x-goog-copy-source": f"/{bucket.name}/a"})
    assert texts(answer, "./ETag") == [f'"{hashlib.md5(b"x").hexdigest()}"']
    assert http.get(f"{url}/b").headers["x-goog-meta-k"] == "v"


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ("x-goog-copy-source-if-generation-match", "1"),
        ("x-goog-copy-source-if-metageneration-match", "2"),
        ("x-goog-copy-source-if-match", '"other"'),
        ("x-goog-copy-source-if-none-match", f'"{hashlib.md5(b"x").hexdigest()}"'),
        ("x-goog-copy-source-if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT"),
        ("x-goog-copy-source-if-unmodified-since", "Mon, 01 Jan 2001 00:00:00 GMT"),
        ("x-amz-copy-source-if-match", '"other"'),
    ],
)
def test_f8_nothing_is_copied_that_is_not_what_it_must_be(
    http: requests.Session, url: str, bucket: storage.Bucket, condition: str, value: str
) -> None:
    http.put(f"{url}/a", data=b"x").raise_for_status()
    answer = http.put(f"{url}/b", headers={"x-goog-copy-source": f"/{bucket.name}/a", condition: value})
    assert code(answer) == (412, "PreconditionFailed")
    assert not bucket.blob("b").exists()


def test_f8_what_is_what_it_must_be_is_copied(http: requests.Session, url: str, bucket: storage.Bucket) -> None:
    first = http.put(f"{url}/a", data=b"x")
    conditions = {
        "x-goog-copy-source-if-generation-match": first.headers["x-goog-generation"],
        "x-goog-copy-source-if-match": first.headers["ETag"],
        "x-goog-copy-source-if-modified-since": "Mon, 01 Jan 2001 00:00:00 GMT",
    }
    answer = http.put(f"{url}/b", headers={"x-goog-copy-source": f"/{bucket.name}/a", **conditions})
    assert answer.status_code == 200
    assert bucket.blob("b").download_as_bytes() == b"x"


def test_f8_listings(http: requests.Session, url: str) -> None:
    names = ["a", "a/1", "a/2", "b&<>", "c/1", "d"]
    for name in names:
        http.put(f"{url}/{quote(name, safe='')}", data=b"x").raise_for_status()
    assert texts(http.get(url), "./Contents/Key") == names
    for query, more, going_on in (("", "NextMarker", "marker"), ("&list-type=2", "NextContinuationToken", "continuation-token")):
        found: list[Any] = []
        start: str | None = ""
        while start is not None:
            answer = http.get(f"{url}?delimiter=/&max-keys=1{query}" + (f"&{going_on}={quote(start, safe='')}" if start else ""))
            found += texts(answer, "./Contents/Key") + texts(answer, "./CommonPrefixes/Prefix")
            (start,) = texts(answer, f"./{more}") or [None]
        assert found == ["a", "a/", "b&<>", "c/", "d"]
    answer = http.get(f"{url}?prefix=b&encoding-type=url")
    assert texts(answer, "./Contents/Key") == ["b%26%3C%3E"]
    assert texts(answer, "./Contents/Size") == ["1"]


def test_f8_an_upload_in_parts(http: requests.Session, url: str) -> None:
    upload = texts(http.post(f"{url}/a?uploads", headers={"Content-Type": "text/plain"}), "./UploadId")[0]
    contents = [b"1" * PART, b"2" * PART, b"3"]
    tags = [
        http.put(f"{url}/a?partNumber={n}&uploadId={upload}", data=data).headers["ETag"] for n, data in enumerate(contents, 1)
    ]
    again = http.put(f"{url}/a?partNumber=3&uploadId={upload}", data=b"three").headers["ETag"]
    assert code(http.put(f"{url}/a?partNumber=0&uploadId={upload}", data=b"x"))[0] == 400
    assert code(http.get(f"{url}/a")) == (404, "NoSuchKey")

    def complete(parts: list[tuple[int, str]]) -> requests.Response:
        body = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{tag}</ETag></Part>" for n, tag in parts)
        return http.post(f"{url}/a?uploadId={upload}", data=f"<CompleteMultipartUpload>{body}</CompleteMultipartUpload>")

    for wrong in ([], [(2, tags[1]), (1, tags[0])], [(4, tags[0])], [(3, tags[2])], [(3, again), (1, tags[0])]):
        assert complete(wrong).status_code == 400
    assert complete([(1, tags[0]), (3, again)]).status_code == 200
    answer = http.get(f"{url}/a")
    assert (answer.content, answer.headers["Content-Type"]) == (contents[0] + b"three", "text/plain")
    assert code(complete([(1, tags[0])])) == (404, "NoSuchUpload")


def test_f8_an_upload_in_parts_that_is_given_up(emulator: Emulator, http: requests.Session, url: str) -> None:
    upload = texts(http.post(f"{url}/a?uploads"), "./UploadId")[0]
    http.put(f"{url}/a?partNumber=1&uploadId={upload}", data=b"x")
    assert http.delete(f"{url}/a?uploadId={upload}").status_code == 204
    assert code(http.put(f"{url}/a?partNumber=1&uploadId={upload}", data=b"x")) == (404, "NoSuchUpload")
    assert code(http.delete(f"{url}/a?uploadId={upload}")) == (404, "NoSuchUpload")


@pytest.mark.parametrize("body", [b"", b"<x", b"<a><Part/></a>", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', b"\xff"])
def test_f8_what_lists_no_parts_is_refused(http: requests.Session, url: str, body: bytes) -> None:
    upload = texts(http.post(f"{url}/a?uploads"), "./UploadId")[0]
    assert code(http.post(f"{url}/a?uploadId={upload}", data=body)) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/a?acl"), ("PUT", "/a?tagging"), ("GET", "?versioning"), ("GET", "?uploads"), ("PUT", ""), ("DELETE", ""),
        ("POST", ""), ("POST", "/a"), ("GET", "?versions"),
    ],
)  # fmt: skip
def test_f8_the_rest_is_refused_in_xml(http: requests.Session, url: str, verb: str, path: str) -> None:
    assert code(http.request(verb, f"{url}{path}")) == (501, "NotImplemented")


def test_f8_no_such_bucket(emulator: Emulator, http: requests.Session) -> None:
    for verb, path in (("GET", "nowhere"), ("GET", "nowhere/a"), ("PUT", "nowhere/a"), ("POST", "nowhere/a?uploads")):
        assert code(http.request(verb, f"{emulator.url}/{path}")) == (404, "NoSuchBucket")
    assert http.head(f"{emulator.url}/nowhere").status_code == 404


@pytest.mark.parametrize(
    "path", ["storage/v2/x", "bigquery/v2/none", "v1beta1/none", "upload/x/y", "_emulator/none", "x", "b/none/x"]
)
def test_f8_other_paths_stay_what_they_were(emulator: Emulator, http: requests.Session, path: str) -> None:
    answer = http.get(f"{emulator.url}/{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, 404)


def test_f8_a_page_of_somebody_else_may_not_write(http: requests.Session, url: str) -> None:
    headers = {"Origin": "https://evil.example", "User-Agent": "Mozilla/5.0"}
    assert http.post(f"{url}/a?uploads", headers=headers).status_code == 403
    answer = http.put(f"{url}/a", data=b"<script>", headers={"Content-Type": "text/html"})
    assert answer.status_code == 200
    assert http.get(f"{url}/a").headers["Content-Security-Policy"] == "sandbox"


def test_f8_a_resumable_upload(http: requests.Session, url: str) -> None:
    answer = http.post(f"{url}/a", headers={"x-goog-resumable": "start", "Content-Type": "text/plain"})
    assert answer.status_code == 201
    http.put(answer.headers["Location"], data=b"x").raise_for_status()
    answer = http.get(f"{url}/a")
    assert (answer.content, answer.headers["Content-Type"]) == (b"x", "text/plain")
    again = http.post(f"{url}/a", headers={"x-goog-resumable": "start", "x-goog-if-generation-match": "0"})
    assert http.put(again.headers["Location"], data=b"y").status_code == 412


@pytest.mark.parametrize("version", ["v2", "v4"])
def test_f8_signed_urls(emulator: Emulator, http: requests.Session, bucket: storage.Bucket, version: str) -> None:
    credentials = service_account.Credentials.from_service_account_info(keyfile(emulator.url, private_key()))
    blob = storage.Client(project="demo", credentials=credentials).bucket(bucket.name).blob("a b/c")
    options = {"version": version, "expiration": datetime.timedelta(minutes=5), "api_access_endpoint": emulator.url}
    assert http.put(blob.generate_signed_url(method="PUT", **options), data=b"x").status_code == 200
    answer = http.get(blob.generate_signed_url(response_disposition="attachment; filename=c", **options))
    assert (answer.content, answer.headers["Content-Disposition"]) == (b"x", "attachment; filename=c")


def test_f8_googles_transfer_manager_uploads_in_parts(bucket: storage.Bucket, tmp_path: Any) -> None:
    data = bytes(range(256)) * 50_000
    (tmp_path / "file").write_bytes(data)
    transfer_manager.upload_chunks_concurrently(
        str(tmp_path / "file"), bucket.blob("large"), chunk_size=PART, worker_type=transfer_manager.THREAD, max_workers=3
    )
    assert bucket.blob("large").download_as_bytes() == data


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "gzip, gzip"},
        {"x-goog-encryption-kms-key-name": "projects/demo/locations/us/keyRings/r/cryptoKeys/k"},
        {"x-goog-encryption-key": "a2V5"},
    ],
)
def test_what_would_not_be_stored_as_it_was_sent_is_refused(
    http: requests.Session, url: str, bucket: storage.Bucket, headers: dict[str, str]
) -> None:
    assert code(http.put(f"{url}/a", data=gzip.compress(b"0123456789"), headers=headers)) == (501, "NotImplemented")
    assert bucket.get_blob("a") is None


def test_a_key_of_kms_is_refused_before_the_parts_come(http: requests.Session, url: str) -> None:
    headers = {"x-goog-encryption-kms-key-name": "projects/demo/locations/us/keyRings/r/cryptoKeys/k"}
    assert code(http.post(f"{url}/a?uploads", headers=headers)) == (501, "NotImplemented")


def test_an_upload_in_parts_may_say_how_its_bytes_are_encoded(http: requests.Session, url: str, bucket: storage.Bucket) -> None:
    answer = http.post(f"{url}/a?uploads", headers={"Content-Encoding": "gzip"})
    upload = texts(answer, "./UploadId")[0]
    tag = http.put(f"{url}/a?partNumber=1&uploadId={upload}", data=gzip.compress(b"0123456789")).headers["ETag"]
    parts = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{tag}</ETag></Part></CompleteMultipartUpload>"
    assert http.post(f"{url}/a?uploadId={upload}", data=parts).status_code == 200
    assert bucket.blob("a").download_as_bytes() == b"0123456789"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-goog-object-lock-mode": "GOVERNANCE"},
        {"x-goog-tagging": "a=b"},
        {"x-amz-meta-site": "a"},
        {"x-amz-storage-class": "GLACIER"},
        {"If-None-Match": "*"},
        {"If-Match": '"other"'},
        {"If-Unmodified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_headers_that_nothing_would_come_of(http: requests.Session, url: str, headers: dict[str, str], method: str) -> None:
    http.put(f"{url}/a", data=b"x")
    assert code(http.request(method, f"{url}/a?uploads" if method == "POST" else f"{url}/a", headers=headers)) == (
        501,
        "NotImplemented",
    )
    assert http.get(f"{url}/a").content == b"x"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-goog-storage-class": "COLD"},
        {"x-goog-acl": "everybody"},
        {"x-amz-acl": "publicRead"},
        {"x-goog-custom-time": "yesterday"},
        {"x-goog-content-length-range": "0,3"},
        {"x-goog-content-length-range": "9,"},
    ],
    ids=str,
)
def test_values_that_no_object_can_have(http: requests.Session, url: str, headers: dict[str, str]) -> None:
    assert code(http.put(f"{url}/a", data=b"0123", headers=headers)) == (400, "InvalidArgument")
    assert http.get(f"{url}/a").status_code == 404


def test_headers_that_are_known(http: requests.Session, url: str, bucket: storage.Bucket) -> None:
    headers = {"x-goog-storage-class": "nearline", "x-goog-content-length-range": "0,4", "x-goog-acl": "public-read"}
    assert http.put(f"{url}/a", data=b"0123", headers=headers).status_code == 200
    copied = {"x-amz-copy-source": f"{bucket.name}/a", "x-amz-metadata-directive": "REPLACE", "Content-Type": "text/plain"}
    assert http.put(f"{url}/b", headers=copied).status_code == 200
    a, b = bucket.get_blob("a"), bucket.get_blob("b")
    assert a is not None
    assert b is not None
    assert (a.storage_class, b.content_type) == ("NEARLINE", "text/plain")


@pytest.mark.parametrize(
    ("method", "query", "found"),
    [
        ("DELETE", "uploadId=", (404, "NoSuchUpload")),
        ("PUT", "partNumber=1&uploadId=", (404, "NoSuchUpload")),
        ("PUT", "partNumber=1", (404, "NoSuchUpload")),
        ("POST", "uploadId=", (400, "InvalidArgument")),
    ],
)
def test_what_is_said_of_an_upload_is_not_done_to_the_object(
    http: requests.Session, url: str, method: str, query: str, found: tuple[int, str]
) -> None:
    http.put(f"{url}/a", data=b"whole")
    assert code(http.request(method, f"{url}/a?{query}", data=b"part")) == found
    assert http.get(f"{url}/a").content == b"whole"


def test_a_copy_has_no_body(http: requests.Session, url: str, bucket: storage.Bucket) -> None:
    http.put(f"{url}/a", data=b"whole")
    headers = {"x-goog-copy-source": f"/{bucket.name}/a"}
    assert code(http.put(f"{url}/b", headers=headers, data=b"other")) == (400, "InvalidArgument")
    assert http.get(f"{url}/b").status_code == 404


def test_an_upload_goes_with_its_bucket(http: requests.Session, url: str, emulator: Emulator, bucket: storage.Bucket) -> None:
    upload = texts(http.post(f"{url}/a?uploads"), "./UploadId")[0]
    assert http.put(f"{url}/a?partNumber=1&uploadId={upload}", data=b"x").status_code == 200
    session = bucket.blob("b").create_resumable_upload_session()
    assert http.put(session, data=b"x" * 256, headers={"Content-Range": "bytes 0-255/*"}).status_code == 308
    blobs = Path(emulator.status()["dataDirectory"]) / "blobs"
    before = sum(1 for _ in blobs.glob("*/*"))
    bucket.delete()
    assert sum(1 for _ in blobs.glob("*/*")) == before - 2
    bucket.client.create_bucket(bucket.name)
    assert http.put(session, data=b"y").status_code == 404
    assert code(http.put(f"{url}/a?partNumber=2&uploadId={upload}", data=b"x")) == (404, "NoSuchUpload")
    assert list(bucket.list_blobs()) == []
