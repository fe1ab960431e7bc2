"""The messages of Pub/Sub's gRPC, as protobuf classes.

Source: google/pubsub/v1/pubsub.proto, google/iam/v1/iam_policy.proto and policy.proto of googleapis. They are written down here,
since google-cloud-pubsub, which has them as well, is a client, which brings OpenTelemetry along and takes long to load. A test
compares each field with Google's. What is ``Unsupported`` has fields there; the emulator needs its name only, to refuse it by that.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    message_factory,
    timestamp_pb2,
)
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

_PACKAGE = "gcp_dicom_emulator.pubsub"
#: Each message's fields: a type, with ``*`` where it is repeated, a name and a number. ``map`` is from text to text.
TABLE = """
Unsupported:
Topic: string name 1, map labels 2, Unsupported message_storage_policy 3, string kms_key_name 5, Unsupported schema_settings 6,
    bool satisfies_pzs 7, Duration message_retention_duration 8, enum state 9, Unsupported ingestion_data_source_settings 10,
    Unsupported* message_transforms 13, map tags 14
PubsubMessage: bytes data 1, map attributes 2, string message_id 3, Timestamp publish_time 4, string ordering_key 5
GetTopicRequest: string topic 1
ListTopicsRequest: string project 1, int32 page_size 2, string page_token 3
ListTopicsResponse: Topic* topics 1, string next_page_token 2
ListTopicSubscriptionsRequest: string topic 1, int32 page_size 2, string page_token 3
ListTopicSubscriptionsResponse: string* subscriptions 1, string next_page_token 2
DeleteTopicRequest: string topic 1
PublishRequest: string topic 1, PubsubMessage* messages 2
PublishResponse: string* message_ids 1
Subscription: string name 1, string topic 2, PushConfig push_config 4, int32 ack_deadline_seconds 5, bool retain_acked_messages 7,
    Duration message_retention_duration 8, map labels 9, bool enable_message_ordering 10, ExpirationPolicy expiration_policy 11,
    string filter 12, DeadLetterPolicy dead_letter_policy 13, RetryPolicy retry_policy 14, bool detached 15,
    bool enable_exactly_once_delivery 16, Duration topic_message_retention_duration 17, Unsupported bigquery_config 18, enum state 19,
    Unsupported cloud_storage_config 22, Unsupported analytics_hub_subscription_info 23, Unsupported* message_transforms 25,
    map tags 26, Unsupported bigtable_config 27
PushConfig: string push_endpoint 1, map attributes 2, Unsupported oidc_token 3, Unsupported pubsub_wrapper 4, Unsupported no_wrapper 5
ExpirationPolicy: Duration ttl 1
DeadLetterPolicy: string dead_letter_topic 1, int32 max_delivery_attempts 2
RetryPolicy: Duration minimum_backoff 1, Duration maximum_backoff 2
GetSubscriptionRequest: string subscription 1
ListSubscriptionsRequest: string project 1, int32 page_size 2, string page_token 3
ListSubscriptionsResponse: Subscription* subscriptions 1, string next_page_token 2
DeleteSubscriptionRequest: string subscription 1
PullRequest: string subscription 1, bool return_immediately 2, int32 max_messages 3
PullResponse: ReceivedMessage* received_messages 1
ReceivedMessage: string ack_id 1, PubsubMessage message 2, int32 delivery_attempt 3
AcknowledgeRequest: string subscription 1, string* ack_ids 2
ModifyAckDeadlineRequest: string subscription 1, int32 ack_deadline_seconds 3, string* ack_ids 4
StreamingPullRequest: string subscription 1, string* ack_ids 2, int32* modify_deadline_seconds 3, string* modify_deadline_ack_ids 4,
    int32 stream_ack_deadline_seconds 5, string client_id 6, int64 max_outstanding_messages 7, int64 max_outstanding_bytes 8,
    int64 protocol_version 10
SubscriptionProperties: bool exactly_once_delivery_enabled 1, bool message_ordering_enabled 2
StreamingPullResponse: ReceivedMessage* received_messages 1, Unsupported modify_ack_deadline_confirmation 3,
    SubscriptionProperties subscription_properties 4, Unsupported acknowledge_confirmation 5
GetPolicyOptions: int32 requested_policy_version 1
GetIamPolicyRequest: string resource 1, GetPolicyOptions options 2
SetIamPolicyRequest: string resource 1, Policy policy 2, FieldMask update_mask 3
TestIamPermissionsRequest: string resource 1, string* permissions 2
TestIamPermissionsResponse: string* permissions 1
Policy: int32 version 1, bytes etag 3, Binding* bindings 4, Unsupported* audit_configs 6
Binding: string role 1, string* members 2, Unsupported condition 3
"""
_WELL_KNOWN = {"Duration": duration_pb2, "FieldMask": field_mask_pb2, "Timestamp": timestamp_pb2}
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "enum": _Field.TYPE_INT32,  # the same on the wire; the emulator sets none
}


def table() -> Iterator[tuple[str, list[tuple[str, str, int]]]]:
    """Yield the name of each message, and its fields' types, names and numbers."""
    for line in re.sub(r"\n +", " ", TABLE).strip().splitlines():
        name, _, fields = line.partition(":")
        yield name, [(kind, field, int(number)) for kind, field, number in map(str.split, filter(None, fields.split(",")))]


@functools.cache
def message_class(name: str) -> type[Message]:
    """Return the class of a message by its name in the table, or ``Empty``."""
    if name == "Empty":
        return empty_pb2.Empty
    found: type[Message] = message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))
    return found


def unsupported_fields(message: Message) -> list[str]:
    """Return what a message has that the emulator does not do: ``Topic.schema_settings``, or ``Topic.99``
    where the client is newer than the table."""
    kind = message.DESCRIPTOR.name
    found = [f"{kind}.{field.field_number}" for field in UnknownFieldSet(message)]  # type: ignore[attr-defined]
    for descriptor, value in message.ListFields():
        below = descriptor.message_type
        if below is None or below.GetOptions().map_entry:
            continue
        if below.name == "Unsupported":
            found.append(f"{kind}.{descriptor.name}")
        else:
            found += [name for each in (value if descriptor.is_repeated else [value]) for name in unsupported_fields(each)]
    return found


@functools.cache
def _pool() -> descriptor_pool.DescriptorPool:
    """Return a pool of its own: Google's client, in the same process, has messages of the same names."""
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="pubsub.proto", package=_PACKAGE, syntax="proto3")
    for module in _WELL_KNOWN.values():
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        file.dependency.append(module.DESCRIPTOR.name)
    for name, fields in table():
        message = file.message_type.add(name=name)
        for kind, field, number in fields:
            _add_field(message, kind, field, number)
    pool.Add(file)
    return pool


def _add_field(message: descriptor_pb2.DescriptorProto, kind: str, name: str, number: int) -> None:
    added: Any = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if kind == "map" or kind.endswith("*"):
        added.label = _Field.LABEL_REPEATED
    kind = kind.rstrip("*")
    if kind in _SCALARS:
        added.type = _SCALARS[kind]
        return
    added.type = _Field.TYPE_MESSAGE
    if kind == "map":
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        for part, of in enumerate(("key", "value"), 1):
            entry.field.add(name=of, number=part, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
        added.type_name = f".{_PACKAGE}.{message.name}.{entry.name}"
    else:
        added.type_name = f".google.protobuf.{kind}" if kind in _WELL_KNOWN else f".{_PACKAGE}.{kind}"
