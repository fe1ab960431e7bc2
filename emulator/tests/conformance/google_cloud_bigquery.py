"""google-cloud-bigquery, pointed at the emulator by ``BIGQUERY_EMULATOR_HOST``."""

from __future__ import annotations

import datetime
import io
from decimal import Decimal
from typing import Any

from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage

from tests.conformance.checks import PROJECT, equal, new_id, raises

SCHEMA = [bigquery.SchemaField("name", "STRING", mode="REQUIRED"), bigquery.SchemaField("number", "INTEGER")]
ROWS = [("a", 1), ("b", 2), ("c", None)]


def connect(url: str) -> bigquery.Client:
    return bigquery.Client(PROJECT, AnonymousCredentials())


def new_table(client: bigquery.Client, rows: list[tuple[str, int | None]] = ROWS) -> bigquery.Table:
    """A new table with rows, in a new dataset."""
    dataset = client.create_dataset(new_id("d"))
    table = client.create_table(bigquery.Table(dataset.table("t"), SCHEMA))
    client.load_table_from_json([{"name": name, "number": number} for name, number in rows], table).result()
    return client.get_table(table)


def values(rows: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in rows]


def check_datasets(client: bigquery.Client) -> None:
    dataset = client.create_dataset(new_id("d"))
    equal(dataset.dataset_id in [found.dataset_id for found in client.list_datasets()], True)
    dataset.description = "of checks"
    client.update_dataset(dataset, ["description"])
    equal(client.get_dataset(dataset.reference).description, "of checks")
    with raises(Conflict):
        client.create_dataset(dataset.dataset_id)
    client.delete_dataset(dataset)
    with raises(NotFound):
        client.get_dataset(dataset.reference)


def check_tables(client: bigquery.Client) -> None:
    table = new_table(client)
    equal((table.num_rows, [field.name for field in table.schema]), (3, ["name", "number"]))
    table.schema = [*table.schema, bigquery.SchemaField("more", "DATE", mode="REPEATED")]
    client.update_table(table, ["schema"])
    equal(client.get_table(table).schema[2].mode, "REPEATED")
    equal([found.table_id for found in client.list_tables(table.dataset_id)], ["t"])
    client.delete_table(table)
    equal([*client.list_tables(table.dataset_id)], [])


def check_list_rows(client: bigquery.Client) -> None:
    table = new_table(client, [(f"{n:02}", n) for n in range(7)])
    pages = [len(values(page)) for page in client.list_rows(table, page_size=3).pages]
    equal(pages, [3, 3, 1])
    equal(values(client.list_rows(table, start_index=5, selected_fields=SCHEMA[:1])), [("05",), ("06",)])


def check_load_a_file(client: bigquery.Client) -> None:
    dataset = client.create_dataset(new_id("d"))
    config = bigquery.LoadJobConfig(source_format="CSV", skip_leading_rows=1, schema=SCHEMA)
    job = client.load_table_from_file(io.BytesIO(b"name,number\na,1\nb,2\n"), dataset.table("t"), job_config=config)
    equal((job.result().output_rows, job.state), (2, "DONE"))
    equal(values(client.list_rows(client.get_table(dataset.table("t")))), [("a", 1), ("b", 2)])


def check_load_objects(client: bigquery.Client) -> None:
    dataset = client.create_dataset(new_id("d"))
    with storage.Client(PROJECT, AnonymousCredentials()) as objects:
        bucket = objects.create_bucket(new_id("bucket-"))
        for number in range(2):
            bucket.blob(f"{number}.json").upload_from_string(f'{{"name": "a", "number": {number}}}\n')
    config = bigquery.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", autodetect=True)
    equal(client.load_table_from_uri(f"gs://{bucket.name}/*", dataset.table("t"), job_config=config).result().output_rows, 2)
    rows = client.query(f"SELECT name, number FROM {dataset.dataset_id}.t ORDER BY number").result()
    equal(values(rows), [("a", 0), ("a", 1)])


def check_insert_rows(client: bigquery.Client) -> None:
    table = new_table(client, [])
    equal(client.insert_rows_json(table, [{"name": "a", "number": 1}]), [])
    equal(client.insert_rows(table, [("b", 2)]), [])
    [failed] = client.insert_rows_json(table, [{"number": 3}])
    equal((failed["index"], failed["errors"][0]["reason"]), (0, "invalid"))
    equal(sorted(values(client.list_rows(table))), [("a", 1), ("b", 2)])


def check_query_parameters(client: bigquery.Client) -> None:
    table = new_table(client)
    config = bigquery.QueryJobConfig(
        query_parameters=[
            bigquery.ArrayQueryParameter("names", "STRING", ["a", "c"]),
            bigquery.ScalarQueryParameter("day", "DATE", datetime.date(2026, 1, 2)),
        ]
    )
    sql = f"SELECT name, number, @day FROM {table.dataset_id}.t WHERE name IN UNNEST(@names) ORDER BY name"
    day = datetime.date(2026, 1, 2)
    equal(values(client.query(sql, job_config=config).result()), [("a", 1, day), ("c", None, day)])


def check_types(client: bigquery.Client) -> None:
    sql = """SELECT TRUE, 1.5, NUMERIC '1.25', b'ab', TIMESTAMP '2026-01-02 03:04:05.678901+00', TIME '01:02:03', ['x', 'y'],
             STRUCT(1 AS a, 'b' AS b), CAST(NULL AS INT64)"""
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, datetime.UTC)
    expected = (True, 1.5, Decimal("1.25"), b"ab", moment, datetime.time(1, 2, 3), ["x", "y"], {"a": 1, "b": "b"}, None)
    equal(values(client.query(sql).result()), [expected])


def check_query_pages(client: bigquery.Client) -> None:
    pages = client.query("SELECT n FROM UNNEST(GENERATE_ARRAY(1, 2500)) AS n ORDER BY n").result(page_size=1000).pages
    found = [[row.n for row in page] for page in pages]
    equal([len(page) for page in found], [1000, 1000, 500])
    equal([n for page in found for n in page], list(range(1, 2501)))


def check_query_and_wait(client: bigquery.Client) -> None:
    rows = client.query_and_wait("SELECT 1 AS a UNION ALL SELECT 2 ORDER BY a")
    equal((values(rows), rows.total_rows), ([(1,), (2,)], 2))


def check_destination(client: bigquery.Client) -> None:
    table = new_table(client)
    target = f"{PROJECT}.{table.dataset_id}.copy"
    config = bigquery.QueryJobConfig(destination=target, write_disposition="WRITE_EMPTY")
    client.query(f"SELECT name FROM {table.dataset_id}.t", job_config=config).result()
    equal(client.get_table(target).num_rows, 3)
    with raises(Conflict):
        client.query(f"SELECT name FROM {table.dataset_id}.t", job_config=config).result()


def check_statements(client: bigquery.Client) -> None:
    table = new_table(client)
    client.query(f"CREATE TABLE {table.dataset_id}.u AS SELECT * FROM {table.dataset_id}.t").result()
    job = client.query(f"DELETE FROM {table.dataset_id}.u WHERE number IS NULL")
    job.result()
    equal((job.statement_type, job.num_dml_affected_rows), ("DELETE", 1))
    equal(values(client.query(f"SELECT COUNT(*) FROM {table.dataset_id}.u").result()), [(2,)])


def check_dry_run(client: bigquery.Client) -> None:
    table = new_table(client)
    job = client.query(f"SELECT * FROM {table.dataset_id}.t", job_config=bigquery.QueryJobConfig(dry_run=True))
    equal((job.state, job.total_bytes_processed > 0, [field.name for field in job.schema]), ("DONE", True, ["name", "number"]))


def check_copy(client: bigquery.Client) -> None:
    table = new_table(client)
    target = f"{PROJECT}.{table.dataset_id}.copy"
    client.copy_table(table, target).result()
    equal(sorted(values(client.list_rows(target, selected_fields=SCHEMA))), ROWS)


def check_extract(client: bigquery.Client) -> None:
    table = new_table(client)
    with storage.Client(PROJECT, AnonymousCredentials()) as objects:
        bucket = objects.create_bucket(new_id("bucket-"))
        job = client.extract_table(table, f"gs://{bucket.name}/t.csv")
        job.result()
        equal(job.destination_uri_file_counts, [1])
        equal(bucket.blob("t.csv").download_as_text().splitlines(), ["name,number", "a,1", "b,2", "c,"])


def check_export_data(client: bigquery.Client) -> None:
    table = new_table(client)
    with storage.Client(PROJECT, AnonymousCredentials()) as objects:
        bucket = objects.create_bucket(new_id("bucket-"))
        options = f"uri = 'gs://{bucket.name}/*.csv', format = 'CSV', header = FALSE"
        client.query(f"EXPORT DATA OPTIONS ({options}) AS SELECT name FROM {table.dataset_id}.t ORDER BY name").result()
        equal("".join(blob.download_as_text() for blob in bucket.list_blobs()), "a\nb\nc\n")


def check_jobs(client: bigquery.Client) -> None:
    job = client.query("SELECT 1", job_id=new_id("job-"), job_retry=None)
    job.result()
    equal(client.get_job(job.job_id).state, "DONE")
    equal(job.job_id in [found.job_id for found in client.list_jobs()], True)
    equal(client.cancel_job(job.job_id).state, "DONE")
    with raises(Conflict):
        client.query("SELECT 1", job_id=job.job_id, job_retry=None)


def check_errors(client: bigquery.Client) -> None:
    with raises(BadRequest):
        client.query("SELEC 1").result()
    with raises(NotFound):
        client.query("SELECT * FROM nothing.here").result()
    with raises(NotFound):
        client.get_table(f"{PROJECT}.nothing.here")
