"""A stack whose Airflow keeps its data in Postgres, where many processes may write at once; with SQLite, a busy machine ends some."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from demo import signals
from demo.stack import START_TIMEOUT, STOP_TIMEOUT, Stack, airflow_command, free_ports, tail

#: Who else may not run Postgres is root.
_POSTGRES_USER = "postgres"


class PostgresStack(Stack):
    """A stack with a Postgres of its own. Its environment needs what ``constraints/cluster.in`` names.

    :param dags: the folder of the DAG files.
    :param settings: more of Airflow's settings.
    :param preloaded: as :class:`~demo.stack.Stack` has it, and so are ``longest_pause`` and ``meanwhile``.
    :raises RuntimeError: Postgres is not installed; the text says how to install it.
    """

    database = "Postgres"

    def __init__(
        self,
        dags: Path,
        settings: Mapping[str, str] | None = None,
        *,
        preloaded: bool = False,
        longest_pause: float | None = None,
        meanwhile: Callable[[str], None] | None = None,
    ) -> None:
        binaries = installed()
        if binaries is None:
            raise RuntimeError("Postgres is needed: apt-get install postgresql, or what your system calls it.")
        self._binaries = binaries
        (self._postgres_port,) = free_ports((0,))
        self._address = f"postgres@127.0.0.1:{self._postgres_port}/airflow"
        connection = {"DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{self._address}"}
        super().__init__(
            dags, {**connection, **(settings or {})}, preloaded=preloaded, longest_pause=longest_pause, meanwhile=meanwhile
        )
        self.home.chmod(0o711)  # Postgres runs as a user of its own
        directory = str(self.home / "postgres")
        # Nothing here outlives the machine, so nothing waits for the disk.
        self._commands["postgres"] = [
            *(str(self._binaries / "postgres"), "-F", "-D", directory, "-k", directory, "-p", str(self._postgres_port))
        ]

    def stop(self) -> None:
        """End every process, Postgres in order: what its processes share outlives them otherwise."""
        if postgres := self.processes.get("postgres"):
            with signals.ignored(), contextlib.suppress(subprocess.TimeoutExpired):
                postgres.send_signal(signal.SIGINT)
                postgres.wait(STOP_TIMEOUT)
        super().stop()

    def _user(self, name: str) -> str | None:
        return _POSTGRES_USER if name == "postgres" and os.geteuid() == 0 else None

    def _make_database(self) -> None:
        directory = self.home / "postgres"
        directory.mkdir(mode=0o700)
        if user := self._user("postgres"):
            shutil.chown(directory, user)
        initdb: list[str | Path] = [self._binaries / "initdb", "-D", directory, "-A", "trust", "-U", "postgres", "--no-sync"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, user=user, cwd=directory)
        self._start("postgres")
        server = ["-h", "127.0.0.1", "-p", str(self._postgres_port), "-U", "postgres"]
        createdb: list[str | Path] = [self._binaries / "createdb", *server, "airflow"]
        deadline = time.monotonic() + START_TIMEOUT
        while (made := subprocess.run(createdb, capture_output=True, text=True)).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"Postgres does not answer after {START_TIMEOUT} s: {made.stderr}\n{tail(self.log('postgres'))}"
                )
            time.sleep(0.3)
        self._run_to_end("db-migrate", airflow_command("db", "migrate"))

    def _connect(self) -> contextlib.closing[Any]:
        import psycopg2

        return contextlib.closing(psycopg2.connect(f"postgresql://{self._address}"))

    def _not_ready(self) -> list[str]:
        return [name for name in super()._not_ready() if name != "postgres"]  # Airflow is not ready without it


def installed() -> Path | None:
    """Return the folder of Postgres's commands, if it is installed."""
    if initdb := shutil.which("initdb"):
        return Path(initdb).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else None
