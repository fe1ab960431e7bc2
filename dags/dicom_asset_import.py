"""
### Import, and tell who waits for the store

Import DICOM files into a store that is an asset. When the import has succeeded, Airflow starts every DAG whose schedule names that
asset, such as *dicom_asset_metadata*.
"""

from __future__ import annotations

# [START howto_asset_outlet]
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_dicom.assets import dicom_store_asset
from airflow_dicom.operators import DicomImportOperator

STORE: dict[str, Any] = {"project_id": "demo", "location": "us-central1", "dataset_id": "radiology", "dicom_store_id": "images"}

with DAG(
    dag_id="dicom_asset_import",
    description="Import DICOM files into a store that other DAGs wait for",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    tags=["dicom", "example"],
    params={
        "gcs_uri": Param(
            "gs://demo-dicom/incoming/test_files/*_small.dcm",
            type="string",
            minLength=1,
            title="Import from",
            description="Files to import. * and ? stand for parts of a name, ** at the end for everything below a folder.",
        ),
    },
) as dag:
    import_instances = DicomImportOperator(
        task_id="import_instances",
        doc_md="When this succeeds, the store's asset is updated, and the DAGs that wait for it start.",
        **STORE,
        gcs_uri="{{ params.gcs_uri }}",
        on_empty="skip",  # a skipped task does not update its assets
        outlets=[dicom_store_asset(**STORE)],
        deferrable=True,
    )
# [END howto_asset_outlet]
