"""A streaming pull: pulls, one after the other, while the client acknowledges and extends on the same stream."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from gcp_dicom_emulator.client import Client, EmulatorError
from gcp_dicom_emulator.pubsub.deliveries import MAX_PULL
from gcp_dicom_emulator.pubsub.messages import message_class
from gcp_dicom_emulator.pubsub.names import check_name
from gcp_dicom_emulator.pubsub.subscriptions import ACK_DEADLINES
from gcp_dicom_emulator.rest.errors import ApiError

#: How many seconds a stream without room for more waits before it looks again: clients acknowledge by requests of their own, too.
_NO_ROOM = 0.1


class Stream:
    """One stream.

    :param url: where the emulator is.
    :param still_lent: returns those of some ack ids that are still lent.
    :param requests: the client's; the first says of which subscription the stream is.
    :param context: the call.
    """

    def __init__(
        self,
        url: str,
        still_lent: Callable[[Iterable[str]], set[str]],
        requests: Iterator[Any],
        context: grpc.ServicerContext,
    ) -> None:
        self._url = url
        self._requests = requests
        self._context = context
        self._pulling = Client(url)
        self._lent = _Lent(still_lent)
        self._room = threading.Event()
        self._error: ApiError | EmulatorError | None = None
        self._ended = False
        self._ack_deadline = 0
        context.add_callback(self._end)

    def responses(self) -> Iterator[Message]:
        """Yield what the client is to get, until it goes.

        :raises ApiError: 400 for a request that makes no sense.
        :raises EmulatorError: the emulator refuses, such as when there is no such subscription.
        """
        first = next(self._requests)
        subscription = check_name(first.subscription, "subscriptions")
        self._set_ack_deadline(first.stream_ack_deadline_seconds, required=True)
        most, most_bytes = first.max_outstanding_messages, first.max_outstanding_bytes
        with Client(self._url) as client:
            ordered = client.call("GET", f"/v1/{subscription}").get("enableMessageOrdering", False)
        threading.Thread(target=self._take, args=(subscription, first), name="emulator-stream", daemon=True).start()
        try:
            yield _response({"subscriptionProperties": {"messageOrderingEnabled": ordered}})
            while not self._ended:
                self._room.clear()
                room = self._lent.room(most, most_bytes)
                if not room:
                    self._room.wait(_NO_ROOM)
                elif received := self._pull(subscription, room):
                    yield _response({"receivedMessages": received})
        finally:
            self._pulling.__exit__()
        if self._error:
            raise self._error

    def _pull(self, subscription: str, most: int) -> list[dict[str, Any]]:
        try:
            answer = self._pulling.call("POST", f"/v1/{subscription}:pull", {"maxMessages": most})
        except EmulatorError:
            if self._ended:
                return []
            raise
        received: list[dict[str, Any]] = answer.get("receivedMessages", [])
        if received:
            self._extend(self._pulling, subscription, [each["ackId"] for each in received], self._ack_deadline)
            self._lent.add(received)
        return received

    def _take(self, subscription: str, first: Any) -> None:
        """Do what the client's requests say."""
        try:
            with Client(self._url) as client:
                self._take_one(client, subscription, first)
                for request in self._requests:
                    self._set_ack_deadline(request.stream_ack_deadline_seconds)
                    self._take_one(client, subscription, request)
        except (ApiError, EmulatorError) as error:
            self._error = error
        except Exception:  # grpc raises a bare one where the client has gone
            if self._context.is_active():
                raise
        finally:
            self._end()

    def _take_one(self, client: Client, subscription: str, request: Any) -> None:
        if request.ack_ids:
            client.call("POST", f"/v1/{subscription}:acknowledge", {"ackIds": list(request.ack_ids)})
        if len(request.modify_deadline_ack_ids) != len(request.modify_deadline_seconds):
            raise ApiError(400, "modify_deadline_ack_ids and modify_deadline_seconds must have the same length.")
        by_seconds: dict[int, list[str]] = {}
        for ack_id, seconds in zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=True):
            by_seconds.setdefault(seconds, []).append(ack_id)
        for seconds, ack_ids in by_seconds.items():
            self._extend(client, subscription, ack_ids, seconds)
        self._room.set()

    def _extend(self, client: Client, subscription: str, ack_ids: list[str], seconds: int) -> None:
        body = {"ackIds": ack_ids, "ackDeadlineSeconds": seconds}
        client.call("POST", f"/v1/{subscription}:modifyAckDeadline", body)

    def _set_ack_deadline(self, seconds: int, *, required: bool = False) -> None:
        if not seconds and not required:
            return
        if not ACK_DEADLINES[0] <= seconds <= ACK_DEADLINES[1]:
            limits = f"from {ACK_DEADLINES[0]} to {ACK_DEADLINES[1]}"
            raise ApiError(400, f"stream_ack_deadline_seconds is {seconds}; it must be {limits}.")
        self._ack_deadline = seconds

    def _end(self) -> None:
        self._ended = True
        self._room.set()
        self._pulling.abort()


class _Lent:
    """What a stream has delivered, and the client has not acknowledged in time, be it on this stream or by requests of their own.

    :param still_lent: returns those of some ack ids that are still lent.
    """

    def __init__(self, still_lent: Callable[[Iterable[str]], set[str]]) -> None:
        self._still_lent = still_lent
        self._sizes: dict[str, int] = {}

    def add(self, received: list[dict[str, Any]]) -> None:
        """Note what is lent."""
        for each in received:
            self._sizes[each["ackId"]] = len(base64.b64decode(each["message"].get("data", "")))

    def room(self, most: int, most_bytes: int) -> int:
        """Return for how many messages there is room; a limit of 0 or less is none."""
        if most <= 0 and most_bytes <= 0:
            return MAX_PULL
        lent = self._still_lent(self._sizes)
        self._sizes = {ack_id: size for ack_id, size in self._sizes.items() if ack_id in lent}
        if 0 < most_bytes <= sum(self._sizes.values()):
            return 0
        return max(0, min(MAX_PULL, most - len(self._sizes))) if most > 0 else MAX_PULL


def _response(fields: dict[str, Any]) -> Message:
    return ParseDict(fields, message_class("StreamingPullResponse")())
