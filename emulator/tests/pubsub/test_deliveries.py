"""Deliveries against a model of them, in any order of events, with a clock of the test's and kills in between."""

from __future__ import annotations

import base64
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.pubsub.service import PubSubService
from gcp_dicom_emulator.rest.errors import ApiError

TOPIC, DEAD_TOPIC = "projects/demo/topics/arrivals", "projects/demo/topics/dead"
#: Subscriptions, and what they are asked for.
SUBSCRIPTIONS = {
    "plain": {},
    "ordered": {"enableMessageOrdering": True, "ackDeadlineSeconds": 30},
    "patient": {"retryPolicy": {"minimumBackoff": "5s", "maximumBackoff": "15s"}},
    "strict": {"deadLetterPolicy": {"deadLetterTopic": DEAD_TOPIC, "maxDeliveryAttempts": 5}},
    "short": {"messageRetentionDuration": "600s"},
}


def name(subscription: str) -> str:
    return f"projects/demo/subscriptions/{subscription}"


@dataclass
class Delivery:
    text: str
    key: str
    published: float
    attempts: int = 0
    ack_id: str = ""
    until: float = 0.0
    rests_until: float = 0.0


@dataclass
class Model:
    """A subscription as the documentation describes it, as plain lists."""

    settings: dict[str, object]
    waiting: list[Delivery] = field(default_factory=list)

    @property
    def deadline(self) -> float:
        return float(self.settings.get("ackDeadlineSeconds", 10))  # type: ignore[arg-type]

    def rest(self, attempts: int) -> float:
        return min(15.0, 5.0 * 2 ** (attempts - 1)) if "retryPolicy" in self.settings else 0.0

    def pull(self, now: float, most: int) -> list[Delivery]:
        if "messageRetentionDuration" in self.settings:
            self.waiting = [each for each in self.waiting if each.published + 600 > now]
        found: list[Delivery] = []
        for each in self.waiting:
            ordered = each.key and "enableMessageOrdering" in self.settings
            before = self.waiting[: self.waiting.index(each)]
            blocked = ordered and any(
                other.until > now or (other in before and other.rests_until > now)
                for other in self.waiting
                if other.key == each.key and other is not each and other not in found
            )
            if each.rests_until <= now and not blocked and len(found) < most:
                found.append(each)
        for each in found:
            each.attempts += 1
            each.until = now + self.deadline
            each.rests_until = each.until + self.rest(each.attempts)
        return found


class Deliveries(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.now = 1_700_000_000.0
        self.models = {subscription: Model(settings) for subscription, settings in SUBSCRIPTIONS.items()}
        self.models["dead"] = Model({})
        self.start()

    def start(self) -> None:
        self.state = State(Path(self.directory.name))
        self.service = PubSubService(self.state, lambda: self.now)

    @initialize()
    def create(self) -> None:
        for topic in (TOPIC, DEAD_TOPIC):
            self.service.topics.create({"name": topic})
        for subscription, asked in SUBSCRIPTIONS.items():
            self.service.subscriptions.create({"name": name(subscription), "topic": TOPIC, **asked})
        self.service.subscriptions.create({"name": name("dead"), "topic": DEAD_TOPIC})

    @rule(texts=st.lists(st.tuples(st.text(min_size=1, max_size=3), st.sampled_from(["", "a", "b"])), min_size=1, max_size=4))
    def publish(self, texts: list[tuple[str, str]]) -> None:
        messages = [{"data": base64.b64encode(text.encode()).decode(), "orderingKey": key} for text, key in texts]
        ids = self.service.deliveries.publish(TOPIC, messages)
        assert len(set(ids)) == len(texts)
        for subscription, model in self.models.items():
            if subscription != "dead":
                model.waiting += [Delivery(text, key, self.now) for text, key in texts]

    @rule(subscription=st.sampled_from([*SUBSCRIPTIONS, "dead"]), most=st.integers(1, 6))
    def pull(self, subscription: str, most: int) -> None:
        self.bury()
        expected = self.models[subscription].pull(self.now, most)
        received = self.service.deliveries.pull(name(subscription), most)
        got = [(base64.b64decode(each["message"]["data"]).decode(), each.get("deliveryAttempt")) for each in received]
        counted = "deadLetterPolicy" in self.models[subscription].settings
        assert got == [(each.text, each.attempts if counted else None) for each in expected]
        for each, answer in zip(expected, received, strict=True):
            each.ack_id = answer["ackId"]

    def bury(self) -> None:
        model = self.models["strict"]
        for each in [each for each in model.waiting if each.attempts >= 5 and each.until <= self.now]:
            model.waiting.remove(each)
            self.models["dead"].waiting.append(Delivery(each.text, each.key, self.now))

    @rule(subscription=st.sampled_from([*SUBSCRIPTIONS, "dead"]), data=st.data())
    def acknowledge(self, subscription: str, data: st.DataObject) -> None:
        if chosen := self.choose(subscription, data):
            self.service.deliveries.acknowledge(name(subscription), [each.ack_id for each in chosen])
            model = self.models[subscription]
            model.waiting = [each for each in model.waiting if each not in chosen]

    @rule(subscription=st.sampled_from([*SUBSCRIPTIONS, "dead"]), seconds=st.sampled_from([0, 0, 10, 40, 600]), data=st.data())
    def modify(self, subscription: str, seconds: int, data: st.DataObject) -> None:
        if not (chosen := self.choose(subscription, data)):
            return
        self.service.deliveries.modify_ack_deadline(name(subscription), [each.ack_id for each in chosen], seconds)
        model = self.models[subscription]
        for each in chosen:
            if each.until <= self.now:
                continue
            each.until = self.now + seconds
            each.rests_until = each.until + model.rest(each.attempts)
            if not seconds and each.key and "enableMessageOrdering" in model.settings:
                for later in model.waiting[model.waiting.index(each) + 1 :]:
                    if later.key == each.key and later.until > self.now:
                        later.until = later.rests_until = self.now
                        later.ack_id = ""

    def choose(self, subscription: str, data: st.DataObject) -> list[Delivery]:
        lent = [each for each in self.models[subscription].waiting if each.ack_id]
        return data.draw(st.lists(st.sampled_from(lent), unique_by=id, max_size=4)) if lent else []

    @rule(seconds=st.sampled_from([0.5, 3, 10, 11, 40, 610]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def kill(self) -> None:
        """A new process has nothing but what is on the disk."""
        self.state.close()
        self.start()

    @rule()
    def acknowledge_what_is_not_there(self) -> None:
        self.service.deliveries.acknowledge(name("plain"), [f"17-{'0' * 24}"])
        with pytest.raises(ApiError, match="invalid ack ID"):
            self.service.deliveries.acknowledge(name("plain"), ["nonsense"])

    @invariant()
    def keeps_no_message_that_nobody_waits_for(self) -> None:
        kept = self.state.query("SELECT COUNT(*) FROM pubsub_messages WHERE id NOT IN (SELECT message FROM pubsub_deliveries)")
        assert kept[0][0] == 0

    def teardown(self) -> None:
        self.state.close()
        self.directory.cleanup()


TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = settings(max_examples=40, stateful_step_count=40)
