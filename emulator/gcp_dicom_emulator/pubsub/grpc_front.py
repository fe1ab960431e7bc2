"""Pub/Sub's gRPC: each request becomes one of HTTP to the emulator itself, as at Google's front.

So a request is checked, logged, and suffers faults in the same way, whatever language it speaks.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import DecodeError, Message

from gcp_dicom_emulator.client import Client, EmulatorError
from gcp_dicom_emulator.pubsub.messages import message_class, unsupported_fields
from gcp_dicom_emulator.pubsub.names import check_name
from gcp_dicom_emulator.pubsub.streaming import Stream
from gcp_dicom_emulator.rest.errors import ApiError, canonical_status

log = logging.getLogger(__name__)

_PACKAGES = re.compile(r"/google\.(?:pubsub|iam)\.v1\.")
_PROJECT = re.compile(r"projects/[^/\s]+")
#: How many requests are served at a time; a pull that waits is one, and so is a stream.
_THREADS = 64


@dataclass(frozen=True)
class _Rpc:
    """A method of gRPC, and how HTTP has it.

    :param request: the request's message.
    :param response: the answer's.
    :param verb: of HTTP.
    :param named: the field of the request that is in the path.
    :param suffix: what follows it there.
    """

    request: str
    response: str
    verb: str
    named: str
    suffix: str = ""

    def collection(self, name: str) -> str:
        """Return what kind of name it is: of ``topics`` or ``subscriptions``."""
        if self.named == "resource":
            return "topics" if "/topics/" in name else "subscriptions"
        return "topics" if "topic" in (self.named, self.request.lower()) else "subscriptions"


#: Source: the ``google.api.http`` options of pubsub.proto; the discovery document has the same.
_RPCS = {
    "Publisher/CreateTopic": _Rpc("Topic", "Topic", "PUT", "name"),
    "Publisher/GetTopic": _Rpc("GetTopicRequest", "Topic", "GET", "topic"),
    "Publisher/ListTopics": _Rpc("ListTopicsRequest", "ListTopicsResponse", "GET", "project", "/topics"),
    "Publisher/ListTopicSubscriptions": _Rpc(
        "ListTopicSubscriptionsRequest", "ListTopicSubscriptionsResponse", "GET", "topic", "/subscriptions"
    ),
    "Publisher/DeleteTopic": _Rpc("DeleteTopicRequest", "Empty", "DELETE", "topic"),
    "Publisher/Publish": _Rpc("PublishRequest", "PublishResponse", "POST", "topic", ":publish"),
    "Subscriber/CreateSubscription": _Rpc("Subscription", "Subscription", "PUT", "name"),
    "Subscriber/GetSubscription": _Rpc("GetSubscriptionRequest", "Subscription", "GET", "subscription"),
    "Subscriber/ListSubscriptions": _Rpc(
        "ListSubscriptionsRequest", "ListSubscriptionsResponse", "GET", "project", "/subscriptions"
    ),
    "Subscriber/DeleteSubscription": _Rpc("DeleteSubscriptionRequest", "Empty", "DELETE", "subscription"),
    "Subscriber/Pull": _Rpc("PullRequest", "PullResponse", "POST", "subscription", ":pull"),
    "Subscriber/Acknowledge": _Rpc("AcknowledgeRequest", "Empty", "POST", "subscription", ":acknowledge"),
    "Subscriber/ModifyAckDeadline": _Rpc("ModifyAckDeadlineRequest", "Empty", "POST", "subscription", ":modifyAckDeadline"),
    "IAMPolicy/GetIamPolicy": _Rpc("GetIamPolicyRequest", "Policy", "GET", "resource", ":getIamPolicy"),
    "IAMPolicy/SetIamPolicy": _Rpc("SetIamPolicyRequest", "Policy", "POST", "resource", ":setIamPolicy"),
    "IAMPolicy/TestIamPermissions": _Rpc(
        "TestIamPermissionsRequest", "TestIamPermissionsResponse", "POST", "resource", ":testIamPermissions"
    ),
}
_STREAM = "Subscriber/StreamingPull"


class GrpcFront:
    """The gRPC server, which starts when it is first asked for: loading gRPC takes a second.

    :param url: returns where the emulator is.
    :param still_lent: returns those of some ack ids that are still lent.
    """

    def __init__(self, url: Callable[[], str], still_lent: Callable[[Iterable[str]], set[str]]) -> None:
        self._url = url
        self._still_lent = still_lent
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="emulator-grpc"),
            handlers=[_Handlers(self._answer, self._stream)],
            options=[("grpc.max_receive_message_length", -1), ("grpc.http2.max_ping_strikes", 0), ("grpc.so_reuseport", 0)],
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def stop(self) -> None:
        """End all requests, and wait for them."""
        self._server.stop(None).wait()

    def _answer(self, rpc: _Rpc, data: bytes, context: grpc.ServicerContext) -> Message:
        with Client(self._url()) as client, errors_in(context):
            # A pull whose client has gone is not to get messages any more.
            context.add_callback(client.abort)
            fields = MessageToDict(parse(rpc.request, data))
            path, query, body = _transcoded(rpc, fields)
            answer = client.call(rpc.verb, f"{path}?{urlencode(query)}" if query else path, body)
            return ParseDict(answer, message_class(rpc.response)())

    def _stream(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Message]:
        messages = (parse("StreamingPullRequest", data) for data in requests)
        with errors_in(context):
            yield from Stream(self._url(), self._still_lent, messages, context).responses()


@contextlib.contextmanager
def errors_in(context: grpc.ServicerContext) -> Iterator[None]:
    """Answer an error as gRPC has it."""
    try:
        yield
    except ApiError as error:
        context.abort(grpc.StatusCode[error.status], error.message)
    except EmulatorError as error:
        # Without an answer, the connection broke: a fault on request, or the emulator's end.
        context.abort(grpc.StatusCode[canonical_status(error.status or 503)], str(error))


def parse(name: str, data: bytes) -> Message:
    """Return a request's message.

    :raises ApiError: 400 for what cannot be read, 501 for fields that the emulator does not do or know.
    """
    message = message_class(name)()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise ApiError(400, f"The request is not a {name}: {error}") from error
    if unsupported := unsupported_fields(message):
        raise ApiError(501, f"The emulator does not do {', '.join(unsupported)}.")
    return message


def _transcoded(rpc: _Rpc, fields: dict[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any] | None]:
    """Return path, query parameters and body of a request as HTTP has it."""
    name = fields.pop(rpc.named, "")
    if rpc.named == "project":
        if not _PROJECT.fullmatch(name):
            raise ApiError(400, f"Invalid project {name!r}: it must be projects/PROJECT.")
    else:
        check_name(name, rpc.collection(name))
    path = f"/v1/{quote(name)}{rpc.suffix}"
    if rpc.verb not in ("GET", "DELETE"):
        return path, {}, fields
    options = fields.pop("options", {})
    return path, fields | {f"options.{key}": value for key, value in options.items()}, None


class _Handlers(grpc.GenericRpcHandler):
    """Finds the code of a method by its name."""

    def __init__(self, answer: Callable[..., Message], stream: Callable[..., Iterator[Message]]) -> None:
        self._answer = answer
        self._stream = stream

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, Any]:
        """Return the code of a method."""
        name = _PACKAGES.sub("", details.method)
        if name == _STREAM:
            return grpc.stream_stream_rpc_method_handler(self._stream, response_serializer=_serialized)
        if rpc := _RPCS.get(name):
            return grpc.unary_unary_rpc_method_handler(functools.partial(self._answer, rpc), response_serializer=_serialized)
        return grpc.unary_unary_rpc_method_handler(functools.partial(_refuse, details.method))


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _refuse(method: str, _: bytes, context: grpc.ServicerContext) -> NoReturn:
    log.info("unknown gRPC %s 501 0 ms", method)
    context.abort(grpc.StatusCode.UNIMPLEMENTED, f"The emulator does not do {method.lstrip('/')}.")
    raise AssertionError  # abort has raised
