"""The commands ``make demo`` and ``make ui``: how they stop, and that ``make ui`` keeps everything running."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from demo.airflow_api import AirflowApi
from demo.stack import Stack

CLONE = Path(__file__).parents[2]
OWN_DAG = """
from airflow.providers.common.compat.sdk import DAG
from own_module import DAG_ID

dag = DAG(DAG_ID, schedule=None)
"""


class Command:
    """A command of the demo in a terminal of its own.

    :param temporary: where its temporary folder is to be.
    """

    def __init__(self, temporary: Path, *arguments: str) -> None:
        self._temporary = temporary
        self._ours, self._its = os.openpty()
        os.set_blocking(self._ours, False)
        self._output = b""
        terminal = os.ttyname(self._its)
        self.process = subprocess.Popen(
            # Whoever leads a session is told of the end of the terminal that it opens first.
            ["sh", "-c", f'exec "$@" < {terminal} > {terminal} 2>&1', "sh", sys.executable, "-m", *arguments],
            cwd=CLONE,
            env={**os.environ, "TMPDIR": str(temporary)},
            start_new_session=True,
        )
        self._family: list[psutil.Process] = []

    def output(self) -> str:
        with contextlib.suppress(OSError):  # nothing more yet, or ever
            while data := os.read(self._ours, 10_000):
                self._output += data
        return self._output.decode(errors="replace").replace("\r\n", "\n")

    def wait_until(self, condition: Callable[[], object], timeout: float = 300) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.1)

    def wait_for(self, text: str, timeout: float = 300) -> None:
        self.wait_until(lambda: text in self.output(), timeout)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def find(self, command: str) -> psutil.Process:
        [found] = [one for one in psutil.Process(self.process.pid).children() if command in " ".join(one.cmdline())]
        return found

    def send(self, number: int) -> None:
        self._family += self.family()  # nobody may be left when the second signal comes
        self.process.send_signal(number)

    def hang_up(self) -> None:
        """Close the terminal, as who closes its window does."""
        self._family = self.family()
        os.close(self._ours)
        self._ours = -1

    def wait_for_end(self) -> int:
        """Return the exit status, and see that nothing is left."""
        status = self.process.wait(120)
        assert self._family
        _, left = psutil.wait_procs(self._family, timeout=30)
        assert left == []
        assert list(self._temporary.iterdir()) == []
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(120)
        for terminal in {self._ours, self._its} - {-1}:
            os.close(terminal)


@pytest.fixture
def start(tmp_path: Path, default_port: None) -> Iterator[Callable[..., Command]]:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> Command:
            command = Command(temporary, *arguments)
            stack.callback(command.close)
            return command

        yield start


@pytest.mark.only_in_make_faults
@pytest.mark.parametrize(
    ("module", "number", "status"),
    [
        ("demo.run", signal.SIGHUP, 129),
        ("demo.run", signal.SIGINT, 130),
        ("demo.ui", signal.SIGHUP, 129),
        ("demo.ui", signal.SIGINT, 0),
        ("demo.ui", signal.SIGTERM, 143),
    ],
)
def test_signal(start: Callable[..., Command], module: str, number: int, status: int) -> None:
    command = start(module)
    command.wait_until(command.family)
    command.wait_until(lambda: any("start" in one.cmdline() for one in command.family()))

    command.send(number)
    command.send(number)  # as make does with a signal that its group has got

    assert command.wait_for_end() == status
    last = ["Stopping …", "Stopped."] if status == 0 else ["Stopping …"]
    assert command.output().splitlines() == ["Starting the emulator and Airflow …", "", *last]


@pytest.mark.only_in_make_faults
def test_nohup(start: Callable[..., Command]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which a child inherits
    try:
        command = start("demo.ui")
    finally:
        signal.signal(signal.SIGHUP, before)
    command.wait_until(command.family)

    command.send(signal.SIGHUP)
    time.sleep(1)

    assert command.process.poll() is None
    command.send(signal.SIGTERM)
    assert command.wait_for_end() == 143


@pytest.mark.only_in_make_faults
def test_ui(start: Callable[..., Command], tmp_path: Path) -> None:
    own = tmp_path / "my dags"
    own.mkdir()
    (own / "own_dag.py").write_text(OWN_DAG)
    (own / "own_module.py").write_text('DAG_ID = "own"\n')
    command = start("demo.ui", str(own))
    command.wait_for("Ctrl-C stops everything")
    text = command.output()
    api = AirflowApi(re.findall(r"^  Airflow +(http://[^/]+)", text, re.MULTILINE)[0])

    # The user's DAG is there.
    api.wait_for_dag("own")

    # So is the pool of the mapped example.
    assert api.call("GET", "/pools/dicom_operations")["include_deferred"]

    # The emulator's command finds the emulator.
    [line] = re.findall(r"(eval .*)", text)
    shell = f'{line}; echo "$STORAGE_EMULATOR_HOST"'
    done = subprocess.run(["bash", "-c", shell], check=True, capture_output=True, text=True)
    assert f"  emulator   {done.stdout}" in text

    # A run goes on when the emulator ends amidst it.
    run_id = api.trigger("dicom_filtered_export")  # with the defaults of its form
    command.wait_until(lambda: api.task_instances("dicom_filtered_export", run_id)["import_instances"]["state"] == "deferred")
    command.find("gcp-dicom-emulator").kill()
    command.wait_for("emulator ended by SIGKILL", 60)
    command.wait_for("Started emulator again")
    assert api.wait("dicom_filtered_export", run_id) == "success"

    # Nothing is left when the terminal is closed.
    command.hang_up()
    assert command.wait_for_end() == 129


def test_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as other:
        taken = server.getsockname()[1]
        other.bind(("127.0.0.1", 0))
        free = other.getsockname()[1]
        stack = Stack(CLONE / "dags", ports=(taken, free))
    stack.stop()

    assert stack.emulator_port not in (0, taken)
    assert stack.url == f"http://127.0.0.1:{free}"


def test_folder_that_is_none(start: Callable[..., Command], tmp_path: Path) -> None:
    command = start("demo.ui", str(tmp_path / "none"))

    assert command.process.wait(60) == 2
    assert "none is not a folder" in command.output()
