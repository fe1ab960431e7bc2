"""What all tests share; ``--record-methods`` writes down which REST methods they call, for the table in the documentation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from gcp_dicom_emulator.rest import server
from tests.schemas import WireChecker

RECORD = Path(__file__).parent / "methods.tsv"

# An example may take long: the machine may be busy.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


@pytest.fixture(scope="session")
def wire() -> Iterator[WireChecker]:
    wire = WireChecker()
    undo = wire.install()
    yield wire
    undo()


@pytest.fixture(autouse=True)
def as_the_discovery_documents_say(wire: WireChecker) -> Iterator[None]:
    """Fail where an emulator of this process took or answered something else, be the test about that or not."""
    yield
    problems, wire.problems = wire.problems, set()
    assert not problems


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-methods", action="store_true", help=f"write {RECORD.name}; run all tests")


@pytest.fixture(autouse=True, scope="session")
def record_methods(request: pytest.FixtureRequest) -> Iterator[None]:
    """Note each request that is answered with success, beside the file of the test that runs."""
    if not request.config.getoption("--record-methods", default=False):
        yield
        return
    answered = server.LoggedRequest
    found: set[tuple[str, str]] = set()

    def note(method_id: str, path: str, status: int, *further: Any) -> server.LoggedRequest:
        if status < 400 and method_id != "unknown":
            found.add((method_id, _current_file()))
        return answered(method_id, path, status, *further)

    server.LoggedRequest = note  # type: ignore[assignment, misc]
    yield
    server.LoggedRequest = answered  # type: ignore[misc]
    RECORD.write_text("".join(f"{method}\t{file}\n" for method, file in sorted(found)))


def _current_file() -> str:
    """Return the file of the test that runs, below ``tests``."""
    path = os.environ["PYTEST_CURRENT_TEST"].partition("::")[0]
    return path.removeprefix("tests/")
