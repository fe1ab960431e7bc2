"""How many requests a filter file costs: they depend on the parts that BigQuery writes, not on the lines."""

from __future__ import annotations

import collections
import math

import pytest
from gcp_dicom_emulator.rest.faults import Fault

from airflow_dicom.operators import FilterFileFromBigQueryOperator

from .conftest import Runner, TaskInstance


def composes(parts: int) -> int:
    """Return how many requests a tree of composes takes whose nodes have 32 children."""
    if parts <= 32:
        return 1
    nodes = math.ceil(parts / 32)
    return nodes + composes(nodes)


def requests_of(emulator, monkeypatch, parts: int, lines_per_part: int) -> dict[str, int]:
    monkeypatch.setattr(emulator.bigquery, "export_shard_rows", lines_per_part)
    lines = parts * lines_per_part
    sql = f"SELECT CONCAT('/studies/1.', CAST(x AS STRING)) AS path FROM UNNEST(GENERATE_ARRAY(1, {lines})) AS x"
    uri = f"gs://target/requests/{parts}-{lines_per_part}.txt"
    task = FilterFileFromBigQueryOperator(
        task_id="t", project_id="demo", sql=sql, filter_uri=uri, poll_interval=0.02, deferrable=False
    )
    emulator.requests.clear()
    runner = Runner(ti=TaskInstance(run_id=f"{parts}-{lines_per_part}"))
    runner.run(task)
    assert runner.ti.xcoms["path_count"] == lines
    return collections.Counter(request.method_id for request in emulator.requests)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 32, 33, 100])
@pytest.mark.parametrize("lines_per_part", [1, 1000])
def test_requests(seeded, monkeypatch, parts, lines_per_part):
    seen = requests_of(seeded, monkeypatch, parts, lines_per_part)
    assert seen["storage.objects.compose"] == composes(parts)
    assert seen["storage.objects.delete"] == parts + composes(parts) - 1, "the parts, and the nodes of the tree"
    assert seen["bigquery.jobs.insert"] == 2, "a dry run, which tells the columns, and the export"
    # Nothing else grows with the parts or the lines.
    others = seen.total() - seen["storage.objects.compose"] - seen["storage.objects.delete"] - seen["bigquery.jobs.get"]
    assert others <= 10, seen
    assert not [method for method in seen if "insert" in method and method.startswith("storage.objects")], "no upload"
    assert "bigquery.tabledata.list" not in seen
    assert "bigquery.jobs.getQueryResults" not in seen


def test_a_part_that_a_lost_request_has_deleted(seeded):
    fault = seeded.faults.add(Fault("lose_answer", "storage.objects.delete"))
    task = FilterFileFromBigQueryOperator(
        task_id="t",
        project_id="demo",
        sql="SELECT '/studies/1' AS path",
        filter_uri="gs://target/requests/lost.txt",
        poll_interval=0.02,
        deferrable=False,
    )
    assert Runner().run(task) == "gs://target/requests/lost.txt"
    assert fault.fired == 1
    assert [found.name for found in seeded.storage.objects.list("target", "requests/lost.txt")] == ["requests/lost.txt"]


@pytest.mark.parametrize(("parts", "requests"), [(100, 207), (1000, 2065)])
def test_a_hundred_million_lines_in_parts_of_a_million_or_less(parts, requests):
    """What :func:`test_requests` shows of few lines, computed for many: compose, delete, and at most 10 others."""
    assert composes(parts) + parts + composes(parts) - 1 + 10 <= requests
