"""gcloud-aio-pubsub, pointed at the emulator by ``PUBSUB_EMULATOR_HOST``, which it reads when it is loaded; by HTTP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp

from tests.conformance.checks import PROJECT, equal, new_id


def connect(url: str) -> str:
    os.environ["PUBSUB_EMULATOR_HOST"] = url.removeprefix("http://")
    return url


@contextmanager
def clients(session: aiohttp.ClientSession) -> Iterator[tuple[Any, Any, Any]]:
    from gcloud.aio import pubsub

    yield pubsub.PublisherClient(session=session), pubsub.SubscriberClient(session=session), pubsub.PubsubMessage


async def check_messages(_: str) -> None:
    topic, subscription = f"projects/{PROJECT}/topics/{new_id('topic-')}", f"projects/{PROJECT}/subscriptions/{new_id('sub-')}"
    async with aiohttp.ClientSession() as session:
        with clients(session) as (publisher, subscriber, message):
            await publisher.create_topic(topic)
            await subscriber.create_subscription(subscription, topic)
            await publisher.publish(topic, [message(b"one", of="check"), message(b"two")])
            received = await subscriber.pull(subscription, max_messages=10)
            equal(sorted(each.data for each in received), [b"one", b"two"])
            await subscriber.modify_ack_deadline(subscription, [each.ack_id for each in received], 60)
            await subscriber.acknowledge(subscription, [each.ack_id for each in received])
            await subscriber.delete_subscription(subscription)
            await publisher.delete_topic(topic)
