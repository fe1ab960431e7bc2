"""What users write type-checks as strictly as they like, without a word to the checker."""

from __future__ import annotations

import json
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


#: What pyright finds in any user's code, because Airflow's types say too little or too much: ``a >> b`` for nothing, ``params`` of
#: a plain dict, a timetable's method that newer ones need not have, decorators and mapping of unknown things.
AIRFLOWS_FAULTS = {
    "reportAbstractUsage",
    "reportMissingTypeStubs",
    "reportTypedDictNotRequiredAccess",
    "reportUnknownArgumentType",
    "reportUnknownMemberType",
    "reportUnusedExpression",
}
AIRFLOWS_WORDS = ("ParamsDict", "DependencyMixin")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> list[Path]:
    """What users write, as files; ``wrong.py`` has faults."""
    folder = tmp_path_factory.mktemp("written")
    texts = {"readme": README, "templates": TEMPLATES, "wrong": WRONG, **{f"docs_{n}": text for n, text in enumerate(DAGS)}}
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    return [*folder.glob("*.py"), *(ROOT / "dags").glob("*.py")]


@pytest.mark.slow
@pytest.mark.only_on_newest_airflow
def test_case_16_what_users_write_type_checks(written):
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file=", *map(str, written)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    errors = [line for line in found.stdout.splitlines() if ": error:" in line]
    assert not [line for line in errors if not line.split(":")[0].endswith("wrong.py")], found.stdout + found.stderr
    assert sorted(re.findall(r'Argument "(\w+)"', found.stdout)) == ["filter_uri", "include_source_store"]


@pytest.mark.slow
@pytest.mark.only_on_newest_airflow
def test_case_16_pyright_agrees(written, tmp_path):
    config = {"typeCheckingMode": "strict", "include": [str(path) for path in written], "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "--project", str(tmp_path)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)
    errors = [
        f"{Path(each['file']).name}:{each['range']['start']['line'] + 1}: {each['message']} ({each['rule']})"
        for each in found["generalDiagnostics"]
        if each["rule"] not in AIRFLOWS_FAULTS and not any(word in each["message"] for word in AIRFLOWS_WORDS)
    ]
    assert [error for error in errors if not error.startswith("wrong.py")] == []
    assert found["summary"]["filesAnalyzed"] >= len(written)
    assert sorted(re.findall(r'to parameter "(\w+)"', "\n".join(errors))) == ["filter_uri", "include_source_store"]
