"""SQL reaches the tables and nothing else."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from tests.bigquery.conftest import Running


@pytest.mark.parametrize(
    "sql",
    [
        "ATTACH 'FILE' AS x",
        "ATTACH DATABASE 'FILE' AS x",
        "DETACH x",
        "COPY (SELECT 1) TO 'FILE'",
        "COPY D.t TO 'FILE'",
        "COPY D.t FROM 'FILE'",
        "EXPORT DATABASE 'FILE'",
        "IMPORT DATABASE 'FILE'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "LOAD 'FILE'",
        "PRAGMA database_list",
        "PRAGMA enable_external_access",
        "SET enable_external_access = true",
        "SET GLOBAL threads = 1",
        "RESET lock_configuration",
        "CALL pragma_version()",
        "CHECKPOINT",
        "VACUUM",
        "USE main",
        "DESCRIBE D.t",
        "SHOW TABLES",
        "EXPLAIN SELECT 1",
        "SUMMARIZE D.t",
        "CREATE SECRET s (TYPE s3)",
        "CREATE MACRO m(a) AS a",
        "CREATE SEQUENCE s",
        "CREATE TYPE t AS ENUM ('a')",
        "SELECT * FROM read_csv('FILE')",
        "SELECT * FROM read_text('FILE')",
        "SELECT * FROM read_blob('FILE')",
        "SELECT * FROM read_parquet('FILE')",
        "SELECT * FROM read_json('FILE')",
        "SELECT * FROM glob('*')",
        "SELECT * FROM 'FILE'",
        "SELECT * FROM `FILE`",
        "SELECT * FROM D.`FILE`",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM duckdb_tables",
        "SELECT * FROM duckdb_tables()",
        "SELECT * FROM sqlite_master",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM main.duckdb_tables",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM query_table('t')",
        "SELECT getenv('HOME')",
        "SELECT current_setting('temp_directory')",
        "SELECT read_text('FILE')",
        "SELECT (SELECT content FROM read_text('FILE'))",
        "WITH x AS (SELECT * FROM read_text('FILE')) SELECT * FROM x",
        "INSERT INTO D.t SELECT content FROM read_text('FILE')",
        "CREATE TABLE D.u AS SELECT * FROM read_text('FILE')",
        "CREATE VIEW D.v AS SELECT * FROM read_text('FILE')",
        "EXPORT DATA OPTIONS(uri='gs://b/*', format='CSV') AS SELECT * FROM read_text('FILE')",
        "SELECT 1; COPY (SELECT 1) TO 'FILE'",
    ],
)
def test_sql_reaches_no_file(client: bigquery.Client, dataset: str, tmp_path: Path, sql: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t (a STRING)")
    file = tmp_path / "secret"
    file.write_text("secret")
    with pytest.raises((exceptions.BadRequest, exceptions.NotFound, exceptions.MethodNotImplemented)):
        client.query_and_wait(sql.replace("FILE", str(file)).replace("D.", f"{dataset}."))
    assert file.read_text() == "secret"
    assert client.get_table(f"p.{dataset}.t").num_rows == 0


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "COPY (SELECT 1) TO '/tmp/never-written'",
        "ATTACH '/tmp/never-written.duckdb'",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "INSTALL httpfs",
    ],
)
def test_even_duckdb_itself_is_closed(emulator: Running, sql: str) -> None:
    with emulator.bigquery.catalog.engine.cursor() as cursor, pytest.raises(duckdb.Error, match=r"disabled|locked|Cannot"):
        cursor.execute(sql)


def test_an_identifier_stays_one(client: bigquery.Client, tmp_path: Path) -> None:
    file = tmp_path / "written"
    (row,) = client.query_and_wait(f"SELECT x FROM (SELECT 1 AS `a\"; COPY (SELECT 1) TO '{file}'; --`, 2 AS x)")
    assert tuple(row) == (2,)
    assert not file.exists()
