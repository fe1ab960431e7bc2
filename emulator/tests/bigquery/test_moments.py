"""Dates and times as texts: formats of CAST, and time zones."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from tests.bigquery.conftest import value_of

_UTC = datetime.UTC


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("CAST('20-Jan-2020' AS DATE FORMAT 'DD-MON-YYYY')", datetime.date(2020, 1, 20)),
        ("CAST(' january 5, 2020 ' AS DATE FORMAT 'MONTH DD, YYYY')", datetime.date(2020, 1, 5)),
        ("CAST('20200102' AS DATE FORMAT 'YYYYMMDD')", datetime.date(2020, 1, 2)),
        ("CAST('2,020x1x2' AS DATE FORMAT 'Y,YYY\"x\"MM\"x\"DD')", datetime.date(2020, 1, 2)),
        ("CAST('3:04 P.M.' AS TIME FORMAT 'HH:MI A.M.')", datetime.time(15, 4)),
        ("CAST('12:00 a.m.' AS TIME FORMAT 'HH12:MI P.M.')", datetime.time(0)),
        ("CAST('03723' AS TIME FORMAT 'SSSSS')", datetime.time(1, 2, 3)),
        (
            "CAST('06/02/2020 17:00:53.110 +02' AS TIMESTAMP FORMAT 'MM/DD/YYYY HH24:MI:SS.FF3 TZH')",
            datetime.datetime(2020, 6, 2, 15, 0, 53, 110_000, _UTC),
        ),
        (
            "CAST('2020-06-03 10' AS TIMESTAMP FORMAT 'YYYY-MM-DD HH24' AT TIME ZONE 'America/New_York')",
            datetime.datetime(2020, 6, 3, 14, tzinfo=_UTC),
        ),
        ("STRING(CAST('2020-01-02 03' AS DATETIME FORMAT 'YYYY-MM-DD HH24'))", "2020-01-02 03:00:00"),
        # A leap second is the first one of the next minute.
        ("CAST('2020-12-31 23:59:60+00' AS TIMESTAMP)", datetime.datetime(2021, 1, 1, tzinfo=_UTC)),
        ("CAST('2020-12-31 18:59:60 America/New_York' AS TIMESTAMP)", datetime.datetime(2021, 1, 1, tzinfo=_UTC)),
        ("CAST('12:34:60' AS TIME)", datetime.time(12, 35)),
        ("CAST('23:59:60.5' AS TIME)", datetime.time(0)),
        ("CAST('2020-12-31 +05' AS TIMESTAMP)", datetime.datetime(2020, 12, 30, 19, tzinfo=_UTC)),
        # Without seconds, and with more digits than a TIMESTAMP has, a text is not one.
        ("SAFE_CAST('2020-12-31 10:00' AS TIMESTAMP)", None),
        ("SAFE_CAST('2020-12-31T' AS TIMESTAMP)", None),
        ("SAFE_CAST('2020-12-31 10:00:00.1234567' AS TIMESTAMP)", None),
        ("SAFE_CAST('2020-12-31 10:00:00 Nowhere' AS TIMESTAMP)", None),
        ("SAFE_CAST('2020-13-02' AS DATE FORMAT 'YYYY-MM-DD')", None),
        ("CAST(NULL AS DATE FORMAT 'YYYY-MM-DD')", None),
        ("CAST(t AS STRING FORMAT 'YYYY-MM-DD HH24:MI TZH:TZM' AT TIME ZONE 'Asia/Kolkata')", "2020-01-02 08:34 +05:30"),
        ("CAST(t AS STRING FORMAT 'HH24 TZH' AT TIME ZONE '-8')", "19 -08"),
        ("STRING(t, 'America/Los_Angeles')", "2020-01-01 19:04:05-08"),
        ("STRING(t, '+05:30')", "2020-01-02 08:34:05+05:30"),
        ("STRING(t, NULL)", None),
        ("FORMAT_TIMESTAMP('%C', t)", "20"),
        ("FORMAT_TIMESTAMP('%k|%l|%P%n%t', t)", " 3| 3|am\n\t"),
        ("FORMAT_TIMESTAMP('%r|%J|%g|%s|%E9S|%Ex', t)", "03:04:05 AM|004|20|1577934245|05.000000000|01/02/20"),
        ("FORMAT_TIMESTAMP('%F %T %Z %z %Ez', t, 'Asia/Kolkata')", "2020-01-02 08:34:05 UTC+5:30 +0530 +05:30"),
        ("FORMAT_TIMESTAMP('%F %Z', t, '-8')", "2020-01-01 UTC-8"),
        # What a type does not have, and what nobody knows, is written as it stands there.
        ("FORMAT_DATE('%H:%M %Z %E3S %F', DATE '2020-01-02')", "%H:%M %Z %E3S 2020-01-02"),
        ("FORMAT_TIME('%Y %R', TIME '10:20:30')", "%Y 10:20"),
        ("FORMAT_DATETIME('%Z %c', DATETIME '2020-01-02 03:04:05')", "%Z Thu Jan  2 03:04:05 2020"),
        ("FORMAT_DATE('%q %E w %', DATE '2020-01-02')", "%q %E w %"),
        ("FORMAT_DATE('%D %T', DATETIME '2020-01-02 03:04:05')", "01/02/20 03:04:05"),
        (
            "ARRAY(SELECT FORMAT_DATE(f, DATE '2020-01-02') FROM UNNEST(['%e', '%A']) f WITH OFFSET o ORDER BY o)",
            [" 2", "Thursday"],
        ),
        ("FORMAT_DATE('%U %W %V %u %w %j', DATE '2016-01-03')", "01 00 53 7 0 003"),
        ("FORMAT_DATE(NULL, DATE '2020-01-02')", None),
        ("FORMAT_TIMESTAMP('%F', CAST(NULL AS TIMESTAMP), 'UTC')", None),
        ("FORMAT_DATE('%C', DATE '0099-12-31')", "00"),
    ],
)
def test_texts(client: bigquery.Client, expression: str, value: Any) -> None:
    query = f"SELECT {expression} FROM (SELECT TIMESTAMP '2020-01-02 03:04:05+00' AS t)"
    ((found,),) = [tuple(row) for row in client.query_and_wait(query)]
    assert found == value


def test_what_a_format_leaves_out_is_todays(client: bigquery.Client) -> None:
    days = [datetime.datetime.now(_UTC).date().replace(day=7)]
    found = value_of(client, "CAST('07' AS DATE FORMAT 'DD')")
    days.append(datetime.datetime.now(_UTC).date().replace(day=7))
    assert found in days
    assert value_of(client, "CAST('2020' AS DATE FORMAT 'YYYY')").day == 1


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("CAST('x' AS DATE FORMAT 'YYYY')", "Failed to parse"),
        ("CAST('3 PM' AS TIME FORMAT 'HH PM')", "not supported for parsing"),
        ("CAST('3' AS TIME FORMAT 'HH')", "meridian"),
        ("CAST('3' AS DATE FORMAT 'HH24')", "not allowed for output type DATE"),
        ("CAST('3' AS DATE FORMAT 'DDx')", "Cannot find matched format element"),
        ("CAST(DATE '2020-01-02' AS STRING FORMAT 'TZH')", "DATE does not support 'TZH'"),
        ("CAST(DATE '2020-01-02' AS STRING FORMAT 'YYYY' AT TIME ZONE 'UTC')", "AT TIME ZONE is not allowed"),
        ("STRING(TIMESTAMP '2020-01-02', '+15:00')", "Invalid time zone"),
        # ICU knows it, the time zone database does not.
        ("PARSE_TIMESTAMP('%F%Z', '2024-01-15IST')", "Invalid time zone: IST"),
        ("TIMESTAMP('2020-01-02', 'PST')", "Invalid time zone: PST"),
        ("DATE(TIMESTAMP '2020-01-02', IF(RAND() > 2, NULL, 'JST'))", "Invalid time zone: JST"),
        ("CAST('2020-01-02 03:04:05 IST' AS TIMESTAMP)", "Invalid timestamp"),
        ("TIMESTAMP('2020-01-02', '')", "Invalid time zone"),
    ],
)
def test_what_is_refused(client: bigquery.Client, expression: str, message: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=message):
        value_of(client, expression)


@pytest.mark.parametrize(
    "expression",
    [
        "DATE_TRUNC(DATE '0001-01-03', WEEK)",
        "TIMESTAMP_TRUNC(TIMESTAMP '0001-01-01 00:00:00+00', WEEK)",
        "LAST_DAY(DATE '9999-12-31', WEEK)",
        "DATE(TIMESTAMP '9999-12-31 23:59:59+00', 'Asia/Tokyo')",
        "DATETIME(TIMESTAMP '0001-01-01 00:00:00+00', 'America/New_York')",
        "EXTRACT(DATE FROM TIMESTAMP '9999-12-31 23:59:59+00' AT TIME ZONE 'Asia/Tokyo')",
    ],
)
def test_what_leaves_the_range_of_its_type_is_an_error(client: bigquery.Client, expression: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="overflow"):
        value_of(client, expression)
    assert value_of(client, f"SAFE.{expression}") is None if expression[0] in "DTL" else True


@pytest.mark.parametrize("expression", ["t + INTERVAL 1 MONTH", "INTERVAL i YEAR + t", "t - INTERVAL '1-0' YEAR TO MONTH"])
def test_months_are_not_added_to_a_timestamp(client: bigquery.Client, expression: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="not supported for intervals with non-zero MONTH or YEAR part"):
        client.query_and_wait(f"SELECT {expression} FROM UNNEST([TIMESTAMP '2020-01-01 00:00:00+00']) t, UNNEST([1]) i")


def test_time_zones_in_columns(client: bigquery.Client) -> None:
    query = """
        SELECT FORMAT_TIMESTAMP('%H:%M %z', t, z), EXTRACT(HOUR FROM t AT TIME ZONE z), TIME(t, z), DATE(t, z), STRING(DATETIME(t, z)),
            STRING(TIMESTAMP('2000-01-01 00:00:00', z)), STRING(PARSE_TIMESTAMP('%Y', '2000', z)), STRING(t, z)
        FROM UNNEST(['UTC+1234', '-5:30', 'Asia/Tokyo', NULL]) z WITH OFFSET o, (SELECT TIMESTAMP '2000-01-01 00:00:00+00' AS t)
        ORDER BY o
    """
    assert [" | ".join(map(str, row)) for row in client.query_and_wait(query)] == [
        "12:34 +1234 | 12 | 12:34:00 | 2000-01-01 | 2000-01-01 12:34:00"
        " | 1999-12-31 11:26:00+00 | 1999-12-31 11:26:00+00 | 2000-01-01 12:34:00+12:34",
        "18:30 -0530 | 18 | 18:30:00 | 1999-12-31 | 1999-12-31 18:30:00"
        " | 2000-01-01 05:30:00+00 | 2000-01-01 05:30:00+00 | 1999-12-31 18:30:00-05:30",
        "09:00 +0900 | 9 | 09:00:00 | 2000-01-01 | 2000-01-01 09:00:00"
        " | 1999-12-31 15:00:00+00 | 1999-12-31 15:00:00+00 | 2000-01-01 09:00:00+09",
        " | ".join(["None"] * 8),
    ]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("CONTAINS_SUBSTR('the blue house', 'Blue house')", True),
        (r"CONTAINS_SUBSTR('\u2168day', 'IX')", True),
        ("CONTAINS_SUBSTR(['aBc', 'd'], 'b')", True),
        ("CONTAINS_SUBSTR([('a', ['b']), ('c', ['D'])], 'd')", True),
        ("CONTAINS_SUBSTR((23, 35, 41), '5')", True),
        ("CONTAINS_SUBSTR((NULL, 'b'), 'a')", None),
        ("CONTAINS_SUBSTR(('b', NULL), 'b')", True),
        ("CONTAINS_SUBSTR(('b', 'c'), 'd')", False),
        ("CONTAINS_SUBSTR(TIMESTAMP '2020-01-02 03:04:05+00', '04:05')", True),
        ("(SELECT CONTAINS_SUBSTR(t, 'or') FROM (SELECT 'Orange' AS a, 1 AS b) t)", True),
    ],
)
def test_contains_substr(client: bigquery.Client, expression: str, value: object) -> None:
    assert value_of(client, expression) == value


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("ASCII(b'\\xffa')", 255),
        ("ASCII('')", 0),
        ("TRANSLATE(b'abcdebadbad', b'ad', b'x')", b"xbcebxbx"),
        ("LEFT(CAST(NULL AS STRING), -1)", None),
        ("INSTR(b'xx', b'', -1)", 3),
        ("INSTR('x', '', 3)", 0),
        ("REGEXP_INSTR('xyzabc', '^abc', 4)", 4),
        (r"FORMAT('%\'+#9x|%\'+#9o|%+#o|%#o', 300000, -300000, 30, 0)", "+0x4:93e0|-0111,1740|+036|0"),
        ("FORMAT('%*d', CAST(NULL AS INT64), 5)", None),
        ("FORMAT('%.*s|%.*f', -2, 'abc', -2, 1.5)", "abc|1.500000"),
        (r"""FORMAT('%t', b"a'b\"")""", "a\\'b\\\""),
        ("FORMAT('abc')", "abc"),
    ],
)
def test_texts_and_bytes(client: bigquery.Client, expression: str, value: object) -> None:
    assert value_of(client, expression) == value


def test_ascii_of_other_letters(client: bigquery.Client) -> None:
    with pytest.raises(exceptions.BadRequest, match="not a structurally valid ASCII string"):
        value_of(client, "ASCII('é')")


@pytest.mark.parametrize("arguments", ["1.5, '1'", "b'a', 'a'", """JSON '"a"', 'a'"""])
def test_contains_substr_of_others(client: bigquery.Client, arguments: str) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match="CONTAINS_SUBSTR"):
        value_of(client, f"CONTAINS_SUBSTR({arguments})")


def test_keys_of_windows_may_be_moved(client: bigquery.Client) -> None:
    keys = "DATE_TRUNC(d, MONTH), LAST_DAY(d), DATE_ADD(d, INTERVAL 1 YEAR), TIMESTAMP(d, 'Asia/Tokyo')"
    query = f"SELECT COUNT(*) OVER (PARTITION BY {keys}) FROM UNNEST([DATE '2020-01-02', '2020-01-02']) d"
    assert [tuple(row) for row in client.query_and_wait(query)] == [(2,), (2,)]
