"""What the emulator's answers cost, beside the first release's, in processor time.

    python -m tests.benchmarks.first_release [words of what is to be measured …]

The first release comes out of the clone's history. Both emulators run at once, with the same libraries, and get the same requests from
the same code in turns, so that what else the machine does falls on both. Then a query alone, without HTTP, in two processes.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.benchmarks.emulator import free_port, process
from tests.benchmarks.figures import Row, row, show
from tests.first_release import unpack_first_release

NOW, FIRST = "airflow-dicom", "first release"
_MODULES = {FIRST: "airflow_dicom.emulator", NOW: "gcp_dicom_emulator"}
_COLUMNS, _ROWS = 800, 100_000
_KIB, _MIB = b"x" * 1024, b"x" * 1024**2


class Server:
    """One of the two emulators, and what a client asks of it."""

    def __init__(self, url: str, pid: int) -> None:
        self._url, self._process, self._session = url, psutil.Process(pid), requests.Session()
        self._numbers = itertools.count()

    def cost(self, work: Callable[[Server], object], times: int) -> float:
        """Return the milliseconds of processor time that its process takes for a piece of work."""
        begun = sum(self._process.cpu_times())
        for _ in range(times):
            work(self)
        return 1000 * (sum(self._process.cpu_times()) - begun) / times

    def send(self, method: str, path: str, **more: Any) -> requests.Response:
        answer = self._session.request(method, self._url + path, **more)
        assert answer.status_code < 400, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer

    def fill(self) -> None:
        """Make what is read: objects, a table of many rows and one of many columns."""
        self.send("POST", "/storage/v1/b", params={"project": "demo"}, json={"name": "bench"})
        for name, content in {"kib": _KIB, "mib": _MIB, "rows.json": _LINES, "rows.csv": _CSV}.items():
            self.upload(content, name)
        for number in range(1000):
            self.upload(b"", f"many/{number}")
        self.send("POST", f"{_BIGQUERY}/datasets", json={"datasetReference": {"datasetId": "bench"}})
        fields = [{"name": f"column_{number}", "type": "STRING"} for number in range(_COLUMNS)]
        self.make_table("wide", fields)
        self.job(query={"query": _TABLE, "destinationTable": _table("rows")})

    # Cloud Storage

    def upload(self, content: bytes, name: str = "") -> None:
        params = {"uploadType": "media", "name": name or f"new/{next(self._numbers)}"}
        self.send("POST", "/upload/storage/v1/b/bench/o", params=params, data=content)

    def upload_multipart(self) -> None:
        parts = [f'Content-Type: application/json\r\n\r\n{{"name": "new/{next(self._numbers)}"}}'.encode(), b"\r\n" + _KIB]
        body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
        headers = {"Content-Type": "multipart/related; boundary=b"}
        self.send("POST", "/upload/storage/v1/b/bench/o?uploadType=multipart", data=body, headers=headers)

    def upload_resumable(self) -> None:
        path = f"/upload/storage/v1/b/bench/o?uploadType=resumable&name=new/{next(self._numbers)}"
        begun = self.send("POST", path, json={})
        self.send("PUT", begun.headers["Location"].removeprefix(self._url), data=_MIB)

    def object(self, name: str) -> None:
        self.send("GET", f"/storage/v1/b/bench/o/{name}")

    def download(self, name: str) -> None:
        self.send("GET", f"/download/storage/v1/b/bench/o/{name}?alt=media")

    def list_objects(self) -> None:
        assert len(self.send("GET", "/storage/v1/b/bench/o?prefix=many/").json()["items"]) == 1000

    def compose(self) -> None:
        body = {"sourceObjects": [{"name": "kib"}] * 32}
        self.send("POST", f"/storage/v1/b/bench/o/new%2F{next(self._numbers)}/compose", json=body)

    def rewrite(self) -> None:
        self.send("POST", f"/storage/v1/b/bench/o/mib/rewriteTo/b/bench/o/new%2F{next(self._numbers)}", json={})

    def patch(self) -> None:
        self.send("PATCH", "/storage/v1/b/bench/o/kib", json={"metadata": {"number": str(next(self._numbers))}})

    def upload_and_delete(self) -> None:
        self.upload(_KIB, "short-lived")
        self.send("DELETE", "/storage/v1/b/bench/o/short-lived")

    # BigQuery

    def make_table(self, name: str, fields: list[dict[str, Any]]) -> None:
        body = {"tableReference": _table(name), "schema": {"fields": fields}}
        self.send("POST", f"{_BIGQUERY}/datasets/bench/tables", json=body)

    def query(self, sql: str, **more: Any) -> dict[str, Any]:
        body = {"query": sql, "useLegacySql": False, "maxResults": 10_000, **more}
        answer: dict[str, Any] = self.send("POST", f"{_BIGQUERY}/queries", json=body).json()
        assert answer["jobComplete"], answer
        return answer

    def job(self, **configuration: Any) -> str:
        if "query" in configuration:
            configuration["query"] |= {"useLegacySql": False, "writeDisposition": "WRITE_TRUNCATE"}
        job = self.send("POST", f"{_BIGQUERY}/jobs", json={"configuration": configuration}).json()
        while job["status"]["state"] != "DONE":
            time.sleep(0.02)
            job = self.send("GET", f"{_BIGQUERY}/jobs/{job['jobReference']['jobId']}").json()
        assert "errorResult" not in job["status"], job
        return str(job["jobReference"]["jobId"])

    def query_as_clients_do(self) -> None:
        self.send("GET", f"{_BIGQUERY}/queries/{self.job(query={'query': 'SELECT 1 AS one'})}")

    def load(self, name: str, **more: Any) -> None:
        fields = [{"name": name, "type": kind} for name, kind in (("id", "INT64"), ("study", "STRING"), ("kind", "INT64"))]
        to = {"destinationTable": _table("loaded"), "writeDisposition": "WRITE_TRUNCATE", "schema": {"fields": fields}}
        self.job(load={"sourceUris": [f"gs://bench/{name}"], **to, **more})

    def extract(self, kind: str) -> None:
        to = {"destinationUris": ["gs://bench/extracted-*"], "destinationFormat": kind}
        self.job(extract={"sourceTable": _table("rows"), **to})

    def export(self) -> None:
        options = "uri='gs://bench/exported-*', format='CSV', overwrite=true"
        self.query(f"EXPORT DATA OPTIONS({options}) AS SELECT study FROM bench.rows ORDER BY study")

    def insert(self) -> None:
        rows = [{"json": {"column_1": "x", "column_2": "y"}}] * 10
        self.send("POST", f"{_BIGQUERY}/datasets/bench/tables/wide/insertAll", json={"rows": rows})

    def table_data(self) -> None:
        self.send("GET", f"{_BIGQUERY}/datasets/bench/tables/rows/data?maxResults=1000")

    def table(self) -> None:
        self.send("GET", f"{_BIGQUERY}/datasets/bench/tables/wide")

    def copy(self) -> None:
        to = {"destinationTable": _table("copied"), "writeDisposition": "WRITE_TRUNCATE"}
        self.job(copy={"sourceTable": _table("rows"), **to})


def _table(name: str) -> dict[str, str]:
    return {"projectId": "demo", "datasetId": "bench", "tableId": name}


_BIGQUERY = "/bigquery/v2/projects/demo"
_TABLE = (
    "SELECT x AS id, CONCAT('1.2.', CAST(MOD(x, 1000) AS STRING)) AS study, MOD(x, 7) AS kind"
    f" FROM UNNEST(GENERATE_ARRAY(1, {_ROWS})) AS x"
)
_LINES = b"".join(b'{"id": %d, "study": "1.2.%d", "kind": %d}\n' % (number, number % 1000, number % 7) for number in range(_ROWS))
_CSV = b"".join(b"%d,1.2.%d,%d\n" % (number, number % 1000, number % 7) for number in range(_ROWS))
_GROUPED = "SELECT study, COUNT(*) AS n, SUM(kind) AS kinds FROM bench.rows GROUP BY study ORDER BY study"
_OF_WIDE = f"SELECT {', '.join(f'column_{number}' for number in range(0, _COLUMNS, 8))} FROM bench.wide LIMIT 1"

#: What is measured, and how often in each turn: a process's time is told in hundredths of a second.
_WORK: dict[str, tuple[Callable[[Server], object], int]] = {
    "upload of 1 KiB": (lambda server: server.upload(_KIB), 300),
    "upload of 1 KiB, multipart": (Server.upload_multipart, 200),
    "upload of 1 MiB": (lambda server: server.upload(_MIB), 50),
    "upload of 1 MiB, resumable": (Server.upload_resumable, 50),
    "download of 1 KiB": (lambda server: server.download("kib"), 300),
    "download of 1 MiB": (lambda server: server.download("mib"), 100),
    "an object's metadata": (lambda server: server.object("kib"), 300),
    "change of metadata": (Server.patch, 200),
    "listing of 1,000 objects": (Server.list_objects, 20),
    "compose of 32 objects": (Server.compose, 60),
    "rewrite of 1 MiB": (Server.rewrite, 200),
    "upload and deletion": (Server.upload_and_delete, 150),
    "SELECT 1": (lambda server: server.query("SELECT 1"), 50),
    "SELECT 1, as a job and its rows": (Server.query_as_clients_do, 40),
    "SELECT 1 from 800 columns": (lambda server: server.query("SELECT 1 FROM bench.wide LIMIT 1"), 20),
    "SELECT of 100 of 800 columns": (lambda server: server.query(_OF_WIDE), 10),
    "dry run, 800 columns": (lambda server: server.query("SELECT column_1 FROM bench.wide", dryRun=True), 20),
    "100,000 rows made": (lambda server: server.job(query={"query": _TABLE, "destinationTable": _table("made")}), 10),
    "100,000 rows grouped, 1,000 returned": (lambda server: server.query(_GROUPED), 10),
    "100,000 rows extracted as CSV": (lambda server: server.extract("CSV"), 10),
    "100,000 rows extracted as Parquet": (lambda server: server.extract("PARQUET"), 10),
    "100,000 rows exported by EXPORT DATA": (Server.export, 5),
    "100,000 rows loaded from JSON": (lambda server: server.load("rows.json", sourceFormat="NEWLINE_DELIMITED_JSON"), 3),
    "100,000 rows loaded from CSV": (lambda server: server.load("rows.csv", sourceFormat="CSV"), 5),
    "100,000 rows copied": (Server.copy, 10),
    "10 rows inserted into 800 columns": (Server.insert, 5),
    "1,000 rows of a table": (Server.table_data, 20),
    "a table of 800 columns": (Server.table, 30),
}


#: Runs a query without HTTP, as often as each line of its input says, and prints the milliseconds that one takes.
_ALONE = """
import sys, tempfile, time
from pathlib import Path
{imports}
state = State(Path(tempfile.mkdtemp(dir=".")))
catalog = Catalog(state)
catalog.create_dataset("demo", "bench")
fields = [{{"name": f"column_{{number}}", "type": "STRING"}} for number in range({columns})]
catalog.create_table(TableName("demo", "bench", "wide"), {{"schema": {{"fields": fields}}}})
runner, number = QueryRunner(catalog, state, None, int), 0
query = {{"query": "SELECT 1 FROM bench.wide", "useLegacySql": False}}
for times in sys.stdin:
    begun = time.process_time()
    for _ in range(int(times)):
        number += 1
        runner.run({job}, query)
    print(1000 * (time.process_time() - begun) / int(times), flush=True)
"""
_IMPORTS = {
    FIRST: """
from airflow_dicom.emulator.bigquery.catalog import Catalog
from airflow_dicom.emulator.bigquery.names import TableName
from airflow_dicom.emulator.bigquery.query import QueryRunner
from airflow_dicom.emulator.state import State
""",
    NOW: """
from gcp_dicom_emulator.bigquery.catalog import Catalog
from gcp_dicom_emulator.bigquery.names import TableName
from gcp_dicom_emulator.bigquery.sql.query import QueryRunner
from gcp_dicom_emulator.kept.state import State
""",
}
_JOBS = {FIRST: '"demo", f"job{number}"', NOW: '{"projectId": "demo", "jobId": f"job{number}", "location": "US"}'}


@contextlib.contextmanager
def emulator(module: str) -> Iterator[Server]:
    """Run an emulator in an empty directory."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", module, "start", "--port", str(port), "--data-dir", f"{folder}/data"]
        with process(command, f"{url}/healthz", Path(folder)) as (started, _):
            server = Server(url, started.pid)
            server.fill()
            yield server


@contextlib.contextmanager
def alone(whose: str) -> Iterator[Callable[[int], float]]:
    """Yield what returns the milliseconds that a query takes without HTTP."""
    code = _ALONE.format(imports=_IMPORTS[whose], columns=_COLUMNS, job=_JOBS[whose])
    command = [sys.executable, "-W", "ignore", "-c", code]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child,
    ):
        assert child.stdin is not None
        assert child.stdout is not None

        def ask(times: int) -> float:
            print(times, file=child.stdin, flush=True)
            return float(child.stdout.readline())

        yield ask
        child.stdin.close()


def in_turns(what: str, costs: dict[str, Callable[[], float]], rounds: int) -> list[Row]:
    """Measure both in turns, each first in every other round; return the lines of both, and that of the ratios."""
    for cost in costs.values():
        cost()  # what is first used is read first
    found: dict[str, list[float]] = {NOW: [], FIRST: []}
    for number in range(rounds):
        for whose in sorted(found, reverse=bool(number % 2)):
            found[whose].append(costs[whose]())
    ratios = [now / first for now, first in zip(found[NOW], found[FIRST], strict=True)]
    rows = [row(what, whose, "ms", values) for whose, values in found.items()]
    rows.append(row(f"{what}: now / first release", "ratio", "times", ratios))
    show(rows)
    return rows


def run(rounds: int, words: str = "") -> list[Row]:
    """Measure and return the lines of the table.

    :param words: what the names of the lines to measure have in them.
    """
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        unpack_first_release(Path(folder))
        os.environ["PYTHONPATH"] = folder
        stack.callback(os.environ.pop, "PYTHONPATH")
        servers = {whose: stack.enter_context(emulator(module)) for whose, module in _MODULES.items()}
        for what, (work, times) in _WORK.items():
            if words in what:
                rows += in_turns(what, {whose: partial(server.cost, work, times) for whose, server in servers.items()}, rounds)
        if words in (what := "SELECT 1 from 800 columns, without HTTP"):
            queries = {whose: stack.enter_context(alone(whose)) for whose in _MODULES}
            rows += in_turns(what, {whose: partial(query, 50) for whose, query in queries.items()}, rounds)
    return rows


if __name__ == "__main__":
    run(5, " ".join(sys.argv[1:]))
