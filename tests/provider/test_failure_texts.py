"""The messages of ``docs/guides/failures.md``, each made to happen."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from gcp_dicom_emulator.rest.faults import Fault
from google.api_core.exceptions import GoogleAPICallError

from airflow_dicom import exceptions, polling
from airflow_dicom.operators import FilterFileFromPathsOperator
from airflow_dicom.sensors import DicomOperationSensor

from .conftest import STORE_NAME, Runner
from .test_never_twice import faults
from .test_operators import export_task, filled, filter_task, import_task

# texts
pytestmark = [pytest.mark.only_on_newest_airflow, pytest.mark.slow]

__all__ = ["faults", "filled"]  # fixtures

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "failures.md"
NOT_KNOWN = STORE_NAME.partition("/dicomStores/")[0] + "/operations/1"


def messages() -> Iterator[tuple[str, str]]:
    """Yield each message that the page shows, with the heading it stands below."""
    heading = ""
    for match in re.finditer(r"^## ([^\n]+)$|^```text\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        if match[1]:
            heading = match[1]
        else:
            yield heading, match[2].rstrip("\n")


def pattern(message: str) -> str:
    """Return what matches a message: ellipses, addresses, numbers and the services' own words may differ."""
    message = re.sub(r"(answered \d+: |POST \S+: )[^\n]+", r"\1…", message)
    message = re.sub(r"https?://\S+|gs://[\w*…./-]*[\w*…]|(?<==)\d+:\d\d:\d\d|[\w-]+:[\w-]+\.airflow_dicom_", "…", message)
    message = re.sub(r"\bdemo\.dicom\.metadata\b|projects/[\w…/-]+", "…", message)
    text = re.escape(message).replace("…", ".*?")
    return re.sub(r"\d+", r"\\d+", re.sub(r"(?<=code )\d", r".*?", text)) + r"\Z"


def append(**changes):
    return export_task(
        bigquery_table="demo.dicom.metadata", write_disposition="WRITE_APPEND", retries=2, deferrable=False, **changes
    )


def refuse_to_repeat(fault: Callable[[Fault], None]) -> None:
    runner = Runner()
    fault(Fault("lose_answer", "*.dicomStores.export"))
    with pytest.raises(exceptions.HealthcareApiTransientError):
        runner.run(append())
    runner.run(append())


def run(task, *faults: Fault) -> Callable[[Callable[[Fault], None]], None]:
    def run(fault: Callable[[Fault], None]) -> None:
        for one in faults:
            fault(one)
        Runner().run(task())

    return run


#: What makes each message happen, by the page's headings, in their order.
CAUSES: dict[str, list[Callable[[Callable[[Fault], None]], None]]] = {
    "DicomArgumentError": [run(lambda: import_task(gcs_uri="gs://bucket/folder/"))],
    "HealthcareApiError": [run(import_task, Fault("status", "*.dicomStores.import", code=403))],
    "HealthcareApiTransientError": [run(import_task, Fault("status", "*.dicomStores.import", code=503, times=None))],
    "BigQueryApiError": [
        run(
            lambda: filter_task(table="demo.dicom.metadata", deferrable=False),
            Fault("slow", "bigquery.jobs.insert", seconds=5),
            Fault("status", "bigquery.jobs.get", code=403, times=None),
        )
    ],
    "DicomOperationError": [
        run(
            lambda: export_task(bigquery_table="demo.dicom.metadata", write_disposition="WRITE_TRUNCATE"),
            Fault("end_in_error", "*.dicomStores.export", code=7),
        )
    ],
    "DicomRepeatRefused": [refuse_to_repeat],
    "DicomOperationCancelled": [run(import_task, Fault("end_in_error", "*.dicomStores.import", code=1))],
    "DicomOperationTimeout": [
        run(
            lambda: import_task(execution_timeout=timedelta(seconds=0.5), deferrable=True),
            Fault("slow", "*.dicomStores.import", seconds=60),
        )
    ],
    "DicomOperationNotFound": [
        run(lambda: DicomOperationSensor(task_id="s", operation=NOT_KNOWN, poke_interval=0.02, timeout=30, deferrable=True))
    ],
    "DicomPartialFailure": [run(lambda: import_task(gcs_uri="gs://source/**"))],
    "DicomEmptyResult": [run(lambda: import_task(gcs_uri="gs://source/none/**"))],
    "DicomUnexpectedCount": [
        run(
            lambda: export_task(
                filter_uri="gs://target/some.txt", gcs_uri_prefix="gs://target/ct", expected_instances=100, on_empty="succeed"
            )
        )
    ],
    "FilterFileError": [
        run(lambda: filter_task(sql="SELECT 'CT'", deferrable=False)),
        run(lambda: filter_task(table="demo.dicom.metadata", where="SliceThickness < 2", deferrable=False)),
    ],
    "An exception of Google's clients": [
        run(
            lambda: FilterFileFromPathsOperator(task_id="t", filter_uri="gs://target/paths.txt", paths=["/studies/1"]),
            Fault("status", "storage.objects.insert", code=403, times=None),
        )
    ],
}

#: What takes Airflow's own processes, which ``tests/integration/test_faults.py`` kills, or a person, as in ``test_approval.py``.
OF_AIRFLOW = {"The task fails without an exception", "DicomNotApproved"}


def test_each_message_of_the_page_has_a_cause():
    shown = [heading for heading, _ in messages() if heading not in OF_AIRFLOW]
    assert shown == [heading for heading, causes in CAUSES.items() for _ in causes]


SHOWN = [
    (heading, message, cause)
    for heading, causes in CAUSES.items()
    for message, cause in zip((text for found, text in messages() if found == heading), causes, strict=True)
]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(("heading", "message", "cause"), SHOWN, ids=[heading for heading, _, _ in SHOWN])
def test_the_message_is_what_the_page_shows(emulator, faults, monkeypatch, heading, message, cause):
    monkeypatch.setattr(polling, "backoff", lambda *_: 0.01)
    emulator.storage.objects.put_bytes("target", "some.txt", b"/studies/1\n")
    with pytest.raises((exceptions.DicomError, GoogleAPICallError)) as caught:
        cause(faults.add)
    text = str(caught.value)
    if heading.startswith("Dicom") or heading.endswith("Error"):
        assert type(caught.value).__name__ == heading
    else:
        text = f"{type(caught.value).__module__}.{type(caught.value).__name__}: {text}"
    assert re.match(pattern(message), text, re.DOTALL), f"{message}\n--- is not\n{text}"
