"""The sensor of operations: what it waits for ends well, badly, too late, or is not there."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG, task

from airflow_dicom.operators import DicomImportOperator, DicomSetBlobStorageSettingsOperator
from airflow_dicom.sensors import DicomOperationSensor

STORE = {"project_id": "demo", "location": "us-central1", "dataset_id": "radiology", "dicom_store_id": "images"}


@task(do_xcom_push=False)
def pushes_nothing() -> None:
    """Leave the sensor without an operation."""


def sensors_dag(mode: str, deferrable: bool) -> None:
    """Make a DAG with a sensor for each."""
    with DAG(f"sensors_{mode}", schedule=None, catchup=False):
        imports = {"wait_for_completion": False, **STORE}
        operations = {
            "good": DicomImportOperator(
                task_id="import_good", gcs_uri="gs://demo-dicom/incoming/test_files/CT_small.dcm", **imports
            ),
            "bad": DicomImportOperator(task_id="import_bad", gcs_uri="gs://demo-dicom/broken/palettes/*", **imports),
            "late": DicomSetBlobStorageSettingsOperator(
                task_id="hangs", **STORE, blob_storage_class="NEARLINE", wait_for_completion=False
            ),
            "lost": pushes_nothing().operator,
        }
        waiting = {"poke_interval": 0.5, "timeout": 12, "deferrable": deferrable}
        for name, operator in operations.items():
            DicomOperationSensor(task_id=name, operation=operator.output, **waiting)
        (
            DicomOperationSensor(task_id="templated", operation="{{ ti.xcom_pull('import_good')['operation'] }}", **waiting)
            << operations["good"]
        )
        DicomOperationSensor.partial(task_id="mapped", **waiting).expand(operation=[operations["good"].output])


sensors_dag("deferrable", deferrable=True)
sensors_dag("synchronous", deferrable=False)
