"""The data directory's transactions."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from gcp_dicom_emulator.kept.state import State


def test_a_transaction_that_cannot_be_committed_does_not_stay_open(tmp_path: Path) -> None:
    with contextlib.closing(State(tmp_path)) as state:
        state.create_tables(
            "CREATE TABLE a (id INTEGER PRIMARY KEY);"
            "CREATE TABLE b (a INTEGER REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED);"
            "PRAGMA foreign_keys = ON;"
        )
        blob = state.new_blob()
        blob.touch()

        def refer_to_nothing() -> None:
            with state.transaction() as connection:
                connection.execute("INSERT INTO b VALUES (1)")
                state.remove_when_committed(blob)

        with pytest.raises(sqlite3.IntegrityError):
            refer_to_nothing()
        with state.transaction() as connection:
            connection.execute("INSERT INTO a VALUES (2)")
        assert (blob.exists(), len(state.query("SELECT * FROM b"))) == (True, 0)
    with contextlib.closing(State(tmp_path)) as state:
        assert len(state.query("SELECT * FROM a")) == 1
