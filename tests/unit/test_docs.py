"""What the documentation lists is what there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import airflow_dicom.operators
import airflow_dicom.sensors
from airflow_dicom import exceptions
from airflow_dicom.links import dicom as links

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text()


def test_each_exception_has_a_section_that_says_what_to_do():
    raised = {
        name
        for name, kind in vars(exceptions).items()
        if inspect.isclass(kind) and issubclass(kind, exceptions.DicomError) and kind is not exceptions.DicomError
    }
    sections = set(re.findall(r"^## (\w+)$", page("guides/failures.md"), re.MULTILINE))
    assert sections == raised


def test_each_operator_is_in_the_reference():
    shown = set(
        re.findall(r"autoclass:: airflow_dicom\.(?:operators|sensors)\.(\w+)$", page("reference/operators.md"), re.MULTILINE)
    )
    assert shown == {*airflow_dicom.operators.__all__, *airflow_dicom.sensors.__all__}


def test_each_link_is_in_the_reference():
    table = dict(re.findall(r"^\| ([\w ]+) \| `(\w+_link)` \|", page("reference/xcom.md"), re.MULTILINE))
    there = {
        kind.name: kind.key for name, kind in vars(links).items() if name.endswith("Link") and not name.startswith(("_", "Base"))
    }
    assert table == there


def test_each_example_is_in_the_list():
    assert set(re.findall(r"^\| `(\w+)` \|", page("howto/examples.md"), re.MULTILINE)) == {
        path.stem for path in (ROOT / "dags").glob("*.py")
    }
