"""The trigger of arrivals on the emulator, in the test's process: what it yields, acknowledges, extends and gives back."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException
from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.rest.faults import Fault

shared_stream = pytest.importorskip("airflow.triggers.shared_stream", reason="it needs Airflow 3.3")

from airflow_dicom.arrivals import collect_arrivals, collect_quiet_studies  # noqa: E402
from airflow_dicom.assets import arrivals_asset  # noqa: E402
from airflow_dicom.exceptions import PubSubApiError  # noqa: E402
from airflow_dicom.triggers import events  # noqa: E402
from airflow_dicom.triggers.events import DicomNotificationTrigger, Messages  # noqa: E402

TOPIC, SUBSCRIPTION = "projects/demo/topics/arrivals", "projects/demo/subscriptions/arrivals"
INSTANCE = "projects/demo/locations/l/datasets/d/dicomStores/s/dicomWeb/studies/1.2/series/1.3/instances/1.{}"
CLEAN, FAILED = shared_stream.AdvanceOutcome(acked=1, failed=0), shared_stream.AdvanceOutcome(acked=0, failed=1)


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator() as emulator:
        for name, value in emulator.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", "google-cloud-platform://?is_anonymous=True&project=demo")
        for name in ("_PAUSE", "_EXTEND", "_DOUBT"):
            monkeypatch.setattr(events, name, 0.1)
        emulator.pubsub.topics.create({"name": TOPIC})
        yield emulator


def subscribe(emulator: Emulator) -> None:
    emulator.pubsub.subscriptions.create({"name": SUBSCRIPTION, "topic": TOPIC})


def publish(emulator: Emulator, *numbers: int) -> None:
    data = [base64.b64encode(INSTANCE.format(number).encode()).decode() for number in numbers]
    emulator.pubsub.deliveries.publish(TOPIC, [{"data": each} for each in data])


@pytest.fixture
async def stream(emulator: Emulator) -> AsyncIterator[tuple[Messages, AsyncIterator[tuple[Any, Any]]]]:
    trigger = DicomNotificationTrigger(subscription=SUBSCRIPTION)
    producer = DicomNotificationTrigger.create_shared_stream_producer(trigger.serialize()[1])
    opened = producer.open_stream()
    yield producer, opened
    await opened.aclose()  # type: ignore[attr-defined]


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds: for a minute at most, on a busy machine."""
    for _ in range(600):
        if condition():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("It does not come to hold.")


async def until_all_acknowledged(emulator: Emulator) -> None:
    await until(lambda: emulator.pubsub.deliveries.counts(SUBSCRIPTION) == (0, 0))


def numbers(batch: Any) -> list[int]:
    return [int(message["path"].rpartition(".")[2]) for message in batch["messages"]]


async def test_messages_that_come_together_are_one_event_and_are_acknowledged_once_it_is_stored(emulator, stream):
    producer, opened = stream
    subscribe(emulator)
    publish(emulator, 1, 2)
    publish(emulator, 3)
    batch, lent = await anext(opened)
    assert batch["schema"] == 1
    assert numbers(batch) == [1, 2, 3]
    assert set(batch["messages"][0]) == {"id", "action", "path", "updated"}
    await asyncio.sleep(0.5)
    assert emulator.pubsub.deliveries.counts(SUBSCRIPTION) == (0, 3)
    await producer.advance([shared_stream.AdvanceItem(lent, CLEAN)])
    await until_all_acknowledged(emulator)


async def test_what_is_said_to_be_stored_comes_again_if_the_watcher_ends_at_once(emulator, stream, monkeypatch):
    """Airflow says so of an event that it drops, since the asset has another watcher meanwhile: a DAG was edited."""
    monkeypatch.setattr(events, "_DOUBT", 60)
    producer, opened = stream
    subscribe(emulator)
    publish(emulator, 1)
    _, lent = await anext(opened)
    await producer.advance([shared_stream.AdvanceItem(lent, CLEAN)])
    await asyncio.sleep(0.5)
    assert emulator.pubsub.deliveries.counts(SUBSCRIPTION) == (0, 1)
    await opened.aclose()
    assert emulator.pubsub.deliveries.counts(SUBSCRIPTION) == (1, 0)


async def test_what_could_not_be_stored_is_given_back(emulator, stream):
    producer, opened = stream
    subscribe(emulator)
    publish(emulator, 1)
    _, lent = await anext(opened)
    await producer.advance([shared_stream.AdvanceItem(lent, FAILED)])
    assert emulator.pubsub.deliveries.counts(SUBSCRIPTION) == (1, 0)
    batch, _ = await anext(opened)
    assert numbers(batch) == [1]


async def test_leases_are_extended_until_the_event_is_stored(emulator, stream):
    producer, opened = stream
    subscribe(emulator)
    publish(emulator, 1)
    _, lent = await anext(opened)
    await until(lambda: emulator.pubsub.deliveries.next_due() > 50)  # the subscription's deadline is 10 s
    await producer.advance([shared_stream.AdvanceItem(lent, CLEAN)])


async def test_an_outage_does_not_end_the_stream(emulator, stream, monkeypatch, caplog):
    monkeypatch.setattr(events, "backoff", lambda *_: 0.1)
    producer, opened = stream
    subscribe(emulator)
    publish(emulator, 1)
    for kind in ("status", "reset", "lose_answer"):
        emulator.faults.add(Fault(kind, method="pubsub.projects.subscriptions.pull", times=1))
    emulator.faults.add(Fault("status", method="pubsub.projects.subscriptions.acknowledge", times=2))
    waiting = asyncio.create_task(anext(opened))
    await asyncio.sleep(1)
    emulator.pubsub.deliveries.end_leases()  # of the answer that was lost
    batch, lent = await waiting
    assert numbers(batch) == [1]
    await producer.advance([shared_stream.AdvanceItem(lent, CLEAN)])
    await until_all_acknowledged(emulator)
    assert "Trying again" in caplog.text


async def test_a_subscription_that_is_missing_is_an_error_in_the_log_and_looked_for_again(emulator, stream, monkeypatch, caplog):
    monkeypatch.setattr(events, "_REFUSED", 0.2)
    _, opened = stream
    waiting = asyncio.create_task(anext(opened))
    await until(lambda: any(record.levelname == "ERROR" and SUBSCRIPTION in record.message for record in caplog.records))
    subscribe(emulator)
    publish(emulator, 1)
    batch, _ = await waiting
    assert numbers(batch) == [1]


async def test_each_batch_is_one_event():
    async def batches() -> AsyncIterator[Any]:
        yield {"schema": 1, "messages": []}

    trigger = DicomNotificationTrigger(subscription=SUBSCRIPTION)
    assert [event.payload async for event in trigger.filter_shared_stream(batches())] == [{"schema": 1, "messages": []}]
    assert trigger.shared_stream_key() == DicomNotificationTrigger(**trigger.serialize()[1]).shared_stream_key()


class NoEvents:
    """An asset of which nothing is told."""

    def ascending(self) -> NoEvents:
        return self

    def limit(self, _: int) -> list[Any]:
        return []


@pytest.mark.parametrize("collect", [collect_arrivals, partial(collect_quiet_studies, minutes=1)])
def test_where_nothing_arrives_the_task_sees_whether_something_could(emulator, collect, caplog):
    asset = arrivals_asset(subscription=SUBSCRIPTION)
    context = {
        "inlet_events": {asset: NoEvents()},
        "asset_state_store": {asset: {}},
        "dag": SimpleNamespace(dag_id="dag"),
    }
    with pytest.raises(PubSubApiError, match=f"There is no {SUBSCRIPTION}"):
        collect(asset, context)
    subscribe(emulator)
    with pytest.raises(AirflowSkipException):
        collect(asset, context)
    emulator.faults.add(Fault("status", method="pubsub.projects.subscriptions.get", code=403))
    with pytest.raises(AirflowSkipException):
        collect(asset, context)
    assert "roles/pubsub.viewer" in caplog.text


def test_a_name_that_is_not_one():
    with pytest.raises(ValueError, match="subscription is 'arrivals'"):
        DicomNotificationTrigger(subscription="arrivals")
