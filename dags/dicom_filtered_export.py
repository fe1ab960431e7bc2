"""
### Filtered export

Import DICOM files from Cloud Storage into a DICOM store, export the metadata of all its instances to BigQuery, select some of them
there by a query, and export only those to Cloud Storage.

Press *Trigger*: the form asks for the project, the store, the buckets and the query.
"""

from __future__ import annotations

# [START howto_filtered_export]
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_dicom.operators import DicomExportOperator, DicomImportOperator, FilterFileFromBigQueryOperator
from airflow_dicom.typing import DicomStoreArguments

STORE: DicomStoreArguments = {
    "project_id": "{{ params.project_id }}",
    "location": "{{ params.location }}",
    "dataset_id": "{{ params.dataset_id }}",
    "dicom_store_id": "{{ params.dicom_store_id }}",
}

with DAG(
    dag_id="dicom_filtered_export",
    description="Import, export metadata to BigQuery, select by a query, export what it selects",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,  # two runs would replace the same rows
    tags=["dicom", "example"],
    params={
        "gcs_uri": Param(
            "gs://demo-dicom/incoming/**",
            type="string",
            minLength=1,
            title="Import from",
            description="Files to import. * and ? stand for parts of a name, ** at the end for everything below a folder.",
        ),
        "max_failures": Param(
            0,
            type="integer",
            minimum=0,
            title="Files that may fail",
            description="The import fails when more do.",
        ),
        "query": Param(
            "SELECT StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID\nFROM demo.dicom.metadata\nWHERE Modality = 'CT'",
            type="string",
            format="multiline",
            minLength=1,
            title="Query",
            description="GoogleSQL over the BigQuery table below. It returns StudyInstanceUID[, SeriesInstanceUID[, SOPInstanceUID]], "
            "or one column of paths.",
        ),
        "export_uri_prefix": Param(
            "gs://demo-dicom/exported",
            type="string",
            minLength=1,
            title="Export to",
            description="The folder that the selected instances are written to.",
        ),
        "bigquery_table": Param(
            "demo.dicom.metadata",
            type="string",
            minLength=1,
            title="BigQuery table",
            description="project.dataset.table; its dataset must exist, its rows are replaced.",
            section="On the way",
        ),
        "filter_uri_prefix": Param(
            "gs://demo-dicom/filters",
            type="string",
            minLength=1,
            title="Folder of the filter files",
            description="Each run writes its selection to an object of its own here.",
            section="On the way",
        ),
        "project_id": Param("demo", type="string", title="Project", section="DICOM store", minLength=1),
        "location": Param("us-central1", type="string", title="Location", section="DICOM store", minLength=1),
        "dataset_id": Param("radiology", type="string", title="Healthcare dataset", section="DICOM store", minLength=1),
        "dicom_store_id": Param("images", type="string", title="DICOM store", section="DICOM store", minLength=1),
    },
) as dag:
    import_instances = DicomImportOperator(
        task_id="import_instances",
        doc_md="Files into the store. What the store holds already is ignored.",
        **STORE,
        gcs_uri="{{ params.gcs_uri }}",
        max_failures="{{ params.max_failures }}",
        deferrable=True,
    )
    export_metadata = DicomExportOperator(
        task_id="export_metadata",
        doc_md="One row per instance of the store, in place of the table's rows.",
        **STORE,
        bigquery_table="{{ params.bigquery_table }}",
        write_disposition="WRITE_TRUNCATE",
        deferrable=True,
    )
    # [START howto_operator_filter_file]
    build_filter = FilterFileFromBigQueryOperator(
        task_id="build_filter",
        doc_md="Runs the query in BigQuery, which writes the paths. *Rendered Templates* shows it as it was sent.",
        project_id="{{ params.project_id }}",
        sql="{{ params.query }}",
        filter_uri="{{ params.filter_uri_prefix }}/{{ run_id }}.txt",
        deferrable=True,
    )
    # [END howto_operator_filter_file]
    # [START howto_operator_filtered_export]
    export_instances = DicomExportOperator(
        task_id="export_instances",
        doc_md="Exports what the filter names, and fails if it handled fewer instances, or more.",
        **STORE,
        filter_uri=build_filter.output,
        expected_instances="{{ ti.xcom_pull('build_filter', key='expected_instances') }}",
        gcs_uri_prefix="{{ params.export_uri_prefix }}",
        deferrable=True,
    )
    # [END howto_operator_filtered_export]

    import_instances >> export_metadata >> build_filter >> export_instances
# [END howto_filtered_export]
