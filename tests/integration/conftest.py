"""A real Airflow on the emulator, once for all integration tests."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from gcp_dicom_emulator.keyfile import private_key

from demo.data import Cloud, Source, fill
from demo.stack import Stack
from tests.keyfile import connection

from .rig import is_make_faults, kind_of_stack
from .supervisor import supervised

DAGS = Path(__file__).parent / "dags"
EXAMPLES = Path(__file__).parents[2] / "dags"


@pytest.fixture(scope="session")
def source() -> Source:
    return Source.of_pydicom()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Stack]:
    """Everything as processes, with a filled bucket; the DAGs of this directory and the examples."""
    dags = tmp_path_factory.mktemp("dags")
    for path in (*DAGS.glob("*.py"), *EXAMPLES.glob("*.py")):
        (dags / path.name).symlink_to(path)
    # A changed file is parsed at once; the others need not be parsed each minute.
    interval = {f"{section}__MIN_FILE_PROCESS_INTERVAL": "3600" for section in ("DAG_PROCESSOR", "SCHEDULER")}
    # A busy machine keeps heartbeats waiting. No task is taken for dead by that: the tests that kill one say so to Airflow.
    patience = ("SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT", "SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD")
    settings = {"CORE__PARALLELISM": "32", **interval, **dict.fromkeys(patience, "300")}
    # Of 26 tasks at a time: the API server would have little time for anything else.
    long = is_make_faults(pytestconfig)
    if long:
        settings["WORKERS__MIN_HEARTBEAT_INTERVAL"] = "6"
    # No less than operators wait for at least: the machine is busy.
    pause = None if long else 5.0
    stack = kind_of_stack(pytestconfig)(dags, settings, preloaded=True, longest_pause=pause, meanwhile=fill)
    transport = {"type": "file", "log_file_path": str(stack.home / "lineage.jsonl"), "append": True}
    stack.environment["AIRFLOW__OPENLINEAGE__TRANSPORT"] = json.dumps(transport)
    stack.environment["AIRFLOW__OPENLINEAGE__SELECTIVE_ENABLE"] = "True"
    stack.environment["AIRFLOW_CONN_KEYFILE"] = connection(stack.emulator_url, private_key())
    with stack, supervised(stack):
        yield stack


@pytest.fixture
def default_port(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[None]:
    """Let one test at a time have the emulator's default port, also when several processes run tests."""
    base = tmp_path_factory.getbasetemp()
    with ((base if worker_id == "master" else base.parent) / "default_port").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def cloud(stack: Stack) -> Cloud:
    return Cloud(stack.emulator_url)
