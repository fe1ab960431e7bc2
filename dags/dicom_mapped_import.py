"""
### Import of many folders

Import several folders, each in an operation of its own, no more of them at a time than the pool has slots. A folder that fails can be
repeated alone: clear its map index.

The pool is *dicom_operations*, with two slots in the demo. On Google Cloud, make it as the guide *Large imports* says: without it, the
tasks do not start.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG, Param, get_current_context, task

from airflow_dicom.operators import DicomImportOperator
from airflow_dicom.typing import DicomStoreArguments

STORE: DicomStoreArguments = {
    "project_id": "{{ params.project_id }}",
    "location": "{{ params.location }}",
    "dataset_id": "{{ params.dataset_id }}",
    "dicom_store_id": "{{ params.dicom_store_id }}",
}

#: ``make ui`` makes it. It counts deferred tasks, so that it limits how many operations run; see the guide "Large imports".
POOL = "dicom_operations"

with DAG(
    dag_id="dicom_mapped_import",
    description="Import many folders of Cloud Storage, some at a time",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    tags=["dicom", "example"],
    params={
        "folders": Param(
            [
                "gs://demo-dicom/incoming/test_files/dicomdirtests/77654033",
                "gs://demo-dicom/incoming/test_files/dicomdirtests/98892001",
                "gs://demo-dicom/incoming/test_files/dicomdirtests/98892003",
            ],
            type="array",
            items={"type": "string", "minLength": 1},
            minItems=1,
            uniqueItems=True,
            title="Folders",
            description="One a line, such as gs://bucket/folder; each is imported with all below it.",
        ),
        "max_failures": Param(
            0,
            type="integer",
            minimum=0,
            title="Files that may fail",
            description="Of each folder.",
        ),
        "project_id": Param("demo", type="string", title="Project", section="DICOM store", minLength=1),
        "location": Param("us-central1", type="string", title="Location", section="DICOM store", minLength=1),
        "dataset_id": Param("radiology", type="string", title="Healthcare dataset", section="DICOM store", minLength=1),
        "dicom_store_id": Param("images", type="string", title="DICOM store", section="DICOM store", minLength=1),
    },
) as dag:
    # [START howto_operator_import_mapped]
    @task
    def uris() -> list[str]:
        """Return what to import: everything below each folder."""
        return [f"{folder.rstrip('/')}/**" for folder in get_current_context()["params"]["folders"]]

    DicomImportOperator.partial(
        task_id="import_folder",
        doc_md="One import per folder. The pool says how many run at a time.",
        **STORE,
        max_failures="{{ params.max_failures }}",
        map_index_template="{{ task.gcs_uri }}",
        pool=POOL,
        deferrable=True,
    ).expand(gcs_uri=uris())
    # [END howto_operator_import_mapped]
