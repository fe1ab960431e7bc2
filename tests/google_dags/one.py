"""One of the Google provider's system tests, in this process: ``python -m tests.google_dags.one FILE``, with what ``run.py`` sets.

The file is run as it is. What is changed is where two of Google's clients send their requests, and what only Airflow's repository has.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

URL = os.environ["BIGQUERY_EMULATOR_HOST"]


def main() -> int:
    """Run the DAG of a file.

    :return: 0 if it succeeded.
    """
    redirect()
    report_lineage_here()
    stand_in()
    spec = importlib.util.spec_from_file_location("system_test", Path(sys.argv[1]))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    run = module.dag.test()
    for instance in sorted(run.get_task_instances(), key=lambda instance: instance.task_id):
        sys.stdout.write(f"RESULT {instance.task_id} {instance.state}\n")
    return 0 if run.state == "success" else 1


def redirect() -> None:
    """Point the two clients at the emulator that no variable points there."""
    import gcloud.aio.bigquery.bigquery as aio
    import httplib2

    ask = httplib2.Http.request

    def ask_emulator(self: Any, uri: str, *arguments: Any, **named: Any) -> Any:
        """Ask the emulator whatever google-api-python-client asks BigQuery."""
        return ask(self, uri.replace("https://bigquery.googleapis.com", URL), *arguments, **named)

    httplib2.Http.request = ask_emulator
    # It takes BIGQUERY_EMULATOR_HOST without the scheme that google-cloud-bigquery wants.
    aio.init_api_root = lambda *_arguments, **_named: (True, f"{URL}/bigquery/v2")


def report_lineage_here() -> None:
    """Let OpenLineage's events be made in this process: in a fork of it, Airflow would not answer."""
    from airflow.providers.openlineage.plugins.listener import OpenLineageListener
    from airflow.sdk.lineage import get_hook_lineage_collector

    def execute(_listener: Any, work: Any, name: str) -> None:
        if name == "on_running":  # in a process of its own, nothing of the task before is known
            get_hook_lineage_collector.cache_clear()
        work()

    OpenLineageListener._fork_execute = execute


def stand_in() -> None:
    """Stand in for the modules of Airflow's repository that the files import and that no package has."""
    from airflow.sdk import task

    @task(trigger_rule="one_failed", retries=0)
    def watcher() -> None:
        """Fail, and so the DAG run, if any task has failed: the last ones clean up whatever happened."""
        raise RuntimeError("A task has failed.")

    contents: dict[str, dict[str, Any]] = {
        "": {},
        ".test_utils": {},
        ".test_utils.watcher": {"watcher": watcher},
        ".test_utils.version_compat": {"AIRFLOW_V_3_0_PLUS": True},
        ".test_utils.system_tests": {"get_test_run": lambda dag: dag.test},
    }
    for name, names in contents.items():
        module = sys.modules[f"tests_common{name}"] = ModuleType(f"tests_common{name}")
        vars(module).update(names)


if __name__ == "__main__":
    sys.exit(main())
