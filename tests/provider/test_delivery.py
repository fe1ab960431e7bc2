"""An export that proves what it delivered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pydicom.data
import pytest

from airflow_dicom.exceptions import DicomArgumentError, DicomUnexpectedCount
from airflow_dicom.filter_paths import FilterPath
from airflow_dicom.hooks.healthcare import HealthcareHook
from airflow_dicom.operators import DicomExportOperator, FilterFileFromPathsOperator

from .conftest import STORE, Runner
from .test_operators import export_task, import_task, names

DATASET = "projects/demo/locations/us-central1/datasets/radiology"
KEPT = ("CT_small.dcm", "MR_small.dcm")
VANISHED = ("rtplan.dcm", "rtdose.dcm", "reportsi.dcm")


@pytest.fixture(scope="module")
def instances(seeded) -> dict[str, str]:
    """The paths of five instances that lie in a bucket."""
    paths = {}
    for name in (*KEPT, *VANISHED):
        file = Path(pydicom.data.get_testdata_file(name))
        dataset = pydicom.dcmread(file, stop_before_pixels=True)
        paths[name] = str(FilterPath(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID))
        seeded.storage.objects.put_bytes("source", f"five/{name}", file.read_bytes())
    return paths


@pytest.fixture
def vanishing(instances) -> dict[str, str]:
    """A store of the five instances, three of which are gone by now."""
    hook = HealthcareHook()
    hook.create_dicom_store(DATASET, "vanishing")
    for name in KEPT:
        Runner().run(import_task(**STORE | {"dicom_store_id": "vanishing"}, gcs_uri=f"gs://source/five/{name}"))
    yield STORE | {"dicom_store_id": "vanishing"}
    hook.call("dicomStores.delete", name=f"{DATASET}/dicomStores/vanishing")


def test_what_is_missing_fails_the_task_and_is_a_filter(seeded, runner, deferrable, instances, vanishing):
    objects = seeded.storage.objects
    prefix = f"delivery-{deferrable}"
    objects.put_bytes("target", f"{prefix}/filter.txt", "".join(f"{path}\n" for path in instances.values()).encode())
    arguments = vanishing | {"gcs_uri_prefix": f"gs://target/{prefix}/out", "verify": "objects", "deferrable": deferrable}
    with pytest.raises(DicomUnexpectedCount, match="3 lines of the filter matched no exported object") as caught:
        runner.run(export_task(filter_uri=f"gs://target/{prefix}/filter.txt", **arguments))
    missing_uri = runner.ti.xcoms["missing_filter_uri"]
    assert missing_uri in str(caught.value)
    text = objects.get("target", missing_uri.removeprefix("gs://target/")).path.read_text()
    assert text.splitlines() == sorted(instances[name] for name in VANISHED)
    assert all(instances[name] in str(caught.value) for name in VANISHED)

    # They come back; the follow-up exports them and nothing else.
    before = {name: objects.get("target", name).generation for name in names(seeded, "target", f"{prefix}/out/")}
    assert len(before) == len(KEPT)
    for name in VANISHED:
        Runner().run(import_task(**vanishing, gcs_uri=f"gs://source/five/{name}"))
    result = Runner().run(export_task(filter_uri=missing_uri, **arguments))
    assert result["success"] == len(VANISHED)
    after = {name: objects.get("target", name).generation for name in names(seeded, "target", f"{prefix}/out/")}
    assert len(after) == len(instances)
    assert before.items() <= after.items(), "nothing is exported twice"


def test_objects_of_an_earlier_export_do_not_count(seeded, runner, instances, vanishing):
    for path in instances.values():
        _, _, study, _, series, _, instance = path.split("/")
        seeded.storage.objects.put_bytes("target", f"earlier/{study}/{series}/{instance}.dcm", b"old")
    seeded.storage.objects.put_bytes("target", "earlier.txt", "".join(f"{path}\n" for path in instances.values()).encode())
    with pytest.raises(DicomUnexpectedCount, match="3 lines of the filter"):
        runner.run(
            export_task(**vanishing, filter_uri="gs://target/earlier.txt", gcs_uri_prefix="gs://target/earlier", verify="objects")
        )


def test_a_filter_that_another_run_has_replaced_meanwhile_is_not_compared(
    seeded, runner, deferrable, instances, vanishing, monkeypatch
):
    """What was exported is what the filter said then."""
    paths = [instances[name] for name in KEPT]
    uri = f"gs://target/replaced-{deferrable}.txt"
    filter_task = FilterFileFromPathsOperator(task_id="a_filter", paths=paths, filter_uri=uri)
    runner.run(filter_task)
    runner.ti.upstream["a_filter"] = {"filter_file": runner.ti.xcoms["filter_file"]}
    check = DicomExportOperator.check_delivery

    def check_late(*arguments: Any) -> None:
        Runner().run(FilterFileFromPathsOperator(task_id="a_filter", paths=paths[:1], filter_uri=uri))
        check(*arguments)

    monkeypatch.setattr(DicomExportOperator, "check_delivery", check_late)
    target = {"filter_uri": uri, "gcs_uri_prefix": f"gs://target/replaced-{deferrable}", "verify": "objects"}
    task = export_task(**vanishing, **target, deferrable=deferrable)
    task.upstream_task_ids.add("a_filter")
    with pytest.raises(DicomArgumentError, match=r"generation \d+ is not there any more"):
        runner.run(task)


def test_everything_is_there(seeded, runner, vanishing):
    result = runner.run(export_task(**vanishing, gcs_uri_prefix="gs://target/everything/", verify="objects"))
    assert result["success"] == len(KEPT)


@pytest.mark.parametrize(
    "change", [{"verify": "hope"}, {"mime_type": "image/png"}, {"gcs_uri_prefix": None, "bigquery_table": "a.b.c"}]
)
def test_verify_must_make_sense(runner, change):
    with pytest.raises(DicomArgumentError, match="verify"):
        runner.run(export_task(**{"gcs_uri_prefix": "gs://target/x", "verify": "objects"} | change))
