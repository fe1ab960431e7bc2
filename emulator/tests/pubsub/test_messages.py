"""The table of messages says what Google's own does."""

from __future__ import annotations

from typing import Any

import pytest
from google import pubsub_v1
from google.iam.v1 import iam_policy_pb2, options_pb2, policy_pb2
from google.protobuf.descriptor import FieldDescriptor

from gcp_dicom_emulator.pubsub.messages import message_class, table, unsupported_fields

GOOGLES = {"SubscriptionProperties": pubsub_v1.StreamingPullResponse.SubscriptionProperties}
NAMES = [name for name, fields in table() if fields]


def descriptor(name: str) -> Any:
    for module in (iam_policy_pb2, options_pb2, policy_pb2):
        if found := getattr(module, name, None):
            return found.DESCRIPTOR
    kind = GOOGLES.get(name) or getattr(pubsub_v1, name)
    return kind.pb(kind()).DESCRIPTOR


@pytest.mark.parametrize("name", NAMES)
def test_each_field_is_as_googles(name: str) -> None:
    ours, googles = message_class(name).DESCRIPTOR.fields_by_name, descriptor(name).fields_by_name
    # A newer client may have more; the fields that are there must be right.
    assert set(ours) == set(googles)
    for field, expected in googles.items():
        found = ours[field]
        assert (found.number, found.is_repeated) == (expected.number, expected.is_repeated), field
        kind = FieldDescriptor.TYPE_INT32 if expected.type == FieldDescriptor.TYPE_ENUM else expected.type
        assert found.type == kind, field
        if expected.message_type and found.message_type.name != "Unsupported":
            assert found.message_type.name == expected.message_type.name


def test_what_the_table_does_not_have_is_found() -> None:
    topic = pubsub_v1.Topic(name="x", schema_settings={"schema": "s"}, labels={"a": "b"})
    message = message_class("ListTopicsResponse")()
    message.ParseFromString(
        pubsub_v1.ListTopicsResponse.serialize(pubsub_v1.ListTopicsResponse(topics=[topic])) + b"\x98\x06\x01"
    )
    assert sorted(unsupported_fields(message)) == ["ListTopicsResponse.99", "Topic.schema_settings"]
