"""The Pub/Sub API: topics, publishing and pulling.

Source: the discovery document ``pubsub.v1``. gRPC goes this way as well; see ``grpc_front``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.pubsub.deliveries import Deliveries
from gcp_dicom_emulator.pubsub.subscriptions import Subscriptions
from gcp_dicom_emulator.pubsub.topics import Topics
from gcp_dicom_emulator.rest.iam import IamPolicies
from gcp_dicom_emulator.rest.paging import page
from gcp_dicom_emulator.rest.server import Call, Handler

#: For how many seconds a pull waits for a message. The documentation says "for a bounded amount of time".
PULL_SECONDS = 20.0
_TOPICS, _SUBSCRIPTIONS = "pubsub.projects.topics", "pubsub.projects.subscriptions"


class PubSubService:
    """Topics, subscriptions and messages over HTTP.

    :param state: where they are kept.
    :param clock: returns the time, in seconds since the epoch.
    """

    apis = ["pubsub.v1"]

    def __init__(self, state: State, clock: Callable[[], float] = time.time) -> None:
        self._state = state
        self._changes = _Changes()
        self._policies = IamPolicies(state)
        self.topics = Topics(state)
        self.subscriptions = Subscriptions(state, self.topics)
        self.deliveries = Deliveries(state, self.topics, self.subscriptions, clock, self._changes.announce)

    def handlers(self) -> dict[str, Handler]:
        """Return the code by method id."""
        return {
            f"{_TOPICS}.create": lambda call: self.topics.create({**call.body, "name": call.path["name"]}),
            f"{_TOPICS}.get": lambda call: self.topics.get(call.path["topic"]),
            f"{_TOPICS}.list": lambda call: _page(call, "topics", self.topics.of_project(call.path["project"])),
            f"{_TOPICS}.delete": self._delete_topic,
            f"{_TOPICS}.publish": lambda call: {
                "messageIds": self.deliveries.publish(call.path["topic"], call.body.get("messages", []))
            },
            f"{_TOPICS}.subscriptions.list": self._list_topic_subscriptions,
            f"{_SUBSCRIPTIONS}.create": lambda call: self.subscriptions.create({**call.body, "name": call.path["name"]}),
            f"{_SUBSCRIPTIONS}.get": lambda call: self.subscriptions.get(call.path["subscription"]),
            f"{_SUBSCRIPTIONS}.list": lambda call: _page(
                call, "subscriptions", self.subscriptions.of_project(call.path["project"])
            ),
            f"{_SUBSCRIPTIONS}.delete": self._delete_subscription,
            f"{_SUBSCRIPTIONS}.pull": self._pull,
            f"{_SUBSCRIPTIONS}.acknowledge": self._acknowledge,
            f"{_SUBSCRIPTIONS}.modifyAckDeadline": self._modify_ack_deadline,
            **self._policies.handlers(_TOPICS, self.topics.get),
            **self._policies.handlers(_SUBSCRIPTIONS, self.subscriptions.get),
        }

    def close(self) -> None:
        """There is no background work."""

    def release(self) -> None:
        """Answer the pulls that wait, with nothing, so that nobody waits for them."""
        self._changes.end()

    def _delete_topic(self, call: Call) -> dict[str, Any]:
        with self._state.transaction():
            self.topics.delete(call.path["topic"])
            self._policies.delete_below(call.path["topic"])
        return {}

    def _list_topic_subscriptions(self, call: Call) -> dict[str, Any]:
        found = [{"name": name} for name in self.topics.subscriptions(call.path["topic"])]
        answer = page("subscriptions", found, "projects/", call.query.get("pageSize"), call.query.get("pageToken"))
        return {**answer, "subscriptions": [each["name"] for each in answer.get("subscriptions", [])]}

    def _delete_subscription(self, call: Call) -> dict[str, Any]:
        with self._state.transaction():
            self.subscriptions.delete(call.path["subscription"])
            self.deliveries.forget(call.path["subscription"])
            self._policies.delete_below(call.path["subscription"])
        return {}

    async def _pull(self, call: Call) -> dict[str, Any]:
        subscription, most = call.path["subscription"], call.body.get("maxMessages", 0)
        deadline = time.monotonic() + (0.0 if call.body.get("returnImmediately") else PULL_SECONDS)
        while True:
            change = self._changes.following()
            # Nobody is to have what a client does not get any more that has gone meanwhile.
            if call.request.transport is None or call.request.transport.is_closing():
                return {}
            if found := await asyncio.to_thread(self.deliveries.pull, subscription, most):
                return {"receivedMessages": found}
            due = await asyncio.to_thread(self.deliveries.next_due)
            left = deadline - time.monotonic()
            if left <= 0 or self._changes.ended:
                return {}
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(change.wait(), left if due is None else min(left, due))

    def _acknowledge(self, call: Call) -> dict[str, Any]:
        self.deliveries.acknowledge(call.path["subscription"], call.body.get("ackIds", []))
        return {}

    def _modify_ack_deadline(self, call: Call) -> dict[str, Any]:
        seconds = call.body.get("ackDeadlineSeconds", 0)
        self.deliveries.modify_ack_deadline(call.path["subscription"], call.body.get("ackIds", []), seconds)
        return {}


class _Changes:
    """Wakes who waits on the event loop when there may be something new, be that found in whatever thread."""

    def __init__(self) -> None:
        self.ended = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._following = asyncio.Event()

    def following(self) -> asyncio.Event:
        """Return what the next change sets."""
        self._loop = asyncio.get_running_loop()
        return self._following

    def announce(self) -> None:
        """Say that there may be something new."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it who waited
                self._loop.call_soon_threadsafe(self._wake)

    def end(self) -> None:
        """Say that nobody is to wait any more."""
        self.ended = True
        self.announce()

    def _wake(self) -> None:
        self._following.set()
        self._following = asyncio.Event()


def _page(call: Call, key: str, resources: list[dict[str, Any]]) -> dict[str, Any]:
    return page(key, resources, f"{call.path['project']}/{key}/", call.query.get("pageSize"), call.query.get("pageToken"))
