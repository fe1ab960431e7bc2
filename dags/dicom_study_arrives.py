"""
### Export studies that have arrived

Runs when instances were stored in a DICOM store, as a subscription of Pub/Sub tells, and every minute. A study to which nothing was
added for two minutes, or as many as the Airflow variable `dicom_quiet_minutes` says, is exported, just that study; one that still
grows waits for a later run. Needs Airflow 3.3; on an older one there is no such DAG.

The subscription must be there, of a topic that the store's `notificationConfigs` name; the guide on events has the commands.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_dicom.arrivals import advance_arrivals, collect_quiet_studies
from airflow_dicom.assets import arrivals_asset
from airflow_dicom.operators import DicomExportOperator, FilterFileFromPathsOperator
from airflow_dicom.typing import DicomStoreArguments

STORE: DicomStoreArguments = {
    "project_id": "demo",
    "location": "us-central1",
    "dataset_id": "radiology",
    "dicom_store_id": "images",
}

try:
    arrivals: Any = arrivals_asset(subscription="projects/demo/subscriptions/dicom-instances")
except ImportError:  # Airflow before 3.3
    arrivals = None

if arrivals is not None:
    from airflow.sdk import Variable
    from airflow.timetables.assets import AssetOrTimeSchedule
    from airflow.timetables.trigger import CronTriggerTimetable

    # [START howto_study_arrives]
    with DAG(
        dag_id="dicom_study_arrives",
        description="Export each study that has arrived, once it is quiet",
        doc_md=__doc__,
        schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("* * * * *", timezone="UTC"), assets=[arrivals]),
        catchup=False,
        max_active_runs=1,
        default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
        tags=["dicom", "example"],
    ) as dag:

        @task(inlets=[arrivals])
        def collect(**context: Any) -> dict[str, Any]:
            """Return the studies that are quiet; keep in mind those that are not. Skipped, with all that follows, if all is quiet."""
            return collect_quiet_studies(arrivals, context, minutes=float(Variable.get("dicom_quiet_minutes", default=2)))

        @task(inlets=[arrivals], trigger_rule="none_failed_min_one_success")
        def advance(collected: Any, **context: Any) -> None:
            """Say that it is done, also where no study is quiet yet."""
            advance_arrivals(arrivals, context, collected)

        collected: Any = collect()
        write_filter = FilterFileFromPathsOperator(
            task_id="write_filter",
            doc_md="Names the quiet studies. Skipped, with the export, if there are none.",
            filter_uri="gs://demo-dicom/filters/{{ run_id }}.txt",
            paths=collected["studies"],
            on_empty="skip",
        )
        export = DicomExportOperator(
            task_id="export",
            doc_md="Exports them, each file below its study.",
            **STORE,
            gcs_uri_prefix="gs://demo-dicom/arrived/{{ run_id }}",
            filter_uri=write_filter.output,
            poll_interval=5,
            deferrable=True,
        )
        export >> advance(collected)
    # [END howto_study_arrives]
