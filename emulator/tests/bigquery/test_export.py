"""EXPORT DATA and extract jobs."""

from __future__ import annotations

import gzip
import io
import json

import pyarrow.parquet
import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from tests.bigquery.conftest import Running


@pytest.fixture
def small_shards(emulator: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator.bigquery, "export_shard_rows", 4)


def export(client: bigquery.Client, options: str, query: str) -> bigquery.QueryJob:
    job = client.query(f"EXPORT DATA OPTIONS({options}) AS {query}", job_retry=None)
    job.result()
    return job


@pytest.mark.usefixtures("small_shards")
def test_sorted_shards(client: bigquery.Client, emulator: Running, bucket: str) -> None:
    options = f"uri='gs://{bucket}/f/x-*.csv', format='CSV', overwrite=true, header=false"
    job = export(
        client, options, "SELECT CONCAT('/studies/', CAST(x AS STRING)) FROM UNNEST(GENERATE_ARRAY(1, 9)) x ORDER BY x DESC"
    )
    statistics = client.get_job(job.job_id)._properties["statistics"]["query"]
    assert statistics["exportDataStatistics"] == {"fileCount": "3", "rowCount": "9"}
    assert statistics["statementType"] == "EXPORT_DATA"
    assert emulator.names(bucket) == [f"f/x-00000000000{number}.csv" for number in range(3)]
    assert emulator.text(bucket, "f/x-000000000000.csv") == "/studies/9\n/studies/8\n/studies/7\n/studies/6\n"
    assert emulator.text(bucket, "f/x-000000000002.csv") == "/studies/1\n"


@pytest.mark.usefixtures("small_shards")
def test_a_column_may_be_called_rowid(client: bigquery.Client, emulator: Running, bucket: str) -> None:
    rows = "SELECT 1000 - x AS rowid, x AS c0 FROM UNNEST(GENERATE_ARRAY(1, 9)) x ORDER BY x"
    export(client, f"uri='gs://{bucket}/x-*.csv', format='CSV'", rows)
    text = "".join(emulator.text(bucket, name) for name in emulator.names(bucket))
    assert text.splitlines() == [f"{1000 - number},{number}" for number in range(1, 10)]
    assert len(emulator.names(bucket)) == 3


@pytest.mark.usefixtures("small_shards")
def test_csv(client: bigquery.Client, emulator: Running, bucket: str) -> None:
    query = (
        "SELECT 'a,b' AS s, 'q\"q' AS q, CAST(NULL AS STRING) AS n, '' AS e, 1.5 AS f, TRUE AS b, DATE '2020-01-02' AS d, "
        "TIMESTAMP '2020-01-02 03:04:05+00' AS t, b'ab' AS y, NUMERIC '1.50' AS m, DATETIME '2020-01-02 03:04:05' AS dt, 'é' AS u"
    )
    export(client, f"uri='gs://{bucket}/x-*', format='CSV', header=true", query)
    assert emulator.text(bucket, "x-000000000000") == (
        's,q,n,e,f,b,d,t,y,m,dt,u\n"a,b","q""q",,"",1.5,true,2020-01-02,2020-01-02 03:04:05 UTC,YWI=,1.5,2020-01-02T03:04:05,é\n'
    )
    export(client, f"uri='gs://{bucket}/t-*', format='CSV', field_delimiter='\\t'", "SELECT 1 AS a, 'x,y' AS b")
    assert emulator.text(bucket, "t-000000000000") == "1\tx,y\n"


def test_json_and_gzip(client: bigquery.Client, emulator: Running, bucket: str) -> None:
    query = "SELECT 9007199254740993 AS i, [STRUCT('x' AS y, b'ab' AS z)] AS r, CAST(NULL AS STRING) AS n, 'a\"b\\\\c' AS s, TRUE AS t"
    export(client, f"uri='gs://{bucket}/x-*.json', format='JSON', compression='GZIP'", query)
    data = emulator.storage.objects.get(bucket, "x-000000000000.json").path.read_bytes()
    lines = gzip.decompress(data).decode().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"i": "9007199254740993", "r": [{"y": "x", "z": "YWI="}], "s": 'a"b\\c', "t": True}
    ]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("JSON", '{"i":"1","j":{"a":null,"b":[1.5,{"c":2,"d":1}]},"r":[{"k":{"x":null}},{"k":null},{"s":"\\u0001"}]}\n'),
        ("CSV", None),
    ],
)
def test_a_json_is_exported_as_it_is_kept(
    client: bigquery.Client, emulator: Running, bucket: str, kind: str, text: str | None
) -> None:
    """Its members by their names, the first of those with one name, and its nulls, which are left out of all else."""
    value = """JSON '{"b": [1.50, {"d":1,"c":2}],"a":null,"b":3}' AS j"""
    structs = "STRUCT(JSON '{\"x\":null}' AS k, CAST(NULL AS STRING) AS s), (JSON 'null', NULL), (NULL, '\\x01')"
    rows = f"SELECT 1 AS i, CAST(NULL AS INT64) AS n, {value}" + (f", [{structs}] AS r" if kind == "JSON" else "")
    export(client, f"uri='gs://{bucket}/x-*', format='{kind}'", rows)
    assert emulator.text(bucket, "x-000000000000") == (text or '1,,"{""a"":null,""b"":[1.5,{""c"":2,""d"":1}]}"\n')


def test_parquet(client: bigquery.Client, emulator: Running, bucket: str) -> None:
    export(client, f"uri='gs://{bucket}/x-*.parquet', format='PARQUET'", "SELECT 1 AS a, ['x'] AS b")
    data = emulator.storage.objects.get(bucket, "x-000000000000.parquet").path.read_bytes()
    assert pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist() == [{"a": 1, "b": ["x"]}]


def test_no_rows_make_one_empty_object(client: bigquery.Client, emulator: Running, bucket: str) -> None:
    job = export(client, f"uri='gs://{bucket}/x-*', format='CSV'", "SELECT 1 AS a FROM UNNEST(CAST([] AS ARRAY<INT64>))")
    assert job._properties["statistics"]["query"]["exportDataStatistics"] == {"fileCount": "1", "rowCount": "0"}
    assert emulator.text(bucket, "x-000000000000") == ""


def test_what_is_there_stays_unless_told(client: bigquery.Client, emulator: Running, bucket: str) -> None:
    options = f"uri='gs://{bucket}/x-*', format='CSV'"
    export(client, options, "SELECT 1")
    with pytest.raises(exceptions.BadRequest, match="overwrite"):
        export(client, options, "SELECT 2")
    assert emulator.text(bucket, "x-000000000000") == "1\n"
    export(client, options + ", overwrite=true", "SELECT 2")
    assert emulator.text(bucket, "x-000000000000") == "2\n"


@pytest.mark.usefixtures("small_shards")
def test_a_failing_export_leaves_nothing(client: bigquery.Client, emulator: Running, bucket: str) -> None:
    query = (
        "SELECT IF(x < 9, CAST(x AS STRING), ERROR(CONCAT('no path: ', CAST(x AS STRING)))) FROM UNNEST(GENERATE_ARRAY(1, 9)) x"
    )
    with pytest.raises(exceptions.BadRequest, match="no path: 9"):
        export(client, f"uri='gs://{bucket}/x-*', format='CSV'", query)
    assert emulator.names(bucket) == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ("uri='gs://B/x.csv', format='CSV'", exceptions.BadRequest, "exactly one wildcard"),
        ("uri='gs://B/*x*.csv', format='CSV'", exceptions.BadRequest, "exactly one wildcard"),
        ("uri='s3://B/*.csv', format='CSV'", exceptions.BadRequest, "Cloud Storage URI"),
        ("format='CSV'", exceptions.BadRequest, "'uri' must be specified"),
        ("uri='gs://B/*'", exceptions.BadRequest, "'format' must be specified"),
        ("uri='gs://nobucket/*', format='CSV'", exceptions.NotFound, "nobucket"),
        ("uri='gs://B/*', format='AVRO'", exceptions.MethodNotImplemented, "AVRO"),
        ("uri='gs://B/*', format='CSV', nope=1", exceptions.MethodNotImplemented, "nope"),
        ("uri='gs://B/*', format='CSV', compression='ZIP'", exceptions.BadRequest, "Compression"),
    ],
)
def test_bad_options(client: bigquery.Client, bucket: str, options: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        export(client, options.replace("gs://B/", f"gs://{bucket}/"), "SELECT 1")


@pytest.mark.usefixtures("small_shards")
def test_extract(client: bigquery.Client, emulator: Running, dataset: str, bucket: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT x AS a FROM UNNEST(GENERATE_ARRAY(1, 9)) x")
    client.query_and_wait(f"DELETE FROM {dataset}.t WHERE a IN (2, 5)")
    job = client.extract_table(f"p.{dataset}.t", f"gs://{bucket}/one.csv")
    job.result()
    assert job.destination_uri_file_counts == [1]
    assert emulator.text(bucket, "one.csv") == "a\n1\n3\n4\n6\n7\n8\n9\n"
    job = client.extract_table(
        f"p.{dataset}.t", f"gs://{bucket}/many-*.csv", job_config=bigquery.ExtractJobConfig(print_header=False)
    )
    job.result()
    assert job.destination_uri_file_counts == [2]
    assert emulator.text(bucket, "many-000000000001.csv") == "7\n8\n9\n"
    config = bigquery.ExtractJobConfig(destination_format="NEWLINE_DELIMITED_JSON")
    client.extract_table(f"p.{dataset}.t", f"gs://{bucket}/j.json", job_config=config).result()
    assert emulator.text(bucket, "j.json").splitlines()[0] == '{"a":"1"}'


def test_extract_errors(client: bigquery.Client, dataset: str, bucket: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT [1] AS a")
    with pytest.raises(exceptions.BadRequest, match=r"nested schema. Field: a"):
        client.extract_table(f"p.{dataset}.t", f"gs://{bucket}/x.csv").result()
    with pytest.raises(exceptions.NotFound, match="nobucket"):
        client.extract_table(f"p.{dataset}.t", "gs://nobucket/x.csv").result()
    with pytest.raises(exceptions.NotFound, match="Not found: Table"):
        client.extract_table(f"p.{dataset}.u", f"gs://{bucket}/x.csv").result()
