"""The example DAGs: they parse on every Airflow, and have what the UI shows of a DAG."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG
from airflow.triggers.base import BaseTrigger

from airflow_dicom.exceptions import DicomArgumentError
from airflow_dicom.operators import DicomOperationOperator
from tests.scripts import load

#: Those that have no DAG before Airflow 3.3, and those that have none before 3.1.
NEED_WATCHERS = set() if hasattr(BaseTrigger, "on_kill") else {"dicom_objects_arrive", "dicom_study_arrives"}
NEED_PEOPLE = set() if find_spec("airflow.sdk") else {"dicom_research_cohort"}
MISSING = NEED_WATCHERS | NEED_PEOPLE
EXAMPLES = sorted(path for path in (Path(__file__).parents[2] / "dags").glob("*.py") if path.stem not in MISSING)


def dag_of(path: Path) -> DAG:
    """Return the one DAG of a file, whose variable is ``dag``."""
    module: Any = load(path)
    assert isinstance(module.dag, DAG)
    return module.dag


@pytest.fixture(params=EXAMPLES, ids=[path.stem for path in EXAMPLES])
def example(request) -> Path:
    return request.param


def test_it_parses_and_says_what_it_does(example):
    dag = dag_of(example)
    assert dag.dag_id == example.stem
    assert dag.tasks
    assert dag.description
    assert dag.doc_md.strip().startswith("### ")
    assert {"dicom", "example"} <= set(dag.tags)
    assert not dag.catchup


@pytest.mark.parametrize("name", sorted(MISSING))
def test_what_this_airflow_cannot_do_is_left_out(name):
    assert not hasattr(load(Path(__file__).parents[2] / "dags" / f"{name}.py"), "dag")


def test_each_task_says_what_it_does(example):
    for task in dag_of(example).tasks:
        assert task.doc_md, task.task_id


def test_runs_that_would_write_the_same_table_wait_for_each_other(example):
    dag = dag_of(example)
    if any(getattr(task, "bigquery_table", None) for task in dag.tasks):
        assert dag.max_active_runs == 1


def test_its_form_explains_each_field_and_takes_its_defaults(example):
    params = dag_of(example).params
    params.validate()
    for name in params:
        schema = params.get_param(name).schema
        assert {"type", "title"} <= schema.keys(), name
        text = schema["type"] == "string" and "enum" not in schema
        assert not text or schema.get("minLength") or "pattern" in schema or "description" in schema or "format" in schema, name


def test_its_form_opens_with_what_is_most_often_changed(example):
    """Airflow 3 shows sections closed, but for what has none."""
    params = dag_of(example).params
    sections = [params.get_param(name).schema.get("section") for name in params]
    assert not sections or sections[0] is None
    assert sections == sorted(sections, key=bool)
    if "dicom_store_id" in params:
        assert sections[-4:] == ["DICOM store"] * 4


#: What no task could explain better: it would not fail, or not in the operators of this package.
REFUSED_BY_FORMS = (
    ("gcs_uri", ""),
    ("bucket", "gs://bucket"),
    ("wait_for", "folder/*"),
    ("files", "/folder/**"),
    ("query", ""),
    ("mime_type", "text/plain"),
    ("gcs_uri_prefix", ""),
    ("ledger_table", "ledger"),
    ("delivered_table_prefix", "delivered"),
    ("max_failures", -1),
    ("dicom_store_id", ""),
    ("write_disposition", "WRITE"),
    ("folders", []),
)

#: What the operators explain, with an example of what is right; Airflow shows of a form's refusal a pattern alone.
EXPLAINED_BY_OPERATORS = (
    ("gcs_uri", "bucket/folder/**", "it must be a Cloud Storage URI such as gs://bucket/path"),
    ("gcs_uri", "gs://bucket/folder/", "add a wildcard, such as gs://bucket/folder/"),
    ("gcs_uri", "gs://my bucket/**", "the name of a bucket has no spaces"),
    ("gcs_uri_prefix", "/tmp", "it must be a Cloud Storage URI such as gs://bucket/path"),
    ("gcs_uri_prefix", "gs://bucket/*", "without wildcards"),
    ("bigquery_table", "metadata", "it must be project.dataset.table"),
    ("dicom_store_id", "a/b", "a/b"),
    ("project_id", "My Project", "My Project"),
)


def test_its_form_refuses_what_no_task_explains_better(example):
    params = dag_of(example).params
    for name, wrong in REFUSED_BY_FORMS:
        if name in params:
            with pytest.raises(Exception, match=re.escape(name)):
                params[name] = wrong


@pytest.mark.parametrize(("name", "wrong", "explanation"), EXPLAINED_BY_OPERATORS)
def test_its_form_leaves_to_operators_what_they_explain(example, run_task, name, wrong, explanation):
    dag = dag_of(example)
    if name not in dag.params:
        pytest.skip("it has no such field")
    dag.params[name] = wrong
    takers = [task for task in dag.tasks if isinstance(task, DicomOperationOperator) and getattr(task, name, None)]
    if not takers:
        pytest.skip("its operator is mapped")
    with pytest.raises(DicomArgumentError, match=explanation):
        run_task(takers[0], params=dict(dag.params))


def test_its_marks_are_pairs(example):
    """The documentation shows what is between them."""
    marks = re.findall(r"# \[(START|END) (\w+)\]", example.read_text())
    open_ = []
    for kind, name in marks:
        if kind == "START":
            open_.append(name)
        else:
            assert open_.pop() == name
    assert marks
    assert not open_
