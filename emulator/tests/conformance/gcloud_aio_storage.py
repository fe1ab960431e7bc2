"""gcloud-aio-storage, pointed at the emulator by ``STORAGE_EMULATOR_HOST``."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from aiohttp import ClientResponseError, ClientSession
from gcloud.aio.storage import Storage

from tests.conformance.checks import CT, MR, PROJECT, equal, new_id, raises

LARGE = CT * 200  # over the 5 MB above which it uploads in a resumable way


def connect(url: str) -> str:
    return url


async def new_bucket(url: str, session: ClientSession) -> str:
    """A new bucket; this client cannot make one."""
    bucket = new_id("bucket-")
    async with session.post(f"{url}/storage/v1/b", params={"project": PROJECT}, json={"name": bucket}) as answer:
        equal(answer.status, 200)
    return bucket


async def check_uploads(url: str) -> None:
    async with ClientSession() as session, Storage(session=session) as client:
        bucket = await new_bucket(url, session)
        for name, data in {"simple": CT, "resumable": LARGE}.items():
            equal((await client.upload(bucket, name, data))["size"], str(len(data)))
            equal(await client.download(bucket, name), data)
        await client.upload(bucket, "multipart", MR, metadata={"metadata": {"patient": "4MR1"}})
        equal((await client.download_metadata(bucket, "multipart"))["metadata"], {"patient": "4MR1"})
        equal(await client.download(bucket, "multipart"), MR)


async def check_stream(url: str) -> None:
    async with ClientSession() as session, Storage(session=session) as client:
        bucket = await new_bucket(url, session)
        await client.upload(bucket, "a", LARGE)
        stream = await client.download_stream(bucket, "a")
        async with stream:
            pieces = [await stream.read(1 << 20)]
            while pieces[-1]:
                pieces.append(await stream.read(1 << 20))
        equal((stream.content_length, b"".join(pieces)), (len(LARGE), LARGE))


async def check_lists(url: str) -> None:
    async with ClientSession() as session, Storage(session=session) as client:
        bucket = await new_bucket(url, session)
        for name in ("a/1", "a/2", "b/3"):
            await client.upload(bucket, name, name)
        found = await client.list_objects(bucket, params={"prefix": "a/"})
        equal([item["name"] for item in found["items"]], ["a/1", "a/2"])
        equal((await client.list_objects(bucket, params={"delimiter": "/"}))["prefixes"], ["a/", "b/"])
        first = await client.list_objects(bucket, params={"maxResults": "2"})
        rest = await client.list_objects(bucket, params={"pageToken": first["nextPageToken"]})
        equal([item["name"] for item in (*first["items"], *rest["items"])], ["a/1", "a/2", "b/3"])
        equal(bucket in [found.name for found in await client.list_buckets(PROJECT)], True)
        equal((await client.get_bucket_metadata(bucket))["name"], bucket)


async def check_copy_compose_delete(url: str) -> None:
    async with ClientSession() as session, Storage(session=session) as client:
        bucket = await new_bucket(url, session)
        await client.upload(bucket, "a", b"1")
        await client.copy(bucket, "a", bucket, new_name="b")
        await client.compose(bucket, "whole", ["a", "b"])
        equal(await client.download(bucket, "whole"), b"11")
        await client.patch_metadata(bucket, "whole", {"metadata": {"n": "2"}})
        equal((await client.download_metadata(bucket, "whole"))["metadata"], {"n": "2"})
        await client.delete(bucket, "a")
        with raises(ClientResponseError) as caught:
            await client.download(bucket, "a")
        equal(caught.exception.status, 404)


async def check_blobs(url: str) -> None:
    async with ClientSession() as session, Storage(session=session) as client:
        bucket = client.get_bucket(await new_bucket(url, session))
        blob = await bucket.new_blob("a/b c").upload(CT) and await bucket.get_blob("a/b c")
        equal((await blob.download(), blob.size), (CT, len(CT)))
        equal((await bucket.list_blobs(), await bucket.blob_exists("none")), (["a/b c"], False))


async def check_preconditions(url: str) -> None:
    async with ClientSession() as session, Storage(session=session) as client:
        bucket = await new_bucket(url, session)
        absent = {"parameters": {"ifGenerationMatch": "0"}}
        await client.upload(bucket, "a", b"1", **absent)
        with raises(ClientResponseError) as caught:
            await client.upload(bucket, "a", b"2", **absent)
        equal(caught.exception.status, 412)
        # It asks again after the 412, and reports what it is told then.
        with raises(ClientResponseError):
            await client.upload(bucket, "a", b"2", force_resumable_upload=True, **absent)
        equal(await client.download(bucket, "a"), b"1")


async def check_gzip(url: str) -> None:
    async with ClientSession() as session, Storage(session=session) as client:
        bucket = await new_bucket(url, session)
        stored = await client.upload(bucket, "zipped", LARGE, zipped=True)
        equal((stored["contentEncoding"], int(stored["size"]) < len(LARGE)), ("gzip", True))
        equal(await client.download(bucket, "zipped"), LARGE)


async def check_files(url: str) -> None:
    async with ClientSession() as session, Storage(session=session) as client:
        bucket = await new_bucket(url, session)
        with tempfile.TemporaryDirectory() as directory:
            source, copy = Path(directory, "source.dcm"), Path(directory, "copy.dcm")
            await asyncio.to_thread(source.write_bytes, MR)
            await client.upload_from_filename(bucket, "file", str(source))
            await client.download_to_filename(bucket, "file", str(copy))
            equal(await asyncio.to_thread(copy.read_bytes), MR)
