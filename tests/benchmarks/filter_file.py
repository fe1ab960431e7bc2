"""How long filters of millions of lines take, and how much memory the worker needs, beside streaming the rows through Python.

    python -m tests.benchmarks.filter_file

Both ways run in one process each, one after the other, against one emulator in a process of its own; figures are comparable within
one run only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.benchmarks.figures import Row, row, show

SQL = "SELECT CONCAT('/studies/1.2.', CAST(MOD(x, 1000) AS STRING), '/series/1.3.', CAST(MOD(x, 10000) AS STRING), '/instances/1.4.', CAST(x AS STRING)) AS path FROM UNNEST(GENERATE_ARRAY(1, {lines})) AS x"  # fmt: skip  # noqa: E501
BUCKET = "benchmark"


def by_operator(lines: int) -> None:
    """Let BigQuery and Cloud Storage do it."""
    from airflow_dicom.operators import FilterFileFromBigQueryOperator

    class TaskInstance:
        dag_id, task_id, run_id, map_index, max_tries, try_number = "d", "t", f"r{time.time_ns()}", -1, 0, 1

        def xcom_push(self, key: str, value: object) -> None:
            pass

    task = FilterFileFromBigQueryOperator(
        task_id="t",
        project_id="demo",
        sql=SQL.format(lines=lines),
        filter_uri=f"gs://{BUCKET}/operator-{lines}.txt",
        deferrable=False,
        poll_interval=0.2,
    )
    task.execute({"ti": TaskInstance(), "task": task})


def by_rows(lines: int) -> None:
    """Fetch the rows, make the file in the worker, upload it: what people write before they know better."""
    from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
    from airflow.providers.google.cloud.hooks.gcs import GCSHook

    rows = BigQueryHook(use_legacy_sql=False).get_client(project_id="demo").query_and_wait(SQL.format(lines=lines))
    text = "".join(f"{path}\n" for path in sorted({row[0] for row in rows}))
    GCSHook().upload(BUCKET, f"rows-{lines}.txt", data=text)


def measured(way: Callable[[int], None], lines: int) -> tuple[float, float, int]:
    """Return the seconds, the peak of memory in MB, and the requests of a way in a process of its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_run, args=(way, lines, queue))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{way.__name__} failed")
    result: tuple[float, float, int] = queue.get()
    return result


def _run(way: Callable[[int], None], lines: int, queue: multiprocessing.Queue[tuple[float, float, int]]) -> None:
    import airflow.providers.google.cloud.hooks.bigquery
    import airflow.providers.google.cloud.hooks.gcs  # noqa: F401  not what is measured
    from requests.adapters import HTTPAdapter

    send, requests = HTTPAdapter.send, []
    HTTPAdapter.send = lambda *args, **kwargs: requests.append(1) or send(*args, **kwargs)  # type: ignore[assignment,func-returns-value]
    started = time.perf_counter()
    way(lines)
    queue.put((time.perf_counter() - started, _peak_of_memory(), len(requests)))


def _peak_of_memory() -> float:
    """Return the peak in MB; that of ``getrusage`` has the parent's memory in it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def run(sizes: Mapping[int, int]) -> list[Row]:
    """Measure and return the lines of the table.

    :param sizes: how many runs for how many lines.
    """
    command = [sys.executable, "-m", "gcp_dicom_emulator", "start", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as emulator:
        try:
            assert emulator.stdout is not None
            url = emulator.stdout.readline().rsplit(" ", 1)[1].strip()
            return _compare(url, sizes)
        finally:
            emulator.terminate()


def _compare(url: str, sizes: Mapping[int, int]) -> list[Row]:
    from gcp_dicom_emulator.environment import environment

    from airflow_dicom.hooks.endpoint import EMULATOR_CONNECTION

    os.environ.update(environment(url) | EMULATOR_CONNECTION)
    body = json.dumps({"name": BUCKET}).encode()
    request = urllib.request.Request(f"{url}/storage/v1/b?project=demo", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request).read()
    rows = []
    for lines, runs in sizes.items():
        for way, whose in WAYS.items():
            found = [measured(way, lines) for _ in range(runs)]
            for what, unit, values in zip(
                ("time", "peak of the worker's memory", "requests"), ("s", "MB", ""), zip(*found, strict=True), strict=True
            ):
                rows.append(row(f"filter of {lines:,} lines: {what}", whose, unit, values))
        show(rows[-6:])
        _same(url, lines)
    return rows


WAYS = {by_operator: "airflow-dicom", by_rows: "rows through Python"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, nargs="+", default=[1_000_000, 5_000_000, 10_000_000])
    run(dict.fromkeys(parser.parse_args().lines, 1))


def _same(url: str, lines: int) -> None:
    """Check that both ways have made the same lines."""
    digests = {_digest(f"{url}/download/storage/v1/b/{BUCKET}/o/{way}-{lines}.txt?alt=media") for way in ("operator", "rows")}
    if len(digests) > 1:
        raise SystemExit(f"the files of {lines} lines differ")
    print(f"{'':13}both have made the same lines")


def _digest(url: str) -> str:
    """Return a digest of an object's lines, sorted."""
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile() as file:
        with urllib.request.urlopen(url) as response:
            shutil.copyfileobj(response, file)
        file.flush()
        with subprocess.Popen(["sort", "-u", file.name], env={"LC_ALL": "C"}, stdout=subprocess.PIPE) as sort:
            assert sort.stdout is not None
            while chunk := sort.stdout.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


if __name__ == "__main__":
    main()
