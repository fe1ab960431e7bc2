"""The emulator beside gcp-storage-emulator (objects), Orthanc with its DICOMweb plugin (instances) and plain DuckDB (queries).

    python -m tests.benchmarks.emulator

Needs Orthanc (Debian: ``apt-get install orthanc orthanc-dicomweb``); gcp-storage-emulator is installed into an environment of its own.
Each pair gets the same requests from the same code, one after the other, on the same machine.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.benchmarks.figures import Row, row, show

OURS, GCP_STORAGE_EMULATOR, ORTHANC, DUCKDB = "airflow-dicom", "gcp-storage-emulator", "Orthanc", "plain DuckDB"
GCP_STORAGE_EMULATOR_VERSION = "2026.7.19"
ORTHANC_PLUGINS = "/usr/share/orthanc/plugins"
STORE = "projects/demo/locations/us-central1/datasets/bench/dicomStores/images"
#: Seconds after which an upload of many objects is cut: gcp-storage-emulator takes longer for each object the more it has.
PATIENCE = 240
#: Instances in a study, and in one request that stores.
PER_STUDY = 100


# Processes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(command: list[str], ready: str, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """Run a server until it answers at a URL; yield it and how long that took."""
    begun = time.perf_counter()
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(requests.ConnectionError):
                requests.get(ready, timeout=5)
                break
            if server.poll() is not None or time.perf_counter() - begun > 60:
                raise SystemExit(f"{command[0]} does not answer")
            time.sleep(0.005)
        yield server, time.perf_counter() - begun
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def running(whose: str) -> Iterator[tuple[str, float, subprocess.Popen[bytes]]]:
    """Run one of the servers in an empty directory; yield its URL, the seconds until it answered, and its process."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command, ready = _COMMANDS[whose](Path(folder), port)
        with process(command, url + ready, Path(folder)) as (server, seconds):
            yield url, seconds, server


def _ours(folder: Path, port: int) -> tuple[list[str], str]:
    command = [sys.executable, "-m", "gcp_dicom_emulator", "start", "--port", str(port), "--data-dir", str(folder / "data")]
    return command, "/healthz"


def _gcp_storage_emulator(folder: Path, port: int) -> tuple[list[str], str]:
    os.environ.update(STORAGE_BASE=str(folder), STORAGE_DIR="data")
    return [str(others() / "bin" / "gcp-storage-emulator"), "start", "--quiet", "--port", str(port)], "/storage/v1/b?project=demo"


def _orthanc(folder: Path, port: int) -> tuple[list[str], str]:
    settings = {
        "StorageDirectory": str(folder / "data"),
        "IndexDirectory": str(folder / "data"),
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "Plugins": [f"{ORTHANC_PLUGINS}/libOrthancDicomWeb.so"],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    return [shutil.which("Orthanc") or "/usr/sbin/Orthanc", str(folder / "orthanc.json")], "/system"


_COMMANDS: dict[str, Callable[[Path, int], tuple[list[str], str]]] = {
    OURS: _ours,
    GCP_STORAGE_EMULATOR: _gcp_storage_emulator,
    ORTHANC: _orthanc,
}


def others() -> Path:
    """Return an environment that has gcp-storage-emulator; make it if it is not there."""
    home = Path(__file__).parents[2] / ".venv-others"
    if not (home / "bin" / "gcp-storage-emulator").exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        package = f"gcp-storage-emulator=={GCP_STORAGE_EMULATOR_VERSION}"
        subprocess.run([home / "bin" / "python", "-m", "pip", "install", "--quiet", package], check=True)
    return home


def memory(server: subprocess.Popen[bytes]) -> float:
    """Return a server's resident memory in MB, its children's included."""
    main = psutil.Process(server.pid)
    return float(sum(one.memory_info().rss for one in [main, *main.children(recursive=True)])) / 1e6


# Start


def starts(runs: int) -> list[Row]:
    """How long each takes to answer for the first time."""
    found: dict[str, list[float]] = {whose: [] for whose in _COMMANDS}
    for _ in range(runs):
        for whose, seconds in found.items():
            with running(whose) as (_, took, _):
                seconds.append(took)
    return [row("emulator: start", whose, "s", seconds) for whose, seconds in found.items()]


# Objects


def objects(count: int) -> list[Row]:
    """Upload objects of 1 KiB one after the other, and list them."""
    rows = []
    for whose in (OURS, GCP_STORAGE_EMULATOR):
        with running(whose) as (url, _, _), requests.Session() as session:
            _ok(session.post(f"{url}/storage/v1/b", params={"project": "demo"}, json={"name": "bench"}))
            begun = time.perf_counter()
            marks = [begun]
            for number in range(count):
                parameters = {"uploadType": "media", "name": f"folder/{number:06}"}
                _ok(session.post(f"{url}/upload/storage/v1/b/bench/o", params=parameters, data=b"x" * 1024))
                if number % 500 == 499:
                    marks.append(time.perf_counter())
                if time.perf_counter() - begun > PATIENCE:
                    break
            made = number + 1
            rows.append(row(f"objects: uploaded of {count:,} in at most {PATIENCE} s", whose, "objects", [made]))
            rows.append(row("objects: uploads, the first 500", whose, "per s", [500 / (marks[1] - marks[0])]))
            rows.append(row("objects: uploads, the last 500", whose, "per s", [500 / (marks[-1] - marks[-2])]))
            seconds = [_timed(lambda url=url, session=session, made=made: _list(session, url, made)) for _ in range(5)]
            rows.append(row("objects: listed", whose, "objects per s", [made / one for one in seconds]))
    return rows


def _list(session: requests.Session, url: str, count: int) -> None:
    found, token = 0, None
    while True:
        page = _ok(session.get(f"{url}/storage/v1/b/bench/o", params={"pageToken": token} if token else {})).json()
        found, token = found + len(page["items"]), page.get("nextPageToken")
        if not token:
            break
    assert found == count, (found, count)


# Instances


def small_ct() -> bytes:
    """A CT instance of 32 by 32 pixels, its UIDs to be replaced: each is 40 characters, so that lengths stay."""
    import pydicom
    from pydicom.data import get_testdata_file

    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    dataset.PixelData = dataset.pixel_array[:32, :32].copy().tobytes()
    dataset.Rows = dataset.Columns = 32
    for number, keyword in enumerate(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), 1):
        setattr(dataset, keyword, f"2.25.{number}{'0' * 34}")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    del dataset.DataSetTrailingPadding
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def studies(count: int) -> Iterator[list[bytes]]:
    """Yield the instances of each study."""
    template = small_ct()
    for study in range(count // PER_STUDY):
        of_study = template.replace(b"2.25.1" + b"0" * 34, f"2.25.1{study:034}".encode())
        of_series = of_study.replace(b"2.25.2" + b"0" * 34, f"2.25.2{study:034}".encode())
        yield [
            of_series.replace(b"2.25.3" + b"0" * 34, f"2.25.3{study * PER_STUDY + number:034}".encode())
            for number in range(PER_STUDY)
        ]


def instances(count: int) -> list[Row]:
    """Store instances by requests of a study each, search, and retrieve."""
    rows: list[Row] = []
    for whose in (OURS, ORTHANC):
        with running(whose) as (url, _, server), requests.Session() as session:
            root = f"{url}/dicom-web" if whose == ORTHANC else f"{url}/v1/{make_store(session, url)}/dicomWeb"
            seconds = _timed(lambda root=root, session=session: store(session, root, count))
            rows.append(row(f"instances: {count:,} stored by STOW-RS", whose, "per s", [count / seconds]))
            rows.append(row(f"instances: memory with {count:,}", whose, "MB", [memory(server)]))
            for what, search in SEARCHES.items():
                found = [_timed(lambda root=root, session=session, search=search: search(session, root)) for _ in range(5)]
                rows.append(row(f"instances: {what}", whose, "s", found))
            found = [_timed(lambda root=root, session=session: retrieve(session, root, 10)) for _ in range(5)]
            rows.append(row("instances: retrieved by WADO-RS", whose, "per s", [10 * PER_STUDY / one for one in found]))
    return rows


def make_store(session: requests.Session, url: str) -> str:
    location, dataset = "projects/demo/locations/us-central1", STORE.partition("/dicomStores")[0]
    _ok(session.post(f"{url}/v1/{location}/datasets", params={"datasetId": "bench"}, json={}))
    while session.get(f"{url}/v1/{dataset}").status_code != 200:
        time.sleep(0.01)
    _ok(session.post(f"{url}/v1/{dataset}/dicomStores", params={"dicomStoreId": "images"}, json={}))
    return STORE


def store(session: requests.Session, root: str, count: int) -> None:
    boundary = uuid.uuid4().hex
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Accept": "application/dicom+json",
    }
    for of_study in studies(count):
        parts = b"".join(f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + one + b"\r\n" for one in of_study)
        _ok(session.post(f"{root}/studies", data=parts + f"--{boundary}--\r\n".encode(), headers=headers))


def _search_studies(session: requests.Session, root: str) -> None:
    assert _json(session, f"{root}/studies?limit=100")


def _search_series(session: requests.Session, root: str) -> None:
    for study in range(10):
        (found,) = _json(session, f"{root}/studies/2.25.1{study:034}/series")
        assert found["0020000E"]["Value"] == [f"2.25.2{study:034}"]


def _search_instances(session: requests.Session, root: str) -> None:
    for study in range(10):
        assert len(_json(session, f"{root}/instances?StudyInstanceUID=2.25.1{study:034}&limit=1000")) == PER_STUDY


SEARCHES = {
    "search: 100 studies": _search_studies,
    "search: the series of a study, ten times": _search_series,
    "search: the 100 instances of a study, ten times": _search_instances,
}


def retrieve(session: requests.Session, root: str, count: int) -> None:
    headers = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    for study in range(count):
        answer = _ok(session.get(f"{root}/studies/2.25.1{study:034}", headers=headers))
        assert answer.content.count(b"DICM") == PER_STUDY


def _json(session: requests.Session, url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _ok(session.get(url, headers={"Accept": "application/dicom+json"})).json()
    return found


class Operations:
    """Instances in a bucket that are imported and exported: what nothing else does locally.

    :param count: how many.
    """

    def __init__(self, session: requests.Session, url: str, count: int) -> None:
        self._session, self._url, self._count = session, url, count
        self._store = make_store(session, url)
        for bucket in ("incoming", "outgoing"):
            _ok(session.post(f"{url}/storage/v1/b", params={"project": "demo"}, json={"name": bucket}))
        _ok(session.post(f"{url}/bigquery/v2/projects/demo/datasets", json={"datasetReference": {"datasetId": "bench"}}))

    def upload(self) -> None:
        for number, one in enumerate(itertools.chain.from_iterable(studies(self._count))):
            parameters = {"uploadType": "media", "name": f"{number // 1000}/{number}.dcm"}
            _ok(self._session.post(f"{self._url}/upload/storage/v1/b/incoming/o", params=parameters, data=one))

    def import_(self) -> None:
        self._run("import", {"gcsSource": {"uri": "gs://incoming/**"}})

    def export(self) -> None:
        self._run("export", {"gcsDestination": {"uriPrefix": "gs://outgoing/all"}})

    def export_metadata(self) -> None:
        self._run("export", {"bigqueryDestination": {"tableUri": "bq://demo.bench.metadata"}})

    def deidentify(self) -> None:
        dataset = self._store.partition("/dicomStores/")[0]
        _ok(self._session.post(f"{self._url}/v1/{dataset}/dicomStores", params={"dicomStoreId": "clean"}, json={}))
        config = {"dicom": {"filterProfile": "ATTRIBUTE_CONFIDENTIALITY_BASIC_PROFILE"}}
        self._run("deidentify", {"destinationStore": f"{dataset}/dicomStores/clean", "config": config})

    def _run(self, verb: str, body: dict[str, Any]) -> None:
        operation = _ok(self._session.post(f"{self._url}/v1/{self._store}:{verb}", json=body)).json()
        while not operation.get("done"):
            time.sleep(0.05)
            operation = _ok(self._session.get(f"{self._url}/v1/{operation['name']}")).json()
        assert "error" not in operation, operation


def operations(count: int, *, to_bigquery: bool) -> list[Row]:
    """Import instances and export them and their metadata; de-identify them."""
    with running(OURS) as (url, _, server), requests.Session() as session:
        work = Operations(session, url, count)
        work.upload()
        rows = [row(f"operations: memory with {count:,} objects and no instance", OURS, "MB", [memory(server)])]
        rows += [
            row(f"operations: {count:,} instances imported", OURS, "per s", [count / _timed(work.import_)]),
            row(f"operations: {count:,} instances exported", OURS, "per s", [count / _timed(work.export)]),
            row(f"operations: memory with {count:,} instances, imported and exported", OURS, "MB", [memory(server)]),
        ]
        if to_bigquery:
            seconds = _timed(work.export_metadata)
            rows += [
                row(f"operations: {count:,} instances de-identified", OURS, "per s", [count / _timed(work.deidentify)]),
                row(f"operations: metadata of {count:,} instances exported", OURS, "per s", [count / seconds]),
                row(f"operations: memory with {count:,} rows of metadata", OURS, "MB", [memory(server)]),
            ]
        return rows


# Queries

_TABLE = (
    "SELECT x AS id, CONCAT('1.2.', CAST(MOD(x, 1000) AS STRING)) AS study, MOD(x, 7) AS kind"
    " FROM UNNEST(GENERATE_ARRAY(1, {rows})) AS x"
)
_QUERY = "SELECT study, COUNT(*) AS n, SUM(kind) AS kinds FROM `demo.bench.rows` GROUP BY study ORDER BY study"


def queries(count: int, runs: int) -> list[Row]:
    """Make a table, group its rows, and write it to a CSV file."""
    import duckdb

    rows = []
    with running(OURS) as (url, _, _), requests.Session() as session:
        for path, body in (
            ("storage/v1/b", {"name": "bench"}),
            ("bigquery/v2/projects/demo/datasets", {"datasetReference": {"datasetId": "bench"}}),
        ):
            _ok(session.post(f"{url}/{path}", params={"project": "demo"}, json=body))
        table = {"projectId": "demo", "datasetId": "bench", "tableId": "rows"}
        made = {
            "query": {
                "query": _TABLE.format(rows=count),
                "useLegacySql": False,
                "destinationTable": table,
                "writeDisposition": "WRITE_TRUNCATE",
            }
        }
        extract = {"extract": {"sourceTable": table, "destinationUris": ["gs://bench/rows.csv"]}}
        for what, work in {
            "made by a query": lambda: _job(session, url, made),
            "grouped": lambda: _query(session, url),
            "extracted as CSV": lambda: _job(session, url, extract),
        }.items():
            rows.append(row(f"queries: {count:,} rows {what}", OURS, "s", [_timed(work) for _ in range(runs)]))
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(f"{folder}/rows.duckdb") as connection:
        plain = f"SELECT x AS id, '1.2.' || (x % 1000)::VARCHAR AS study, x % 7 AS kind FROM range(1, {count} + 1) t(x)"
        for what, sql in {
            "made by a query": f"CREATE OR REPLACE TABLE rows AS {plain}",
            "grouped": "SELECT study, COUNT(*) AS n, SUM(kind) AS kinds FROM rows GROUP BY study ORDER BY study",
            "extracted as CSV": f"COPY rows TO '{folder}/rows.csv' (HEADER)",
        }.items():
            seconds = [_timed(lambda sql=sql: connection.execute(sql).fetchall()) for _ in range(runs)]
            rows.append(row(f"queries: {count:,} rows {what}", DUCKDB, "s", seconds))
    return rows


def _job(session: requests.Session, url: str, configuration: dict[str, Any]) -> None:
    jobs = f"{url}/bigquery/v2/projects/demo/jobs"
    job = _ok(session.post(jobs, json={"configuration": configuration})).json()
    while job["status"]["state"] != "DONE":
        time.sleep(0.005)
        job = _ok(session.get(f"{jobs}/{job['jobReference']['jobId']}")).json()
    assert "errorResult" not in job["status"], job


def _query(session: requests.Session, url: str) -> None:
    body = {"query": _QUERY, "useLegacySql": False, "maxResults": 10_000}
    answer = _ok(session.post(f"{url}/bigquery/v2/projects/demo/queries", json=body)).json()
    assert len(answer["rows"]) == 1000, len(answer["rows"])


# All


def _ok(answer: requests.Response) -> requests.Response:
    if answer.status_code >= 300:
        raise SystemExit(f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text[:500]}")
    return answer


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def run(*, instance_count: int, large: int, object_count: int, row_count: int, runs: int) -> list[Row]:
    """Measure and return the lines of the table.

    :param instance_count: how many instances are stored, searched and retrieved.
    :param large: how many are imported and exported, to see what becomes of the memory.
    """
    rows: list[Row] = []
    for part in (
        lambda: starts(runs),
        lambda: objects(object_count),
        lambda: instances(instance_count),
        lambda: operations(instance_count, to_bigquery=True),
        lambda: operations(large, to_bigquery=False),
        lambda: queries(row_count, runs),
    ):
        found = part()
        show(found)
        rows += found
    return rows


if __name__ == "__main__":
    run(instance_count=10_000, large=100_000, object_count=10_000, row_count=1_000_000, runs=5)
