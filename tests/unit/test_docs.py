"""What the documentation lists is what there is."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

import airflow_dicom.operators
import airflow_dicom.sensors
from airflow_dicom import exceptions
from airflow_dicom.links import dicom as links
from airflow_dicom.operators._connection import ConnectionOperator

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text()


def test_each_exception_has_a_section_that_says_what_to_do():
    raised = {
        name
        for name, kind in vars(exceptions).items()
        if inspect.isclass(kind) and issubclass(kind, exceptions.DicomError) and kind is not exceptions.DicomError
    }
    sections = set(re.findall(r"^## (\w+)$", page("guides/failures.md"), re.MULTILINE))
    assert sections == raised


def test_each_exception_is_in_the_table_of_who_raises_it():
    raised = {
        name for name, kind in vars(exceptions).items() if inspect.isclass(kind) and issubclass(kind, exceptions.DicomError)
    }
    rows = set(
        re.findall(r"^\| \{py:class\}`~airflow_dicom\.exceptions\.(\w+)` \|", page("reference/exceptions.md"), re.MULTILINE)
    )
    assert rows == raised - {"DicomError"}


def test_each_file_that_the_readme_names_exists():
    text = (ROOT / "README.md").read_text()
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / link).exists(), link


PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_each_link_has_a_text(path: Path):
    """Sphinx puts a page's title into an empty one, but GitHub and editors show nothing."""
    assert re.findall(r"(?<!!)\[\s*\]\([^)]*\)", path.read_text()) == []


LINKED = [
    *PAGES,
    *(ROOT / name for name in ("CONTRIBUTING.md", "emulator/README.md", "emulator/CHANGELOG.md", "findings/README.md")),
]


@pytest.mark.parametrize("path", LINKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_link_inside_is_dead(path: Path):
    """GitHub and editors follow the same links as Sphinx, which checks them when the pages are built."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", text):
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(path: Path) -> set[str]:
    """Return what links may name on a page: its headings, as GitHub and MyST write them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_snippet_of_an_example_links_to_its_file():
    for path in PAGES:
        for dag in re.findall(r"^```\{literalinclude\} (\S+/dags/\w+\.py)$", path.read_text(), re.MULTILINE):
            assert f"]({dag})" in path.read_text(), f"{path.name}: {dag}"


def test_each_operator_is_in_the_reference():
    shown = set(
        re.findall(r"autoclass:: airflow_dicom\.(?:operators|sensors)\.(\w+)$", page("reference/operators.md"), re.MULTILINE)
    )
    assert shown == {*airflow_dicom.operators.__all__, *airflow_dicom.sensors.__all__}


def test_each_link_is_in_the_reference():
    table = dict(re.findall(r"^\| ([\w ]+) \| `(\w+_link)` \|", page("reference/xcom.md"), re.MULTILINE))
    there = {
        kind.name: kind.key for name, kind in vars(links).items() if name.endswith("Link") and not name.startswith(("_", "Base"))
    }
    assert table == there


def test_each_example_is_in_the_list():
    assert set(re.findall(r"^\| \[`(\w+)`\]\(../../dags/\1\.py\) \|", page("howto/examples.md"), re.MULTILINE)) == {
        path.stem for path in (ROOT / "dags").glob("*.py")
    }


OPERATORS = [
    *(getattr(airflow_dicom.operators, name) for name in airflow_dicom.operators.__all__),
    *(getattr(airflow_dicom.sensors, name) for name in airflow_dicom.sensors.__all__),
]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_each_argument_is_explained_and_says_whether_it_is_templated(operator: Any):
    """The pages of the reference are the docstrings."""
    own = [kind for kind in operator.__mro__ if kind.__module__.startswith("airflow_dicom.")]
    explained = {
        name: text
        for kind in own
        for name, text in re.findall(r"^    :param (\w+): (.*?)(?=^    :|^$|\Z)", kind.__doc__, re.MULTILINE | re.DOTALL)
    }
    arguments = {
        name
        for kind in own
        for name, it in inspect.signature(kind).parameters.items()
        if it.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert arguments <= explained.keys() | {"task_id"}
    assert {name for name, text in explained.items() if "(templated" in text} == set(operator.template_fields)


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_what_a_task_is_about_is_shown_before_its_connection(operator: Any):
    """Airflow's page *Rendered Templates* keeps this order."""
    connection = tuple(ConnectionOperator.template_fields)
    assert tuple(operator.template_fields)[-len(connection) :] == connection


def test_the_versions_are_those_that_the_tests_install():
    table = dict(re.findall(r"^\| ([\d.]+) \| ([\d.]+) \|", page("reference/versions.md"), re.MULTILINE))
    installed = {}
    for path in (ROOT / "constraints").glob("airflow-*.txt"):
        versions = dict(re.findall(r"^([\w-]+)==(\S+)$", path.read_text(), re.MULTILINE))
        installed[versions["apache-airflow"]] = versions["apache-airflow-providers-google"]
    assert table == installed


#: The commands that the pages show, with flags that each has. They come from notes and from what is known of the commands: the Google
#: Cloud CLI itself has not been run.
COMMANDS = {
    "gcloud artifacts print-settings python": "repository location",
    "gcloud artifacts repositories add-iam-policy-binding": "location member role",
    "gcloud artifacts repositories create": "repository-format location",
    "gcloud beta services identity create": "service project",
    "gcloud composer environments describe": "project location format",
    "gcloud composer environments run": "location",
    "gcloud composer environments storage dags import": "environment location source",
    "gcloud composer environments update": "location update-pypi-package update-airflow-configs "
    "triggerer-count triggerer-cpu triggerer-memory",
    "gcloud config set": "",
    "gcloud healthcare datasets add-iam-policy-binding": "project location member role",
    "gcloud iam service-accounts add-iam-policy-binding": "project member role",
    "gcloud projects add-iam-policy-binding": "member role condition",
    "gcloud projects describe": "format",
    "gcloud services enable": "project",
    "gcloud storage buckets add-iam-policy-binding": "member role",
    "gcloud storage cp": "",
    "bq query": "project_id use_legacy_sql",
}
ROLES = {
    *(f"roles/artifactregistry.{role}" for role in ("reader",)),
    *(f"roles/bigquery.{role}" for role in ("dataEditor", "dataViewer", "jobUser")),
    *(f"roles/cloudkms.{role}" for role in ("cryptoKeyEncrypterDecrypter",)),
    *(f"roles/healthcare.{role}" for role in ("datasetAdmin", "dicomEditor", "dicomStoreAdmin", "dicomViewer")),
    *(f"roles/iam.{role}" for role in ("serviceAccountTokenCreator",)),
    *(f"roles/pubsub.{role}" for role in ("publisher", "subscriber", "viewer")),
    "roles/serviceusage.serviceUsageConsumer",
    *(f"roles/logging.{role}" for role in ("viewer",)),
    *(f"roles/storage.{role}" for role in ("legacyBucketReader", "objectAdmin", "objectCreator", "objectUser", "objectViewer")),
}
#: Writes down how it was called, and prints something.
STAND_IN = """#!/bin/sh
{ printf '%s\\0' "$(basename "$0")" "$@"; printf '\\n\\0'; } >> "$CALLS"
echo something
"""
CLOUD = re.compile(r"^<!-- test: cloud -->\n```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLOUD_PAGES = [path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts and CLOUD.search(path.read_text())]


@pytest.mark.parametrize("path", CLOUD_PAGES, ids=lambda path: path.stem)
def test_commands_for_google_cloud(path: Path, tmp_path: Path):
    """No account is there to run them; but the shell runs them, with stand-ins that see what they would be told."""
    calls = tmp_path / "calls"
    for program in ("gcloud", "bq"):
        (tmp_path / program).write_text(STAND_IN)
        (tmp_path / program).chmod(0o755)
    script = "set -euo pipefail\n" + "\n".join(CLOUD.findall(path.read_text()))
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "CALLS": str(calls)}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for call in calls.read_text().split("\0\n\0")[:-1]:
        check_call(call.split("\0"))


def check_call(words: list[str]) -> None:
    line = " ".join(words)
    [command] = [known for known in COMMANDS if line.startswith(f"{known} ")]
    assert all(words), f"{line}: an argument is empty"
    ours = words[: words.index("--")] if "--" in words else words
    flags = dict(word.removeprefix("--").partition("=")[::2] for word in ours if word.startswith("-"))
    assert flags.keys() <= set(COMMANDS[command].split()), line
    assert flags.get("role", "roles/storage.objectUser") in ROLES, line
    assert re.fullmatch(r"serviceAccount:\S+", flags.get("member", "serviceAccount:a")), line
    if command == "bq query":
        assert re.fullmatch(r"GRANT `(\S+)` ON SCHEMA `[\w-]+\.\w+` TO 'serviceAccount:\S+'", words[-1]), line
        assert words[-1].split("`")[1] in ROLES, line


def test_each_role_that_is_named_exists():
    pages = [ROOT / "README.md", *(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)]
    named = {role for path in pages for role in re.findall(r"roles/\w+\.\w+", path.read_text())}
    assert named <= ROLES


def test_each_command_and_field_of_the_api_has_its_place_on_the_map():
    text = page("reference/gcloud.md")
    stores = (
        "import gcs, export gcs, export bq, metrics, describe, create, list, update, delete, deidentify, "
        "get-iam-policy, set-iam-policy, add-iam-policy-binding, remove-iam-policy-binding"
    )
    tables = dict(re.findall(r"^### gcloud healthcare ([\w-]+)$(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL))
    for group, commands in {"dicom-stores": stores, "operations": "describe, list, cancel"}.items():
        for command in commands.split(", "):
            assert re.search(rf"^\| .*`{command}[` ]", tables[group], re.MULTILINE), f"{group} {command}"
    for method in ("ImportDicomDataRequest", "ExportDicomDataRequest"):
        for path in fields_of(method):
            last = path.split(".")[-1]
            assert f"`{last}`" in text or f".{last}`" in text, path


def fields_of(schema: str) -> list[str]:
    """Return the paths of all fields of a request, from the discovery document that Google's client ships."""
    import googleapiclient

    folder = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    schemas = json.loads((folder / "healthcare.v1.json").read_text())["schemas"]
    found = []
    for name, field in schemas[schema].get("properties", {}).items():
        inner = fields_of(field["$ref"]) if "$ref" in field else []
        found += [f"{name}.{path}" for path in inner] or [name]
    return found


def test_each_method_of_the_hook_that_is_named_exists():
    from airflow_dicom.hooks.healthcare import HealthcareHook

    for path in (ROOT / "README.md", *DOCS.rglob("*.md")):
        if "_build" not in path.parts:
            for name in re.findall(r"HealthcareHook(?:\(\))?\.(\w+)", path.read_text()):
                assert hasattr(HealthcareHook, name), (path, name)


@pytest.mark.parametrize("folder", [ROOT, ROOT / "emulator"], ids=["airflow-dicom", "gcp-dicom-emulator"])
def test_each_release_says_by_kind_what_it_changes(folder: Path):
    [package] = (path.parent for path in folder.glob("*/__init__.py") if "__version__" in path.read_text())
    [version] = re.findall(r'^__version__ = "(.+)"$', (package / "__init__.py").read_text(), re.MULTILINE)
    releases = re.split(r"^## ", (folder / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]
    assert releases[0].startswith(version)
    kinds = re.findall(r"^### (.+)$", releases[0], re.MULTILINE)
    assert kinds == [kind for kind in ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security") if kind in kinds]
    assert kinds


def test_the_citation_is_of_this_version():
    import airflow_dicom

    assert f"\nversion: {airflow_dicom.__version__}\n" in (ROOT / "CITATION.cff").read_text()
