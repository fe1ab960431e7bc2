"""Datasets, tables and rows by google-cloud-bigquery."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

from tests.bigquery.conftest import Running

ALL_TYPES = [
    SchemaField("i", "INT64", "REQUIRED", description="a key"),
    SchemaField("s", "STRING"),
    SchemaField("b", "BYTES"),
    SchemaField("f", "FLOAT64"),
    SchemaField("n", "NUMERIC"),
    SchemaField("ok", "BOOL"),
    SchemaField("ts", "TIMESTAMP"),
    SchemaField("d", "DATE"),
    SchemaField("t", "TIME"),
    SchemaField("dt", "DATETIME"),
    SchemaField("j", "JSON"),
    SchemaField("r", "RECORD", fields=[SchemaField("x", "STRING", "REPEATED")]),
    SchemaField("rr", "RECORD", "REPEATED", fields=[SchemaField("y", "RECORD", "REPEATED", fields=[SchemaField("z", "BYTES")])]),
]
ROW = {
    "i": 1,
    "s": 'tab\t"quote" é',
    "b": "/w==",
    "f": 1.5,
    "n": "1.25",
    "ok": True,
    "ts": "1969-12-31T23:59:59.5Z",
    "d": "2020-01-02",
    "t": "10:11:12.5",
    "dt": "2020-01-02T03:04:05",
    "j": '{"k": [1, null]}',
    "r": {"x": ["a", "b"]},
    "rr": [{"y": [{"z": "YQ=="}]}, {"y": []}],
}
VALUES = (
    1,
    'tab\t"quote" é',
    b"\xff",
    1.5,
    Decimal("1.25"),
    True,
    datetime.datetime(1969, 12, 31, 23, 59, 59, 500000, tzinfo=datetime.UTC),
    datetime.date(2020, 1, 2),
    datetime.time(10, 11, 12, 500000),
    datetime.datetime(2020, 1, 2, 3, 4, 5),
    {"k": [1, None]},
    {"x": ["a", "b"]},
    [{"y": [{"z": b"a"}]}, {"y": []}],
)


def test_a_dataset_lives(client: bigquery.Client) -> None:
    dataset = bigquery.Dataset("p.lives")
    dataset.location = "EU"
    dataset.labels = {"a": "b"}
    client.create_dataset(dataset)
    with pytest.raises(exceptions.Conflict, match="Already Exists: Dataset p:lives"):
        client.create_dataset("lives")
    found = client.get_dataset("lives")
    assert (found.location, found.labels) == ("EU", {"a": "b"})
    found.description = "new"
    found.labels = {"a": None, "c": "d"}
    updated = client.update_dataset(found, ["description", "labels"])
    assert (updated.description, updated.labels) == ("new", {"c": "d"})
    with pytest.raises(exceptions.PreconditionFailed):
        client.update_dataset(found, ["description"])  # its etag is the old one
    assert "lives" in [item.dataset_id for item in client.list_datasets()]
    client.create_table("p.lives.t")
    with pytest.raises(exceptions.BadRequest, match="still in use"):
        client.delete_dataset("lives")
    client.delete_dataset("lives", delete_contents=True)
    with pytest.raises(exceptions.NotFound, match="Not found: Dataset p:lives"):
        client.get_dataset("lives")


def test_a_table_keeps_its_schema(client: bigquery.Client, dataset: str) -> None:
    client.create_table(bigquery.Table(f"p.{dataset}.t", ALL_TYPES))
    found = client.get_table(f"p.{dataset}.t")
    assert found.schema[0].to_api_repr() == {
        "name": "i",
        "type": "INTEGER",
        "mode": "REQUIRED",
        "description": "a key",
    }
    legacy = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}
    expected = [(field.name, legacy.get(field.field_type, field.field_type), field.mode) for field in ALL_TYPES]
    assert [(field.name, field.field_type, field.mode) for field in found.schema] == expected
    assert found.schema[-1].fields[0].fields[0].field_type == "BYTES"
    with pytest.raises(exceptions.Conflict, match=rf"Already Exists: Table p:{dataset}\.t"):
        client.create_table(f"p.{dataset}.t")
    with pytest.raises(exceptions.NotFound, match=rf"Not found: Table p:{dataset}\.u"):
        client.get_table(f"p.{dataset}.u")
    with pytest.raises(exceptions.NotFound, match="Not found: Dataset p:nowhere"):
        client.get_table("p.nowhere.u")
    client.delete_table(f"p.{dataset}.t")
    assert list(client.list_tables(dataset)) == []


def test_rows_go_in_and_come_out(client: bigquery.Client, dataset: str) -> None:
    client.create_table(bigquery.Table(f"p.{dataset}.t", ALL_TYPES))
    assert client.insert_rows_json(f"p.{dataset}.t", [ROW, {"i": 2}]) == []
    full, empty = client.list_rows(f"p.{dataset}.t")
    assert tuple(full) == VALUES
    assert tuple(empty) == (2, *[None] * 11, [])
    assert [tuple(row) for row in client.query_and_wait(f"SELECT * FROM {dataset}.t WHERE i = 1")] == [VALUES]
    names = [SchemaField("s", "STRING"), SchemaField("i", "INT64")]
    assert [dict(row) for row in client.list_rows(f"p.{dataset}.t", selected_fields=names, start_index=1)] == [
        {"i": 2, "s": None}
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"i": "x"}, "Error while reading data"),
        ({"i": 1, "zz": 1}, "no such field: zz"),
        ({"s": "x"}, "Missing required field: i"),
        ({"i": 1, "b": "***"}, "base64"),
        ({"i": 1, "j": "{"}, "Invalid JSON"),
        ({"i": 1, "r": "x"}, "record"),
        ({"i": 1, "s": ["x"]}, "Array specified for non-repeated field"),
    ],
)
def test_a_bad_row_is_named_and_nothing_goes_in(
    client: bigquery.Client, dataset: str, row: dict[str, object], problem: str
) -> None:
    client.create_table(bigquery.Table(f"p.{dataset}.t", ALL_TYPES))
    errors = client.insert_rows_json(f"p.{dataset}.t", [{"i": 7}, row])
    assert [(error["index"], error["errors"][0]["reason"]) for error in errors] == [(0, "stopped"), (1, "invalid")]
    assert problem in errors[1]["errors"][0]["message"]
    assert client.get_table(f"p.{dataset}.t").num_rows == 0
    errors = client.insert_rows_json(f"p.{dataset}.t", [{"i": 7}, row], skip_invalid_rows=True)
    assert [error["index"] for error in errors] == [1]
    assert [row["i"] for row in client.list_rows(f"p.{dataset}.t")] == [7]


def test_a_row_that_is_sent_again_is_there_once(client: bigquery.Client, dataset: str) -> None:
    table = client.create_table(bigquery.Table(f"p.{dataset}.t", [SchemaField("a", "INT64")]))
    assert client.insert_rows_json(table, [{"a": 1}, {"a": 1}], row_ids=["x", "x"]) == []
    assert client.insert_rows_json(table, [{"a": 2}, {"a": 1}, {"a": 3}], row_ids=["y", "x", None]) == []
    assert client.insert_rows_json(table, [{"a": 3}], row_ids=[None]) == []
    assert sorted(row["a"] for row in client.list_rows(table)) == [1, 2, 3, 3]


def test_a_row_that_was_refused_may_be_sent_again(client: bigquery.Client, dataset: str) -> None:
    table = client.create_table(bigquery.Table(f"p.{dataset}.t", [SchemaField("a", "INT64")]))
    assert len(client.insert_rows_json(table, [{"a": 1}, {"a": "x"}], row_ids=["1", "2"])) == 2
    [error] = client.insert_rows_json(table, [{"a": 1}, {"a": "x"}, {"a": 3}], row_ids=["1", "2", "3"], skip_invalid_rows=True)
    assert error["index"] == 1
    assert client.insert_rows_json(table, [{"a": 2}, {"a": 1}, {"a": 3}], row_ids=["2", "1", "3"]) == []
    assert sorted(row["a"] for row in client.list_rows(table)) == [1, 2, 3]


def test_a_table_that_is_made_again_knows_no_rows(client: bigquery.Client, dataset: str) -> None:
    for _ in range(2):
        table = client.create_table(bigquery.Table(f"p.{dataset}.t", [SchemaField("a", "INT64")]))
        assert client.insert_rows_json(table, [{"a": 1}], row_ids=["x"]) == []
        assert [row["a"] for row in client.list_rows(table)] == [1]
        client.delete_table(table)


def test_json_in_arrays_and_records_is_json(client: bigquery.Client, dataset: str) -> None:
    inner = [SchemaField("j", "JSON"), SchemaField("js", "JSON", "REPEATED")]
    schema = [SchemaField("r", "RECORD", fields=inner), SchemaField("rs", "RECORD", "REPEATED", fields=inner), *inner]
    table = client.create_table(bigquery.Table(f"p.{dataset}.t", schema))
    value = {"j": '{"a": [1]}', "js": ['{"a": 2}', '"x"']}
    assert client.insert_rows_json(table, [{**value, "r": value, "rs": [value, {}]}]) == []
    query = f"SELECT t.j.a[0], t.js[0].a, t.r.j.a[0], t.rs[0].js[0].a, TO_JSON_STRING(t.r.js) FROM {dataset}.t"
    assert [tuple(row) for row in client.query_and_wait(query)] == [(1, 2, 1, 2, '[{"a":2},"x"]')]


def test_columns_can_be_added_but_not_taken_away(client: bigquery.Client, dataset: str) -> None:
    table = client.create_table(bigquery.Table(f"p.{dataset}.t", [SchemaField("a", "INT64", "REQUIRED")]))
    client.insert_rows_json(table, [{"a": 1}])
    table = client.get_table(table)
    table.schema = [SchemaField("a", "INT64"), SchemaField("b", "RECORD", "REPEATED", fields=[SchemaField("c", "STRING")])]
    table.description = "wider"
    table = client.update_table(table, ["schema", "description"])
    assert [tuple(row) for row in client.list_rows(table)] == [(1, [])]
    table.schema = [SchemaField("a", "INT64")]
    with pytest.raises(exceptions.BadRequest, match="Field b is missing in new schema"):
        client.update_table(table, ["schema"])
    table.schema = [SchemaField("a", "STRING"), *client.get_table(table).schema[1:]]
    with pytest.raises(exceptions.BadRequest, match="has changed type from INTEGER to STRING"):
        client.update_table(table, ["schema"])
    assert client.get_table(table).description == "wider"


def test_lists_have_pages(client: bigquery.Client, dataset: str) -> None:
    for name in "abcde":
        client.create_table(f"p.{dataset}.{name}")
    pages = [[table.table_id for table in page] for page in client.list_tables(dataset, page_size=2).pages]
    assert pages == [["a", "b"], ["c", "d"], ["e"]]
    table = client.create_table(bigquery.Table(f"p.{dataset}.rows", [SchemaField("a", "INT64")]))
    client.insert_rows_json(table, [{"a": number} for number in range(7)])
    pages = [[row["a"] for row in page] for page in client.list_rows(table, page_size=3).pages]
    assert pages == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("name", ["../x", "a b", "x;y", "ä", "x" * 1025])
def test_bad_dataset_names_are_refused(client: bigquery.Client, name: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="Invalid dataset ID"):
        client.create_dataset(bigquery.DatasetReference("p", name))


def test_an_odd_table_name_is_only_a_name(client: bigquery.Client, dataset: str, emulator: Running) -> None:
    client.create_table(
        bigquery.Table(bigquery.TableReference.from_api_repr({"projectId": "p", "datasetId": dataset, "tableId": "größe - 1"}))
    )
    client.query_and_wait(f"CREATE OR REPLACE TABLE `p.{dataset}.größe - 1` AS SELECT 1 AS a")
    assert [tuple(row) for row in client.query_and_wait(f"SELECT * FROM `p.{dataset}.größe - 1`")] == [(1,)]


def test_what_is_not_done_says_so(client: bigquery.Client, dataset: str) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match=r"does not do bigquery\.models\.get"):
        client.get_model(f"p.{dataset}.m")
    with pytest.raises(exceptions.MethodNotImplemented, match="FOREIGN"):
        client.create_table(bigquery.Table(f"p.{dataset}.g", [SchemaField("g", "FOREIGN")]))


@pytest.mark.parametrize("decorator", ["$20200101", "@-3600"])
def test_a_part_of_a_table_is_not_all_of_it(client: bigquery.Client, dataset: str, decorator: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT 1 AS a")
    part = bigquery.TableReference(bigquery.DatasetReference("p", dataset), f"t{decorator}")
    with pytest.raises(exceptions.MethodNotImplemented):
        client.delete_table(part)
    with pytest.raises(exceptions.MethodNotImplemented):
        list(client.list_rows(part, selected_fields=[SchemaField("a", "INT64")]))
    with pytest.raises(exceptions.MethodNotImplemented):
        client.query("SELECT 2 AS a", bigquery.QueryJobConfig(destination=part), job_retry=None).result()
    assert client.get_table(f"p.{dataset}.t").num_rows == 1


def test_an_update_replaces_what_it_does_not_name(emulator: Running, client: bigquery.Client, dataset: str) -> None:
    """PUT, which Google's Python client never sends."""
    url = f"{emulator.url}/bigquery/v2/projects/p/datasets/{dataset}"
    reference = {"datasetReference": {"projectId": "p", "datasetId": dataset}}
    for body in ({**reference, "friendlyName": "x", "description": "y"}, {**reference, "description": "z"}):
        requests.put(url, json=body, timeout=60).raise_for_status()
    found = client.get_dataset(dataset)
    assert (found.friendly_name, found.description) == (None, "z")

    client.create_table(bigquery.Table(f"p.{dataset}.t", [SchemaField("i", "INT64")]))
    table = {
        "tableReference": {**reference["datasetReference"], "tableId": "t"},
        "schema": {"fields": [{"name": "i", "type": "INTEGER"}]},
    }
    for body in ({**table, "friendlyName": "x"}, {**table, "description": "z"}):
        requests.put(f"{url}/tables/t", json=body, timeout=60).raise_for_status()
    replaced = client.get_table(f"p.{dataset}.t")
    assert (replaced.friendly_name, replaced.description) == (None, "z")


def test_what_create_and_alter_say_about_a_table(client: bigquery.Client, dataset: str) -> None:
    def run(sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in client.query_and_wait(sql.replace("D.", f"{dataset}."), retry=None, job_retry=None)]

    run(
        "CREATE TABLE D.t (a INT64, dt DATE, s STRING) PARTITION BY DATE_TRUNC(dt, MONTH) CLUSTER BY a, dt "
        "OPTIONS (description='old', labels=[('k', 'v')])"
    )
    table = client.get_table(f"p.{dataset}.t")
    assert (table.time_partitioning.type_, table.time_partitioning.field) == ("MONTH", "dt")
    assert (table.clustering_fields, table.description, table.labels) == (["a", "dt"], "old", {"k": "v"})
    run("INSERT INTO D.t VALUES (1, '2020-01-01', 'x')")
    run("ALTER TABLE D.t ADD COLUMN x INT64, ADD COLUMN IF NOT EXISTS a INT64")
    run("ALTER TABLE D.t SET OPTIONS (description='new')")
    run("ALTER TABLE D.t DROP COLUMN s")
    run("ALTER TABLE D.t RENAME COLUMN x TO z")
    run("ALTER TABLE D.t RENAME TO u")
    table = client.get_table(f"p.{dataset}.u")
    assert ([field.name for field in table.schema], table.description) == (["a", "dt", "z"], "new")
    assert run("SELECT a, z FROM D.u") == [(1, None)]
    assert run("SELECT table_name, table_type FROM D.INFORMATION_SCHEMA.TABLES") == [("u", "BASE TABLE")]
    columns = f"SELECT column_name, data_type FROM `p.{dataset}.INFORMATION_SCHEMA.COLUMNS` ORDER BY ordinal_position"
    assert run(columns) == [("a", "INT64"), ("dt", "DATE"), ("z", "INT64")]
    assert run("SELECT table_id, row_count FROM D.__TABLES__") == [("u", 1)]
    with pytest.raises(exceptions.NotFound, match="Not found: Table"):
        run("ALTER TABLE D.t ADD COLUMN y INT64")
    for refused in ("ALTER TABLE D.u ALTER COLUMN a SET DATA TYPE NUMERIC(5, 2)", "SELECT * FROM D.INFORMATION_SCHEMA.JOBS"):
        with pytest.raises(exceptions.GoogleAPICallError, match="The emulator"):
            run(refused)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ("DROP COLUMN s, DROP COLUMN nope", "Column not found: nope"),
        ("ADD COLUMN x INT64, ADD COLUMN a INT64", "Column already exists: a"),
        ("ADD COLUMN x INT64, ADD COLUMN y INT64 NOT NULL", "Cannot add required fields"),
        ("ADD COLUMN x INT64, ALTER COLUMN s SET DATA TYPE INT64", "is assignable to the new type"),
        ("RENAME COLUMN a TO s", "Column already exists: s"),
    ],
)
def test_an_alter_that_fails_changes_nothing(client: bigquery.Client, dataset: str, actions: str, message: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT 1 AS a, 's' AS s")
    with pytest.raises(exceptions.BadRequest, match=message):
        client.query_and_wait(f"ALTER TABLE {dataset}.t {actions}", retry=None, job_retry=None)
    assert [field.name for field in client.get_table(f"p.{dataset}.t").schema] == ["a", "s"]


def test_alter_changes_columns(client: bigquery.Client, dataset: str) -> None:
    def run(sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in client.query_and_wait(sql.replace("D.", f"{dataset}."), retry=None, job_retry=None)]

    run("CREATE TABLE D.t AS SELECT 1 AS a, 's' AS s")
    run("ALTER TABLE D.t RENAME COLUMN a TO b, RENAME COLUMN s TO a, ALTER COLUMN b SET DATA TYPE NUMERIC")
    run("ALTER TABLE D.t ALTER COLUMN a SET DEFAULT 'u', ALTER COLUMN b SET DATA TYPE FLOAT64")
    run("INSERT D.t (b) VALUES (2)")
    run("ALTER TABLE D.t ALTER COLUMN a DROP DEFAULT, ADD COLUMN l ARRAY<STRING>")
    run("INSERT D.t (b) VALUES (3)")
    assert run("SELECT * FROM D.t ORDER BY b") == [(1.0, "s", []), (2.0, "u", []), (3.0, None, [])]
    assert [field.field_type for field in client.get_table(f"p.{dataset}.t").schema] == ["FLOAT", "STRING", "STRING"]


def test_a_table_that_takes_the_place_of_another_has_nothing_of_it(client: bigquery.Client, dataset: str) -> None:
    said = "PARTITION BY d CLUSTER BY a OPTIONS (description='old', labels=[('k', 'v')])"
    client.query_and_wait(f"CREATE TABLE {dataset}.t {said} AS SELECT 1 AS a, DATE '2020-01-01' AS d")
    client.query_and_wait(f"CREATE OR REPLACE TABLE {dataset}.t OPTIONS (friendly_name='new') AS SELECT 1 AS x")
    table = client.get_table(f"p.{dataset}.t")
    assert (table.time_partitioning, table.clustering_fields, table.description, table.labels) == (None, None, None, {})
    assert (table.friendly_name, [field.name for field in table.schema]) == ("new", ["x"])


def test_what_a_dataset_says_about_itself(client: bigquery.Client, dataset: str) -> None:
    def run(sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in client.query_and_wait(sql.replace("D.", f"{dataset}."), retry=None, job_retry=None)]

    run(
        "CREATE TABLE D.t (a INT64 OPTIONS (description='one'), r STRUCT<x STRING>) "
        "OPTIONS (description='it\\'s', labels=[('k', 'v')])"
    )
    run("CREATE VIEW D.v AS SELECT a\nFROM D.t")
    assert run("SELECT field_path, data_type, description FROM D.INFORMATION_SCHEMA.COLUMN_FIELD_PATHS WHERE table_name = 't'") == [
        ("a", "INT64", "one"), ("r", "STRUCT<x STRING>", None), ("r.x", "STRING", None),
    ]  # fmt: skip
    assert run("SELECT option_name, option_type, option_value FROM D.INFORMATION_SCHEMA.TABLE_OPTIONS") == [
        ("description", "STRING", '"it\'s"'), ("labels", "ARRAY<STRUCT<STRING, STRING>>", '[STRUCT("k", "v")]'),
    ]  # fmt: skip
    assert run("SELECT table_name, use_standard_sql FROM D.INFORMATION_SCHEMA.VIEWS") == [("v", "YES")]
    assert run("SELECT table_name, last_refresh_time FROM D.INFORMATION_SCHEMA.MATERIALIZED_VIEWS") == []


def test_wildcard_tables(client: bigquery.Client, dataset: str) -> None:
    def run(sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in client.query_and_wait(sql.replace("D.", f"{dataset}."), retry=None, job_retry=None)]

    run("CREATE TABLE D.e_1 AS SELECT 1 AS a")
    run("CREATE TABLE D.e_2 AS SELECT 2 AS a, ['x'] AS l")
    run("CREATE TABLE D.other AS SELECT 3 AS a")
    assert run("SELECT * FROM `D.e_*` ORDER BY a") == [(1, []), (2, ["x"])]
    assert run("SELECT a, _TABLE_SUFFIX FROM `D.e_*` WHERE _TABLE_SUFFIX > '1'") == [(2, "2")]
    assert run("SELECT t.*, t._TABLE_SUFFIX AS s FROM `D.e*` t WHERE a = 1") == [(1, [], "_1")]
    assert run("SELECT COUNT(*) FROM `D.*`") == [(3,)]
    job = client.query(f"SELECT a FROM `{dataset}.e_*`")
    job.result()
    assert sorted(table.table_id for table in job.referenced_tables) == ["e_1", "e_2"]
    with pytest.raises(exceptions.NotFound, match="does not match any table"):
        run("SELECT 1 FROM `D.nothing_*`")
    with pytest.raises(exceptions.BadRequest, match="Invalid table ID"):
        run("DELETE FROM `D.e_*` WHERE TRUE")
    run("CREATE VIEW D.e_3 AS SELECT 1 AS a")
    with pytest.raises(exceptions.BadRequest, match="Views cannot be queried through prefix"):
        run("SELECT 1 FROM `D.e_*`")
    run("DROP VIEW D.e_3")
    run("CREATE TABLE D.e_4 AS SELECT 'x' AS a")
    with pytest.raises(exceptions.BadRequest, match="Cannot read field 'a' of type INT64 as STRING"):
        run("SELECT a FROM `D.e_*`")


def test_a_materialized_view_is_as_new_as_its_tables(client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT x FROM UNNEST([1, 2]) x")
    view = bigquery.Table(f"p.{dataset}.v")
    view.mview_query = f"SELECT SUM(x) AS s FROM `p.{dataset}.t`"
    view = client.create_table(view)
    assert (view.table_type, view.mview_enable_refresh) == ("MATERIALIZED_VIEW", True)
    assert [(field.name, field.field_type) for field in view.schema] == [("s", "INTEGER")]
    client.query_and_wait(f"INSERT INTO {dataset}.t VALUES (3)")
    assert [tuple(row) for row in client.query_and_wait(f"SELECT s FROM {dataset}.v")] == [(6,)]
    kinds = f"SELECT table_type FROM {dataset}.INFORMATION_SCHEMA.TABLES WHERE table_name = 'v'"
    assert [tuple(row) for row in client.query_and_wait(kinds)] == [("MATERIALIZED VIEW",)]
    names = f"SELECT table_name FROM {dataset}.INFORMATION_SCHEMA.MATERIALIZED_VIEWS"
    assert [tuple(row) for row in client.query_and_wait(names)] == [("v",)]
    with pytest.raises(exceptions.BadRequest, match="it is a view"):
        client.query_and_wait(f"INSERT INTO {dataset}.v VALUES (3)")
    with pytest.raises(exceptions.BadRequest, match="MATERIALIZED VIEW, not a VIEW"):
        client.query_and_wait(f"DROP VIEW {dataset}.v")
    client.query_and_wait(f"DROP MATERIALIZED VIEW {dataset}.v")


@pytest.mark.parametrize(
    ("by", "values", "ids"),
    [
        ("d", "DATE '2020-01-02', DATE '2020-01-02', NULL, DATE '2021-03-04'", {"20200102": 2, "20210304": 1, "__NULL__": 1}),
        ("TIMESTAMP_TRUNC(d, HOUR)", "TIMESTAMP '2020-01-02 03:59:00+00', TIMESTAMP '2020-01-02 03:00:00-01'",
         {"2020010203": 1, "2020010204": 1}),
        ("DATE_TRUNC(d, MONTH)", "DATE '2020-01-02', DATE '2020-01-31'", {"202001": 2}),
        ("RANGE_BUCKET(d, GENERATE_ARRAY(-10, 100, 10))", "-10, -1, 0, 99, 100, NULL",
         {"-10": 2, "0": 1, "90": 1, "__NULL__": 1, "__UNPARTITIONED__": 1}),
    ],
)  # fmt: skip
def test_partitions(client: bigquery.Client, dataset: str, by: str, values: str, ids: dict[str, int]) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t PARTITION BY {by} AS SELECT d FROM UNNEST([{values}]) d")
    client.query_and_wait(f"CREATE TABLE {dataset}.plain AS SELECT 1 AS d")
    assert sorted(client.list_partitions(f"p.{dataset}.t")) == sorted(ids)
    query = f"SELECT table_name, partition_id, total_rows FROM {dataset}.INFORMATION_SCHEMA.PARTITIONS"
    found = {tuple(row) for row in client.query_and_wait(query)}
    assert found == {("plain", None, 1), *(("t", partition, rows) for partition, rows in ids.items())}
    summary = client.get_table(f"p.{dataset}.t$__PARTITIONS_SUMMARY__")
    row = dict(next(iter(client.list_rows(summary, max_results=1))))
    assert (row["project_id"], row["dataset_id"], row["table_id"]) == ("p", dataset, "t")
    assert abs(row["creation_timestamp"].timestamp() * 1000 - row["creation_time"]) < 1
    with pytest.raises(exceptions.BadRequest, match="not partitioned"):
        client.list_partitions(f"p.{dataset}.plain")


def test_partitions_by_the_time_of_ingestion_are_refused(client: bigquery.Client, dataset: str) -> None:
    table = bigquery.Table(f"p.{dataset}.t", [SchemaField("x", "INT64")])
    table.time_partitioning = bigquery.TimePartitioning()
    client.create_table(table)
    with pytest.raises(exceptions.MethodNotImplemented, match="does not keep when rows came"):
        client.list_partitions(f"p.{dataset}.t")


@pytest.mark.parametrize(
    ("made", "statement", "kind"),
    [
        ("TABLE", "CREATE OR REPLACE VIEW D.t AS SELECT 2 AS a", "TABLE"),
        ("VIEW", "CREATE OR REPLACE TABLE D.t AS SELECT 2 AS a", "VIEW"),
        ("VIEW", "CREATE OR REPLACE TABLE D.t (a INT64)", "VIEW"),
    ],
)
def test_replace_leaves_what_is_of_another_kind(
    client: bigquery.Client, dataset: str, made: str, statement: str, kind: str
) -> None:
    client.query_and_wait(f"CREATE {made} {dataset}.t AS SELECT 1 AS a")
    with pytest.raises(exceptions.BadRequest, match=f"p:{dataset}.t is not allowed .* because it is currently a {kind}"):
        client.query_and_wait(statement.replace("D.", f"{dataset}."))
    assert [row["a"] for row in client.query_and_wait(f"SELECT a FROM {dataset}.t")] == [1]


def test_no_view_reads_itself(client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT 1 AS a; CREATE VIEW {dataset}.v AS SELECT a FROM {dataset}.t")
    client.query_and_wait(f"CREATE VIEW {dataset}.w AS SELECT a FROM {dataset}.v")
    for source in ("v", "w"):
        with pytest.raises(exceptions.BadRequest, match="cannot read itself"):
            client.query_and_wait(f"CREATE OR REPLACE VIEW {dataset}.v AS SELECT a FROM {dataset}.{source}", job_retry=None)
    assert [tuple(row) for row in client.query_and_wait(f"SELECT * FROM {dataset}.w")] == [(1,)]


def test_formats_in_views_and_functions_stay_as_they_were_written(client: bigquery.Client, dataset: str) -> None:
    written = "FORMAT_DATE('%H:%M:%S %Y-%m-%d %e', d)"
    client.query_and_wait(f"""
        CREATE VIEW {dataset}.v AS
            SELECT {written} AS x, PARSE_TIMESTAMP('%Y-%m-%d %H', '2020-01-02 03', 'Asia/Tokyo') AS y, PARSE_TIME('%T', '1:2:3') AS z
            FROM (SELECT DATE '2020-01-02' AS d);
        CREATE FUNCTION {dataset}.f(d DATE) AS ({written});
    """)
    query = f"SELECT x, {dataset}.f(DATE '2020-01-02'), STRING(y), CAST(z AS STRING) FROM {dataset}.v"
    text = "%H:%M:%S 2020-01-02  2"
    assert [tuple(row) for row in client.query_and_wait(query)] == [(text, text, "2020-01-01 18:00:00+00", "01:02:03")]


@pytest.mark.parametrize("change", ["DROP COLUMN d", "RENAME COLUMN D TO e", "DROP COLUMN c", "RENAME COLUMN c TO e"])
def test_columns_that_a_table_is_partitioned_or_clustered_by_stay(client: bigquery.Client, dataset: str, change: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.k (a INT64, d DATE, c STRING) PARTITION BY d CLUSTER BY c")
    with pytest.raises(exceptions.BadRequest, match="partitioned or clustered by it"):
        client.query_and_wait(f"ALTER TABLE {dataset}.k {change}", job_retry=None)
    assert [field.name for field in client.get_table(f"p.{dataset}.k").schema] == ["a", "d", "c"]
