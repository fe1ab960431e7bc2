"""Methods are found by the documents' patterns, of which only those are compiled that may match."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from gcp_dicom_emulator.rest.discovery import Api, Method

APIS = ["healthcare.v1", "healthcare.v1beta1", "storage.v1", "bigquery.v2", "pubsub.v1"]


def path_of(method: Method) -> str:
    """Return a path that the method's pattern matches."""
    path = re.sub(r"\(\?:(.*?)\)\?", r"\1", method.pattern)
    path = re.sub(r"\(\?P<\w+>(.*?)\)", r"\1", path)
    return path.replace("[^/]+", "x").replace(".*", "x/y").replace("\\", "")


@pytest.mark.parametrize("name", APIS)
def test_a_path_is_of_each_method_whose_pattern_matches_it(name: str) -> None:
    methods = Api(name).methods
    assert len(methods) > 20
    for path in map(path_of, methods):
        matching = [method for method in methods if re.fullmatch(method.pattern, path)]
        assert matching, path
        assert [method for method in methods if method.match(path)] == matching, path


@pytest.mark.parametrize("name", APIS)
def test_a_path_is_found_by_how_it_begins(name: str) -> None:
    api = Api(name)
    for method in api.methods:
        for path in {path_of(method), path_of(replace(method, pattern=re.sub(r"\(\?:.*?\)\?", "", method.pattern)))}:
            same = [other for other in api.methods if other.http_method == method.http_method and other.match(path)]
            found = api.find(method.http_method, path)
            assert found is not None, path
            assert found[0] is same[0], path


def test_the_patterns_are_not_compiled_at_first() -> None:
    api = Api("healthcare.v1")
    assert not [method for method in api.methods if "regex" in vars(method)]
    found = api.find("GET", "/v1/projects/p/locations/l/datasets/d")
    assert found is not None
    assert found[0].method_id == "healthcare.projects.locations.datasets.get"
    assert len([method for method in api.methods if "regex" in vars(method)]) < 10
