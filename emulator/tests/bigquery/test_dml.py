"""INSERT, UPDATE and MERGE: default values, fields of structs, rows that match twice, and what columns take."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

_STRUCT = "STRUCT<a INT64, b STRUCT<c STRING, e FLOAT64>>"
_COLUMNS = f"id INT64, name STRING, d DATE DEFAULT DATE '2020-01-01', p {_STRUCT}, tags ARRAY<STRING>"


@pytest.fixture
def table(client: bigquery.Client, dataset: str) -> str:
    """The path of a table with one row."""
    name = f"{dataset}.t"
    client.query_and_wait(f"CREATE TABLE {name} ({_COLUMNS})")
    client.query_and_wait(f"INSERT {name} (id, name, p) VALUES (1, 'one', (1, ('c', 1.5)))")
    return name


def _rows(client: bigquery.Client, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query_and_wait(query, retry=None, job_retry=None)]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT {} (id, d) VALUES (2, DEFAULT)",
        "INSERT {} VALUES (2, NULL, DEFAULT, DEFAULT, DEFAULT)",
        "INSERT {} (id) SELECT DISTINCT 2",
        "INSERT {} (id) SELECT 2 UNION DISTINCT SELECT 2",
        "INSERT {} (id, d) VALUES (2, '1999-01-01'); UPDATE {} SET d = DEFAULT WHERE id = 2",
        "MERGE {} t USING (SELECT 2 AS k) s ON t.id = s.k WHEN NOT MATCHED THEN INSERT (id) VALUES (k)",
        "MERGE {} t USING (SELECT 2 AS k) s ON t.id = s.k WHEN NOT MATCHED THEN INSERT (id, d) VALUES (k, DEFAULT)",
        "MERGE {} t USING (SELECT 2 AS k) s ON t.id = s.k WHEN NOT MATCHED THEN INSERT VALUES (k, NULL, DEFAULT, NULL, [])",
    ],
)
def test_default_values(client: bigquery.Client, table: str, statement: str) -> None:
    client.query_and_wait(statement.replace("{}", table))
    assert _rows(client, f"SELECT CAST(d AS STRING), p.a FROM {table} WHERE id = 2") == [("2020-01-01", None)]


@pytest.mark.parametrize(
    ("changes", "struct"),
    [
        ("p.a = p.a + 1", {"a": 2, "b": {"c": "c", "e": 1.5}}),
        ("p.b.c = name, p.a = 7", {"a": 7, "b": {"c": "one", "e": 1.5}}),
        ("t.p.b.e = 2", {"a": 1, "b": {"c": "c", "e": 2.0}}),
        ("t.p.b = NULL", {"a": 1, "b": None}),
    ],
)
def test_fields_of_structs_are_set(client: bigquery.Client, table: str, changes: str, struct: dict[str, Any]) -> None:
    client.query_and_wait(f"UPDATE {table} t SET {changes} WHERE id = 1")
    merged = f"MERGE {table} t USING (SELECT 1 AS k) ON id = k WHEN MATCHED THEN UPDATE SET {changes.replace('p.a + 1', 'p.a')}"
    client.query_and_wait(merged)
    assert _rows(client, f"SELECT p FROM {table}") == [(struct,)]


def test_a_field_of_a_struct_that_is_null_is_set(client: bigquery.Client, table: str) -> None:
    client.query_and_wait(f"INSERT {table} (id) VALUES (2); UPDATE {table} SET p.b.c = 'x' WHERE id = 2")
    assert _rows(client, f"SELECT p FROM {table} WHERE id = 2") == [({"a": None, "b": {"c": "x", "e": None}},)]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "UPDATE {} t SET name = s.v FROM (SELECT 1 AS k, 'a' AS v UNION ALL SELECT 1, 'b') s WHERE t.id = s.k",
            "UPDATE/MERGE must match at most one source row for each target row",
        ),
        (
            "MERGE {} t USING (SELECT 1 AS k UNION ALL SELECT 1) s ON t.id = s.k WHEN MATCHED THEN UPDATE SET name = 'x'",
            "UPDATE/MERGE must match at most one source row for each target row",
        ),
        ("UPDATE {} SET nope = 1 WHERE TRUE", "Unrecognized name: nope"),
        ("UPDATE {} SET id = 1, id = 2 WHERE TRUE", "assigned more than once"),
        ("UPDATE {} SET p.a = 1, p = NULL WHERE TRUE", "overlaps"),
        ("UPDATE {} SET p.z = 1 WHERE TRUE", "Field name z does not exist"),
        ("UPDATE {} SET tags.z = 1 WHERE TRUE", "Cannot access field z"),
        ("UPDATE {} SET p.a = 'x' WHERE TRUE", "cannot be assigned to p"),
        ("INSERT {} (id, name) VALUES (1)", "Has 1, expected 2"),
        ("INSERT {} (id, p) VALUES (2, STRUCT(1.5, NULL))", "cannot be inserted into column p"),
        ("INSERT {} (id, p) SELECT 2, STRUCT(1)", "cannot be inserted into column p"),
        ("INSERT {} (id, tags) VALUES (2, [1])", "cannot be inserted into column tags"),
        ("INSERT {} (id, tags) VALUES (2, 'a')", "cannot be inserted into column tags"),
        (
            "MERGE {} t USING (SELECT 2 AS k) s ON t.id = s.k WHEN NOT MATCHED THEN INSERT (id, tags) VALUES (k, [1])",
            "cannot be inserted into column tags",
        ),
        (
            "MERGE {} t USING (SELECT 1 AS id) s ON t.id = s.id WHEN MATCHED THEN INSERT (id) VALUES (1)",
            "Unexpected keyword INSERT",
        ),
        ("MERGE {} t USING (SELECT 1 AS k) s ON FALSE WHEN NOT MATCHED THEN UPDATE SET name = 'x'", "Unexpected keyword UPDATE"),
        ("MERGE {} t USING (SELECT 1 AS k) s ON FALSE WHEN NOT MATCHED BY TARGET THEN DELETE", "Unexpected keyword DELETE"),
        ("MERGE {} t USING (SELECT 1 AS k) s ON FALSE WHEN NOT MATCHED BY SOURCE THEN INSERT ROW", "Unexpected keyword INSERT"),
        ("MERGE {} t USING (SELECT 2 AS id) s ON FALSE WHEN NOT MATCHED THEN INSERT ROW", "Has 1, expected 5"),
        (
            "MERGE {} t USING (SELECT 2 AS k) s ON FALSE WHEN NOT MATCHED THEN INSERT (id, ID) VALUES (1, 2)",
            "duplicated column names: ID",
        ),
        (
            "MERGE {} t USING (SELECT 2 AS k) s ON FALSE WHEN NOT MATCHED THEN INSERT (nope) VALUES (1)",
            "Column nope is not present",
        ),
    ],
)
def test_what_a_table_does_not_take(client: bigquery.Client, table: str, statement: str, message: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=message):
        _rows(client, statement.format(table))
    assert _rows(client, f"SELECT id, name, p.a FROM {table}") == [(1, "one", 1)]


def test_structs_are_merged_by_the_places_of_their_fields(client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.s (k INT64, s STRUCT<a INT64, b STRING>)")
    source = "(SELECT 1 AS id, STRUCT(5 AS x, 'y' AS a) AS st)"
    client.query_and_wait(f"MERGE {dataset}.s USING {source} ON k = id WHEN NOT MATCHED THEN INSERT (k, s) VALUES (id, st)")
    assert _rows(client, f"SELECT s FROM {dataset}.s") == [({"a": 5, "b": "y"},)]


def test_an_update_that_would_count_rows_by_a_column_of_theirs_is_refused(client: bigquery.Client, dataset: str) -> None:
    """DuckDB's own number of a row has a name that a column may have."""
    client.query_and_wait(f"CREATE TABLE {dataset}.r (rowid INT64, a STRING); INSERT {dataset}.r VALUES (5, 'x'), (5, 'y')")
    client.query_and_wait(f"UPDATE {dataset}.r SET a = 'z' WHERE rowid = 5")
    with pytest.raises(exceptions.MethodNotImplemented, match="a column rowid"):
        client.query_and_wait(
            f"UPDATE {dataset}.r r SET a = s.a FROM (SELECT 5 AS k, 'n' AS a) s WHERE r.rowid = s.k", job_retry=None
        )
    assert _rows(client, f"SELECT rowid, a FROM {dataset}.r") == [(5, "z"), (5, "z")]


def test_insert_row_takes_the_columns_of_the_source_in_their_order(client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.r (a STRING, b STRING)")
    for source in ("(SELECT 'a' AS b, 'b' AS a)", "UNNEST([STRUCT('a' AS x, 'b' AS y)])"):
        client.query_and_wait(f"MERGE {dataset}.r USING {source} s ON FALSE WHEN NOT MATCHED THEN INSERT ROW", job_retry=None)
    assert _rows(client, f"SELECT * FROM {dataset}.r") == [("a", "b"), ("a", "b")]


def test_a_merge_says_what_it_did(client: bigquery.Client, table: str) -> None:
    client.query_and_wait(f"INSERT {table} (id) VALUES (2), (3), (4)")
    job = client.query(f"""
        MERGE {table} t USING UNNEST([1, 2, 8]) k ON t.id = k
        WHEN MATCHED AND k = 1 THEN DELETE
        WHEN MATCHED THEN UPDATE SET name = 'two'
        WHEN NOT MATCHED THEN INSERT (id) VALUES (k)
        WHEN NOT MATCHED BY SOURCE THEN DELETE
    """)
    job.result()
    assert job.dml_stats is not None
    assert (job.dml_stats.inserted_row_count, job.dml_stats.updated_row_count, job.dml_stats.deleted_row_count) == (1, 1, 3)
    assert job.num_dml_affected_rows == 5
    assert _rows(client, f"SELECT id, name FROM {table} ORDER BY id") == [(2, "two"), (8, None)]
