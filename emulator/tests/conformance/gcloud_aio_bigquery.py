"""gcloud-aio-bigquery and gcloud-aio-auth, pointed at the emulator by ``BIGQUERY_EMULATOR_HOST``; the token is that of a key file."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from aiohttp import ClientResponseError, ClientSession
from gcloud.aio.auth import Token
from gcloud.aio.bigquery import Dataset, Disposition, Job, Table

from tests.conformance.checks import PROJECT, equal, new_id, raises

SCHEMA = {"schema": {"fields": [{"name": "name", "type": "STRING"}, {"name": "number", "type": "INTEGER"}]}}
ROWS = [{"name": "a", "number": 1}, {"name": "b", "number": 2}]


def connect(url: str) -> str:
    # It adds the scheme, where Google's client wants it.
    os.environ["BIGQUERY_EMULATOR_HOST"] = url.removeprefix("http://")
    return url


async def new_table(session: ClientSession, rows: list[dict[str, Any]] = ROWS) -> Table:
    """A new table with rows, in a new dataset."""
    dataset = new_id("d")
    await Dataset(project=PROJECT, session=session).insert({"datasetReference": {"projectId": PROJECT, "datasetId": dataset}})
    table = Table(dataset, "t", project=PROJECT, session=session)
    await table.create({"tableReference": {"projectId": PROJECT, "datasetId": dataset, "tableId": "t"}, **SCHEMA})
    if rows:
        equal("insertErrors" in await table.insert(rows), False)
    return table


async def end(job: Job) -> None:
    """Wait for a job, which must succeed."""
    for _ in range(600):
        if (await job.get_job())["status"]["state"] == "DONE":
            equal((await job.result())["status"], {"state": "DONE"})
            return
        await asyncio.sleep(0.05)
    raise TimeoutError("the job does not end")


def values(answer: dict[str, Any]) -> list[list[str]]:
    return [[cell["v"] for cell in row["f"]] for row in answer.get("rows", [])]


async def check_token(url: str) -> None:
    async with ClientSession() as session:
        token = Token(session=session, scopes=["https://www.googleapis.com/auth/bigquery"])
        equal((bool(await token.get()), await token.get_project()), (True, PROJECT))
        await token.close()


async def check_datasets(url: str) -> None:
    async with ClientSession() as session:
        table = await new_table(session)
        dataset = Dataset(table.dataset_name, project=PROJECT, session=session)
        equal((await dataset.get())["datasetReference"]["datasetId"], table.dataset_name)
        found = [each["datasetReference"]["datasetId"] for each in (await dataset.list_datasets())["datasets"]]
        equal(table.dataset_name in found, True)
        equal([each["tableReference"]["tableId"] for each in (await dataset.list_tables())["tables"]], ["t"])
        await table.delete()
        with raises(ClientResponseError) as caught:
            await table.get()
        equal(caught.exception.status, 404)


async def check_rows(url: str) -> None:
    async with ClientSession() as session:
        table = await new_table(session)
        found = (await table.get())["schema"]["fields"]
        equal([(field["name"], field["type"]) for field in found], [("name", "STRING"), ("number", "INTEGER")])
        equal(values(await table.list_tabledata()), [["a", "1"], ["b", "2"]])
        equal(values(await table.list_tabledata(params={"startIndex": 1})), [["b", "2"]])


async def check_query(url: str) -> None:
    async with ClientSession() as session:
        table = await new_table(session)
        query = f"SELECT name FROM {table.dataset_name}.t WHERE number > 1"
        job = Job(project=PROJECT, session=session)
        equal(values(await job.query({"query": query, "useLegacySql": False})), [["b"]])


async def check_jobs(url: str) -> None:
    async with ClientSession() as session:
        job = Job(project=PROJECT, session=session)
        await job.insert({"configuration": {"query": {"query": "SELECT 1, 'a'", "useLegacySql": False}}})
        await end(job)
        equal(values(await job.get_query_results()), [["1", "a"]])
        equal((await job.cancel())["job"]["jobReference"]["jobId"], job.job_id)


async def check_copy_and_query_into(url: str) -> None:
    async with ClientSession() as session:
        table = await new_table(session)
        await end(await table.insert_via_copy(PROJECT, table.dataset_name, "copy"))
        copy = Table(table.dataset_name, "copy", project=PROJECT, session=session)
        equal(values(await copy.list_tabledata()), [["a", "1"], ["b", "2"]])
        query = f"SELECT name, number * 2 AS number FROM {table.dataset_name}.t"
        job = await copy.insert_via_query(query, write_disposition=Disposition.WRITE_TRUNCATE)
        await end(job)
        equal(sorted(values(await copy.list_tabledata())), [["a", "2"], ["b", "4"]])


async def check_load(url: str) -> None:
    async with ClientSession() as session:
        bucket = new_id("bucket-")
        upload = f"{url}/upload/storage/v1/b/{bucket}/o"
        async with session.post(f"{url}/storage/v1/b", params={"project": PROJECT}, json={"name": bucket}) as answer:
            equal(answer.status, 200)
        async with session.post(upload, params={"uploadType": "media", "name": "a.csv"}, data=b"c,3\n") as answer:
            equal(answer.status, 200)
        table = await new_table(session, [])
        await end(await table.insert_via_load([f"gs://{bucket}/a.csv"]))
        equal(values(await table.list_tabledata()), [["c", "3"]])
