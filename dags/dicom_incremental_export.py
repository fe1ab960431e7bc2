"""
### Incremental export

Every day, export to Cloud Storage the instances that have come into the DICOM store since the last run that succeeded. A day on which
nothing came is skipped. After days without a run, one run exports all that is missing.

What was exported is kept in a **ledger**, a BigQuery table with a row per instance. Each run exports the store's metadata to a table,
makes a filter of the instances that are not in the ledger, exports them, compares the objects with the filter, and only then
adds what this filter names to the ledger. So a run may be repeated, cleared or late, also after others have run: an instance that
failed is tried again by the next run, and none is lost or left out because it arrived late, whatever its dates say.

The API tells when an instance was last updated in the JSON schema of metadata exports only (`LastUpdated`), and a run that compares
times must know when the one before had read the store. The ledger needs neither.
"""

from __future__ import annotations

# [START howto_incremental_export]
import datetime
import inspect
import re
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param
from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator

from airflow_dicom.operators import DicomExportOperator, FilterFileFromBigQueryOperator
from airflow_dicom.typing import DicomStoreArguments

STORE: DicomStoreArguments = {
    "project_id": "{{ params.project_id }}",
    "location": "{{ params.location }}",
    "dataset_id": "{{ params.dataset_id }}",
    "dicom_store_id": "{{ params.dicom_store_id }}",
}

CREATE_LEDGER = """
CREATE TABLE IF NOT EXISTS `{{ params.ledger_table }}`
(StudyInstanceUID STRING, SeriesInstanceUID STRING, SOPInstanceUID STRING, run_id STRING)
"""

FILTER_URI = "{{ params.filter_uri_prefix }}/{{ run_id }}.txt"

# The run's filter as a table of the run's own: a task of an earlier run that is cleared must not read what a later run has selected.
READ_FILTER = {
    "load": {
        "sourceUris": [FILTER_URI],
        "sourceFormat": "CSV",
        "schema": {"fields": [{"name": "path", "type": "STRING"}]},
        "destinationTable": {
            "projectId": "{{ params.delivered_table_prefix.split('.')[0] }}",
            "datasetId": "{{ params.delivered_table_prefix.split('.')[1] }}",
            "tableId": "{{ params.delivered_table_prefix.split('.')[2] }}_{{ run_id | as_table_name }}",
        },
        "writeDisposition": "WRITE_TRUNCATE",
    }
}

# A path is /studies/…/series/…/instances/…; a second time, nothing is added.
ADD_TO_LEDGER = """
INSERT INTO `{{ params.ledger_table }}` (StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, run_id)
SELECT SPLIT(path, '/')[OFFSET(2)], SPLIT(path, '/')[OFFSET(4)], SPLIT(path, '/')[OFFSET(6)], '{{ run_id }}'
FROM `{{ params.delivered_table_prefix }}_{{ run_id | as_table_name }}`
WHERE path NOT IN (
  SELECT CONCAT('/studies/', StudyInstanceUID, '/series/', SeriesInstanceUID, '/instances/', SOPInstanceUID)
  FROM `{{ params.ledger_table }}`
)
"""


# A durable operator remembers, from Airflow 3.3 on, that its job has ended well, and sends nothing when the task is cleared.
_ARGUMENTS = inspect.signature(BigQueryInsertJobOperator.__init__).parameters
ALWAYS_RUN: dict[str, Any] = {"durable": False} if "durable" in _ARGUMENTS else {}


def as_table_name(run_id: str) -> str:
    """Return a run's id as a part of a BigQuery table's name."""
    return re.sub(r"\W", "_", run_id)


def query(sql: str) -> dict[str, object]:
    """Return the configuration of a BigQuery job that runs a statement."""
    return {"query": {"query": sql, "useLegacySql": False}}


with DAG(
    dag_id="dicom_incremental_export",
    description="Export what is new in a DICOM store, every day",
    doc_md=__doc__,
    schedule="@daily",
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    catchup=False,
    max_active_runs=1,  # two runs at once would read the ledger before either has written it
    user_defined_filters={"as_table_name": as_table_name},
    tags=["dicom", "example"],
    params={
        "export_uri_prefix": Param(
            "gs://demo-dicom/incremental",
            type="string",
            minLength=1,
            title="Export to",
            description="The folder that the instances are written to.",
        ),
        "ledger_table": Param(
            "demo.dicom.incremental_ledger",
            type="string",
            pattern=r"^[^.\s]+\.[^.\s]+\.[^.\s]+$",
            title="Ledger",
            description="project.dataset.table; made by the first run. Delete rows to export their instances again.",
            section="On the way",
        ),
        "metadata_table": Param(
            "demo.dicom.incremental_metadata",
            type="string",
            pattern=r"^[^.\s]+\.[^.\s]+\.[^.\s]+$",
            title="Metadata table",
            description="project.dataset.table; its dataset must exist, each run replaces its rows.",
            section="On the way",
        ),
        "delivered_table_prefix": Param(
            "demo.dicom.incremental_delivered",
            type="string",
            pattern=r"^[^.\s]+\.[^.\s]+\.[^.\s]+$",
            title="Tables of what was delivered",
            description="project.dataset.table; each run adds its id to the name. Best in a dataset whose tables expire.",
            section="On the way",
        ),
        "filter_uri_prefix": Param(
            "gs://demo-dicom/incremental-filters",
            type="string",
            minLength=1,
            title="Folder of the filter files",
            description="Each run writes what is new to an object of its own here.",
            section="On the way",
        ),
        "project_id": Param("demo", type="string", title="Project", section="DICOM store", minLength=1),
        "location": Param("us-central1", type="string", title="Location", section="DICOM store", minLength=1),
        "dataset_id": Param("radiology", type="string", title="Healthcare dataset", section="DICOM store", minLength=1),
        "dicom_store_id": Param("images", type="string", title="DICOM store", section="DICOM store", minLength=1),
    },
) as dag:
    create_ledger = BigQueryInsertJobOperator(
        task_id="create_ledger",
        doc_md="Makes the ledger, if it is not there.",
        project_id="{{ params.project_id }}",
        configuration=query(CREATE_LEDGER),
        **ALWAYS_RUN,
    )
    export_metadata = DicomExportOperator(
        task_id="export_metadata",
        doc_md="What the store holds now, one row per instance. Skipped, with all that follows, if the store is empty.",
        **STORE,
        bigquery_table="{{ params.metadata_table }}",
        write_disposition="WRITE_TRUNCATE",
        on_empty="skip",
        deferrable=True,
    )
    select_new = FilterFileFromBigQueryOperator(
        task_id="select_new",
        doc_md="A filter of the instances that the ledger does not have. Skipped, with all that follows, if there are none.",
        project_id="{{ params.project_id }}",
        table="{{ params.metadata_table }}",
        except_table="{{ params.ledger_table }}",
        filter_uri=FILTER_URI,
        on_empty="skip",
        deferrable=True,
    )
    export_new = DicomExportOperator(
        task_id="export_new",
        doc_md="Exports them, and compares the objects with the filter.",
        **STORE,
        filter_uri=select_new.output,
        gcs_uri_prefix="{{ params.export_uri_prefix }}",
        expected_instances="{{ ti.xcom_pull('select_new', key='expected_instances') }}",
        verify="objects",
        deferrable=True,
    )
    read_filter = BigQueryInsertJobOperator(
        task_id="read_filter",
        doc_md="Reads what the filter names into a table. It runs only if all of it has arrived.",
        project_id="{{ params.project_id }}",
        configuration=READ_FILTER,
        **ALWAYS_RUN,
    )
    add_to_ledger = BigQueryInsertJobOperator(
        task_id="add_to_ledger",
        doc_md="Remembers what has arrived.",
        project_id="{{ params.project_id }}",
        configuration=query(ADD_TO_LEDGER),
        **ALWAYS_RUN,
    )

    [create_ledger, export_metadata] >> select_new >> export_new >> read_filter >> add_to_ledger
# [END howto_incremental_export]
