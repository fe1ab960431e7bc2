"""The emulator and Airflow as processes on this machine: what ``make demo``, ``make ui`` and the integration tests run on."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import secrets
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from airflow_dicom.hooks.endpoint import EMULATOR_CONNECTION
from demo import signals
from demo.airflow_api import AIRFLOW_2, SQLITE_TIMEOUT, AirflowApi

_API_SERVER = ("webserver", "--hostname") if AIRFLOW_2 else ("api-server", "--host")

#: Seconds that everything may take to be ready, also on a slow machine that does other things.
START_TIMEOUT = 300
#: Seconds that killed processes may take to end.
STOP_TIMEOUT = 15

#: Seconds between two polls in the demo: one run at a time, of one task at a time.
DEMO_PAUSE = 3.0

#: Where the commands of this environment are.
BIN = Path(sys.executable).parent
_PRELOADED = Path(__file__).with_name("preloaded.py")
#: An empty database of this environment's Airflow, which each stack starts with a copy of.
_EMPTY_DATABASE = Path(sys.prefix) / f"airflow-{version('apache-airflow')}.db"

#: Airflow's settings: quick reactions, which cost little with a handful of DAGs, and nothing outside this machine.
_SETTINGS = {
    "CORE__LOAD_EXAMPLES": "False",
    "CORE__PARALLELISM": "8",
    "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    "CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
    "CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "1",
    "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
    "SCHEDULER__JOB_HEARTBEAT_SEC": "2",
    "SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "API__WORKERS": "1",  # for one person
    "WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
    "WORKERS__EXECUTION_API_TIMEOUT": "60",  # after 5 s, a task fails on a machine that is busy with others
    "TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "DAG_PROCESSOR__PARSING_PROCESSES": "1",
    "DAG_PROCESSOR__REFRESH_INTERVAL": "2",
    "DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
    "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
    "LOGGING__COLORED_CONSOLE_LOG": "False",
    "LOGGING__MIN_LENGTH_MASKED_SECRET": "4",  # else each log warns that the connection's "demo" is a short secret
}

#: What Airflow 2 calls or needs otherwise.
_SETTINGS_2 = {
    "API__AUTH_BACKENDS": "airflow.api.auth.backend.default",
    "CORE__EXECUTOR": "LocalExecutor",
    "SCHEDULER__DAG_DIR_LIST_INTERVAL": "2",
    "SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "60",
    "SCHEDULER__PARSING_PROCESSES": "1",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
    "SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": "30",
    "SCHEDULER__ZOMBIE_DETECTION_INTERVAL": "5",
    "WEBSERVER__WORKERS": "1",
}


class Stack:
    """One emulator and one Airflow: API server, scheduler with LocalExecutor, DAG processor and triggerer.

    Everything listens on free ports of 127.0.0.1 and keeps its files in a temporary directory, so that any number of stacks run
    beside each other and beside whatever else the machine runs.

    :param dags: the folder of the DAG files, or the one file that is needed: each costs processor time.
    :param settings: more of Airflow's settings, e.g. ``{"CORE__PARALLELISM": "2"}``.
    :param more_dags: another folder of DAG files, which may import modules that lie in it.
    :param ports: those of the emulator and of Airflow, each taken if it is free; 0 for any.
    :param preloaded: whether Airflow's processes load beforehand what their children load; see ``demo/preloaded.py``.
    :param longest_pause: besides, so many seconds after its deferral a task is looked after, and after as many again. If it is resumed
        too soon, the scheduler of a busy machine has not read yet that it is deferred, and takes it for killed.
    :param meanwhile: called with the emulator's URL as soon as that answers, while Airflow starts.
    """

    #: Where Airflow keeps its data.
    database = "SQLite"

    def __init__(
        self,
        dags: Path,
        settings: Mapping[str, str] | None = None,
        *,
        more_dags: Path | None = None,
        ports: tuple[int, int] = (0, 0),
        preloaded: bool = False,
        longest_pause: float | None = None,
        meanwhile: Callable[[str], None] | None = None,
    ) -> None:
        # Removed at the latest when Python ends, whatever interrupts us before anyone can call stop().
        self._directory = tempfile.TemporaryDirectory(prefix="airflow-dicom-", ignore_cleanup_errors=True)
        self.home = Path(self._directory.name)
        self.dags = self._links(dags, more_dags) if more_dags or dags.is_file() else dags
        self.emulator_port, api_port = free_ports(ports)
        self.url = f"http://127.0.0.1:{api_port}"
        self.emulator_url = f"http://127.0.0.1:{self.emulator_port}"
        self.api = AirflowApi(self.url)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        #: The names of those that :meth:`kill` has ended.
        self.killed: set[str] = set()
        self._started: dict[str, float] = {}
        self._sessions: set[int] = set()
        self._commands = {
            "emulator": [
                str(BIN / "gcp-dicom-emulator"),
                *("start", "--port", str(self.emulator_port), "--data-dir", str(self.home / "emulator")),
            ],
            "api-server": airflow_command(*_API_SERVER, "127.0.0.1", "--port", str(api_port)),
            # The API server reads the log files itself: they are on the same disk.
            "scheduler": airflow_command("scheduler", "--skip-serve-logs", preloaded=preloaded),
            "triggerer": airflow_command("triggerer", "--skip-serve-logs", preloaded=preloaded),
        }
        if not AIRFLOW_2:  # there, the scheduler is one
            self._commands["dag-processor"] = airflow_command("dag-processor", preloaded=preloaded)
        self.environment = self._environment(settings or {})
        #: What single processes have in their environment beside that, by their names.
        self.environments: dict[str, dict[str, str]] = {}
        if longest_pause is not None:
            self.environment["DEMO_LONGEST_PAUSE"] = str(longest_pause)
        self._meanwhile = meanwhile

    def __enter__(self) -> Stack:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until it is ready.

        :raises RuntimeError: a process ended, or was not ready in time; the text has the end of its log.
        """
        for folder in ("logs", "tmp"):
            (self.home / folder).mkdir()
        if AIRFLOW_2:  # everyone is an admin, as the simple auth manager of Airflow 3 has it
            (self.home / "webserver_config.py").write_text('AUTH_ROLE_PUBLIC = "Admin"\n')
        self._start("emulator")
        self._make_database()
        for name in self._names():
            if name not in self.processes:
                self._start(name)
        if self._meanwhile:
            self._wait_until(lambda: [] if self._emulator_answers() else ["emulator"])
            self._meanwhile(self.emulator_url)
        self._wait_until(self._not_ready)

    def stop(self) -> None:
        """Kill every process of this stack, those that its processes started included, and remove its files."""
        with signals.ignored():
            while left := self.running():
                for survivor in left:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        survivor.kill()
                _wait_for_end(left)
            for process in self.processes.values():
                process.wait()
            self.processes.clear()
            self._directory.cleanup()

    def kill(self, name: str, signal_number: int = signal.SIGKILL) -> None:
        """Send a signal to a process and all it started, and wait for their end.

        :param name: a key of ``processes``.
        """
        self.killed.add(name)
        family = self.family(name)
        for member in family if signal_number == signal.SIGKILL else family[:1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(signal_number)
        _wait_for_end(family)
        self.processes[name].wait(STOP_TIMEOUT)

    def restart(self, *names: str) -> None:
        """Start processes that have ended again, on the same ports and files, and wait until everything is ready.

        :raises RuntimeError: a process ended, or was not ready in time; the text has the end of its log.
        """
        sessions = {self.processes[name].pid for name in names}
        for orphan in self.running():  # what they have left behind may hold their ports
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getsid(orphan.pid) in sessions:
                    orphan.kill()
        for name in names:
            self._start(name)
        self._wait_until(self._not_ready)

    @contextlib.contextmanager
    def second_triggerer(self) -> Iterator[None]:
        """Let another triggerer run beside the first, as ``triggerer-2``."""
        self._start("triggerer-2")
        deadline = time.monotonic() + START_TIMEOUT
        while "Starting the triggerer" not in self.log("triggerer-2"):
            if time.monotonic() > deadline:
                raise RuntimeError(f"The second triggerer is not ready after {START_TIMEOUT} s:\n{tail(self.log('triggerer-2'))}")
            time.sleep(0.3)
        try:
            yield
        finally:
            self.kill("triggerer-2")
            del self.processes["triggerer-2"]

    def family(self, name: str) -> list[psutil.Process]:
        """Return a process and all it started.

        :param name: a key of ``processes``.
        """
        main = psutil.Process(self.processes[name].pid)
        return [main, *main.children(recursive=True)]

    def running(self) -> list[psutil.Process]:
        """Return every living process of this stack: those it started, and what those started."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def ended(self) -> dict[str, str]:
        """Return how each process has ended that has, and the end of its log, by its name."""
        return {name: self._end(name) for name, process in list(self.processes.items()) if process.poll() is not None}

    def worker_processes(self, task_instance: dict[str, Any]) -> list[psutil.Process]:
        """Return the processes of a running task: the executor's worker and the task itself. Their titles say what they run."""
        names = [task_instance["dag_id"], task_instance["dag_run_id"]] if AIRFLOW_2 else [task_instance["id"]]
        found = []
        for process in self.running():
            with contextlib.suppress(psutil.Error):
                title = " ".join(process.cmdline())
                if all(name in title for name in names):
                    found.append(process)
        return found

    def log(self, name: str) -> str:
        """Return what a process has written so far."""
        return (self.home / "logs" / f"{name}.log").read_text(errors="replace")

    def trigger_log(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Return what the triggerer has logged for a task; empty when the task has not waited there."""
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        return "".join(path.read_text(errors="replace") for path in sorted(folder.glob("*.log.trigger.*")))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return what Airflow's database answers to a query."""
        with self._connect() as database, contextlib.closing(database.cursor()) as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def write(self, statement: str) -> None:
        """Change Airflow's database by a statement."""
        with self._connect() as database, contextlib.closing(database.cursor()) as cursor:
            cursor.execute(statement)
            database.commit()

    def airflow(self, *arguments: str) -> str:
        """Run Airflow's command line in this stack's environment and return what it writes.

        :raises subprocess.CalledProcessError: it failed.
        """
        command = airflow_command(*arguments)
        return subprocess.run(command, env=self.environment, check=True, stdout=subprocess.PIPE, text=True, timeout=300).stdout

    def _names(self) -> list[str]:
        """Return the names of all processes."""
        return list(self._commands)

    def _make_database(self) -> None:
        """Make Airflow's database: the first time in this environment; later, copy that one."""
        database = self.home / "airflow.db"
        with _EMPTY_DATABASE.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _EMPTY_DATABASE.exists():
                self._run_to_end("db-migrate", airflow_command("db", "migrate"))
                self.rows("PRAGMA journal_mode=WAL")  # who reads does not keep others from writing
                shutil.copy(database, _EMPTY_DATABASE.with_suffix(".new"))
                _EMPTY_DATABASE.with_suffix(".new").rename(_EMPTY_DATABASE)
        shutil.copyfile(_EMPTY_DATABASE, database)

    def _connect(self) -> contextlib.closing[Any]:
        return contextlib.closing(sqlite3.connect(self.home / "airflow.db", timeout=SQLITE_TIMEOUT))

    def _is_ours(self, process: psutil.Process) -> bool:
        # Each process that we start leads a session, which its children are in, also as orphans. What left it, as a BashOperator's
        # command does, has our directory in its environment; Airflow's own processes overwrite that when they set their title.
        try:
            ours = os.getsid(process.pid) in self._sessions or process.environ().get("AIRFLOW_HOME") == str(self.home)
        except (psutil.Error, OSError):
            return False
        return ours and _lives(process)

    def _links(self, dags: Path, more_dags: Path | None) -> Path:
        """Return a folder that has both; Airflow looks for modules to import in its ``config``."""
        folder = self.home / "dags"
        folder.mkdir()
        links = {folder / (dags.name if dags.is_file() else "examples"): dags}
        if more_dags:
            links |= {folder / "yours": more_dags, self.home / "config": more_dags}
        for link, target in links.items():
            link.symlink_to(target.resolve(), target_is_directory=target.is_dir())
        return folder

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of all processes: the caller's, without what would point Airflow or a client elsewhere."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW_", "GOOGLE_", "CLOUDSDK_")) and not name.endswith("_EMULATOR_HOST")
        }
        airflow = {
            **_SETTINGS,
            **(_SETTINGS_2 if AIRFLOW_2 else {}),
            "CORE__DAGS_FOLDER": str(self.dags),
            # Seconds to wait where another process writes; some ten processes share the file.
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db?timeout={SQLITE_TIMEOUT}",
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "API__BASE_URL": self.url,
            "API__SECRET_KEY": secrets.token_hex(16),
            "API_AUTH__JWT_SECRET": secrets.token_hex(32),
            **settings,
        }
        return {
            **inherited,
            **self._emulator_environment(inherited),
            **EMULATOR_CONNECTION,
            **{f"AIRFLOW__{name}": value for name, value in airflow.items()},
            "AIRFLOW_VAR_DICOM_QUIET_MINUTES": "0",  # a study that arrives is exported at once
            "AIRFLOW_HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),  # Airflow 2 leaves something there, and so does what is killed
            # Airflow 2 does not trust SQLite with more than one process; for a few tasks at a time it does.
            "_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK": "1",
            "PATH": f"{BIN}:{os.environ.get('PATH', '')}",
            "PYTHONUNBUFFERED": "1",
        }

    def _emulator_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return what ``gcp-dicom-emulator env`` tells a shell to export."""
        command = [str(BIN / "gcp-dicom-emulator"), "env", "--port", str(self.emulator_port)]
        # Its warning that no emulator answers yet is for others.
        answer = subprocess.run(command, env=dict(environment), check=True, capture_output=True, text=True, timeout=60)
        words = [word for line in answer.stdout.splitlines() for word in shlex.split(line, comments=True) if "=" in word]
        return dict(word.split("=", 1) for word in words)

    def _start(self, name: str) -> None:
        with (self.home / "logs" / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self._command(name),
                env={**self.environment, **self.environments.get(name, {})},
                cwd=self.home,
                user=self._user(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A Ctrl-C in the terminal is for us alone: we stop them in order.
                start_new_session=True,
            )
        self.killed.discard(name)
        self._sessions.add(self.processes[name].pid)
        self._started[name] = time.time()

    def _command(self, name: str) -> list[str]:
        return self._commands[name.removesuffix("-2")]

    def _user(self, name: str) -> str | None:
        """Return whom a process runs as, if it is somebody else."""
        return None

    def _run_to_end(self, name: str, command: list[str]) -> None:
        log_path = self.home / "logs" / f"{name}.log"
        with log_path.open("wb") as log:
            done = subprocess.run(
                command,
                env=self.environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=START_TIMEOUT,
                start_new_session=True,
            )
        if done.returncode:
            raise RuntimeError(f"{name} ended with status {done.returncode}:\n{tail(self.log(name))}")

    def _wait_until(self, missing: Callable[[], list[str]]) -> None:
        """Wait until no process is missing."""
        deadline = time.monotonic() + START_TIMEOUT
        while waiting_for := missing():
            if ended := self.ended():
                raise RuntimeError("\n".join(ended.values()))
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {name}\n{tail(self.log(name))}" for name in waiting_for)
                raise RuntimeError(f"Not ready after {START_TIMEOUT} s: {', '.join(waiting_for)}\n{logs}")
            time.sleep(0.2)

    def _end(self, name: str) -> str:
        status = self.processes[name].returncode
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return f"{name} ended {how}:\n{tail(self.log(name))}"

    def _emulator_answers(self) -> bool:
        return _answers(f"{self.emulator_url}/healthz")

    def _not_ready(self) -> list[str]:
        """Return the processes that have not shown life since they were started."""
        waiting_for = [] if self._emulator_answers() else ["emulator"]
        try:
            heartbeats = self.api.heartbeats()
        except OSError:
            return [*waiting_for, "api-server"]
        for name in self._commands.keys() - {"emulator", "api-server"}:
            if heartbeats.get(name.replace("-", "_"), 0.0) < self._started[name]:
                waiting_for.append(name)
        return waiting_for


def _wait_for_end(processes: list[psutil.Process]) -> None:
    """Wait until processes have ended, but not until the system has noticed, which may take seconds where they are orphans."""
    deadline = time.monotonic() + STOP_TIMEOUT
    while any(map(_lives, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def airflow_command(*arguments: str, preloaded: bool = False) -> list[str]:
    """Return a command of Airflow's.

    :param preloaded: whether it loads beforehand what its children load; see ``demo/preloaded.py``.
    """
    return [sys.executable, *(("-P", str(_PRELOADED)) if preloaded else ("-m", "airflow")), *arguments]


def free_ports(wanted: tuple[int, ...]) -> list[int]:
    """Return ports that nobody listens on, all different: those that are wanted where they are free; 0 is any."""
    with contextlib.ExitStack() as sockets:
        found = [sockets.enter_context(socket.socket()) for _ in wanted]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [port if port and not _is_taken(port) else one.getsockname()[1] for one, port in zip(found, wanted, strict=True)]


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def tail(text: str, lines: int = 40) -> str:
    """Return the last lines of a text."""
    return "\n".join(text.splitlines()[-lines:])
