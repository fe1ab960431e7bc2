"""SQL that was once answered wrong without a word: the cases by number, each with more of its kind."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

_SMALL = "(SELECT 1 AS id, CAST([] AS ARRAY<INT64>) AS a UNION ALL SELECT 2, [7])"

#: The case's number, the query, the names of its columns, its rows.
_CASES: list[tuple[int, str, list[str], list[tuple[Any, ...]]]] = [
    (0, "SELECT DISTINCT(x) FROM (SELECT 1 AS x)", ["x"], [(1,)]),
    (0, "SELECT l[OFFSET(0)].a FROM (SELECT [STRUCT(1 AS a)] AS l)", ["a"], [(1,)]),
    (0, "SELECT (t.x).a FROM (SELECT STRUCT(1 AS a) AS x) t", ["a"], [(1,)]),
    (0, "WITH t AS (SELECT l[OFFSET(0)].a FROM (SELECT [STRUCT(1 AS a)] AS l)) SELECT a FROM t", ["a"], [(1,)]),
    (0, "SELECT 1 AS a, 2 AS A, 3 AS a, 4", ["a", "A_1", "a_2", "f0_"], [(1, 2, 3, 4)]),
    (0, "SELECT * FROM (SELECT 1 AS a) AS t JOIN (SELECT [2] AS a) AS u ON TRUE", ["a", "a_1"], [(1, [2])]),
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
    (7, "SELECT (SELECT AS STRUCT t.* FROM (SELECT 1 AS a, 2 AS b) AS t).b", ["b"], [(2,)]),
    (7, "SELECT ARRAY(SELECT AS STRUCT * FROM (SELECT 1 AS a)) AS l", ["l"], [([{"a": 1}],)]),
    (18, "SELECT a, COUNT(*) AS n FROM UNNEST([1, 1, 2]) a GROUP BY ALL QUALIFY RANK() OVER (ORDER BY a) = 1", ["a", "n"], [(1, 2)]),
    (
        19,
        "SELECT * REPLACE (IS_NAN(x) AS x) FROM (SELECT x, 1 AS a FROM UNNEST([1.0, CAST('nan' AS FLOAT64)]) x) "
        "LEFT JOIN (SELECT x, 2 AS b FROM UNNEST([1.0, CAST('nan' AS FLOAT64)]) x) USING (x) ORDER BY b DESC",
        ["x", "a", "b"],
        [(False, 1, 2), (True, 1, None)],
    ),
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
    (14, "SELECT DATE '2015-01-17' AS x UNION ALL SELECT '2015-01-17'", ["x"], [(datetime.date(2015, 1, 17),)] * 2),
    (18, "SELECT 'a' AS x FROM UNNEST([1, 2]) GROUP BY ALL", ["x"], [("a",)]),
    (21, "SELECT (1, NULL) = (1, 2), (1, NULL) = (2, 2)", ["f0_", "f1_"], [(None, False)]),
    (0, "SELECT * FROM (SELECT 2 AS v, 1 AS k) JOIN (SELECT 3 AS w, 1 AS k) USING (k)", ["k", "v", "w"], [(1, 2, 3)]),
    (0, "WITH t AS (SELECT COUNT(*), 1 AS a FROM UNNEST([1])) SELECT * FROM t", ["f0_", "a"], [(1, 1)]),
    (0, "SELECT * FROM (SELECT TRUE AS k, 1 AS v) PIVOT(SUM(v) AS s FOR k IN (TRUE))", ["s_TRUE"], [(1,)]),
    (0, "SELECT * FROM (SELECT 1 AS k) PIVOT(COUNT(*) FOR k IN (1, -2, 3 AS c))", ["_1", "minus_2", "c"], [(1, 0, 0)]),
    (0, "SELECT * FROM (SELECT 1 AS k) PIVOT(COUNT(*) AS n FOR k IN (1, -2))", ["n_1", "n_minus_2"], [(1, 0)]),
    (
        0,
        "SELECT * FROM (SELECT CAST(NULL AS STRING) AS k) PIVOT(COUNT(*) FOR k IN ('', NULL, 'a b'))",
        ["empty_string_value", "NULL", "a b"],
        [(0, 1, 0)],
    ),
    (0, "SELECT p._1 FROM (SELECT 1 AS k) PIVOT(COUNT(*) FOR k IN (1, 2)) p", ["_1"], [(1,)]),
    (1, "SELECT JSON '[1,2]'[i], JSON '{}'['a'] FROM UNNEST([1]) i", ["f0_", "f1_"], [(2, None)]),
    (2, f"SELECT id, x, o FROM {_SMALL} t LEFT JOIN t.a AS x WITH OFFSET o", ["id", "x", "o"], [(1, None, None), (2, 7, 0)]),
    (2, f"SELECT id, offset FROM {_SMALL} t, t.a WITH OFFSET", ["id", "offset"], [(2, 0)]),
    (6, "SELECT * FROM UNNEST([1])", ["f0_"], [(1,)]),
    (6, "SELECT * FROM UNNEST(['a']) WITH OFFSET", ["f0_", "offset"], [("a", 0)]),
    (9, "SELECT (1, 'b') IN (SELECT AS STRUCT x, 'b' FROM UNNEST([1]) x)", ["f0_"], [(True,)]),
    (19, "SELECT ARRAY_AGG(IS_NAN(x) ORDER BY x DESC) FROM UNNEST([1.0, CAST('nan' AS FLOAT64)]) x", ["f0_"], [([False, True],)]),
    (28, "SELECT 1 AS x;\n-- done\n", ["x"], [(1,)]),
]  # fmt: skip

_NOON = datetime.datetime(1987, 8, 7, 12)
_DAY = datetime.date(2020, 1, 2)

#: The case's number, an expression, its value.
_VALUES: list[tuple[int, str, Any]] = [
    (5, "(SELECT COUNTIF(x > 2) FROM UNNEST(CAST([] AS ARRAY<INT64>)) x)", 0),
    (5, "(SELECT COUNTIF(x > 2) FROM UNNEST([CAST(NULL AS INT64)]) x)", 0),
    (5, "(SELECT COUNTIF(DISTINCT x > 2) FROM UNNEST([1, 3, 4]) x)", 1),
    (10, "DATE_TRUNC(DATETIME '1987-08-07 12:34:56', HOUR)", _NOON),
    (10, "DATE_TRUNC(TIMESTAMP '2020-01-02 03:04:05', MONTH)", datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)),
    (10, "DATE_ADD(DATETIME '1987-08-06 12:00:00', INTERVAL 1 DAY)", _NOON),
    (10, "DATE_SUB('2020-01-03', INTERVAL 1 DAY)", _DAY),
    (10, "DATE_TRUNC(DATE '2024-05-15', WEEK(WEDNESDAY))", datetime.date(2024, 5, 15)),
    (10, "DATE_TRUNC(DATE '2024-05-15', WEEK)", datetime.date(2024, 5, 12)),
    (
        11,
        "TO_JSON_STRING(STRUCT(TIMESTAMP '2020-01-02 03:04:05' AS t, 1.0 AS f, b'a' AS b))",
        '{"t":"2020-01-02T03:04:05Z","f":1,"b":"YQ=="}',
    ),
    (11, "TO_JSON_STRING([9007199254740993, 1])", '["9007199254740993",1]'),
    (11, "TO_JSON_STRING(STRUCT(DATETIME '2020-01-02 03:04:05' AS d, NUMERIC '1.50' AS n))", '{"d":"2020-01-02T03:04:05","n":1.5}'),
    (11, "TO_JSON_STRING(STRUCT(CAST('nan' AS FLOAT64) AS x, [STRUCT(NULL AS y)] AS l))", '{"x":"NaN","l":[{"y":null}]}'),
    (12, "SAFE.SQRT(-1)", None),
    (12, "SAFE.LN(-1)", None),
    (12, "SAFE_DIVIDE(1e300, 1e-300)", None),
    (13, "SAFE.LEFT('apple', -1)", None),
    (13, "SAFE.REPEAT('a', -1)", None),
    (15, "SAFE.INT64(JSON '10.1')", None),
    (15, "LAX_INT64(JSON '\"42\"')", 42),
    (15, "INT64(JSON '10.0')", 10),
    (16, "(SELECT STRING_AGG(b) FROM UNNEST([b'\\xff', b'a']) b)", b"\xff,a"),
    (16, "UPPER(b'a\\xe9')", b"A\xe9"),
    (16, "SUBSTR(b'abc', 2)", b"bc"),
    (17, "(SELECT CORR(y, x) FROM UNNEST([STRUCT(1.0 AS y, 1.0 AS x)]))", None),
    (19, "ARRAY(SELECT IS_NAN(x) FROM UNNEST([1.0, CAST('nan' AS FLOAT64)]) x ORDER BY x)", [True, False]),
    (19, "(SELECT IS_NAN(MIN(x)) FROM UNNEST([1.0, CAST('nan' AS FLOAT64)]) x)", True),
    (25, "SAFE_CAST('2024-01-05 10:00:00' AS DATE)", None),
    (25, "SAFE_CAST('24-01-05' AS DATE)", None),
    (25, "SAFE_CAST('10:11' AS TIME)", None),
    (25, "SAFE_CAST('epoch' AS TIMESTAMP)", None),
    (25, "SAFE_CAST('-infinity' AS DATETIME)", None),
    (25, "SAFE_CAST('1_0' AS FLOAT64)", None),
    (25, "SAFE_CAST('24:00:00' AS TIME)", None),
    (25, "SAFE_CAST('0000-01-01' AS DATE)", None),
    (25, "SAFE_CAST(' 1.5e3 ' AS FLOAT64)", 1500.0),
    (20, "SAFE.DATE_ADD(DATE '9999-12-31', INTERVAL 1 DAY)", None),
    (22, "(SELECT ARRAY_AGG(JSON_VALUE(x, '$.a') IGNORE NULLS) FROM UNNEST(['{\"a\":1}', 'bad', '']) x)", ["1"]),
    (23, "(SELECT APPROX_QUANTILES(x, 2) FROM UNNEST([1,1,1,4,5,6,7,8,9,10]) x)", [1, 5, 10]),
    (23, "(SELECT APPROX_QUANTILES(x, 1) FROM UNNEST(['b', 'a']) x)", ["a", "b"]),
    (24, "INSTR('abcabc', 'c', -1)", 6),
    (24, "INSTR('abcabc', 'a', -4)", 1),
    (24, "INSTR('banana', 'an', 1, 2)", 4),
    (26, "ARRAY_CONCAT([1], NULL) IS NULL", True),
    (26, "GENERATE_ARRAY(1, 2, 0.5)", [1.0, 1.5, 2.0]),
    (26, "SPLIT(b'a,b', b',')", [b"a", b"b"]),
    (26, "CONCAT('a', NULL)", None),
    (1, "ARRAY_FILTER([0, 2, 3], (e, i) -> e > i)", [2, 3]),
    (4, "JSON_QUERY('{\"a\":null}', '$.a')", None),
    (4, "(SELECT TO_JSON_STRING(JSON_OBJECT(key, value)) FROM (SELECT 'a' AS key, 1 AS value))", '{"a":1}'),
    (4, "TO_JSON_STRING(JSON_OBJECT(['a', 'b'], [1, 2]))", '{"a":1,"b":2}'),
    (4, "TO_JSON_STRING(JSON_ARRAY_APPEND(JSON '{\"a\":1}', '$.b', 2))", '{"a":1}'),
    (10, "UNIX_SECONDS(TIMESTAMP '1970-01-02 00:00:00.9+00')", 86400),
    (10, "UNIX_SECONDS(TIMESTAMP '1969-12-31 23:59:59.5+00')", -1),
    (10, "FORMAT_TIMESTAMP('%s', TIMESTAMP '1970-01-01 00:00:01.9+00')", "1"),
    (10, "TIMESTAMP '2024-01-02 10:00:00-8'", datetime.datetime(2024, 1, 2, 18, tzinfo=datetime.UTC)),
    (10, "TIMESTAMP '2024-01-02+00'", datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC)),
    (10, "TIMESTAMP('2024-01-02 10:00:00', '-08:00')", datetime.datetime(2024, 1, 2, 18, tzinfo=datetime.UTC)),
    (
        10,
        "GENERATE_TIMESTAMP_ARRAY('2024-01-01', '2024-01-01', INTERVAL 1 DAY)",
        [datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)],
    ),
    (10, "CAST('15:30' AS TIME FORMAT 'HH24:MI')", datetime.time(15, 30)),
    (10, "CAST('2024-01-02 03' AS DATETIME FORMAT 'YYYY-MM-DD HH24')", datetime.datetime(2024, 1, 2, 3)),
    (10, "SAFE_CAST('x' AS DATE FORMAT 'YYYY')", None),
    (11, "TO_JSON_STRING(STRUCT(TIME '10:00:00.5' AS t))", '{"t":"10:00:00.500"}'),
    (11, "TO_JSON_STRING(TO_JSON(9007199254740993))", "9007199254740993"),
    (11, "TO_JSON_STRING(TO_JSON(9007199254740993, stringify_wide_numbers => TRUE))", '"9007199254740993"'),
    (12, "SAFE_NEGATE(-9223372036854775808)", None),
    (12, "1 << 64", 0),
    (12, "RANGE_BUCKET(20, [0, 10, 20, 30])", 3),
    (19, "IS_NAN(LEAST(1.0, CAST('nan' AS FLOAT64)))", True),
    (19, "IS_NAN(NULLIF(CAST('nan' AS FLOAT64), CAST('nan' AS FLOAT64)))", True),
    (19, "CASE CAST('nan' AS FLOAT64) WHEN CAST('nan' AS FLOAT64) THEN 1 ELSE 2 END", 2),
    (24, "TRIM('\\t a\\n\\u00a0')", "a"),
    (24, "LTRIM('\\n a ')", "a "),
    (24, "NORMALIZE('e\\u0301')", "é"),
    (25, "SAFE_CAST('1_0' AS NUMERIC)", None),
    (25, "SAFE_CAST('1e400' AS FLOAT64)", None),
    (25, "SAFE_CAST('2024-01-05 24:00:00' AS DATETIME)", None),
    (25, "SAFE_CAST('2024-01-05 10:00:00+25:00' AS TIMESTAMP)", None),
    (26, "GENERATE_ARRAY(NUMERIC '1', 2, 0.5)", [decimal.Decimal("1"), decimal.Decimal("1.5"), decimal.Decimal("2")]),
    (27, "SAFE.POW(10, 400)", None),
    (27, "SAFE.EXP(1000)", None),
    (27, "SAFE.ACOS(2)", None),
]  # fmt: skip

#: The case's number, an expression that BigQuery refuses when it works it out, a part of the message.
_ERRORS = [
    (12, "SQRT(-1)", "SQRT"),
    (12, "1e300 * 1e300", "overflow"),
    (12, "1e300 / 1e-300", "overflow"),
    (13, "LEFT('apple', -1)", "negative"),
    (13, "RPAD('abc', 1000000000)", "1MB"),
    (13, "REPEAT('abc', 1000000000)", "1MB"),
    (13, "TRANSLATE('a', 'aa', 'b')", "Duplicate"),
    (13, "GENERATE_ARRAY(1, 2, 0)", "step cannot be 0"),
    (15, "STRING(JSON '123')", "not a string"),
    (15, "INT64(JSON '\"4\"')", "not an integer"),
    (20, "DATE_ADD(DATE '9999-12-31', INTERVAL 1 DAY)", "overflow"),
    (20, "CAST('24:00:00' AS TIME)", "Invalid time"),
    (20, "DATETIME_ADD(DATETIME '9999-12-31 23:59:59', INTERVAL 1 DAY)", "overflow"),
    (24, "INSTR('abc', 'b', 0)", "INSTR"),
    (1, "l[i] FROM (SELECT [1, 2] AS l, 2 AS i)", "out of bounds"),
    (10, "DATE_TRUNC(DATE '2024-05-15', HOUR)", "HOUR date part"),
    (10, "DATE_ADD(DATE '2024-05-15', INTERVAL 1 HOUR)", "HOUR date part"),
    (10, "TIMESTAMP_TRUNC(TIMESTAMP '2024-05-15', CENTURY)", "valid date part"),
    (10, "EXTRACT(HOUR FROM DATE '2024-05-15')", "HOUR date part"),
    (10, "EXTRACT(EPOCH FROM TIMESTAMP '2024-05-15')", "valid date part"),
    (10, "DATE_DIFF(DATE '2024-01-01', DATE '2024-01-01')", "No matching signature"),
    (10, "TIMESTAMP('2024-01-02 10:00:00', 'Mars/Phobos')", "Invalid time zone"),
    (12, "SINH(1000)", "SINH"),
    (12, "1 << -1", "negative offset"),
    (13, "REGEXP_EXTRACT('abc', 'b', 0)", "positive"),
    (20, "TIMESTAMP_MICROS(-9223372036854775808)", "Invalid timestamp"),
    (20, "DATE_FROM_UNIX_DATE(10000000)", "overflow"),
    (20, "DATE '9999-12-31' + 1", "overflow"),
    (20, "DATETIME '9999-12-31 23:59:59' + INTERVAL 1 DAY", "overflow"),
    (20, "TIMESTAMP '0000-01-01 00:00:00'", "Invalid timestamp"),
    (25, "CAST(x AS NUMERIC) FROM UNNEST(['x']) x", "Invalid NUMERIC value"),
    (27, "LN(0)", "LN"),
    (27, "POW(10, 400)", "POW"),
]

#: What real cohort queries do, and once could not.
_COHORTS: list[tuple[str, list[str], list[tuple[Any, ...]]]] = [
    ("WITH t AS (SELECT [STRUCT(1 AS y)] AS Seq) SELECT seq.y FROM t CROSS JOIN UNNEST(Seq) AS seq", ["y"], [(1,)]),
    ("SELECT ARRAY(SELECT AS STRUCT x AS n FROM UNNEST([3,1]) x ORDER BY n)", ["f0_"], [([{"n": 1}, {"n": 3}],)]),
    ("SELECT a FROM (SELECT [STRUCT(1 AS a)] AS s) t, UNNEST(t.s)", ["a"], [(1,)]),
    ("SELECT ARRAY(SELECT x FROM UNNEST([3]) x) AS l ORDER BY l[SAFE_OFFSET(0)]", ["l"], [([3],)]),
    ("SELECT COUNT(*) AS n FROM (SELECT [1,2] AS a) t WHERE EXISTS(SELECT 1 FROM t.a x WHERE x = 2)", ["n"], [(1,)]),
    ("SELECT UPPER(x) AS x, COUNT(*) AS n FROM UNNEST(['a','A']) x GROUP BY x", ["x", "n"], [("A", 2)]),
    ("SELECT a.x FROM (SELECT 1 x) a JOIN (SELECT 1 x) b ON a.x = b.x GROUP BY x ORDER BY x", ["x"], [(1,)]),
    (
        "SELECT x, ROW_NUMBER() OVER (PARTITION BY CAST(x AS INT64) ORDER BY CAST(x AS FLOAT64) / 2) AS n FROM UNNEST(['1']) x",
        ["x", "n"],
        [("1", 1)],
    ),
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


@pytest.mark.parametrize(("case", "expression", "value"), _VALUES, ids=lambda value: str(value)[:60])
def test_value(client: bigquery.Client, case: int, expression: str, value: Any) -> None:
    _, rows = _result(client, f"SELECT {expression}")
    assert rows == [(value,)]


@pytest.mark.parametrize(("case", "expression", "message"), _ERRORS, ids=lambda value: str(value)[:60])
def test_error(client: bigquery.Client, case: int, expression: str, message: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=message):
        _result(client, f"SELECT {expression}")


@pytest.mark.parametrize(("query", "names", "rows"), _COHORTS, ids=lambda value: str(value)[:60])
def test_cohort(client: bigquery.Client, query: str, names: list[str], rows: list[tuple[Any, ...]]) -> None:
    assert _result(client, query) == (names, rows)


@pytest.mark.parametrize("path", ["`{dataset}.t`.`x`", "{dataset}.t.x", "p.{dataset}.t.x", "`p.{dataset}.t`.x", "t.x"])
def test_a_table_may_be_named_by_its_path(client: bigquery.Client, dataset: str, path: str) -> None:
    """F4 of the clients: SQLAlchemy writes no other names."""
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT 1 AS x")
    named = path.format(dataset=dataset)
    assert _result(client, f"SELECT {named} FROM `p.{dataset}.t` WHERE {named} = 1 ORDER BY {named}") == (["x"], [(1,)])


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("INSERT INTO {0}.t (n) VALUES (1.5)", "type FLOAT64 which cannot be inserted into column n"),
        ("INSERT INTO {0}.t (n) SELECT 'a'", "type STRING which cannot be inserted into column n"),
        ("UPDATE {0}.t SET n = 'a' WHERE TRUE", "cannot be assigned to n"),
        ("INSERT INTO {0}.t (l) VALUES (['a', NULL])", "null element"),
        ("CREATE TABLE {0}.u AS SELECT 1, 2 AS a", "column 1 has no name"),
        ("CREATE VIEW {0}.u AS SELECT COUNT(*) FROM UNNEST([1])", "column 1 has no name"),
    ],
)
def test_what_no_table_takes(client: bigquery.Client, dataset: str, statement: str, message: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t (n INT64, l ARRAY<STRING>, d DATE, f NUMERIC)")
    client.query_and_wait(f"INSERT INTO {dataset}.t (n, l, d, f) VALUES (1, ['a'], '2024-01-01', 1.5)")
    with pytest.raises(exceptions.BadRequest, match=message):
        client.query_and_wait(statement.format(dataset), retry=None, job_retry=None)
    assert _result(client, f"SELECT n, l FROM {dataset}.t")[1] == [(1, ["a"])]
