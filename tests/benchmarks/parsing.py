"""What a DAG file with these operators costs whoever parses it, beside one with the Google provider's.

Fresh processes, one of each kind after the other, so that whatever else the machine does falls on all of them. Each has parsed a
DAG of Airflow's own ``BaseOperator`` first; what counts is what comes on top.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.figures import Row, row, show

BASE = """
from airflow.sdk import DAG, BaseOperator
with DAG("none"):
    BaseOperator(task_id="a")
    BaseOperator(task_id="b")
"""

FILES = {
    "airflow-dicom": """
from airflow_dicom.operators import DicomExportOperator, DicomImportOperator, FilterFileFromBigQueryOperator
from airflow_dicom.sensors import DicomOperationSensor
with DAG("ours"):
    DicomImportOperator(task_id="a", location="l", dataset_id="d", dicom_store_id="s", gcs_uri="gs://b/**.dcm")
    DicomExportOperator(task_id="b", location="l", dataset_id="d", dicom_store_id="s", gcs_uri_prefix="gs://b/out")
""",
    "Google provider": """
from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator
from airflow.providers.google.cloud.transfers.gcs_to_gcs import GCSToGCSOperator
with DAG("theirs"):
    BigQueryInsertJobOperator(task_id="a", configuration={})
    GCSToGCSOperator(task_id="b", source_bucket="b", source_object="o")
""",
}

MEASURES = {"CPU time": "s", "wall time": "s", "memory": "MB", "modules": "modules"}


def measure(code: str) -> dict[str, float]:
    """Return what a DAG file adds in a fresh process that has parsed :data:`BASE`."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.parsing", "--file", code]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    added: dict[str, float] = json.loads(answer.splitlines()[-1])
    return added


def _added_by(code: str) -> dict[str, float]:
    exec(BASE, scope := {})  # type: ignore[var-annotated]
    before = _now()
    exec(code, scope)
    return {name: after - before[name] for name, after in _now().items()}


def _now() -> dict[str, float]:
    resident = int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024
    values = (time.process_time(), time.perf_counter(), resident, len(sys.modules))
    return dict(zip(MEASURES, values, strict=True))


def run(runs: int = 7) -> list[Row]:
    """Measure and return the lines of the table."""
    for code in FILES.values():
        measure(code)  # compiles modules, and fills the cache of the disk
    found: dict[str, list[dict[str, float]]] = {whose: [] for whose in FILES}
    for _ in range(runs):
        for whose, code in FILES.items():
            found[whose].append(measure(code))
    rows = [
        row(f"parsing a DAG file: {name} added", whose, unit, [one[name] for one in found[whose]])
        for name, unit in MEASURES.items()
        for whose in FILES
    ]
    for name in ("CPU time", "wall time", "memory"):
        ratios = [
            theirs[name] / ours[name] for ours, theirs in zip(found["airflow-dicom"], found["Google provider"], strict=True)
        ]
        rows.append(row(f"parsing a DAG file: {name}, theirs / ours", "ratio", "times", ratios))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file:
        print(json.dumps(_added_by(options.file)))
    else:
        show(run(options.runs))


if __name__ == "__main__":
    main()
