"""The command, as processes."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
import requests
from pydicom.data import get_testdata_file

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.cli import DEFAULT_STORE
from gcp_dicom_emulator.environment import environment

pytestmark = pytest.mark.slow  # processes

COMMAND = [sys.executable, "-m", "gcp_dicom_emulator"]


@dataclass
class Running:
    """A process that is ready.

    :param lines: what it has printed.
    """

    process: subprocess.Popen[str]
    lines: list[str]
    errors: Path

    @property
    def url(self) -> str:
        return self.lines[0].split()[-1]

    def end(self, number: int) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


class Commands:
    """Starts the command; ends what is left at the end.

    :param directory: where to put what is temporary.
    """

    def __init__(self, directory: Path) -> None:
        self.temporary = directory / "temporary"
        self.temporary.mkdir()
        self._errors = directory / "errors"
        self._environment = {**os.environ, "TMPDIR": str(self.temporary)}
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, port: int = 0) -> Running:
        with self._errors.open("w") as errors:
            process = subprocess.Popen(
                [*COMMAND, "start", "--port", str(port), *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=self._environment,
            )
        self._processes.append(process)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(9)]
        assert all(lines), self._errors.read_text()
        return Running(process, [line.strip() for line in lines], self._errors)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=120, env=self._environment)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait(60)
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("NO_PROXY", "other.example"), ("no_proxy", "example.com, internal")):
        monkeypatch.setenv(name, value)


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    commands = Commands(tmp_path)
    yield commands
    commands.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def put(url: str, name: str, content: bytes) -> None:
    requests.post(f"{url}/upload/storage/v1/b/bucket/o?uploadType=media&name={name}", data=content).raise_for_status()


def content(url: str, name: str) -> bytes:
    answer = requests.get(f"{url}/storage/v1/b/bucket/o/{name}?alt=media")
    answer.raise_for_status()
    return answer.content


def make_bucket(url: str) -> None:
    requests.post(f"{url}/storage/v1/b?project=demo", json={"name": "bucket"}).raise_for_status()


def serve_one(server: socket.socket, answer: str) -> None:
    """Answer one request by what is not an emulator."""
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(answer.encode())


class TestEnv:
    def test_prints_what_a_shell_understands(self, commands: Commands):
        printed = commands.run("env", "--port", "1234").stdout
        script = f'NO_PROXY="example.com, a b"\n{printed}\necho "$STORAGE_EMULATOR_HOST"; echo "$no_proxy"'
        url, no_proxy = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60).stdout.splitlines()
        assert url == "http://127.0.0.1:1234"
        assert "127.0.0.1" in no_proxy.split(",")

    def test_names_the_variables_of_all_clients(self, commands: Commands):
        names = {line.partition("=")[0] for line in commands.run("env").stdout.splitlines()}
        assert names == {
            "export HEALTHCARE_EMULATOR_HOST",
            "export STORAGE_EMULATOR_HOST",
            "export BIGQUERY_EMULATOR_HOST",
            "export PUBSUB_EMULATOR_HOST",
            "export GOOGLE_CLOUD_PROJECT",
            "export GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT",
            "export NO_PROXY",
            "export no_proxy",
        }

    def test_case_2_it_extends_what_no_proxy_holds_and_so_does_the_start(self, no_proxy: None, commands: Commands):
        for lines in (commands.start().lines, commands.run("env").stdout.splitlines()):
            hosts = "example.com,internal,other.example,127.0.0.1"
            assert {f"export {name}={hosts}" for name in ("NO_PROXY", "no_proxy")} <= set(lines)

    @pytest.mark.parametrize(
        ("lower", "upper", "hosts"),
        [("", "*", "*"), ("*", "a", "*"), ("a", " * ", "*"), ("a,*", "", "a,*,127.0.0.1"), ("a", "b,a", "a,b,127.0.0.1")],
    )
    def test_case_2_no_proxy_for_any_host_stays_so(self, monkeypatch: pytest.MonkeyPatch, lower: str, upper: str, hosts: str):
        """Among other names, ``*`` means nothing."""
        monkeypatch.setenv("no_proxy", lower)
        monkeypatch.setenv("NO_PROXY", upper)
        found = environment("http://127.0.0.1:9099")
        assert found["no_proxy"] == found["NO_PROXY"] == hosts

    def test_storage_s_client_needs_nothing_else(self, commands: Commands):
        running = commands.start()
        make_bucket(running.url)
        printed = commands.run("env", "--port", running.url.rpartition(":")[2])
        assert (printed.returncode, printed.stderr) == (0, "")
        program = "from google.cloud import storage; print([bucket.name for bucket in storage.Client().list_buckets()])"
        script = f"{printed.stdout}\nexec {shlex.quote(sys.executable)} -c {shlex.quote(program)}"
        assert subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60).stdout == "['bucket']\n"

    def test_warns_where_nothing_answers(self, commands: Commands):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
        ended = commands.run("env", "--port", port)
        assert ended.returncode == 0
        assert all(line.startswith("export ") for line in ended.stdout.splitlines())
        assert f"WARNING: No emulator answers on http://127.0.0.1:{port}: " in ended.stderr

    def test_warns_of_what_is_no_emulator_and_does_not_wait_for_it(self, commands: Commands):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            ended = commands.run("env", "--port", str(silent.getsockname()[1]))
        assert ended.returncode == 0
        assert "timed out" in ended.stderr

    def test_brackets_ipv6(self, commands: Commands):
        assert "STORAGE_EMULATOR_HOST=http://[::1]:9099" in commands.run("env", "--host", "::1").stdout.replace("'", "")


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["nonsense"], "invalid choice: 'nonsense'"),
            (["start", "--port", "x"], "x is not a whole number from 0 to 65535"),
            (["start", "--port", "65536"], "65536 is not a whole number from 0 to 65535"),
            (["env", "--port=-1"], "-1 is not a whole number from 1 to 65535"),
            (["status", "--port", "0"], "0 is not a whole number from 1 to 65535"),
            (["start", "--operation-polls=-1"], "-1 is not a whole number from 0 on"),
            (["start", "--operation-seconds", "soon"], "soon is not a number of seconds"),
            (["start", "--operation-retention", "nan"], "nan is not a number of seconds"),
            (["start", "--allow-origin", "*"], "* is not an origin, such as http://localhost:3000"),
            (["start", "--operation-seconds", "1", "--operation-polls", "1"], "not allowed with argument"),
            (["seed"], "required: directory"),
            # As of a shell's variables that are not set: not the current directory, and not all addresses of this machine.
            (["seed", ""], "the path is empty"),
            (["restore", ""], "the path is empty"),
            (["start", "--data-dir", ""], "the path is empty"),
            (["start", "--host", ""], "'' is not a host"),
            (["env", "--host", ""], "'' is not a host"),
            (["status", "--host", "http://localhost"], "'http://localhost' is not a host"),
            (["status", "--host", "localhost:9099"], "'localhost:9099' is not a host"),
            (["probe", "--endpoint", ""], "'' is not an endpoint"),
            (["probe", "--endpoint", "127.0.0.1:9099"], "'127.0.0.1:9099' is not an endpoint"),
        ],
    )
    def test_wrong_arguments_are_refused(self, commands: Commands, arguments: list[str], says: str):
        ended = commands.run(*arguments)
        assert ended.returncode == 2
        assert ended.stderr.startswith("usage: gcp-dicom-emulator")
        assert says in ended.stderr

    def test_without_a_command_it_shows_its_help(self, commands: Commands):
        ended = commands.run()
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == commands.run("--help").stdout

    def test_it_says_its_version(self, commands: Commands):
        assert commands.run("--version").stdout == f"gcp-dicom-emulator {version('gcp-dicom-emulator')}\n"

    @pytest.mark.parametrize("command", ["start", "env", "status", "seed", "reset", "snapshot", "restore"])
    def test_each_command_says_what_it_does(self, commands: Commands, command: str):
        assert re.search(
            rf"usage: gcp-dicom-emulator {command} .*\n\n[A-Z][^\n]+", commands.run(command, "--help").stdout, re.DOTALL
        )


class TestStart:
    def test_says_where_it_is_when_it_is_ready(self, commands: Commands):
        running = commands.start()
        assert requests.get(f"{running.url}/healthz").json() == {"status": "ok"}
        assert f"export STORAGE_EMULATOR_HOST={running.url}" in running.lines
        assert "WARNING" not in running.errors.read_text()

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_stops_it_and_removes_what_is_temporary(self, commands: Commands, number: int):
        running = commands.start()
        make_bucket(running.url)
        assert list(commands.temporary.iterdir()) != []
        assert running.end(number) == 0
        assert list(commands.temporary.iterdir()) == []
        assert "Traceback" not in running.errors.read_text()

    def test_removes_what_killed_ones_left(self, commands: Commands, data: Path):
        killed, alive = commands.start(), commands.start()
        of_killed, of_alive = (
            Path(requests.get(f"{running.url}/_emulator/status").json()["dataDirectory"]) for running in (killed, alive)
        )
        killed.end(signal.SIGKILL)
        others = [commands.temporary / f"gcp-dicom-emulator-{name}" for name in ("chosen", "no-lock", "of-others")]
        commands.start("--data-dir", str(others[0])).end(signal.SIGTERM)
        for other in others[1:]:
            other.mkdir()
        (others[2] / "lock").write_text("temporary, says somebody else")
        (commands.temporary / "gcp-dicom-emulator-link").symlink_to(of_killed)
        assert of_killed.exists()
        commands.start("--data-dir", str(data)).end(signal.SIGTERM)
        assert of_killed.exists()
        commands.start()
        assert not of_killed.exists()
        assert of_alive.exists()
        assert all(other.exists() for other in others)
        assert requests.get(f"{alive.url}/_emulator/status").status_code == 200

    def test_what_a_killed_one_left_can_be_kept(self, commands: Commands):
        killed = commands.start()
        make_bucket(killed.url)
        left = requests.get(f"{killed.url}/_emulator/status").json()["dataDirectory"]
        killed.end(signal.SIGKILL)
        running = commands.start("--data-dir", left)
        assert requests.get(f"{running.url}/storage/v1/b/bucket").status_code == 200
        running.end(signal.SIGKILL)
        commands.start()
        assert Path(left).exists()

    def test_logs_requests_and_nothing_of_libraries(self, commands: Commands):
        running = commands.start()
        folder = get_testdata_file("CT_small.dcm")
        assert folder is not None
        commands.run("seed", "--port", running.url.rpartition(":")[2], str(Path(folder).parent))
        sql = {"query": "SELECT [1, 2][OFFSET(1)] AS x", "useLegacySql": False}
        requests.post(f"{running.url}/bigquery/v2/projects/demo/queries", json=sql).raise_for_status()
        for address in re.findall(r'/_emulator/thumbnail[^"]*', requests.get(running.url).text):
            requests.get(running.url + address).raise_for_status()
        lines = running.errors.read_text().splitlines()
        assert [line for line in lines if not re.fullmatch(r"[-0-9]+ [:,0-9]+ .* \d{3} \d+ ms", line)] == []

    def test_a_signal_stops_it_though_a_request_is_delayed(self, commands: Commands):
        running = commands.start()
        requests.post(f"{running.url}/_emulator/faults", json={"kind": "delay", "seconds": 600}).raise_for_status()
        with pytest.raises(requests.Timeout):
            requests.get(f"{running.url}/storage/v1/b/bucket", timeout=0.2)
        assert running.end(signal.SIGTERM) == 0

    def test_a_port_in_use_is_said_clearly(self, commands: Commands):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            ended = commands.run("start", "--port", str(port))
        assert ended.returncode == 1
        assert ended.stdout == ""
        assert f"Cannot listen on 127.0.0.1:{port}: " in ended.stderr
        assert "address already in use" in ended.stderr
        assert "Choose another --port." in ended.stderr
        assert "Traceback" not in ended.stderr
        assert list(commands.temporary.iterdir()) == []

    def test_a_host_that_is_none_is_said_clearly(self, commands: Commands):
        ended = commands.run("start", "--port", "0", "--host", "nothing.invalid")
        assert ended.returncode == 1
        assert ended.stderr.startswith("Cannot listen on nothing.invalid:0: ")
        assert ended.stderr.endswith(" Choose another --host.\n")

    def test_a_website_that_is_allowed_reads_it(self, commands: Commands):
        url = commands.start("--allow-origin", "http://localhost:3000", "--allow-origin", "http://viewer.test/").url
        for origin, status in (("http://localhost:3000", 200), ("http://viewer.test", 200), ("http://other.test", 403)):
            answer = requests.get(f"{url}/healthz", headers={"Origin": origin, "User-Agent": "Mozilla/5.0"})
            assert answer.status_code == status
            assert answer.headers.get("Access-Control-Allow-Origin") == (origin if status == 200 else None)

    def test_a_port_is_free_again_at_once(self, commands: Commands):
        first = commands.start()
        requests.get(f"{first.url}/healthz")
        port = int(first.url.rpartition(":")[2])
        first.end(signal.SIGKILL)
        assert commands.start(port=port).url == first.url

    def test_warns_when_others_can_reach_it(self, commands: Commands):
        running = commands.start("--host", "0.0.0.0")
        assert "WARNING: listening on 0.0.0.0. There is no authentication" in running.errors.read_text()


class TestDataDirectory:
    def test_is_made_and_stays(self, commands: Commands, data: Path):
        running = commands.start("--data-dir", str(data / "new"))
        make_bucket(running.url)
        put(running.url, "a", b"text")
        assert running.end(signal.SIGTERM) == 0
        assert list(commands.temporary.iterdir()) == []
        assert content(commands.start("--data-dir", str(data / "new")).url, "a") == b"text"

    def test_of_another_process_is_refused(self, commands: Commands, data: Path):
        first = commands.start("--data-dir", str(data))
        make_bucket(first.url)
        ended = commands.run("start", "--port", "0", "--data-dir", str(data))
        assert ended.returncode == 1
        assert f"Cannot use {data}: another emulator uses it." in ended.stderr
        assert "Traceback" not in ended.stderr
        put(first.url, "a", b"text")
        assert content(first.url, "a") == b"text"

    def test_of_another_emulator_of_the_same_process_is_refused(self, data: Path):
        with Emulator(data), pytest.raises(OSError, match="another emulator uses it"):
            Emulator(data)
        Emulator(data).stop()

    @pytest.mark.parametrize("kind", ["file", "no database", "read only"])
    def test_that_is_none_is_refused(self, commands: Commands, data: Path, kind: str):
        if kind == "file":
            data.write_text("")
        elif kind == "no database":
            data.mkdir()
            (data / "metadata.sqlite").write_bytes(b"something else" * 1000)
        else:
            data = Path("/proc/nothing")
        ended = commands.run("start", "--port", "0", "--data-dir", str(data))
        assert ended.returncode == 1
        assert f"Cannot use {data}: " in ended.stderr
        assert "Traceback" not in ended.stderr

    def test_of_somebody_else_is_refused_and_left_alone(self, commands: Commands, data: Path):
        """The names are those that the emulator gives what is under way; ``incoming`` is a usual one for a folder of DICOM."""
        for name in ("incoming", "replacing", "moving", "blobs"):
            (data / name / "folder").mkdir(parents=True)
            (data / name / "folder" / "file").write_text("mine")
        ended = commands.run("start", "--port", "0", "--data-dir", str(data))
        assert ended.returncode == 1
        assert f"Cannot use {data}: it is not empty, and an emulator did not create it." in ended.stderr
        assert len([path for path in data.rglob("*") if path.is_file()]) == 4
        assert not (data / "lock").exists()

    def test_may_be_that_of_an_empty_volume(self, commands: Commands, data: Path):
        for name in ("lost+found", ".snapshots"):
            (data / name).mkdir(parents=True)
        assert commands.start("--data-dir", str(data)).end(signal.SIGTERM) == 0

    def test_keeps_what_is_not_the_emulator_s(self, data: Path):
        with Emulator(data) as emulator:
            (data / "notes.txt").write_text("mine")
            (data / "further").mkdir()
            emulator.reset()
        assert (data / "notes.txt").read_text() == "mine"
        assert (data / "further").exists()

    def test_of_another_version_is_refused(self, commands: Commands, data: Path):
        Emulator(data).stop()
        with contextlib.closing(sqlite3.connect(data / "metadata.sqlite")) as database:
            database.execute("ALTER TABLE uploads RENAME COLUMN blob TO file")
        ended = commands.run("start", "--port", "0", "--data-dir", str(data))
        assert ended.returncode == 1
        assert f"Cannot use {data}: another version of the emulator wrote it." in ended.stderr


class TestClientCommands:
    """Those that talk to a running emulator."""

    @pytest.fixture
    def url(self, commands: Commands) -> str:
        return commands.start().url

    @pytest.fixture
    def run(self, commands: Commands, url: str) -> Callable[..., str]:
        def run(*arguments: str) -> str:
            ended = commands.run(*arguments, "--port", url.rpartition(":")[2])
            assert ended.returncode == 0, ended.stderr
            return ended.stdout

        return run

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "folder"
        (folder / "below").mkdir(parents=True)
        shutil.copy(get_testdata_file("CT_small.dcm"), folder / "ct %2F?.dcm")
        shutil.copy(get_testdata_file("MR_small.dcm"), folder / "below" / "mr")
        (folder / "below" / "note.txt").write_text("no DICOM")
        return folder

    def test_seed_a_store(self, run: Callable[..., str], folder: Path, url: str):
        assert run("seed", str(folder)) == f"{DEFAULT_STORE}: 2 new instances, 1 file that is not DICOM\n"
        assert requests.get(f"{url}/v1/{DEFAULT_STORE}:getDICOMStoreMetrics").json()["instanceCount"] == "2"
        assert "items" not in requests.get(f"{url}/storage/v1/b?project=demo").json()
        store = "projects/p/locations/l/datasets/d/dicomStores/s"
        assert run("seed", str(folder / "below" / "mr"), "--store", store) == f"{store}: 1 new instance\n"

    def test_seed_says_what_is_new_and_what_was_there(self, run: Callable[..., str], folder: Path):
        """Case 19."""
        shutil.copy(folder / "below" / "mr", folder / "mr again")
        assert run("seed", str(folder / "below" / "mr")) == f"{DEFAULT_STORE}: 1 new instance\n"
        assert run("seed", str(folder)).startswith(f"{DEFAULT_STORE}: 1 new instance, 2 already there, 1 file that")
        assert run("seed", str(folder)).startswith(f"{DEFAULT_STORE}: 0 new instances, 3 already there, 1 file that")
        assert "instances: 2\n" in run("status")

    @pytest.mark.parametrize(
        ("files", "further", "says"),
        [
            ([], [], "no files"),
            (["a"], [], "1 file that is not DICOM"),
            (["a", "b"], [], "2 files that are not DICOM"),
            ([], ["--buckets"], "no folders"),
        ],
    )
    def test_seed_that_stores_nothing_fails(
        self, commands: Commands, url: str, tmp_path: Path, files: list[str], further: list[str], says: str
    ):
        """Case 19."""
        folder = tmp_path / "folder"
        folder.mkdir()
        for name in files:
            (folder / name).write_text("not DICOM")
        ended = commands.run("seed", str(folder), *further, "--port", url.rpartition(":")[2])
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == f"Nothing was stored: {folder} holds {says}.\n"

    def test_seed_buckets(self, run: Callable[..., str], folder: Path, url: str, tmp_path: Path):
        buckets = tmp_path / "buckets"
        buckets.mkdir()
        folder.rename(buckets / "clinic")
        assert run("seed", str(buckets), "--buckets") == "gs://clinic: 3 objects\n"
        listed = requests.get(f"{url}/storage/v1/b/clinic/o").json()["items"]
        assert [item["name"] for item in listed] == ["below/mr", "below/note.txt", "ct %2F?.dcm"]

    def test_snapshot_reset_restore_and_status(self, run: Callable[..., str], folder: Path, tmp_path: Path):
        run("seed", str(folder))
        assert "instances: 2\n" in run("status")
        run("snapshot", str(tmp_path / "all.tar"))
        run("reset")
        assert "instances: 0\n" in run("status")
        assert "instances: 2\n" in run("restore", str(tmp_path / "all.tar"))

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (("seed", "missing"), "missing does not exist"),
            (("seed", ".", "--store", "images"), "is not the name of a DICOM store"),
            (("restore", __file__), "not a snapshot"),
            (("restore", "missing"), "missing: No such file or directory"),
            (("snapshot", "missing/file"), "No such file or directory"),
            (("seed", __file__, "--buckets"), "Not a directory"),
            (("seed", str(Path(__file__).parent), "--buckets"), "is to hold folders, one for each bucket, and has files"),
        ],
    )
    def test_what_is_wrong_is_said(self, commands: Commands, url: str, arguments: tuple[str, ...], reason: str):
        ended = commands.run(*arguments, "--port", url.rpartition(":")[2])
        assert (ended.returncode, ended.stdout) == (1, "")
        assert reason in ended.stderr
        assert "Traceback" not in ended.stderr

    def test_without_an_emulator_they_say_so(self, commands: Commands):
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        ended = commands.run("status", "--port", str(port))
        assert ended.returncode == 1
        assert f"No emulator answers on http://127.0.0.1:{port}" in ended.stderr
        assert "Start it with 'gcp-dicom-emulator start'" in ended.stderr

    @pytest.mark.parametrize("answer", ["200 OK", "404 Not Found"])
    @pytest.mark.parametrize("command", ["status", "reset", "seed", "snapshot", "restore"])
    def test_where_something_else_answers_they_say_so(self, commands: Commands, tmp_path: Path, command: str, answer: str):
        file = tmp_path / "file"
        file.write_text("precious")
        with socket.create_server(("127.0.0.1", 0)) as other:
            threading.Thread(target=serve_one, args=(other, f"HTTP/1.1 {answer}\r\nContent-Length: 5\r\n\r\nhello")).start()
            arguments = [str(file)] if command in ("seed", "snapshot", "restore") else []
            ended = commands.run(command, *arguments, "--port", str(other.getsockname()[1]))
        assert ended.returncode == 1
        assert "is not an emulator" in ended.stderr
        assert file.read_text() == "precious"

    def test_half_a_snapshot_replaces_none(self, commands: Commands, tmp_path: Path):
        file = tmp_path / "file"
        file.write_text("precious")
        with socket.create_server(("127.0.0.1", 0)) as other:
            half = "HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\nContent-Length: 5000\r\n\r\nhello"
            threading.Thread(target=serve_one, args=(other, half)).start()
            ended = commands.run("snapshot", str(file), "--port", str(other.getsockname()[1]))
        assert (ended.returncode, "broke off" in ended.stderr) == (1, True)
        assert file.read_text() == "precious"
        assert {path.name for path in tmp_path.iterdir()} == {"file", "temporary"}

    def test_ctrl_c_ends_them_quietly(self, commands: Commands):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            process = subprocess.Popen(
                [*COMMAND, "status", "--port", str(silent.getsockname()[1])], stderr=subprocess.PIPE, text=True
            )
            connection, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
            connection.close()
        assert (process.returncode, errors) == (130, "")

    def test_each_request_is_a_line_of_the_log(self, commands: Commands):
        running = commands.start()
        requests.get(f"{running.url}/storage/v1/b/missing?fields=name")
        [line] = [line for line in running.errors.read_text().splitlines() if "storage.buckets" in line]
        assert re.fullmatch(r"\S+ \S+ storage\.buckets\.get GET /storage/v1/b/missing\?fields=name 404 \d+ ms", line)

    def test_operations_take_the_polls_they_are_told_to(self, commands: Commands):
        url = commands.start("--operation-polls", "2").url
        name = requests.post(f"{url}/v1/projects/p/locations/l/datasets?datasetId=d", json={}).json()["name"]
        assert [requests.get(f"{url}/v1/{name}").json().get("done", False) for _ in range(2)] == [False, True]


class TestKill:
    def test_everything_that_was_acknowledged_survives(self, commands: Commands, data: Path):
        url = commands.start("--data-dir", str(data)).url
        make_bucket(url)
        put(url, "a", b"text")
        parent = "/v1/projects/demo/locations/l/datasets"
        requests.post(f"{url}{parent}?datasetId=d", json={}).raise_for_status()
        requests.post(f"{url}{parent}/d/dicomStores?dicomStoreId=s", json={"labels": {"k": "v"}}).raise_for_status()
        tables = "/bigquery/v2/projects/demo/datasets"
        requests.post(f"{url}{tables}", json={"datasetReference": {"datasetId": "d"}}).raise_for_status()
        query = {"query": "CREATE TABLE d.t AS SELECT 1 AS n", "useLegacySql": False, "timeoutMs": 60_000}
        assert requests.post(f"{url}/bigquery/v2/projects/demo/queries", json=query).json()["jobComplete"] is True
        started = requests.post(f"{url}/upload/storage/v1/b/bucket/o?uploadType=resumable&name=b", json={})
        chunk = {"Content-Range": "bytes 0-2/6"}
        assert requests.put(started.headers["Location"], data=b"one", headers=chunk).status_code == 308

        commands.close()
        new = commands.start("--data-dir", str(data)).url
        assert content(new, "a") == b"text"
        assert requests.get(f"{new}{parent}/d/dicomStores/s").json()["labels"] == {"k": "v"}
        assert requests.get(f"{new}{tables}/d/tables/t").json()["numRows"] == "1"
        session = started.headers["Location"].replace(url, new)
        assert requests.put(session, headers={"Content-Range": "bytes */6"}).headers["Range"] == "bytes=0-2"
        requests.put(session, data=b"two", headers={"Content-Range": "bytes 3-5/6"}).raise_for_status()
        assert content(new, "b") == b"onetwo"

    def test_in_the_middle_of_uploads_loses_none_that_was_acknowledged(self, commands: Commands, data: Path):
        running = commands.start("--data-dir", str(data))
        make_bucket(running.url)
        acknowledged: dict[str, bytes] = {}
        enough = threading.Event()

        def upload(worker: int) -> None:
            # The same names over and over, so that objects are replaced when the kill comes.
            with contextlib.suppress(requests.ConnectionError):
                for number in range(1_000_000):
                    body = f"{worker} {number} ".encode() * 2000
                    put(running.url, f"{worker}-{number % 3}", body)
                    acknowledged[f"{worker}-{number % 3}"] = body
                    if len(acknowledged) == 12 and number > 20:
                        enough.set()

        workers = [threading.Thread(target=upload, args=(number,)) for number in range(4)]
        for worker in workers:
            worker.start()
        assert enough.wait(120)
        running.end(signal.SIGKILL)
        for worker in workers:
            worker.join(60)

        new = commands.start("--data-dir", str(data)).url
        for name, body in acknowledged.items():
            worker, number, *_ = content(new, name).split()
            # What was under way may have come as well, but whole.
            assert int(number) >= int(body.split()[1])
            assert content(new, name) == b" ".join([worker, number, b""]) * 2000
        listed = requests.get(f"{new}/storage/v1/b/bucket/o").json()["items"]
        blobs = [path for path in (data / "blobs").rglob("*") if path.is_file()]
        assert len(blobs) == len(listed) == 12
