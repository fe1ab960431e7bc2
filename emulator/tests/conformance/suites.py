"""Other people's test suites, unmodified, each from a checkout of its own: ``python -m tests.conformance.suites gcsfs PATH``.

Makes an environment for the suite, runs it against a fresh emulator, and prints how many of its tests passed, and which did not.
``suites.md`` beside this file says what came out, and why.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.keyfile import keyfile, private_key


@dataclass(frozen=True)
class Suite:
    """A suite.

    :param tests: the folder of its tests, and options of pytest.
    :param requirements: what it needs besides pytest; ``.`` is the checkout.
    :param environment: variables that it needs; ``{url}`` is where the emulator is, ``{host}`` the same without ``http://``.
    :param files: files of the repository that some mirrors leave out, and their sizes in bytes: they are made where they are missing.
    """

    tests: tuple[str, ...]
    requirements: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)


SUITES = {
    "gcsfs": Suite(
        ("gcsfs/tests", "--ignore=gcsfs/tests/perf"),
        (".", "pytest-asyncio", "pytest-subtests", "pytest-timeout", "requests"),
        {"STORAGE_EMULATOR_HOST": "{url}", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"},
    ),
    "python-storage": Suite(
        ("tests/system",),
        (".[testing]", "google-cloud-testutils", "google-cloud-kms", "google-cloud-pubsub", "google-cloud-iam", "brotli", "mock"),
        {"API_ENDPOINT_OVERRIDE": "{url}", "PUBSUB_EMULATOR_HOST": "{host}"},
        {"tests/data/five-point-one-mb-file.zip": 5_347_738, "tests/data/random_9_MiB_file": 9 << 20},
    ),
    # Without google-cloud-bigquery-storage, whose gRPC the emulator does not speak.
    "python-bigquery": Suite(
        ("tests/system",),
        (
            ".[pandas,tqdm,ipython,opentelemetry]",
            "google-cloud-testutils", "google-cloud-storage", "google-cloud-datacatalog", "google-cloud-resource-manager",
            "mock", "psutil",
        ),
        {"BIGQUERY_EMULATOR_HOST": "{url}", "STORAGE_EMULATOR_HOST": "{url}"},
    ),
    "pandas-gbq": Suite(
        ("tests/system",),
        (".", "google-cloud-testutils", "mock"),
        {"BIGQUERY_EMULATOR_HOST": "{url}", "GBQ_PROJECT_ID": "demo"},
    ),
    "sqlalchemy-bigquery": Suite(
        ("tests/system",),
        (".", "sqlalchemy<2.1", "google-cloud-testutils", "geoalchemy2", "shapely", "alembic", "mock", "pytz"),
        {"BIGQUERY_EMULATOR_HOST": "{url}"},
    ),
    # Where an emulator is set, the client cannot make its REST transport.
    "python-pubsub": Suite(
        ("tests/system.py", "-k", "not rest"),
        (".", "google-cloud-testutils", "mock", "psutil", "flaky"),
        {"PUBSUB_EMULATOR_HOST": "{host}"},
    ),
}  # fmt: skip


#: Tables of ``bigquery-public-data`` that the suites of BigQuery's clients read, made up: the name, and a query of its rows.
_PUBLIC = {
    "samples.shakespeare": "SELECT FORMAT('word%d', n) AS word, 1 AS word_count, 'hamlet' AS corpus, 1600 AS corpus_date "
    "FROM UNNEST(GENERATE_ARRAY(1, 164656)) n",
    "samples.natality": "SELECT 1969 + MOD(n, 40) AS year, 'CA' AS state, 7.5 AS weight_pounds FROM UNNEST(GENERATE_ARRAY(1, 2000)) n",
    "samples.gsod": "SELECT 99999 AS wban_number, 1929 + MOD(n, 80) AS year FROM UNNEST(GENERATE_ARRAY(1, 2000)) n",
    "noaa_gsod.gsod1929": "SELECT '030050' AS stn, 45.5 AS temp",
    "usa_names.usa_1910_2013": "SELECT state, 'F' AS gender, 1910 AS year, 'Mary' AS name, n AS number "
    "FROM UNNEST(['AL', 'CA', 'FL', 'KY']) state, UNNEST(GENERATE_ARRAY(1, 1000)) n",
    "utility_us.country_code_iso": "SELECT 'United States' AS country_name, 'US' AS alpha_2_code",
    "hacker_news.full": "SELECT n AS id, 'story' AS type, FORMAT('user%d', n) AS `by`, FORMAT('title %d', n) AS title, "
    "1000000 - n AS score, TIMESTAMP_SECONDS(1500000000 + n) AS timestamp FROM UNNEST(GENERATE_ARRAY(1, 100000)) n",
    "stackoverflow.posts_questions": "SELECT n AS id, 'google-bigquery' AS tags, n AS view_count FROM UNNEST(GENERATE_ARRAY(1, 20)) n",
}


def main() -> int:
    """Run a suite.

    :return: 0, whatever came out: most suites have tests of what an emulator does not have.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=sorted(SUITES))
    parser.add_argument("checkout", type=Path, help="where its repository is checked out")
    parser.add_argument("pytest_options", nargs=argparse.REMAINDER, help="further options of pytest")
    arguments = parser.parse_args()
    suite, checkout = SUITES[arguments.suite], arguments.checkout.resolve()
    for name, size in suite.files.items():
        if not (checkout / name).exists():
            (checkout / name).write_bytes(os.urandom(size))
    with tempfile.TemporaryDirectory() as directory, Emulator() as emulator:
        folder = Path(directory)
        python = _environment(folder / "venv", checkout, suite)
        if "BIGQUERY_EMULATOR_HOST" in suite.environment:
            _fill(emulator)
        lines = run(suite, checkout, python, emulator, folder, arguments.pytest_options)
    sys.stdout.write("\n".join([*lines, ""]))
    return 0


def _fill(emulator: Emulator) -> None:
    """Make the public tables that suites read."""
    with bigquery.Client("bigquery-public-data", AnonymousCredentials(), client_options={"api_endpoint": emulator.url}) as client:
        for name, query in _PUBLIC.items():
            client.create_dataset(name.partition(".")[0], exists_ok=True)
            client.query_and_wait(f"CREATE TABLE `{name}` AS {query}")


def _environment(folder: Path, checkout: Path, suite: Suite) -> Path:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    installer = [shutil.which("uv") or str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python", python]
    requirements = [str(checkout) + one[1:] if one.startswith(".") else one for one in suite.requirements]
    subprocess.run([*installer, "pytest", *requirements], check=True)
    return python


def run(suite: Suite, checkout: Path, python: Path, emulator: Emulator, folder: Path, options: list[str]) -> list[str]:
    """Run a suite's tests; return a line that counts them, and one for each that did not pass."""
    report, key = folder / "report.xml", folder / "key.json"
    key.write_text(json.dumps(keyfile(emulator.url, private_key())))
    given = {
        name: value.format(url=emulator.url, host=emulator.url.removeprefix("http://"))
        for name, value in suite.environment.items()
    }
    environment = {
        **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        "GOOGLE_APPLICATION_CREDENTIALS": str(key),
        "GBQ_GOOGLE_APPLICATION_CREDENTIALS": str(key),
        "GOOGLE_CLOUD_PROJECT": "demo",
        # The folder of the tests is not to hide what is installed.
        "PYTHONSAFEPATH": "1",
        **given,
    }
    command = [python, "-m", "pytest", *suite.tests, "-p", "no:cacheprovider", "--quiet", f"--junitxml={report}", *options]
    subprocess.run(command, cwd=checkout, env=environment, check=False, stdout=sys.stderr)
    cases = list(ElementTree.parse(report).iter("testcase"))
    skipped = [case for case in cases if case.find("skipped") is not None]
    bad = [(case, problem) for case in cases for problem in (*case.findall("failure"), *case.findall("error"))]
    tried = len(cases) - len(skipped)
    lines = [f"{tried - len({id(case) for case, _ in bad})} of {tried} passed, {len(skipped)} skipped"]
    return lines + [
        f"{case.get('classname')}::{case.get('name')}: {(problem.get('message') or '')[:200]}" for case, problem in bad
    ]


if __name__ == "__main__":
    sys.exit(main())
