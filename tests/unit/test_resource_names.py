"""Resource names: what is written is read again, and nothing reaches outside its place in a path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_dicom.resource_names import DatasetName, DicomStoreName, OperationName

ids = st.text(st.characters(categories=("L", "N"), include_characters="-_."), min_size=1, max_size=30)
projects = ids | st.builds("example.com:{}".format, ids)


@given(project=projects, location=ids, dataset=ids, store=ids)
def test_a_name_is_read_as_it_was_written(project, location, dataset, store):
    name = DicomStoreName(project, location, dataset, store)
    assert DicomStoreName.parse(str(name)) == name
    assert str(name) == f"{name.dataset}/dicomStores/{store}"


@pytest.mark.parametrize("value", ["", "a/b", "a:b", "a b", "a\n", "a?b", "a#b", "a%2Fb", "*", None, 7])
@pytest.mark.parametrize("field", ["project_id", "location", "dataset_id"])
def test_a_part_that_is_none(field, value):
    with pytest.raises(ValueError, match=f"{field} is {value!r}".replace("?", r"\?").replace("*", r"\*").replace("\\n", r"\\n")):
        DatasetName(**{"project_id": "p", "location": "l", "dataset_id": "d"} | {field: value})


OPERATION = "projects/p/locations/l/datasets/d/operations"


@pytest.mark.parametrize("name", ["", "p/l/d/1", OPERATION, f"{OPERATION}/1:cancel", f"/{OPERATION}/1", f"{OPERATION}/1/2", None])
def test_no_operation(name):
    with pytest.raises(ValueError, match="operation"):
        OperationName.parse(name)
