"""What users write type-checks as strictly as they like, without a word to the checker."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

(README,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)

#: Templates, and what other tasks return, wherever they go.
TEMPLATES = """
from airflow.sdk import DAG
from airflow_dicom.operators import (
    DicomExportOperator, DicomImportOperator, FilterFileFromBigQueryOperator, FilterFileFromPathsOperator
)
from airflow_dicom.sensors import DicomOperationSensor
from airflow_dicom.typing import DicomStoreArguments

STORE: DicomStoreArguments = {
    "project_id": "{{ params.project_id }}", "location": "europe-west4", "dataset_id": "radiology", "dicom_store_id": "images"
}

with DAG("templates"):
    started = DicomImportOperator(
        task_id="start", **STORE, gcs_uri="gs://bucket/**", max_failures="{{ params.max_failures }}", wait_for_completion=False
    )
    DicomOperationSensor(task_id="wait", operation=started.output, on_empty="{{ params.on_empty }}", max_failures=None)
    paths = FilterFileFromPathsOperator(task_id="paths", filter_uri="gs://bucket/paths.txt", paths=started.output)
    ct = FilterFileFromBigQueryOperator(
        task_id="ct",
        filter_uri="gs://bucket/ct.txt",
        table="{{ params.table }}",
        level="{{ params.level }}",
        query_parameters={"modality": "CT"},
    )
    for chosen in (paths, ct):
        DicomExportOperator(
            task_id=f"export_{chosen.task_id}",
            **STORE,
            filter_uri=chosen.output,
            gcs_uri_prefix=started.output,
            verify="{{ params.verify }}",
            expected_instances="filter",
            impersonation_chain=["a", "b"],
        )
"""

#: What cannot be right whatever a template renders to.
WRONG = """
from airflow_dicom.operators import DicomExportOperator

DicomExportOperator(task_id="t", filter_uri=["gs://bucket/filter.txt"], include_source_store="yes")
"""


#: The DAGs that the documentation runs, and the examples.
DAGS = [
    text
    for page in sorted((ROOT / "docs").rglob("*.md"))
    for text in re.findall(r"^<!-- test: dag -->\n```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
]


@pytest.mark.only_on_newest_airflow
def test_case_16_what_users_write_type_checks(tmp_path):
    texts = {"readme": README, "templates": TEMPLATES, "wrong": WRONG, **{f"docs_{n}": text for n, text in enumerate(DAGS)}}
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    files = [*tmp_path.glob("*.py"), *(ROOT / "dags").glob("*.py")]
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file=", *map(str, files)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    errors = [line for line in found.stdout.splitlines() if ": error:" in line]
    assert not [line for line in errors if not line.split(":")[0].endswith("wrong.py")], found.stdout + found.stderr
    assert sorted(re.findall(r'Argument "(\w+)"', found.stdout)) == ["filter_uri", "include_source_store"]
