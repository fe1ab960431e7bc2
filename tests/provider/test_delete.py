"""Deletion: what is gone, what stays, and what is refused."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowSkipException
from gcp_dicom_emulator.pytest_plugin import DicomStore
from gcp_dicom_emulator.rest.faults import Fault

from airflow_dicom.exceptions import DicomArgumentError, DicomEmptyResult, DicomOperationError
from airflow_dicom.operators import DicomDeleteOperator, FilterFileFromPathsOperator

from .conftest import Runner, TaskInstance


def task(store: DicomStore, **changes) -> DicomDeleteOperator:
    return DicomDeleteOperator(task_id="t", **store.arguments, **({"poll_interval": 0.02} | changes))


def paths(store: DicomStore) -> list[str]:
    pages = store.emulator.healthcare.instances.pages(store.name, None, 1000)
    return [f"/studies/{one.study}/series/{one.series}/instances/{one.instance}" for page in pages for one in page]


def study(path: str) -> str:
    return path.partition("/series/")[0]


def series(path: str) -> str:
    return path.partition("/instances/")[0]


def test_each_level(seeded_dicom_store, runner, deferrable):
    first, second, third = paths(seeded_dicom_store)
    result = runner.run(task(seeded_dicom_store, paths=[study(first), series(second), third], deferrable=deferrable))
    assert seeded_dicom_store.instances() == []
    assert (result["success"], result["failure"], result["missing"], result["done"]) == (3, 0, 0, True)
    assert result["dicom_store"] == seeded_dicom_store.name
    assert runner.deferred == deferrable


def test_a_filter(seeded_dicom_store, runner, deferrable):
    first, second, third = paths(seeded_dicom_store)
    lines = f"{study(first)}\n\n{second}\n{first}\n"
    seeded_dicom_store.emulator.storage.objects.put_bytes("clinic", "filter.txt", lines.encode())
    result = runner.run(task(seeded_dicom_store, filter_uri="gs://clinic/filter.txt", deferrable=deferrable))
    assert paths(seeded_dicom_store) == [third]
    assert (result["success"], result["missing"]) == (2, 0)


def test_instances_alone_need_no_operation(seeded_dicom_store, runner, deferrable):
    result = runner.run(task(seeded_dicom_store, paths=paths(seeded_dicom_store)[0], deferrable=deferrable))
    assert (result["success"], result["operation"]) == (1, "")
    assert len(paths(seeded_dicom_store)) == 2
    assert runner.deferred == 0


def test_what_is_gone_already(seeded_dicom_store, runner, deferrable):
    gone, stays = "/studies/1.2.3", paths(seeded_dicom_store)[0]
    result = runner.run(task(seeded_dicom_store, paths=[gone, study(stays)], deferrable=deferrable))
    assert (result["success"], result["missing"]) == (1, 1)
    with pytest.raises(DicomEmptyResult):
        Runner().run(task(seeded_dicom_store, paths=[gone], deferrable=deferrable))
    with pytest.raises(AirflowSkipException):
        Runner().run(task(seeded_dicom_store, paths=[gone], on_empty="skip", deferrable=deferrable))
    assert Runner().run(task(seeded_dicom_store, paths=[gone], on_empty="succeed", deferrable=deferrable))["missing"] == 1


@pytest.mark.parametrize(("level", "handled"), [(str, 1), (study, 0)])
def test_what_a_request_has_deleted_whose_answer_was_lost_was_there(seeded_dicom_store, runner, level, handled):
    fault = seeded_dicom_store.emulator.faults.add(Fault("lose_answer", method="*.delete"))
    result = runner.run(task(seeded_dicom_store, paths=level(paths(seeded_dicom_store)[0]), deferrable=False))
    assert (result["success"], result["missing"], fault.fired) == (handled, 0, 1)
    assert len(paths(seeded_dicom_store)) == 2


def test_what_was_looked_at_is_deleted_and_no_filter_that_came_meanwhile(seeded_dicom_store, runner, monkeypatch):
    first, second, _ = paths(seeded_dicom_store)
    uri, objects = "gs://clinic/race.txt", seeded_dicom_store.emulator.storage.objects
    with DAG("race", schedule=None):
        deletion = task(seeded_dicom_store, filter_uri=uri, deferrable=False)
        made = FilterFileFromPathsOperator(task_id="select", filter_uri=uri, paths=[first])
        made >> deletion
    selected = Runner()
    selected.run(made)
    runner.ti.upstream = {"select": selected.ti.xcoms}
    start = DicomDeleteOperator._start

    def too_late(*arguments):
        objects.put_bytes("clinic", "race.txt", f"{second}\n".encode())
        return start(*arguments)

    monkeypatch.setattr(DicomDeleteOperator, "_start", too_late)
    with pytest.raises(DicomArgumentError, match="is not there any more"):
        runner.run(deletion)
    assert len(paths(seeded_dicom_store)) == 3


def test_a_retry_finishes_what_was_begun(seeded_dicom_store):
    runner = Runner(TaskInstance(max_tries=1))
    targets = [study(path) for path in paths(seeded_dicom_store)]
    seeded_dicom_store.emulator.faults.add(Fault("end_in_error", method="*studies.delete", code=13))
    with pytest.raises(DicomOperationError):
        runner.run(task(seeded_dicom_store, paths=targets, deferrable=False))
    runner.retry()
    runner.run(task(seeded_dicom_store, paths=targets, deferrable=False, on_empty="succeed"))
    assert paths(seeded_dicom_store) == []


def test_nothing_is_deleted_by_what_is_not_a_path(seeded_dicom_store, runner):
    for wrong in (["/studies/1.2", "/studies"], ["/"], [study(paths(seeded_dicom_store)[0]), "studies/1"], "*"):
        with pytest.raises(DicomArgumentError, match="Nothing was deleted"):
            runner.run(task(seeded_dicom_store, paths=wrong, deferrable=False))
    assert len(paths(seeded_dicom_store)) == 3


@pytest.mark.parametrize("arguments", [{}, {"paths": "/studies/1", "filter_uri": "gs://clinic/f"}])
def test_a_whole_store_is_refused(seeded_dicom_store, runner, arguments):
    with pytest.raises(DicomArgumentError, match=r"DicomDeleteStoreOperator\(delete_contents=True\)"):
        runner.run(task(seeded_dicom_store, deferrable=False, **arguments))
    assert len(paths(seeded_dicom_store)) == 3


@pytest.mark.parametrize("empty", [None, [], "", "None"])
def test_paths_that_are_lost(seeded_dicom_store, runner, empty):
    lost = task(seeded_dicom_store, paths="{{ x }}", deferrable=False)
    lost.paths = empty
    with pytest.raises(DicomArgumentError, match="paths was given"):
        runner.run(lost)
    assert len(paths(seeded_dicom_store)) == 3
