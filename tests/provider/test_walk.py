"""What can happen to a task, in any order: never twice, never lost, never more than was asked for."""

from __future__ import annotations

import logging

import pytest

from airflow_dicom.operators._connection import ConnectionOperator
from airflow_dicom.operators._store import StoreOperator
from airflow_dicom.triggers.dicom import PollingTrigger

from .walk import OPERATORS, walk

pytestmark = [pytest.mark.only_on_newest_airflow, pytest.mark.slow]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Nothing waits, and nothing is written."""
    monkeypatch.setattr("airflow_dicom.work.ownership.task_state", lambda ti: ti.worker.task_state())
    monkeypatch.setattr("airflow_dicom.operators._waiting.beside", lambda action: action())
    monkeypatch.setattr(
        "airflow_dicom.operators._filter_object.bucket_and_name", lambda operator, uri: (operator.bucket, "f.txt")
    )
    monkeypatch.setattr(StoreOperator, "dicomweb", property(lambda operator: operator.hook))
    monkeypatch.setattr("airflow_dicom.operators._approval.count_in_store", lambda hook, *_: hook.count_what_the_filter_names())
    monkeypatch.setattr("airflow_dicom.polling.backoff", lambda attempt, retry_after=None: 0.0)
    silent = logging.Logger("silent", level=logging.CRITICAL)
    for one in (ConnectionOperator, PollingTrigger):
        monkeypatch.setattr(one, "log", silent)


@pytest.mark.parametrize("operator", OPERATORS)
def test_walk(operator):
    walk(operator, 200)


@pytest.mark.only_in_make_faults
@pytest.mark.parametrize("operator", OPERATORS)
def test_long_walk(operator):
    walk(operator, 2_000, derandomize=False)
