"""Pages of other websites that may talk to the emulator from a browser: by ``--allow-origin``, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.rest.faults import Fault
from gcp_dicom_emulator.rest.origins import parse_origin

BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"
VIEWER, OTHER, EVIL = "http://localhost:3000", "https://viewer.example", "http://localhost:3001"
CORS = ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Access-Control-Allow-Methods")


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(allow_origins=[VIEWER, OTHER]) as emulator:
        emulator.storage.objects.create_bucket("clinic")
        yield emulator


def ask(emulator: Emulator, verb: str, path: str, origin: str | None, **headers: str) -> requests.Response:
    """Send what a browser sends for a page of an origin."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"User-Agent": BROWSER, **({"Origin": origin} if origin else {}), **named}
    return requests.request(verb, emulator.url + path, headers=sent)


def preflight(emulator: Emulator, origin: str, wanted: str = "authorization,content-type") -> requests.Response:
    asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": wanted}
    return ask(emulator, "OPTIONS", "/storage/v1/b?project=demo", origin, **asked)


@pytest.mark.parametrize("origin", [VIEWER, OTHER])
def test_f11_a_page_of_an_allowed_origin_may_ask_and_read(emulator: Emulator, origin: str):
    allowed = preflight(emulator, origin)
    assert (allowed.status_code, allowed.content) == (204, b"")
    assert allowed.headers["Access-Control-Allow-Origin"] == origin
    assert "POST" in allowed.headers["Access-Control-Allow-Methods"].split(", ")
    assert allowed.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    assert {"Origin", "Access-Control-Request-Headers"} <= set(allowed.headers["Vary"].split(", "))
    answer = ask(emulator, "GET", "/storage/v1/b/clinic", origin)
    assert (answer.status_code, answer.json()["name"]) == (200, "clinic")
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Access-Control-Expose-Headers"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/nothing", "/storage/v1/b/missing", "/_emulator/study", "/", "/storage/v1/b/clinic/o/a?alt=media"]
)
def test_it_reads_errors_pages_and_what_is_streamed(emulator: Emulator, path: str):
    emulator.storage.objects.put_bytes("clinic", "a", b"bytes" * 100_000)
    assert ask(emulator, "GET", path, VIEWER).headers["Access-Control-Allow-Origin"] == VIEWER


def test_it_reads_an_answer_of_a_fault(emulator: Emulator):
    emulator.faults.add(Fault("status", "storage.buckets.get", code=503))
    answer = ask(emulator, "GET", "/storage/v1/b/clinic", VIEWER)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (503, VIEWER)


@pytest.mark.parametrize(
    "origin", [EVIL, "null", "http://localhost", "http://localhost:3000.evil.example", "https://localhost:3000"]
)
def test_pages_of_all_others_are_refused_as_before(emulator: Emulator, origin: str):
    for answer in (
        preflight(emulator, origin),
        ask(emulator, "GET", "/storage/v1/b/clinic", origin),
        ask(emulator, "POST", "/_emulator/reset", origin),
    ):
        assert answer.status_code == 403
        assert not set(CORS) & set(answer.headers)
        assert "Origin" in answer.headers["Vary"]
        assert "--allow-origin" in answer.json()["error"]["message"]
    assert emulator.status()["buckets"] == 1


def test_a_name_that_is_made_to_mean_this_machine_reads_nothing(emulator: Emulator):
    """Its page is of the same origin as the emulator, so far as the browser knows."""
    answer = ask(emulator, "GET", "/storage/v1/b/clinic", OTHER, Host="viewer.example")
    assert answer.status_code == 403


def test_what_has_no_origin_depends_on_it(emulator: Emulator):
    """Else a cache would give a page the answer that lets another one read it."""
    answer = ask(emulator, "GET", "/storage/v1/b/clinic", None)
    assert answer.status_code == 200
    assert "Origin" in answer.headers["Vary"]
    assert not set(CORS) & set(answer.headers)


def test_a_client_that_names_another_origin_is_served_and_not_a_page(emulator: Emulator):
    """Google's clients name the origin of the page which is to go on with an upload."""
    answer = ask(emulator, "GET", "/storage/v1/b/clinic", EVIL, User_Agent="python-requests")
    assert answer.status_code == 200
    assert not set(CORS) & set(answer.headers)


def test_nobody_is_allowed_unless_asked_for():
    with Emulator() as emulator:
        assert preflight(emulator, VIEWER).status_code == 403
        answer = ask(emulator, "GET", "/healthz", None)
        assert not {*CORS, "Vary"} & set(answer.headers)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://localhost:3000", "http://localhost:3000"),
        ("HTTP://LocalHost:3000/", "http://localhost:3000"),
        ("https://viewer.example:443", "https://viewer.example"),
        ("http://127.0.0.1:80/", "http://127.0.0.1"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_an_origin_is_written_as_browsers_do(text: str, origin: str):
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        *("", "*", "null", "localhost:3000", "http://", "http://*", "http://*.example", "file:///home", "ftp://a", "//a"),
        *("http://a/path", "http://a?b", "http://a#b", "http://u@a", "http://a:x", "http://a:99999", "http://a:", "http://ä"),
        *("http://a b", "http://a,http://b", "http://a//", "http://[::1", "http://a%2Fb", "http://a\\b"),
    ],
)
def test_what_is_not_an_origin_is_refused(text: str):
    with pytest.raises(ValueError, match="is not an origin"):
        Emulator(allow_origins=[text])
