"""What ``make package`` asks of an environment in which only Airflow and the wheel are installed.

Run with that environment's Python, isolated (``-I``), so that nothing comes from the clone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

DAGS = Path(__file__).parents[1] / "dags"
BIN = Path(sys.executable).parent


def airflow(*arguments: str) -> str:
    return subprocess.run([BIN / "airflow", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    import airflow_dicom

    package = files("airflow_dicom")
    assert str(package).startswith(sys.prefix), f"airflow_dicom comes from {package}, not from the wheel"
    assert version("airflow-dicom") == airflow_dicom.__version__
    assert package.joinpath("py.typed").is_file()

    with tempfile.TemporaryDirectory() as home:
        os.environ.update(AIRFLOW_HOME=home, AIRFLOW__CORE__LOAD_EXAMPLES="False", AIRFLOW__CORE__DAGS_FOLDER=str(DAGS))
        os.chdir(home)
        assert "airflow-dicom" in airflow("providers", "list", "--output", "plain")
        described = airflow("providers", "get", "airflow-dicom", "--full", "--output", "json")
        assert "Import, export and filter DICOM instances" in described
        assert "airflow-dicom" in airflow("info")
        airflow("db", "migrate")

        from airflow.dag_processing.dagbag import DagBag  # its configuration is read when it is imported

        dags = DagBag(str(DAGS))
        assert not dags.import_errors, dags.import_errors
        assert len(dags.dags) == len(list(DAGS.glob("*.py")))
    print(f"airflow-dicom {airflow_dicom.__version__} is installed: {len(dags.dags)} DAGs parse, Airflow lists the provider.")


if __name__ == "__main__":
    main()
