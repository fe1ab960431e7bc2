"""GoogleSQL's functions, operators and windows: what each gives, and what it refuses, by family.

The values are those of GoogleSQL's documentation, or are worked out by hand.
"""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from gcp_dicom_emulator.bigquery.sql.fingerprints import fingerprint
from tests.bigquery.conftest import value_of

_NAN = "CAST('nan' AS FLOAT64)"
_INF = "CAST('inf' AS FLOAT64)"

#: An expression, its value.
_VALUES: list[tuple[str, Any]] = [
    # NaN: in comparisons nothing is true of it but that it is not equal; it is sorted first.
    (f"ARRAY(SELECT AS STRUCT x > 1, x >= x, x = x, x <> x, 1 < x, x BETWEEN 0 AND x FROM UNNEST([{_NAN}]) x)[0]", "FFFTFF"),
    (f"(SELECT COUNT(*) FROM UNNEST([{_NAN}, 1.0]) a JOIN UNNEST([{_NAN}, 1.0]) b ON a = b)", 1),
    (f"(SELECT STRING_AGG(CAST(y AS STRING)) FROM (SELECT x / 1 AS y FROM UNNEST([1.0, {_NAN}]) x ORDER BY y))", "nan,1"),
    ("TO_JSON_STRING(PARSE_JSON('[1e2, -0, 1.50, 18446744073709551615]'))", "[100.0,0,1.5,18446744073709551615]"),
    ("TO_JSON_STRING(PARSE_JSON('100000000000000000000'))", "1e+20"),
    ("TO_JSON_STRING(PARSE_JSON('1234567890123456789012345', wide_number_mode => 'round'))", "1.2345678901234568e+24"),
    ("SAFE.PARSE_JSON('1e400')", None),
    ("ARRAY(SELECT EXTRACT(WEEK(TUESDAY) FROM d) FROM UNNEST([DATE '2018-01-01', '2018-01-02', '2018-12-31']) d)", [0, 1, 52]),
    ("ARRAY(SELECT EXTRACT(WEEK FROM d) FROM UNNEST([DATE '2017-12-31', '2018-01-06', '2018-01-07']) d ORDER BY d)", [53, 0, 1]),
    ("EXTRACT(DATETIME FROM TIMESTAMP '2020-01-01 00:00:00+00' AT TIME ZONE 'Asia/Tokyo')", datetime.datetime(2020, 1, 1, 9)),
    (f"(SELECT STRING_AGG(CAST(x AS STRING) ORDER BY x) FROM UNNEST([2.0, {_NAN}]) x)", "nan,2"),
    (f"(SELECT STRING_AGG(CAST(x AS STRING), '|' ORDER BY x DESC) FROM UNNEST([{_NAN}, 2.0]) x)", "2|nan"),
    (f"(SELECT CAST(ARRAY_CONCAT_AGG([x] ORDER BY x)[0] AS STRING) FROM UNNEST([2.0, {_NAN}]) x)", "nan"),
    (f"ARRAY(SELECT x * 1 FROM UNNEST([2.0, {_INF}, -1.0]) x ORDER BY 1)", [-1.0, 2.0, math.inf]),
    (f"(SELECT MAX(a HAVING MIN b) FROM UNNEST([STRUCT(1 AS a, {_NAN} AS b), (2, 1.0)]))", None),
    # Statistics
    (f"(SELECT VAR_POP(x) FROM UNNEST([{_INF}]) x)", "nan"),
    (f"(SELECT VAR_SAMP(x) FROM UNNEST([{_INF}]) x)", None),
    (f"(SELECT COVAR_POP(x, y) FROM UNNEST([STRUCT(1.0 AS x, 2.0 AS y), (3.0, {_INF})]))", "nan"),
    ("(SELECT STDDEV(x) FROM UNNEST([1.0, 2.0, 3.0]) x)", 1.0),
    ("(SELECT STDDEV(DISTINCT x) FROM UNNEST([1.0, 2.0, 3.0, 3.0]) x)", 1.0),
    ("ARRAY(SELECT IFNULL(c, 0) FROM (SELECT CORR(x, x) OVER (ORDER BY x) AS c FROM UNNEST([1.0, 2.0]) x))", [0.0, 1.0]),
    # NUMERIC
    ("NUMERIC '1' / 3", Decimal("0.333333333")),
    ("NUMERIC '-2' / 3", Decimal("-0.666666667")),
    ("(SELECT AVG(x) FROM UNNEST([NUMERIC '1', NUMERIC '2', NUMERIC '2']) x)", Decimal("1.666666667")),
    ("ARRAY(SELECT AVG(x) OVER (ORDER BY x) FROM UNNEST([NUMERIC '1', NUMERIC '2']) x)", [Decimal("1"), Decimal("1.5")]),
    ("(SELECT AVG(x) FROM UNNEST([NUMERIC '1']) x WHERE x > 2)", None),
    ("(SELECT a FROM UNNEST([STRUCT(1 AS a, NUMERIC '2' AS x)]) GROUP BY a HAVING AVG(x) / 2 > 0.9)", 1),
    ("(SELECT RANK() OVER (ORDER BY SUM(x) / SUM(x), AVG(x)) FROM UNNEST([NUMERIC '1']) x)", 1),
    ("(SELECT RANK() OVER (PARTITION BY STDDEV(x) ORDER BY SUM(x), CORR(x, x)) FROM UNNEST([1.5]) x)", 1),
    (
        "(SELECT 1 FROM UNNEST(['2020-01-01']) x GROUP BY x "
        "HAVING MAX(CAST(CAST(CAST(x AS DATETIME) AS STRING) AS DATETIME)) > '2019-01-01')",
        1,
    ),
    ("NUMERIC '1' / 3 / 7 / 9 / 11 / 13", Decimal("0.000037")),
    ("(SELECT v FROM (SELECT VAR_POP(x) OVER w AS v FROM UNNEST([1.0]) x WINDOW w AS (ORDER BY x) ORDER BY v))", 0.0),
    ("RADIANS(NUMERIC '360')", Decimal("6.283185307")),
    ("CBRT(27)", 3.0),
    ("CBRT(-0.008)", -0.2),
    ("TO_JSON_STRING(-0.0)", "-0"),
    # A JSON's members are sorted by their names, and the first of those that share one stays; a STRUCT's fields stay in their order.
    ("TO_JSON_STRING(TO_JSON(STRUCT(1 AS id, [10, 20] AS coordinates)))", '{"coordinates":[10,20],"id":1}'),
    ("TO_JSON_STRING(JSON_OBJECT('foo', 10, 'bar', TRUE))", '{"bar":true,"foo":10}'),
    ("TO_JSON_STRING(JSON '{\"b\": 1.50, \"a\": {\"d\": 1, \"c\": null}, \"b\": 3}')", '{"a":{"c":null,"d":1},"b":1.5}'),
    ("TO_JSON_STRING(STRUCT(1 AS b, JSON '{\"z\":1,\"y\":2}' AS a))", '{"b":1,"a":{"y":2,"z":1}}'),
    ("FORMAT('%t', JSON '{\"b\":1,\"a\":2}')", '{"a":2,"b":1}'),
    ("TO_JSON_STRING(TO_JSON([-0.0, 1.5e-7]))", "[-0,1.5e-07]"),
    # Aggregates with HAVING
    ("(SELECT MAX_BY(x, y) FROM UNNEST([STRUCT('a' AS x, 1 AS y), (NULL, 2), ('c', NULL)]))", None),
    ("(SELECT MIN_BY(x, y) FROM UNNEST([STRUCT(NULL AS x, 1 AS y), (5, 2)]))", None),
    ("(SELECT MAX_BY(x, y) FROM UNNEST([STRUCT('a' AS x, 1 AS y), (NULL, NULL)]))", "a"),
    ("(SELECT COUNT(* HAVING MIN x) FROM UNNEST([1, 1, 2]) x)", 2),
    ("(SELECT SUM(DISTINCT y HAVING MAX x) FROM UNNEST([STRUCT(1 AS x, 5 AS y), (2, 3), (2, 3)]))", 3),
    # Bits
    ("(SELECT BIT_AND(x) FROM UNNEST([b'\\x0f\\x01', b'\\xff\\x03']) x)", b"\x0f\x01"),
    ("(SELECT BIT_XOR(x) FROM UNNEST([1, 3]) x)", 2),
    # Windows
    (
        "ARRAY(SELECT COUNT(*) OVER (ORDER BY a RANGE BETWEEN 9223372036854775807 PRECEDING AND 1 FOLLOWING) AS n "
        "FROM UNNEST([1, 2, 9223372036854775807]) a ORDER BY n)",
        [2, 2, 3],
    ),
    (
        "ARRAY(SELECT COUNT(*) OVER (ORDER BY a RANGE BETWEEN 2 PRECEDING AND 1.5 FOLLOWING) AS n "
        "FROM UNNEST([NUMERIC '-99999999999999999999999999999.999999999', NUMERIC '1', NUMERIC '2.5']) a ORDER BY n)",
        [1, 2, 2],
    ),
    ("ARRAY(SELECT STRING_AGG(b, b',') OVER (ORDER BY b) FROM UNNEST([b'x', b'y']) b)", [b"x", b"x,y"]),
    ("(SELECT ANY_VALUE(p) FROM (SELECT PERCENTILE_CONT(x, 0.5) OVER () p FROM UNNEST([1.0, 2.0, NULL]) x))", 1.5),
    (
        "ARRAY(SELECT FIRST_VALUE(x IGNORE NULLS) OVER (ORDER BY x DESC ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) "
        "FROM UNNEST([NULL, 1]) x)",
        [1, 1],
    ),
    (
        f"ARRAY(SELECT n FROM (SELECT x, COUNT(*) OVER (ORDER BY x RANGE 1 PRECEDING) AS n FROM UNNEST([2.0, 1.5, {_NAN}, {_INF}]) x) "
        "ORDER BY x)",
        [1, 1, 2, 1],
    ),
    (
        f"ARRAY(SELECT COUNT(*) OVER (ORDER BY x DESC RANGE BETWEEN IEEE_DIVIDE(1, 0) PRECEDING AND CURRENT ROW) AS n "
        f"FROM UNNEST([2.0, {_NAN}, {_INF}]) x ORDER BY n)",
        [1, 1, 2],
    ),
    (
        "ARRAY(SELECT COUNT(*) OVER (w RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS n FROM UNNEST([1.0, 1.5, 5]) x "
        "WINDOW w AS (ORDER BY x) ORDER BY n)",
        [1, 2, 2],
    ),
    # Aggregates
    ("(SELECT STDDEV(x) FROM UNNEST([1.0, 2.2e304, -2.2e304]) x)", 2.2e304),
    ("(SELECT VAR_POP(x) FROM UNNEST([1e300, -1e300]) x)", math.inf),
    ("(SELECT VARIANCE(x) FROM UNNEST([NUMERIC '1000000000000000000000000.1', NUMERIC '1000000000000000000000000.2']) x)", 0.005),
    ("(SELECT CORR(y, x) FROM UNNEST([STRUCT(NUMERIC '9e28' AS x, NUMERIC '9e28' AS y), (-9e28, -9e28)]))", 1.0),
    ("(SELECT BIT_OR(x, mode => 'PAD') FROM UNNEST([NULL, b'\\x01\\x02', b'\\x02']) x)", b"\x03\x02"),
    ("(SELECT BIT_AND(x, mode => 'PAD') FROM UNNEST([b'\\x03\\x02', b'\\x02']) x)", b"\x02\x00"),
    ("(SELECT APPROX_QUANTILES(x, 2 RESPECT NULLS)[OFFSET(1)] FROM UNNEST([3, NULL, 1]) x)", 1),
    ("(SELECT APPROX_QUANTILES(x, 2 IGNORE NULLS) FROM UNNEST([3, NULL, 1]) x)", [1, 1, 3]),
    ("(SELECT ANY_VALUE(p) FROM (SELECT PERCENTILE_CONT(x, 0.5 RESPECT NULLS) OVER () p FROM UNNEST([3, NULL, 1]) x))", 1.0),
    ("(SELECT ANY_VALUE(p) FROM (SELECT PERCENTILE_DISC(x, 0 RESPECT NULLS) OVER () p FROM UNNEST([3, NULL, 1]) x))", None),
    ("(SELECT ARRAY_LENGTH(ARRAY_AGG(x RESPECT NULLS)) FROM UNNEST([3, NULL, 1]) x)", 3),
    ("(SELECT ARRAY_AGG(x HAVING MIN y ORDER BY x DESC LIMIT 2) FROM UNNEST([STRUCT(1 AS x, 1 AS y), (2, 1), (3, 1)]))", [3, 2]),
    ("(SELECT STDDEV(x HAVING MIN y) FROM UNNEST([STRUCT(1 AS x, 1 AS y), (3, 1), (9, 2)]))", math.sqrt(2)),
    ("(SELECT ARRAY_CONCAT_AGG(x ORDER BY x[OFFSET(0)] DESC LIMIT 1) FROM (SELECT [1, 2] AS x UNION ALL SELECT [3]))", [3]),
    # LIKE
    ("STRUCT('ab' LIKE ANY ('a%', 'b'), 'ab' NOT LIKE ANY ('a%', 'b'), 'ab' LIKE ALL ('a%', '%b'))", "TTT"),
    ("STRUCT(b'ab' LIKE ANY (b'a%', b'b'), b'ab' LIKE ALL (b'ab', b'b'))", "TF"),
    ("STRUCT('ab' LIKE ANY ((SELECT 'a_')), 'ab' LIKE ANY UNNEST(['z', 'ab']), 'ab' LIKE ANY UNNEST(['z']))", "TTF"),
    ("b'ab' LIKE ANY (NULL, b'x')", None),
    # SAFE
    ("SAFE.SUBSTR('abc', 1, (SELECT -1))", None),
    ("SAFE.REGEXP_CONTAINS('abc', '(')", None),
    ("REGEXP_EXTRACT_ALL('abc', '')", ["", "", ""]),
    ("PARSE_NUMERIC(' - 1,2.34 ')", Decimal("-12.34")),
    ("TO_JSON_STRING(STRUCT([2, 3] AS b, CAST([] AS ARRAY<INT64>) AS c), TRUE)", '{\n  "b": [\n    2,\n    3\n  ],\n  "c": []\n}'),
    ("NULLIF(STRUCT(CAST(NULL AS INT64) AS x, 2 AS y), (NULL, 2)).y", 2),
    # An INT64, however small it is written
    ("SAFE_MULTIPLY(100000, 100000) + SAFE_ADD(2147483647, 1) + SAFE_SUBTRACT(-2147483647, 2)", 9_999_999_999),
    *((f"{value} * {value}", 10**10) for value in ("-100000", "ABS(100000)", "DIV(100000, 1)", "(SELECT 100000)")),
    ("MOD(100000, 200000) * MOD(100000, 200000)", 10**10),
    *((f"{value} * {value}", 10**10) for value in ("IF(TRUE, 100000, 1)", "COALESCE(100000, 1)", "CASE WHEN TRUE THEN 100000 END")),
    *((f"{value} * {value}", 10**10) for value in ("GREATEST(100000, 1)", "NULLIF(100000, 1)", "[-100000][OFFSET(0)]")),
    ("(SELECT x * x FROM (SELECT IFNULL(100000, 1) AS x))", 10**10),
    ("(SELECT a * b FROM UNNEST([STRUCT(1 AS a, 1 AS b), (-100000, -100000)]) ORDER BY a LIMIT 1)", 10**10),
    ("(SELECT FIRST_VALUE(100000) OVER () * MAX(100000) OVER () FROM UNNEST([1]))", 10**10),
    ("ABS(-2147483648) - -2147483648", 2**32),
    ("BIT_COUNT(-1) * (SELECT BIT_COUNT(x) * ASCII(CHR(97)) FROM UNNEST([-1]) x) + BIT_COUNT(b'\\xff\\x01')", 64 * 64 * 97 + 9),
    ("(SELECT STRUCT(DATE '2024-01-31' + x = '2024-02-01', x + DATE '2024-01-31' = '2024-02-01') FROM UNNEST([1]) x)", "TT"),
    ("(SELECT STRING_AGG(CHR(x), '-' ORDER BY x) FROM UNNEST([0, 65, 233]) x)", "\0-A-é"),
    ("CAST(3000000000 AS INT) + CAST(2.5 AS SMALLINT) + CAST('7' AS BYTEINT)", 3_000_000_010),
    ("SAFE_CAST('12.5' AS INTEGER)", None),
    ("[CAST('-0x123' AS INT64), CAST('+0xA' AS INT64), CAST(' 0x7FFFFFFFFFFFFFFF' AS INT64)]", [-291, 10, 2**63 - 1]),
    ("CAST('-0x8000000000000000' AS INT64)", -(2**63)),
    ("COALESCE(SAFE_CAST('0x8000000000000000' AS INT64), SAFE_CAST('0x10000000000000000000000000000000000' AS INT64))", None),
    ("DIV(NUMERIC '-5.5', 2) * 100 + DIV(7, NUMERIC '0.3')", Decimal(-177)),
    # Regular expressions
    ("REGEXP_EXTRACT('x(y)', '[(](.)[)]') || REGEXP_EXTRACT('a]b', '[](]b') || REGEXP_EXTRACT('a(b', r'\\Q(\\Eb')", "y]b(b"),
    ("ARRAY(SELECT REGEXP_EXTRACT('ab', p) FROM UNNEST(['a(b)', 'a', '(?:a)(?P<n>b)']) p ORDER BY 1)", ["a", "b", "b"]),
    ("REGEXP_EXTRACT('ab', CAST(NULL AS STRING))", None),
    (r"REGEXP_EXTRACT_ALL('a1b', '[a-z](\\d?)')", ["1", ""]),
    (r"REGEXP_EXTRACT_ALL('a1b', CONCAT('[a-z]', '(\\d?)'))", ["1", ""]),
    ("SAFE.REGEXP_CONTAINS('a', '(?=a)')", None),
    (
        r"[REGEXP_INSTR('ab1', '[[:digit:]]'), REGEXP_INSTR('a\n', 'a$'), REGEXP_INSTR('٣3', '\\d'), REGEXP_INSTR('a\nb', '(?m)a$')]",
        [3, 0, 2, 1],
    ),
    # FORMAT
    ("FORMAT('%d|%5d|%-5d|%05d|%s', 1, 2, 3, 4, 'x')", "1|    2|3    |00004|x"),
    ("FORMAT('%t %T %t %T', 'a', \"it's\", [1, 2], ['x'])", "a \"it's\" [1, 2] [\"x\"]"),
    (f"FORMAT('%T', {_NAN})", 'CAST("nan" AS FLOAT64)'),
    ("FORMAT('%T %T', DATE '2020-01-02', b'ab\\x00')", 'DATE "2020-01-02" b"ab\\x00"'),
    ('FORMAT("%\'d", 1234567)', "1,234,567"),
    ("FORMAT('%.2f %e %g', 1.234, 1234.5, 0.0001)", "1.23 1.234500e+03 0.0001"),
    ("FORMAT('%*d', 5, 3)", "    3"),
    ("FORMAT('%t', NULL)", "NULL"),
    ("FORMAT('%s', CAST(NULL AS STRING))", None),
    ("FORMAT('100%%')", "100%"),
    ("ARRAY(SELECT FORMAT(f, 3) FROM UNNEST(['%d', '%3d']) f WITH OFFSET o ORDER BY o)", ["3", "  3"]),
    # CAST … FORMAT
    ("CAST(b'abc' AS STRING FORMAT 'HEX')", "616263"),
    ("CAST(b'\\x02\\x11\\x3B' AS STRING FORMAT 'BASE8')", "00410473"),
    ("CAST('616263' AS BYTES FORMAT 'hex')", b"abc"),
    ("SAFE_CAST('123' AS BYTES FORMAT 'BASE2')", None),
    ("CAST(b'abc' AS STRING FORMAT 'h' || 'ex')", "616263"),
    ("CAST(-12345.678 AS STRING FORMAT '$999,999.999')", " -$12,345.678"),
    ("CAST(1234567.89 AS STRING FORMAT '$999,999.999')", " $###,###.###"),
    ("CAST(-12 AS STRING FORMAT '000.000')", "-012.000"),
    ("CAST(-12 AS STRING FORMAT '9999PR')", "  <12>"),
    ("CAST(-12 AS STRING FORMAT 'c999S')", " usd12-"),
    ("CAST(0.23 AS STRING FORMAT 'B99.999S')", " " * 7),
    ("CAST(0.12 AS STRING FORMAT '9.99')", "  .12"),
    ("CAST(NUMERIC '2.345' AS STRING FORMAT '9.99FM')", "2.35"),
    ("CAST(DATE '2018-01-30' AS STRING FORMAT 'YYYY, Mon DD')", "2018, Jan 30"),
    ("CAST(TIMESTAMP '2020-01-02 15:04:05.678+00' AS STRING FORMAT 'YYYY-MM-DD HH12:MI:SS.FF3 PM')", "2020-01-02 03:04:05.678 PM"),
    # JSON
    ("TO_JSON_STRING(JSON_ARRAY_APPEND(JSON '[1]', '$', [2, 3]))", "[1,2,3]"),
    ("TO_JSON_STRING(JSON_ARRAY_APPEND(JSON '[1]', '$', [2], append_each_element => FALSE))", "[1,[2]]"),
    ("TO_JSON_STRING(JSON_ARRAY_INSERT(JSON '[\"a\"]', '$[0]', 1))", '[1,"a"]'),
    ("TO_JSON_STRING(JSON_SET(JSON '{\"a\":1}', '$.b', 2, create_if_missing => FALSE))", '{"a":1}'),
    ("TO_JSON_STRING(JSON_STRIP_NULLS(JSON '{\"a\":null,\"b\":[null,1]}', include_arrays => FALSE))", '{"b":[null,1]}'),
    ("TO_JSON_STRING(JSON_OBJECT('a', 1, 'a', 2))", '{"a":1}'),
    ("TO_JSON_STRING(JSON_REMOVE(JSON '[1]', NULL))", "[1]"),
    ("JSON_KEYS(JSON '[{\"a\":{\"b\":1}}]', mode => 'lax')", ["a", "a.b"]),
    ("FLOAT64(JSON '1.5', wide_number_mode => 'exact')", 1.5),
    ("JSON_QUERY('{\"a\":[{\"b\":1},[{\"b\":2}]]}', 'lax $.a.b')", "[1]"),
    ("JSON_QUERY('{\"a\":[{\"b\":1},[{\"b\":2}]]}', 'lax recursive $.a.b')", "[1,2]"),
    # Text and bytes
    ("REGEXP_INSTR('abcabc', 'a(b)c', 2, 1, 1)", 6),
    ("REGEXP_INSTR('-2020-jack-class1', '', 2)", 0),
    ("FARM_FINGERPRINT('1footrue')", -1541654101129638711),
    ("FARM_FINGERPRINT(b'2applefalse')", 2794438866806483259),
    ("LTRIM(NULL, b' ')", None),
    ("TYPEOF([STRUCT(1 AS a, 'b')])", "ARRAY<STRUCT<a INT64, STRING>>"),
    # Dates
    ("CAST('2015-11-06 23:59:60' AS DATETIME)", datetime.datetime(2015, 11, 7)),
    ("CAST('2016-11-06t00:30:00' AS DATETIME)", datetime.datetime(2016, 11, 6, 0, 30)),
    ("(SELECT CAST(NULL AS ARRAY<INT64>)[OFFSET(-1)])", None),
]  # fmt: skip

#: An expression that BigQuery refuses, a part of the message.
_ERRORS = [
    ("1 + NULL", "literal NULL"),
    ("NOT NULL", "literal NULL"),
    ("(SELECT 1 LIMIT NULL)", "non-null count"),
    ("(SELECT SUM(x) FROM UNNEST([1e308, 1.1e308]) x)", "double overflow"),
    ("(SELECT STRING_AGG(x, CAST(NULL AS STRING)) FROM UNNEST(['a']) x)", "must be non-NULL"),
    ("ARRAY(SELECT LAG(x, CAST(NULL AS INT64)) OVER (ORDER BY x) FROM UNNEST([1]) x)", "must not be null"),
    ("ARRAY(SELECT LEAD(x, 1, x) OVER (ORDER BY x) FROM UNNEST([1]) x)", "must be constant"),
    ("ARRAY(SELECT ROW_NUMBER() OVER (ROWS 2 PRECEDING) FROM UNNEST([1]) x)", "Window framing clause is not allowed"),
    ("ARRAY(SELECT RANK() OVER w FROM UNNEST([1]) x WINDOW w AS (ORDER BY x ROWS 2 PRECEDING))", "Window framing clause"),
    ("ARRAY(SELECT NTILE(0) OVER (ORDER BY x) FROM UNNEST([1]) x)", "must be positive"),
    ("ARRAY(SELECT SUM(x) OVER (ORDER BY x RANGE CAST(NULL AS INT64) PRECEDING) FROM UNNEST([1]) x)", "cannot be null"),
    ("(SELECT APPROX_TOP_COUNT(x, 0) FROM UNNEST([1]) x)", "must be positive"),
    ("FORMAT('%d')", "Too few arguments"),
    ("FORMAT('%t', 1, 2)", "Too many arguments"),
    ("JSON_QUERY(JSON '{}', 'recursive $.a')", "'lax' modifier"),
    ("JSON_SET(JSON '{}', '$.a')", "No matching signature"),
    ("FLOAT64(JSON '9007199254740993', wide_number_mode => 'exact')", "loss of precision"),
    ("CAST(b'a' AS STRING FORMAT 'x')", "Invalid format"),
    ("NUMERIC '1' / NUMERIC '0'", "division by zero"),
    ("DIV(1, 0)", "division by zero$"),
    ("""PARSE_JSON('{"a": 1e400}')""", "cannot round-trip"),
    ("PARSE_JSON('1234567890123456789012345')", "Invalid input to PARSE_JSON: Input number: 1234567890123456789012345 cannot"),
    ("PARSE_JSON('0.1000000000000000055511151231257827')", "cannot round-trip"),
    ("PARSE_JSON('1e400', wide_number_mode => 'round')", "cannot round-trip"),
    ("PARSE_JSON('1', wide_number_mode => 'no')", "wide_number_mode"),
    ("PARSE_JSON('[NaN]')", "Invalid input to PARSE_JSON"),
    ("PARSE_JSON('{')", "Invalid input to PARSE_JSON"),
    ("JSON '[1e400]'", "cannot round-trip"),
    ("INTERVAL 1.5 DAY", "Invalid INTERVAL"),
    ("INTERVAL 'x' SECOND", "Invalid INTERVAL"),
    ("MOD(1, 0)", "division by zero$"),
    ("9223372036854775807 + 1", "int64 overflow: 9223372036854775807 \\+ 1$"),
    ("ABS(-9223372036854775808)", "int64 overflow"),
    ("(SELECT BIT_OR(x, mode => 'NO') FROM UNNEST([b'1']) x)", "mode"),
    ("ARRAY(SELECT SUM(x) OVER (ORDER BY x RANGE IEEE_DIVIDE(0, 0) PRECEDING) FROM UNNEST([1.0]) x)", "must be non-negative"),
    ("ARRAY(SELECT SUM(1) OVER (ORDER BY x RANGE 1 PRECEDING) FROM UNNEST([TRUE]) x)", "must be numeric"),
    ("'a' LIKE ANY ('\\\\')", "escape character"),
    ("GENERATE_DATE_ARRAY('2016-01-01', '2017-01-01', INTERVAL 0 DAY)", "step cannot be 0"),
    ("SAFE.LEFT('a', CAST(1 / 0 AS INT64))", "division by zero"),
    ("SAFE.ERROR(ERROR('mine'))", "mine"),
    ("CAST(TIME '01:02:03' AS STRING FORMAT 'YYYY')", "does not support 'YYYY'"),
    ("CAST(1 AS STRING FORMAT '9.9.9')", "more than one"),
    ("PARSE_NUMERIC('-1-')", "Invalid input"),
    ("MAX_BY(1, 2)", "Aggregate function MAX_BY not allowed in SELECT without FROM"),
    # What other dialects of SQLGlot have
    *(
        (f"{call}", "Function not found")
        for call in ("NVL(NULL, 1)", "SPLIT_PART('a,b', ',', 1)", "ARRAY_SORT([1])", "LEVENSHTEIN('a', 'b')")
    ),
]

#: What the emulator cannot do right, and therefore refuses.
_REFUSED = [
    f"ARRAY(SELECT PERCENTILE_CONT(x, 0.5) OVER () FROM UNNEST([{_INF}]) x)",
    "CAST(12 AS STRING FORMAT 'XX')",
    "SAFE_CAST(1 AS STRING FORMAT '9EEEE')",
    "'a' LIKE ANY (SELECT 'a')",
    "COLLATE('A', 'und:ci') = 'a'",
    f"ARRAY(SELECT PERCENTILE_DISC(x, 0.5 RESPECT NULLS) OVER () FROM UNNEST([{_NAN}]) x)",
]


def _value(client: bigquery.Client, expression: str) -> Any:
    value = value_of(client, expression)
    if isinstance(value, dict):
        return "".join("T" if item else "F" for item in value.values())
    return "nan" if isinstance(value, float) and math.isnan(value) else value


@pytest.mark.parametrize(("expression", "value"), _VALUES, ids=lambda value: str(value)[:60])
def test_value(client: bigquery.Client, expression: str, value: Any) -> None:
    assert _value(client, expression) == value


@pytest.mark.parametrize(("expression", "message"), _ERRORS, ids=lambda value: str(value)[:60])
def test_error(client: bigquery.Client, expression: str, message: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=message):
        _value(client, expression)


@pytest.mark.parametrize("expression", _REFUSED)
def test_what_cannot_be_right_is_refused(client: bigquery.Client, expression: str) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match="The emulator"):
        _value(client, expression)


def test_an_expression_is_worked_out_of_a_column_that_grouping_sets_have_too(client: bigquery.Client) -> None:
    source = "UNNEST([STRUCT(1 AS k, 10 AS a), (2, 10), (3, NULL)])"
    rows = client.query_and_wait(f"SELECT a, a + 1, SUM(k) FROM {source} GROUP BY ROLLUP(a, a + 1) ORDER BY a, a + 1, 3")
    assert [tuple(row) for row in rows] == [(None, None, 3), (None, None, 3), (None, None, 6), (10, 11, 3), (10, 11, 3)]


def test_fingerprints_of_all_lengths() -> None:
    """Those that FarmHash's library (pyfarmhash 0.5.1) gives."""
    found = {size: fingerprint(bytes(range(size))) for size in (0, 3, 7, 20, 40, 64, 65, 100, 128, 129, 200, 256)}
    assert list(found.values()) == [
        -7286425919675154353, -7736835464683084646, -6710152398449367391, -8225851168889855767, 645241335607543436,
        -755192159902184373, -4133415862504178242, 4395248839964844437, 2037963038260878803, -3563574961234704322,
        525935771297148851, 5291657088564336415,
    ]  # fmt: skip
