"""What a person must approve is done only if that person has, and only as it was shown."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest
from gcp_dicom_emulator.client import Client
from gcp_dicom_emulator.pytest_plugin import DicomStore

from airflow_dicom.exceptions import DicomArgumentError, DicomNotApproved
from airflow_dicom.hooks.dicomweb import DicomWebHook
from airflow_dicom.operators import DicomDeidentifyOperator, DicomExportOperator, FilterFileFromPathsOperator
from airflow_dicom.operators._approval import count_in_store

try:
    from airflow.sdk.exceptions import TaskAwaitingInput as Waits
except ImportError:  # Airflow before 3.3
    from airflow.providers.common.compat.sdk import TaskDeferred as Waits

FILTER = "gs://clinic/filter.txt"


@pytest.fixture
def paths(seeded_dicom_store: DicomStore) -> dict[str, list[str]]:
    """The store's paths, by level."""
    pages = seeded_dicom_store.emulator.healthcare.instances.pages(seeded_dicom_store.name, None, 1000)
    found: dict[str, list[str]] = {"study": [], "series": [], "instance": []}
    for one in (one for page in pages for one in page):
        path = f"/studies/{one.study}"
        found["study"].append(path)
        found["series"].append(path := f"{path}/series/{one.series}")
        found["instance"].append(f"{path}/instances/{one.instance}")
    return found


def delete(store: DicomStore, path: str) -> None:
    with Client(store.emulator.url) as client:
        client.call("DELETE", f"/v1/{store.name}/dicomWeb{path}")


@pytest.fixture
def asked(seeded_dicom_store, runner, paths) -> dict[str, Any]:
    """A filter that names all instances, and what the task that has asked for an approval has pushed."""
    task = FilterFileFromPathsOperator(task_id="f", filter_uri=FILTER, paths=paths["instance"])
    runner.run(task)
    answer = {"chosen_options": ["Approve"], "params_input": {}, "responded_at": "now", "responded_by_user": None}
    pushed = {"return_value": answer, "filter_file": runner.ti.xcoms["filter_file"]}
    runner.ti = replace(runner.ti, upstream={"approve": pushed}, xcoms={})
    return pushed


def export(store: DicomStore, **changes: Any) -> DicomExportOperator:
    arguments = {"gcs_uri_prefix": "gs://clinic/out", "filter_uri": FILTER, "approved_by": "approve", "poll_interval": 0.02}
    task = DicomExportOperator(task_id="t", **store.arguments, **(arguments | changes))
    task.upstream_task_ids.add("approve")
    return task


def test_what_is_approved_is_done(seeded_dicom_store, runner, asked, deferrable):
    assert runner.run(export(seeded_dicom_store, deferrable=deferrable))["success"] == 3
    assert len(seeded_dicom_store.objects("out/")) == 3


@pytest.mark.parametrize(
    "answer",
    [{"chosen_options": ["Reject"]}, {"chosen_options": []}, None, [{"chosen_options": ["Approve"]}], "Approve"],
    ids=["rejected", "nothing chosen", "no answer", "of a mapped task", "a text"],
)
def test_nothing_is_sent_without_an_approval(seeded_dicom_store, runner, asked, answer):
    asked["return_value"] = answer
    with pytest.raises(DicomNotApproved, match="Nothing was sent: approve was not approved"):
        runner.run(export(seeded_dicom_store, deferrable=False))
    assert seeded_dicom_store.objects("out/") == {}
    assert runner.state.values == {}


def test_the_approval_of_an_older_count_is_refused(seeded_dicom_store, runner, asked, paths):
    delete(seeded_dicom_store, paths["instance"][0])
    with pytest.raises(DicomNotApproved, match=r"was approved with 3 instances; .* now holds 2"):
        runner.run(export(seeded_dicom_store, deferrable=False))
    assert seeded_dicom_store.objects("out/") == {}
    # It sends nothing by itself either when the person approves what is there now.
    asked["filter_file"] |= {"instances": 2}
    runner.retry()
    assert runner.run(export(seeded_dicom_store, deferrable=False))["success"] == 2


def test_the_approval_of_another_filter_is_refused(seeded_dicom_store, runner, asked, paths):
    runner.run(FilterFileFromPathsOperator(task_id="f", filter_uri=FILTER, paths=paths["instance"][:1]))
    runner.ti.upstream["a_filter"] = {"filter_file": runner.ti.xcoms["filter_file"]}
    task = export(seeded_dicom_store, deferrable=False)
    task.upstream_task_ids.add("a_filter")
    with pytest.raises(DicomNotApproved, match="was replaced after approve had shown it"):
        runner.run(task)
    runner.run(FilterFileFromPathsOperator(task_id="f", filter_uri="gs://clinic/other.txt", paths=paths["instance"]))
    with pytest.raises(DicomNotApproved, match=r"was about gs://clinic/filter\.txt, not gs://clinic/other\.txt"):
        runner.run(export(seeded_dicom_store, filter_uri="gs://clinic/other.txt", deferrable=False))


def test_who_has_asked_must_come_right_before(seeded_dicom_store, runner, asked):
    task = export(seeded_dicom_store)
    task.upstream_task_ids.clear()
    with pytest.raises(DicomArgumentError, match="must be a task right before this one"):
        runner.run(task)
    everything = DicomExportOperator(
        task_id="t", **seeded_dicom_store.arguments, gcs_uri_prefix="gs://b/f", approved_by="approve"
    )
    everything.upstream_task_ids.add("approve")
    with pytest.raises(DicomArgumentError, match="there is no filter_uri"):
        runner.run(everything)


def test_a_refusal_leaves_no_doubt(seeded_dicom_store, runner, asked, paths):
    """Copies that could be doubled may be made once the person has approved what is there."""
    with Client(seeded_dicom_store.emulator.url) as client:
        client.create(f"/v1/{seeded_dicom_store.name.rpartition('/')[0]}?dicomStoreId=research", {})
    research = seeded_dicom_store.name.replace("images", "research")
    arguments = {"filter_uri": FILTER, "approved_by": "approve", "destination_store": research, "poll_interval": 0.02}
    task = DicomDeidentifyOperator(task_id="t", **seeded_dicom_store.arguments, config="KEEP_ALL_PROFILE", **arguments)
    task.upstream_task_ids.add("approve")
    asked["return_value"] = {**asked["return_value"], "chosen_options": ["Reject"]}
    with pytest.raises(DicomNotApproved):
        runner.run(task)
    asked["return_value"] = {**asked["return_value"], "chosen_options": ["Approve"]}
    runner.retry()
    assert runner.run(task)["success"] == 3


@pytest.mark.parametrize("level", ["study", "series", "instance"])
def test_what_is_there_now_is_counted(seeded_dicom_store, paths, level):
    hook = DicomWebHook()
    absent = {"study": "/studies/1.2", "series": "/studies/1.2/series/3", "instance": "/studies/1.2/series/3/instances/4"}
    lines = [*paths[level], paths["instance"][0], absent[level]]
    assert count_in_store(hook, seeded_dicom_store.name, lines) == 3
    delete(seeded_dicom_store, paths["instance"][0])
    assert count_in_store(hook, seeded_dicom_store.name, lines) == 2


@pytest.mark.skipif(find_spec("airflow.sdk") is None, reason="Airflow 2 asks nobody")
class TestForm:
    """What the person sees."""

    @pytest.fixture
    def ask(self, monkeypatch):
        """Ask as Airflow does; return what the server is told."""
        from airflow.providers.standard.operators import hitl

        from airflow_dicom.operators.filter_approval import FilterApprovalOperator

        told: dict[str, Any] = {}
        monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **detail: told.update(detail))

        def ask(runner, **changes: Any) -> dict[str, Any]:
            task = FilterApprovalOperator(task_id="approve", subject="Go on?", **({"filter_uri": FILTER} | changes))
            runner.ti.id = None
            with pytest.raises(Waits):
                task.execute({"ti": runner.ti, "task_instance": runner.ti})
            return told

        return ask

    def test_it_shows_the_numbers_and_keeps_what_it_has_shown(self, asked, runner, ask):
        told = ask(runner, body="By a query")
        assert (told["subject"], told["options"], told["defaults"]) == ("Go on?", ["Approve", "Reject"], ["Reject"])
        assert "| instances | 3 |" in told["body"]
        assert told["body"].endswith("By a query")
        assert runner.ti.xcoms["filter_file"]["instances"] == 3
        assert runner.ti.xcoms["filter_file"]["generation"] == asked["filter_file"]["generation"]

    def test_a_mapped_one_is_refused(self, asked, runner, ask):
        runner.ti.map_index = 0
        with pytest.raises(DicomArgumentError, match="is mapped"):
            ask(runner)

    def test_a_filter_without_a_count_is_refused(self, seeded_dicom_store, runner, ask):
        seeded_dicom_store.emulator.storage.objects.put_bytes("clinic", "filter.txt", b"/studies/1.2\n")
        with pytest.raises(DicomArgumentError, match="does not say how many instances it covers"):
            ask(runner)
