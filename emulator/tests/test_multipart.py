"""The reader of multipart bodies, by itself and at every entrance that has one."""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.multipart import Multipart
from tests.healthcare.conftest import encoded, instance

DATASETS = "/v1/projects/p/locations/l/datasets"
#: As RFC 2046 has them, and with what only quotes allow, or nobody does.
LETTERS = "abcABC019'()+_,-./:=?"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        emulator.storage.objects.create_bucket("bucket")
        emulator.bigquery.catalog.create_dataset("p", "d")
        requests.post(f"{emulator.url}{DATASETS}?datasetId=d", json={}, timeout=10).raise_for_status()
        requests.post(f"{emulator.url}{DATASETS}/d/dicomStores?dicomStoreId=s", json={}, timeout=10).raise_for_status()
        yield emulator


def body(boundary: str, *parts: tuple[str, bytes], end: str = "\r\n") -> bytes:
    """Return a body of parts, each a content type and the content."""
    written = b"".join(f"--{boundary}{end}Content-Type: {kind}{end}{end}".encode() + data + end.encode() for kind, data in parts)
    return written + f"--{boundary}--{end}".encode()


def stow(emulator: Emulator, kind: str, boundary: str) -> requests.Response:
    data = encoded(instance(f"1.2.{uuid.uuid4().int}"[:60], "1.3", "1.4"))
    url = f"{emulator.url}{DATASETS}/d/dicomStores/s/dicomWeb/studies"
    headers = {"Content-Type": f"multipart/related; type=application/dicom; {kind}"}
    return requests.post(url, body(boundary, ("application/dicom", data)), headers=headers, timeout=10)


def upload(emulator: Emulator, kind: str, boundary: str) -> requests.Response:
    data = body(boundary, ("application/json", b'{"name": "a"}'), ("text/plain", b"bytes"))
    url = f"{emulator.url}/upload/storage/v1/b/bucket/o?uploadType=multipart"
    answer = requests.post(url, data, headers={"Content-Type": f"multipart/related; {kind}"}, timeout=10)
    assert not answer.ok or requests.get(f"{emulator.url}/storage/v1/b/bucket/o/a?alt=media", timeout=10).content == b"bytes"
    return answer


def load(emulator: Emulator, kind: str, boundary: str, description: str = "") -> requests.Response:
    table = {"projectId": "p", "datasetId": "d", "tableId": "t"}
    fields = [{"name": "a", "type": "INTEGER", "description": description}]
    job = {"configuration": {"load": {"destinationTable": table, "schema": {"fields": fields}}}}
    data = body(boundary, ("application/json", json.dumps(job).encode()), ("text/csv", b"1\n"))
    url = f"{emulator.url}/upload/bigquery/v2/projects/p/jobs?uploadType=multipart"
    return requests.post(url, data, headers={"Content-Type": f"multipart/related; {kind}"}, timeout=10)


def batch(emulator: Emulator, kind: str, boundary: str) -> requests.Response:
    data = body(boundary, ("application/http", b"GET /storage/v1/b/bucket HTTP/1.1\r\n\r\n"))
    headers = {"Content-Type": f"multipart/mixed; {kind}"}
    return requests.post(f"{emulator.url}/batch/storage/v1", data, headers=headers, timeout=10)


@pytest.mark.parametrize("entrance", [stow, upload, load, batch])
@pytest.mark.parametrize("quotes", ["", '"', "'"])
@pytest.mark.parametrize("length", [1, 70, 71, 200])
def test_f1_f2_every_entrance_takes_every_boundary(emulator: Emulator, entrance: Any, quotes: str, length: int) -> None:
    boundary = "=" * length  # as apitools and email.generator write them
    assert entrance(emulator, f"boundary={quotes}{boundary}{quotes}", boundary).status_code == 200


def test_f1_orthancs_boundary(emulator: Emulator) -> None:
    boundary = f"{uuid.uuid4()}-{uuid.uuid4()}"
    assert stow(emulator, f"boundary={boundary}", boundary).status_code == 200


def test_a_load_job_of_more_than_a_mebibyte(emulator: Emulator) -> None:
    answer = load(emulator, "boundary=b", "b", description="x" * (3 << 20))
    assert answer.json()["configuration"]["load"]["schema"]["fields"][0]["description"] == "x" * (3 << 20)


def read(content_type: str, chunks: list[bytes]) -> list[tuple[dict[str, str], bytes]]:
    """Return the headers and the content of each part."""

    async def arrive() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def collect() -> list[tuple[dict[str, str], bytes]]:
        return [(dict(part.headers), await part.read()) async for part in Multipart(content_type, arrive())]

    return asyncio.run(collect())


@given(
    boundary=st.text(LETTERS + ' "\\;ä', min_size=1, max_size=200).filter(lambda text: text == text.strip()),
    contents=st.lists(st.binary(max_size=300), max_size=4),
    end=st.sampled_from(["\r\n", "\n"]),
    cuts=st.lists(st.integers(0, 2000), max_size=20),
    preamble=st.sampled_from(["", "not a part\r\n", "\r\n"]),
)
@example("b", [b"\r", b"\r\n", b"\n--", b"--b", b"\r\n--c"], "\n", [*range(100)], "")
@example("b", [b"", b"-", b"\n\r\n", b"\r\r"], "\r\n", [*range(100)], "")
def test_what_is_written_is_read(boundary: str, contents: list[bytes], end: str, cuts: list[int], preamble: str) -> None:
    needle = b"\n--" + boundary.encode()
    contents = [content for content in contents if needle not in b"\n" + content + b"\n"]
    kind = boundary.replace("\\", "\\\\").replace('"', '\\"')
    data = preamble.encode() + body(boundary, *[("x/y", content) for content in contents], end=end) + b"epilogue"
    at = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[start:stop] for start, stop in itertools.pairwise(at) if stop > start]
    expected = [({"Content-Type": "x/y"}, content) for content in contents]
    assert read(f'multipart/related; type="a; boundary=no"; Boundary="{kind}"; x=y', chunks) == expected


@pytest.mark.parametrize("written", ["'x'", "x"])
def test_single_quotes_belong_to_the_boundary_where_the_body_says_so(written: str) -> None:
    assert read("multipart/related; boundary='x'", [body(written, ("a/b", b"data"))]) == [({"Content-Type": "a/b"}, b"data")]


def test_a_long_part_comes_in_pieces() -> None:
    data = bytes(range(256)) * 1000
    whole = body("b", ("x/y", data))
    assert read("multipart/related; boundary=b", [whole[at : at + 7] for at in range(0, len(whole), 7)])[0][1] == data


@pytest.mark.parametrize(
    ("kind", "data", "code"),
    [
        ("multipart/related", b"", 400),
        ("multipart/related; boundary=", b"--\r\n", 400),
        ("multipart/related; boundary=b", b"", 400),
        ("multipart/related; boundary=b", b"--b\r\n\r\nx", 400),
        ("multipart/related; boundary=b", b"--b\r\n\r\nx\r\n--b", 400),
        ("multipart/related; boundary=b", b"--b\r\nno header\r\n\r\nx\r\n--b--", 400),
        ("multipart/related; boundary=b", b"--b\r\nA: " + b"x" * 100_000, 400),
        ("multipart/related; boundary=b", b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\nx\r\n--b--", 501),
    ],
)
def test_what_is_not_multipart_is_refused(kind: str, data: bytes, code: int) -> None:
    with pytest.raises(ApiError) as caught:
        read(kind, [data] if data else [])
    assert caught.value.code == code
