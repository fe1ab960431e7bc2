"""
### Old studies to a colder class

Move studies that are older than some days to a storage class that costs less to keep and more to read. A study that is in that class
already stays in it, so that the run can be repeated. Give it a schedule, such as `@weekly`, once it does what you want.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_dicom.operators import DicomExportOperator, DicomSetBlobStorageSettingsOperator, FilterFileFromBigQueryOperator
from airflow_dicom.typing import DicomStoreArguments

STORE: DicomStoreArguments = {
    "project_id": "{{ params.project_id }}",
    "location": "{{ params.location }}",
    "dataset_id": "{{ params.dataset_id }}",
    "dicom_store_id": "{{ params.dicom_store_id }}",
}

with DAG(
    dag_id="dicom_archive_lifecycle",
    description="Move old studies to a colder storage class",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,  # they write the same table
    tags=["dicom", "example"],
    params={
        "days": Param(
            365,
            type="integer",
            minimum=1,
            title="Days",
            description="Studies older than this are moved, by their StudyDate. One without a date is left alone.",
        ),
        "blob_storage_class": Param(
            "COLDLINE",
            type="string",
            enum=["NEARLINE", "COLDLINE", "ARCHIVE"],
            title="Storage class",
            description="The colder, the cheaper to keep and the dearer to read.",
        ),
        "bigquery_table": Param(
            "demo.dicom.lifecycle",
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
    # [START howto_archive_lifecycle]
    export_metadata = DicomExportOperator(
        task_id="export_metadata",
        doc_md="Writes a row of metadata for each instance to the table.",
        **STORE,
        bigquery_table="{{ params.bigquery_table }}",
        write_disposition="WRITE_TRUNCATE",
        on_empty="skip",
        deferrable=True,
    )
    select = FilterFileFromBigQueryOperator(
        task_id="select",
        doc_md="Writes a line for each study that is old enough. Skips the rest if there is none.",
        project_id="{{ params.project_id }}",
        table="{{ params.bigquery_table }}",
        level="study",
        where="StudyDate < DATE_SUB(CURRENT_DATE(), INTERVAL {{ params.days | int }} DAY)",
        filter_uri="{{ params.filters }}/{{ run_id }}.txt",
        on_empty="skip",
        deferrable=True,
    )
    archive = DicomSetBlobStorageSettingsOperator(
        task_id="archive",
        doc_md="Moves the studies of the filter to the colder class.",
        **STORE,
        blob_storage_class="{{ params.blob_storage_class }}",
        filter_uri=select.output,
        deferrable=True,
    )

    export_metadata >> select
    # [END howto_archive_lifecycle]
