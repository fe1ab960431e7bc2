"""What the tests of the example DAGs share: stores, and what is in the bucket."""

from __future__ import annotations

import re

from demo.data import BUCKET, DATASET, LOCATION, PROJECT, Cloud, Source, Uids

PARENT = f"projects/{PROJECT}/locations/{LOCATION}/datasets/{DATASET}"


#: The files that most examples import.
SMALL = r"test_files/[^/]*_small\.dcm"


def instances_in(source: Source, pattern: str) -> set[Uids]:
    """Return the instances in the files whose name matches a pattern."""
    return {uids for uids, names in source.instances.items() if any(re.match(pattern, name) for name in names)}


def names(cloud: Cloud, prefix: str) -> set[str]:
    return {blob.name.removeprefix(prefix) for blob in cloud.storage().list_blobs(BUCKET, prefix=prefix)}


def objects(instances: set[Uids]) -> set[str]:
    return {"{}/{}/{}.dcm".format(*uids) for uids in instances}


def in_store(cloud: Cloud, store: str) -> int:
    """Return how many instances a store holds."""
    stores = cloud.healthcare().projects().locations().datasets().dicomStores()
    return int(stores.getDICOMStoreMetrics(name=f"{PARENT}/dicomStores/{store}").execute().get("instanceCount", 0))


def make_store(cloud: Cloud, store: str, *uris: str) -> None:
    """Make a store and import objects into it."""
    datasets = cloud.healthcare().projects().locations().datasets()
    datasets.dicomStores().create(parent=PARENT, dicomStoreId=store, body={}).execute()
    for uri in uris:
        body = {"gcsSource": {"uri": uri}}
        operation = datasets.dicomStores().import_(name=f"{PARENT}/dicomStores/{store}", body=body).execute()
        while not operation.get("done"):
            operation = datasets.operations().get(name=operation["name"]).execute()
