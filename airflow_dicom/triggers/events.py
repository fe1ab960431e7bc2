"""Start DAGs when messages of Pub/Sub arrive, and lose none. Needs Airflow 3.3."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from typing import Any

from airflow_dicom.arrivals import payload, size
from airflow_dicom.exceptions import GoogleApiError, GoogleApiTransientError
from airflow_dicom.hooks.rest_async import PubSubAsyncHook
from airflow_dicom.polling import backoff

try:
    from airflow.triggers.base import BaseEventTrigger, TriggerEvent
    from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer
except ImportError as error:
    raise ImportError(
        "DicomNotificationTrigger and arrivals_asset need Airflow 3.3, whose triggerer acknowledges a message after its event is "
        "stored. On an older one, pull in a scheduled DAG, by the Google provider's PubSubPullSensor(ack_messages=False) and an "
        "acknowledgement in the last task; the guide on events has an example."
    ) from error

log = logging.getLogger(__name__)

_SUBSCRIPTION = re.compile(r"projects/[^/\s]+/subscriptions/[^/\s]+")
#: When a batch of messages is an event: so many messages, seconds since the first, or bytes.
_MAX_MESSAGES, _MAX_SECONDS, _MAX_BYTES = 500, 5.0, 200_000
#: Seconds between two looks for more messages of a batch; it ends when there are none.
_PAUSE = 1.0
#: For how many seconds messages are lent, and how often that is extended while their event is being stored.
_LEASE, _EXTEND = 60, 5.0
#: Seconds from when Airflow says that an event is stored until its messages are acknowledged. Airflow says so, too, of an event that
#: it drops, since the asset's watcher has just become another one; then the stream ends within seconds.
_DOUBT = 10.0
#: How many ack ids a request takes.
_ACK_IDS = 1000
#: Seconds until the next look at a subscription that is missing or refused; and how often an acknowledgement is tried.
_REFUSED, _TRIES = 120.0, 5


class DicomNotificationTrigger(BaseEventTrigger):
    """Pull messages about a DICOM store or a bucket, as the watcher of an asset; see :func:`~airflow_dicom.assets.arrivals_asset`.

    Messages that come within some seconds are one event. They are acknowledged some seconds after the event is in Airflow's database,
    and given back where that fails or the watcher ends, so that a message is delivered at least once, whatever dies or is edited. The
    payload of an event is ``{"schema": 1, "messages": […]}``, with what :func:`~airflow_dicom.arrivals.read_message` returns: of a
    DICOM store, names with UIDs, and nothing else of the instances.

    :param subscription: the subscription, ``projects/…/subscriptions/…``, which nobody else may pull from.
    :param gcp_conn_id: the Google Cloud connection.
    :param impersonation_chain: the service account to impersonate, or a chain of them.
    :raises ValueError: ``subscription`` is not such a name.
    """

    def __init__(
        self,
        *,
        subscription: str,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if not _SUBSCRIPTION.fullmatch(subscription):
            raise ValueError(f"subscription is {subscription!r}; it must be projects/PROJECT/subscriptions/SUBSCRIPTION.")
        self.subscription = subscription
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        if unknown:
            log.warning("%s drops the arguments %s, which another release has written.", type(self).__name__, sorted(unknown))

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments: all that the triggerer needs, and no secret."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "subscription": self.subscription,
                "gcp_conn_id": self.gcp_conn_id,
                "impersonation_chain": self.impersonation_chain,
            },
        )

    def shared_stream_key(self) -> Hashable:
        """Return what the stream is: one of each subscription."""
        return "dicom-pubsub", self.gcp_conn_id, str(self.impersonation_chain), self.subscription

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> Messages:
        """Return what pulls and acknowledges."""
        return Messages(PubSubAsyncHook(kwargs["subscription"], kwargs["gcp_conn_id"], kwargs["impersonation_chain"]))

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Yield an event for each batch."""
        async for batch in shared_stream:
            yield TriggerEvent(batch)  # type: ignore[no-untyped-call]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Is never called: a triggerer that knows streams asks for the stream."""
        raise NotImplementedError("DicomNotificationTrigger needs a triggerer of Airflow 3.3.")
        yield


class Messages(SharedStreamProducer):
    """The messages of a subscription, in batches.

    :param hook: asks Pub/Sub.
    """

    def __init__(self, hook: PubSubAsyncHook) -> None:
        self._hook = hook
        self._lent: set[str] = set()
        #: The ack ids of each event that is stored, and when they are to be acknowledged.
        self._stored: deque[tuple[float, Sequence[str]]] = deque()

    async def open_stream(self) -> AsyncIterator[tuple[Any, Any]]:
        """Yield the payload of each event, and the ack ids of its messages. Never ends, whatever Pub/Sub answers."""
        async with self._hook:
            tending = asyncio.create_task(self._tend())
            try:
                while True:
                    received = await self._batch()
                    ack_ids = [each["ackId"] for each in received]
                    yield payload(each["message"] for each in received), ack_ids
            finally:
                tending.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await tending
                await self._give_back(self._take_stored(until=float("inf")))

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Have the messages of events that are stored acknowledged soon; give the others back."""
        due = time.monotonic() + _DOUBT
        self._stored.extend((due, item.broker_payload) for item in batch if item.outcome.is_clean)
        await self._give_back([ack_id for item in batch if not item.outcome.is_clean for ack_id in item.broker_payload])

    async def _batch(self) -> list[dict[str, Any]]:
        """Return messages that came together; at least one."""
        received: list[dict[str, Any]] = []
        while not received:
            received = await self._pull(_MAX_MESSAGES, wait=True)
        end = time.monotonic() + _MAX_SECONDS
        while len(received) < _MAX_MESSAGES and time.monotonic() < end:
            if size(payload(each["message"] for each in received)) >= _MAX_BYTES:
                break
            await asyncio.sleep(_PAUSE)
            if not (more := await self._pull(_MAX_MESSAGES - len(received), wait=False)):
                break
            received += more
        return received

    async def _pull(self, most: int, *, wait: bool) -> list[dict[str, Any]]:
        """Return messages, which are lent from now on; none where Pub/Sub has none, or does not answer just now."""
        failures = 0
        while True:
            try:
                received = await self._hook.pull(most, wait=wait)
            except GoogleApiError as error:
                transient = isinstance(error, GoogleApiTransientError)
                pause = backoff(failures, error.retry_after) if transient else _REFUSED
                failures += 1
                log.log(logging.WARNING if transient else logging.ERROR, "%s Trying again in %.0f s.", error, pause)
                await asyncio.sleep(pause)
            else:
                self._lent.update(each["ackId"] for each in received)
                return received

    async def _tend(self) -> None:
        """Acknowledge what is stored; keep what else is lent."""
        while True:
            stored = self._take_stored(until=time.monotonic())
            self._lent.difference_update(stored)
            await self._send(self._hook.acknowledge, stored)
            await self._send(lambda ack_ids: self._hook.modify_ack_deadline(ack_ids, _LEASE), sorted(self._lent))
            await asyncio.sleep(_EXTEND)

    def _take_stored(self, until: float) -> list[str]:
        """Take the ack ids that are to be acknowledged by then."""
        taken: list[str] = []
        while self._stored and self._stored[0][0] <= until:
            taken += self._stored.popleft()[1]
        return taken

    async def _give_back(self, ack_ids: Sequence[str]) -> None:
        """Let messages come again, at once."""
        self._lent.difference_update(ack_ids)
        await self._send(lambda some: self._hook.modify_ack_deadline(some, 0), ack_ids)

    async def _send(self, request: Callable[[Sequence[str]], Awaitable[None]], ack_ids: Sequence[str]) -> None:
        """Say something about some ack ids. What fails for good is a message that comes again, which does no harm."""
        for start in range(0, len(ack_ids), _ACK_IDS):
            for failures in range(_TRIES):
                try:
                    await request(ack_ids[start : start + _ACK_IDS])
                    break
                except GoogleApiError as error:
                    if not isinstance(error, GoogleApiTransientError) or failures == _TRIES - 1:
                        log.warning("%s The messages will come again.", error)
                        break
                    await asyncio.sleep(backoff(failures, error.retry_after))
