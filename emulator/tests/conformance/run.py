"""Official clients, unmodified, against one running emulator: ``make conformance`` prints what each did and how much of it was right.

A suite is a module whose functions ``check_*`` take what its ``connect`` returns, or a script of Node that prints a line of JSON
per check. A check is right when it ends without an exception.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import importlib
import importlib.metadata
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.keyfile import keyfile, private_key
from tests.conformance.checks import SAMPLES

ROOT = Path(__file__).parents[3]
NODE = Path(__file__).parent / "node"
PAGE = ROOT / "docs" / "reference" / "conformance.md"
#: What is said of the suites that :mod:`tests.conformance.suites` runs.
SUITES_OF_OTHERS = Path(__file__).parent / "suites.md"
NODE_MAJOR = 18

#: A check's name, and why it failed.
Result = tuple[str, str | None]


@dataclass(frozen=True)
class Suite:
    """The checks of one client.

    :param client: as the table calls it.
    :param code: a module of this package, or a script in ``node``.
    :param package: the client's name in its package registry.
    :param arguments: what the module's ``connect`` takes after the emulator's URL.
    :param program: the command that says its version, where it is a program that need not be installed; the table says if it is not.
    """

    client: str
    code: str
    package: str
    arguments: tuple[str, ...] = ()
    program: tuple[str, ...] = ()

    def is_installed(self) -> bool:
        """Tell whether the client is there."""
        return not self.program or shutil.which(self.program[0]) is not None

    def version(self) -> str:
        """Return the client's version."""
        if self.program:
            said = re.search(r"\d+(\.\d+)+", _output(*self.program))
            return said[0] if said else "unknown"
        if self.package == "curl":
            return _output("curl", "--version").split()[1]
        if self.code.endswith(".mjs"):
            return str(json.loads((NODE / "package.json").read_text())["dependencies"][self.package])
        return importlib.metadata.version(self.package)

    def run(self, url: str) -> Iterator[Result]:
        """Make the checks, one after the other."""
        return _run_script(self.code) if self.code.endswith(".mjs") else _run_module(self.code, url, *self.arguments)


SUITES = [
    Suite("google-api-python-client, v1", "google_api_python_client", "google-api-python-client", ("v1",)),
    Suite("google-api-python-client, v1beta1", "google_api_python_client", "google-api-python-client", ("v1beta1",)),
    Suite("google-cloud-storage", "google_cloud_storage", "google-cloud-storage"),
    Suite("google-cloud-bigquery", "google_cloud_bigquery", "google-cloud-bigquery"),
    Suite("google-auth, a service account's key file", "google_auth", "google-auth"),
    Suite("gcloud-aio-storage", "gcloud_aio_storage", "gcloud-aio-storage"),
    Suite("gcloud-aio-bigquery", "gcloud_aio_bigquery", "gcloud-aio-bigquery"),
    Suite("google-cloud-pubsub", "google_cloud_pubsub", "google-cloud-pubsub"),
    Suite("gcloud-aio-pubsub", "gcloud_aio_pubsub", "gcloud-aio-pubsub"),
    Suite("dicomweb-client", "dicomweb_client", "dicomweb-client"),
    Suite("@googleapis/healthcare", "healthcare.mjs", "@googleapis/healthcare"),
    Suite("@google-cloud/storage", "storage.mjs", "@google-cloud/storage"),
    Suite("@google-cloud/bigquery", "bigquery.mjs", "@google-cloud/bigquery"),
    Suite("curl", "curl", "curl"),
    Suite("gsutil", "gsutil", "gsutil", program=("gsutil", "version")),
    Suite("dbt-bigquery", "dbt", "dbt-bigquery", program=("dbt", "--version")),
    Suite("Orthanc", "orthanc", "orthanc", program=("Orthanc", "--version")),
]


def main() -> int:
    """Run all suites, print the table and what failed.

    :return: 1 if anything failed, else 0.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--only", choices=[suite.client for suite in SUITES], help="run only this client's suite")
    choice.add_argument("--write", action="store_true", help=f"write the table to {PAGE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    if missing := _missing():
        print(missing, file=sys.stderr)
        return 1
    _install()

    rows, failures = [], []
    with tempfile.TemporaryDirectory() as directory, Emulator() as emulator:
        key_file = Path(directory, "key.json")
        key_file.write_text(json.dumps(keyfile(emulator.url, private_key())))
        for suite in [suite for suite in SUITES if arguments.only in (None, suite.client)]:
            if not suite.is_installed():
                rows.append([suite.client, "not installed", "", ""])
                continue
            _set_environment(emulator, key_file)
            emulator.reset()
            results = list(suite.run(emulator.url))
            failed = [f"{suite.client}: {check}\n{error}" for check, error in results if error]
            passed = f"{len(results) - len(failed)} of {len(results)}"
            rows.append([suite.client, suite.version(), str(len(emulator.requests)), passed])
            failures += failed
            print(f"{suite.client}: {passed}", file=sys.stderr)
    table = _table([["client", "version", "calls made", "passed"], *rows])
    print(table, *failures, sep="\n")
    if arguments.write:
        PAGE.write_text(_page(table))
    return 1 if failures else 0


def _missing() -> str:
    """Return what is to be installed, or nothing."""
    if not (shutil.which("node") and shutil.which("npm") and shutil.which("curl")):
        return f"make conformance needs Node {NODE_MAJOR} or newer, with npm, and curl: install them, and see that PATH has them."
    version = _output("node", "--version")
    if int(version.lstrip("v").partition(".")[0]) < NODE_MAJOR:
        return f"make conformance needs Node {NODE_MAJOR} or newer, and this is {version}: install a newer one."
    return ""


def _install() -> None:
    """Install Node's clients, unless that was done."""
    lock, installed = NODE / "package-lock.json", NODE / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=NODE, check=True, stdout=sys.stderr)


def _set_environment(emulator: Emulator, key_file: Path) -> None:
    """Set what points clients, and the scripts of Node, at the emulator; leave out proxies."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ.update(emulator.environment(), GOOGLE_APPLICATION_CREDENTIALS=str(key_file))
    os.environ["SAMPLES"] = os.pathsep.join(map(str, SAMPLES))


def _run_module(name: str, url: str, *arguments: str) -> Iterator[Result]:
    module = importlib.import_module(f"tests.conformance.{name}")
    client = module.connect(url, *arguments)
    for check in [value for name, value in vars(module).items() if name.startswith("check_")]:
        try:
            if inspect.isawaitable(result := check(client)):
                asyncio.run(result)
            error = None
        except Exception as caught:
            here = [frame for frame in traceback.extract_tb(caught.__traceback__) if frame.filename == module.__file__]
            error = "".join(traceback.format_list(here) + traceback.format_exception_only(caught))
        yield check.__name__, error


def _run_script(name: str) -> Iterator[Result]:
    run = subprocess.run(["node", name], cwd=NODE, capture_output=True, text=True, timeout=300)
    for line in run.stdout.splitlines():
        result = json.loads(line)
        yield result["check"], result["error"]
    if run.returncode or not run.stdout:
        yield name, f"node ended with {run.returncode}.\n{run.stderr}"


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _table(rows: list[list[str]]) -> str:
    """Return rows as a table of Markdown, the first of them as its head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *body = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([head, re.sub(r"[^|]", "-", head), *body])


def _page(table: str) -> str:
    versions = f"Python {sys.version.split()[0]} and Node {_output('node', '--version').lstrip('v')}"
    return f"""# Conformance

Written by `python -m tests.conformance.run --write`, on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}, with {versions}.

`make conformance` starts the emulator and has clients, as their makers publish them, work with it; nothing of theirs is changed
but the address they talk to. It needs Node {NODE_MAJOR} or newer, with npm, and curl; gsutil (`pip install gsutil`), dbt (`pip
install dbt-bigquery`) and Orthanc (Debian: `apt-get install orthanc orthanc-dicomweb`) are left out where they are not installed.
A call is an HTTP request that the emulator answered; a check passes when what came back is right: bytes, rows, counts, errors.
The checks are in `emulator/tests/conformance`.

{table}

The versions of Google's Node clients are the last that run on Node {NODE_MAJOR}. The others are those of the environment.

How to tell them the address:

| client | |
|---|---|
| google-cloud-storage, google-cloud-bigquery, gcloud-aio-storage | the variables of `gcp-dicom-emulator env` |
| google-cloud-pubsub, gcloud-aio-pubsub | likewise |
| gcloud-aio-bigquery | `BIGQUERY_EMULATOR_HOST`, but without `http://` |
| google-api-python-client | `client_options={{"api_endpoint": …}}`; it sends uploads to Google all the same |
| `@googleapis/healthcare` | `rootUrl`, with a slash at its end |
| `@google-cloud/storage`, `@google-cloud/bigquery` | `apiEndpoint`, or the variables |
| a service account's key file | `token_uri`, the address followed by `/token` |

Google's Node clients ignore `token_uri`. That of BigQuery needs no credentials with `authClient: new PassThroughClient()`; the
other two need none anyway.

{SUITES_OF_OTHERS.read_text()}"""


if __name__ == "__main__":
    sys.exit(main())
