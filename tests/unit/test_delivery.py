"""What of an export has arrived, found by a listing in parts, and by a straightforward program."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_dicom import delivery
from airflow_dicom.delivery import Page, in_order, line_of_object, object_of_line, without_objects

# Few UIDs, some of which begin as others do: dots sort before slashes, slashes before digits.
uids = st.sampled_from(("1", "1.2", "1.20", "12", "2"))
instances = st.tuples(uids, uids, uids)
lines = st.lists(
    st.one_of(st.tuples(uids), st.tuples(uids, uids), instances).map(
        lambda path: "".join(f"/{level}/{uid}" for level, uid in zip(("studies", "series", "instances"), path, strict=False))
    )
)


class Bucket:
    """A listing in pages.

    :param names: of the objects.
    :param old: those of them that an earlier export wrote.
    """

    def __init__(self, names: set[str], old: set[str], size: int) -> None:
        self.names, self.old, self.size = sorted(names), old, size
        self.requests = 0

    def page_from(self, start: str) -> Page:
        self.requests += 1
        left = [name for name in self.names if name >= start]
        page = left[: self.size]
        return Page([name for name in page if name not in self.old], f"{page[-1]}\0" if len(left) > self.size else None)


def missing(bucket: Bucket, of_lines: list[str]) -> list[str]:
    with in_order(f"{object_of_line(line)}\n" for line in of_lines) as beginnings:
        found = without_objects((beginning.rstrip("\n") for beginning in beginnings), bucket.page_from)
        return [line_of_object(beginning) for beginning in found]


@given(lines, st.sets(instances), st.sets(instances), st.integers(1, 5))
def test_lines_without_objects(of_lines, arrived, old, size):
    fresh, older = ({"{}/{}/{}.dcm".format(*path) for path in paths} for paths in (arrived - old, old))
    expected = {line for line in of_lines if not any(name.startswith(object_of_line(line)) for name in fresh)}
    bucket = Bucket(fresh | older, older, size)
    found = missing(bucket, of_lines)
    assert sorted(found) == sorted(expected), "each once"
    assert bucket.requests <= 1 + len(bucket.names) // size, "never more than the whole listing"


def test_what_no_line_names_is_not_listed():
    bucket = Bucket({f"1.{study}/1/{instance}.dcm" for study in range(10, 99) for instance in range(50)}, set(), 10)
    assert missing(bucket, ["/studies/1.20", "/studies/1.70/series/1/instances/7", "/studies/1.99"]) == ["/studies/1.99"]
    assert bucket.requests == 3


def test_lines_are_sorted_on_the_disk(monkeypatch):
    monkeypatch.setattr(delivery, "_LINES_AT_ONCE", 3)
    with in_order(f"{number % 7}\n" for number in range(20)) as found:
        assert list(found) == [f"{number}\n" for number in range(7)]


@pytest.mark.parametrize("line", ["/studies/1.2", "/studies/1.2/series/3", "/studies/1.2/series/3/instances/4.5"])
def test_a_line_and_back(line):
    assert line_of_object(object_of_line(line)) == line
