"""google-cloud-pubsub, pointed at the emulator by ``PUBSUB_EMULATOR_HOST``: the clients written by hand, and the generated ones."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator

from google import pubsub_v1 as generated
from google.api_core import exceptions
from google.cloud import pubsub_v1

from tests.conformance.checks import PROJECT, equal, new_id, raises


def connect(url: str) -> tuple[str, str]:
    """Return a topic and a subscription of it."""
    os.environ["PUBSUB_EMULATOR_HOST"] = url.removeprefix("http://")
    topic, subscription = f"projects/{PROJECT}/topics/{new_id('topic-')}", f"projects/{PROJECT}/subscriptions/{new_id('sub-')}"
    with generated.PublisherClient() as publisher, pubsub_v1.SubscriberClient() as subscriber:
        publisher.create_topic(name=topic)
        subscriber.create_subscription(name=subscription, topic=topic, ack_deadline_seconds=60)
    return topic, subscription


def publish(topic: str, *texts: bytes) -> list[str]:
    publisher = pubsub_v1.PublisherClient()
    found = [publisher.publish(topic, text, of="check") for text in texts]
    identities = [each.result(60) for each in found]
    publisher.stop()
    publisher.transport.close()
    return identities


def taken(subscription: str) -> Iterator[bytes]:
    """Yield what is there, and acknowledge it."""
    with pubsub_v1.SubscriberClient() as subscriber:
        for received in subscriber.pull(subscription=subscription, max_messages=10, timeout=30).received_messages:
            subscriber.acknowledge(subscription=subscription, ack_ids=[received.ack_id])
            yield received.message.data


def check_topics(names: tuple[str, str]) -> None:
    topic, subscription = names
    with generated.PublisherClient() as publisher:
        equal(publisher.get_topic(topic=topic).name, topic)
        equal(list(publisher.list_topic_subscriptions(topic=topic)), [subscription])
        with raises(exceptions.AlreadyExists):
            publisher.create_topic(name=topic)
        with raises(exceptions.NotFound):
            publisher.get_topic(topic=f"{topic}-missing")


def check_pull(names: tuple[str, str]) -> None:
    topic, subscription = names
    equal(len(set(publish(topic, b"one", b"two"))), 2)
    equal(sorted(taken(subscription)), [b"one", b"two"])


def check_redelivery(names: tuple[str, str]) -> None:
    topic, subscription = names
    publish(topic, b"again")
    with generated.SubscriberClient() as subscriber:
        (first,) = subscriber.pull(subscription=subscription, max_messages=1).received_messages
        subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[first.ack_id], ack_deadline_seconds=0)
    equal(list(taken(subscription)), [b"again"])


def check_streaming(names: tuple[str, str]) -> None:
    topic, subscription = names
    texts = [b"%d" % number for number in range(50)]
    publish(topic, *texts)
    seen: queue.Queue[bytes] = queue.Queue()

    def take(message: pubsub_v1.subscriber.message.Message) -> None:
        seen.put(message.data)
        message.ack()

    with pubsub_v1.SubscriberClient() as subscriber:
        stream = subscriber.subscribe(subscription, take)
        equal(sorted(seen.get(timeout=60) for _ in texts), sorted(texts))
        stream.cancel()
        stream.result(60)


async def check_asynchronous_client(names: tuple[str, str]) -> None:
    topic, subscription = names
    publish(topic, b"async")
    async with generated.SubscriberAsyncClient() as subscriber:
        answer = await subscriber.pull(subscription=subscription, max_messages=10)
        await subscriber.acknowledge(subscription=subscription, ack_ids=[each.ack_id for each in answer.received_messages])
    equal([each.message.data for each in answer.received_messages], [b"async"])


def check_schemas_are_not_there(_: tuple[str, str]) -> None:
    with generated.SchemaServiceClient() as schemas, raises(exceptions.MethodNotImplemented):
        list(schemas.list_schemas(parent=f"projects/{PROJECT}"))
