"""An Airflow as larger sites run it, on this machine: Postgres, Redis, Celery, and two of all that may fail."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from demo.stack import START_TIMEOUT, Stack, airflow_command, free_ports, tail

#: Of these there are two; the second is called ``scheduler-2`` and so on.
TWICE = ("scheduler", "triggerer", "worker")

#: Celery's tasks at a time, for each worker.
_CONCURRENCY = "4"

#: Who else may not run Postgres is root.
_POSTGRES_USER = "postgres"


class Cluster(Stack):
    """One emulator, one API server and DAG processor, and two each of :data:`TWICE`.

    :param dags: the folder of the DAG files.
    :param settings: more of Airflow's settings.
    :raises RuntimeError: Postgres or Redis is not installed; the text says how to install them.
    """

    def __init__(self, dags: Path, settings: Mapping[str, str] | None = None) -> None:
        self._postgres, redis = _installed()
        self._postgres_port, redis_port = free_ports((0, 0))
        database = f"postgres@127.0.0.1:{self._postgres_port}/airflow"
        cluster = {
            "CORE__EXECUTOR": "CeleryExecutor",
            "DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{database}",
            "CELERY__BROKER_URL": f"redis://127.0.0.1:{redis_port}/0",
            "CELERY__RESULT_BACKEND": f"db+postgresql://{database}",
            "CELERY__WORKER_CONCURRENCY": _CONCURRENCY,
            "CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
            # How soon one takes up what another has left.
            "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
            "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
            "SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
            "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
        }
        super().__init__(dags, {**cluster, **(settings or {})})
        self.home.chmod(0o711)  # Postgres runs as a user of its own
        self._commands["postgres"] = [
            str(self._postgres / "postgres"),
            *("-D", str(self.home / "postgres"), "-p", str(self._postgres_port), "-k", str(self.home / "postgres")),
        ]
        self._commands["redis"] = [
            redis,
            "--port",
            str(redis_port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.home),
            "--save",
            "1 1",
        ]
        self._commands["worker"] = airflow_command("celery", "worker", "--skip-serve-logs")

    def sql(self, query: str) -> list[list[str]]:
        """Return what a query of Airflow's database finds, as texts.

        :raises subprocess.CalledProcessError: Postgres refuses it, or does not answer.
        """
        psql: list[str | Path] = [self._postgres / "psql", "-h", "127.0.0.1", "-p", str(self._postgres_port), "-U", "postgres"]
        command: list[str | Path] = [*psql, "--no-psqlrc", "-A", "-t", "-F", "\t", "-c", query, "airflow"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
        return [line.split("\t") for line in done.stdout.splitlines()]

    def _names(self) -> list[str]:
        return [*self._commands, *(f"{name}-2" for name in TWICE)]

    def _command(self, name: str) -> list[str]:
        if not name.startswith("worker"):
            return super()._command(name)
        return [*super()._command(name), "--celery-hostname", f"{name}@%h", "--pid", str(self.home / f"{name}.pid")]

    def _user(self, name: str) -> str | None:
        return _POSTGRES_USER if name == "postgres" and os.geteuid() == 0 else None

    def _make_database(self) -> None:
        directory = self.home / "postgres"
        directory.mkdir(mode=0o700)
        if user := self._user("postgres"):
            shutil.chown(directory, user)
        initdb: list[str | Path] = [self._postgres / "initdb", "-D", directory, "-A", "trust", "-U", "postgres", "--no-sync"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, user=user, cwd=directory)
        self._start("postgres")
        self._start("redis")
        createdb: list[str | Path] = [
            self._postgres / "createdb",
            "-h",
            "127.0.0.1",
            "-p",
            str(self._postgres_port),
            "-U",
            "postgres",
            "airflow",
        ]
        deadline = time.monotonic() + START_TIMEOUT
        while (made := subprocess.run(createdb, capture_output=True, text=True)).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"Postgres does not answer after {START_TIMEOUT} s: {made.stderr}\n{tail(self.log('postgres'))}"
                )
            time.sleep(0.3)
        self._run_to_end("db-migrate", airflow_command("db", "migrate"))

    def _not_ready(self) -> list[str]:
        # Airflow tells the last heartbeat of the two, and knows neither Celery's workers nor what is not its own.
        beating = [name for name in super()._not_ready() if name not in ("postgres", "redis", "worker")]
        silent = [name for name in ("worker", "worker-2", "triggerer-2") if not self._has_begun(name)]
        return [*beating, *silent]

    def _has_begun(self, name: str) -> bool:
        with contextlib.suppress(OSError):
            return (" ready." if name.startswith("worker") else "Starting the triggerer") in self.log(name)
        return False


def _installed() -> tuple[Path, str]:
    """Return where the commands of Postgres are, and Redis's server."""
    initdb, redis = shutil.which("initdb"), shutil.which("redis-server")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = Path(initdb).resolve() if initdb else next(reversed(versions), None)
    if found is None or redis is None:
        raise RuntimeError(
            "Postgres and Redis are needed: apt-get install postgresql redis-server, or what your system calls them."
        )
    return found.parent, redis
