"""Methods are found by the documents' patterns, of which only those are compiled that may match; bodies are what the documents say."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from gcp_dicom_emulator.rest.discovery import Api, Method
from gcp_dicom_emulator.rest.errors import ApiError

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


@pytest.mark.parametrize(
    ("schema", "body", "canonical"),
    [
        ("Table", {"expirationTime": "-5"}, {"expirationTime": "-5"}),
        ("Table", {"expirationTime": 5.0}, {"expirationTime": "5"}),
        ("Table", {"expirationTime": 2**63 - 1}, {"expirationTime": "9223372036854775807"}),
        ("QueryRequest", {"maxResults": "7"}, {"maxResults": 7}),
        *(("Table", {"expirationTime": bad}, None) for bad in ("NaN", "", "1_0", "5.5", " 5", 5.5, 2**63, float("inf"))),
        *(("QueryRequest", {"maxResults": bad}, None) for bad in ("1_0", -1, 2**32, "٣")),
    ],
    ids=str,
)
def test_integers_are_integers_of_their_size(schema: str, body: dict[str, Any], canonical: dict[str, Any] | None) -> None:
    api = Api("bigquery.v2")
    if canonical is None:
        with pytest.raises(ApiError, match="Invalid value at"):
            api.canonical_body(schema, body)
    else:
        assert api.canonical_body(schema, body) == canonical
