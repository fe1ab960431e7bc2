"""Release 0.1.0, which today's is compared with: it is in the history of a clone."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

FIRST_RELEASE = "905a6466667588bbee404368f8509d749bbb0f6f"


def unpack_first_release(folder: Path) -> None:
    """Put the package ``airflow_dicom`` into a folder, as the first release had it, its emulator included."""
    command = ["git", "archive", FIRST_RELEASE, "airflow_dicom"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True)
    assert not done.returncode, f"The history of a clone has release 0.1.0: git fetch --unshallow. {done.stderr.decode()}"
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
