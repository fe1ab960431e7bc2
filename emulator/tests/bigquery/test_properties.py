"""SQL against Python: indexes, casts and JSON for any values."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

from google.cloud import bigquery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

_SLOWLY = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


def _row(client: bigquery.Client, sql: str, **parameters: tuple[str, Any]) -> tuple[Any, ...]:
    given = [
        bigquery.ArrayQueryParameter(name, kind, value)
        if isinstance(value, list)
        else bigquery.ScalarQueryParameter(name, kind, value)
        for name, (kind, value) in parameters.items()
    ]
    rows = client.query_and_wait(sql, job_config=bigquery.QueryJobConfig(query_parameters=given), retry=None, job_retry=None)
    (row,) = [tuple(row) for row in rows]
    return row


@_SLOWLY
@given(items=st.lists(st.integers(-9, 9), max_size=4), index=st.integers(-3, 5))
def test_an_index_counts_as_python_does(client: bigquery.Client, items: list[int], index: int) -> None:
    sql = (
        "WITH t AS (SELECT @items AS l, @index AS i) SELECT l[SAFE_OFFSET(i)], l[SAFE_ORDINAL(i + 1)], "
        "(SELECT x FROM UNNEST(l) AS x WITH OFFSET AS o WHERE o = i) FROM t"
    )
    expected = items[index] if 0 <= index < len(items) else None
    assert _row(client, sql, items=("INT64", items), index=("INT64", index)) == (expected,) * 3


@_SLOWLY
@given(text=st.one_of(st.from_regex(r"[-+]?[0-9]{1,20}|[0-9.eE+-]{1,5}|[ a-z]{0,3}", fullmatch=True), _TEXT))
def test_a_text_is_an_int64_as_googlesql_says(client: bigquery.Client, text: str) -> None:
    value = int(text) if re.fullmatch(r"[ \t\n\v\f\r]*[-+]?[0-9]+[ \t\n\v\f\r]*", text) else None
    if value is not None and not -(2**63) <= value < 2**63:
        value = None
    assert _row(client, "SELECT SAFE_CAST(@text AS INT64)", text=("STRING", text)) == (value,)


@_SLOWLY
@given(year=st.integers(0, 10_000), month=st.integers(0, 13), day=st.integers(0, 32))
def test_a_text_is_a_date_as_python_says(client: bigquery.Client, year: int, month: int, day: int) -> None:
    try:
        expected = datetime.date(year, month, day)
    except ValueError:
        expected = None
    assert _row(client, "SELECT SAFE_CAST(@text AS DATE)", text=("STRING", f"{year:04d}-{month}-{day}")) == (expected,)


@_SLOWLY
@given(number=st.integers(-(2**63), 2**63 - 1), text=_TEXT, items=st.lists(_TEXT, max_size=3))
def test_json_is_read_by_python(client: bigquery.Client, number: int, text: str, items: list[str]) -> None:
    sql = "SELECT TO_JSON_STRING(STRUCT(@number AS n, @text AS t, @items AS l, STRUCT(@text AS `in`) AS s))"
    (written,) = _row(client, sql, number=("INT64", number), text=("STRING", text), items=("STRING", items))
    shown = number if abs(number) <= 2**53 else str(number)
    assert json.loads(written) == {"n": shown, "t": text, "l": items, "s": {"in": text}}


@_SLOWLY
@given(name=st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True))
def test_a_column_has_the_name_of_its_path(client: bigquery.Client, name: str) -> None:
    source = f"(SELECT [STRUCT(1 AS `{name}`)] AS `x{name}`) AS t"
    for path, expected in (
        (f"(t.`x{name}`)[OFFSET(0)].`{name}`", name),
        (f"(`x{name}`)", f"x{name}"),
        (f"t.`x{name}`[OFFSET(0)]", "f0_"),
    ):
        rows = client.query_and_wait(f"SELECT {path} FROM {source}", retry=None, job_retry=None)
        assert [field.name for field in rows.schema] == [expected]
