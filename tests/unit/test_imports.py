"""What must not be loaded when Airflow parses a DAG file, or when the triggerer imports a trigger."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
import tomllib
from collections.abc import Set
from pathlib import Path

import pytest

import airflow_dicom

PACKAGE = Path(airflow_dicom.__file__).parent

HEAVY = ("google", "googleapiclient", "gcloud", "airflow.providers.google", "pandas", "pyarrow", "duckdb", "sqlglot", "pydicom")

PURE = (
    "deidentify_config",
    "exceptions",
    "export_destination",
    "filter_paths",
    "filter_sql",
    "gcs_uris",
    "operation",
    "policy",
    "polling",
    "resource_names",
    "store_metrics",
    "work.journal",
    "work.plan",
    "work.waiting",
)

AIRFLOW = "import airflow.triggers.base; from airflow.providers.common.compat.sdk import BaseOperator, BaseSensorOperator, conf"
OURS = "import airflow_dicom.operators, airflow_dicom.sensors, airflow_dicom.triggers.dicom, airflow_dicom.provider_info"


@functools.cache
def modules_loaded_by(statement: str) -> frozenset[str]:
    """Return the modules that a fresh interpreter has after a statement."""
    script = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    return frozenset(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split())


def below(modules: Set[str], packages: tuple[str, ...]) -> list[str]:
    return sorted(module for module in modules if any(module == name or module.startswith(f"{name}.") for name in packages))


#: What may import the emulator, inside its fixtures.
PLUGIN = "pytest_plugin.py"


def imports_of_emulator(path: Path) -> list[tuple[str, bool]]:
    """Return what a file imports of the emulator, and whether a function, or only a type checker, does."""
    tree = ast.parse(path.read_text())
    parts = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    parts += [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    inside = {inner for part in parts for inner in ast.walk(part)}
    found = []
    for node in ast.walk(tree):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names = [name.name for name in node.names] if isinstance(node, ast.Import) else names
        found += [(name, node in inside) for name in names if name.partition(".")[0] == "gcp_dicom_emulator"]
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_plugin_s_fixtures_import_the_emulator(path: Path):
    found = imports_of_emulator(path)
    assert [name for name, inside in found if not inside] == []
    assert path.name == PLUGIN or found == []


def test_the_provider_needs_the_emulator_for_its_extra_only():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    assert not [requirement for requirement in project["dependencies"] if "emulator" in requirement]
    assert [requirement.partition(">")[0] for requirement in project["optional-dependencies"]["emulator"]] == [
        "gcp-dicom-emulator"
    ]


@pytest.mark.slow
def test_parsing_a_dag_or_loading_a_trigger_loads_no_google_library():
    # Airflow itself may load some, and the interpreter namespace packages: what counts is what we add.
    added = modules_loaded_by(f"{AIRFLOW}\n{OURS}") - modules_loaded_by(AIRFLOW)
    assert below(added, ("airflow_dicom.operators",))
    assert below(added, HEAVY) == []


def test_pure_modules_load_neither_airflow_nor_google():
    added = modules_loaded_by("import " + ", ".join(f"airflow_dicom.{name}" for name in PURE)) - modules_loaded_by("")
    assert below(added, ("airflow_dicom.operation",))
    assert below(added, ("airflow", "google", "aiohttp")) == []


@pytest.mark.slow
def test_parsing_a_dag_loads_a_handful_of_modules():
    """Ours, a few of Airflow's, and nobody else's: that is what a fiftieth of the Google provider's cost comes from."""
    parsed = f"{AIRFLOW}\nimport airflow_dicom.operators, airflow_dicom.sensors"
    added = modules_loaded_by(parsed) - modules_loaded_by(AIRFLOW)
    assert {name.partition(".")[0] for name in added} <= {"airflow_dicom", "airflow"}
    assert len(added) <= 60


@pytest.mark.slow
def test_a_resumed_task_loads_no_google_library():
    """It holds a worker's slot for as long as Airflow needs to start it."""
    resumed = f"""
import types
{AIRFLOW}
from airflow_dicom.operators import DicomImportOperator
task = DicomImportOperator(task_id="t", location="l", dataset_id="d", dicom_store_id="s", gcs_uri="gs://bucket/**")
name = "projects/p/locations/l/datasets/d/operations/1"
event = {{"status": "done", "name": name, "operation": {{"name": name, "done": True, "success": 1}}}}
context = {{"ti": types.SimpleNamespace(try_number=1, max_tries=0, xcom_push=print)}}
result = task.execute_complete(context, event, rendered={{"project_id": "p"}})
assert result["dicom_store"].startswith("projects/p/"), result
"""
    added = modules_loaded_by(resumed) - modules_loaded_by(AIRFLOW)
    assert below(added, ("airflow_dicom.operators",))
    assert below(added, (*HEAVY, "aiohttp", "requests")) == []
