"""Kills, restarts and upgrades on Postgres and Celery, with two of each process.

Every operation is started once, and every task succeeds.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gcp_dicom_emulator.environment import environment
from gcp_dicom_emulator.keyfile import private_key

from demo.cluster import TWICE, Cluster
from demo.data import Cloud, Source
from tests.first_release import unpack_first_release
from tests.keyfile import connection
from tests.tls import Front, front, make_certificates, trusting

from .conftest import DAGS
from .rig import Rig, hang, once, until
from .supervisor import supervised

pytestmark = pytest.mark.only_in_make_ha

STARTED = ("import", "gcs", "bq_append", "filter")

TRIGGERERS, WORKERS = (("triggerer", "triggerer-2"), ("worker", "worker-2"))


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster(DAGS, {"CELERY__WORKER_CONCURRENCY": "8"})


@pytest.fixture(scope="module")
def tls(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """All that Airflow's processes know of the emulator, tokens included, is behind TLS, by an authority that nobody knows."""
    certificates = make_certificates(tmp_path_factory.mktemp("tls"))
    with front(cluster.emulator_url, certificates.server) as served:
        account = {"AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": connection(served.url, private_key())}
        cluster.environment |= {**environment(served.url), **trusting(certificates.authority), **account}
        yield served


@pytest.fixture(scope="module")
def _rig(cluster: Cluster, tls: Front, source: Source) -> Iterator[Rig]:
    with cluster, supervised(cluster):
        cloud = Cloud(cluster.emulator_url)
        cloud.fill(source)
        yield Rig(cluster, cloud, STARTED)


@pytest.fixture
def rig(_rig: Rig) -> Iterator[Rig]:
    yield _rig
    _rig.no_faults()


def test_behind_tls(rig: Rig, tls: Front) -> None:
    """Each client finds the certificate of the authority that it has to trust."""
    tasks = rig.start()
    rig.check("the emulator behind TLS", tasks, lambda task: once())
    agents = " ".join(tls.agents)
    for client in ("(gzip)", "aiohttp", "gcloud-python", "python-requests"):  # the first is httplib2, the last fetches tokens
        assert client in agents


@pytest.mark.parametrize("name", [f"{name}{number}" for name in TWICE for number in ("", "-2")])
def test_one_of_two_is_killed(rig: Rig, name: str) -> None:
    """What it had goes to the other: a worker's tasks are tried again, and adopt; triggers move."""
    tasks = rig.start(faults=hang(rig))
    rig.wait_until_waiting(tasks)
    rig.stack.kill(name)
    rig.no_faults()
    rig.check(f"{name} killed on a cluster", tasks, lambda task: once())
    rig.stack.restart(name)


@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_what_all_share_is_restarted(rig: Rig, name: str) -> None:
    """Airflow's schedulers, triggerers and DAG processor end without their database, and are started again."""
    tasks = rig.start(faults=hang(rig))
    rig.wait_until_waiting(tasks)
    rig.stack.kill(name, signal.SIGKILL if name == "redis" else signal.SIGINT)
    time.sleep(5)
    with contextlib.suppress(RuntimeError):  # others have ended meanwhile: the supervisor starts them again
        rig.stack.restart(name)
    until(lambda: not rig.stack.ended(), "everything runs again", lambda: str(rig.stack.ended()))
    rig.no_faults()
    rig.check(f"{name} restarted on a cluster", tasks, lambda task: once())


@pytest.fixture(scope="module")
def first_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as release 0.1.0 had it."""
    folder = tmp_path_factory.mktemp("release")
    unpack_first_release(folder)
    return folder


@pytest.fixture
def run_release(rig: Rig) -> Iterator[Callable[..., None]]:
    """Return what starts processes again with another release; at the end, all have today's."""

    def run(package: Path | None, *names: str) -> None:
        for name in names:
            # A worker's grace period is over; a triggerer ends by itself.
            rig.stack.kill(name, signal.SIGKILL if name in WORKERS else signal.SIGTERM)
            rig.stack.environments[name] = {"PYTHONPATH": str(package)} if package else {}
        rig.stack.restart(*names)

    yield run
    if changed := [name for name, more in rig.stack.environments.items() if more]:
        run(None, *changed)


def test_an_upgrade(rig: Rig, first_release: Path, run_release: Callable[..., None]) -> None:
    """Triggerers first, as the documentation has it: they, and then the workers, go on with what release 0.1.0 has started."""
    run_release(first_release, *WORKERS, *TRIGGERERS)
    for names, what in ((TRIGGERERS, "triggerers"), (WORKERS, "workers")):
        tasks = rig.start(STARTED, ("deferrable",), dags="-upgrade", faults=hang(rig))
        rig.wait_until_waiting(tasks)
        assert not any("Started: " in task.log() for task in tasks), "release 0.1.0 says it in other words"
        run_release(None, *names)
        rig.no_faults()
        rig.check(f"{what} upgraded from 0.1.0", tasks, lambda task: once())


def test_workers_before_triggerers(rig: Rig, first_release: Path, run_release: Callable[..., None]) -> None:
    """Release 0.1.0's triggerers refuse today's triggers. Each try fails, and the next one goes on with the same operation."""
    run_release(first_release, *TRIGGERERS)
    tasks = rig.start(STARTED, ("deferrable",), dags="-upgrade", faults=hang(rig))
    for task in tasks:
        until(lambda task=task: task.instance()["try_number"] > 2, f"{task} is refused twice", task.log)
    run_release(None, *TRIGGERERS)
    rig.no_faults()
    rig.check("today's workers, 0.1.0's triggerers", tasks, lambda task: once())


def test_a_downgrade(rig: Rig, first_release: Path, run_release: Callable[..., None]) -> None:
    """A worker of release 0.1.0 cannot resume what today's has deferred. Its next try goes on with the same operation.

    But for a filter's query: release 0.1.0 has no record of it, and makes it again.
    """
    operations = tuple(name for name in STARTED if name != "filter")
    tasks = rig.start(operations, ("deferrable",), dags="-upgrade", faults=hang(rig))
    rig.wait_until_waiting(tasks)
    run_release(first_release, *WORKERS)
    rig.no_faults()
    rig.check("downgraded to 0.1.0", tasks, lambda task: once())
