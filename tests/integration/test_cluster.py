"""Kills and restarts on Postgres and Celery, with two of each process: every operation is started once, and every task succeeds."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator

import pytest
from gcp_dicom_emulator.environment import environment
from gcp_dicom_emulator.keyfile import private_key

from demo.cluster import TWICE, Cluster
from demo.data import Cloud, Source
from tests.keyfile import connection
from tests.tls import Front, front, make_certificates, trusting

from .conftest import DAGS
from .rig import Rig, hang, once, until
from .supervisor import supervised

pytestmark = pytest.mark.only_in_make_ha

STARTED = ("import", "gcs", "bq_append", "filter")


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
