"""PARSE_DATE, PARSE_TIME, PARSE_DATETIME and PARSE_TIMESTAMP: what GoogleSQL's own tests and its documentation say of them."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from gcp_dicom_emulator.bigquery.sql import strptime
from tests.bigquery.conftest import value_of

_UTC = datetime.UTC
_EPOCH = datetime.datetime(1970, 1, 1)


def _read(form: str, text: str, kind: str = "DATETIME") -> str:
    micros, zone = strptime.read(text, form, kind, "UTC").split(" ", 1)
    moment = (_EPOCH + datetime.timedelta(microseconds=int(micros))).isoformat(" ")
    return f"{moment} {zone}" if kind == "TIMESTAMP" else moment.removesuffix(" 00:00:00")


@pytest.mark.parametrize(
    ("form", "text", "moment"),
    [
        ("", "", "1970-01-01"),
        ("%Y-%m-%d", "2001-2-3", "2001-02-03"),
        ("%Y%m%d", "20050308", "2005-03-08"),
        ("%m%m", "1112", "1970-12-01"),
        ("%Y9", "009999", "0999-01-01"),
        ("%y/%m/%d", "68/02/03", "2068-02-03"),
        ("%y", "69", "1969-01-01"),
        ("%C%y", "0999", "0999-01-01"),
        ("%y %C", "15 18", "1815-01-01"),
        ("%C", "11", "1100-01-01"),
        ("%C%m", "2003", "2000-03-01"),
        ("%Q", "3", "1970-07-01"),
        ("%e|%k|%l", " 5| 6| 7", "1970-01-05 07:00:00"),
        ("%A %b %e %Y", "thursday DEC 25 2008", "2008-12-25"),
        ("%b%d", "September02", "1970-09-02"),
        ("%h1", "may1", "1970-05-01"),
        ("%c", "Thu Dec 25 07:30:00 2008", "2008-12-25 07:30:00"),
        ("%D %R", "03/04/05 06:07", "2005-03-04 06:07:00"),
        ("%x %X", "12/25/08 1:3:6", "2008-12-25 01:03:06"),
        ("%F %T", "2000-12-30 23:59:60", "2000-12-31"),
        ("%Ex %EX %Od", "01/02/03 00:00:01 07", "2003-01-07 00:00:01"),
        ("%r", "1:00:11\t\rpm", "1970-01-01 13:00:11"),
        ("%I:%M %p", " 12:01 aM", "1970-01-01 00:01:00"),
        ("%p %l", "Pm  2", "1970-01-01 14:00:00"),
        ("%H:%M %p", "12:01 AM", "1970-01-01 12:01:00"),
        ("%I %p %H", "2 pm 3", "1970-01-01 03:00:00"),
        ("%E*S", "1.123456789", "1970-01-01 00:00:01.123456"),
        ("%E3S", "1.12", "1970-01-01 00:00:01.120000"),
        ("%E1S%M", "4.321", "1970-01-01 00:21:04.300000"),
        ("%s", "-1", "1969-12-31 23:59:59"),
        ("%Y %Y", "2006 2005", "2005-01-01"),
        ("%F %m", "2000-02-03 08", "2000-08-03"),
        # Blanks in the format are any number of blanks in the text, none as well; before and behind the text they are free.
        ("%Y \t%m", "  2000 \n 04 ", "2000-04-01"),
        ("%d %m", "0204", "1970-04-02"),
        ("%n%Y%t%m", "2000   04", "2000-04-01"),
        ("%Y%n%t", "2000", "2000-01-01"),
        ("%%\u044b%Y", "%\u044b2015", "2015-01-01"),
        # Days and weeks of a year; a later element overrides them.
        ("%Y%j", "2020366", "2020-12-31"),
        ("%j %Y", "60 2020", "2020-02-29"),
        ("%U", "0", "1969-12-28"),
        ("%W", "52", "1970-12-28"),
        ("%Y %U %d", "2020 10 31", "2020-03-31"),
        ("%G %J", "2020 1", "2019-12-30"),
        ("%g", "84", "1984-01-02"),
        ("%G %m", "2020 1", "1970-01-01"),
        ("%V", "53", "1970-01-01"),
        ("%a %u %w", "Tuesday 7 0", "1970-01-01"),
    ],
)
def test_reads(form: str, text: str, moment: str) -> None:
    assert _read(form, text) == moment


@pytest.mark.parametrize(
    ("form", "text", "kind", "message"),
    [
        ("%Y-%m-%d", "2000/08/09", "DATE", "Mismatch between format character '-' and string character '/' at string index: 4"),
        ("%Y-%m-%d", "2001-02-30", "DATE", "Out-of-range datetime field"),
        ("%Y", "2000x", "DATE", 'Failed to parse input string "2000x"'),
        ("%Y %m", "2000", "DATE", "Failed to parse"),
        ("%Y--%m", "2000- -04", "DATE", "Mismatch"),
        ("%Y%m%d", "020050308", "DATE", "Failed to parse"),
        ("%Y", "0", "DATE", "Invalid result"),
        ("%E4Y", "100", "DATE", "Failed to parse"),
        ("%s", "253402300800", "DATETIME", "Invalid result"),
        ("%-d", "1", "DATE", "Failed to parse"),
        ("%d", "-1", "DATE", "Failed to parse"),
        ("%b", "\u017fep", "DATE", "Failed to parse"),
        ("%d", "\u0661", "DATE", "Failed to parse"),
        ("%H", "1", "DATE", "%H is not allowed for the DATE type"),
        ("%E3S", "1", "DATE", "%E3S is not allowed for the DATE type"),
        ("%Ex", "1", "TIME", "%Ex is not allowed for the TIME type"),
        ("%z", "+01", "DATETIME", "%z is not allowed for the DATETIME type"),
        ("%p", "a.m.", "TIME", "Failed to parse"),
        ("%I", "13", "TIME", "Failed to parse"),
        ("%S", "61", "TIME", "Failed to parse"),
        ("%E*S", "1.", "TIME", "Failed to parse"),
        ("%E9S", "1.5", "TIME", "Failed to parse"),
        ("%T", "12:34:56.1", "TIME", "Failed to parse"),
        ("%z", "-1401", "TIMESTAMP", "out of valid range -14:00 to \\+14:00: -14:01"),
        ("%Ez", "+1:00", "TIMESTAMP", "Failed to parse"),
        ("%", "%", "DATE", "cannot end with a single"),
        ("%Y %j", "2019 366", "DATE", "Year 2019 has 365 days"),
        ("%Y %U", "1970 53", "DATE", "Week number 53 is invalid for year 1970"),
        ("%G %J", "2021 365", "DATE", "ISO Year 2021 has 364 days"),
        ("%G %V", "2020 50", "DATE", "^The emulator"),
        ("%Y %U %a", "2020 50 Mon", "DATE", "^The emulator"),
    ],
)
def test_refuses(form: str, text: str, kind: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        strptime.read(text, form, kind, "UTC")


def test_takes_the_zone_of_the_text() -> None:
    assert _read("%F %Ez", "2000-01-01 -08:30", "TIMESTAMP") == "2000-01-01 00:00:00 -08:30"
    assert _read("%F %z %Z", "2000-01-01 -08 Asia/Tokyo", "TIMESTAMP") == "2000-01-01 00:00:00 Asia/Tokyo"
    assert _read("%FT%EzZ", "2000-01-01TZZ", "TIMESTAMP") == "2000-01-01 00:00:00 +00:00"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("PARSE_TIME('%I:%M:%S %p', '2:23:38 pm')", datetime.time(14, 23, 38)),
        ("PARSE_DATETIME('%m/%d/%Y %I:%M:%S %p', '8/30/2018 2:23:38 pm')", datetime.datetime(2018, 8, 30, 14, 23, 38)),
        ("PARSE_TIMESTAMP('%c', 'Thu Dec 25 07:30:00 2008')", datetime.datetime(2008, 12, 25, 7, 30, tzinfo=_UTC)),
        ("PARSE_TIMESTAMP('%F %Z', '2020-01-01 Asia/Tokyo')", datetime.datetime(2019, 12, 31, 15, tzinfo=_UTC)),
        ("PARSE_TIMESTAMP('%F %T', '0000-12-31 16:08:00', '-07:52')", datetime.datetime(1, 1, 1, tzinfo=_UTC)),
        ("PARSE_TIMESTAMP('%Y', '2020', NULL)", None),
        ("SAFE.PARSE_DATE('%F', '2020-02-30')", None),
        ("SAFE.PARSE_TIMESTAMP('%F %z', '0001-01-01 +01')", None),
        # The format is an expression like any other.
        (
            "ARRAY(SELECT PARSE_DATE(f, t) FROM UNNEST([STRUCT('%F' AS f, '2020-01-02' AS t), ('%x', '12/25/08')]))",
            [datetime.date(2020, 1, 2), datetime.date(2008, 12, 25)],
        ),
    ],
)
def test_functions(client: bigquery.Client, expression: str, value: Any) -> None:
    assert value_of(client, expression) == value


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("PARSE_DATE('%Y', '2000', 'x')", "No matching signature for function PARSE_DATE"),
        ("PARSE_TIMESTAMP('%Y', '10000')", "Invalid result from parsing function"),
        ("PARSE_TIMESTAMP('%Z', 'Z')", "Invalid time zone: Z"),
    ],
)
def test_functions_refuse(client: bigquery.Client, expression: str, message: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=message):
        value_of(client, expression)


@pytest.mark.parametrize(
    "expression",
    [
        "PARSE_TIMESTAMP('%F %T', t, 'America/New_York')",
        "PARSE_TIMESTAMP('%F %T %Z', CONCAT(t, ' America/New_York'))",
        "TIMESTAMP(t, 'America/New_York')",
        "TIMESTAMP(t, z)",
        "TIMESTAMP(CAST(t AS DATETIME), 'America/New_York')",
        "CAST(CONCAT(t, ' America/New_York') AS TIMESTAMP)",
    ],
)
def test_clocks_that_are_set_back_or_ahead(client: bigquery.Client, expression: str) -> None:
    """What the clocks show twice is the first time, what they never show is counted as if they had not been set."""
    query = f"""
        SELECT FORMAT_TIMESTAMP('%d %H:%M', {expression})
        FROM UNNEST(['2021-11-07 00:30:00', '2021-11-07 01:30:00', '2021-11-07 02:30:00', '2021-03-14 02:30:00']) t WITH OFFSET o,
            (SELECT 'America/New_York' AS z)
        ORDER BY o
    """
    assert [row[0] for row in client.query_and_wait(query)] == ["07 04:30", "07 05:30", "07 07:30", "14 07:30"]


def test_truncates_hours_that_come_twice(client: bigquery.Client) -> None:
    query = """
        SELECT FORMAT_TIMESTAMP('%d %H:%M', TIMESTAMP_TRUNC(t, HOUR, 'America/New_York')),
            FORMAT_TIMESTAMP('%d %H:%M', TIMESTAMP_TRUNC(t, DAY, 'America/New_York'))
        FROM UNNEST([TIMESTAMP '2021-11-07 05:45:00+00', '2021-11-07 06:45:00+00']) t ORDER BY t
    """
    assert [tuple(row) for row in client.query_and_wait(query)] == [("07 05:00", "07 04:00"), ("07 06:00", "07 04:00")]
