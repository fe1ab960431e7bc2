"""The grammar of a filter's lines: what Python parses is what BigQuery's regular expression takes, and nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_dicom.filter_paths import MAX_UID_LENGTH, PATH_REGEX, FilterPath, is_uid, outermost

components = st.integers(0, 10**12).map(str)
uids = st.lists(components, min_size=1, max_size=8).map(".".join).filter(lambda uid: len(uid) <= MAX_UID_LENGTH)
paths = st.lists(uids, min_size=1, max_size=3).map(lambda parts: FilterPath(*parts))

# Lines that are nearly right: pieces of paths in any order.
pieces = st.sampled_from(
    ["/", "studies", "series", "instances", "/studies/", "/series/", "/instances/", "1", "0", "01", ".", "1.2", " "]
)
lines = st.one_of(st.lists(pieces, max_size=9).map("".join), st.text("/studerinaco0123.\n ", max_size=30), paths.map(str))


def as_bigquery_does(line: str) -> bool:
    """Return what the export statement's condition says, for Python's regular expressions."""
    parts = line.split("/")
    return re.fullmatch(PATH_REGEX, line, re.ASCII) is not None and all(len(part) <= MAX_UID_LENGTH for part in parts[2::2])


@given(path=paths)
def test_a_path_is_read_as_it_was_written(path):
    assert FilterPath.parse(str(path)) == path
    assert as_bigquery_does(str(path))


@settings(max_examples=500)
@given(line=lines)
@example(line="/studies/1\n")
@example(line=f"/studies/{'1' * 65}")
@example(line="/studies/1/series/2/instances/3/frames/4")
@example(line="/studies/\N{ARABIC-INDIC DIGIT ONE}")
def test_python_and_bigquery_agree(line):
    try:
        FilterPath.parse(line)
        parsed = True
    except ValueError:
        parsed = False
    assert parsed == as_bigquery_does(line)


@given(path=paths)
def test_the_level_is_that_of_the_last_part(path):
    assert str(path).count("/") == {"study": 2, "series": 4, "instance": 6}[path.level]


@pytest.mark.parametrize("value", ["", ".", "1.", ".1", "1..2", "01", "1.02", "1.a", "1 ", "1\n", "-1", "1" * 65])
def test_no_uid(value):
    assert not is_uid(value)
    with pytest.raises(ValueError, match="not a DICOM resource path"):
        FilterPath.parse(f"/studies/{value}")


def test_outermost():
    study, series, instance = (
        FilterPath.parse(line) for line in ("/studies/1", "/studies/1/series/2", "/studies/1/series/2/instances/3")
    )
    other = FilterPath.parse("/studies/10/series/2")
    assert outermost([instance, other, series, study, study]) == [other, study]
    assert outermost([instance, series, other]) == [series, other]
    assert outermost([instance, other]) == [instance, other]
