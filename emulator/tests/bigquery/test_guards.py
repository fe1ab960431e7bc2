"""AND and OR work out what comes first before what comes after it: a condition may keep the next one from failing."""

from __future__ import annotations

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

#: A condition on ``a``, its values, and those that are left.
_CONDITIONS = [
    ("a != 0 AND 10 / a > 3", "[0, 2]", [2]),
    ("a = 0 OR 10 / a > 3", "[0, 2, 9]", [0, 2]),
    ("NOT (a = 0 OR 10 / a > 30)", "[0, 2]", [2]),
    ("a IS NOT NULL AND (a > 1 AND 10 / a > 3)", "[0, 2, NULL]", [2]),
    ("(a > 5 OR a != 0) AND 10 / a > 3 AND a < 5 AND 20 / (a - 1) > 3", "[0, 2]", [2]),
    ("a >= 0 AND SQRT(a) > 1", "[-1.0, 4.0]", [4.0]),
    ("EXISTS (SELECT 1 FROM UNNEST([2]) y WHERE y = a) AND 10 / a > 3", "[0, 2]", [2]),
    ("NOT EXISTS (SELECT 1 FROM UNNEST([2]) y WHERE y = a) OR 10 / a > 3", "[0, 2]", [0, 2]),
    ("a IN (SELECT y FROM UNNEST([2, 9]) y) AND 10 / a > 3", "[0, 2, 9]", [2]),
    ("a < 3 AND [1, 2, 3][OFFSET(a)] = 3", "[2, 5]", [2]),
    ("REGEXP_CONTAINS(a, r'^\\d{3}Y$') AND CAST(SUBSTR(a, 1, 3) AS INT64) > 40", "['045Y', 'x', '003Y']", ["045Y"]),
    ("a != '' AND PARSE_DATE('%Y%m%d', a) > '2023-01-01'", "['20240101', '']", ["20240101"]),
]


@pytest.mark.parametrize(("condition", "values", "left"), _CONDITIONS)
def test_what_comes_first_keeps_the_rest_from_failing(
    client: bigquery.Client, condition: str, values: str, left: list[object]
) -> None:
    rows = client.query_and_wait(f"SELECT a FROM UNNEST({values}) a WHERE {condition} ORDER BY a", job_retry=None)
    assert [row["a"] for row in rows] == left
    rows = client.query_and_wait(f"SELECT a FROM UNNEST({values}) a WHERE IF({condition}, 1, 0) = 1 ORDER BY a", job_retry=None)
    assert [row["a"] for row in rows] == left


def test_groups_too(client: bigquery.Client) -> None:
    query = "SELECT a, a != 0 AND 10 / a > 3 AS b FROM UNNEST([0, 2]) a GROUP BY a, a != 0 AND 10 / a > 3"
    assert sorted(tuple(row) for row in client.query_and_wait(query)) == [(0, False), (2, True)]
    query = "SELECT a FROM UNNEST([0, 2]) a GROUP BY a HAVING SUM(a) != 0 AND 10 / SUM(a) > 3"
    assert [row["a"] for row in client.query_and_wait(query)] == [2]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("[1, 2, 3][OFFSET(a)] = 3 AND a < 3", "out of bounds"),
        ("10 / (a - 5) > 3 AND a != 5", "division by zero"),
    ],
)
def test_what_comes_after_it_keeps_nothing_from_failing(client: bigquery.Client, condition: str, message: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=message):
        client.query_and_wait(f"SELECT a FROM UNNEST([2, 5]) a WHERE {condition}", job_retry=None)


def test_keys_of_joins_stay_keys(client: bigquery.Client) -> None:
    """400 million pairs would take long one by one."""
    tables = "(SELECT CAST(x AS STRING) AS k FROM UNNEST(GENERATE_ARRAY(1, 20000)) x) a"
    others = "(SELECT x AS k FROM UNNEST(GENERATE_ARRAY(1, 20000)) x) b"
    query = f"SELECT COUNT(*) AS n FROM {tables} JOIN {others} ON a.k != '' AND CAST(a.k AS INT64) = b.k"
    assert [row["n"] for row in client.query_and_wait(query)] == [20000]
    query = f"SELECT COUNT(*) AS n FROM {tables}, {others} WHERE a.k != '' AND CAST(a.k AS INT64) = b.k"
    assert [row["n"] for row in client.query_and_wait(query)] == [20000]
