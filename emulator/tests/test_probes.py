"""Probes: what they find is what the page says, nothing of theirs stays, and nobody is written to unasked."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.cli import main
from gcp_dicom_emulator.probes.endpoint import Endpoint
from gcp_dicom_emulator.probes.run import PROBES, findings, tables

PAGE = Path(__file__).parents[2] / "docs" / "emulator-guesses.md"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


def test_the_page_says_what_the_probes_find(emulator: Emulator) -> None:
    with Endpoint(emulator.url, "demo") as at:
        found = list(findings(at))
    assert [one for one in found if "The probe failed" in one.answer] == []
    assert tables(found) in PAGE.read_text(), "run python docs/probes.py"


def test_nothing_stays(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "--endpoint", emulator.url]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n    ") == sum(map(len, PROBES.values()))
    status = Endpoint(emulator.url, "demo").ask("GET", "/_emulator/status").json
    assert (status["dicomStores"], status["buckets"], status["objects"]) == (0, 0, 0)


class _Stranger(BaseHTTPRequestHandler):
    """Somebody who is not an emulator, and notes what is asked."""

    asked: list[str] = []

    def _answer(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        body = json.dumps({"error": {"message": "no"}}).encode()
        self.send_response(404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("said", ["", "n\n", "no\n", "\n"])
def test_a_stranger_is_not_written_to_unasked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str
) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Stranger)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("sys.stdin", io.StringIO(said))
    _Stranger.asked.clear()
    assert main(["probe", "--endpoint", f"http://127.0.0.1:{server.server_address[1]}", "--project", "mine"]) == 1
    server.shutdown()
    assert _Stranger.asked == ["GET /_emulator/status"]
    printed = capsys.readouterr().out
    assert "in project mine" in printed
    assert printed.endswith("Nothing was asked.\n")


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "--endpoint", "http://127.0.0.1:1"]) == 1
    assert "http://127.0.0.1:1 does not answer" in capsys.readouterr().err
