"""What ``make package`` asks of an environment in which only the emulator's wheel is installed.

Run with that environment's Python, isolated (``-I``), so that nothing comes from the clone.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib.metadata import distributions, version
from importlib.resources import files
from pathlib import Path

#: What all that it brings may take on the disk, without the tools of the environment itself.
MEGABYTES = 450
OF_THE_ENVIRONMENT = ("pip", "setuptools", "pkg_resources", "_distutils_hack")

COMMAND = Path(sys.executable).parent / "gcp-dicom-emulator"


def main() -> None:
    import gcp_dicom_emulator

    package = files("gcp_dicom_emulator")
    assert str(package).startswith(sys.prefix), f"gcp_dicom_emulator comes from {package}, not from the wheel"
    assert version("gcp-dicom-emulator") == gcp_dicom_emulator.__version__
    assert package.joinpath("py.typed").is_file()
    assert not [found.name for found in distributions() if "airflow" in found.name]
    brought = [path for path in Path(sysconfig.get_path("purelib")).iterdir() if not path.name.startswith(OF_THE_ENVIRONMENT)]
    size = sum(file.stat().st_size for path in brought for file in (path.rglob("*") if path.is_dir() else [path])) >> 20
    assert size <= MEGABYTES, f"it brings {size} MB"

    process = subprocess.Popen([COMMAND, "start", "--port", "0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().split()[-1]
    seeded = subprocess.run(
        [COMMAND, "seed", str(files("pydicom.data").joinpath("test_files")), "--port", url.rpartition(":")[2]],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    process.terminate()
    assert process.wait(60) == 0
    print(
        f"gcp-dicom-emulator {gcp_dicom_emulator.__version__} is installed, takes {size} MB, starts, and stored "
        f"{seeded.stdout.rpartition(': ')[2]}"
    )


if __name__ == "__main__":
    main()
