"""Jobs: ids, states, errors, cancelling, dry runs, results, and what a restart finds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import requests
from google.api_core import exceptions
from google.cloud import bigquery

from gcp_dicom_emulator.bigquery import BigQueryService
from gcp_dicom_emulator.bigquery.names import TableName
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.storage.service import StorageService
from tests.bigquery.conftest import Running

ENDLESS = """
SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 1000000)) a, UNNEST(GENERATE_ARRAY(1, 1000000)) b
WHERE MOD(a * b, 7) = MOD(a + b, 11)
"""


def test_a_used_id_is_refused(client: bigquery.Client) -> None:
    client.query("SELECT 1", job_id="used", job_retry=None).result()
    with pytest.raises(exceptions.Conflict, match=r"Already Exists: Job p:US\.used"):
        client.query("SELECT 2", job_id="used", job_retry=None)


def test_a_job_tells_what_it_did(client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT x FROM UNNEST([1, 2]) x")
    job = client.query(f"SELECT x FROM {dataset}.t", job_config=bigquery.QueryJobConfig(labels={"a": "b"}))
    job.result()
    found = client.get_job(job.job_id, location=job.location)
    assert (found.state, found.statement_type, found.labels, found.error_result) == ("DONE", "SELECT", {"a": "b"}, None)
    assert found.created <= found.started <= found.ended
    assert [table.table_id for table in found.referenced_tables] == ["t"]
    assert found.destination == job.destination
    assert [tuple(row) for row in client.list_rows(found.destination)] == [(1,), (2,)]
    assert job.job_id in [item.job_id for item in client.list_jobs()]
    assert [item.job_id for item in client.list_jobs(state_filter="running")] == []
    client.delete_job_metadata(job.job_id, location="US")
    with pytest.raises(exceptions.NotFound, match="Not found: Job"):
        client.get_job(job.job_id)


def test_a_job_tells_how_much_it_wrote_and_what_it_read(client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT x, 'a' AS y FROM UNNEST([1, 2]) x")
    queries = {
        f"SELECT x FROM {dataset}.t": (2, ["t"]),
        f"CREATE TABLE {dataset}.u AS SELECT x FROM {dataset}.t WHERE x = 1": (1, ["t"]),
        f"INSERT INTO {dataset}.u SELECT x FROM {dataset}.t": (2, ["t"]),
        f"INSERT INTO {dataset}.u VALUES (5)": (1, []),
    }
    for query, (rows, read) in queries.items():
        job = client.query(query)
        job.result()
        assert [stage.records_written for stage in job.query_plan] == [rows]
        assert [table.table_id for table in job.referenced_tables if table.table_id != "u"] == read
    config = bigquery.QueryJobConfig(destination=f"p.{dataset}.u", write_disposition="WRITE_APPEND")
    appended = client.query(f"SELECT x FROM {dataset}.t WHERE x = 1", job_config=config)
    appended.result()
    assert [stage.records_written for stage in appended.query_plan] == [1]
    copied = client.copy_table(f"p.{dataset}.t", f"p.{dataset}.copy").result()
    assert copied._properties["statistics"]["copy"] == {"copiedRows": "2", "copiedLogicalBytes": "32"}


@pytest.mark.parametrize(("start", "limit", "found"), [(0, 3, 3), (0, 2, 2), (1, 5, 2), (2, 0, 0), (3, 2, 0), (9, 2, 0)])
def test_each_page_says_how_many_rows_there_are(
    emulator: Running, client: bigquery.Client, dataset: str, start: int, limit: int, found: int
) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT x FROM UNNEST([1, 2, 3]) x")
    url = f"{emulator.url}/bigquery/v2/projects/p/datasets/{dataset}/tables/t/data"
    page = requests.get(url, params={"startIndex": start, "maxResults": limit}, timeout=10).json()
    assert (page["totalRows"], len(page.get("rows", []))) == ("3", found)


def test_what_a_query_reads_grows_with_the_table(client: bigquery.Client, dataset: str) -> None:
    def size() -> int:
        config = bigquery.QueryJobConfig(dry_run=True)
        return client.query(f"SELECT x FROM {dataset}.t", job_config=config).total_bytes_processed

    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT 1 AS x")
    first = size()
    client.query_and_wait(f"INSERT INTO {dataset}.t VALUES (2)")
    assert size() == 2 * first
    client.query_and_wait(f"ALTER TABLE {dataset}.t ADD COLUMN y INT64")
    assert size() == 4 * first


def test_a_query_is_not_billed_for_more_than_it_may(client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT x FROM UNNEST([1, 2]) x")
    query = f"SELECT x FROM {dataset}.t"
    job = client.query(query, job_config=bigquery.QueryJobConfig(maximum_bytes_billed=10 << 20))
    assert (len(list(job.result())), job.total_bytes_billed) == (2, 10 << 20)
    job = client.query(query, job_config=bigquery.QueryJobConfig(maximum_bytes_billed=1000))
    # Google's client does not know this reason: what it raises depends on whether the job had ended when it asked.
    with pytest.raises(exceptions.GoogleAPICallError, match=r"limit for bytes billed: 1000\. 10485760 or higher required"):
        job.result()
    assert client.get_job(job.job_id).error_result["reason"] == "bytesBilledLimitExceeded"
    # What reads no table costs nothing.
    free = client.query("SELECT 1", job_config=bigquery.QueryJobConfig(maximum_bytes_billed=1))
    assert [tuple(row) for row in free.result()] == [(1,)]


def test_priority_and_labels_are_what_bigquery_takes(client: bigquery.Client) -> None:
    job = client.query("SELECT 1", job_config=bigquery.QueryJobConfig(priority="BATCH", labels={"größe-1": ""}))
    job.result()
    assert (job.priority, job.labels) == ("BATCH", {"größe-1": ""})
    assert client.get_job(client.query("SELECT 1").job_id).priority == "INTERACTIVE"
    for wrong in ({"Upper": "x"}, {"a": "Upper"}, {"1a": "x"}, {"a": "x" * 64}, {"a b": "x"}):
        with pytest.raises(exceptions.BadRequest, match="Invalid label"):
            client.query("SELECT 1", job_config=bigquery.QueryJobConfig(labels=wrong), job_retry=None)
    with pytest.raises(exceptions.BadRequest, match="Invalid value for priority: SOON"):
        client.query("SELECT 1", job_config=bigquery.QueryJobConfig(priority="SOON"), job_retry=None)


@pytest.fixture
def elsewhere(client: bigquery.Client, dataset: str) -> str:
    """The name of a table ``t`` in europe-west4, with its dataset."""
    name = f"{dataset}_elsewhere"
    made = bigquery.Dataset(f"p.{name}")
    made.location = "europe-west4"
    client.create_dataset(made)
    client.query_and_wait(f"CREATE TABLE {name}.t AS SELECT 1 AS x")
    return f"{name}.t"


@pytest.mark.parametrize(
    "statement", ["SELECT x FROM {}", "INSERT INTO {} (x) VALUES (2)", "CREATE OR REPLACE TABLE {} (x INT64)"]
)
def test_a_job_runs_where_its_datasets_are(client: bigquery.Client, elsewhere: str, statement: str) -> None:
    """Case 8 of the provider's: ``jobs.get`` needs the location outside of US and EU."""
    job = client.query(statement.format(elsewhere))
    job.result()
    assert job.location == "europe-west4"
    assert client.get_job(job.job_id, location="europe-west4").state == "DONE"
    for location in (None, "US"):
        url = f"/projects/p/jobs/{job.job_id}", f"/projects/p/queries/{job.job_id}", f"/projects/p/jobs/{job.job_id}/cancel"
        for path in url:
            with pytest.raises(exceptions.NotFound, match="Not found: Job"):
                client._connection.api_request(  # type: ignore[attr-defined]
                    method="POST" if path.endswith("cancel") else "GET",
                    path=path,
                    query_params={"location": location} if location else {},
                )


def test_a_load_runs_where_its_dataset_is(client: bigquery.Client, elsewhere: str) -> None:
    job = client.load_table_from_json([{"x": 3}], elsewhere)
    job.result()
    assert job.location == "europe-west4"


def test_a_job_sees_no_datasets_of_other_locations(client: bigquery.Client, elsewhere: str, dataset: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT 1 AS x")
    for sql in (f"SELECT * FROM {elsewhere}, {dataset}.t", f"CREATE TABLE {dataset}.u AS SELECT * FROM {elsewhere}"):
        with pytest.raises(exceptions.NotFound, match="was not found in location"):
            client.query(sql).result()
    with pytest.raises(exceptions.NotFound, match="was not found in location US"):
        client.load_table_from_json([{"x": 3}], elsewhere, location="US").result()


def test_pages_of_a_result(client: bigquery.Client) -> None:
    sql = "SELECT x FROM UNNEST(GENERATE_ARRAY(1, 10)) x ORDER BY x DESC"
    expected = [[10, 9, 8, 7], [6, 5, 4, 3], [2, 1]]
    assert [[row["x"] for row in page] for page in client.query(sql).result(page_size=4).pages] == expected
    rows = client.query_and_wait(sql, page_size=4)
    assert [[row["x"] for row in page] for page in rows.pages] == expected
    assert rows.total_rows == 10
    assert [row["x"] for row in client.query_and_wait(sql, max_results=3)] == [10, 9, 8]


@pytest.mark.slow
def test_a_large_result_keeps_its_order(client: bigquery.Client) -> None:
    rows = client.query_and_wait("SELECT x FROM UNNEST(GENERATE_ARRAY(1, 200000)) x ORDER BY x DESC")
    assert [row["x"] for row in rows] == list(range(200000, 0, -1))


def test_a_page_of_wide_rows_ends_early(emulator: Running) -> None:
    sql = "SELECT x, REPEAT('x', 100000) AS wide FROM UNNEST(GENERATE_ARRAY(1, 500)) x ORDER BY x"
    url = f"{emulator.url}/bigquery/v2/projects/p/queries"
    answer = requests.post(url, json={"query": sql, "useLegacySql": False}, timeout=60).json()
    first = len(answer["rows"])
    assert (first < 500, answer["totalRows"]) == (True, "500")
    query = {"pageToken": answer["pageToken"]}
    answer = requests.get(f"{url}/{answer['jobReference']['jobId']}", params=query, timeout=60).json()
    assert answer["rows"][0]["f"][0]["v"] == str(first + 1)


def test_a_running_job_is_cancelled(client: bigquery.Client) -> None:
    job = client.query(ENDLESS, job_retry=None)
    end = time.monotonic() + 10
    while client.get_job(job.job_id).state != "RUNNING":
        assert time.monotonic() < end
    assert not client.get_job(job.job_id).done()
    assert job.cancel()
    job.reload()
    assert (job.state, job.error_result["reason"]) == ("DONE", "stopped")
    with pytest.raises(exceptions.GoogleAPICallError, match="cancelled"):
        job.result()


def test_a_finished_job_stays_finished_when_cancelled(client: bigquery.Client) -> None:
    finished = client.query("SELECT 1")
    finished.result()
    finished.cancel()
    assert client.get_job(finished.job_id).error_result is None


def test_waiting_ends_before_the_job(client: bigquery.Client, emulator: Running) -> None:
    body = {"query": ENDLESS, "useLegacySql": False, "timeoutMs": 50}
    answer = requests.post(f"{emulator.url}/bigquery/v2/projects/p/queries", json=body, timeout=10).json()
    assert answer["jobComplete"] is False
    url = f"{emulator.url}/bigquery/v2/projects/p/queries/{answer['jobReference']['jobId']}"
    assert requests.get(url, params={"timeoutMs": "50"}, timeout=10).json()["jobComplete"] is False
    client.cancel_job(answer["jobReference"]["jobId"])


def test_the_same_request_twice_is_one_job(emulator: Running, client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t (a INT64)")
    body = {"query": f"INSERT INTO {dataset}.t (a) VALUES (1)", "useLegacySql": False, "requestId": "once"}
    for _ in range(2):
        answer = requests.post(f"{emulator.url}/bigquery/v2/projects/p/queries", json=body, timeout=10).json()
        assert answer["numDmlAffectedRows"] == "1"
    assert client.get_table(f"p.{dataset}.t").num_rows == 1


def test_jobs_of_like_ids_have_results_of_their_own(client: bigquery.Client) -> None:
    ids = ["like-ids", "like_ids", "Like-ids"]
    for number, job_id in enumerate(ids):
        client.query(f"SELECT {number} AS n", job_id=job_id, job_retry=None).result()
    assert [[row["n"] for row in client.get_job(job_id).result()] for job_id in ids] == [[0], [1], [2]]


def test_legacy_sql_is_the_default_of_rest(emulator: Running, client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT 'x' AS a")
    body = {"query": f"SELECT CONCAT('/', a) FROM [p:{dataset}.t]"}
    answer = requests.post(f"{emulator.url}/bigquery/v2/projects/p/queries", json=body, timeout=10).json()
    assert answer["rows"] == [{"f": [{"v": "/x"}]}]
    assert answer["schema"]["fields"][0]["name"] == "f0_"


def test_the_wire_form(emulator: Running) -> None:
    sql = (
        "SELECT 1 i, 1.5 f, TRUE b, TIMESTAMP '2020-01-01 00:00:00.5+00' t, [1, 2] a, STRUCT('x' AS y) r, CAST(NULL AS STRING) n"
    )
    body = {"query": sql, "useLegacySql": False}
    url = f"{emulator.url}/bigquery/v2/projects/p/queries"
    cells = requests.post(url, json=body, timeout=10).json()["rows"][0]["f"]
    assert [cell["v"] for cell in cells] == [
        "1",
        "1.5",
        "true",
        "1577836800.500000",
        [{"v": "1"}, {"v": "2"}],
        {"f": [{"v": "x"}]},
        None,
    ]
    body["formatOptions"] = {"useInt64Timestamp": True}
    assert requests.post(url, json=body, timeout=10).json()["rows"][0]["f"][3]["v"] == "1577836800500000"


def test_a_dry_run_looks_but_does_not_do(client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT 1 AS a, [STRUCT('x' AS b)] AS r")
    config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
    job = client.query(f"SELECT a, r FROM {dataset}.t", job_config=config)
    assert job.state == "DONE"
    assert job.total_bytes_processed == 16
    assert [field.name for field in job.schema] == ["a", "r"]
    for sql in (
        "DROP TABLE D.t",
        "DELETE FROM D.t WHERE TRUE",
        "CREATE TABLE D.u AS SELECT 1 AS a",
        "INSERT INTO D.t (a) VALUES (1)",
    ):
        client.query(sql.replace("D.", f"{dataset}."), job_config=config)
    assert client.get_table(f"p.{dataset}.t").num_rows == 1
    assert [table.table_id for table in client.list_tables(dataset)] == ["t"]
    with pytest.raises(exceptions.BadRequest, match="Unrecognized name: nope"):
        client.query(f"SELECT nope FROM {dataset}.t", job_config=config)
    with pytest.raises(exceptions.NotFound, match="Not found: Job"):
        client.get_job(job.job_id)


def test_destinations_and_dispositions(client: bigquery.Client, dataset: str) -> None:
    def write(sql: str, disposition: str | None = None, create: str | None = None, options: list[str] | None = None) -> None:
        config = bigquery.QueryJobConfig(
            destination=f"p.{dataset}.t", write_disposition=disposition, create_disposition=create, schema_update_options=options
        )
        client.query(sql, job_config=config, job_retry=None).result()

    with pytest.raises(exceptions.NotFound, match="Not found: Table"):
        write("SELECT 1 AS a", create="CREATE_NEVER")
    write("SELECT 1 AS a")
    with pytest.raises(exceptions.Conflict, match="Already Exists: Table"):
        write("SELECT 2 AS a")
    write("SELECT 2 AS a", "WRITE_APPEND")
    with pytest.raises(exceptions.BadRequest, match="has changed type from INTEGER to STRING"):
        write("SELECT 'x' AS a", "WRITE_APPEND")
    with pytest.raises(exceptions.BadRequest, match="Cannot add fields"):
        write("SELECT 3 AS a, 'x' AS b", "WRITE_APPEND")
    write("SELECT 3 AS a, 'x' AS b", "WRITE_APPEND", options=["ALLOW_FIELD_ADDITION"])
    rows = client.query_and_wait(f"SELECT a, b FROM {dataset}.t ORDER BY a")
    assert [tuple(row) for row in rows] == [(1, None), (2, None), (3, "x")]
    with pytest.raises(exceptions.BadRequest, match="boom"):
        write("SELECT IF(x < 3, x, ERROR('boom')) AS a FROM UNNEST([1, 2, 3]) x", "WRITE_TRUNCATE")
    assert client.get_table(f"p.{dataset}.t").num_rows == 3
    write("SELECT 9 AS z", "WRITE_TRUNCATE")
    assert [tuple(row) for row in client.list_rows(f"p.{dataset}.t")] == [(9,)]


def test_copies(client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t (a INT64 NOT NULL OPTIONS(description='k'))")
    client.query_and_wait(f"INSERT INTO {dataset}.t (a) VALUES (1)")
    job = client.copy_table(f"p.{dataset}.t", f"p.{dataset}.c")
    job.result()
    assert client.get_table(f"p.{dataset}.c").schema == client.get_table(f"p.{dataset}.t").schema
    with pytest.raises(exceptions.Conflict):
        client.copy_table(f"p.{dataset}.t", f"p.{dataset}.c").result()
    config = bigquery.CopyJobConfig(write_disposition="WRITE_APPEND")
    client.copy_table([f"p.{dataset}.t", f"p.{dataset}.t"], f"p.{dataset}.c", job_config=config).result()
    assert client.get_table(f"p.{dataset}.c").num_rows == 3


def test_a_restart_keeps_what_was_done_and_ends_what_was_not(tmp_path: Path) -> None:
    def start() -> tuple[State, BigQueryService]:
        state = State(tmp_path)
        return state, BigQueryService(state, StorageService(state).objects)

    def run(service: BigQueryService, job_id: str, sql: str) -> None:
        reference = {"projectId": "p", "jobId": job_id, "location": "US"}
        service.work.insert_job({"jobReference": reference, "configuration": {"query": {"query": sql, "useLegacySql": False}}})
        end = time.monotonic() + 10
        while service.jobs.is_running("p", job_id):
            assert time.monotonic() < end
            time.sleep(0.01)

    state, service = start()
    service.catalog.create_dataset("p", "d")
    run(service, "done", "CREATE TABLE d.t AS SELECT 1 AS a")
    job = service.jobs.get("p", "done")
    job["status"] = {"state": "RUNNING"}
    job["jobReference"]["jobId"] = "killed"
    with state.transaction() as connection:
        import json

        connection.execute("INSERT INTO bigquery_jobs VALUES ('p', 'killed', 'US', 1, ?)", (json.dumps(job),))
    with service.catalog.engine.cursor() as cursor:
        orphan = service.catalog.engine.create_table(cursor, [{"name": "a", "type": "INTEGER", "mode": "NULLABLE"}])
    service.close()
    state.close()

    state, service = start()
    assert service.jobs.get("p", "done")["status"] == {"state": "DONE"}
    killed = service.jobs.get("p", "killed")
    assert killed["status"]["state"] == "DONE"
    assert "interrupted" in killed["status"]["errorResult"]["message"]
    assert service.catalog.get_table("p", "d", "t")["numRows"] == "1"
    with service.catalog.engine.cursor() as cursor:
        tables = [name for (name,) in cursor.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
    assert orphan not in tables
    assert service.catalog.table(TableName("p", "d", "t")).physical in tables
    with pytest.raises(ApiError, match="Already Exists: Job"):
        run(service, "killed", "SELECT 1")
    service.close()
    state.close()


def test_f6_a_job_that_takes_too_long_is_stopped(client: bigquery.Client) -> None:
    started = time.monotonic()
    with pytest.raises(exceptions.ClientError, match=r"cancelled: Job timed out after 0\.5s") as caught:
        client.query(ENDLESS, job_config=bigquery.QueryJobConfig(job_timeout_ms=500), job_retry=None).result(job_retry=None)
    assert caught.value.errors[0]["reason"] == "stopped"
    assert time.monotonic() - started < 20


def test_f6_options_that_are_none(client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t (a INT64) OPTIONS (description='x')")
    client.query_and_wait(f"ALTER TABLE `p`.`{dataset}`.`t` SET OPTIONS()")
    assert client.get_table(f"p.{dataset}.t").description == "x"


@pytest.mark.parametrize(
    "expression",
    ["TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 12 HOUR)", "TIMESTAMP '2183-03-26 08:30:00 UTC'", "TIMESTAMP '2183-03-26'"],
)
def test_f6_when_a_table_expires(client: bigquery.Client, dataset: str, expression: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t OPTIONS (expiration_timestamp={expression}) AS SELECT {expression} AS x")
    [[expected]] = [tuple(row) for row in client.list_rows(f"p.{dataset}.t")]
    found = client.get_table(f"p.{dataset}.t").expires
    assert found is not None
    assert abs((found - expected).total_seconds()) < 60


def test_f6_a_job_that_ends_in_time(client: bigquery.Client) -> None:
    config = bigquery.QueryJobConfig(job_timeout_ms=60_000)
    assert [tuple(row) for row in client.query("SELECT 1", job_config=config).result()] == [(1,)]


def test_a_clone_is_a_copy_that_names_its_source(client: bigquery.Client, dataset: str) -> None:
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT 1 AS x")
    config = bigquery.CopyJobConfig(operation_type="CLONE", write_disposition="WRITE_EMPTY")
    client.copy_table(f"p.{dataset}.t", f"p.{dataset}.c", job_config=config).result()
    client.query_and_wait(f"INSERT INTO {dataset}.t VALUES (2)")
    clone = client.get_table(f"p.{dataset}.c")
    assert clone.clone_definition is not None
    assert clone.clone_definition.base_table_reference.table_id == "t"
    assert [tuple(row) for row in client.list_rows(clone)] == [(1,)]
