"""
### A cohort for research

Select studies by a condition, let a person approve the selection, and copy what was approved, without what identifies patients, into a
DICOM store of its own; export that to a bucket, with a manifest. Nothing is copied before the approval, and nothing if the store has
other instances by then than the person was told. Needs Airflow 3.1; on an older one there is no such DAG.

Who may answer: whoever may edit the DAG's required actions, or only `assigned_users` of the task *approve*.
"""

from __future__ import annotations

import json
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_dicom.task_groups import dicom_research_copy
from airflow_dicom.typing import DicomStoreArguments

try:
    from airflow_dicom.operators.filter_approval import FilterApprovalOperator
except ImportError:  # Airflow before 3.1
    FilterApprovalOperator = None  # type: ignore[assignment,misc]

STORE: DicomStoreArguments = {
    "project_id": "{{ params.project_id }}",
    "location": "{{ params.location }}",
    "dataset_id": "{{ params.dataset_id }}",
    "dicom_store_id": "{{ params.dicom_store_id }}",
}
#: Each run has a store, a filter and a folder of its own.
COHORT = "cohort-{{ run_id | replace(':', '-') | replace('+', '-') }}"
RESEARCH: DicomStoreArguments = {**STORE, "dicom_store_id": COHORT}
FILTER = f"{{{{ params.filters }}}}/{COHORT}.txt"
FOLDER = f"{{{{ params.gcs_uri_prefix }}}}/{COHORT}"

if FilterApprovalOperator is not None:
    with DAG(
        dag_id="dicom_research_cohort",
        description="Select studies, let a person approve, de-identify, export with a manifest",
        doc_md=__doc__,
        schedule=None,
        catchup=False,
        max_active_runs=1,  # they write the same table
        tags=["dicom", "example"],
        params={
            "where": Param(
                "Modality = 'CT'",
                type="string",
                format="multiline",
                minLength=1,
                title="Condition",
                description="In GoogleSQL, over the columns of the table below. A study is selected whole if one of its instances is.",
            ),
            "profile": Param(
                "ATTRIBUTE_CONFIDENTIALITY_BASIC_PROFILE",
                type="string",
                enum=["ATTRIBUTE_CONFIDENTIALITY_BASIC_PROFILE", "MINIMAL_KEEP_LIST_PROFILE"],
                title="Profile",
                description="What is kept of the headers. Text that is burnt into pixels stays.",
            ),
            "gcs_uri_prefix": Param(
                "gs://demo-dicom/research",
                type="string",
                minLength=1,
                title="Export to",
                description="Each run makes a folder of its own there.",
            ),
            "bigquery_table": Param(
                "demo.dicom.cohort",
                type="string",
                minLength=1,
                title="Table",
                description="project.dataset.table for the metadata; it is overwritten.",
                section="More",
            ),
            "filters": Param(
                "gs://demo-dicom/filters",
                type="string",
                minLength=1,
                title="Folder for filters",
                description="Each run leaves a file there that says which studies it was about.",
                section="More",
            ),
            "project_id": Param("demo", type="string", title="Project", section="DICOM store", minLength=1),
            "location": Param("us-central1", type="string", title="Location", section="DICOM store", minLength=1),
            "dataset_id": Param("radiology", type="string", title="Healthcare dataset", section="DICOM store", minLength=1),
            "dicom_store_id": Param("images", type="string", title="DICOM store", section="DICOM store", minLength=1),
        },
    ) as dag:
        # [START howto_research_cohort]
        copy = dicom_research_copy(
            store=STORE,
            bigquery_table="{{ params.bigquery_table }}",
            select={"level": "study", "where": "{{ params.where }}"},
            filter_uri=FILTER,
            approve={
                "subject": "De-identify {{ ti.xcom_pull('research_copy.select', key='expected_instances') }} instances?",
                "body": "From `{{ params.dicom_store_id }}` to `{{ params.gcs_uri_prefix }}`, by `{{ params.profile }}`, where\n\n"
                "{{ params.where | indent(4, true, true) }}",
            },
            research_store=RESEARCH,
            config="{{ params.profile }}",
            gcs_uri_prefix=FOLDER,
            deferrable=True,
        )

        @task
        def manifest(folder: str, **context: Any) -> str:
            """Write beside the instances what was delivered, who approved it, and by which condition."""
            from airflow.providers.google.cloud.hooks.gcs import GCSHook

            bucket_name, _, prefix = folder.removeprefix("gs://").partition("/")
            bucket: Any = GCSHook().get_conn().bucket(bucket_name)
            answer: Any = context["ti"].xcom_pull(task_ids="research_copy.approve")
            written: dict[str, Any] = {
                "where": context["params"]["where"],
                "profile": context["params"]["profile"],
                "approved_by": answer["responded_by_user"],
                "approved_at": str(answer["responded_at"]),
                "approved": context["ti"].xcom_pull(task_ids="research_copy.approve", key="filter_file"),
                "instances": [
                    {"name": blob.name, "bytes": blob.size, "crc32c": blob.crc32c}
                    for blob in bucket.list_blobs(prefix=f"{prefix}/", match_glob="**.dcm")
                ],
            }
            name = f"{prefix}/manifest.json"
            bucket.blob(name).upload_from_string(json.dumps(written, indent=1), content_type="application/json")
            return f"gs://{bucket_name}/{name}"

        copy >> manifest(FOLDER)
        # [END howto_research_cohort]
