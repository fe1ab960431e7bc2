"""The tree of compose requests, on a bucket that does what Cloud Storage's does: 32 sources a request."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_dicom.hooks.compose import MAX_SOURCES, compose


@dataclass
class Blob:
    name: str
    bucket: Bucket
    content: tuple[int, ...] = ()
    generation: int = 1
    content_type: str = ""
    metadata: dict[str, str] | None = None

    def compose(self, sources: list[Blob], if_source_generation_match: list[int], retry: object) -> None:
        assert 1 <= len(sources) <= MAX_SOURCES
        assert if_source_generation_match == [source.generation for source in sources]
        assert self.name not in self.bucket.written, "no object is written twice"
        self.content = tuple(item for source in sources for item in source.content)
        self.bucket.written.append(self.name)


@dataclass
class Bucket:
    written: list[str] = field(default_factory=list)

    def blob(self, name: str) -> Blob:
        return Blob(name, self)


def composed(count: int) -> tuple[Blob, Bucket]:
    bucket = Bucket()
    parts = [Blob(f"part-{number}", bucket, (number,), generation=number) for number in range(count)]
    return compose(bucket, parts, "target", "scratch/", {"job": "j"}), bucket


@given(count=st.integers(1, 5000))
def test_all_parts_in_their_order(count):
    target, bucket = composed(count)
    assert target.content == tuple(range(count))
    assert (target.name, target.metadata, target.content_type) == ("target", {"job": "j"}, "text/plain")
    assert all(name.startswith("scratch/") for name in bucket.written[:-1])


@pytest.mark.parametrize(("count", "requests"), [(1, 1), (32, 1), (33, 3), (1024, 33), (1025, 36), (5000, 163)])
def test_how_many_requests(count, requests):
    _, bucket = composed(count)
    assert len(bucket.written) == requests
