"""An emulator, and unmodified clients pointed at it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from google.cloud import pubsub_v1

from gcp_dicom_emulator import Emulator

_NUMBERS = itertools.count()


@pytest.fixture(scope="package")
def shared_emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def emulator(shared_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """The emulator, with the variables that point clients at it, and no fault left behind."""
    for name, value in shared_emulator.environment().items():
        monkeypatch.setenv(name, value)
    yield shared_emulator
    shared_emulator.faults.clear()


@pytest.fixture
def publisher(emulator: Emulator) -> Iterator[pubsub_v1.PublisherClient]:
    client = pubsub_v1.PublisherClient()
    yield client
    client.stop()
    client.transport.close()


@pytest.fixture
def subscriber(emulator: Emulator) -> Iterator[pubsub_v1.SubscriberClient]:
    with pubsub_v1.SubscriberClient() as client:
        yield client


@pytest.fixture
def topic(publisher: pubsub_v1.PublisherClient) -> str:
    name = f"projects/demo/topics/topic-{next(_NUMBERS)}"
    publisher.create_topic(name=name)
    return name


@pytest.fixture
def subscribe(subscriber: pubsub_v1.SubscriberClient, topic: str) -> Callable[..., str]:
    """Make subscriptions of the topic; return their names."""

    def create(**settings: object) -> str:
        name = f"projects/demo/subscriptions/subscription-{next(_NUMBERS)}"
        subscriber.create_subscription({"name": name, "topic": topic, **settings})
        return name

    return create
