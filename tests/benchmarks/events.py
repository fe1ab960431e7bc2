"""What arrives by Pub/Sub: a burst of objects that is imported, and messages as fast as a trigger takes them.

The burst: objects are uploaded in a minute; ``dicom_objects_arrive`` imports them. The messages: they wait in a subscription when the
asset's trigger begins; it has taken them when the last one is acknowledged. ``PubsubPullTrigger`` of the Google provider is measured
with ten messages a pull, and with as many as ours takes; both look again as soon as they can, and acknowledge what they take.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from demo.data import ARRIVING, BUCKET, DATASET, LOCATION, PROJECT, STORE, Cloud, Source
from demo.run import DAGS
from demo.stack import Stack
from tests.benchmarks.emulator import studies
from tests.benchmarks.figures import Row, row, show

#: Seconds in which the objects of a burst are uploaded, and how many clients do that.
UPLOADING, CLIENTS = 60.0, 4
OURS, THEIRS = "airflow-dicom", "Google provider"
#: As many as our trigger takes in one event.
MOST = 500
_PATIENCE = 900

IMPORTS = "dicom_objects_arrive"
_STORE = f"projects/{PROJECT}/locations/{LOCATION}/datasets/{DATASET}/dicomStores/{STORE}"
_DAGS = f"""
from airflow.providers.google.cloud.triggers.pubsub import PubsubPullTrigger
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetWatcher

from airflow_dicom.assets import arrivals_asset


def theirs(name, most):
    trigger = PubsubPullTrigger(
        project_id="{PROJECT}",
        subscription=name,
        max_messages=most,
        ack_messages=True,
        gcp_conn_id="google_cloud_default",
        poke_interval=0.1,
        return_immediately=False,
    )
    return Asset(name=name, watchers=[AssetWatcher(name="pull", trigger=trigger)])


assets = {{
    "ours": arrivals_asset(subscription="projects/{PROJECT}/subscriptions/ours"),
    "theirs-10": theirs("theirs-10", 10),
    "theirs-{MOST}": theirs("theirs-{MOST}", {MOST}),
}}
for name, asset in assets.items():
    with DAG(name, schedule=[asset], catchup=False):
        EmptyOperator(task_id="nothing")
"""


@contextlib.contextmanager
def stack(dag_ids: list[str], text: str) -> Iterator[Stack]:
    """Start an emulator and an Airflow with one file of DAGs, which are paused."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "dags.py").write_text(text)
        with Stack(Path(folder), preloaded=True) as started:
            for dag_id in dag_ids:
                started.api.wait_for_dag(dag_id)
            yield started


def pause(airflow: Stack, dag_id: str, *, paused: bool) -> None:
    airflow.api.call("PATCH", f"/dags/{dag_id}", {"is_paused": paused})


def wait(condition: Any, what: str) -> float:
    """Wait until a condition holds; return the time."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"After {_PATIENCE} s it is not so that {what}.")
        time.sleep(0.1)
    return time.monotonic()


def burst(count: int, seconds: float) -> list[Row]:
    """Upload so many objects in so many seconds, and wait until all are instances of the store."""
    with stack([IMPORTS], (DAGS / f"{IMPORTS}.py").read_text()) as airflow:
        cloud = Cloud(airflow.emulator_url)
        cloud.fill(Source({}, {}))
        cloud.announce_arrivals()
        pause(airflow, IMPORTS, paused=False)
        time.sleep(10)
        begun = time.monotonic()
        _upload(airflow, [instance for study in studies(count) for instance in study], seconds)
        uploaded = time.monotonic()
        with cloud.healthcare() as healthcare:
            datasets = healthcare.projects().locations().datasets()
            metrics = datasets.dicomStores().getDICOMStoreMetrics(name=_STORE)
            stored = wait(lambda: int(metrics.execute()["instanceCount"]) == count, "all instances are there")
            operations = datasets.operations().list(name=_STORE.partition("/dicomStores/")[0], pageSize=1000).execute()
            imports = [one for one in operations["operations"] if one["metadata"]["apiMethodName"].endswith("ImportDicomData")]
        events = airflow.api.call("GET", "/assets/events?limit=1")["total_entries"]
    if len(imports) > events:
        raise RuntimeError(f"{len(imports)} imports were started for {events} batches of messages")
    what = f"arrivals: {count:,} objects"
    return [
        row(f"{what}: uploaded", "both", "s", [uploaded - begun]),
        row(f"{what}: from the last upload until all are stored", OURS, "s", [stored - uploaded]),
        row(f"{what}: batches of messages", OURS, "events", [events]),
        row(f"{what}: import operations", OURS, "operations", [len(imports)]),
    ]


def _upload(airflow: Stack, files: list[bytes], seconds: float) -> None:
    begun = time.monotonic()
    url = f"{airflow.emulator_url}/upload/storage/v1/b/{BUCKET}/o"

    def upload(client: int) -> None:
        with requests.Session() as session:
            for number in range(client, len(files), CLIENTS):
                time.sleep(max(0.0, begun + number / len(files) * seconds - time.monotonic()))
                parameters = {"uploadType": "media", "name": f"{ARRIVING}{number:06}.dcm"}
                session.post(url, params=parameters, data=files[number], timeout=60).raise_for_status()

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(upload, range(CLIENTS)))


def rates(counts: dict[str, int]) -> list[Row]:
    """Let each trigger take so many messages."""
    found = {}
    with stack(list(counts), _DAGS) as airflow, requests.Session() as session:
        for name, count in counts.items():
            found[name] = _rate(airflow, session, name, count)
    what = "arrivals: messages taken and acknowledged"
    return [
        row(f"{what}, at most {MOST} at a time", OURS, "per s", [found["ours"]]),
        row(f"{what}, at most {MOST} at a time", THEIRS, "per s", [found[f"theirs-{MOST}"]]),
        row(f"{what}, at most 10 at a time", THEIRS, "per s", [found["theirs-10"]]),
        row(f"{what}: ours / theirs, at most 10 at a time", "ratio", "times", [found["ours"] / found["theirs-10"]]),
    ]


def _rate(airflow: Stack, session: requests.Session, name: str, count: int) -> float:
    """Return how many messages a second are taken, the start of the trigger left out."""
    url, topic = f"{airflow.emulator_url}/v1", f"projects/{PROJECT}/topics/{name}"
    session.put(f"{url}/{topic}", json={}).raise_for_status()
    body = {"topic": topic, "ackDeadlineSeconds": 60}
    session.put(f"{url}/projects/{PROJECT}/subscriptions/{name}", json=body).raise_for_status()

    def publish(first: int, last: int) -> None:
        path = f"{_STORE}/dicomWeb/studies/2.25.1{'0' * 34}/series/2.25.2{'0' * 34}/instances/2.25.3{{:034}}"
        data = [base64.b64encode(path.format(number).encode()).decode() for number in range(first, last)]
        messages = [{"data": each, "attributes": {"action": "StoreInstances"}} for each in data]
        session.post(f"{url}/{topic}:publish", json={"messages": messages}).raise_for_status()

    def taken() -> bool:
        return bool(session.get(f"{airflow.emulator_url}/_emulator/status").json()["messages"] == 0)

    publish(0, 1)
    pause(airflow, name, paused=False)
    wait(taken, f"{name} has taken a message")
    begun = time.monotonic()
    for first in range(1, count, 1000):
        publish(first, min(first + 1000, count))
    seconds = wait(taken, f"{name} has taken {count} messages") - begun
    pause(airflow, name, paused=True)
    return (count - 1) / seconds


def run(objects: int, uploading: float, counts: dict[str, int]) -> list[Row]:
    """Measure and return the lines of the table."""
    rows = rates(counts) + burst(objects, uploading)
    show(rows)
    return rows


def whole() -> list[Row]:
    """Measure with the sizes of the table."""
    return run(10_000, UPLOADING, {"ours": 10_000, "theirs-10": 300, f"theirs-{MOST}": 5_000})


def quick() -> list[Row]:
    """See that it works."""
    return run(300, 5.0, {"ours": 1000, "theirs-10": 40, f"theirs-{MOST}": 1000})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    (quick if parser.parse_args().quick else whole)()


if __name__ == "__main__":
    main()
