"""Deletion: what is gone, what stays, and what is refused."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowSkipException
from gcp_dicom_emulator.pytest_plugin import DicomStore
from gcp_dicom_emulator.rest.faults import Fault

from airflow_dicom.exceptions import (
    DicomArgumentError,
    DicomEmptyResult,
    DicomNotApproved,
    DicomOperationError,
    HealthcareApiError,
)
from airflow_dicom.operators import DicomDeleteOperator, FilterFileFromPathsOperator
from airflow_dicom.sensors import DicomOperationSensor

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


def test_a_sensor_does_not_wait_where_there_is_no_operation(seeded_dicom_store, runner, deferrable):
    begun = runner.run(task(seeded_dicom_store, paths=paths(seeded_dicom_store)[:2], wait_for_completion=False, deferrable=False))
    result = Runner().run(DicomOperationSensor(task_id="s", operation=begun, expected_instances=2, deferrable=deferrable))
    assert (result["success"], result["operation"], result["done"]) == (2, "", True)


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


class TestRetryOfWhatWasDoneInPart:
    """The next try finds a part gone, which the one before has deleted."""

    @pytest.fixture
    def begun(self, seeded_dicom_store, runner):
        """What is left of a filter of three instances after a try that deleted one, and was refused another."""
        return self.begin(seeded_dicom_store, runner, paths(seeded_dicom_store))

    def begin(self, seeded_dicom_store, runner, lines):
        every = paths(seeded_dicom_store)
        runner.run(FilterFileFromPathsOperator(task_id="f", filter_uri="gs://clinic/part.txt", paths=lines))
        summary = {**runner.ti.xcoms["filter_file"], "instances": 3}
        approved = {"return_value": {"chosen_options": ["Approve"]}, "filter_file": summary}
        runner.ti = TaskInstance(max_tries=1, upstream={"approve": approved})
        faults = seeded_dicom_store.emulator.faults
        faults.add(Fault("status", "*.studies.*delete", resource=f"*{lines[1].removeprefix('/')}*", code=403))
        with pytest.raises(HealthcareApiError, match="403"):
            runner.run(self.deletion(seeded_dicom_store))
        faults.clear()
        assert paths(seeded_dicom_store) == every[1:]
        return every[1:]

    def deletion(self, store, **changes):
        arguments = {"filter_uri": "gs://clinic/part.txt", "approved_by": "approve", "expected_instances": 3, "deferrable": False}
        made = task(store, **(arguments | changes))
        made.upstream_task_ids.add("approve")
        return made

    def test_it_is_finished(self, seeded_dicom_store, runner, begun, deferrable):
        """It is approved, and complete, though less than was shown is there."""
        runner.retry()
        result = runner.run(self.deletion(seeded_dicom_store, deferrable=deferrable))
        assert (result["success"], result["missing"]) == (2, 1)
        assert paths(seeded_dicom_store) == []

    def test_what_has_come_meanwhile_does_not_hide_behind_what_is_gone(self, seeded_dicom_store, runner):
        """Two of three instances are left, and another one may have come to a series that the filter names."""
        every = paths(seeded_dicom_store)
        left = self.begin(seeded_dicom_store, runner, [every[0], *map(series, every[1:])])
        runner.retry()
        with pytest.raises(DicomNotApproved, match="cannot be told from what was approved"):
            runner.run(self.deletion(seeded_dicom_store))
        assert paths(seeded_dicom_store) == left

    def test_nothing_is_left_of_it(self, seeded_dicom_store, runner, begun):
        Runner().run(task(seeded_dicom_store, paths=begun))
        runner.retry()
        assert runner.run(self.deletion(seeded_dicom_store, expected_instances=None))["missing"] == 3

    def test_more_than_was_approved_is_refused(self, seeded_dicom_store, runner, begun):
        runner.ti.upstream["approve"]["filter_file"] |= {"instances": 1}
        runner.retry()
        with pytest.raises(DicomNotApproved, match="was approved with 1"):
            runner.run(self.deletion(seeded_dicom_store))
        assert paths(seeded_dicom_store) == begun

    def test_after_a_clear_less_than_was_approved_is_refused(self, seeded_dicom_store, runner, begun):
        runner.clear(retries=1)
        with pytest.raises(DicomNotApproved, match=r"was approved with 3 instances; .* now holds 2"):
            runner.run(self.deletion(seeded_dicom_store))
        assert paths(seeded_dicom_store) == begun

    def test_another_request_is_not_what_was_begun(self, seeded_dicom_store, runner, begun):
        runner.retry()
        with pytest.raises(DicomEmptyResult):
            runner.run(task(seeded_dicom_store, paths=["/studies/1.2.3"]))

    @pytest.mark.parametrize("tries", [2, 3])
    def test_what_was_never_there_is_missing_in_each_try(self, seeded_dicom_store, runner, tries):
        runner.ti.max_tries = tries
        for _ in range(tries):
            with pytest.raises(DicomEmptyResult):
                runner.run(task(seeded_dicom_store, paths=["/studies/1.2.3"], deferrable=False))
            runner.retry()

    def test_a_try_that_could_not_read_the_filter_has_not_begun(self, seeded_dicom_store, runner):
        put = seeded_dicom_store.emulator.storage.objects.put_bytes
        put("clinic", "bad.txt", b"/studies/x")
        runner.ti.max_tries = 1
        with pytest.raises(DicomArgumentError, match="Nothing was deleted"):
            runner.run(task(seeded_dicom_store, filter_uri="gs://clinic/bad.txt", deferrable=False))
        put("clinic", "bad.txt", b"/studies/1.2.3")
        runner.retry()
        with pytest.raises(DicomEmptyResult):
            runner.run(task(seeded_dicom_store, filter_uri="gs://clinic/bad.txt", deferrable=False))

    def test_a_try_that_was_not_approved_has_not_begun(self, seeded_dicom_store, runner, begun):
        runner.clear(retries=3)
        for _ in range(2):
            with pytest.raises(DicomNotApproved):
                runner.run(self.deletion(seeded_dicom_store))
            runner.retry()
        assert paths(seeded_dicom_store) == begun

    def test_before_airflow_3_3_nobody_knows(self, seeded_dicom_store, runner, begun):
        runner.retry()
        runner.state = None
        with pytest.raises(DicomNotApproved):
            runner.run(self.deletion(seeded_dicom_store))
