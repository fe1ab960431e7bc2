"""A worker killed at any step of the filter operator: the retry ends with the right object, one job, and nothing left over."""

from __future__ import annotations

import itertools
import threading

import pytest
from requests.adapters import HTTPAdapter

from airflow_dicom.operators import FilterFileFromBigQueryOperator

from .conftest import Runner, TaskInstance

LINES = [f"/studies/1.{number}" for number in range(33)]  # more than one request of compose takes
SQL = "SELECT CONCAT('/studies/1.', CAST(x AS STRING)) AS path FROM UNNEST(GENERATE_ARRAY(0, 32)) AS x"


class Killed(BaseException):
    """As ``kill -9``: no handler of ordinary errors runs."""


def filter_task(name: str) -> FilterFileFromBigQueryOperator:
    return FilterFileFromBigQueryOperator(
        task_id="t", project_id="demo", sql=SQL, filter_uri=f"gs://target/kills/{name}.txt", poll_interval=0.02, deferrable=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", pytest.param("after", marks=pytest.mark.only_on_newest_airflow)])
def test_killed_at_every_request(seeded, monkeypatch, when):
    monkeypatch.setattr(seeded.bigquery, "export_shard_rows", 1)
    send = HTTPAdapter.send
    left: float = float("inf")

    def killing_send(self, request, **kwargs):
        nonlocal left
        if threading.current_thread() is not threading.main_thread():
            return send(self, request, **kwargs)  # the clients fetch something in the background
        left -= 1
        if left < 0 and when == "before":
            raise Killed
        response = send(self, request, **kwargs)
        if left < 0:
            raise Killed
        return response

    monkeypatch.setattr(HTTPAdapter, "send", killing_send)
    objects = seeded.storage.objects
    for step in itertools.count():
        name = f"{when}-{step}"
        runner = Runner(ti=TaskInstance(run_id=name, max_tries=1))
        left = step
        try:
            runner.run(filter_task(name))
            break
        except Killed:
            pass
        left = float("inf")
        runner.retry()
        assert runner.run(filter_task(name)) == f"gs://target/kills/{name}.txt"
        found = objects.list("target", prefix=f"kills/{name}")
        assert [blob.name for blob in found] == [f"kills/{name}.txt"], f"killed {when} request {step}"
        assert sorted(found[0].path.read_text().splitlines()) == sorted(LINES)
        assert runner.ti.xcoms["path_count"] == len(LINES)
    assert step > 33, "each part is deleted by a request of its own"
