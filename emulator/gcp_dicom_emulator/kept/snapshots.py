"""Snapshots: everything the emulator keeps, as one tar file."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tarfile
from pathlib import Path, PurePosixPath

from gcp_dicom_emulator.kept.state import CONTENT, columns
from gcp_dicom_emulator.rest.errors import ApiError


def write_snapshot(directory: Path, file: Path) -> None:
    """Write what is in a data directory to a tar file. Nothing may be at work there.

    :param directory: the data directory.
    """
    with tarfile.open(file, "w") as archive:
        for name in CONTENT:
            if (directory / name).exists():
                archive.add(directory / name, name)


def extract_snapshot(file: Path, directory: Path, expected: set[tuple[str, str]]) -> None:
    """Extract a snapshot to an empty directory.

    :param expected: the tables and columns that this version of the emulator has, see :meth:`State.columns`.
    :raises ApiError: 400 for a file that is not a snapshot.
    """
    try:
        with tarfile.open(file, "r:") as archive:
            for entry in archive:
                _extract(archive, entry, directory)
        _check_metadata(directory / "metadata.sqlite", expected)
    except (tarfile.TarError, sqlite3.Error, FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise ApiError(400, f"This is not a snapshot of an emulator: {error}") from error


def _extract(archive: tarfile.TarFile, entry: tarfile.TarInfo, directory: Path) -> None:
    parts = PurePosixPath(entry.name).parts
    if ".." in parts or not parts or parts[0] not in CONTENT or not (entry.isfile() or entry.isdir()):
        raise ApiError(400, f"This is not a snapshot of an emulator: it has {entry.name}.")
    path = directory.joinpath(*parts)
    if entry.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(entry)
    assert content is not None
    with content, path.open("wb") as target:
        shutil.copyfileobj(content, target, 1 << 20)


def _check_metadata(path: Path, expected: set[tuple[str, str]]) -> None:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        if not expected <= columns(database):
            raise ApiError(400, "This is not a snapshot of this version of the emulator.")
