"""The example DAGs: they parse on every Airflow, and have what the UI shows of a DAG."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

EXAMPLES = sorted((Path(__file__).parents[2] / "dags").glob("*.py"))


def dag_of(path: Path) -> DAG:
    """Return the one DAG of a file, whose variable is ``dag``."""
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
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
        assert not text or "pattern" in schema or "description" in schema or "format" in schema, name


def test_its_form_opens_with_what_is_most_often_changed(example):
    """Airflow 3 shows sections closed, but for what has none."""
    params = dag_of(example).params
    sections = [params.get_param(name).schema.get("section") for name in params]
    assert sections[0] is None
    assert sections == sorted(sections, key=bool)
    if "dicom_store_id" in params:
        assert sections[-4:] == ["DICOM store"] * 4


def test_its_form_refuses_what_the_operators_would_refuse(example):
    params = dag_of(example).params
    for name, wrong in (
        ("gcs_uri", "bucket/folder/**"),
        ("gcs_uri", "gs://bucket/folder/"),
        ("gcs_uri", "gs://my bucket/**"),
        ("files", "folder/"),
        ("files", "/folder/**"),
        ("query", ""),
        ("mime_type", "text/plain"),
        ("gcs_uri_prefix", "/tmp"),
        ("bigquery_table", "metadata"),
        ("max_failures", -1),
        ("dicom_store_id", "a/b"),
        ("write_disposition", "WRITE"),
        ("folders", ["gs://bucket/folder/"]),
    ):
        if name in params:
            with pytest.raises(Exception, match=re.escape(name)):
                params[name] = wrong


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
