"""
### Export, verify, delete

Delete studies that are older than some days from a DICOM store, after they were exported to a bucket. The export compares the objects
that have arrived with the filter: nothing is deleted unless something of each study is there.

What is deleted from the store cannot be brought back, but for an import of what the bucket has.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_dicom.operators import DicomDeleteOperator
from airflow_dicom.task_groups import dicom_filtered_export
from airflow_dicom.typing import DicomStoreArguments

STORE: DicomStoreArguments = {
    "project_id": "{{ params.project_id }}",
    "location": "{{ params.location }}",
    "dataset_id": "{{ params.dataset_id }}",
    "dicom_store_id": "{{ params.dicom_store_id }}",
}

#: What one run is about.
FILTER = "{{ params.filters }}/{{ run_id }}.txt"

with DAG(
    dag_id="dicom_retention",
    description="Delete old studies once they are exported",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,  # they write the same table
    tags=["dicom", "example"],
    params={
        "days": Param(
            3650,
            type="integer",
            minimum=1,
            title="Days",
            description="Studies older than this are deleted, by their StudyDate. One without a date is left alone.",
        ),
        "gcs_uri_prefix": Param(
            "gs://demo-dicom/retained",
            type="string",
            minLength=1,
            title="Export to",
            description="The folder that keeps what is deleted.",
        ),
        "bigquery_table": Param(
            "demo.dicom.retention",
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
    # [START howto_retention]
    kept = dicom_filtered_export(
        group_id="keep",
        store=STORE,
        bigquery_table="{{ params.bigquery_table }}",
        select={
            "level": "study",
            "where": "StudyDate < DATE_SUB(CURRENT_DATE(), INTERVAL {{ params.days | int }} DAY)",
            "on_empty": "skip",
        },
        filter_uri=FILTER,
        gcs_uri_prefix="{{ params.gcs_uri_prefix }}/{{ run_id }}",
        export={"verify": "objects"},
        deferrable=True,
    )
    delete = DicomDeleteOperator(
        task_id="delete",
        doc_md="Deletes the studies of the filter. A retry finishes what a try has begun.",
        **STORE,
        filter_uri=FILTER,
        deferrable=True,
        retries=3,
    )

    # Right after the filter, too, so that it is this run's.
    [kept, kept.get_child_by_label("select")] >> delete
    # [END howto_retention]
