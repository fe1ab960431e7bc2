"""The walk finds what it is there to find: the engine, broken on purpose."""

from __future__ import annotations

import pytest

from airflow_dicom.operators import _filtered, _waiting
from airflow_dicom.operators._new_instances import NewInstancesOperator
from airflow_dicom.work.journal import Action, Decision, Journal, Record, State, Try, decide
from airflow_dicom.work.plan import Repeat

from .test_walk import quick  # noqa: F401  a fixture
from .walk import walk

pytestmark = [pytest.mark.only_on_newest_airflow, pytest.mark.slow]


def sends_again_after_a_lost_answer(found, state, request, repeat, now):
    if isinstance(found, Record) and not found.name:
        return Decision(Action.SUBMIT)
    return decide(found, state, request, repeat, now)


def looks_up_by_equality(found, state, request, repeat, now):
    if isinstance(found, Record) and found.request != request:
        return Decision(Action.SUBMIT)
    return decide(found, state, request, repeat, now)


def adopts_what_was_cleared(found, state, request, repeat, now):
    if isinstance(found, Record) and found.request == request and state is State.DELIVERED:
        return Decision(Action.ADOPT)
    return decide(found, state, request, repeat, now)


def always_sends(found, state, request, repeat, now):
    return Decision(Action.SUBMIT)


def takes_all_for_safe(found, state, request, repeat, now):
    return decide(found, state, request, Repeat.SAFE, now)


def stores_no_intent(self, plan, name="", store=Journal.store):
    if name:
        store(self, plan, name)


@pytest.mark.parametrize(
    ("operator", "broken"),
    [
        ("WRITE_APPEND", sends_again_after_a_lost_answer),
        ("WRITE_APPEND", looks_up_by_equality),
        ("filter", adopts_what_was_cleared),
        ("import", adopts_what_was_cleared),
        ("WRITE_APPEND", always_sends),
        ("WRITE_APPEND", takes_all_for_safe),
    ],
)
def test_a_broken_decision_is_found(monkeypatch, operator, broken):
    monkeypatch.setattr(_waiting, "decide", broken)
    finds(operator)


@pytest.mark.parametrize(
    ("operator", "owner", "name", "broken"),
    [
        ("WRITE_APPEND", Try, "was_cleared_since", lambda self, earlier: self.number != earlier.number),
        ("WRITE_APPEND", Journal, "store", stores_no_intent),
    ],
    ids=["each_retry_is_a_clear", "no_intent"],
)
def test_a_broken_journal_is_found(monkeypatch, operator, owner, name, broken):
    monkeypatch.setattr(owner, name, broken)
    finds(operator)


def test_a_worker_that_cancels_without_asking_is_found(monkeypatch):
    monkeypatch.setattr(_waiting, "worker_may_cancel", lambda ti, journal, work: True)
    finds("import")


def test_an_export_that_asks_nobody_is_found(monkeypatch):
    monkeypatch.setattr(_filtered, "check_approval", lambda *_, **__: None)
    finds("approved export")


def test_a_try_that_counts_another_one_s_instances_is_found(monkeypatch):
    monkeypatch.setattr(NewInstancesOperator, "counted", lambda self, operation: {"new_instances": operation.success})
    finds("counted import")


def finds(operator: str) -> None:
    with pytest.raises(AssertionError, match=r"green|twice|runs|stuck|replaced|approved|new"):
        walk(operator, 1_000)
