"""The Google provider's own operators, hooks and triggers do on the emulator what they do on Google Cloud."""

from __future__ import annotations

import pytest

from demo.data import BUCKET, Cloud
from demo.stack import Stack

from .rig import faults


@pytest.mark.only_on_newest_airflow
def test_google_operators(stack: Stack, cloud: Cloud) -> None:
    stack.api.wait_for_dag("google_operators")
    # A job that has ended before the operator looks is not waited for.
    faults(stack, "POST", {"kind": "slow", "method": "bigquery.jobs.insert", "times": None, "seconds": 3})
    try:
        run_id = stack.api.trigger("google_operators")
        stack.api.wait("google_operators", run_id)
    finally:
        faults(stack, "DELETE")
    tasks = stack.api.task_instances("google_operators", run_id)
    failed = [task_id for task_id, task in tasks.items() if task["state"] != "success"]
    assert not failed, "\n".join(stack.api.log("google_operators", run_id, task_id) for task_id in failed)
    waited = {task_id for task_id in tasks if stack.trigger_log("google_operators", run_id, task_id)}
    assert waited >= {"query_deferrable", "to_gcs_deferrable"}
    assert not any(task_id.endswith("_synchronous") for task_id in waited)
    for mode in ("deferrable", "synchronous"):
        names = {blob.name for blob in cloud.storage().list_blobs(BUCKET, prefix="google/") if mode in blob.name}
        assert names == {f"google/copied-{mode}.csv"}
        text = cloud.storage().bucket(BUCKET).blob(f"google/copied-{mode}.csv").download_as_text()
        assert text.splitlines()[0] == "number,text"
        assert sorted(text.splitlines()[1:]) == ["1,row 1", "2,row 2", "3,row 3"]
