"""Whatever comes in, it is answered: no 500, no hang, and nothing outside of the data directory is touched.

``make fuzz`` tries much more than ``make test``; ``FUZZ`` multiplies the number of examples.
"""

from __future__ import annotations

import json
import os
import random
import re
import socket
import time
import zlib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pydicom
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.client import Client
from gcp_dicom_emulator.seeding import create_store

pytestmark = pytest.mark.slow

FUZZ = int(os.environ.get("FUZZ", "1"))
SEED = 1 if FUZZ == 1 else random.randrange(1 << 30)
#: Seconds within which everything is to be answered on a machine that is busy with other tests.
PATIENCE = 60
STORE = "projects/demo/locations/l/datasets/d/dicomStores/s"

RELAXED = settings(
    derandomize=FUZZ == 1,  # whoever runs all tests wants to know about a change, not about luck
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)

#: What has broken other servers.
HOSTILE = (
    "..",
    "../../../etc/passwd",
    "/etc/passwd",
    "..%2f..",
    "a/../../b",
    "\0",
    "a\0b",
    "\ud7ff",
    "%",
    "%zz",
    "'",
    '"',
    "`",
    "; --",
)
HOSTILE += ("*", "?", "[", "\\", "\r\n", "💥" * 300, "x" * 2000, "-1", "0", "9" * 40, "1e999", "NaN", "null", "true", "{}", "")
GOOD = {
    "bucket": ["bucket", "missing"],
    "object": ["a", "missing", "a/b", "../a"],
    "name": [STORE, STORE.rpartition("/dicomStores")[0], f"{STORE}/dicomWeb/studies/1.2", "projects/demo/locations/l"],
    "parent": [STORE, STORE.rpartition("/dicomStores")[0], "projects/demo/locations/l"],
    "resource": [STORE, STORE.rpartition("/dicomStores")[0]],
    "projectId": ["demo"],
    "datasetId": ["d", "missing"],
    "tableId": ["t", "missing"],
    "jobId": ["j", "missing"],
    "project": ["demo"],
}


@pytest.fixture(scope="module")
def emulator(running_dicom_emulator: Emulator) -> Iterator[Emulator]:
    running_dicom_emulator.reset()
    yield running_dicom_emulator
    assert requests.get(f"{running_dicom_emulator.url}/healthz", timeout=PATIENCE).json() == {"status": "ok"}
    running_dicom_emulator.reset()


def fill(emulator: Emulator) -> None:
    """Make what good names name, where an example has removed it."""
    emulator.faults.clear()
    with Client(emulator.url) as client:
        create_store(client, STORE)
        client.create("/storage/v1/b?project=demo", {"name": "bucket"})
        client.create("/bigquery/v2/projects/demo/datasets", {"datasetReference": {"datasetId": "d"}})
        reference = {"projectId": "demo", "datasetId": "d", "tableId": "t"}
        fields = [
            {"name": "n", "type": "INTEGER"},
            {"name": "s", "type": "STRING"},
            {"name": "a", "type": "FLOAT", "mode": "REPEATED"},
        ]
        client.create("/bigquery/v2/projects/demo/datasets/d/tables", {"tableReference": reference, "schema": {"fields": fields}})
    emulator.storage.objects.put_bytes("bucket", "a", b"text")


def check(answer: requests.Response) -> None:
    """An answer is not a 500, and an error is in Google's envelope."""
    assert answer.status_code != 500, f"{answer.request.method} {answer.request.url} {answer.request.body!r}: {answer.text}"
    if answer.status_code >= 400 and answer.content and "json" in answer.headers.get("Content-Type", ""):
        assert answer.json()["error"]["code"] == answer.status_code


def check_background(emulator: Emulator) -> None:
    """Neither an operation nor a job has stumbled over something unforeseen, or goes on for ever."""
    deadline = time.monotonic() + PATIENCE
    while emulator.status()["operationsUnderWay"]:
        assert time.monotonic() < deadline, "an operation hangs"
        time.sleep(0.05)
    for row in emulator._state.query("SELECT resource, request FROM operations"):
        error = json.loads(row["resource"]).get("error", {})
        assert error.get("code") != 2, (error, row["request"])
    for row in emulator._state.query("SELECT resource FROM bigquery_jobs"):
        job = json.loads(row["resource"])
        assert job["status"].get("errorResult", {}).get("reason") != "internalError", job


# Requests as the discovery documents have them


def methods_of(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from node.get("methods", {}).values()
    for resource in node.get("resources", {}).values():
        yield from methods_of(resource)


DOCUMENTS = {
    name: json.loads(resources.files("googleapiclient.discovery_cache.documents").joinpath(f"{name}.json").read_text())
    for name in ("healthcare.v1", "bigquery.v2", "storage.v1")
}
METHODS = {
    name: [method for method in methods_of(document) if not re.search(r"fhir|hl7|consent|annotation", method["id"])]
    for name, document in DOCUMENTS.items()
}

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.sampled_from(HOSTILE)
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
names = ("demo", "d", "t", "bucket", "a", "gs://bucket/a", "gs://bucket/*", "bq://demo.d.t", "SELECT 1", "CSV")
texts = st.sampled_from([*HOSTILE, *names])


def values(document: dict[str, Any], schema: dict[str, Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Return what draws values of a schema: mostly fitting, at times junk."""
    schema = document["schemas"][schema["$ref"]] if "$ref" in schema else schema
    kind = schema.get("type")
    fitting: st.SearchStrategy[Any]
    if kind == "object" and depth < 4:
        properties = schema.get("properties", {})
        names = st.lists(st.sampled_from(sorted(properties)), max_size=4, unique=True) if properties else st.just([])
        fitting = names.flatmap(
            lambda chosen: st.fixed_dictionaries({name: values(document, properties[name], depth + 1) for name in chosen})
        )
    elif kind == "array":
        fitting = st.lists(st.deferred(lambda: values(document, schema["items"], depth + 1)), max_size=2)
    elif "enum" in schema:
        fitting = st.sampled_from(schema["enum"])
    elif kind == "boolean":
        fitting = st.booleans()
    elif kind in ("integer", "number") or "int" in schema.get("format", ""):
        fitting = st.integers(-2, 1 << 70) | st.sampled_from(HOSTILE)
    else:
        fitting = texts
    return st.integers(0, 9).flatmap(lambda number: junk if number == 0 else fitting)


@st.composite
def api_requests(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """Draw the verb, the path with its query, and the body of a request to any method."""
    name = draw(st.sampled_from(sorted(DOCUMENTS)))
    document, method = DOCUMENTS[name], draw(st.sampled_from(METHODS[name]))

    def parameter(match: re.Match[str]) -> str:
        reserved, key = match.groups()
        text = draw(st.sampled_from(GOOD.get(key, ["x"])) if draw(st.integers(0, 4)) else st.sampled_from(HOSTILE) | st.text())
        return quote(text.encode("utf-8", "surrogatepass"), safe="/" if reserved else "")

    path = "/" + document["servicePath"] + re.sub(r"\{(\+?)(\w+)\}", parameter, method["path"])
    if method.get("supportsMediaUpload") and draw(st.booleans()):
        path = "/upload" + path
    parameters = {key: one for key, one in method.get("parameters", {}).items() if one["location"] == "query"}
    known = st.lists(st.sampled_from(sorted(parameters)), max_size=3, unique=True) if parameters else st.just([])
    query = {key: draw(values(document, parameters[key])) for key in draw(known)}
    query |= {"uploadType": draw(st.sampled_from(["media", "multipart", "resumable", "x"]))} if path.startswith("/upload") else {}
    # A query is not to wait for what is not to come.
    query.pop("timeoutMs", None)
    body = draw(values(document, method["request"])) if "request" in method else None
    if isinstance(body, dict):
        body.pop("timeoutMs", None)
    encoded = {key: str(value).encode("utf-8", "surrogatepass") for key, value in query.items()}
    text = b"" if body is None else json.dumps(body).encode()
    if draw(st.integers(0, 9)) == 0:
        text = draw(st.binary(max_size=40))
    return method["httpMethod"], f"{path}?{urlencode(encoded)}", text


@given(request=api_requests())
@settings(RELAXED, max_examples=250 * FUZZ)
def test_requests(emulator: Emulator, request: tuple[str, str, bytes]):
    fill(emulator)
    verb, path, body = request
    check(requests.request(verb, emulator.url + path, data=body, timeout=PATIENCE, allow_redirects=False))


def test_what_the_requests_started_has_ended_well(emulator: Emulator):
    check_background(emulator)


# Bytes of requests


def test_bytes(emulator: Emulator):
    fill(emulator)
    rng = random.Random(SEED)
    seeds = [
        b"GET /storage/v1/b/bucket/o/a?alt=media HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\n",
        b"POST /upload/storage/v1/b/bucket/o?uploadType=multipart HTTP/1.1\r\nHost: x\r\n"
        b"Content-Type: multipart/related; boundary=b\r\nContent-Length: 73\r\n\r\n"
        b'--b\r\nContent-Type: application/json\r\n\r\n{"name": "a"}\r\n--b\r\n\r\n\r\ntext\r\n--b--\r\n',
        b"POST /bigquery/v2/projects/demo/queries HTTP/1.1\r\nHost: x\r\nContent-Length: 44\r\n\r\n"
        b'{"query": "SELECT 1", "useLegacySql": false}',
        b"PUT /upload/storage/v1/b/bucket/o?upload_id=x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"4\r\ntext\r\n0\r\n\r\n",
    ]
    for _ in range(150 * FUZZ):
        sent = mutated(rng, rng.choice(seeds))
        with socket.create_connection(("127.0.0.1", emulator.port), timeout=PATIENCE) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while data := connection.recv(65536):
                    answer += data
            except ConnectionResetError:
                continue
        assert not answer.startswith(b"HTTP/1.1 500"), (sent, answer)


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Return data with some bytes changed, removed, repeated or put in."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 4, 50)))
        kind = rng.randrange(6)
        if kind == 0:
            data[at:end] = rng.randbytes(end - at)
        elif kind == 1:
            del data[at:end]
        elif kind == 2:
            data[at:at] = data[at:end]
        elif kind == 3:
            data[at:end] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0"))
        elif kind == 4 and rng.randrange(4) == 0:
            del data[at:]
        else:
            data[at:at] = rng.choice(HOSTILE).encode("utf-8", "surrogatepass")[:40]
    return bytes(data)


# Names of objects


@given(
    name=st.text(max_size=40) | st.sampled_from(HOSTILE) | st.lists(st.sampled_from(["..", "a", ""]), max_size=6).map("/".join)
)
@settings(RELAXED, max_examples=60 * FUZZ)
def test_names_of_objects_reach_nothing_outside(emulator: Emulator, name: str):
    fill(emulator)
    body = name.encode("utf-8", "surrogatepass")
    encoded = quote(body, safe="")
    answer = requests.post(
        f"{emulator.url}/upload/storage/v1/b/bucket/o?uploadType=media&name={encoded}", data=body, timeout=PATIENCE
    )
    check(answer)
    if answer.ok:
        stored = answer.json()["name"]
        assert stored == name
        content = requests.get(f"{emulator.url}/storage/v1/b/bucket/o/{encoded}?alt=media", timeout=PATIENCE)
        assert content.content == body
        path = emulator.storage.objects.get("bucket", name).path.resolve()
        assert path.is_relative_to(emulator._state.directory.resolve() / "blobs")
        assert re.fullmatch("[0-9a-f]{32}", path.name)
        check(requests.delete(f"{emulator.url}/storage/v1/b/bucket/o/{encoded}", timeout=PATIENCE))


# SQL

SQL = (
    "SELECT n, s FROM d.t WHERE n > 1 AND s LIKE 'a%' ORDER BY n DESC LIMIT 10 OFFSET 2",
    "SELECT COUNT(*) AS c, ANY_VALUE(s), ARRAY_AGG(n IGNORE NULLS) FROM `demo.d.t` GROUP BY ROLLUP (s) HAVING c > 0",
    "WITH x AS (SELECT 1 AS n UNION ALL SELECT 2) SELECT * EXCEPT (n) FROM d.t JOIN x USING (n)",
    "SELECT value, offset FROM d.t, UNNEST(a) AS value WITH OFFSET AS offset",
    "SELECT ROW_NUMBER() OVER (PARTITION BY s ORDER BY n) AS r FROM d.t QUALIFY r = 1",
    "SELECT STRUCT(1 AS x, 'a' AS y).x, [1, 2][OFFSET(0)], SAFE_CAST('x' AS INT64), DATE '2026-01-01', b'\\x00'",
    "SELECT FORMAT_DATE('%Y', DATE_ADD(CURRENT_DATE(), INTERVAL 1 DAY)), REGEXP_EXTRACT('abc', r'b(.)'), SPLIT('a,b', ',')",
    "INSERT INTO d.t (n, s) VALUES (1, 'a'), (2, NULL)",
    "UPDATE d.t SET s = 'b', n = n + 1 WHERE n = 1",
    "MERGE d.t USING (SELECT 1 AS n) AS o ON d.t.n = o.n"
    " WHEN MATCHED THEN UPDATE SET s = 'c' WHEN NOT MATCHED THEN INSERT (n) VALUES (o.n)",
    "CREATE OR REPLACE TABLE d.u PARTITION BY DATE(x) AS SELECT TIMESTAMP '2026-01-01' AS x",
    "EXPORT DATA OPTIONS (uri = 'gs://bucket/x/*.csv', format = 'CSV', overwrite = true) AS SELECT n FROM d.t",
    "ALTER TABLE d.t ADD COLUMN IF NOT EXISTS z STRING; SELECT @@project_id; DROP TABLE IF EXISTS d.v",
    "DECLARE x INT64 DEFAULT 1; IF x = 1 THEN SELECT 1; ELSE SELECT ERROR('x'); END IF",
    "SELECT * FROM d.INFORMATION_SCHEMA.TABLES, read_csv('/etc/passwd'), '/etc/passwd'",
)
TOKENS = sorted({token for sql in SQL for token in re.findall(r"\w+|'[^']*'|\S", sql)})
TOKENS += ["\0", "--", "/*", "'''", "💥", "9" * 40, "1e999"]


def mutated_sql(rng: random.Random) -> str:
    tokens = re.findall(r"\s+|\w+|'[^']*'|\S", rng.choice(SQL))
    for _ in range(rng.choice((0, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(tokens) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            del tokens[at : at + rng.choice((1, 2, 3))]
        elif kind == 1:
            tokens[at:at] = [" ", rng.choice(TOKENS), " "]
        elif kind == 2:
            tokens[at : at + 1] = [rng.choice(TOKENS)]
        else:
            tokens[at:at] = tokens[at : at + 5]
    if rng.randrange(30) == 0:
        return "SELECT " + "(" * 500 + "1" + ")" * rng.choice((499, 500))
    return "".join(tokens)


def test_sql(emulator: Emulator):
    rng = random.Random(SEED)
    for number in range(150 * FUZZ):
        if number % 20 == 0:
            fill(emulator)
        body = {"query": mutated_sql(rng), "useLegacySql": False, "timeoutMs": 30_000}
        answer = requests.post(f"{emulator.url}/bigquery/v2/projects/demo/queries", json=body, timeout=PATIENCE)
        check(answer)
        assert "jobComplete" not in answer.json() or answer.json()["jobComplete"], f"this takes for ever: {body}"
        assert "root:" not in answer.text
    check_background(emulator)


# DICOM


def small_files() -> list[bytes]:
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    files = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size < 20_000]
    return [data for data in files if data[128:132] == b"DICM"]


def bombs() -> list[bytes]:
    """A deflated file that swells, a tag of 4 GB, sequences within sequences, and as many tags as fit."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    head = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
    meta = head[: 132 + 12 + dataset.file_meta.FileMetaInformationGroupLength]
    deflated = meta.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"[:20].ljust(20, b"\0"))
    compress = zlib.compressobj(9, zlib.DEFLATED, -15)
    swelling = b"".join(compress.compress(bytes(1 << 20)) for _ in range(512)) + compress.flush()
    tag = b"\x08\x00\x18\x00"
    nested = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 3000
    return [
        deflated + swelling,
        meta + tag + b"OB\0\0" + b"\xff\xff\xff\xf0" + b"x",
        meta + nested,
        meta + b"".join(b"\x09\x10" + number.to_bytes(2, "little") + b"UN\0\0\0\0\0\0" for number in range(60_000)),
    ]


def test_dicom(emulator: Emulator):
    emulator.reset()
    fill(emulator)
    rng, seeds, objects = random.Random(SEED), small_files(), emulator.storage.objects
    files = [*bombs(), *(mutated(rng, rng.choice(seeds)) for _ in range(150 * FUZZ))]
    for number, data in enumerate(files):
        objects.put_bytes("bucket", f"dicom/{number}", data)
    with Client(emulator.url) as client:
        counter = run(emulator, client, "import", {"gcsSource": {"uri": "gs://bucket/dicom/*"}})
        assert sum(counter) == len(files)
        assert counter[0] > 10
        assert counter[1] > 10
        stored = int(client.call("GET", f"/v1/{STORE}:getDICOMStoreMetrics")["instanceCount"])
        for body in (
            {
                "gcsDestination": {
                    "uriPrefix": "gs://bucket/out",
                    "mimeType": "application/dicom; transfer-syntax=1.2.840.10008.1.2.1",
                }
            },
            {"bigqueryDestination": {"tableUri": "bq://demo.d.flat", "writeDisposition": "WRITE_TRUNCATE"}},
            {"bigqueryDestination": {"tableUri": "bq://demo.d.json", "schemaJson": {}, "writeDisposition": "WRITE_TRUNCATE"}},
        ):
            assert sum(run(emulator, client, "export", body)) == stored
    page = requests.get(emulator.url, timeout=PATIENCE)
    assert page.status_code == 200
    for address in re.findall(r'src="(/_emulator/thumbnail[^"]+)"', page.text):
        assert requests.get(emulator.url + address, timeout=PATIENCE).status_code == 200
    check_background(emulator)


def run(emulator: Emulator, client: Client, kind: str, body: dict[str, Any]) -> tuple[int, int]:
    """Run an operation to its end; return how many instances succeeded, and how many failed."""
    operation = client.call("POST", f"/v1/{STORE}:{kind}", body)["name"]
    deadline = time.monotonic() + PATIENCE
    while not (found := client.call("GET", f"/v1/{operation}")).get("done"):
        assert time.monotonic() < deadline, f"{kind} {body} hangs"
        time.sleep(0.05)
    assert found.get("error", {}).get("code") in (None, 3), found
    counter = found["metadata"].get("counter", {})
    return int(counter.get("success", 0)), int(counter.get("failure", 0))
