"""Cloud Logging's ``entries.list``, asked by Google's client."""

from __future__ import annotations

from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from tests.healthcare.conftest import World


def entries(world: World) -> Any:
    client = build(
        "logging",
        "v2",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        static_discovery=True,
        client_options={"api_endpoint": world.emulator.url},
    )
    return client.entries()


@pytest.fixture
def failed(world: World) -> str:
    """An import in which three files failed."""
    for number in range(3):
        world.put(f"in/{number}.txt", b"text")
    return str(world.end(world.start_import(world.uri("in/**")))["name"])


def ask(world: World, **body: Any) -> dict[str, Any]:
    project = world.dataset.split("/")[1]
    found: dict[str, Any] = entries(world).list(body={"resourceNames": [f"projects/{project}"], **body}).execute()
    return found


def test_entries_of_an_operation(world: World, failed: str) -> None:
    found = ask(world, filter=f'operation.id="{failed}" AND severity>=ERROR')["entries"]
    assert [entry["jsonPayload"]["source"] for entry in found] == [world.uri(f"in/{number}.txt") for number in range(3)]
    assert all(entry["jsonPayload"]["error"]["message"] and entry["operation"]["id"] == failed for entry in found)
    assert {"logName", "insertId", "resource", "timestamp", "severity"} <= found[0].keys()


def test_pages_and_order(world: World, failed: str) -> None:
    sources: list[str] = []
    token = ""
    for _ in range(2):
        page = ask(world, filter=f'operation.id="{failed}"', pageSize=2, orderBy="timestamp desc", pageToken=token)
        sources += [entry["jsonPayload"]["source"] for entry in page["entries"]]
        token = page.get("nextPageToken", "")
    assert token == ""
    assert sources == [world.uri(f"in/{number}.txt") for number in (2, 1, 0)]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 3),
        ("severity=ERROR", 3),
        ("severity>ERROR", 0),
        ('timestamp>="2000-01-01T00:00:00Z"\nseverity>=WARNING', 3),
        ('timestamp>="2999-01-01T00:00:00Z"', 0),
        ('operation.id="projects/p/operations/1"', 0),
        ("resource.type=healthcare_dataset", 3),
    ],
)
def test_filters(world: World, failed: str, text: str, count: int) -> None:
    dataset = f"resource.labels.dataset_id={world.dataset.rpartition('/')[2]}"
    assert len(ask(world, filter=f"{dataset}\n{text}").get("entries", [])) == count


def test_another_project_has_none(world: World, failed: str) -> None:
    assert entries(world).list(body={"resourceNames": ["projects/another"]}).execute() == {}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"filter": "severity>=ERROR OR severity=INFO"}, 501),
        ({"filter": 'jsonPayload.source:"x"'}, 501),
        ({"filter": "NOT severity=ERROR"}, 501),
        ({"filter": "severity>=BAD"}, 400),
        ({"orderBy": "severity"}, 400),
        ({"pageToken": "x"}, 400),
        ({"pagesize": 1}, 400),
        ({"resourceNames": []}, 400),
        ({"resourceNames": ["folders/1"]}, 501),
    ],
)
def test_what_is_refused(world: World, body: dict[str, Any], status: int) -> None:
    with pytest.raises(HttpError) as refused:
        ask(world, **body)
    assert refused.value.status_code == status
