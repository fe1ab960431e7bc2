"""The processes that help to parse."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gcp_dicom_emulator.healthcare.dicom import helpers as module
from gcp_dicom_emulator.healthcare.dicom.helpers import Helpers
from tests.healthcare.conftest import World, encoded, instance, sample, wait_for

pytestmark = pytest.mark.slow  # processes

ITEMS = list(range(101))

SCRIPT = """
import os, time
from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.healthcare.dicom import helpers
from tests.healthcare.test_helpers import pids

helpers._WORTH, helpers.os.cpu_count = 1, lambda: 2
emulator = Emulator()
emulator.start()
while len(found := {pid for part in emulator.healthcare._helpers.share(pids, [1, 2], of=2) for pid, _ in part}) < 2:
    time.sleep(0.01)
print(*found - {os.getpid()}, flush=True)
time.sleep(600)
"""


def pids(part: Sequence[Any]) -> list[tuple[int, Any]]:
    return [(os.getpid(), item) for item in part]


def fail_here(part: Sequence[Any], here: int) -> list[tuple[int, Any]]:
    if os.getpid() == here:
        raise ValueError("here")
    return pids(part)


def fail_there(part: Sequence[Any], here: int) -> list[tuple[int, Any]]:
    if os.getpid() != here:
        raise ValueError("there")
    return pids(part)


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Helpers]:
    """Two helpers, wherever the tests run."""
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setattr(module, "_WORTH", 2)
    helpers = Helpers()
    yield helpers
    helpers.close()


def shared(helpers: Helpers, work: Any = pids, *arguments: Any) -> set[int]:
    """Share; return which processes took part."""
    found = [one for part in helpers.share(work, ITEMS, *arguments, of=len(ITEMS)) for one in part]
    assert [item for _, item in found] == ITEMS
    return {pid for pid, _ in found}


def ready(helpers: Helpers) -> set[int]:
    """Wait for the helpers; return which they are."""
    return set(wait_for(lambda: len(found := shared(helpers)) == 3 and found - {os.getpid()}, "two helpers"))


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_parts_are_done_at_the_same_time_and_their_order_stays(helpers: Helpers) -> None:
    both = ready(helpers)
    assert shared(helpers) == both | {os.getpid()}
    helpers.close()
    assert not any(map(is_alive, both))
    assert shared(helpers) == {os.getpid()}


@pytest.mark.parametrize("items", [[], [1]])
def test_few_items_start_no_helper(items: list[int]) -> None:
    helpers = Helpers()
    assert helpers.share(pids, items, of=10) == [[(os.getpid(), item) for item in items]]
    assert not helpers._started


def test_what_a_killed_helper_was_to_do_is_done_here(helpers: Helpers) -> None:
    first, second = ready(helpers)
    os.kill(first, signal.SIGKILL)
    assert shared(helpers) == {second, os.getpid()}
    assert shared(helpers) == {second, os.getpid()}


def test_what_fails_there_is_done_here(helpers: Helpers) -> None:
    ready(helpers)
    assert shared(helpers, fail_there, os.getpid()) == {os.getpid()}


def test_nobody_gets_an_answer_that_was_for_another(helpers: Helpers) -> None:
    both = ready(helpers)
    with pytest.raises(ValueError, match="here"):
        shared(helpers, fail_here, os.getpid())
    assert not any(map(is_alive, both))
    assert shared(helpers) == {os.getpid()}


def test_a_python_that_cannot_help(helpers: Helpers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    wait_for(lambda: shared(helpers) == {os.getpid()} and helpers._started and not helpers._starting, "giving up")


def test_a_python_that_is_none(helpers: Helpers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/file")
    assert shared(helpers) == {os.getpid()}


def test_a_script_needs_no_main_and_helpers_end_with_it() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True, env=environment) as script:
        assert script.stdout is not None
        helper = int(script.stdout.readline())
        assert is_alive(helper)
        script.kill()
    wait_for(lambda: not is_alive(helper), "the helper's end")


def test_operations_with_helpers(world: World, helpers: Helpers, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(helpers)
    healthcare = world.emulator.healthcare
    monkeypatch.setattr(healthcare._importer, "_helpers", helpers)
    monkeypatch.setattr(healthcare._exporter, "_helpers", helpers)
    for number in range(20):
        world.put(f"in/{number:02}", encoded(instance("1.2", "1.3", f"1.4.{number}", InstanceNumber=number)))
    world.put("in/00", b"no DICOM")
    world.put("in/19", sample("CT_small.dcm"))
    ended = world.end(world.start_import(world.uri("in/**")))
    assert ended["metadata"]["counter"] == {"success": "19", "failure": "1"}
    assert [entry["source"] for entry in world.logs(ended)] == [world.uri("in/00")]
    world.end(world.start_export(bigqueryDestination={"tableUri": world.table("t")}))
    found = dict(world.rows("t", "SOPInstanceUID, InstanceNumber"))
    assert len(found) == 19
    assert {found[f"1.4.{number}"] for number in range(1, 19)} == {str(number) for number in range(1, 19)}
    assert world.rows("t", "PatientName.Alphabetic.FamilyName", "WHERE PatientName IS NOT NULL") == [("CompressedSamples",)]
    world.end(world.start_export(bigqueryDestination={"tableUri": world.table("j"), "schemaJson": {}}))
    assert world.rows("j", "COUNT(DISTINCT SOPInstanceUID)") == [(19,)]
