"""Google's clients and gcloud-aio, unmodified, over gRPC and HTTP/1.1 on one port."""

from __future__ import annotations

import asyncio
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from google import pubsub_v1 as generated
from google.api_core import exceptions
from google.cloud import pubsub_v1

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.rest.faults import Fault

pytestmark = [
    pytest.mark.usefixtures("emulator"),
    pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated:DeprecationWarning"),
]


def ask(emulator: Emulator, verb: str, path: str, body: object = None) -> requests.Response:
    return requests.request(verb, f"{emulator.url}/v1/{path}", json=body, timeout=60)


def test_topics_and_subscriptions(publisher, subscriber, topic, subscribe):
    subscription = subscribe(labels={"a": "b"}, message_retention_duration="600s")
    assert publisher.get_topic(topic=topic).name == topic
    assert topic in [each.name for each in publisher.list_topics(request={"project": "projects/demo", "page_size": 1})]
    assert list(publisher.list_topic_subscriptions(topic=topic)) == [subscription]
    found = subscriber.get_subscription(subscription=subscription)
    assert (found.topic, found.ack_deadline_seconds, found.labels) == (topic, 10, {"a": "b"})
    assert found.message_retention_duration.total_seconds() == 600
    assert subscription in [each.name for each in subscriber.list_subscriptions(project="projects/demo")]
    publisher.delete_topic(topic=topic)
    assert subscriber.get_subscription(subscription=subscription).topic == "_deleted-topic_"
    subscriber.delete_subscription(subscription=subscription)
    with pytest.raises(exceptions.NotFound, match=subscription):
        subscriber.get_subscription(subscription=subscription)


def test_a_message_comes_as_it_was_published(publisher, subscriber, topic, subscribe):
    subscription = subscribe()
    message_id = publisher.publish(topic, b"\x00\xff", key="Wert ä").result(30)
    (received,) = subscriber.pull(subscription=subscription, max_messages=10).received_messages
    assert (received.message.data, received.message.attributes) == (b"\x00\xff", {"key": "Wert ä"})
    assert (received.message.message_id, received.delivery_attempt) == (message_id, 0)
    assert abs(received.message.publish_time.timestamp() - time.time()) < 60
    subscriber.acknowledge(subscription=subscription, ack_ids=[received.ack_id])
    assert not subscriber.pull(subscription=subscription, max_messages=10, return_immediately=True).received_messages


def test_a_pull_waits_for_a_message(publisher, subscriber, topic, subscribe):
    subscription = subscribe()
    timer = threading.Timer(0.5, lambda: publisher.publish(topic, b"late").result(30))
    timer.start()
    received = subscriber.pull(subscription=subscription, max_messages=1, timeout=15).received_messages
    timer.join()  # the answer may come after the message
    assert [each.message.data for each in received] == [b"late"]


def test_a_pull_that_was_given_up_takes_nothing(publisher, subscriber, topic, subscribe):
    subscription = subscribe()
    with pytest.raises(exceptions.DeadlineExceeded):
        subscriber.pull(subscription=subscription, max_messages=1, timeout=0.5, retry=None)
    time.sleep(0.5)  # gRPC tells the server of it after it has told the client
    publisher.publish(topic, b"x").result(30)
    assert len(subscriber.pull(subscription=subscription, max_messages=1, timeout=5).received_messages) == 1


def test_what_is_refused_comes_again_at_once(publisher, subscriber, topic, subscribe):
    subscription = subscribe()
    publisher.publish(topic, b"x").result(30)
    (first,) = subscriber.pull(subscription=subscription, max_messages=1).received_messages
    subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[first.ack_id], ack_deadline_seconds=0)
    (second,) = subscriber.pull(subscription=subscription, max_messages=1, return_immediately=True).received_messages
    assert second.message.message_id == first.message.message_id
    assert second.ack_id != first.ack_id


def test_what_is_not_acknowledged_in_time_comes_again(emulator, publisher, subscriber, topic, subscribe):
    subscription = subscribe()
    publisher.publish(topic, b"x").result(30)
    subscriber.pull(subscription=subscription, max_messages=1)
    assert emulator.pubsub.deliveries.counts(subscription) == (0, 1)
    threading.Timer(0.3, emulator.pubsub.deliveries.end_leases).start()
    assert len(subscriber.pull(subscription=subscription, max_messages=1, timeout=15).received_messages) == 1


def test_streaming(publisher, subscriber, topic, subscribe):
    subscription = subscribe(enable_message_ordering=True)
    with pubsub_v1.PublisherClient(publisher_options=pubsub_v1.types.PublisherOptions(enable_message_ordering=True)) as ordered:
        for number in range(30):
            ordered.publish(topic, b"%d" % number, ordering_key="k" if number % 2 else "")
        ordered.stop()
        seen: queue.Queue[int] = queue.Queue()

        def take(message: pubsub_v1.subscriber.message.Message) -> None:
            seen.put(int(message.data))
            message.ack()

        stream = subscriber.subscribe(subscription, take)
        numbers = [seen.get(timeout=60) for _ in range(30)]
        stream.cancel()
        stream.result(30)
    assert sorted(numbers) == list(range(30))
    assert [number for number in numbers if number % 2] == list(range(1, 30, 2))
    assert not subscriber.pull(subscription=subscription, max_messages=1, return_immediately=True).received_messages


def test_streaming_keeps_to_what_the_client_has_room_for(emulator, publisher, topic, subscribe):
    subscription = subscribe()
    for number in range(5):
        publisher.publish(topic, b"%d" % number).result(30)
    with generated.SubscriberClient() as client:
        requests_: queue.Queue[generated.StreamingPullRequest | None] = queue.Queue()
        requests_.put(
            generated.StreamingPullRequest(subscription=subscription, stream_ack_deadline_seconds=60, max_outstanding_messages=2)
        )
        answers = client.streaming_pull(requests=iter(requests_.get, None), timeout=60)
        received = list(next(answers).received_messages) or list(next(answers).received_messages)
        assert len(received) == 2
        time.sleep(1)
        assert emulator.pubsub.deliveries.counts(subscription) == (3, 2)
        requests_.put(generated.StreamingPullRequest(ack_ids=[received[0].ack_id]))
        assert len(next(answers).received_messages) == 1
        requests_.put(generated.StreamingPullRequest(modify_deadline_ack_ids=[received[1].ack_id], modify_deadline_seconds=[0]))
        assert len(next(answers).received_messages) == 1
        requests_.put(None)
        assert list(answers) == []


def test_there_is_room_again_when_a_client_acknowledges_by_a_request_of_its_own(publisher, subscriber, topic, subscribe):
    subscription = subscribe()
    for number in range(3):
        publisher.publish(topic, b"%d" % number).result(30)
    seen: queue.Queue[int] = queue.Queue()

    def take(message: pubsub_v1.subscriber.message.Message) -> None:
        subscriber.acknowledge(subscription=subscription, ack_ids=[message.ack_id])
        message.drop()
        seen.put(int(message.data))

    stream = subscriber.subscribe(subscription, take, flow_control=pubsub_v1.types.FlowControl(max_messages=1))
    assert sorted(seen.get(timeout=9) for _ in range(3)) == [0, 1, 2]
    stream.cancel()
    stream.result(30)


def test_a_stream_of_what_is_not_there(subscriber):
    stream = subscriber.subscribe("projects/demo/subscriptions/missing", lambda message: None)
    with pytest.raises(exceptions.NotFound, match="missing"):
        stream.result(30)


async def test_generated_asynchronous_client(publisher, topic, subscribe):
    subscription = subscribe()
    publisher.publish(topic, b"x").result(30)
    async with generated.SubscriberAsyncClient() as client:
        answer = await client.pull(subscription=subscription, max_messages=1)
        await client.acknowledge(subscription=subscription, ack_ids=[each.ack_id for each in answer.received_messages])
    assert len(answer.received_messages) == 1


async def test_gcloud_aio_asks_by_http(emulator: Emulator, topic, subscribe):
    """It reads the variable when it is imported, so that it is asked in a process of its own."""
    script = f"""
import asyncio, aiohttp
from gcloud.aio.pubsub import PublisherClient, PubsubMessage, SubscriberClient

async def main():
    async with aiohttp.ClientSession() as session:
        publisher, subscriber = PublisherClient(session=session), SubscriberClient(session=session)
        await publisher.publish({topic!r}, [PubsubMessage(b"one", attribute="1"), PubsubMessage(b"two")])
        received = await subscriber.pull({subscribe()!r}, max_messages=10)
        print(sorted(each.data for each in received))
        await subscriber.acknowledge({subscribe()!r}, [each.ack_id for each in received])

asyncio.run(main())
"""
    ended = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.stdout == "[b'one', b'two']\n", ended.stderr


def test_a_subscription_that_never_expires(subscriber, subscribe):
    never = subscribe(expiration_policy={})
    assert subscriber.get_subscription(subscription=never).name == never
    with pytest.raises(exceptions.MethodNotImplemented, match=r"expirationPolicy\.ttl"):
        subscribe(expiration_policy={"ttl": {"seconds": 90_000}})


def test_a_policy_is_kept(publisher, subscriber, topic, subscribe):
    subscription = subscribe()
    for client, resource in ((publisher, topic), (subscriber, subscription)):
        policy = client.get_iam_policy(request={"resource": resource, "options": {"requested_policy_version": 3}})
        policy.bindings.add(role="roles/pubsub.editor", members=["domain:example.com"])
        made = client.set_iam_policy(request={"resource": resource, "policy": policy})
        assert client.get_iam_policy(request={"resource": resource}) == made
        permissions = ["pubsub.subscriptions.consume"]
        assert client.test_iam_permissions(request={"resource": resource, "permissions": permissions}).permissions == permissions
    subscriber.delete_subscription(subscription=subscription)
    with pytest.raises(exceptions.NotFound):
        subscriber.get_iam_policy(request={"resource": subscription})


def test_dead_letters(emulator, publisher, subscriber, topic, subscribe):
    dead = f"{topic}-dead"
    publisher.create_topic(name=dead)
    buried = f"projects/demo/subscriptions/{dead.rpartition('/')[2]}"
    subscriber.create_subscription(name=buried, topic=dead)
    subscription = subscribe(dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 5})
    publisher.publish(topic, b"x", a="b").result(30)
    for attempt in range(1, 6):
        (received,) = subscriber.pull(subscription=subscription, max_messages=1).received_messages
        assert received.delivery_attempt == attempt
        subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[received.ack_id], ack_deadline_seconds=0)
    (found,) = subscriber.pull(subscription=buried, max_messages=1, timeout=15).received_messages
    assert found.message.data == b"x"
    assert found.message.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
    assert found.message.attributes["CloudPubSubDeadLetterSourceSubscription"] == subscription.rpartition("/")[2]
    assert emulator.pubsub.deliveries.counts(subscription) == (0, 0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bigquery_config": {"table": "p.d.t"}}, "Subscription.bigquery_config"),
        ({"push_config": {"push_endpoint": "https://x"}}, "pushConfig"),
        ({"filter": "attributes:a"}, "filter"),
        ({"retain_acked_messages": True}, "retainAckedMessages"),
        ({"enable_exactly_once_delivery": True}, "enableExactlyOnceDelivery"),
        ({"expiration_policy": {"ttl": "86400s"}}, "expirationPolicy.ttl"),
    ],
)
def test_what_it_does_not_do_it_says(subscribe, settings, said):
    with pytest.raises(exceptions.MethodNotImplemented, match=said):
        subscribe(**settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ack_deadline_seconds": 5}, "ackDeadlineSeconds is 5"),
        ({"message_retention_duration": "60s"}, "messageRetentionDuration"),
        ({"retry_policy": {"minimum_backoff": "601s"}}, "minimumBackoff"),
        ({"retry_policy": {"minimum_backoff": "60s", "maximum_backoff": "30s"}}, "more than"),
        ({"dead_letter_policy": {"dead_letter_topic": "projects/demo/topics/dead", "max_delivery_attempts": 3}}, "from 5 to 100"),
        ({"dead_letter_policy": {"max_delivery_attempts": 5}}, "Invalid resource name"),
        ({"name": "projects/demo/topics/other"}, "Invalid resource name"),
        ({"name": "projects/demo/subscriptions/goog-x"}, "Invalid resource name"),
        ({"labels": {"Upper": "x"}}, "label"),
    ],
)
def test_settings_that_make_no_sense(subscribe, settings, said):
    with pytest.raises(exceptions.InvalidArgument, match=said):
        subscribe(**settings)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({}, "empty"),
        ({"data": b"x", "attributes": {"": "x"}}, "Invalid attribute"),
        ({"data": b"x", "attributes": {"googx": "x"}}, "Invalid attribute"),
        ({"data": b"x", "attributes": {"a": "x" * 1025}}, "Invalid attribute"),
        ({"data": b"x", "attributes": {str(number): "" for number in range(101)}}, "101 attributes"),
        ({"data": b"x", "ordering_key": "x" * 1025}, "orderingKey"),
        ({"data": b"x", "message_id": "7"}, "messageId"),
        ({"data": b"x" * 10_000_001}, "10000000 bytes"),
    ],
)
def test_messages_that_may_not_be_published(topic, message, said):
    with generated.PublisherClient() as client, pytest.raises(exceptions.InvalidArgument, match=said):
        client.publish(topic=topic, messages=[message])


def test_requests_that_make_no_sense(publisher, subscriber, topic, subscribe):
    subscription = subscribe()
    with pytest.raises(exceptions.AlreadyExists, match=topic):
        publisher.create_topic(name=topic)
    with pytest.raises(exceptions.NotFound, match="missing"):
        publisher.publish("projects/demo/topics/missing", b"x", retry=None).result(30)
    with pytest.raises(exceptions.NotFound, match="missing"):
        subscriber.create_subscription(name="projects/demo/subscriptions/s-1", topic="projects/demo/topics/missing")
    with pytest.raises(exceptions.InvalidArgument, match="maxMessages is 0"):
        subscriber.pull(subscription=subscription)
    with pytest.raises(exceptions.InvalidArgument, match="No ack ids"):
        subscriber.acknowledge(subscription=subscription, ack_ids=[])
    with pytest.raises(exceptions.InvalidArgument, match="ackDeadlineSeconds is 601"):
        subscriber.modify_ack_deadline(subscription=subscription, ack_ids=[f"1-{'0' * 24}"], ack_deadline_seconds=601)
    with pytest.raises(exceptions.InvalidArgument, match="Invalid project"):
        publisher.list_topics(project="demo")


def test_methods_that_it_does_not_have(subscriber, subscribe):
    with pytest.raises(exceptions.MethodNotImplemented, match=r"The emulator does not do google.pubsub.v1.Subscriber/Seek"):
        subscriber.seek({"subscription": subscribe()})
    with generated.SchemaServiceClient() as schemas, pytest.raises(exceptions.MethodNotImplemented, match="ListSchemas"):
        schemas.list_schemas(parent="projects/demo")


def test_http_refuses_fields_and_methods_in_the_same_way(emulator, topic, subscribe):
    assert ask(emulator, "PUT", f"{topic}-2", {"nonsense": 1}).status_code == 400
    assert ask(emulator, "PUT", f"{topic}-2", {"kmsKeyName": "k"}).status_code == 501
    assert ask(emulator, "POST", f"{subscribe()}:seek", {"time": "2026-01-01T00:00:00Z"}).status_code == 501
    assert ask(emulator, "GET", f"{topic}?nonsense=1").status_code == 400
    assert ask(emulator, "POST", f"{topic}:publish", {"messages": [{"data": "%"}]}).status_code == 400


def test_faults_happen_to_grpc_as_well(emulator, topic):
    fault = emulator.faults.add(Fault("status", method="pubsub.projects.topics.get", code=503, times=2))
    lost = emulator.faults.add(Fault("lose_answer", method="pubsub.projects.topics.get"))
    with generated.PublisherClient() as client:
        for _ in range(3):
            with pytest.raises(exceptions.ServiceUnavailable):
                client.get_topic(topic=topic, retry=None)
        client.get_topic(topic=topic, retry=None)
    assert (fault.fired, lost.fired) == (2, 1)
    assert [request.status for request in emulator.requests if request.method_id == "pubsub.projects.topics.get"][-1] == 200


def test_reset_does_not_wait_for_pulls(emulator, subscriber, subscribe):
    stream = subscriber.subscribe(subscribe(), lambda message: None)
    time.sleep(0.5)
    started = time.monotonic()
    emulator.reset()
    assert time.monotonic() - started < 1.5
    with pytest.raises(exceptions.NotFound):
        stream.result(30)


def test_connections_that_say_little(emulator):
    """Some say nothing, some only a part of HTTP/2's preface, some stop in it, and some are slow."""
    for head in (b"", b"P", b"PRI * HTT"):
        with socket.create_connection(("127.0.0.1", emulator.port)) as connection:
            connection.sendall(head)
    with socket.create_connection(("127.0.0.1", emulator.port)) as connection:
        for byte in b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
            connection.sendall(bytes([byte]))
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200")


def test_many_bytes_pass(publisher, subscriber, topic, subscribe):
    subscription = subscribe()
    content = bytes(range(256)) * 4096
    for _ in range(4):
        publisher.publish(topic, content).result(60)
    pulls = [subscriber.pull(subscription=subscription, max_messages=4, timeout=60).received_messages for _ in range(2)]
    assert [[each.message.data for each in received] for received in pulls] == [[content] * 2, [content] * 2]


@pytest.mark.slow
def test_a_killed_emulator_keeps_what_was_published(tmp_path: Path, subscribe: Callable[..., str]):
    command = [sys.executable, "-m", "gcp_dicom_emulator", "start", "--port", "0", "--data-dir", str(tmp_path / "data")]
    topic, subscription = "projects/demo/topics/kept", "projects/demo/subscriptions/kept"

    def start() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        return process, process.stdout.readline().split()[-1]

    process, url = start()
    requests.put(f"{url}/v1/{topic}", json={}, timeout=60).raise_for_status()
    requests.put(f"{url}/v1/{subscription}", json={"topic": topic}, timeout=60).raise_for_status()
    published: list[str] = []

    def publish() -> None:
        with requests.Session() as session:
            while True:
                try:
                    answer = session.post(f"{url}/v1/{topic}:publish", json={"messages": [{"data": "eA=="}] * 3}, timeout=60)
                except requests.ConnectionError:
                    return
                published.extend(answer.json()["messageIds"])

    threads = [threading.Thread(target=publish) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(published) < 60:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    for thread in threads:
        thread.join()
    process, url = start()
    try:
        kept: set[str] = set()
        everything = {"maxMessages": 1000, "returnImmediately": True}
        while found := requests.post(f"{url}/v1/{subscription}:pull", json=everything, timeout=60).json():
            kept |= {each["message"]["messageId"] for each in found["receivedMessages"]}
        assert set(published) <= kept
        assert len(kept) <= len(published) + 9
    finally:
        process.kill()
        process.communicate()
