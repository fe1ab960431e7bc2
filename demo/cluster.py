"""An Airflow as larger sites run it, on this machine: Postgres, Redis, Celery, and two of all that may fail."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from demo.postgres import PostgresStack
from demo.stack import airflow_command, free_ports

#: Of these there are two; the second is called ``scheduler-2`` and so on.
TWICE = ("scheduler", "triggerer", "worker")

#: Celery's tasks at a time, for each worker.
_CONCURRENCY = "4"


class Cluster(PostgresStack):
    """One emulator, one API server and DAG processor, and two each of :data:`TWICE`.

    :param dags: the folder of the DAG files.
    :param settings: more of Airflow's settings.
    :param preloaded: whether the workers load beforehand what their tasks load; see ``demo/preloaded.py``.
    :param meanwhile: called with the emulator's URL as soon as that answers, while Airflow starts.
    :raises RuntimeError: Postgres or Redis is not installed; the text says how to install it.
    """

    def __init__(
        self,
        dags: Path,
        settings: Mapping[str, str] | None = None,
        *,
        preloaded: bool = False,
        meanwhile: Callable[[str], None] | None = None,
    ) -> None:
        redis = shutil.which("redis-server")
        if redis is None:
            raise RuntimeError("Redis is needed: apt-get install redis-server, or what your system calls it.")
        (redis_port,) = free_ports((0,))
        cluster = {
            "CORE__EXECUTOR": "CeleryExecutor",
            "CELERY__BROKER_URL": f"redis://127.0.0.1:{redis_port}/0",
            "CELERY__WORKER_CONCURRENCY": _CONCURRENCY,
            "CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
            # How soon one takes up what another has left.
            "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
            "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
            "SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
            "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
        }
        super().__init__(dags, {**cluster, **(settings or {})}, meanwhile=meanwhile)
        self.environment["AIRFLOW__CELERY__RESULT_BACKEND"] = f"db+postgresql://{self._address}"
        address = ("--port", str(redis_port), "--bind", "127.0.0.1")
        self._commands["redis"] = [redis, *address, "--dir", str(self.home), "--save", "1 1"]
        self._commands["worker"] = airflow_command("celery", "worker", "--skip-serve-logs", preloaded=preloaded)

    def _names(self) -> list[str]:
        return [*self._commands, *(f"{name}-2" for name in TWICE)]

    def _command(self, name: str) -> list[str]:
        if not name.startswith("worker"):
            return super()._command(name)
        return [*super()._command(name), "--celery-hostname", f"{name}@%h", "--pid", str(self.home / f"{name}.pid")]

    def _make_database(self) -> None:
        self._start("redis")
        super()._make_database()

    def _not_ready(self) -> list[str]:
        # Airflow tells the last heartbeat of the two, and knows neither Celery's workers nor what is not its own.
        beating = [name for name in super()._not_ready() if name not in ("redis", "worker")]
        silent = [name for name in ("worker", "worker-2", "triggerer-2") if not self._has_begun(name)]
        return [*beating, *silent]

    def _has_begun(self, name: str) -> bool:
        with contextlib.suppress(OSError):
            return (" ready." if name.startswith("worker") else "Starting the triggerer") in self.log(name)
        return False
