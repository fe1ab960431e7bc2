"""SQL: what people use over DICOM metadata gives what BigQuery gives."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

DATE = datetime.date
NOON = datetime.datetime(2020, 1, 31, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("CONCAT('/studies/', '1.2', '/series/', '3')", "/studies/1.2/series/3"),
        ("CONCAT('a', CAST(NULL AS STRING))", None),
        ("FORMAT('%05d|%s|%.2f|%t|%%', 42, 'x', 1.234, DATE '2020-01-01')", "00042|x|1.23|2020-01-01|%"),
        ("FORMAT('%s', CAST(NULL AS STRING))", None),
        (r"REGEXP_CONTAINS('1.2.840', r'^[0-9.]+$')", True),
        (r"REGEXP_CONTAINS('x1.2', r'^[0-9.]+$')", False),
        (r"REGEXP_EXTRACT('a12b', r'a(\d+)')", "12"),
        (r"REGEXP_EXTRACT('a12b', r'\d+')", "12"),
        (r"REGEXP_EXTRACT('ab', r'\d+')", None),
        (r"REGEXP_REPLACE('abab', r'(b)', r'<\1>')", "a<b>a<b>"),
        ("SAFE_CAST('x' AS INT64)", None),
        ("PARSE_DATE('%Y%m%d', '20200131')", DATE(2020, 1, 31)),
        ("SAFE.PARSE_DATE('%Y%m%d', 'zz')", None),
        ("FORMAT_DATE('%Y/%m', DATE '2020-01-31')", "2020/01"),
        ("FORMAT_DATE('%F %E4Y', DATE '0001-01-31')", "1-01-31 0001"),
        ("DATE_DIFF(DATE '2020-03-01', DATE '2020-01-01', DAY)", 60),
        ("DATE_ADD(DATE '2020-01-31', INTERVAL 1 MONTH)", DATE(2020, 2, 29)),
        ("DATE_TRUNC(DATE '2020-01-31', MONTH)", DATE(2020, 1, 1)),
        ("EXTRACT(DAYOFWEEK FROM DATE '2020-01-05')", 1),
        ("TIMESTAMP_DIFF(TIMESTAMP '2020-01-02', TIMESTAMP '2020-01-01', SECOND)", 86400),
        ("[1, 2][OFFSET(0)]", 1),
        ("[1, 2][SAFE_OFFSET(9)]", None),
        ("[1, 2][ORDINAL(2)]", 2),
        ("SPLIT('a/b/c', '/')[OFFSET(1)]", "b"),
        ("ARRAY_LENGTH(['a', 'b'])", 2),
        ("ARRAY_TO_STRING(['a', 'b'], '-')", "a-b"),
        ("ARRAY(SELECT x * 2 FROM UNNEST([1, 2]) x ORDER BY x DESC)", [4, 2]),
        ("(SELECT ARRAY_AGG(x IGNORE NULLS ORDER BY x DESC LIMIT 2) FROM UNNEST([1, NULL, 3, 2]) x)", [3, 2]),
        ("(SELECT STRING_AGG(x, ',' ORDER BY x) FROM UNNEST(['b', 'a']) x)", "a,b"),
        ("(SELECT COUNTIF(x > 1) FROM UNNEST([1, 2, 3]) x)", 2),
        ("(SELECT LOGICAL_AND(x > 1) FROM UNNEST([1, 2, 3]) x)", False),
        ("(SELECT LOGICAL_OR(x > 1) FROM UNNEST([1, 2, 3]) x)", True),
        ("2 IN UNNEST([1, 2])", True),
        ("TO_JSON_STRING(STRUCT(1 AS a, 'x' AS b))", '{"a":1,"b":"x"}'),
        ("""JSON_VALUE('{"a":{"b":"c"}}', '$.a.b')""", "c"),
        ("""JSON_VALUE('{"a":{"b":"c"}}', '$.a')""", None),
        ("""JSON_VALUE(PARSE_JSON('{"a":[1]}'), '$.a[0]')""", "1"),
        ("BYTE_LENGTH('é')", 2),
        ("LENGTH('é')", 1),
        ("LENGTH(GENERATE_UUID())", 36),
        ("TO_HEX(MD5('a'))", "0cc175b9c0f1b6a831c399e269772661"),
        (r"b'\xff'", b"\xff"),
        ("IF(1 = 1, 'a', ERROR('never'))", "a"),
        ("IFNULL(NULL, 'x')", "x"),
        ("7 / 2", 3.5),
        ("DIV(7, 2)", 3),
        ("SAFE_DIVIDE(1, 0)", None),
        ("1.5", 1.5),
        ("SUBSTR('abc', -2, 1)", "b"),
        ("STRPOS('abc', 'c')", 3),
        ("CAST(NULL AS ARRAY<STRING>)", []),
        ("STRUCT(1 AS a, [STRUCT('x' AS b)] AS c)", {"a": 1, "c": [{"b": "x"}]}),
        # Casts
        ("CAST(2.5 AS INT64)", 3),
        ("CAST(-2.5 AS INT64)", -3),
        ("CAST('0x1F' AS INT64)", 31),
        ("SAFE_CAST('1.5' AS INT64)", None),
        ("SAFE_CAST('1e3' AS INT64)", None),
        ("SAFE_CAST('yes' AS BOOL)", None),
        ("SAFE_CAST((SELECT 1.5) AS STRING)", "1.5"),
        (r"SAFE_CAST(b'\xff' AS STRING)", None),
        ("SAFE_CAST('TRUE' AS BOOL)", True),
        ("SAFE_CAST('2020/01/31' AS DATE)", None),
        ("SAFE_CAST('20200131' AS DATE)", None),
        ("SAFE_CAST('2020-1-31' AS DATE)", DATE(2020, 1, 31)),
        ("CAST(1.0 AS STRING)", "1"),
        ("CAST(-0.0 AS STRING)", "0"),
        ("CAST(0.1 AS STRING)", "0.1"),
        ("CAST(1e20 AS STRING)", "1e+20"),
        ("CAST(NUMERIC '1.50' AS STRING)", "1.5"),
        ("CAST(NUMERIC '100' AS STRING)", "100"),
        ("CAST(TIMESTAMP '2020-01-02 03:04:05.5+00' AS STRING)", "2020-01-02 03:04:05.500+00"),
        ("CAST(DATETIME '2020-01-02 03:04:05' AS STRING)", "2020-01-02 03:04:05"),
        ("CAST(TIME '10:11:12.1234' AS STRING)", "10:11:12.123400"),
        ("CAST('é' AS BYTES)", b"\xc3\xa9"),
        ("CAST(CAST('é' AS BYTES) AS STRING)", "é"),
        ("2147483647 + 1", 2147483648),
        ("100000 * 100000", 10000000000),
        ("1 << 40", 1 << 40),
        ("SAFE_MULTIPLY(9223372036854775807, 2)", None),
        # Text
        ("SUBSTR('abc', 0, 2)", "ab"),
        ("SUBSTR('abc', -5, 2)", "ab"),
        (r"'a_c' LIKE r'a\_c'", True),
        (r"'abc' LIKE r'a\_c'", False),
        ("FORMAT('%t|%t|%t', 1.0, NUMERIC '1.50', [1])", "1.0|1.5|[1]"),
        ("ARRAY_SLICE([1, 2, 3, 4, 5], 1, 3)", [2, 3, 4]),
        ("ARRAY_SLICE([1, 2, 3, 4, 5], -2, -1)", [4, 5]),
        ("[1, 2][1]", 2),
        # Dates and times
        ("TIMESTAMP_DIFF(TIMESTAMP '2020-01-02', TIMESTAMP '2020-01-01 23:30:00', HOUR)", 0),
        ("DATETIME_DIFF(DATETIME '2020-01-02', DATETIME '2020-01-01 23:30:00', HOUR)", 1),
        ("TIMESTAMP_MILLIS(1580472000000)", NOON),
        ("TIMESTAMP_SECONDS(1580472000)", NOON),
        ("DATE_FROM_UNIX_DATE(4)", DATE(1970, 1, 5)),
        ("DATE '2020-01-31' + 1", DATE(2020, 2, 1)),
        ("EXTRACT(MILLISECOND FROM TIME '10:11:12.5')", 500),
        ("EXTRACT(HOUR FROM TIMESTAMP '2020-01-31 12:00:00+00')", 12),
        ("EXTRACT(HOUR FROM TIMESTAMP '2020-01-31 12:00:00+00' AT TIME ZONE 'Asia/Tokyo')", 21),
        ("EXTRACT(WEEK FROM DATE '2020-01-05')", 1),
        ("EXTRACT(ISOWEEK FROM DATE '2021-01-03')", 53),
        ("TIME(TIMESTAMP '2020-01-31 12:00:00+00')", datetime.time(12)),
        ("PARSE_TIMESTAMP('%Y-%m-%d %H:%M', '2020-01-31 07:00', 'America/New_York')", NOON),
        ("PARSE_TIMESTAMP('%Y-%m-%dT%H:%M:%S%Ez', '2020-01-31T13:00:00+01:00')", NOON),
        ("PARSE_TIMESTAMP('%s', '1580472000')", NOON),
        ("PARSE_TIMESTAMP('%Y%m%d%H%M%E*S', '20200131120000.5')", NOON.replace(microsecond=500000)),
        ("PARSE_TIME('%H%M%E*S', '101112')", datetime.time(10, 11, 12)),
        ("PARSE_DATE('%m/%d', '02/03')", DATE(1970, 2, 3)),
        ("FORMAT_TIMESTAMP('%F %T', TIMESTAMP '2020-01-31 12:00:00+00', 'America/New_York')", "2020-01-31 07:00:00"),
        ("FORMAT_TIMESTAMP('%E3S %E*S %s', TIMESTAMP '2020-01-31 12:00:00.5+00')", "00.500 00.5 1580472000"),
        ("FORMAT_DATE('%e. Q%Q %%', DATE '2020-01-05')", " 5. Q1 %"),
        ("FORMAT_TIME('%H:%M', TIME '10:11:12')", "10:11"),
        ("CURRENT_DATETIME('Asia/Tokyo') > CURRENT_DATETIME()", True),
        # JSON
        ("""JSON_QUERY('{"a":{"b":1}}', '$.a')""", '{"b":1}'),
        ("""JSON_EXTRACT_ARRAY('[1,{"a":2}]')""", ["1", '{"a":2}']),
        ("""JSON_QUERY(PARSE_JSON('{"a":{"b":1}}'), '$.a')""", {"b": 1}),
        ("""PARSE_JSON('{"a":[1,2]}').a[1]""", 2),
        ("""PARSE_JSON('{"a":[1,{"b":2}]}')['a'][1]['b']""", 2),
        ("""JSON_QUERY(TO_JSON(STRUCT([1] AS a)), '$.a')""", [1]),
        ("""STRING(PARSE_JSON('"x"'))""", "x"),
        ("""JSON_TYPE(PARSE_JSON('{"a":1}'))""", "object"),
    ],
)
def test_functions(client: bigquery.Client, expression: str, value: Any) -> None:
    (row,) = client.query_and_wait(f"SELECT {expression}")
    assert list(row.keys()) == ["f0_"]
    assert row[0] == value
    assert type(row[0]) is type(value)


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("SELEC 1", 400, r"Syntax error: .* at \[1:"),
        ("SELECT 1 -- it's\n, '\\'', x = 'ROM y", 400, r"Syntax error: Unclosed string literal at \[2:13\]"),
        ('SELECT """a" FROM y', 400, r"Syntax error: Unclosed triple-quoted string literal at \[1:8\]"),
        ("SELECT 1 FROM `y /* a */", 400, r"Syntax error: Unclosed identifier literal at \[1:15\]"),
        ("SELECT 1 /* FROM y", 400, r"Syntax error: Unclosed comment at \[1:10\]"),
        ("SELECT 1 FORM x", 400, r'Syntax error: Unexpected "x" at \[1:15\]'),
        ("SELECT\n nope FROM D.t", 400, r"Unrecognized name: nope at \[2:2\]"),
        ("SELECT 1 AS x, Rows FROM D.t", 400, r"Unexpected keyword ROWS at \[1:16\]"),
        ("SELECT 1 AS rows", 400, r"Unexpected keyword ROWS at \[1:13\]"),
        ("SELECT CAST(a AS STRING) < 1 FROM D.t", 400, "No matching signature .* STRING, INT64"),
        ("SELECT t.nope FROM D.t", 400, "Name nope not found inside t"),
        ("SELECT nofunction(1)", 400, r"Function not found: nofunction at \[1:8\]"),
        ("SELECT * FROM D.nope", 404, r"Not found: Table p:\w+\.nope"),
        ("SELECT * FROM nowhere.t", 404, "Not found: Dataset p:nowhere"),
        ("SELECT * FROM t", 400, 'Table "t" must be qualified with a dataset'),
        ("CREATE TABLE D.twice AS SELECT a, a FROM D.t", 400, r"Duplicate column names in the result .* Found duplicate\(s\): a"),
        ("SELECT ERROR(CONCAT('bad ', 'path'))", 400, "bad path"),
        ("SELECT IF(a > 1, 'x', ERROR(CONCAT('a is ', CAST(a AS STRING)))) FROM D.t", 400, "a is 1"),
        ("SELECT 1 / 0", 400, "division by zero"),
        ("SELECT [1][OFFSET(1)]", 400, "out of bounds"),
        ("ASSERT (SELECT COUNT(*) FROM D.t) > 9 AS 'too few rows'", 400, "too few rows"),
        ("DELETE FROM D.t", 400, "DELETE must have a WHERE clause"),
        ("SELECT @missing", 400, "Query parameter 'missing' not found"),
        ("SELECT 1; BEGIN TRANSACTION", 501, "does not do BEGIN"),
        ("CREATE TABLE d.new AS SELECT 1 FROM d.t AS x y z", 501, "or cannot read this one"),
        ("CREATE SNAPSHOT TABLE d.s CLONE d.t", 501, "does not do CREATE SNAPSHOT"),
        ("DECLARE a ARRAY<INT64> DEFAULT [1]", 501, "variables are scalars"),
        ("SET nope = 1", 400, "Undeclared variable: nope"),
        ("CREATE TEMP TABLE x AS SELECT 1", 400, "requires a script or session"),
        ("SELECT ST_AREA(ST_GEOGPOINT(1, 2))", 501, "ST_AREA"),
        ("SELECT CAST('1.5' AS INT64)", 400, "Bad int64 value: 1.5"),
        ("SELECT CAST('yes' AS BOOL)", 400, "Bad bool value: yes"),
        ("SELECT CAST('2020/01/31' AS DATE)", 400, "Invalid date: 2020/01/31"),
        (r"SELECT REGEXP_EXTRACT('ab', r'(a)(b)')", 400, "more than 1 capturing group"),
        ("SELECT TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 MONTH)", 400, "does not support the MONTH date part"),
        ("SELECT CAST('1.5' AS FLOAT64 FORMAT '9.9')", 501, "FORMAT"),
        ("SELECT FORMAT_DATE('%-d', DATE '2020-01-01')", 501, "%-d"),
        ("SELECT NET.HOST('http://a')", 501, "HOST"),
        ("SELECT HLL_COUNT.INIT(a) FROM D.t", 501, "HLL_COUNT.INIT"),
        ("SELECT GENERATE_RANGE_ARRAY(RANGE(DATE '2020-01-01', NULL), INTERVAL 1 DAY)", 501, "RANGE"),
        ("SELECT a FROM D.t WHERE _PARTITIONDATE = '2020-01-01'", 501, "_PARTITIONDATE"),
        ("SELECT t._PARTITIONTIME FROM D.t", 501, "_PARTITIONTIME"),
        ("CREATE TABLE D.u (a INT64) PARTITION BY TIMESTAMP_TRUNC(_PARTITIONTIME, HOUR)", 501, "_PARTITIONTIME"),
        ("CREATE TABLE D.u (n INT64(5))", 400, "has none"),
        ("CREATE TABLE D.u (n NUMERIC(2, 5))", 400, "not a valid type"),
        ("CREATE TABLE D.u (s STRING(2)) AS SELECT 'abc' AS s", 400, "longer than the maximum length 2"),
        ("CREATE VIEW D.v (x, y) AS SELECT 1, 2", 501, "no list of columns"),
        (
            "SELECT STRUCT([1] AS a) = STRUCT([1] AS a)",
            400,
            "Equality is not defined for arguments of type STRUCT<a ARRAY<INT64>>",
        ),
        ("SELECT 1 AS a UNION ALL BY NAME SELECT 2 AS b", 400, "identical column names"),
        ("SELECT 1 AS a FULL OUTER UNION ALL BY NAME SELECT 2 AS b", 501, "set operations do not do FULL"),
        ("SELECT 1 AS a UNION ALL CORRESPONDING SELECT 2 AS a", 501, "CORRESPONDING"),
        ("SELECT SUM(x) FROM UNNEST([9223372036854775807, 1]) x", 400, "int64 overflow"),
        ("SELECT (SELECT x FROM UNNEST([1, 2]) x)", 400, "Scalar subquery produced more than one element"),
        ("SELECT * FROM D.t PIVOT(COUNT(*), SUM(a) FOR a IN (1, 2))", 501, "PIVOT"),
    ],
)
def test_errors(client: bigquery.Client, dataset: str, query: str, code: int, message: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT 1 AS a")
    with pytest.raises(exceptions.GoogleAPICallError, match=message) as caught:
        client.query_and_wait(query.replace("D.", f"{dataset}."))
    assert caught.value.code == code
    job = client.query(query.replace("D.", f"{dataset}."), job_retry=None)
    assert job.exception(timeout=20) is not None
    assert job.state == "DONE"
    assert job.error_result is not None
    assert job.error_result["reason"] == {400: "invalidQuery", 404: "notFound", 501: "notImplemented"}[code]


@pytest.fixture
def dicom(client: bigquery.Client, dataset: str) -> str:
    """A table such as an export of DICOM metadata makes."""
    tags = bigquery.SchemaField(
        "OtherElements",
        "RECORD",
        "REPEATED",
        fields=[bigquery.SchemaField("Tag", "STRING"), bigquery.SchemaField("Data", "STRING", "REPEATED")],
    )
    name = f"{dataset}.dicom"
    schema = [bigquery.SchemaField("SOPInstanceUID", "STRING"), bigquery.SchemaField("Modality", "STRING"), tags]
    client.create_table(bigquery.Table(f"p.{name}", schema))
    rows = [
        {
            "SOPInstanceUID": "1.1",
            "Modality": "CT",
            "OtherElements": [{"Tag": "A", "Data": ["x", "y"]}, {"Tag": "B", "Data": []}],
        },
        {"SOPInstanceUID": "1.2", "Modality": "MR", "OtherElements": []},
        {"SOPInstanceUID": "1.3", "Modality": "CT"},
    ]
    assert client.insert_rows_json(f"p.{name}", rows) == []
    return name


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("SELECT Modality, COUNT(*) n FROM {T} GROUP BY Modality ORDER BY n DESC", [("CT", 2), ("MR", 1)]),
        ("SELECT modality FROM {T} WHERE SOPINSTANCEUID = '1.2'", [("MR",)]),
        ("SELECT SOPInstanceUID FROM {T} WHERE EXISTS (SELECT 1 FROM UNNEST(OtherElements) WHERE Tag = 'A')", [("1.1",)]),
        ("SELECT SOPInstanceUID FROM {T} WHERE EXISTS (SELECT 1 FROM UNNEST(OtherElements) e WHERE e.Tag = 'B')", [("1.1",)]),
        ("SELECT e.Tag, d FROM {T}, UNNEST(OtherElements) AS e, UNNEST(e.Data) AS d ORDER BY d", [("A", "x"), ("A", "y")]),
        ("SELECT Tag FROM {T} t, t.OtherElements ORDER BY Tag", [("A",), ("B",)]),
        ("SELECT e.* FROM {T} CROSS JOIN UNNEST(OtherElements) e ORDER BY 1", [("A", ["x", "y"]), ("B", [])]),
        ("SELECT Tag, o FROM {T}, UNNEST(OtherElements) WITH OFFSET o ORDER BY o", [("A", 0), ("B", 1)]),
        (
            "SELECT * EXCEPT (OtherElements) FROM {T}, UNNEST(['a', 'b']) x WITH OFFSET WHERE offset = 1 AND Modality = 'MR'",
            [("1.2", "MR", "b", 1)],
        ),
        ("SELECT SOPInstanceUID, Tag FROM {T} LEFT JOIN UNNEST(OtherElements) WHERE Modality='MR'", [("1.2", None)]),
        (
            "SELECT (SELECT STRING_AGG(Tag, '+') FROM UNNEST(OtherElements)) FROM {T} WHERE Modality='CT' ORDER BY 1",
            [(None,), ("A+B",)],
        ),
        (
            "SELECT SOPInstanceUID u FROM {T} QUALIFY ROW_NUMBER() OVER (PARTITION BY Modality ORDER BY u DESC) = 1 ORDER BY u",
            [("1.2",), ("1.3",)],
        ),
        ("WITH ct AS (SELECT * FROM {T} WHERE Modality = 'CT') SELECT COUNT(*) FROM ct", [(2,)]),
        ("SELECT a.SOPInstanceUID FROM {T} a JOIN {T} b USING (SOPInstanceUID) WHERE b.Modality = 'MR'", [("1.2",)]),
        ("SELECT * EXCEPT (OtherElements) FROM {T} ORDER BY 1 LIMIT 1", [("1.1", "CT")]),
        ("SELECT DISTINCT Modality FROM {T} UNION ALL SELECT 'US' ORDER BY 1", [("CT",), ("MR",), ("US",)]),
        ("SELECT ARRAY_LENGTH(OtherElements) FROM {T} ORDER BY SOPInstanceUID", [(2,), (0,), (0,)]),
        ("SELECT SOPInstanceUID FROM {T} WHERE OtherElements IS NULL", []),
        ("SELECT OtherElements[SAFE_OFFSET(0)].Tag FROM {T} ORDER BY SOPInstanceUID", [("A",), (None,), (None,)]),
        ("SELECT e.Tag, d FROM {T}, UNNEST(OtherElements) AS e, e.Data AS d ORDER BY d", [("A", "x"), ("A", "y")]),
        ("SELECT Tag, d FROM {T}, UNNEST(OtherElements), UNNEST(Data) AS d ORDER BY d", [("A", "x"), ("A", "y")]),
        (
            "SELECT ARRAY_AGG(STRUCT(SOPInstanceUID, Modality) ORDER BY SOPInstanceUID DESC LIMIT 1)[OFFSET(0)].Modality FROM {T}",
            [("CT",)],
        ),
        ("SELECT AS STRUCT Modality, COUNT(*) AS n FROM {T} GROUP BY 1 ORDER BY n", [("MR", 1), ("CT", 2)]),
        ("SELECT ARRAY(SELECT AS STRUCT 1 AS a) FROM {T} LIMIT 1", [([{"a": 1}],)]),
    ],
)
def test_queries_over_dicom(client: bigquery.Client, dicom: str, query: str, rows: list[Any]) -> None:
    for table in (f"`p.{dicom}`", f"`p`.{dicom}", dicom):
        assert [tuple(row) for row in client.query_and_wait(query.replace("{T}", table))] == rows


def test_no_array_is_null(client: bigquery.Client, dataset: str) -> None:
    table = f"{dataset}.t"
    client.query_and_wait(f"CREATE TABLE {table} (a INT64, s ARRAY<STRING>, r STRUCT<x ARRAY<INT64>>)")
    client.query_and_wait(f"INSERT INTO {table} (a) VALUES (1)")
    client.query_and_wait(f"INSERT INTO {table} (a, s, r) VALUES (2, NULL, STRUCT(CAST(NULL AS ARRAY<INT64>)))")
    assert client.insert_rows_json(f"p.{table}", [{"a": 3}, {"a": 4, "r": {}}]) == []
    client.query_and_wait(f"UPDATE {table} SET s = NULL WHERE a = 4")
    client.query_and_wait(f"CREATE TABLE {dataset}.u AS SELECT a, IF(a > 0, NULL, s) AS s, r FROM {table}")
    for name in (table, f"{dataset}.u"):
        rows = client.query_and_wait(f"SELECT ARRAY_LENGTH(s), ARRAY_LENGTH(r.x) FROM {name} ORDER BY a")
        assert [tuple(row) for row in rows] == [(0, None), (0, 0), (0, None), (0, 0)]


@pytest.mark.parametrize("query", ["SELECT [1, NULL] AS x", "SELECT ARRAY_AGG(NULLIF(n, 1)) AS x FROM UNNEST([1, 2]) n"])
def test_a_null_in_an_array_is_no_result(client: bigquery.Client, query: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="Array cannot have a null element; error in writing field x"):
        client.query_and_wait(query)


def test_pivots(client: bigquery.Client, dicom: str) -> None:
    modalities = f"(SELECT Modality FROM {dicom})"
    rows = client.query_and_wait(f"SELECT * FROM {modalities} PIVOT(COUNT(*) AS n FOR Modality IN ('CT' AS ct, 'MR'))")
    assert [dict(row) for row in rows] == [{"n_ct": 2, "n_MR": 1}]
    rows = client.query_and_wait(f"SELECT * FROM {modalities} PIVOT(COUNT(*) FOR Modality IN ('CT', 'MR' AS mr))")
    assert [dict(row) for row in rows] == [{"CT": 2, "mr": 1}]
    rows = client.query_and_wait("SELECT * FROM (SELECT 1 id, 2 a, 3 b) UNPIVOT(v FOR k IN (a, b)) ORDER BY k")
    assert [tuple(row.items()) for row in rows] == [(("id", 1), ("v", 2), ("k", "a")), (("id", 1), ("v", 3), ("k", "b"))]


def test_parameters(client: bigquery.Client) -> None:
    now = datetime.datetime(2020, 1, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    config = bigquery.QueryJobConfig(
        query_parameters=[
            bigquery.ScalarQueryParameter("i", "INT64", 1),
            bigquery.ScalarQueryParameter("s", "STRING", 'it\'s \\ a\n"test" -- ; `'),
            bigquery.ScalarQueryParameter("n", "STRING", None),
            bigquery.ScalarQueryParameter("b", "BYTES", b"\x00\xff'"),
            bigquery.ScalarQueryParameter("t", "TIMESTAMP", now),
            bigquery.ScalarQueryParameter("d", "DATE", now.date()),
            bigquery.ArrayQueryParameter("a", "STRING", ["x", "y"]),
            bigquery.ArrayQueryParameter("e", "INT64", []),
            bigquery.StructQueryParameter("r", bigquery.ScalarQueryParameter("k", "STRING", "v")),
        ]
    )
    sql = "SELECT @i, @S, @n, @b, @t, @d, @a, @e, @r.k, 'x' IN UNNEST(@a)"
    for rows in (client.query_and_wait(sql, job_config=config), client.query(sql, job_config=config).result()):
        assert [tuple(row) for row in rows] == [
            (1, 'it\'s \\ a\n"test" -- ; `', None, b"\x00\xff'", now, now.date(), ["x", "y"], [], "v", True)
        ]


def test_positional_parameters(client: bigquery.Client) -> None:
    parameters = [bigquery.ScalarQueryParameter(None, "INT64", 1), bigquery.ScalarQueryParameter(None, "STRING", "x")]
    config = bigquery.QueryJobConfig(query_parameters=parameters)
    assert [tuple(row) for row in client.query_and_wait("SELECT ?, ?", job_config=config)] == [(1, "x")]


@pytest.mark.slow
def test_a_parameter_may_have_thousands_of_values(client: bigquery.Client) -> None:
    texts = bigquery.ArrayQueryParameter("texts", "STRING", [str(number) for number in range(20_000)])
    numbers = bigquery.ArrayQueryParameter("numbers", "INT64", list(range(20_000)))
    config = bigquery.QueryJobConfig(query_parameters=[texts, numbers])
    sql = "SELECT (SELECT COUNT(DISTINCT x) FROM UNNEST(@texts) x), (SELECT SUM(x) FROM UNNEST(@numbers) x)"
    assert [tuple(row) for row in client.query_and_wait(sql, job_config=config)] == [(20_000, 199_990_000)]


def test_a_parameter_may_be_a_pattern(client: bigquery.Client) -> None:
    config = bigquery.QueryJobConfig(query_parameters=[bigquery.ScalarQueryParameter("p", "STRING", r"a(\d)")])
    assert [tuple(row) for row in client.query_and_wait("SELECT REGEXP_EXTRACT('a1', @p)", job_config=config)] == [("1",)]


def test_legacy_sql(client: bigquery.Client, dicom: str) -> None:
    config = bigquery.QueryJobConfig(use_legacy_sql=True)
    sql = f"SELECT CONCAT('/instances/', SOPInstanceUID), '[not.a table]' FROM [p:{dicom}] ORDER BY 1"
    rows = client.query(sql, job_config=config).result()
    assert [field.name for field in rows.schema] == ["f0_", "f1_"]
    assert [row[0] for row in rows] == ["/instances/1.1", "/instances/1.2", "/instances/1.3"]
    assert client.query(f"SELECT COUNT(*) FROM [{dicom}]", job_config=config).result().total_rows == 1


def test_dml(client: bigquery.Client, dataset: str) -> None:
    table = f"{dataset}.t"
    client.query_and_wait(f"CREATE TABLE {table} (a INT64 NOT NULL, s STRING, r ARRAY<STRUCT<x STRING, y BYTES>>)")

    def run(sql: str) -> int | None:
        job = client.query(sql.replace("{T}", table))
        job.result()
        return job.num_dml_affected_rows

    assert run("INSERT INTO {T} (a, s, r) VALUES (1, 'x', [STRUCT('k', b'v')]), (2, NULL, NULL)") == 2
    assert run("UPDATE {T} SET s = CONCAT('u', CAST(a AS STRING)) WHERE a > 1") == 1
    merge = "MERGE {T} t USING (SELECT 2 a UNION ALL SELECT 3) n ON t.a = n.a "
    assert run(merge + "WHEN MATCHED THEN UPDATE SET s = 'm' WHEN NOT MATCHED THEN INSERT (a, s) VALUES (n.a, 'new')") == 2
    assert run("UPDATE {T} t SET t.s = CONCAT(t.s, n.s) FROM (SELECT 2 a, '+' s) n WHERE t.a = n.a") == 1
    assert run("MERGE {T} t USING (SELECT 2 a) n ON t.a = n.a WHEN MATCHED THEN UPDATE SET t.s = 'm'") == 1
    bare = "MERGE {T} t USING (SELECT 9 a, 'bare' s) n ON FALSE WHEN NOT MATCHED BY SOURCE AND a = 1 THEN DELETE "
    assert run(bare + "WHEN NOT MATCHED AND s = 'bare' THEN INSERT (a, s) VALUES (a, s)") == 2
    assert run("DELETE {T} WHERE a = 9") == 1
    assert [tuple(row) for row in client.query_and_wait(f"SELECT a, s FROM {table} ORDER BY a")] == [(2, "m"), (3, "new")]
    with pytest.raises(exceptions.BadRequest, match="Required field a cannot be null"):
        run("INSERT INTO {T} (a) SELECT NULL")
    job = client.query(f"TRUNCATE TABLE {table}")
    job.result()
    assert (job.statement_type, client.get_table(f"p.{table}").num_rows) == ("TRUNCATE_TABLE", 0)


def test_ddl(client: bigquery.Client, dataset: str) -> None:
    def run(sql: str) -> tuple[str | None, str | None]:
        job = client.query(sql.replace("D.", f"{dataset}."))
        job.result()
        return job.statement_type, job.ddl_operation_performed

    assert run("CREATE TABLE D.t (a INT64 NOT NULL OPTIONS(description='key'), b ARRAY<STRUCT<x NUMERIC>>)") == (
        "CREATE_TABLE",
        "CREATE",
    )
    field, nested = client.get_table(f"p.{dataset}.t").schema
    assert (field.mode, field.description, nested.mode, nested.fields[0].field_type) == ("REQUIRED", "key", "REPEATED", "NUMERIC")
    assert run("CREATE TABLE IF NOT EXISTS D.t (a STRING)") == ("CREATE_TABLE", "SKIP")
    assert run("CREATE OR REPLACE TABLE D.t AS SELECT 1 AS a") == ("CREATE_TABLE_AS_SELECT", "REPLACE")
    assert run("CREATE OR REPLACE TABLE D.t AS SELECT a + 1 AS a FROM D.t") == ("CREATE_TABLE_AS_SELECT", "REPLACE")
    assert run("CREATE VIEW D.v AS SELECT a * 2 AS b FROM D.t") == ("CREATE_VIEW", "CREATE")
    assert [tuple(row) for row in client.query_and_wait(f"SELECT b FROM {dataset}.v")] == [(4,)]
    assert client.get_table(f"p.{dataset}.v").table_type == "VIEW"
    with pytest.raises(exceptions.Conflict):
        run("CREATE TABLE D.t AS SELECT 1 AS a")
    assert run("DROP VIEW D.v") == ("DROP_VIEW", "DROP")
    assert run("DROP TABLE D.t") == ("DROP_TABLE", "DROP")
    assert run("DROP TABLE IF EXISTS D.t") == ("DROP_TABLE", "SKIP")
    with pytest.raises(exceptions.NotFound):
        run("DROP TABLE D.t")


@pytest.mark.parametrize(
    ("script", "rows"),
    [
        ("DECLARE x INT64 DEFAULT 5; DECLARE d DATE; SET x = x + 1; SELECT x, d FROM UNNEST([1, 6]) a WHERE a = x", [(6, None)]),
        ("CREATE TABLE D.t AS SELECT 1 AS a; INSERT INTO D.t VALUES (2); SELECT SUM(a) AS s FROM D.t", [(3,)]),
        ("CREATE TABLE D.t AS SELECT 1 AS a; SELECT a FROM D.t; UPDATE D.t SET a = 2 WHERE true", []),
        ("DECLARE m DEFAULT (SELECT MAX(x) FROM UNNEST([1, 3]) x); SELECT 0; SELECT m", [(3,)]),
    ],
)
def test_scripts_of_plain_statements(client: bigquery.Client, dataset: str, script: str, rows: list[Any]) -> None:
    job = client.query(script.replace("D.", f"{dataset}."), job_retry=None)
    assert [tuple(row) for row in job.result()] == rows
    assert job.statement_type == "SCRIPT"


def test_a_view_by_the_api(client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT 1 AS a, [1, 2] AS b")
    view = bigquery.Table(f"p.{dataset}.v")
    view.view_query = f"SELECT a, x FROM `p.{dataset}.t`, UNNEST(b) AS x"
    assert [field.name for field in client.create_table(view).schema] == ["a", "x"]
    assert [tuple(row) for row in client.query_and_wait(f"SELECT SUM(x) FROM {dataset}.v")] == [(3,)]
    client.query_and_wait(
        f"CREATE VIEW {dataset}.w AS SELECT ARRAY_AGG(x ORDER BY x DESC LIMIT 1) AS b, SUM(x) / 2 AS h, FORMAT('%d', MAX(o)) AS o "
        f"FROM {dataset}.v CROSS JOIN UNNEST([1]) WITH OFFSET o"
    )
    sql = f"SELECT w.b[OFFSET(0)], h, o FROM {dataset}.w JOIN {dataset}.t ON TRUE"
    assert [tuple(row) for row in client.query_and_wait(sql)] == [(2, 1.5, "0")]
    bad = bigquery.Table(f"p.{dataset}.bad")
    bad.view_query = "SELECT nope FROM UNNEST([1]) x"
    with pytest.raises(exceptions.BadRequest, match="Unrecognized name: nope"):
        client.create_table(bad)


def test_types_have_lengths_precisions_and_scales(client: bigquery.Client, dataset: str) -> None:
    table = f"{dataset}.t"
    client.query_and_wait(f"CREATE TABLE {table} (s STRING(3), n NUMERIC(5, 2), r STRUCT<l ARRAY<BYTES(2)>>)")
    client.query_and_wait(f"INSERT INTO {table} VALUES ('abc', 1.239, STRUCT([b'ab']))")
    assert client.insert_rows_json(table, [{"s": "xy", "n": "2.345"}]) == []
    assert client.insert_rows_json(table, [{"s": "wxyz"}])[0]["errors"][0]["reason"] == "invalid"
    for values in ("(s) VALUES ('abcd')", "(n) VALUES (1000)", "(r) VALUES (STRUCT([b'abc']))"):
        with pytest.raises(exceptions.BadRequest, match="Field"):
            client.query_and_wait(f"INSERT INTO {table} {values}")
    rows = [tuple(row) for row in client.query_and_wait(f"SELECT s, n FROM {table} ORDER BY s")]
    assert rows == [("abc", Decimal("1.24")), ("xy", Decimal("2.35"))]
    text, number, record = client.get_table(table).schema
    assert (text.max_length, number.precision, number.scale, record.fields[0].max_length) == (3, 5, 2, 2)


def test_names_without_a_project_are_those_of_a_connection_property(client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT 1 AS x")
    config = bigquery.QueryJobConfig(connection_properties=[bigquery.ConnectionProperty("dataset_project_id", "p")])
    assert [tuple(row) for row in client.query_and_wait(f"SELECT x FROM {dataset}.t", project="other", job_config=config)] == [
        (1,)
    ]
    config.connection_properties = [bigquery.ConnectionProperty("time_zone", "s")]
    with pytest.raises(exceptions.MethodNotImplemented, match="time_zone"):
        client.query_and_wait("SELECT 1", job_config=config)


def test_paths_in_one_pair_of_backticks_qualify(client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT STRUCT(STRUCT('b' AS c) AS b) AS a, [1] AS l")
    query = f"SELECT `{dataset}.t`.`a`.`b`.`c`, `p.{dataset}.t`.`a`.`b`.`c` AS d FROM `{dataset}.t`"
    assert [dict(row) for row in client.query_and_wait(query)] == [{"c": "b", "d": "b"}]
    query = f"SELECT x FROM `{dataset}.t` `{dataset}.t_1`, UNNEST(`{dataset}.t_1`.`l`) AS x"
    assert [tuple(row) for row in client.query_and_wait(query)] == [(1,)]
    assert [dict(row) for row in client.query_and_wait("SELECT * FROM UNNEST([(1, 2)])")] == [{"f0_": 1, "f1_": 2}]
