"""
### Import what arrives in a bucket

Runs when objects have arrived, as a subscription of Pub/Sub tells, and every minute, for what came while a run went on. What has
arrived in a folder is imported by one operation. What fails is left to the next run, but for files that cannot be imported: they make
the run fail, are listed in an object, and are not tried again. Needs Airflow 3.3; on an older one there is no such DAG.

The subscription must be there, of a topic to which the bucket's notifications go; the guide on events has the commands.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, AirflowFailException, task

from airflow_dicom.arrivals import advance_arrivals, arrived_uris, collect_arrivals
from airflow_dicom.assets import arrivals_asset
from airflow_dicom.operators import DicomImportOperator
from airflow_dicom.typing import DicomStoreArguments

STORE: DicomStoreArguments = {
    "project_id": "demo",
    "location": "us-central1",
    "dataset_id": "radiology",
    "dicom_store_id": "images",
}

try:
    arrivals: Any = arrivals_asset(subscription="projects/demo/subscriptions/dicom-objects")
except ImportError:  # Airflow before 3.3
    arrivals = None

if arrivals is not None:
    from airflow.timetables.assets import AssetOrTimeSchedule
    from airflow.timetables.trigger import CronTriggerTimetable

    # [START howto_objects_arrive]
    with DAG(
        dag_id="dicom_objects_arrive",
        description="Import what arrives in a bucket, when it arrives",
        doc_md=__doc__,
        schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("* * * * *", timezone="UTC"), assets=[arrivals]),
        catchup=False,
        max_active_runs=1,
        default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
        tags=["dicom", "example"],
    ) as dag:

        @task(inlets=[arrivals])
        def collect(**context: Any) -> dict[str, Any]:
            """Return what has arrived since the last run that succeeded. Skipped, with all that follows, if nothing has."""
            return collect_arrivals(arrivals, context)

        @task
        def uris(collected: Any) -> list[str]:
            """Return what an import takes."""
            return arrived_uris(collected["messages"])

        @task(inlets=[arrivals], trigger_rule="none_failed_min_one_success")
        def advance(collected: Any, **context: Any) -> None:
            """Say that it is done."""
            advance_arrivals(arrivals, context, collected)

        @task
        def report(imported: Any) -> None:
            """Fail if there were files that cannot be imported. All others are stored."""
            if failures := sum(result["failure"] for result in imported):
                raise AirflowFailException(f"{failures} files cannot be imported; gs://demo-dicom/failed/ has a list.")

        collected: Any = collect()
        imports = DicomImportOperator.partial(
            task_id="import_arrived",
            doc_md="One operation for each folder; what the store has already is ignored.",
            **STORE,
            on_empty="succeed",
            max_failures=None,
            failed_uris="gs://demo-dicom/failed/{{ run_id }}-{{ ti.map_index }}.jsonl",
            poll_interval=5,
            deferrable=True,
        ).expand(gcs_uri=uris(collected))
        imports >> advance(collected) >> report(imports.output)
    # [END howto_objects_arrive]
