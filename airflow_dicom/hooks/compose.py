"""Put the parts of a file together inside Cloud Storage; no byte passes through the worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket

#: How many objects one request of ``objects.compose`` takes.
MAX_SOURCES = 32


def compose(bucket: Bucket, parts: Sequence[Blob], target: str, scratch: str, metadata: dict[str, str]) -> Blob:
    """Concatenate objects, in their order, into one; more than 32 in a tree.

    :param bucket: the bucket of all of them.
    :param parts: at least one object, as a listing returned them.
    :param target: the name of the object to make; it is replaced where it exists.
    :param scratch: a prefix for the names of objects in between. They stay: the caller deletes all below it.
    :param metadata: the new object's own metadata.
    :return: the new object.
    """
    level = 0
    while len(parts) > MAX_SOURCES:
        groups = [parts[i : i + MAX_SOURCES] for i in range(0, len(parts), MAX_SOURCES)]
        parts = [_compose(bucket, group, f"{scratch}tree-{level}-{number:06}", {}) for number, group in enumerate(groups)]
        level += 1
    return _compose(bucket, parts, target, metadata)


def _compose(bucket: Bucket, parts: Sequence[Blob], target: str, metadata: dict[str, str]) -> Blob:
    from google.cloud.storage.retry import DEFAULT_RETRY

    blob = bucket.blob(target)
    blob.content_type = "text/plain"
    blob.metadata = metadata
    # The same sources make the same object, so that a lost answer is followed by another try.
    blob.compose(parts, if_source_generation_match=[part.generation for part in parts], retry=DEFAULT_RETRY)
    return blob
