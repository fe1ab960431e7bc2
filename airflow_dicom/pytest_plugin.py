"""What pytest has where this package and the emulator are installed: what tests of DAGs need beside the emulator's fixtures.

Loading this plugin imports neither Airflow nor the emulator; a fixture does, when a test asks for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from airflow_dicom.hooks.endpoint import EMULATOR_CONNECTION

#: Seconds between two polls of an emulator, which answers at once.
_LONGEST_PAUSE = 0.05


@pytest.fixture(autouse=True)
def airflow_uses_dicom_emulator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give Airflow an anonymous connection in the tests that use ``dicom_emulator``, and let tasks poll it often.

    Nothing can take a task for killed whose trigger fires at once: ``run_task`` and ``run_dag`` have no scheduler.
    """
    if "dicom_emulator" in request.fixturenames:
        for name, value in EMULATOR_CONNECTION.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("airflow_dicom.polling.LONGEST_PAUSE", _LONGEST_PAUSE)
        monkeypatch.setattr("airflow_dicom.triggers.dicom.MIN_SECONDS_DEFERRED", 0.0)


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A temporary ``AIRFLOW_HOME`` with an empty database, for all tests.

    Airflow reads where its database is when it is imported, which a test's module does before this: so it is told again.
    """
    home = tmp_path_factory.mktemp("airflow")
    (home / "dags").mkdir()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW_HOME", str(home))
        environment.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{home}/airflow.db")
        environment.setenv("AIRFLOW__CORE__DAGS_FOLDER", os.environ.get("AIRFLOW__CORE__DAGS_FOLDER", str(home / "dags")))
        environment.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
        environment.setenv("AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL", "0")  # tests may give DAGs the same id
        migration = subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], capture_output=True, text=True)
        if migration.returncode:
            raise RuntimeError(f"airflow db migrate ended with status {migration.returncode}:\n{migration.stderr[-4000:]}")
        _use_database_of_environment()
        yield home
    _use_database_of_environment()


def _use_database_of_environment() -> None:
    settings: Any = import_module("airflow.settings")  # which has no types
    settings.configure_vars()
    settings.reconfigure_orm()


@dataclass
class TestedRun:
    """A DAG run that has ended. Task instances are named by their task id; those of a mapped task, ``task_id[0]``, ``task_id[1]``, …

    :param state: the run's state, such as ``success``.
    :param states: the state of each task instance, by its name.
    :param results: what each task instance returned, by its name.
    """

    state: str
    states: dict[str, str | None] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)


@pytest.fixture
def run_dag(airflow_home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TestedRun]:
    """``run_dag(dag, conf=None)`` runs all tasks of a DAG in this process, and returns a :class:`TestedRun`.

    The DAG may be made inside the test. Tasks may defer. A retry does not wait for its ``retry_delay``. A DAG that asks a
    person is refused.
    """

    def run_dag(dag: Any, conf: dict[str, Any] | None = None) -> TestedRun:
        if asking := [task.task_id for task in dag.tasks if _asks_a_person(task)]:
            raise ValueError(f"{', '.join(asking)}: Airflow would wait for ever, since nobody answers. Test the tasks around it.")
        for task in dag.tasks:
            monkeypatch.setattr(task, "retry_delay", timedelta(0))
        _store(dag)
        run = dag.test(run_conf=conf)
        ended = TestedRun(str(run.state))
        for ti in run.get_task_instances():
            name = ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]"
            ended.states[name] = ti.state and str(ti.state)
            ended.results[name] = ti.xcom_pull(task_ids=ti.task_id, map_indexes=ti.map_index)
        return ended

    return run_dag


def _asks_a_person(task: Any) -> bool:
    kind = getattr(task, "operator_class", type(task))
    return isinstance(kind, type) and any(base.__name__ == "HITLOperator" for base in kind.__mro__)


def _store(dag: Any) -> None:
    """Write a DAG to the database as if it came from a file: Airflow 3 runs only what is there."""
    if version("apache-airflow").startswith("2."):
        return
    bundles: Any = import_module("airflow.dag_processing.bundles.manager")
    try:
        dagbag: Any = import_module("airflow.dag_processing.dagbag")
    except ModuleNotFoundError:  # Airflow 3.1
        dagbag = import_module("airflow.models.dagbag")
    bundles.DagBundlesManager().sync_bundles_to_db()
    bag = dagbag.DagBag(collect_dags=False)
    bag.bag_dag(dag)
    dagbag.sync_bag_to_db(bag, "dags-folder", None)


@dataclass
class _TaskInstance:
    """What operators use of a task instance, without a database.

    :param xcoms: what tasks have pushed: values by task id and key.
    """

    task: Any
    xcoms: dict[str, dict[str, Any]]
    try_number: int = 1
    map_index: int = -1
    dag_id: str = "dag"
    run_id: str = "run"
    _began: datetime | None = None

    @property
    def task_id(self) -> str:
        return str(self.task.task_id)

    @property
    def max_tries(self) -> int:
        return int(self.task.retries or 0)

    def get_first_reschedule_date(self, *_: Any, **__: Any) -> datetime | None:
        """Say when a sensor that reschedules itself first did so; it asks for this whenever it begins."""
        self._began = self._began or datetime.now(UTC)
        return self._began

    def get_relevant_upstream_map_indexes(self, *_: Any, **__: Any) -> None:
        """Say that no upstream task is mapped, as Airflow 2 asks."""

    def xcom_push(self, key: str, value: Any, **_: Any) -> None:
        self.xcoms.setdefault(self.task_id, {})[key] = value

    def xcom_pull(self, task_ids: str | None = None, *, key: str = "return_value", default: Any = None, **_: Any) -> Any:
        return self.xcoms.get(task_ids or self.task_id, {}).get(key, default)


class RunTask:
    """Runs one task as Airflow does, without its database: ``run_task(operator, ds="2026-01-31")`` returns what the task returns.

    Airflow's task state store is not there: a task finds nothing of an earlier run.

    :ivar xcoms: what the tasks of this test have pushed: values by task id and key; templates and XComArgs of later tasks find them.
    """

    def __init__(self) -> None:
        self.xcoms: dict[str, dict[str, Any]] = {}

    def __call__(self, operator: Any, **context: Any) -> Any:
        """Render the templates, execute, and if the task defers run its trigger and resume; run it again if it is rescheduled.

        :param context: more of the context; a template that names what is not there is an error.
        """
        from airflow.providers.common.compat.sdk import TaskDeferred
        from jinja2 import StrictUndefined

        from airflow_dicom.links.dicom import known

        task = operator.prepare_for_execution()
        ti = _TaskInstance(task, self.xcoms)
        context = {
            "ti": ti,
            "task_instance": ti,
            "task": task,
            "params": dict(task.params),
            "run_id": ti.run_id,
            "expanded_ti_count": None,  # Airflow 2 asks for it
            **context,
        }
        environment = task.get_template_env()
        if not task.has_dag():  # a DAG says itself what becomes of it
            environment.undefined = StrictUndefined
        task.render_template_fields(context, environment)
        resume, arguments = "execute", None
        while True:
            try:
                result = task.resume_execution(resume, arguments, context) if arguments else task.execute(context)
                break
            except _rescheduled():
                time.sleep(_LONGEST_PAUSE)
            except TaskDeferred as deferral:
                resume, arguments = deferral.method_name, {**(deferral.kwargs or {}), "event": _first_event(deferral.trigger)}
            finally:
                for key, url in known(task).items():  # Airflow 3 asks for them whenever a part of a task ends
                    ti.xcom_push(key, url)
        context["ti"].xcom_push("return_value", result)
        return result


def _rescheduled() -> type[BaseException]:
    try:
        exceptions: Any = import_module("airflow.sdk.exceptions")
        kind: type[BaseException] = exceptions.AirflowRescheduleException
    except (ImportError, AttributeError):  # Airflow before 3.2
        kind = import_module("airflow.exceptions").AirflowRescheduleException
    return kind


def _first_event(trigger: Any) -> Any:
    """Run a trigger, in a thread since the test may have a loop of its own, and return what its first event says."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    async def first() -> Any:
        events = trigger.run()
        try:
            return (await anext(events)).payload
        finally:
            await events.aclose()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, first()).result()


@pytest.fixture
def run_task() -> RunTask:
    """``run_task(operator, **context)`` runs one task, and returns what it returns; see :class:`RunTask`."""
    return RunTask()
