"""What GoogleSQL refuses, by kind: types that do not meet, clauses that do not fit, the syntax of others. And what it takes."""

from __future__ import annotations

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

_T = """FROM (
    SELECT 1 AS i, 1.5 AS f, 'a' AS s, TRUE AS b, DATE '2020-01-01' AS d, TIMESTAMP '2020-01-01' AS t, JSON '1' AS j,
        [1] AS l, (1, 2) AS r
)"""

#: By the words of the refusal: expressions over ``_T``.
_EXPRESSIONS = {
    "No matching signature for operator": [
        "i = s", "1 = 'a'", "s < 1", "b = 1", "d = s", "t = s", "d = t", "DATETIME '2020-01-01' = t", "d = 1", "r = (1, 2, 3)",
        "r = ('a', 'b')",
        "i IN (s)", "i IN ('1', '2')", "s IN (1, 2)", "i IN UNNEST(['a'])", "i BETWEEN 'a' AND 'b'", "s BETWEEN 1 AND 2",
        "i LIKE 'a'", "s LIKE 1", "d LIKE '2020%'", "b + 1", "s + 1", "'a' + 1", "s + s", "i / s", "d + 1.5", "d + d", "t + 1",
        "-s", "-b",
        "i & b", "f | 1", "i << s", "~f", "NOT i", "i AND b", "s OR b", "i || l", "s || b'b'", "l || ['a']",
        "CASE WHEN b THEN i ELSE s END", "CASE i WHEN 'a' THEN 1 END", "CASE WHEN b THEN d ELSE t END", "i IS TRUE",
    ],
    "No matching signature for function": [
        "IF(b, i, s)", "IF(i, 1, 2)", "COALESCE(i, s)", "IFNULL(s, i)", "COALESCE(d, s)", "NULLIF(i, s)", "GREATEST(i, s)",
        "LEAST(s, i)",
        "ARRAY_CONCAT(l, ['a'])", "UPPER(i)", "LENGTH(i)", "SUBSTR(i, 1)", "SUBSTR(s, 'b')", "REPLACE(s, 1, 'b')",
        "STARTS_WITH(s, 1)",
        "SPLIT(s, 1)", "REPEAT(s, s)", "LPAD(s, s)", "REGEXP_CONTAINS(i, 'a')", "REGEXP_EXTRACT(s, i)", "FORMAT(i)",
        "TO_BASE64(s)", "TO_HEX(s)",
        "MD5(i)", "ABS(s)", "SQRT(b)", "ROUND(f, f)", "MOD(f, 2)", "DIV(f, 2)", "POW(s, 2)", "CEIL(s)", "SAFE_DIVIDE(s, 2)",
        "DATE_ADD(s, INTERVAL 1 DAY)",
        "DATE_DIFF(s, d, DAY)", "DATE_TRUNC(i, DAY)", "EXTRACT(YEAR FROM s)", "FORMAT_DATE('%Y', i)", "FORMAT_DATE('%Y', s)",
        "PARSE_DATE('%Y', i)",
        "UNIX_SECONDS(d)", "UNIX_DATE(t)", "TIMESTAMP_SECONDS(f)", "DATE(i)", "ARRAY_LENGTH(s)", "ARRAY_TO_STRING(l, ',')",
        "GENERATE_ARRAY(1, 'b')",
        "JSON_VALUE(i, '$.a')", "PARSE_JSON(i)", "SAFE.UPPER(i)", "IF(b, 1)", "CONCAT(l, s)",
        "SUM(s)", "SUM(b)", "AVG(d)", "STDDEV(s)", "COUNTIF(i)", "LOGICAL_AND(i)", "STRING_AGG(i)", "BIT_AND(f)", "CORR(s, s)",
        "NTILE(s) OVER (ORDER BY i)",
    ],
    "No matching signature for analytic function": ["LAG(i, s) OVER (ORDER BY i)", "LAG(i, 1, s) OVER (ORDER BY i)"],
    "is not defined for arguments of type": [
        "j = j", "l = l", "l < l", "r < r", "j IN (j)", "MIN(j)", "MAX(l)", "MIN(r)", "j IS DISTINCT FROM j", "NULLIF(j, j)",
        "GREATEST(l, l)",
    ],
    "cannot be literal NULL": ["i = NULL", "NULL < i", "i + NULL", "-NULL", "s LIKE NULL"],
    "do not have a common supertype": ["[i, s]", "[1, TRUE]", "[(1, 2), ('a', 2)]"],
    "Invalid cast": [
        "CAST(d AS INT64)", "CAST(i AS DATE)", "CAST(i AS TIMESTAMP)", "CAST(i AS BYTES)", "CAST(b AS FLOAT64)",
        "CAST(f AS BOOL)", "CAST(l AS STRING)",
        "CAST(r AS STRING)", "CAST(j AS STRING)", "CAST(s AS JSON)", "CAST(t AS INT64)", "SAFE_CAST(i AS DATE)",
        "CAST(d AS TIME)", "CAST(r AS STRUCT<a INT64>)",
        "CAST(l AS ARRAY<STRING>)",
    ],
    "uncomparable types": ["i IN (SELECT 'a')"],
    "must be an array but was INT64": ["i IN UNNEST(5)"],
    "is not supported on values of type INT64": ["i[OFFSET(0)]"],
    "must be coercible to INT64": ["l[OFFSET('a')]", "l[1.5]"],
    "CASE condition should return type BOOL": ["CASE WHEN i THEN 1 END"],
    "Window ORDER BY is required": [
        "RANK() OVER ()", "NTILE(2) OVER (PARTITION BY s)", "LAG(i) OVER ()", "PERCENT_RANK() OVER ()",
    ],
    "Window ORDER BY is not allowed if DISTINCT": ["SUM(DISTINCT i) OVER (ORDER BY i)"],
    "Partitioning by expressions of type": ["SUM(i) OVER (PARTITION BY j)"],
    "ORDER BY does not support": ["SUM(i) OVER (ORDER BY j)", "ARRAY_AGG(i ORDER BY l)"],
    "DISTINCT cannot be used with arguments of type JSON": ["COUNT(DISTINCT j)"],
    "does not support ORDER BY": ["SUM(i ORDER BY i)"],
    "No matching signature for aggregate function COUNT": ["COUNT()", "COUNT(DISTINCT i, s)"],
    "Syntax error": [
        "s::INT64", "s ILIKE 'A'", "SUM(i) FILTER (WHERE i > 1)", "i == 1", "i <=> 1", "i % 2", "s GLOB 'b'", "s RLIKE 'b'",
        "s SIMILAR TO 'b'", "s ~* 'b'",
        "j -> 'a'", "j ->> 'a'", "i = ANY(SELECT 1)", "i > ALL(SELECT 1)", "CAST(s AS VARCHAR)", "CAST(i AS DOUBLE)",
        "CAST(i AS INT32)", "CAST(s AS UUID)",
        "N'a'", "ARRAY_AGG(i ORDER BY i LIMIT -1)", "* RENAME (i AS z)", "UNNEST(l)",
        "SUM(i) OVER (ORDER BY i GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW)",
        "SUM(i) OVER (ORDER BY i ROWS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES)",
    ],
    "does not support the": [
        "DATE_ADD(d, INTERVAL 1 HOUR)", "DATE_ADD(t, INTERVAL 1 MONTH)", "TIMESTAMP_SUB(t, INTERVAL 1 WEEK)",
        "TIME_TRUNC(TIME '10:00:00', DAY)",
        "TIME_ADD(TIME '10:00:00', INTERVAL 1 DAY)", "TIME_DIFF(TIME '10:00:00', TIME '10:00:00', MONTH)",
        "DATE_TRUNC(d, MINUTE)",
        "EXTRACT(HOUR FROM d)", "EXTRACT(DATE FROM d)", "EXTRACT(WEEK FROM TIME '10:00:00')",
        "EXTRACT(WEEK FROM INTERVAL 1 DAY)",
    ],
    "does not support AT TIME ZONE": ["EXTRACT(HOUR FROM DATETIME '2020-01-01' AT TIME ZONE 'UTC')"],
    "Invalid integer literal": ["9223372036854775808", "-9223372036854775809", "i + 10000000000000000000"],
    "cannot be called without an OVER clause": ["PERCENTILE_CONT(i, 0.5)", "RANK()", "LAG(i)", "FIRST_VALUE(i)", "ROW_NUMBER()"],
    "can only be used in": ["SUM(*)", "COUNT(*, 1)", "COUNT(DISTINCT *)"],
    "must be non-negative": ["SUM(i) OVER (ORDER BY i ROWS BETWEEN -1 PRECEDING AND CURRENT ROW)"],
    "list does not exist": ["* EXCEPT (z)", "* REPLACE (1 AS z)"],
    "Duplicate column i": ["* EXCEPT (i, i)"],
}  # fmt: skip

_QUERIES = {
    "should return type BOOL": [
        "SELECT i {t} WHERE i", "SELECT i {t} WHERE 'a'", "SELECT i {t} GROUP BY i HAVING i",
        "SELECT i {t} QUALIFY RANK() OVER (ORDER BY i)",
        "SELECT 1 FROM (SELECT 1 AS x) JOIN (SELECT 2 AS y) ON x",
    ],
    "has incompatible types": [
        "SELECT 1 UNION ALL SELECT 'a'", "SELECT d {t} UNION ALL SELECT TIMESTAMP '2020-01-01'", "SELECT TRUE UNION ALL SELECT 1",
        "SELECT [1] UNION ALL SELECT ['a']",
        "SELECT i {t} UNION ALL SELECT s {t}", "SELECT (1, 2) UNION ALL SELECT ('a', 2)",
        "SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 'a'",
    ],
    "does not support set operation comparisons": ["SELECT JSON '1' UNION DISTINCT SELECT JSON '1'"],
    "Different set operations": [
        "SELECT 1 UNION ALL SELECT 2 UNION DISTINCT SELECT 3", "SELECT 1 UNION ALL SELECT 2 EXCEPT DISTINCT SELECT 3",
    ],
    "is not supported at": ["SELECT 1 INTERSECT ALL SELECT 1", "SELECT 1 EXCEPT ALL SELECT 1"],
    "is not allowed at": ["SELECT j {t} GROUP BY j", "SELECT j AS k {t} GROUP BY k"],
    "ORDER BY does not support": ["SELECT i {t} ORDER BY j", "SELECT l {t} ORDER BY 1", "SELECT r {t} ORDER BY r"],
    "cannot be used in SELECT DISTINCT": ["SELECT DISTINCT j {t}"],
    "Query without FROM clause": ["SELECT 1 WHERE TRUE", "SELECT 1 HAVING TRUE"],
    "not allowed in SELECT without FROM": ["SELECT COUNT(*)", "SELECT 1 + SUM(1)"],
    "Duplicate table alias": [
        "SELECT 1 FROM (SELECT 1) AS a, (SELECT 2) AS a", "SELECT 1 FROM (SELECT 1) AS a JOIN (SELECT 2) AS A ON TRUE",
    ],
    "immediately following ON or USING": [
        "SELECT 1 FROM (SELECT 1) a JOIN (SELECT 2) b", "SELECT 1 FROM (SELECT 1) a LEFT JOIN (SELECT 2) b",
    ],
    "WITH OFFSET can only be used": ["WITH x AS (SELECT 1 AS i) SELECT * FROM x WITH OFFSET AS o"],
    "USING": [
        "SELECT * FROM (SELECT 1 AS x) JOIN (SELECT 'a' AS x) USING (x)",
        "SELECT * FROM (SELECT 1 AS x) JOIN (SELECT 1 AS y) USING (x)",
        "SELECT * FROM (SELECT 1 AS x) JOIN (SELECT 1 AS y) USING (z)",
    ],
    "not visible after SELECT DISTINCT": ["SELECT DISTINCT i {t} ORDER BY s", "SELECT DISTINCT i + 1 AS k {t} ORDER BY i"],
    "more than one column": ["SELECT (SELECT 1, 2)", "SELECT ARRAY(SELECT 1, 2)"],
    "only one output column": ["SELECT 1 IN (SELECT 1, 2)"],
    "Duplicate alias": ["WITH t AS (SELECT 1), T AS (SELECT 2) SELECT 3"],
    "must have a FROM clause": ["SELECT *", "SELECT 1, *"],
    "requires analytic function": ["SELECT i {t} QUALIFY i = 1"],
    "not allowed in GROUP BY": ["SELECT 1 {t} GROUP BY SUM(i)"],
    "is ambiguous": [
        "SELECT x FROM (SELECT 1 AS x, 2 AS x)", "SELECT t.x FROM (SELECT 1 AS x, 2 AS x) AS t",
        "WITH t AS (SELECT 1 AS x, 2 AS x) SELECT x FROM t",
        "SELECT 1 AS a, 2 AS a {t} GROUP BY a", "SELECT 1 AS a, 2 AS a {t} ORDER BY a",
    ],
    "Syntax error": [
        "SELECT DISTINCT ON (i) i {t}", "SELECT i {t} OFFSET 1", "SELECT i {t} FETCH FIRST 1 ROWS ONLY", "SELECT i INTO x {t}",
        "SELECT i {t} SORT BY i",
        "SELECT i {t} CLUSTER BY i", "SELECT i {t} USING SAMPLE 10", "SELECT * FROM (VALUES (1), (2))",
        "SELECT * FROM (SELECT 1) t(a)",
        "SELECT * FROM (SELECT 1) a NATURAL JOIN (SELECT 1) b", "SELECT * FROM (SELECT 1) a CROSS JOIN (SELECT 1) b ON TRUE",
        "WITH t AS MATERIALIZED (SELECT 1 AS a) SELECT a FROM t", "SELECT i {t} LIMIT 50 PERCENT",
    ],
    "expects an INT64": ["SELECT i {t} LIMIT 1.5", "SELECT i {t} LIMIT 'a'"],
}  # fmt: skip


def _cases() -> list[tuple[str, str]]:
    cases = [(f"SELECT {one} {_T}", words) for words, found in _EXPRESSIONS.items() for one in found]
    return cases + [(one.replace("{t}", _T), words) for words, found in _QUERIES.items() for one in found]


@pytest.mark.parametrize(("query", "words"), _cases(), ids=lambda value: value.replace(_T, "…"))
def test_what_googlesql_refuses(client: bigquery.Client, query: str, words: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=words):
        client.query_and_wait(query)


@pytest.mark.parametrize(
    "expressions",
    [
        "i = f, i = 1.0, d = '2020-01-01', '2020-01-01' < t, d = DATETIME '2020-01-01', r = (1.0, 2), s IN ('a'), "
        "d IN ('2020-01-01'), i IN UNNEST(l)",
        "d BETWEEN '2020-01-01' AND '2020-01-02', i IN (SELECT 1.5), s LIKE ANY ('a', 'b'), s LIKE ALL ('a%'), "
        "i IS NOT DISTINCT FROM NULL",
        "i + f, d + 1, 1 + d, d - 1, d - d, t - INTERVAL 1 DAY, INTERVAL 1 DAY * 2, NUMERIC '1' + 1.5, i & 1, "
        "s || s, l || [2], b'a' || b'b', CONCAT(s, 1)",
        "IF(NULL, i, f), COALESCE(NULL, i, f), COALESCE(d, '2020-01-02'), NULLIF(i, 1.0), GREATEST(i, f), [i, "
        "f][OFFSET(0)], ARRAY_CONCAT(l, [2.5])[OFFSET(0)]",
        "CAST(i AS STRING), CAST(s AS BYTES), CAST(b AS INT64), CAST(i AS BOOL), CAST(d AS TIMESTAMP), "
        "CAST(t AS DATE), CAST(f AS NUMERIC), CAST(NULL AS DATE)",
        "CAST(l AS ARRAY<FLOAT64>)[OFFSET(0)], ARRAY<DATE>['2020-01-01'][OFFSET(0)], CAST(i AS INTEGER), "
        "CAST('1' AS DECIMAL), CAST(i AS BYTEINT), CAST('true' AS BOOLEAN)",
        "DATE_ADD('2020-01-01', INTERVAL 1 DAY), DATE_DIFF('2020-01-01', d, DAY), FORMAT_DATE('%Y', "
        "DATETIME '2020-01-01'), FORMAT_DATE('%Y', '2020-01-01')",
        "SAFE_DIVIDE(i, f), MOD(NUMERIC '5', 2), ROUND(i, 1), LN(i), SUBSTR(b'abc', 1), TRIM(s), "
        "ARRAY_TO_STRING(['a'], ','), ARRAY_LENGTH(l)",
        "ROW_NUMBER() OVER (), FIRST_VALUE(i) OVER (), SUM(i) OVER (PARTITION BY s ORDER BY f), RANK() OVER w",
    ],
)
def test_what_googlesql_takes(client: bigquery.Client, expressions: str) -> None:
    assert len(list(client.query_and_wait(f"SELECT {expressions} {_T} WINDOW w AS (ORDER BY i)"))) == 1


@pytest.mark.parametrize(
    "query",
    [
        "SELECT NULL UNION ALL SELECT 'a'",
        "SELECT DATE '2020-01-01' UNION ALL SELECT '2020-01-02'",
        "(SELECT 1 UNION ALL SELECT 2) UNION DISTINCT SELECT 3",
        "SELECT text, filter, list, glob FROM (SELECT 1 AS text, 2 AS filter, 3 AS list, 4 AS glob)",
        "SELECT * FROM (SELECT [1] AS l) AS t JOIN UNNEST(t.l) LEFT JOIN UNNEST(t.l)",
        "SELECT k FROM (SELECT k, t.* FROM (SELECT 1 AS k) AS t)",
        "SELECT * FROM (SELECT 1 AS x) a JOIN (SELECT 1 AS y) b JOIN (SELECT 1 AS z) c ON y = z ON x = y",
        "SELECT x AS a, x AS b FROM (SELECT 1 AS x) ORDER BY a, b",
        "SELECT (SELECT COUNT(*) FROM UNNEST([1])) LIMIT 1",
        "SELECT DISTINCT t FROM (SELECT 1 AS x) AS t ORDER BY t.x",
        "SELECT DISTINCT x AS k FROM (SELECT 1 AS x) ORDER BY x, k",
        "SELECT 9223372036854775807, -9223372036854775808, 0xFF",
        "SELECT TIME_ADD(TIME '10:00:00', INTERVAL 1 HOUR), EXTRACT(HOUR FROM TIMESTAMP '2020-01-01' AT TIME ZONE 'UTC')",
    ],
)
def test_queries_that_googlesql_takes(client: bigquery.Client, query: str) -> None:
    client.query_and_wait(query)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE {t} SET i = 1 WHERE 1", "should return type BOOL"),
        ("DELETE FROM {t} WHERE i = 'a'", "No matching signature"),
        ("MERGE {t} AS a USING {t} AS b ON a.i = b.s WHEN MATCHED THEN DELETE", "No matching signature"),
        ("INSERT INTO {t} VALUES (1, 'a') RETURNING i", "Syntax error"),
        ("INSERT INTO {t} DEFAULT VALUES", "Syntax error"),
        ("INSERT INTO {t} VALUES (1)", "wrong column count"),
        ("INSERT INTO {t} SELECT 1", "wrong column count"),
        ("INSERT INTO {t} (i, i) VALUES (1, 2)", "duplicate name"),
        ("INSERT INTO {t} (i, nope) VALUES (1, 2)", "is not present"),
        ("CREATE TABLE {t}2 (a VARCHAR)", "Syntax error"),
    ],
)
def test_statements_that_googlesql_refuses(client: bigquery.Client, dataset: str, statement: str, words: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t (i INT64, s STRING)")
    with pytest.raises(exceptions.BadRequest, match=words):
        client.query_and_wait(statement.replace("{t}", f"{dataset}.t"))
