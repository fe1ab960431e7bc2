"""GEOGRAPHY, INTERVAL, RANGE and TIMESTAMP(12): in queries, in tables, and on their way in and out."""

from __future__ import annotations

import datetime
import io
import json
from typing import Any

import pytest
from dateutil.relativedelta import relativedelta
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

from .conftest import Running

_DAY, _NEXT = datetime.date(2020, 1, 1), datetime.date(2020, 2, 1)
_R = "RANGE<DATE> '[2020-01-01, 2020-02-01)'"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        # INTERVAL
        ("INTERVAL 3 DAY", relativedelta(days=3)),
        ("CAST(INTERVAL '1-2 3 4:5:6.5' YEAR TO SECOND AS STRING)", "1-2 3 4:5:6.500"),
        ("INTERVAL '-2:30' HOUR TO MINUTE", relativedelta(hours=-2, minutes=-30)),
        ("CAST(INTERVAL '-1-2 3 -4:5:6.1' YEAR TO SECOND AS STRING)", "-1-2 3 -4:5:6.100"),
        ("CAST(CAST('P7Y11M9DT4H15M37.123456S' AS INTERVAL) AS STRING)", "7-11 9 4:15:37.123456"),
        ("CAST(CAST('P-10000Y0M-3660000DT-87840000H0M0S' AS INTERVAL) AS STRING)", "-10000-0 -3660000 -87840000:0:0"),
        ("CAST(CAST('1-2 -3 4:5:6' AS INTERVAL) AS STRING)", "1-2 -3 4:5:6"),
        ("ARRAY(SELECT CAST(CAST(t AS INTERVAL) AS STRING) FROM UNNEST(['-1-2', '1-2 -3', '3 -4:5:6', '4:5:6.5']) t)",
         ["-1-2 0 0:0:0", "1-2 -3 0:0:0", "0-0 3 -4:5:6", "0-0 0 4:5:6.500"]),
        ("CAST(MAKE_INTERVAL(1, 2, hour => 30) AS STRING)", "1-2 0 30:0:0"),
        ("CAST(DATE '2020-02-01' - DATE '2020-01-01' AS STRING)", "0-0 31 0:0:0"),
        ("CAST(TIMESTAMP '2020-01-03' - TIMESTAMP '2020-01-01 01:00:00.5' AS STRING)", "0-0 0 46:59:59.500"),
        ("CAST(INTERVAL 1 DAY * 3 + INTERVAL 2 HOUR AS STRING)", "0-0 3 2:0:0"),
        ("INTERVAL 1 DAY = INTERVAL 24 HOUR", True),
        ("EXTRACT(DAY FROM INTERVAL '1-2 3' YEAR TO DAY)", 3),
        ("SAFE_CAST('x' AS INTERVAL)", None),
        # RANGE
        (_R, {"start": _DAY, "end": _NEXT}),
        ("RANGE<DATE> '[UNBOUNDED, 2020-02-01)'", {"start": None, "end": _NEXT}),
        ("RANGE(DATE '2020-01-01', NULL)", {"start": _DAY, "end": None}),
        (
            "RANGE<DATETIME> '[2020-01-01 01:02:03, NULL)'",
            {"start": datetime.datetime(2020, 1, 1, 1, 2, 3), "end": None},
        ),
        (
            "RANGE<TIMESTAMP> '[2020-01-01 00:00:00+00, UNBOUNDED)'",
            {"start": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), "end": None},
        ),
        (f"CAST({_R} AS STRING)", "[2020-01-01, 2020-02-01)"),
        (f"RANGE_START({_R})", _DAY),
        ("RANGE_END(RANGE<DATE> '[2020-01-01, UNBOUNDED)')", None),
        (f"RANGE_CONTAINS({_R}, DATE '2020-01-01')", True),
        (f"RANGE_CONTAINS({_R}, DATE '2020-02-01')", False),
        (f"RANGE_CONTAINS({_R}, RANGE<DATE> '[2020-01-05, 2020-02-01)')", True),
        (f"RANGE_OVERLAPS({_R}, RANGE<DATE> '[2020-02-01, UNBOUNDED)')", False),
        (f"RANGE_INTERSECT({_R}, RANGE<DATE> '[2020-01-31, UNBOUNDED)')", {"start": datetime.date(2020, 1, 31), "end": _NEXT}),
        (f"{_R} < RANGE<DATE> '[2020-01-01, UNBOUNDED)'", True),
        (f"ARRAY(SELECT r = {_R} FROM UNNEST([{_R}, RANGE<DATE> '[UNBOUNDED, 2020-01-01)']) r ORDER BY r)", [False, True]),
        ("SAFE_CAST('[2020-02-01, 2020-01-01)' AS RANGE<DATE>)", None),
        ("SAFE_CAST('[x, 2020-01-01)' AS RANGE<DATE>)", None),
        (f"TYPEOF({_R})", "RANGE<DATE>"),
        # GEOGRAPHY
        ("ST_GEOGPOINT(-122.5, 37)", "POINT(-122.5 37)"),
        ("ST_GEOGPOINT(190, 0)", "POINT(-170 0)"),
        ("ST_GEOGPOINT(NULL, 0)", None),
        ("ST_GEOGFROMTEXT('point(0.0 1.50)')", "POINT(0 1.5)"),
        ("ST_GEOGFROMTEXT('LINESTRING (0 0,1 1)')", "LINESTRING(0 0, 1 1)"),
        ("ST_GEOGFROMTEXT('multipoint((0 0), (1 1))')", "MULTIPOINT(0 0, 1 1)"),
        ("ST_ASTEXT(ST_GEOGPOINT(1, 2))", "POINT(1 2)"),
        ("[ST_X(ST_GEOGPOINT(1.5, 2)), ST_Y(ST_GEOGPOINT(1.5, 2))]", [1.5, 2.0]),
        ("IF(TRUE, ST_GEOGPOINT(1, 2), NULL)", "POINT(1 2)"),
        ("[ST_GEOGPOINT(1, 2)]", ["POINT(1 2)"]),
        ("STRUCT(ST_GEOGPOINT(1, 2) AS g)", {"g": "POINT(1 2)"}),
        ("SAFE.ST_GEOGFROMTEXT('x')", None),
        ("SAFE.ST_GEOGPOINT(0, 91)", None),
        # TIMESTAMP(12)
        ("UNIX_MICROS(CAST(CAST('1970-01-01 00:00:00.123456789012' AS TIMESTAMP(12)) AS TIMESTAMP))", 123456),
        ("SAFE_CAST('x' AS TIMESTAMP(12)) IS NULL", True),
    ],
)  # fmt: skip
def test_values(client: bigquery.Client, expression: str, value: Any) -> None:
    [row] = client.query_and_wait(f"SELECT {expression} AS v")
    assert row["v"] == value


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("SELECT CAST('x' AS INTERVAL)", 400, "Invalid INTERVAL"),
        ("SELECT MAKE_INTERVAL(10001)", 400, "overflow"),
        ("SELECT TO_JSON_STRING(INTERVAL 1 DAY)", 501, "INTERVAL in JSON"),
        ("SELECT RANGE<DATE> '[2020-02-01, 2020-01-01)'", 400, "must be smaller"),
        ("SELECT RANGE<DATE> 'x'", 400, "Invalid RANGE"),
        ("SELECT RANGE(DATE '2020-01-01', DATETIME '2021-01-01')", 400, "No matching signature"),
        (f"SELECT UPPER({_R})", 501, "UPPER of a RANGE<DATE>"),
        (f"SELECT RANGE_INTERSECT({_R}, RANGE<DATE> '[2021-01-31, UNBOUNDED)')", 400, "do not overlap"),
        ("SELECT ST_GEOGPOINT(0, 91)", 400, "Latitude"),
        ("SELECT ST_GEOGFROMTEXT('x')", 400, "Invalid WKT"),
        ("SELECT ST_X(ST_GEOGFROMTEXT('LINESTRING(0 0, 1 1)'))", 400, "not a single point"),
        ("SELECT ST_X('x')", 400, "No matching signature"),
        ("SELECT ST_AREA(ST_GEOGPOINT(0, 0))", 501, "ST_AREA"),
        ("SELECT ST_DISTANCE(ST_GEOGPOINT(0, 0), ST_GEOGPOINT(0, 1))", 501, "ST_DISTANCE of a GEOGRAPHY"),
        ("SELECT ST_GEOGPOINT(0, 0) = ST_GEOGPOINT(0, 0)", 400, "does not support expressions of type GEOGRAPHY"),
        ("SELECT g FROM (SELECT ST_GEOGPOINT(0, 0) AS g) ORDER BY g", 400, "ORDER BY does not support"),
        ("SELECT COUNT(*) FROM (SELECT ST_GEOGPOINT(0, 0) AS g) GROUP BY g", 400, "GROUP BY does not support"),
        ("SELECT DISTINCT ST_GEOGPOINT(0, 0)", 400, "DISTINCT"),
        ("SELECT CAST(ST_GEOGPOINT(0, 0) AS STRING)", 400, "Invalid cast"),
        ("SELECT EXTRACT(YEAR FROM CAST('2020-01-01' AS TIMESTAMP(12)))", 501, r"EXTRACT of a TIMESTAMP\(12\)"),
    ],
)  # fmt: skip
def test_refusals(client: bigquery.Client, query: str, code: int, words: str) -> None:
    with pytest.raises(exceptions.GoogleAPICallError, match=words) as caught:
        client.query_and_wait(query)
    assert caught.value.code == code


_SCHEMA = [
    SchemaField("n", "INTEGER"),
    SchemaField("g", "GEOGRAPHY"),
    SchemaField("i", "INTERVAL"),
    SchemaField("r", "RANGE", range_element_type="DATE"),
    SchemaField("p", "TIMESTAMP", timestamp_precision=bigquery.enums.TimestampPrecision.PICOSECOND),
]
_ROW = {
    "n": 1, "g": "POINT(-135.0000 90)", "i": "P1DT2H", "r": "[2020-01-01, UNBOUNDED)", "p": "2025-01-01T00:00:00.123456789012Z",
}  # fmt: skip
_STORED = (1, "POINT(-135 90)", relativedelta(days=1, hours=2), {"start": _DAY, "end": None}, "1735689600123456")


def _load(client: bigquery.Client, name: str, data: bytes, form: str, **options: Any) -> None:
    config = bigquery.LoadJobConfig(schema=_SCHEMA, source_format=form, **options)
    client.load_table_from_file(io.BytesIO(data), name, job_config=config).result()


def test_tables_by_json(client: bigquery.Client, dataset: str) -> None:
    name = f"p.{dataset}.t"
    lines = [_ROW, {**dict.fromkeys(_ROW), "n": 2}, {"n": 3, "r": {"start": None, "end": "2020-02-01"}}]
    _load(client, name, "\n".join(map(json.dumps, lines)).encode(), "NEWLINE_DELIMITED_JSON")
    rows = sorted(tuple(row.values()) for row in client.list_rows(name))
    assert rows == [_STORED, (2, None, None, None, None), (3, None, None, {"start": None, "end": _NEXT}, None)]
    table = client.get_table(name)
    assert table.schema == [
        SchemaField.from_api_repr({**field.to_api_repr(), **({"timestampPrecision": 12} if field.name == "p" else {})})
        for field in _SCHEMA
    ]
    assert not client.insert_rows_json(table, [_ROW])
    assert [tuple(row.values()) for row in client.query_and_wait(f"SELECT * FROM {dataset}.t WHERE g IS NOT NULL")] == [
        _STORED
    ] * 2
    picoseconds = bigquery.enums.TimestampPrecision.PICOSECOND
    assert next(iter(client.list_rows(name, timestamp_precision=picoseconds)))["p"] == "2025-01-01T00:00:00.123456789012Z"


def test_tables_by_csv(client: bigquery.Client, dataset: str) -> None:
    name = f"p.{dataset}.t"
    data = '1,POINT(-135 90),0-0 1 2:0:0,"[2020-01-01, UNBOUNDED)",2025-01-01T00:00:00.123456789012Z\n2,,,,\n'
    _load(client, name, data.encode(), "CSV")
    assert sorted(tuple(row.values()) for row in client.list_rows(name)) == [_STORED, (2, None, None, None, None)]
    with pytest.raises(exceptions.BadRequest, match="Invalid RANGE"):
        _load(client, name, b"1,,,x,\n", "CSV")
    with pytest.raises(exceptions.BadRequest, match="Invalid WKT"):
        _load(client, name, b"1,x,,,\n", "CSV")


def test_changes(client: bigquery.Client, dataset: str) -> None:
    name = f"{dataset}.t"
    client.query_and_wait(f"CREATE TABLE {name} (n INT64, g GEOGRAPHY, i INTERVAL, r RANGE<DATE>, p TIMESTAMP(12))")
    client.query_and_wait(
        f"INSERT INTO {name} VALUES (1, ST_GEOGPOINT(0, 1), INTERVAL 1 DAY, {_R}, CAST('2020-01-01' AS TIMESTAMP(12))), "
        "(2, NULL, NULL, NULL, NULL)"
    )
    client.query_and_wait(f"UPDATE {name} SET g = ST_GEOGFROMTEXT('POINT(3 4)'), r = NULL WHERE n = 1")
    client.query_and_wait(f"CREATE TABLE {name}2 AS SELECT * FROM {name} UNION ALL SELECT * FROM {name} WHERE n = 2")
    rows = [tuple(row.values())[1:4] for row in client.query_and_wait(f"SELECT * FROM {name}2 ORDER BY n")]
    assert rows == [("POINT(3 4)", relativedelta(days=1), None), (None, None, None), (None, None, None)]
    columns = f"SELECT data_type FROM {dataset}.INFORMATION_SCHEMA.COLUMNS WHERE table_name = 't' ORDER BY ordinal_position"
    types = [row[0] for row in client.query_and_wait(columns)]
    assert types == ["INT64", "GEOGRAPHY", "INTERVAL", "RANGE<DATE>", "TIMESTAMP(12)"]


def test_parameters(client: bigquery.Client) -> None:
    given = [
        bigquery.RangeQueryParameter(range_element_type="DATE", start=_DAY, name="r"),
        bigquery.ScalarQueryParameter("g", "GEOGRAPHY", "POINT(1 2)"),
        bigquery.ScalarQueryParameter("i", "INTERVAL", "0-0 1 0:0:0"),
    ]
    config = bigquery.QueryJobConfig(query_parameters=given)
    [row] = client.query_and_wait("SELECT @r, @g, @i", job_config=config)
    assert tuple(row.values()) == ({"start": _DAY, "end": None}, "POINT(1 2)", relativedelta(days=1))


def test_exports(client: bigquery.Client, dataset: str, emulator: Running, bucket: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT ST_GEOGPOINT(1, 2) AS g, INTERVAL 1 DAY AS i, {_R} AS r")
    for form in ("CSV", "NEWLINE_DELIMITED_JSON"):
        config = bigquery.ExtractJobConfig(destination_format=form)
        client.extract_table(f"p.{dataset}.t", f"gs://{bucket}/{form}", job_config=config).result()
    assert emulator.text(bucket, "CSV") == 'g,i,r\nPOINT(1 2),0-0 1 0:0:0,"[2020-01-01, 2020-02-01)"\n'
    line = {"g": "POINT(1 2)", "i": "0-0 1 0:0:0", "r": "[2020-01-01, 2020-02-01)"}
    assert json.loads(emulator.text(bucket, "NEWLINE_DELIMITED_JSON")) == line
    config = bigquery.ExtractJobConfig(destination_format="PARQUET")
    with pytest.raises(exceptions.MethodNotImplemented, match="INTERVAL to Parquet"):
        client.extract_table(f"p.{dataset}.t", f"gs://{bucket}/p", job_config=config).result()
