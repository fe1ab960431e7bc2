"""What messages tell, and that no event of an asset is forgotten, however late it is stored and whatever fails."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException
from hypothesis import given
from hypothesis import strategies as st

from airflow_dicom.arrivals import (
    advance_arrivals,
    arrived_studies,
    arrived_uris,
    collect_arrivals,
    collect_quiet_studies,
    payload,
    read_message,
)
from airflow_dicom.gcs_uris import check_import_uri

STORE = "projects/p/locations/l/datasets/d/dicomStores/s"
INSTANCE = f"{STORE}/dicomWeb/studies/1.2/series/1.3/instances/1.4"
TIME = datetime(2026, 1, 1, tzinfo=UTC)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_message_of_a_store():
    message = {"messageId": "7", "publishTime": "2026-01-01T00:00:00Z", "data": encoded(INSTANCE)}
    read = {"id": "7", "action": "", "path": INSTANCE, "updated": "2026-01-01T00:00:00Z"}
    assert read_message(message) == read
    assert read_message({**message, "attributes": {"action": "StoreInstances", "modality": "CT"}}) == {
        **read,
        "action": "StoreInstances",
    }


def test_a_message_of_a_bucket():
    attributes = {
        "eventType": "OBJECT_FINALIZE",
        "bucketId": "b",
        "objectId": "in/a.dcm",
        "objectGeneration": "5",
        "eventTime": "2026-01-01T00:00:00Z",
    }
    assert read_message({"messageId": "7", "attributes": attributes}) == {
        "id": "7",
        "action": "OBJECT_FINALIZE",
        "path": "gs://b/in/a.dcm",
        "generation": "5",
        "updated": "2026-01-01T00:00:00Z",
    }


@pytest.mark.parametrize("data", [{}, {"data": ""}, {"data": "/w=="}, {"data": "%%"}, {"data": encoded("hello")}])
def test_what_is_neither_is_seen(data):
    assert read_message({"messageId": "7", **data}) == {"id": "7", "raw": data.get("data", "")}


@given(st.binary(max_size=400), st.dictionaries(st.text(max_size=9), st.text(max_size=9)))
def test_no_message_stops_the_others(data, attributes):
    message = {"messageId": "7", "data": base64.b64encode(data).decode(), "attributes": attributes}
    assert payload([message, message])["messages"] == [read_message(message)]


def finalized(*paths: str) -> list[dict[str, Any]]:
    return [{"id": str(number), "action": "OBJECT_FINALIZE", "path": path} for number, path in enumerate(paths)]


@pytest.mark.parametrize(
    ("paths", "uris"),
    [
        (["gs://b/x/one.dcm"], ["gs://b/x/one.dcm"]),
        (["gs://b/x/1.2.3.dcm", "gs://b/x/1.2.4.dcm", "gs://b/x/1.2.30.dcm"], ["gs://b/x/1.2.*"]),
        (["gs://b/x/1", "gs://b/x/12"], ["gs://b/x/1*"]),
        (["gs://b/x/1", "gs://b/x/2", "gs://b/1"], ["gs://b/1", "gs://b/x/*"]),
        (["gs://b/1", "gs://b/x/1", "gs://b/x/y/1"], ["gs://b/1", "gs://b/x/1", "gs://b/x/y/1"]),
        (["gs://b/x/"], []),
        (["gs://b/x/", "gs://b/x/1"], ["gs://b/x/1"]),
        (["gs://b/x/what?.dcm"], ["gs://b/x/what*"]),
        (["gs://b/x*y/1", "gs://b/x*z/1"], ["gs://b/x**"]),
    ],
)
def test_what_an_import_takes(paths, uris):
    others = [{"id": "y", "action": "OBJECT_DELETE", "path": "gs://b/y/1"}, {"id": "z", "raw": ""}]
    assert arrived_uris([*finalized(*paths), *others]) == uris


@given(st.lists(st.text("ab*?/.", max_size=9), max_size=9))
def test_an_import_takes_it_and_it_means_each_object(names):
    names = [name for name in names if not name.endswith("/") and name]
    uris = arrived_uris(finalized(*(f"gs://b/{name}" for name in names)))
    for uri in uris:
        check_import_uri(uri)
    wild = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    regexes = ["".join(wild.get(part) or re.escape(part) for part in re.split(r"(\*\*|\*|\?)", uri)) for uri in uris]
    for name in names:
        assert any(re.fullmatch(regex, f"gs://b/{name}", re.DOTALL) for regex in regexes), (name, uris)


def test_studies():
    instances = [{"id": str(number), "action": action, "path": INSTANCE} for number, action in enumerate(["", "DeleteStudy"])]
    assert arrived_studies([*instances, {"id": "9", "raw": ""}]) == ["/studies/1.2"]
    assert arrived_studies(instances[1:]) == []
    assert arrived_studies(instances, "projects/other") == []


@dataclass
class Event:
    id: int
    timestamp: datetime
    extra: dict[str, Any]


@dataclass
class Airflow:
    """As much of Airflow's database as the functions use."""

    events: list[Event] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    _after: datetime | None = None

    def add(self, at: datetime, *messages: dict[str, Any]) -> None:
        extra = {"from_trigger": True, "payload": {"schema": 1, "messages": list(messages)}}
        self.events.append(Event(len(self.events), at, extra))

    @property
    def context(self) -> Any:
        self._after = None
        return {
            "inlet_events": {"asset": self},
            "asset_state_store": {"asset": SimpleNamespace(get=self.state.get, set=self.state.__setitem__)},
            "dag": SimpleNamespace(dag_id="dag"),
        }

    def after(self, text: str) -> Airflow:
        self._after = datetime.fromisoformat(text)
        return self

    def ascending(self) -> Airflow:
        return self

    def limit(self, number: int) -> Sequence[Event]:
        found = [event for event in self.events if self._after is None or event.timestamp >= self._after]
        return sorted(found, key=lambda event: event.timestamp)[:number]


def message(number: int) -> dict[str, Any]:
    return {"id": str(number), "action": "", "path": INSTANCE, "updated": TIME.isoformat()}


def collected(airflow: Airflow, *, advance: bool = True, **more: Any) -> list[str]:
    context = airflow.context
    try:
        found = collect_arrivals("asset", context, **more)  # type: ignore[arg-type]
    except AirflowSkipException:
        return []
    if advance:
        advance_arrivals("asset", context, found)  # type: ignore[arg-type]
    return [each["id"] for each in found["messages"]]


def test_a_run_that_fails_leaves_its_messages_to_the_next():
    airflow = Airflow()
    airflow.add(TIME, message(1), message(2))
    assert collected(airflow, advance=False) == ["1", "2"]
    assert collected(airflow) == ["1", "2"]
    assert collected(airflow) == []


def test_an_event_that_is_stored_late_is_not_forgotten():
    airflow = Airflow()
    airflow.add(TIME, message(1))
    assert collected(airflow) == ["1"]
    airflow.add(TIME - timedelta(minutes=1), message(2))
    airflow.add(TIME, message(3))
    assert collected(airflow) == ["2", "3"]


@given(st.lists(st.tuples(st.integers(-240, 240), st.booleans(), st.integers(1, 3)), max_size=30))
def test_each_message_is_returned_by_a_run_that_succeeds(steps):
    """Events come with times that jump back by up to eight minutes, less than that behind the last one; runs fail or succeed."""
    airflow, done, now = Airflow(), set(), TIME
    for number, (seconds, succeeds, limit) in enumerate(steps):
        now = max(now, now + timedelta(seconds=seconds))
        airflow.add(min(now, now + timedelta(seconds=seconds)), message(number))
        found = collected(airflow, advance=succeeds, limit=limit)
        done |= set(found) if succeeds else set()
    while found := collected(airflow, limit=2):
        assert not done & set(found)
        done |= set(found)
    assert done == {str(number) for number in range(len(steps))}


def test_a_study_is_returned_once_it_is_quiet():
    airflow = Airflow()
    now = datetime.now(UTC)

    def run() -> list[str] | None:
        context = airflow.context
        try:
            found = collect_quiet_studies("asset", context, minutes=2)  # type: ignore[arg-type]
        except AirflowSkipException:
            return None
        advance_arrivals("asset", context, found)  # type: ignore[arg-type]
        return list(found["studies"])

    assert run() is None
    airflow.add(now, {**message(1), "updated": (now - timedelta(seconds=119)).isoformat()})
    assert run() == []
    assert run() is None
    (state,) = airflow.state.values()
    state["growing"]["/studies/1.2"] = (now - timedelta(minutes=3)).isoformat()
    assert run() == ["/studies/1.2"]
    assert run() is None
