"""dbt with its BigQuery adapter: a project with a seed, models of all kinds, a snapshot, tests and documentation."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import requests

from tests.conformance.checks import PROJECT, equal

DATASET = "dbt"
FILES = {
    "dbt_project.yml": "name: cohort\nversion: 1.0.0\nprofile: emulator\nmodels: {cohort: {+materialized: view}}\n",
    "seeds/modalities.csv": "code,name\nCT,Computed Tomography\nMR,Magnetic Resonance\n",
    "models/images.sql": "{{ config(materialized='table') }}\n"
    "SELECT code, name, DATE '2024-01-02' AS seen FROM {{ ref('modalities') }}\n",
    "models/names.sql": "SELECT UPPER(name) AS name, code FROM {{ ref('images') }}\n",
    "models/growing.sql": "{{ config(materialized='incremental', unique_key='code') }}\n"
    "SELECT code, CURRENT_TIMESTAMP() AS loaded FROM {{ ref('images') }}\n"
    "{% if is_incremental() %} WHERE code = 'CT' {% endif %}\n",
    "models/schema.yml": "models:\n- name: images\n  description: All images.\n  columns:\n"
    "  - {name: code, data_tests: [unique, not_null]}\n",
    "snapshots/kept.sql": "{% snapshot kept %}{{ config(unique_key='code', strategy='check', check_cols=['name'], "
    "target_schema='dbt') }}\nSELECT * FROM {{ ref('images') }}\n{% endsnapshot %}\n",
}


class Dbt:
    """Calls dbt in a project.

    :param url: where the emulator is.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.folder = Path(tempfile.mkdtemp(prefix="dbt-"))
        for name, text in FILES.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(text)
        output = {
            "type": "bigquery", "method": "service-account", "keyfile": os.environ["GOOGLE_APPLICATION_CREDENTIALS"],
            "project": PROJECT, "dataset": DATASET, "threads": 1, "job_execution_timeout_seconds": 60,
        }  # fmt: skip
        profile = {"emulator": {"target": "local", "outputs": {"local": output}}}
        (self.folder / "profiles.yml").write_text(json.dumps(profile))  # JSON is YAML

    def __call__(self, *arguments: str) -> None:
        """Run a command.

        :raises AssertionError: it fails.
        """
        environment = {**os.environ, "DBT_PROFILES_DIR": str(self.folder), "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
        command = ["dbt", "--no-use-colors", *arguments]
        run = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300)
        if run.returncode:
            raise AssertionError(f"dbt {' '.join(arguments)}: {run.stdout[-2000:]}{run.stderr[-500:]}")

    def query(self, sql: str) -> list[list[str]]:
        """Return the values of a query's rows."""
        url = f"{self.url}/bigquery/v2/projects/{PROJECT}/queries"
        answer = requests.post(url, json={"query": sql, "useLegacySql": False}, timeout=60)
        answer.raise_for_status()
        return [[cell["v"] for cell in row["f"]] for row in answer.json().get("rows", [])]


def connect(url: str) -> Dbt:
    return Dbt(url)


def check_debug(dbt: Dbt) -> None:
    dbt("debug")


def check_seed(dbt: Dbt) -> None:
    for _ in range(2):
        dbt("seed")
    equal(dbt.query("SELECT code FROM dbt.modalities ORDER BY code"), [["CT"], ["MR"]])


def check_run(dbt: Dbt) -> None:
    dbt("run")
    equal(dbt.query("SELECT name FROM dbt.names WHERE code = 'CT'"), [["COMPUTED TOMOGRAPHY"]])


def check_incremental(dbt: Dbt) -> None:
    before = dbt.query("SELECT code, loaded FROM dbt.growing ORDER BY code")
    dbt("run", "--select", "growing")
    after = dbt.query("SELECT code, loaded FROM dbt.growing ORDER BY code")
    equal([code for code, _ in after], ["CT", "MR"])
    equal((after[0] > before[0], after[1] == before[1]), (True, True))


def check_snapshot(dbt: Dbt) -> None:
    for _ in range(2):
        dbt("snapshot")
    equal(dbt.query("SELECT COUNT(*) FROM dbt.kept"), [["2"]])
    dbt.query("UPDATE dbt.images SET name = 'CT' WHERE code = 'CT'")
    dbt("snapshot")
    equal(dbt.query("SELECT COUNT(*), COUNTIF(dbt_valid_to IS NULL) FROM dbt.kept"), [["3", "2"]])


def check_test(dbt: Dbt) -> None:
    dbt("test")


def check_docs(dbt: Dbt) -> None:
    dbt("docs", "generate")
    catalog = json.loads((dbt.folder / "target" / "catalog.json").read_text())
    equal(sorted(catalog["nodes"]["model.cohort.images"]["columns"]), ["code", "name", "seen"])


def check_build(dbt: Dbt) -> None:
    dbt("build", "--full-refresh")
