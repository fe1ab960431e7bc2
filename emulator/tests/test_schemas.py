"""The checker that all tests rely on finds what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.schemas import Document


@pytest.mark.parametrize(
    ("api", "schema", "value", "problem"),
    [
        ("storage.v1", "Object", {"size": 5}, "response.size: 5 is not of type uint64"),
        ("storage.v1", "Object", {"timeCreated": "today Z"}, "'today Z' is not of type date-time"),
        ("healthcare.v1", "Policy", {"etag": "abc"}, "'abc' is not of type byte"),
        ("storage.v1", "Objects", {"items": [{"nonsense": 1}]}, "response.items[].nonsense: unknown field"),
        ("storage.v1", "Objects", {"prefixes": "a/"}, "response.prefixes: 'a/' is not of type array"),
        ("bigquery.v2", "Job", {"configuration": {"dryRun": "true"}}, "'true' is not of type boolean"),
        ("bigquery.v2", "Job", {"configuration": {"load": {"skipLeadingRows": "1"}}}, "'1' is not of type int32"),
        ("healthcare.v1", "Operation", {"error": None}, "response.error: None is not of type object"),
        (
            "healthcare.v1",
            "Operation",
            {
                "metadata": {
                    "@type": "type.googleapis.com/google.cloud.healthcare.v1.OperationMetadata",
                    "counter": {"success": 1},
                }
            },
            "response.metadata.counter.success: 1 is not of type int64",
        ),
        ("healthcare.v1", "GoogleCloudHealthcareV1DicomBigQueryDestination", {"writeDisposition": "ADD"}, "none of the enum"),
    ],
)
def test_wrong_answers(api: str, schema: str, value: dict[str, Any], problem: str) -> None:
    assert problem in "; ".join(Document(api).check({"$ref": schema}, value, "response"))


def test_a_request_may_be_written_in_other_ways() -> None:
    body = {"gcs_destination": {"uri_prefix": "gs://b"}, "bigqueryDestination": None}
    assert not list(Document("healthcare.v1").check({"$ref": "ExportDicomDataRequest"}, body, "request"))
    assert list(Document("healthcare.v1").check({"$ref": "ExportDicomDataRequest"}, body, "response"))
    assert list(Document("healthcare.v1").check({"$ref": "ExportDicomDataRequest"}, {"gcs": {}}, "request"))


def test_query_parameters() -> None:
    document = Document("storage.v1")
    assert not list(document.check_query("storage.objects.list", iter(["prefix", "fields", "alt"])))
    assert list(document.check_query("storage.objects.list", iter(["prefixes"])))
