"""What the events of outlets carry, for the DAGs that they start."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import Asset, AssetAlias

from airflow_dicom.assets import dicom_store_asset
from airflow_dicom.operators import DicomExportOperator, DicomImportOperator, FilterFileFromPathsOperator

try:
    from airflow.sdk.execution_time.context import OutletEventAccessors
except ImportError:  # Airflow 2
    from airflow.utils.context import OutletEventAccessors

ALIAS = AssetAlias("written")


@pytest.fixture
def events(runner, monkeypatch) -> Any:
    """The events of the task that the runner runs."""
    events = OutletEventAccessors()
    run = runner.run

    def with_events(task: Any) -> Any:
        for method in {"execute", "execute_complete"} & set(dir(task)):
            before = getattr(task, method)
            monkeypatch.setattr(
                task,
                method,
                lambda context, *rest, _before=before, **more: _before(context | {"outlet_events": events}, *rest, **more),
            )
        return run(task)

    monkeypatch.setattr(runner, "run", with_events)
    return events


def test_an_asset_s_event_carries_the_counters(seeded_dicom_store, runner, events, deferrable):
    asset = dicom_store_asset(**seeded_dicom_store.arguments)
    events[asset].extra["mine"] = "stays"
    task = DicomExportOperator(
        task_id="t",
        **seeded_dicom_store.arguments,
        gcs_uri_prefix="gs://clinic/out",
        outlets=[asset],
        poll_interval=0.02,
        deferrable=deferrable,
    )
    result = runner.run(task)
    assert events[asset].extra == {"mine": "stays", **result}
    assert result["success"] == 3


def added(events: Any) -> list[tuple[str, Any]]:
    """Return the assets that were added to the alias, with the number of instances."""
    accessor = events[ALIAS]
    if hasattr(accessor, "dataset_alias_events"):  # Airflow 2
        found = [(event["dest_dataset_uri"], event["extra"]) for event in accessor.dataset_alias_events]
    else:
        found = [(event.dest_asset_key.uri, event.extra) for event in accessor.asset_alias_events]
    return [(uri, extra.get("success", extra.get("instances"))) for uri, extra in found]


@pytest.mark.parametrize(
    ("arguments", "uri"),
    [
        ({"gcs_uri_prefix": "gs://clinic/out"}, "gs://clinic/out"),
        ({"bigquery_table": "demo.clinic.t"}, "bigquery://demo/clinic/t"),
    ],
)
def test_an_alias_gets_what_was_written(seeded_dicom_store, runner, events, arguments, uri):
    seeded_dicom_store.emulator.bigquery.catalog.create_dataset("demo", "clinic")
    task = DicomExportOperator(
        task_id="t", **seeded_dicom_store.arguments, **arguments, outlets=[ALIAS], poll_interval=0.02, deferrable=False
    )
    runner.run(task)
    assert added(events) == [(uri, 3)]


def test_an_import_into_a_store_that_a_template_names(seeded_dicom_store, runner, events):
    seeded_dicom_store.emulator.storage.objects.put_bytes("clinic", "bad/note.txt", b"text")
    store = dict(seeded_dicom_store.arguments)
    task = DicomImportOperator(
        task_id="t", **store, gcs_uri="gs://clinic/bad/*", max_failures=1, outlets=[ALIAS], poll_interval=0.02, deferrable=False
    )
    runner.run(task)
    assert added(events) == [(dicom_store_asset(**store).uri, 0)]


def test_a_filter_s_event_carries_its_numbers(seeded_dicom_store, runner, events):
    paths = ["/studies/1.2/series/3/instances/4"]
    runner.run(FilterFileFromPathsOperator(task_id="f", filter_uri="gs://clinic/f.txt", paths=paths, outlets=[ALIAS]))
    assert added(events) == [("gs://clinic/f.txt", 1)]


def test_who_only_submits_tells_nothing(seeded_dicom_store, runner, events):
    asset = Asset("gs://clinic/out")
    task = DicomExportOperator(
        task_id="t", **seeded_dicom_store.arguments, gcs_uri_prefix="gs://clinic/out", outlets=[asset], wait_for_completion=False
    )
    runner.run(task)
    assert events[asset].extra == {}
