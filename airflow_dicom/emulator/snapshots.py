"""Snapshots: everything the emulator keeps, as one tar file."""

from __future__ import annotations

import sqlite3
import tarfile
from pathlib import Path

from airflow_dicom.emulator.errors import ApiError

#: What a snapshot holds of the directory; the rest is of the moment.
_CONTENT = ("metadata.sqlite", "bigquery.duckdb", "blobs")


def write_snapshot(directory: Path, file: Path) -> None:
    """Write what is in a data directory to a tar file. Nothing may be at work there.

    :param directory: the data directory.
    """
    with tarfile.open(file, "w") as archive:
        for name in _CONTENT:
            if (directory / name).exists():
                archive.add(directory / name, name)


def extract_snapshot(file: Path, directory: Path) -> None:
    """Extract a snapshot to an empty directory.

    :raises ApiError: 400 for a file that is no snapshot.
    """
    try:
        with tarfile.open(file, "r:") as archive:
            # The filter refuses whatever would leave the directory.
            archive.extractall(directory, filter="data")
        strangers = {path.name for path in directory.iterdir()} - set(_CONTENT)
        if strangers:
            raise ApiError(400, f"This is no snapshot of an emulator: it has {', '.join(sorted(strangers))}.")
        _check_database(directory / "metadata.sqlite")
    except (tarfile.TarError, sqlite3.Error, OSError) as error:
        raise ApiError(400, f"This is no snapshot of an emulator: {error}") from error


def _check_database(path: Path) -> None:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        connection.execute("SELECT COUNT(*) FROM objects").fetchone()
    finally:
        connection.close()
