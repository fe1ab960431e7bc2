"""``kill -9`` at random moments of everything that writes: what was acknowledged is there afterwards, and nothing is half.

``make kills`` does it a hundred times; ``KILLS_SEED`` repeats a run.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
import requests
from pydicom.data import get_testdata_file

pytestmark = pytest.mark.slow

DATASET = "projects/demo/locations/l/datasets/d"
STORE = f"{DATASET}/dicomStores/s"
BIGQUERY = "bigquery/v2/projects/demo"
CT = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
CT_UID = b"1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"
#: Rows of a load, of a query's result, and instances of an import.
ROWS, RESULT_ROWS, INSTANCES = 7, 500, 4


class Server:
    """The emulator's process on one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "gcp_dicom_emulator", "start", "--port", "0", "--data-dir", str(self._directory)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data")
    yield server
    server.kill()


@dataclass
class Ledger:
    """What was sent, and what of it was acknowledged.

    :param objects: by name, what was acknowledged last.
    :param attempted: by name, what may have come in its place.
    :param loads: by the number of a load, whether it was acknowledged.
    :param queries: by the number of a query, whether it was acknowledged.
    :param instances: UIDs whose import was seen to succeed.
    :param streamed: by the number of an ``insertAll``, whether it was acknowledged.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    attempted: dict[str, bytes] = field(default_factory=dict)
    loads: dict[int, bool] = field(default_factory=dict)
    queries: dict[int, bool] = field(default_factory=dict)
    streamed: dict[int, bool] = field(default_factory=dict)
    instances: set[str] = field(default_factory=set)
    operations: set[str] = field(default_factory=set)
    done: Counter[str] = field(default_factory=Counter)


class Client(requests.Session):
    """A session below a URL, whose answers must not be errors."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.trust_env = False
        self._url = url

    def send_to(self, method: str, path: str, **arguments: Any) -> requests.Response:
        answer = self.request(method, f"{self._url}/{path}", timeout=60, **arguments)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def ask(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        return self.send_to(method, path, **arguments).json()

    def put_object(self, name: str, body: bytes) -> None:
        self.ask("POST", "upload/storage/v1/b/bucket/o", params={"uploadType": "media", "name": name}, data=body)

    def wait(self, path: str, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while not done(found := self.ask("GET", path)):
            assert time.monotonic() < deadline, found
            time.sleep(0.01)
        return found

    def operation(self, name: str) -> dict[str, Any]:
        return self.wait(f"v1/{name}", lambda found: found.get("done", False))

    def job(self, job: dict[str, Any]) -> dict[str, Any]:
        path = f"{BIGQUERY}/jobs/{job['jobReference']['jobId']}"
        return self.wait(path, lambda found: found["status"]["state"] == "DONE")


def prepare(client: Client) -> None:
    client.ask("POST", "storage/v1/b?project=demo", json={"name": "bucket"})
    client.operation(client.ask("POST", f"v1/{DATASET.rpartition('/')[0]}?datasetId=d", json={})["name"])
    client.ask("POST", f"v1/{DATASET}/dicomStores?dicomStoreId=s", json={})
    client.ask("POST", f"{BIGQUERY}/datasets", json={"datasetReference": {"datasetId": "d"}})
    for table in ("loaded", "streamed"):
        reference = {"projectId": "demo", "datasetId": "d", "tableId": table}
        schema = {"fields": [{"name": "number", "type": "INTEGER"}, {"name": "row", "type": "INTEGER"}]}
        client.ask("POST", f"{BIGQUERY}/datasets/d/tables", json={"tableReference": reference, "schema": schema})


def upload(client: Client, ledger: Ledger, number: int) -> None:
    name, body = f"upload-{number % 8}", random.Random(number).randbytes(1 << number % 20)
    ledger.attempted[name] = body
    client.put_object(name, body)
    ledger.objects[name] = body


def upload_in_parts(client: Client, ledger: Ledger, number: int) -> None:
    name, body = f"parts-{number % 4}", random.Random(number).randbytes(600_000)
    started = client.send_to("POST", "upload/storage/v1/b/bucket/o", params={"uploadType": "resumable", "name": name}, json={})
    path = started.headers["Location"].split("/", 3)[3]
    client.send_to("PUT", path, data=body[: 1 << 19], headers={"Content-Range": f"bytes 0-{(1 << 19) - 1}/{len(body)}"})
    ledger.attempted[name] = body
    client.send_to("PUT", path, data=body[1 << 19 :], headers={"Content-Range": f"bytes {1 << 19}-{len(body) - 1}/{len(body)}"})
    ledger.objects[name] = body


def compose(client: Client, ledger: Ledger, number: int) -> None:
    name, parts = f"composed-{number % 4}", [f"{number} {part} ".encode() * 5000 for part in range(3)]
    for part, body in enumerate(parts):
        ledger.attempted[f"part-{part}"] = body
        client.put_object(f"part-{part}", body)
        ledger.objects[f"part-{part}"] = body
    ledger.attempted[name] = b"".join(parts)
    sources = [{"name": f"part-{part}"} for part in range(len(parts))]
    client.ask("POST", f"storage/v1/b/bucket/o/{name}/compose", json={"sourceObjects": sources})
    ledger.objects[name] = b"".join(parts)


def import_instances(client: Client, ledger: Ledger, number: int) -> None:
    uids = [f"1.2.{number}.{row}.".ljust(len(CT_UID), "1") for row in range(INSTANCES)]
    for row, uid in enumerate(uids):
        name, body = f"dicom/{row}", CT.replace(CT_UID, uid.encode())
        ledger.attempted[name] = body
        client.put_object(name, body)
        ledger.objects[name] = body
    operation = client.ask("POST", f"v1/{STORE}:import", json={"gcsSource": {"uri": "gs://bucket/dicom/*"}})["name"]
    ledger.operations.add(operation)
    assert "response" in client.operation(operation)
    ledger.instances.update(uids)


def export(client: Client, ledger: Ledger, number: int) -> None:
    table = {"tableUri": "bq://demo.d.metadata", "writeDisposition": "WRITE_TRUNCATE"}
    body = {"bigqueryDestination": table} if number % 2 else {"gcsDestination": {"uriPrefix": "gs://bucket/exported"}}
    operation = client.ask("POST", f"v1/{STORE}:export", json=body)["name"]
    ledger.operations.add(operation)
    assert "response" in client.operation(operation)


def load(client: Client, ledger: Ledger, number: int) -> None:
    ledger.loads[number] = False
    rows = "".join(f"{json.dumps({'number': number, 'row': row})}\n" for row in range(ROWS))
    table = {"projectId": "demo", "datasetId": "d", "tableId": "loaded"}
    options = {"destinationTable": table, "sourceFormat": "NEWLINE_DELIMITED_JSON", "writeDisposition": "WRITE_APPEND"}
    head = "--x\r\nContent-Type: application/json\r\n\r\n"
    body = f"{head}{json.dumps({'configuration': {'load': options}})}\r\n--x\r\nContent-Type: */*\r\n\r\n{rows}\r\n--x--"
    job = client.ask(
        "POST",
        f"upload/{BIGQUERY}/jobs?uploadType=multipart",
        data=body,
        headers={"Content-Type": "multipart/related; boundary=x"},
    )
    assert "errorResult" not in client.job(job)["status"]
    ledger.loads[number] = True


def query(client: Client, ledger: Ledger, number: int) -> None:
    ledger.queries[number] = False
    table = {"projectId": "demo", "datasetId": "d", "tableId": f"result_{number}"}
    sql = f"SELECT {number} AS number, row FROM UNNEST(GENERATE_ARRAY(1, {RESULT_ROWS})) AS row"
    job = client.ask(
        "POST",
        f"{BIGQUERY}/jobs",
        json={"configuration": {"query": {"query": sql, "useLegacySql": False, "destinationTable": table}}},
    )
    assert "errorResult" not in client.job(job)["status"]
    ledger.queries[number] = True


def stream(client: Client, ledger: Ledger, number: int) -> None:
    ledger.streamed[number] = False
    rows = [{"json": {"number": number, "row": row}} for row in range(ROWS)]
    assert "insertErrors" not in client.ask("POST", f"{BIGQUERY}/datasets/d/tables/streamed/insertAll", json={"rows": rows})
    ledger.streamed[number] = True


WORK = (upload, upload_in_parts, compose, import_instances, export, load, query, stream)


def work_until_killed(server: Server, ledger: Ledger, numbers: Iterator[int], seconds: float) -> None:
    """Let all kinds of work go on at once; kill the process after some seconds."""
    failures: list[BaseException] = []

    def repeat(work: Callable[[Client, Ledger, int], None]) -> None:
        try:
            with Client(server.url) as client:
                while True:
                    work(client, ledger, next(numbers))
                    ledger.done[work.__name__] += 1
        except requests.RequestException:
            return  # killed
        except BaseException as failure:
            failures.append(failure)

    workers = [threading.Thread(target=repeat, args=(work,)) for work in WORK]
    for worker in workers:
        worker.start()
    time.sleep(seconds)
    server.kill()
    for worker in workers:
        worker.join(120)
        assert not worker.is_alive()
    assert failures == []


def check(client: Client, ledger: Ledger, directory: Path) -> None:
    """Check a restarted emulator against the ledger; take over what had come without an acknowledgement."""
    running = client.ask("GET", f"v1/{DATASET}/operations").get("operations", [])  # also those whose names nobody has learned
    for name in {*ledger.operations, *(operation["name"] for operation in running)}:
        client.operation(name)
    jobs = client.ask("GET", f"{BIGQUERY}/jobs?projection=full&maxResults=1000").get("jobs", [])
    assert {job["status"]["state"] for job in jobs} <= {"DONE"}
    check_objects(client, ledger)
    check_instances(client, ledger)
    check_rows(client, ledger)
    kept = [path.name for path in (directory / "blobs").rglob("*") if path.is_file()]
    objects = len(listed(client, ""))
    instances = int(client.ask("GET", f"v1/{STORE}:getDICOMStoreMetrics")["instanceCount"])
    with contextlib.closing(sqlite3.connect(directory / "metadata.sqlite")) as database:
        ((unfinished,),) = database.execute("SELECT COUNT(*) FROM uploads").fetchall()
    assert len(kept) == objects + instances + unfinished, "a kill has left bytes that nobody can reach"


def listed(client: Client, prefix: str) -> list[dict[str, Any]]:
    return client.ask("GET", "storage/v1/b/bucket/o", params={"prefix": prefix, "maxResults": 1000}).get("items", [])


def check_objects(client: Client, ledger: Ledger) -> None:
    found = {}
    for item in listed(client, ""):
        content = client.send_to("GET", f"storage/v1/b/bucket/o/{item['name'].replace('/', '%2F')}?alt=media").content
        assert len(content) == int(item["size"]), item
        assert base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode() == item["crc32c"], item
        found[item["name"]] = content
    exported = {name for name in found if name.startswith("exported/")}
    assert found.keys() - exported <= ledger.attempted.keys()
    for name, body in ledger.objects.items():
        assert found.get(name) in (body, ledger.attempted[name]), f"{name} is lost, or half"
    for name in found.keys() - exported:
        assert found[name] in (ledger.objects.get(name), ledger.attempted[name]), f"{name} is half"
        ledger.objects[name] = ledger.attempted[name] = found[name]


def check_instances(client: Client, ledger: Ledger) -> None:
    operation = client.ask("POST", f"v1/{STORE}:export", json={"gcsDestination": {"uriPrefix": "gs://bucket/exported"}})["name"]
    counter = client.operation(operation)["metadata"].get("counter", {})
    assert counter.get("failure", "0") == "0"
    items = listed(client, "exported/")
    assert len(items) == int(counter.get("success", 0))
    uids = set()
    for item in items:
        uid = item["name"].rpartition("/")[2].removesuffix(".dcm")
        content = client.send_to("GET", f"storage/v1/b/bucket/o/{item['name'].replace('/', '%2F')}?alt=media").content
        assert content == CT.replace(CT_UID, uid.encode()), f"instance {uid} is half"
        client.send_to("DELETE", f"storage/v1/b/bucket/o/{item['name'].replace('/', '%2F')}")
        uids.add(uid)
    assert ledger.instances <= uids, "instances are lost"
    ledger.instances = uids


def check_rows(client: Client, ledger: Ledger) -> None:
    for table, acknowledged in (("loaded", ledger.loads), ("streamed", ledger.streamed)):
        rows = Counter(number for (number,) in selected(client, f"SELECT number FROM d.{table}"))
        assert set(rows.values()) <= {ROWS}, f"{table} has parts of requests: {rows}"
        assert {number for number, yes in acknowledged.items() if yes} <= rows.keys() <= acknowledged.keys(), table
        acknowledged.update(dict.fromkeys(rows, True))
    tables = client.ask("GET", f"{BIGQUERY}/datasets/d/tables?maxResults=1000").get("tables", [])
    results = {
        int(name.partition("_")[2]) for item in tables if (name := item["tableReference"]["tableId"]).startswith("result_")
    }
    assert {number for number, yes in ledger.queries.items() if yes} <= results <= ledger.queries.keys()
    for number in results:
        found = selected(client, f"SELECT COUNT(*), MIN(number), MAX(row) FROM d.result_{number}")
        assert found == [(RESULT_ROWS, number, RESULT_ROWS)]
        client.send_to("DELETE", f"{BIGQUERY}/datasets/d/tables/result_{number}")
    ledger.queries.clear()


def selected(client: Client, sql: str) -> list[tuple[int, ...]]:
    body = {"query": sql, "useLegacySql": False, "timeoutMs": 60_000, "maxResults": 100_000}
    answer = client.ask("POST", f"{BIGQUERY}/queries", json=body)
    assert "pageToken" not in answer
    return [tuple(int(cell["v"]) for cell in row["f"]) for row in answer.get("rows", [])]


@pytest.mark.parametrize("kills", [6, pytest.param(100, marks=pytest.mark.only_in_make_kills)])
@pytest.mark.timeout(1800)
def test_kills(server: Server, tmp_path: Path, kills: int):
    seed = int(os.environ.get("KILLS_SEED") or random.randrange(1 << 30))
    print(f"KILLS_SEED={seed}")  # noqa: T201
    moments, ledger, numbers = random.Random(seed), Ledger(), itertools.count()
    with Client(server.url) as client:
        prepare(client)
    everything = {work.__name__ for work in WORK}
    for kill in itertools.count(1):
        work_until_killed(server, ledger, numbers, moments.uniform(0.05, 1.2))
        server.start()
        with Client(server.url) as client:
            check(client, ledger, tmp_path / "data")
        if kill >= kills and set(ledger.done) == everything:
            break
        # A slow machine does less before a kill.
        assert kill < 10 * kills, f"never done before a kill: {everything - set(ledger.done)}"
