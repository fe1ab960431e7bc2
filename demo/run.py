"""``make demo``: run the chain once in a real Airflow, on the emulator, and show what arrived where."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from demo.cluster import Cluster
from demo.data import BROKEN, BUCKET, INCOMING, PROJECT, Cloud, Source, Uids, fill
from demo.signals import stop_on_signals
from demo.stack import DEMO_PAUSE, Stack

DAG_ID = "dicom_filtered_export"
DAGS = Path(__file__).parent.parent / "dags"
DAG_FILE = DAGS / f"{DAG_ID}.py"
TABLE = f"{PROJECT}.dicom.metadata"
EXPORT_URI = f"gs://{BUCKET}/exported"


class DemoFailed(Exception):
    """Something is not as it should be; the text says what."""


def main(*, on_a_cluster: bool = False) -> int:
    """Run the demo and return its exit status.

    :param on_a_cluster: whether to run it as larger sites do; see :mod:`demo.cluster`.
    """
    stop_on_signals()
    begun = time.monotonic()
    print("Starting the emulator and Airflow …", flush=True)
    try:
        with Cluster(DAG_FILE, meanwhile=fill) if on_a_cluster else _stack() as stack:
            print(f"  emulator {stack.emulator_url}, Airflow {stack.url} ({_seconds(begun)})", flush=True)
            run_chain(stack)
            print("\nStopping …", flush=True)
    except KeyboardInterrupt:
        return 130
    except (DemoFailed, RuntimeError, TimeoutError) as error:
        print(f"\nThe demo FAILED: {error}", file=sys.stderr)
        return 1
    print(f"Everything is as it should be ({_seconds(begun)}); all processes are stopped.")
    return 0


def _stack() -> Stack:
    return Stack(DAG_FILE, preloaded=True, longest_pause=DEMO_PAUSE, meanwhile=fill)


def run_chain(stack: Stack) -> None:
    """Run the DAG, show and check every step.

    :raises DemoFailed: a step did not do what it should.
    """
    cloud, source = Cloud(stack.emulator_url), Source.of_pydicom()
    studies = {study for study, _, _ in source.instances}
    whole = len(source.files) - len(source.broken)
    print(f"\nPut {whole} DICOM files of pydicom's wheel into gs://{BUCKET}/{INCOMING}")
    print(f"  {len(source.instances)} instances of {len(studies)} studies, some of them twice")
    print(f"  {len(source.broken)} more files, which are broken on purpose, are in gs://{BUCKET}/{BROKEN}")

    stack.api.wait_for_dag(DAG_ID)
    begun = time.monotonic()
    run_id = stack.api.trigger(DAG_ID)  # with the defaults of its form
    print(f"\nTriggered the DAG {DAG_ID} …", flush=True)
    state = stack.api.wait(DAG_ID, run_id)
    if state != "success":
        raise DemoFailed(f"the DAG run ended as {state!r}.\n{_logs_of_failed_tasks(stack, run_id)}")
    print(f"  {state} ({_seconds(begun)})")

    _show_import(stack, run_id, source)
    _show_metadata(stack, run_id, cloud, source)
    filtered = _show_filter(stack, run_id, cloud)
    _show_export(stack, run_id, cloud, source, filtered)


def _show_import(stack: Stack, run_id: str, source: Source) -> None:
    result = _show_step(stack, run_id, "import_instances")
    print(f"  {result['success']} files imported, {result['failure']} failed")
    _check("failed files", result["failure"], 0)
    _check("imported files", result["success"], len(source.files) - len(source.broken))


def _show_metadata(stack: Stack, run_id: str, cloud: Cloud, source: Source) -> None:
    result = _show_step(stack, run_id, "export_metadata")
    rows = [tuple(row) for row in cloud.bigquery().query_and_wait(_QUERY)]
    modalities = ", ".join(f"{count} {modality}" for modality, count in rows)
    total = sum(count for _, count in rows)
    print(f"  {result['success']} instances, {total} rows in {result['bigquery_table']}: {modalities}")
    _check("exported instances", result["success"], len(source.instances))
    _check("rows", total, len(source.instances))


_QUERY = f"SELECT IFNULL(Modality, 'without Modality'), COUNT(*) FROM `{TABLE}` GROUP BY 1 ORDER BY 2 DESC, 1"


def _show_filter(stack: Stack, run_id: str, cloud: Cloud) -> set[str]:
    uri = _show_step(stack, run_id, "build_filter")
    paths = cloud.storage().bucket(BUCKET).blob(uri.removeprefix(f"gs://{BUCKET}/")).download_as_text().splitlines()
    print(f"  {len(paths)} paths in {uri}")
    _show_some(paths)
    if not paths or len(set(paths)) != len(paths):
        raise DemoFailed("the filter is empty, or names something twice.")
    return set(paths)


def _show_export(stack: Stack, run_id: str, cloud: Cloud, source: Source, filtered: set[str]) -> None:
    result = _show_step(stack, run_id, "export_instances")
    prefix = EXPORT_URI.removeprefix(f"gs://{BUCKET}/") + "/"
    blobs = {blob.name: blob for blob in cloud.storage().list_blobs(BUCKET, prefix=prefix)}
    print(f"  {result['success']} instances, {len(blobs)} files below {result['gcs_uri_prefix']}/")
    _show_some(sorted(name.removeprefix(prefix) for name in blobs))
    wanted = {_object_name(prefix, uids): uids for uids in source.instances if _path(uids) in filtered}
    if wanted.keys() != blobs.keys():
        missing, extra = wanted.keys() - blobs.keys(), blobs.keys() - wanted.keys()
        raise DemoFailed(f"the files are not those that the filter names: missing {sorted(missing)}, extra {sorted(extra)}")
    _check("exported instances", result["success"], len(filtered))
    for name, uids in wanted.items():
        if blobs[name].download_as_bytes() not in {source.files[file].read_bytes() for file in source.instances[uids]}:
            raise DemoFailed(f"{name} has other bytes than {source.instances[uids]}.")
    print("  byte for byte what was put in, and exactly what the filter names")


def _show_step(stack: Stack, run_id: str, task_id: str) -> Any:
    """Print a task's name and where it waited; return what it returned."""
    waited = "waited in the triggerer" if stack.trigger_log(DAG_ID, run_id, task_id) else "did not wait"
    print(f"\n{task_id}: {waited}")
    return stack.api.xcom(DAG_ID, run_id, task_id)


def _show_some(names: list[str], count: int = 3) -> None:
    for name in names[:count]:
        print(f"    {name}")
    if len(names) > count:
        print(f"    … and {len(names) - count} more")


def _check(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise DemoFailed(f"{found} {what}; there should be {expected}.")


def _logs_of_failed_tasks(stack: Stack, run_id: str) -> str:
    tasks = stack.api.task_instances(DAG_ID, run_id).values()
    failed = [task for task in tasks if task["state"] == "failed"]
    return "\n".join(
        f"--- {task['task_id']}\n{stack.api.log(DAG_ID, run_id, task['task_id'], task['try_number'])[-5000:]}" for task in failed
    )


def _path(uids: Uids) -> str:
    return "/studies/{}/series/{}/instances/{}".format(*uids)


def _object_name(prefix: str, uids: Uids) -> str:
    return "{}{}/{}/{}.dcm".format(prefix, *uids)


def _seconds(begun: float) -> str:
    return f"{time.monotonic() - begun:.0f} s"


if __name__ == "__main__":
    sys.exit(main(on_a_cluster=sys.argv[1:] == ["cluster"]))
