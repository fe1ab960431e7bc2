"""Long-running operations."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.healthcare.operations.operations import Operations
from gcp_dicom_emulator.rest.faults import Fault
from tests.healthcare.conftest import World, build_api, encoded, http_error, instance, sample, wait_for

IMPORT, EXPORT = "*.dicomStores.import", "*.dicomStores.export"


def counters(operation: dict[str, Any]) -> tuple[int, int, int]:
    """Success, failure and pending."""
    counter = operation["metadata"].get("counter", {})
    assert all(isinstance(value, str) for value in counter.values())
    assert "0" not in counter.values()
    return int(counter.get("success", 0)), int(counter.get("failure", 0)), int(counter.get("pending", 0))


def put_files(world: World, count: int) -> None:
    for number in range(count):
        world.put(f"in/{number}", encoded(instance("1.2", "1.2.3", f"1.{number}")))


@pytest.fixture
def filled(world: World) -> World:
    world.fill(*(instance("1.2", "1.2.3", f"1.{number}") for number in range(3)))
    return world


# What an operation looks like


@pytest.mark.parametrize("kind", ["import", "export"])
def test_metadata(versioned: World, version: str, kind: str) -> None:
    put_files(versioned, 2)
    if kind == "import":
        started = versioned.start_import(versioned.uri("in/**"))
    else:
        started = versioned.start_export(gcsDestination={"uriPrefix": versioned.uri("out")})
    assert started.keys() == {"name"}
    ended = versioned.end(started)
    prefix, _, number = ended["name"].rpartition("/")
    assert prefix == f"{versioned.dataset}/operations"
    assert number.isdecimal()
    metadata = ended["metadata"]
    title = kind.capitalize()
    assert metadata["@type"] == f"type.googleapis.com/google.cloud.healthcare.{version}.OperationMetadata"
    assert metadata["apiMethodName"] == f"google.cloud.healthcare.{version}.dicom.DicomService.{title}DicomData"
    assert metadata["createTime"] <= metadata["endTime"]
    assert "cancelRequested" not in metadata
    assert ended["done"] is True
    response = f"type.googleapis.com/google.cloud.healthcare.{version}.dicom.{title}DicomDataResponse"
    assert ended["response"] == {"@type": response}
    assert versioned.logs(ended) == []


def test_the_version_is_that_of_the_call_that_started_it(world: World, apis: dict[str, Any]) -> None:
    put_files(world, 1)
    started = world.start_import(world.uri("in/**"))
    world.api = apis["v1beta1"]
    assert world.end(started)["metadata"]["@type"].endswith(".v1.OperationMetadata")


def test_a_running_operation_counts(world: World) -> None:
    put_files(world, 4)
    world.emulator.healthcare.operation_seconds = 2.0
    started = world.start_import(world.uri("in/**"))
    seen = []

    def done() -> bool:
        operation = world.operation(started["name"])
        seen.append(counters(operation))
        if not operation.get("done"):
            assert not operation.keys() & {"done", "response", "error"}
            assert "endTime" not in operation["metadata"]
        return bool(operation.get("done"))

    wait_for(done, "the end")
    assert seen == sorted(seen)
    assert seen[-1] == (4, 0, 0)
    assert {sum(counts) for counts in seen} <= {0, 4}
    assert len(set(seen)) > 2


def test_unknown_operations(world: World) -> None:
    for name in (
        f"{world.dataset}/operations/1",
        f"{world.dataset}/operations/abc",
        "projects/p/locations/l/datasets/d/operations/1",
    ):
        assert http_error(world.operations.get(name=name))[:2] == (404, "NOT_FOUND")
        assert http_error(world.operations.cancel(name=name, body={}))[:2] == (404, "NOT_FOUND")


# Lists


def test_operations_are_listed_the_newest_first(versioned: World) -> None:
    names = []
    for _ in range(3):
        started = versioned.start_import(versioned.uri("none/*"))
        names.insert(0, started["name"])
        versioned.end(started)
    listed = versioned.operations.list(name=versioned.dataset).execute()["operations"]
    assert [operation["name"] for operation in listed[:3]] == names
    assert listed[0] == versioned.operation(names[0])
    assert listed[3]["metadata"]["apiMethodName"].endswith("CreateDataset")
    assert len(listed) == 4


def test_pages_of_operations(world: World) -> None:
    names = {world.end(world.start_import(world.uri("none/*")))["name"] for _ in range(4)}
    request = world.operations.list(name=world.dataset, pageSize=2)
    pages = []
    while request is not None:
        answer = request.execute()
        pages.append([operation["name"] for operation in answer["operations"]])
        request = world.operations.list_next(request, answer)
    assert [len(page) for page in pages] == [2, 2, 1]
    assert names < {name for page in pages for name in page}


def test_bad_lists(world: World) -> None:
    assert http_error(world.operations.list(name=f"{world.dataset}x"))[0] == 404
    assert http_error(world.operations.list(name=world.dataset, filter="done = true"))[0] == 501
    assert http_error(world.operations.list(name=world.dataset, returnPartialSuccess=True))[0] == 501
    assert http_error(world.operations.list(name=world.dataset, pageToken="x"))[0] == 400
    assert http_error(world.operations.list(name=world.dataset, pageToken="²"))[0] == 400


# Cancelling


def test_cancelling_a_running_operation(world: World) -> None:
    put_files(world, 100)
    world.emulator.healthcare.operation_seconds = 300.0
    started = world.start_import(world.uri("in/**"))
    wait_for(lambda: world.metrics()["instanceCount"] != "0", "an instance")
    assert world.operations.cancel(name=started["name"], body={}).execute() == {}
    ended = world.end(started)
    assert ended["error"]["code"] == 1
    assert ended["metadata"]["cancelRequested"] is True
    assert "endTime" in ended["metadata"]
    assert "response" not in ended
    success, failure, pending = counters(ended)
    assert 0 < success < 100
    assert (failure, pending) == (0, 0)
    assert world.metrics()["instanceCount"] == str(success)
    assert world.operation(started["name"]) == ended


def test_cancelling_an_export_to_bigquery_leaves_no_table(filled: World) -> None:
    filled.emulator.healthcare.operation_seconds = 300.0
    started = filled.start_export(bigqueryDestination={"tableUri": filled.table("t")})
    wait_for(lambda: counters(filled.operation(started["name"]))[0], "a row")
    filled.operations.cancel(name=started["name"], body={}).execute()
    assert filled.end(started)["error"]["code"] == 1
    assert filled.emulator.bigquery.catalog.list_tables("demo", filled.tables) == []


def test_cancelling_a_finished_operation_changes_nothing(world: World) -> None:
    ended = world.end(world.start_import(world.uri("none/*")))
    assert world.operations.cancel(name=ended["name"], body={}).execute() == {}
    assert world.operation(ended["name"]) == ended


# What people type


@pytest.mark.parametrize(
    "body",
    [
        "{{\n      'gcsSource': {{\n        'uri': 'gs://{bucket}/in/*'\n      }}\n    }}",
        '{{"gcs_source": {{"uri": "gs://{bucket}/in/*"}}}}',
        "{{gcsSource: {{uri: 'gs://{bucket}/in/*',}},}}",
        "{{ gcs_source: {{ uri: \"gs://{bucket}/in/*\" }}, blobStorageSettings: {{ blob_storage_class: 'ARCHIVE' }} }}",
    ],
)
def test_bodies_of_imports(world: World, version: str, body: str) -> None:
    put_files(world, 2)
    answer = world.curl(f"{world.store}:import", body.format(bucket=world.bucket), version)
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"name"}
    assert counters(world.end(answer.json())) == (2, 0, 0)


@pytest.mark.parametrize(
    "body",
    [
        "{{ 'gcsDestination': {{ 'uriPrefix': 'gs://{bucket}/out' }}, 'filterConfig': {{'resourcePathsGcsUri':'gs://{bucket}/f'}}}}",
        '{{"gcs_destination": {{"uri_prefix": "gs://{bucket}/out"}}, "filter_config": {{"resource_paths_gcs_uri": "gs://{bucket}/f"}}}}',
        "{{gcs_destination: {{uriPrefix: 'gs://{bucket}/out'}}, filter_config: {{resourcePathsGcsUri: 'gs://{bucket}/f'}}}}",
    ],
)
def test_bodies_of_exports(filled: World, version: str, body: str) -> None:
    filled.put("f", b"/studies/1.2/series/1.2.3/instances/1.1")
    answer = filled.curl(f"{filled.store}:export", body.format(bucket=filled.bucket), version)
    assert answer.status_code == 200, answer.text
    operation = filled.curl(answer.json()["name"], version=version)
    assert operation.json()["name"] == answer.json()["name"]
    assert counters(filled.end(answer.json())) == (1, 0, 0)
    assert list(filled.files("out/")) == ["out/1.2/1.2.3/1.1.dcm"]


@pytest.mark.parametrize("body", ["{", "[]", "null", '"x"', "{'gcsSource': }", "\xff", "{" * 100_000])
def test_bodies_that_are_no_object(world: World, body: str) -> None:
    answer = world.curl(f"{world.store}:import", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"


def test_cancel_by_curl(world: World) -> None:
    ended = world.end(world.start_import(world.uri("none/*")))
    for body in ("", "{}"):
        answer = world.curl(f"{ended['name']}:cancel", body)
        assert (answer.status_code, answer.json()) == (200, {})


# Faults


def test_failed_instances(world: World) -> None:
    put_files(world, 3)
    fault = world.emulator.faults.add(Fault("fail_instances", IMPORT, code=2))
    ended = world.end(world.start_import(world.uri("in/**")))
    assert fault.fired == 1
    assert ended["error"]["code"] == 3
    assert counters(ended) == (1, 2, 0)
    assert counters(world.end(world.start_import(world.uri("in/**")))) == (3, 0, 0)


def test_failed_instances_of_an_operation_with_a_response(filled: World) -> None:
    filled.emulator.healthcare.partial_failure = "response"
    filled.emulator.faults.add(Fault("fail_instances", EXPORT, code=100))
    ended = filled.end(filled.start_export(gcsDestination={"uriPrefix": filled.uri("out")}))
    assert "response" in ended
    assert counters(ended) == (0, 3, 0)


def test_an_error_at_the_end(world: World) -> None:
    put_files(world, 2)
    world.emulator.faults.add(Fault("end_in_error", IMPORT, code=13))
    ended = world.end(world.start_import(world.uri("in/**")))
    assert ended["error"]["code"] == 13
    assert "response" not in ended
    assert counters(ended) == (2, 0, 0)
    assert world.metrics()["instanceCount"] == "2"


def test_hanging_until_cancelled(world: World) -> None:
    put_files(world, 2)
    world.emulator.faults.add(Fault("hang", IMPORT))
    started = world.start_import(world.uri("in/**"))
    wait_for(lambda: world.metrics()["instanceCount"] == "2", "the work")
    assert "done" not in world.operation(started["name"])
    world.operations.cancel(name=started["name"], body={}).execute()
    ended = world.end(started)
    assert ended["error"]["code"] == 1
    assert counters(ended) == (2, 0, 0)


def test_hanging_until_the_faults_are_removed(world: World) -> None:
    put_files(world, 2)
    world.emulator.faults.add(Fault("hang", IMPORT))
    started = world.start_import(world.uri("in/**"))
    wait_for(lambda: world.metrics()["instanceCount"] == "2", "the work")
    assert "done" not in world.operation(started["name"])
    world.emulator.faults.clear()
    assert "response" in world.end(started)


def test_vanishing(world: World) -> None:
    """It does the work, is never seen done, and cannot be found afterwards."""
    put_files(world, 2)
    world.emulator.faults.add(Fault("vanish", IMPORT))
    name = world.start_import(world.uri("in/**"))["name"]

    def gone() -> bool:
        answer = world.curl(name)
        assert answer.status_code == 404 or "done" not in answer.json()
        return answer.status_code == 404

    wait_for(gone, "its vanishing")
    assert world.metrics()["instanceCount"] == "2"
    listed = world.operations.list(name=world.dataset).execute()["operations"]
    assert name not in [operation["name"] for operation in listed]


def test_a_slow_operation(world: World) -> None:
    put_files(world, 2)
    world.emulator.faults.add(Fault("slow", IMPORT, seconds=300))
    started = world.start_import(world.uri("in/**"))
    other = world.start_import(world.uri("in/**"))
    assert "response" in world.end(other)
    assert "done" not in world.operation(started["name"])
    world.operations.cancel(name=started["name"], body={}).execute()
    assert world.end(started)["error"]["code"] == 1


def test_faults_are_for_what_they_match(filled: World) -> None:
    fault = filled.emulator.faults.add(Fault("end_in_error", EXPORT, resource="*/dicomStores/other:*", code=13))
    ended = filled.end(filled.start_export(gcsDestination={"uriPrefix": filled.uri("out")}))
    assert "response" in ended
    assert fault.fired == 0


# Restarts


@pytest.fixture
def restarting(tmp_path: Path) -> Any:
    """A function that stops the emulator, if it runs, and starts it on the same directory."""
    running: list[Emulator] = []

    def stop() -> None:
        while running:
            running.pop().stop()

    def start(world: World | None = None, while_stopped: Callable[[], None] = lambda: None) -> World:
        stop()
        while_stopped()
        emulator = Emulator(tmp_path)
        emulator.start()
        running.append(emulator)
        if world is None:
            return World(emulator, build_api(emulator)).make()
        world.emulator, world.api = emulator, build_api(emulator)
        return world

    yield start
    stop()


def test_a_finished_operation_survives_a_restart(restarting: Any) -> None:
    world = restarting()
    world.put("in/bad", b"no DICOM")
    ended = world.end(world.start_import(world.uri("in/*")))
    before = world.operations.list(name=world.dataset).execute()
    restarting(world)
    assert world.operation(ended["name"]) == ended
    assert world.operations.list(name=world.dataset).execute() == before
    assert world.curl("../_emulator/logs").status_code == 200
    assert world.operations.cancel(name=ended["name"], body={}).execute() == {}


def test_a_running_import_goes_on_after_a_restart(restarting: Any) -> None:
    world = restarting()
    put_files(world, 20)
    world.put("in/bad", b"no DICOM")
    world.emulator.healthcare.operation_seconds = 300.0
    started = world.start_import(world.uri("in/**"))
    wait_for(lambda: world.metrics()["instanceCount"] != "0", "an instance")
    restarting(world)
    ended = world.end(started)
    assert counters(ended) == (20, 1, 0)
    assert ended["error"]["code"] == 3
    assert len(world.emulator.healthcare.operations.logs(started["name"])) == 1
    assert world.metrics()["instanceCount"] == "20"


def test_a_running_filtered_export_goes_on_after_a_restart(restarting: Any) -> None:
    world = restarting()
    world.fill(*(instance("1.2", "1.2.3", f"1.{number}") for number in range(20)))
    world.fill(instance("1.5", "1.5.6", "1"))
    world.put("filter", b"/studies/1.2")
    world.emulator.healthcare.operation_seconds = 300.0
    config = {"resourcePathsGcsUri": world.uri("filter")}
    started = world.start_export(gcsDestination={"uriPrefix": world.uri("out")}, filterConfig=config)
    wait_for(lambda: counters(world.operation(started["name"]))[0], "an object")
    restarting(world)
    assert counters(world.end(started)) == (20, 0, 0)
    assert len(world.files("out/")) == 20


def test_a_cancelled_operation_stays_cancelled(restarting: Any) -> None:
    world = restarting()
    put_files(world, 3)
    world.emulator.healthcare.operation_seconds = 300.0
    started = world.start_import(world.uri("in/**"))
    world.operations.cancel(name=started["name"], body={}).execute()
    ended = world.end(started)
    restarting(world)
    assert world.operation(started["name"]) == ended


def test_a_cancel_survives_a_restart(restarting: Any) -> None:
    world = restarting()
    put_files(world, 3)
    world.emulator.healthcare.operation_seconds = 300.0
    started = [world.start_import(world.uri("in/**")) for _ in range(5)]
    for operation in started:
        world.operations.cancel(name=operation["name"], body={}).execute()
    restarting(world)
    for operation in started:
        ended = world.end(operation)
        assert ended["error"]["code"] == 1
        assert ended["metadata"]["cancelRequested"] is True


_GO_ON = """
import sys, time
from pathlib import Path
from gcp_dicom_emulator import Emulator

sys.setswitchinterval(1e-5)
with Emulator(Path(sys.argv[1])) as emulator:
    operations = [{}]
    while not all(operation.get("done") for operation in operations):
        time.sleep(0.05)
        operations = [emulator.healthcare.operations.get(name) for name in sys.argv[2:]]
print(*(operation.get("error") for operation in operations), sep="\\n")
"""


@pytest.mark.slow
def test_what_goes_on_at_once_finds_its_library_whole(restarting: Any, tmp_path: Path) -> None:
    """Python shows a thread the half of pydicom that another thread has loaded, where both ask for parts of it."""
    world = restarting()
    world.put("in/ct", sample("CT_small.dcm"))
    world.fill(sample("MR_small.dcm"))
    world.stores.create(parent=world.dataset, dicomStoreId="to", body={}).execute()
    world.emulator.faults.add(Fault("hang", "*", times=None))
    deidentify = world.stores.deidentify(sourceStore=world.store, body={"destinationStore": f"{world.dataset}/dicomStores/to"})
    names = []
    for number in range(3):
        names.append(world.start_import(world.uri("in/**"))["name"])
        names.append(deidentify.execute()["name"])
        names.append(world.start_export(bigqueryDestination={"tableUri": world.table(f"t{number}")})["name"])

    def go_on() -> None:
        command = [sys.executable, "-c", _GO_ON, str(tmp_path), *names]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert ended.stdout.splitlines() == ["None"] * len(names), ended.stderr

    restarting(world, while_stopped=go_on)


def test_a_cancel_at_the_start_finds_what_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Emulator(tmp_path) as emulator:
        world = World(emulator, build_api(emulator)).make()
        put_files(world, 3)
        emulator.healthcare.operation_seconds = 300.0
        started = world.start_import(world.uri("in/**"))
        port = emulator.port
    resume = Operations.resume
    monkeypatch.setattr(Operations, "resume", lambda operations: (time.sleep(0.5), resume(operations)))
    emulator = Emulator(tmp_path, port=port, operation_seconds=300.0)
    starting = threading.Thread(target=emulator.start)
    starting.start()
    wait_for(lambda: can_cancel(world, started), "an answer")
    starting.join()
    assert world.end(started)["error"]["code"] == 1
    emulator.stop()


def can_cancel(world: World, operation: dict[str, Any]) -> bool:
    try:
        world.operations.cancel(name=operation["name"], body={}).execute()
    except OSError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("destination", "code", "rows"),
    [
        ({}, 14, 1),
        ({"writeDisposition": "WRITE_EMPTY"}, 14, 1),
        ({"writeDisposition": "WRITE_APPEND"}, 14, 1),
        ({"writeDisposition": "WRITE_TRUNCATE"}, 0, 1),
        ({"force": True}, 0, 1),
    ],
    ids=str,
)
def test_killed_while_it_loads_rows(restarting: Any, tmp_path: Path, destination: dict[str, Any], code: int, rows: int) -> None:
    """What a kill leaves between the load and its acknowledgement: the rows, and the phase before."""
    world = restarting()
    world.fill(instance("1.2", "1.2.3", "1"))
    world.emulator.faults.add(Fault("hang", EXPORT))
    started = world.start_export(bigqueryDestination={"tableUri": world.table("t"), **destination})
    wait_for(lambda: world.emulator.bigquery.catalog.list_tables("demo", world.tables), "the table")

    def forget_the_acknowledgement() -> None:
        connection = sqlite3.connect(tmp_path / "metadata.sqlite")
        with connection:
            changed = connection.execute("UPDATE operations SET phase = 'loading' WHERE phase != ''").rowcount
        connection.close()
        assert changed == 1

    restarting(world, forget_the_acknowledgement)
    ended = world.end(started)
    assert ended.get("error", {}).get("code", 0) == code
    assert len(world.rows("t")) == rows


def test_stopped_after_it_loaded_rows(restarting: Any) -> None:
    """The emulator knows that the rows are there."""
    world = restarting()
    world.fill(instance("1.2", "1.2.3", "1"))
    world.emulator.faults.add(Fault("hang", EXPORT))
    started = world.start_export(bigqueryDestination={"tableUri": world.table("t"), "writeDisposition": "WRITE_APPEND"})
    wait_for(lambda: world.emulator.bigquery.catalog.list_tables("demo", world.tables), "the table")
    restarting(world)
    ended = world.end(started)
    assert "response" in ended
    assert counters(ended) == (1, 0, 0)
    assert len(world.rows("t")) == 1


def test_everything_survives_a_restart(restarting: Any) -> None:
    world = restarting()
    data = encoded(instance("1.2", "1.2.3", "1"))
    world.fill(data)
    restarting(world)
    assert world.metrics()["instanceCount"] == "1"
    world.end(world.start_export(gcsDestination={"uriPrefix": world.uri("out")}))
    assert world.files("out/") == {"out/1.2/1.2.3/1.dcm": data}


def test_a_dataset_is_not_made_without_its_operation(filled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the emulator is killed before the operation is kept: who tries again would find the dataset there, and empty."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("the disk is full")

    copy = f"{filled.dataset}-copy"
    body = {"destinationDataset": copy}
    monkeypatch.setattr(Operations, "start", fail)
    parent, _, name = copy.partition("/datasets/")
    assert http_error(filled.datasets.deidentify(sourceDataset=filled.dataset, body=body))[0] == 500
    assert http_error(filled.datasets.create(parent=parent, datasetId=name, body={}))[0] == 500
    monkeypatch.undo()
    assert http_error(filled.datasets.get(name=copy))[0] == 404
    ended = filled.end(filled.datasets.deidentify(sourceDataset=filled.dataset, body=body).execute())
    assert counters(ended) == (3, 0, 0)


def test_a_deletion_counts_what_was_deleted_before_a_restart(restarting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the emulator is killed between the deletion and the end of its operation."""
    world = restarting()
    world.fill(*(instance("1.2", "1.2.3", f"1.{number}") for number in range(3)))
    monkeypatch.setattr(Operations, "_end", lambda *_: None)
    started = world.stores.studies().delete(parent=world.store, dicomWebPath="studies/1.2").execute()
    wait_for(lambda: world.metrics()["instanceCount"] == "0", "the deletion")
    monkeypatch.undo()
    restarting(world)
    assert counters(world.end(started)) == (3, 0, 0)
