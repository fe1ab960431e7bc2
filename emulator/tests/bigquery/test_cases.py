"""SQL that was once answered wrong without a word: the cases by number, each with more of its kind."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud import bigquery

_SMALL = "(SELECT 1 AS id, CAST([] AS ARRAY<INT64>) AS a UNION ALL SELECT 2, [7])"

#: The case's number, the query, the names of its columns, its rows.
_CASES: list[tuple[int, str, list[str], list[tuple[Any, ...]]]] = [
    (0, "SELECT DISTINCT(x) FROM (SELECT 1 AS x)", ["x"], [(1,)]),
    (0, "SELECT l[OFFSET(0)].a FROM (SELECT [STRUCT(1 AS a)] AS l)", ["a"], [(1,)]),
    (0, "SELECT (t.x).a FROM (SELECT STRUCT(1 AS a) AS x) t", ["a"], [(1,)]),
    (0, "WITH t AS (SELECT l[OFFSET(0)].a FROM (SELECT [STRUCT(1 AS a)] AS l)) SELECT a FROM t", ["a"], [(1,)]),
    (0, "SELECT l[OFFSET(0)], x FROM (SELECT [1] AS l, 2 AS x)", ["f0_", "x"], [(1, 2)]),
    (1, "SELECT l[OFFSET(i)] FROM (SELECT ['p','q'] l), UNNEST([0,1]) i", ["f0_"], [("p",), ("q",)]),
    (1, "SELECT l[SAFE_OFFSET(i)] FROM (SELECT ['p'] l), UNNEST([-1,0,1]) i", ["f0_"], [(None,), ("p",), (None,)]),
    (1, "SELECT l[i], l[ORDINAL(i + 1)] FROM (SELECT ['p','q'] l), UNNEST([0,1]) i", ["f0_", "f1_"], [("p", "p"), ("q", "q")]),
    (1, "SELECT ['p','q'][OFFSET(CAST(1 AS INT64))], ['p'][SAFE_ORDINAL(0)]", ["f0_", "f1_"], [("q", None)]),
    (2, f"SELECT id, x, o FROM {_SMALL} t LEFT JOIN UNNEST(t.a) x WITH OFFSET o", ["id", "x", "o"], [(1, None, None), (2, 7, 0)]),
    (2, f"SELECT id, offset FROM {_SMALL} t CROSS JOIN UNNEST(t.a) WITH OFFSET", ["id", "offset"], [(2, 0)]),
    (2, "SELECT ARRAY(SELECT x FROM UNNEST(['b', 'a']) x WITH OFFSET o ORDER BY o DESC)", ["f0_"], [(["a", "b"],)]),
    (
        3,
        "WITH t AS (SELECT [STRUCT([10,20] AS v)] AS q) SELECT u.v[ORDINAL(1)], u.v[OFFSET(0)] FROM t, UNNEST(q) u",
        ["f0_", "f1_"],
        [(10, 10)],
    ),
    (3, "SELECT u.v[OFFSET(0)] FROM UNNEST([STRUCT(['x'] AS v)]) u", ["f0_"], [("x",)]),
    (4, """SELECT JSON_EXTRACT(s, '$.a') FROM UNNEST(['{"a" : {"b" : 4}}']) s""", ["f0_"], [('{"b":4}',)]),
    (4, """SELECT JSON_QUERY(s, '$.a') FROM UNNEST([JSON '{"a" : {"b" : 4}}']) s""", ["f0_"], [({"b": 4},)]),
    (6, "SELECT * FROM UNNEST([STRUCT('p' AS a, 1 AS b)])", ["a", "b"], [("p", 1)]),
    (6, "WITH t AS (SELECT * FROM UNNEST([STRUCT('p' AS a)])) SELECT a FROM t", ["a"], [("p",)]),
    (6, "SELECT * FROM UNNEST([1]) x WITH OFFSET o", ["x", "o"], [(1, 0)]),
    (7, "SELECT * FROM (SELECT AS STRUCT 1 AS a, 2 AS b)", ["a", "b"], [(1, 2)]),
    (7, "WITH t AS (SELECT AS STRUCT 1 AS a) SELECT a, t FROM t", ["a", "t"], [(1, {"a": 1})]),
    (7, "SELECT v FROM (SELECT AS VALUE x * 2 FROM UNNEST([1]) x) v", ["v"], [(2,)]),
    (7, "SELECT AS VALUE STRUCT(1 AS a)", ["a"], [(1,)]),
    (7, "SELECT (SELECT AS STRUCT 1 AS a, 2 AS b).b", ["b"], [(2,)]),
    (8, "SELECT STRUCT(1 AS a) AS s UNION ALL SELECT STRUCT(2 AS c)", ["s"], [({"a": 1},), ({"a": 2},)]),
    (8, "SELECT IFNULL(NULL, STRUCT(1 AS a)).a, [STRUCT(1 AS a), STRUCT(2 AS b)][OFFSET(1)].a AS b", ["a", "b"], [(1, 2)]),
    (9, "SELECT STRUCT(3 AS a) = STRUCT(3 AS b)", ["f0_"], [(True,)]),
    (9, "SELECT STRUCT(3 AS a) IN UNNEST([STRUCT(3 AS b)])", ["f0_"], [(True,)]),
    (9, "SELECT STRUCT(3 AS a) IN (STRUCT(4 AS b))", ["f0_"], [(False,)]),
    (
        9,
        "SELECT u.x FROM (SELECT STRUCT(1 AS a) AS k, 5 AS x) t JOIN (SELECT STRUCT(1 AS b) AS k, 6 AS x) u ON t.k = u.k",
        ["x"],
        [(6,)],
    ),
    (14, "SELECT x = DATE '2015-01-18' AS e FROM (SELECT DATE '2015-01-17' AS x UNION ALL SELECT '2015-01-18')", ["e"], [(False,), (True,)]),
    (21, "SELECT (1, NULL) = (1, 2), (1, NULL) = (2, 2)", ["f0_", "f1_"], [(None, False)]),
]  # fmt: skip

#: What real cohort queries do, and once could not.
_COHORTS: list[tuple[str, list[str], list[tuple[Any, ...]]]] = [
    ("WITH t AS (SELECT [STRUCT(1 AS y)] AS Seq) SELECT seq.y FROM t CROSS JOIN UNNEST(Seq) AS seq", ["y"], [(1,)]),
    ("SELECT ARRAY(SELECT AS STRUCT x AS n FROM UNNEST([3,1]) x ORDER BY n)", ["f0_"], [([{"n": 1}, {"n": 3}],)]),
    ("SELECT a FROM (SELECT [STRUCT(1 AS a)] AS s) t, UNNEST(t.s)", ["a"], [(1,)]),
    ("SELECT ARRAY(SELECT x FROM UNNEST([3]) x) AS l ORDER BY l[SAFE_OFFSET(0)]", ["l"], [([3],)]),
    ("SELECT COUNT(*) AS n FROM (SELECT [1,2] AS a) t WHERE EXISTS(SELECT 1 FROM t.a x WHERE x = 2)", ["n"], [(1,)]),
    ("SELECT UPPER(x) AS x, COUNT(*) AS n FROM UNNEST(['a','A']) x GROUP BY x", ["x", "n"], [("A", 2)]),
    ("SELECT a.x FROM (SELECT 1 x) a JOIN (SELECT 1 x) b ON a.x = b.x GROUP BY x ORDER BY x", ["x"], [(1,)]),
    ("SELECT a.x, o FROM (SELECT 1 x, 0 o) a JOIN UNNEST([5]) e WITH OFFSET o USING (o)", ["x", "o"], [(1, 0)]),
]  # fmt: skip


def _result(client: bigquery.Client, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    rows = client.query_and_wait(query, retry=None, job_retry=None)
    return [field.name for field in rows.schema], [tuple(row) for row in rows]


@pytest.mark.parametrize(("case", "query", "names", "rows"), _CASES, ids=lambda value: str(value)[:60])
def test_case(client: bigquery.Client, case: int, query: str, names: list[str], rows: list[tuple[Any, ...]]) -> None:
    found, given = _result(client, query)
    assert found == names
    assert sorted(given, key=repr) == sorted(rows, key=repr)


@pytest.mark.parametrize(("query", "names", "rows"), _COHORTS, ids=lambda value: str(value)[:60])
def test_cohort(client: bigquery.Client, query: str, names: list[str], rows: list[tuple[Any, ...]]) -> None:
    assert _result(client, query) == (names, rows)


@pytest.mark.parametrize("path", ["`{dataset}.t`.`x`", "{dataset}.t.x", "p.{dataset}.t.x", "`p.{dataset}.t`.x", "t.x"])
def test_a_table_may_be_named_by_its_path(client: bigquery.Client, dataset: str, path: str) -> None:
    """F4 of the clients: SQLAlchemy writes no other names."""
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT 1 AS x")
    named = path.format(dataset=dataset)
    assert _result(client, f"SELECT {named} FROM `p.{dataset}.t` WHERE {named} = 1 ORDER BY {named}") == (["x"], [(1,)])
