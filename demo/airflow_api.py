"""The few calls of Airflow's REST API that the demo and the integration tests make, of Airflow 3 and of Airflow 2."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime
from importlib.metadata import version
from typing import Any

#: Whether the installed Airflow is Airflow 2, whose API has another version, another login and other logs.
AIRFLOW_2 = version("apache-airflow").startswith("2.")

#: Seconds that one of Airflow's processes waits for SQLite, where another one writes.
SQLITE_TIMEOUT = 60

#: States in which a DAG run or a task instance stays.
FINISHED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


class AirflowApi:
    """Airflow's REST API, of a server whose users are all admins.

    :param url: scheme, host and port.
    """

    def __init__(self, url: str) -> None:
        self._url = f"{url}/api/{'v1' if AIRFLOW_2 else 'v2'}"
        self._token_url = f"{url}/auth/token"
        self._token: str | None = None
        # The server is on this machine: no proxy, whatever the environment says.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, *, tries: int = 4) -> Any:
        """Send a request and return the JSON answer.

        :param path: below ``/api/v1`` or ``/api/v2``.
        :raises urllib.error.HTTPError: the server refused; the answer's text is part of the message.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if not AIRFLOW_2:
            headers["Authorization"] = f"Bearer {self._login()}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}{path}", data, headers, method=method)
        try:
            # Longer than the server waits itself, so that it can say so.
            with self._opener.open(request, timeout=2 * SQLITE_TIMEOUT) as response:
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            if tries > 1 and error.code in (401, 500):  # the token has expired; SQLite was locked by another process
                self._token = None
                time.sleep(1)
                return self.call(method, path, body, tries=tries - 1)
            error.msg = f"{error.msg}: {error.read().decode(errors='replace')[:2000]}"
            raise
        except TimeoutError:
            if tries > 1 and method in ("GET", "PATCH"):  # done twice, they do no harm; the machine is busy with others
                return self.call(method, path, body, tries=tries - 1)
            raise

    def heartbeats(self) -> dict[str, float]:
        """Return when each component that is healthy last said so, by its name, in seconds since the epoch.

        :raises OSError: the API server does not answer.
        """
        with self._opener.open(f"{self._url}/{'health' if AIRFLOW_2 else 'monitor/health'}", timeout=10) as response:
            health = json.load(response)
        return {
            name: datetime.fromisoformat(component[f"latest_{name}_heartbeat"]).timestamp()
            for name, component in health.items()
            if component["status"] == "healthy" and component.get(f"latest_{name}_heartbeat")
        }

    def wait_for_dag(self, dag_id: str, timeout: float = 120) -> dict[str, Any]:
        """Wait until the DAG is parsed, unpause it, and return it.

        :raises TimeoutError: it is not there after ``timeout`` seconds; the text has Airflow's import errors.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                return dict(self.call("PATCH", f"/dags/{dag_id}", {"is_paused": False}))
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise
            time.sleep(0.5)
        errors = [found["stack_trace"] for found in self.call("GET", "/importErrors")["import_errors"]]
        raise TimeoutError("\n".join([f"Airflow has not parsed the DAG {dag_id!r} after {timeout:.0f} s.", *errors]))

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None, run_id: str | None = None) -> str:
        """Start a run of the DAG, which must be parsed, and return the run's id.

        :param run_id: by default Airflow makes one.
        """
        body: dict[str, Any] = {"conf": conf or {}, **({"dag_run_id": run_id} if run_id else {})}
        run = self.call("POST", f"/dags/{dag_id}/dagRuns", body if AIRFLOW_2 else {**body, "logical_date": None})
        return str(run["dag_run_id"])

    def wait(self, dag_id: str, run_id: str, timeout: float = 600) -> str:
        """Wait for the end of a run and return its state.

        :raises TimeoutError: it is still running after ``timeout`` seconds; the text has the state of its tasks.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            state = self.call("GET", _run(dag_id, run_id))["state"]
            if state in FINISHED:
                return str(state)
            time.sleep(0.5)
        states = {name: task["state"] for name, task in self.task_instances(dag_id, run_id).items()}
        raise TimeoutError(f"{dag_id} {run_id} is not finished after {timeout:.0f} s: {states}")

    def task_instances(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Return the task instances of a run by task id. Each has its ``state``, ``try_number``, ``pid``, ``trigger`` and more."""
        found = self.call("GET", f"{_run(dag_id, run_id)}/taskInstances?limit=100")["task_instances"]
        return {task["task_id"]: task for task in found}

    def set_state(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Mark a task instance as ``failed`` or ``success``, as a person does in the UI."""
        body = {"new_state": state, **({"dry_run": False} if AIRFLOW_2 else {})}
        self.call("PATCH", f"{_run(dag_id, run_id)}/taskInstances/{task_id}", body)

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Clear a task instance, as a person does in the UI: its run goes on."""
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": [task_id], "only_failed": False, "reset_dag_runs": True}
        self.call("POST", f"/dags/{dag_id}/clearTaskInstances", body)

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Return the value that a task pushed; ``None`` when there is none."""
        try:
            form = "stringify=false" if AIRFLOW_2 else "deserialize=true"
            return self.call("GET", f"{_run(dag_id, run_id)}/taskInstances/{task_id}/xcomEntries/{key}?{form}")["value"]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def links(self, dag_id: str, run_id: str, task_id: str) -> dict[str, str | None]:
        """Return a task instance's extra links: URL by name, ``None`` where the task has pushed none."""
        links = self.call("GET", f"{_run(dag_id, run_id)}/taskInstances/{task_id}/links")
        return dict(links if AIRFLOW_2 else links["extra_links"])

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        """Return the log of one try: what the worker and the triggerer wrote, one event a line."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{task_id}/logs/{try_number}?full_content=true"
        content = self.call("GET", path)["content"]
        if AIRFLOW_2:
            return str(content).replace("\\n", "\n")
        return "\n".join(line if isinstance(line, str) else json.dumps(line) for line in content)

    def _login(self) -> str:
        if self._token is None:
            with self._opener.open(self._token_url, timeout=60) as response:
                self._token = json.load(response)["access_token"]
        return str(self._token)


def _run(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id, safe='')}"
