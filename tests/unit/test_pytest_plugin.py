"""The fixtures that pytest has where the package is installed, used as a user's tests use them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest
from airflow import settings
from airflow.providers.common.compat.sdk import DAG, AirflowSensorTimeout, BaseOperator
from gcp_dicom_emulator.pytest_plugin import DicomStore
from gcp_dicom_emulator.rest.faults import Fault
from jinja2 import UndefinedError
from pydicom.data import get_testdata_file

from airflow_dicom.exceptions import DicomPartialFailure
from airflow_dicom.operators import DicomExportOperator, DicomImportOperator, FilterFileFromBigQueryOperator
from airflow_dicom.sensors import DicomOperationSensor, DicomStoreMetricsSensor

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "testing.md"
FILES = [get_testdata_file("CT_small.dcm"), get_testdata_file("MR_small.dcm")]

deferrable_or_not = pytest.mark.parametrize("deferrable", [False, True], ids=["synchronous", "deferrable"])


class Flaky(BaseOperator):
    """Fails on its first try."""

    def execute(self, context):
        if context["ti"].try_number == 1:
            raise ValueError("not yet")
        return "at last"


class Failing(BaseOperator):
    def execute(self, context):
        raise ValueError("never")


class Echo(BaseOperator):
    """Returns its argument."""

    template_fields = ("said",)

    def __init__(self, *, said, **kwargs) -> None:
        super().__init__(**kwargs)
        self.said = said

    def execute(self, context):
        return self.said


@pytest.mark.slow
@deferrable_or_not
def test_run_dag_runs_all_operators_without_their_pauses(dicom_store: DicomStore, run_dag, deferrable: bool):
    # Without the fixtures each task waits for minutes, and the test runs into its timeout.
    waiting = {"deferrable": deferrable, "poll_interval": 1000}
    store = {**dicom_store.arguments, **waiting}
    with DAG("chain", schedule=None, params={"folder": "incoming"}) as dag:
        submitted = DicomImportOperator(
            task_id="import_files",
            **store,
            gcs_uri="gs://clinic/{{ params.folder }}/**",
            wait_for_completion=False,
        )
        waited = DicomOperationSensor(
            task_id="wait",
            operation="{{ ti.xcom_pull('import_files')['operation'] }}",
            deferrable=deferrable,
            poke_interval=1000,
        )
        table = DicomExportOperator(task_id="export_metadata", **store, bigquery_table="demo.dicom.metadata")
        chosen = FilterFileFromBigQueryOperator(
            task_id="choose",
            table="demo.dicom.metadata",
            where="Modality = 'CT'",
            filter_uri="gs://clinic/filter.txt",
            **waiting,
        )
        exported = DicomExportOperator(task_id="export", **store, gcs_uri_prefix="gs://clinic/out", filter_uri=chosen.output)
        submitted >> waited >> table >> chosen >> exported
    dicom_store.upload(*FILES, prefix="arrived/")

    run = run_dag(dag, conf={"folder": "arrived"})

    assert run.state == "success", run
    assert set(run.states.values()) == {"success"}
    assert run.results["wait"]["success"] == 2
    assert run.results["choose"] == "gs://clinic/filter.txt"
    assert run.results["export"]["success"] == 1
    assert len(dicom_store.objects("out/")) == 1


@pytest.mark.slow
def test_run_dag_tells_what_failed(run_dag):
    with DAG("broken", schedule=None) as dag:
        Failing(task_id="fails") >> Echo(task_id="after", said="never said")
        Echo(task_id="beside", said="said")

    run = run_dag(dag)

    assert run.state == "failed"
    assert run.states == {"fails": "failed", "after": "upstream_failed", "beside": "success"}
    assert run.results == {"fails": None, "after": None, "beside": "said"}


@pytest.mark.slow
def test_run_dag_does_not_wait_for_a_retry(run_dag):
    with DAG("flaky", schedule=None, default_args={"retries": 1, "retry_delay": timedelta(hours=1)}) as dag:
        Flaky(task_id="flaky")

    run = run_dag(dag)

    assert run.results == {"flaky": "at last"}


@pytest.mark.slow
@pytest.mark.parametrize("said", [["a", "b"], ["c"]])
def test_run_dag_takes_another_dag_of_the_same_id_and_mapped_tasks(run_dag, said: list[str]):
    with DAG("same", schedule=None) as dag:
        Echo.partial(task_id="echo").expand(said=said)

    run = run_dag(dag)

    assert run.results == {f"echo[{index}]": word for index, word in enumerate(said)}


@pytest.mark.slow
def test_airflow_has_a_home_of_its_own(airflow_home: Path):
    assert os.environ["AIRFLOW_HOME"] == str(airflow_home)
    assert settings.engine.url.database == str(airflow_home / "airflow.db")


@deferrable_or_not
def test_run_task(dicom_store: DicomStore, run_task, deferrable: bool):
    dicom_store.upload(*FILES, prefix="2026-01-31/")
    dicom_store.upload(__file__, prefix="2026-02-01/")
    importing = DicomImportOperator(
        task_id="import_files",
        **dicom_store.arguments,
        gcs_uri="gs://clinic/{{ ds }}/**",
        deferrable=deferrable,
        poll_interval=1000,
    )

    assert run_task(importing, ds="2026-01-31")["success"] == 2
    with pytest.raises(DicomPartialFailure):
        run_task(importing, ds="2026-02-01")

    assert len(dicom_store.instances()) == 2
    assert importing.gcs_uri == "gs://clinic/{{ ds }}/**"
    assert run_task.xcoms["import_files"]["return_value"]["success"] == 2
    assert "dicom_operation_link" in run_task.xcoms["import_files"]


async def test_run_task_runs_in_a_test_with_a_loop(dicom_store: DicomStore, run_task):
    dicom_store.upload(*FILES)
    importing = DicomImportOperator(task_id="i", **dicom_store.arguments, gcs_uri="gs://clinic/**", deferrable=True)
    assert run_task(importing)["success"] == 2


@pytest.mark.skipif(find_spec("airflow.sdk") is None, reason="Airflow 2 looks into its database")
def test_run_task_runs_a_sensor_that_is_rescheduled(dicom_store: DicomStore, run_task):
    def sensor(**arguments: int) -> DicomStoreMetricsSensor:
        return DicomStoreMetricsSensor(task_id="wait", **dicom_store.arguments, mode="reschedule", deferrable=False, **arguments)

    dicom_store.seed(Path(FILES[0]))
    assert run_task(sensor(min_instances=1))["instances"] == 1
    with pytest.raises(AirflowSensorTimeout):
        run_task(sensor(min_instances=2, timeout=1, poke_interval=1))


@pytest.mark.skipif(find_spec("airflow.sdk") is None, reason="Airflow 2 asks nobody")
def test_run_dag_refuses_to_wait_for_a_person(run_dag):
    from airflow_dicom.operators.filter_approval import FilterApprovalOperator

    with DAG("asks", schedule=None) as dag:
        FilterApprovalOperator(task_id="approve", filter_uri="gs://clinic/filter.txt", subject="Go on?")
    with pytest.raises(ValueError, match="approve: Airflow would wait for ever"):
        run_dag(dag)


def test_run_task_gives_later_tasks_what_earlier_ones_returned(run_task):
    with DAG("words", schedule=None):
        first = Echo(task_id="first", said="{{ word }}")
        second = Echo(task_id="second", said="{{ ti.xcom_pull('first') }} again")
        third = Echo(task_id="third", said=second.output)
    assert [run_task(first, word="said"), run_task(second), run_task(third)] == ["said", "said again", "said again"]


def test_run_task_refuses_a_template_of_what_is_not_there(run_task):
    with pytest.raises(UndefinedError):
        run_task(Echo(task_id="alone", said="{{ word }}"))


def test_a_service_that_is_away_for_some_polls(dicom_store: DicomStore, run_task):
    dicom_store.upload(*FILES)
    polls = dicom_store.emulator.faults.add(Fault("status", "*.operations.get", code=503, times=4))
    importing = DicomImportOperator(task_id="i", **dicom_store.arguments, gcs_uri="gs://clinic/**", deferrable=True)

    assert run_task(importing)["success"] == 2

    assert polls.fired == 4


@pytest.mark.slow
def test_run_task_needs_no_database(tmp_path: Path):
    """In a process of its own, whose Airflow has none."""
    (tmp_path / "test_it.py").write_text(
        "from airflow_dicom.operators import DicomImportOperator\n\n"
        "def test_it(seeded_dicom_store, run_task):\n"
        "    task = DicomImportOperator(task_id='i', **seeded_dicom_store.arguments, gcs_uri='gs://clinic/**', on_empty='succeed')\n"
        "    assert run_task(task)['success'] == 0\n"
    )
    home = tmp_path / "airflow"
    ended = run_pytest(tmp_path, AIRFLOW_HOME=str(home))
    assert "1 passed" in ended
    assert not (home / "airflow.db").exists()


def test_the_guide_s_test_has_no_more_than_fifteen_lines():
    """That it passes is tested with the other blocks of that page."""
    [block] = re.findall(
        r"<!-- test: file tests/test_ct_import.py -->\n```python\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert len(block.splitlines()) <= 15


def run_pytest(directory: Path, **environment: str) -> str:
    """Run a folder's tests as a user does, who has no settings for pytest."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(directory), "-c", os.devnull, str(directory)]
    ended = subprocess.run(command, cwd=directory, env=inherited | environment, capture_output=True, text=True, timeout=300)
    return ended.stdout + ended.stderr
