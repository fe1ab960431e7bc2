"""The system tests of Airflow's Google provider, on the emulator: ``make googledags`` runs those that need no other service.

The files of DAGs come from the sdist of the installed version and are run as they are: each by a process of its own, with an Airflow
database of its own, by Airflow's own ``dag.test()``, as their makers run them. ``emulator/tests/conformance/suites.md`` says what
came out.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gcp_dicom_emulator import Emulator
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from airflow_dicom.hooks.endpoint import EMULATOR_CONNECTION

ROOT = Path(__file__).parents[2]
#: Where the sdists are kept, and the logs of the last run.
KEPT = Path(sys.prefix, "googledags")
#: The second one has the tests' operator that compares OpenLineage's events.
DISTRIBUTIONS = ("apache-airflow-providers-google", "apache-airflow-providers-openlineage")
#: How long a DAG may take.
SECONDS = 600

#: Those whose tasks are of Cloud Storage, BigQuery and Pub/Sub alone, and local files.
DAGS = {
    "bigquery": ("dataset", "jobs", "operations", "queries", "queries_async", "routines", "sensors", "streaming_buffer_sensor",
                 "tables", "to_bigquery", "to_gcs", "transfer", "value_check"),
    "gcs": ("acl", "copy_delete", "sensor", "to_bigquery", "to_bigquery_async", "to_gcs", "transform", "transform_timespan",
            "upload_download"),
    "pubsub": ("", "deferrable"),
}  # fmt: skip
#: Those that are not run, since something in them fails, and why.
NOT_RUN = {
    "bigquery_queries": "checks of columns and tables read by the gRPC Storage API; a list of texts as a query",
    "bigquery_queries_async": "a function in JavaScript and a script with IF and WHILE (501); a list of texts as a query",
    "bigquery_streaming_buffer_sensor": "for running by hand, say its makers; rows are in their table at once here",
    "gcs_acl": "access control lists (501)",
    "gcs_to_bigquery_async": "all passes, but OpenLineage says twice that a deferred task has started, and the DAG wants once",
}

#: Objects in buckets of others that the DAGs read, made up.
OBJECTS = {
    "airflow-system-tests-resources/gcs/example_upload.txt": "Example file\n",
    "cloud-samples-data/bigquery/us-states/us-states.csv": "name,post_abbr\nAlabama,AL\nAlaska,AK\n",
    "cloud-samples-data/bigquery/us-states/us-states-by-date.csv": "name,post_abbr,date\nAlabama,AL,1819-12-14\n",
    "cloud-samples-data/bigquery/us-states/us-states.json": '{"name": "Alabama", "post_abbr": "AL"}\n',
    "big-query-samples/employees-tabular.csv": "name\tage\nAnn\t41\nBob\t52\n",
}


def main() -> int:
    """Run the DAGs, or those alone whose names the arguments are a part of.

    :return: 1 if one failed, else 0.
    """
    names = [f"{folder}_{name}".rstrip("_") for folder, parts in DAGS.items() for name in parts]
    chosen = [name for name in names if any(part in name for part in sys.argv[1:])] or [
        one for one in names if one not in NOT_RUN
    ]
    passed = 0
    with tempfile.TemporaryDirectory() as directory, Emulator() as emulator, ThreadPoolExecutor(2) as threads:
        folder = Path(directory)
        tests = [fetch(distribution, folder) for distribution in DISTRIBUTIONS]
        fill(emulator)
        environment = make_environment(emulator, tests, folder)
        for name, bad in zip(chosen, threads.map(lambda name: run(name, tests[0], folder, environment), chosen), strict=True):
            sys.stdout.write("\n  ".join([f"{name}: {'failed' if bad else 'passed'}", *bad]) + "\n")
            sys.stdout.flush()
            passed += not bad
    sys.stdout.writelines(f"{name}: not run: {NOT_RUN[name]}\n" for name in names if name in NOT_RUN and name not in chosen)
    sys.stdout.write(f"{passed} of {len(names)} passed\n")
    return int(passed < len(chosen))


def fetch(name: str, folder: Path) -> Path:
    """Return the tests in the sdist of an installed distribution."""
    version = importlib.metadata.version(name)
    full_name = f"{name.replace('-', '_')}-{version}"
    sdist = KEPT / f"{full_name}.tar.gz"
    if not sdist.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name, "--dest", str(KEPT)]
        subprocess.run([*command, f"{name}=={version}"], check=True)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return folder / full_name / "tests"


def fill(emulator: Emulator) -> None:
    """Make the objects of others."""
    with storage.Client("others", AnonymousCredentials(), client_options={"api_endpoint": emulator.url}) as client:
        for path, text in OBJECTS.items():
            bucket, _, name = path.partition("/")
            if not client.bucket(bucket).exists():
                client.create_bucket(bucket)
            client.bucket(bucket).blob(name).upload_from_string(text)


def make_environment(emulator: Emulator, tests: list[Path], folder: Path) -> dict[str, str]:
    """Return the variables of all runs, and make an empty database of Airflow's."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "GOOGLE_", "SYSTEM_TESTS_"))},
        **emulator.environment(),
        **EMULATOR_CONNECTION,
        "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *tests])),
        "SYSTEM_TESTS_GCP_PROJECT": "demo",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": '{"type": "system.openlineage.transport.variable.VariableTransport"}',
        "AIRFLOW_HOME": str(folder / "empty"),
    }
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], env=environment, check=True, capture_output=True)
    return environment


def run(name: str, tests: Path, folder: Path, environment: dict[str, str]) -> list[str]:
    """Run a DAG; return what failed."""
    source = tests / "system" / "google" / "cloud" / name.partition("_")[0] / f"example_{name}.py"
    home = folder / name
    # The events of lineage that are expected have the path that the files have in Airflow's repository.
    dags = home / "dags" / "airflow" / "providers" / "google" / source.parent.relative_to(tests.parent)
    dags.mkdir(parents=True)
    shutil.copy(folder / "empty" / "airflow.db", home)
    shutil.copy(source, dags)
    if (source.parent / "resources").exists():
        shutil.copytree(source.parent / "resources", dags / "resources")
    environment = {**environment, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags")}
    command = [sys.executable, "-m", "tests.google_dags.one", str(dags / source.name)]
    log = KEPT / f"{name}.log"
    with log.open("wb") as file:
        try:
            done = subprocess.run(command, env=environment, cwd=home, stdout=file, stderr=subprocess.STDOUT, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return [f"not done after {SECONDS} s; see {log}"]
    if done.returncode == 0:
        return []
    states = re.findall(r"^RESULT (\S+) (\S+)$", log.read_text(), re.MULTILINE)
    return [f"see {log}", *(f"{task}: {state}" for task, state in states if state == "failed" and task != "watcher")]


if __name__ == "__main__":
    sys.exit(main())
