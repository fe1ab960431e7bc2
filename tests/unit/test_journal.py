"""What a try does about what earlier tries did: the table of the guide on restarts, row by row, and what must hold of all of it."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_dicom.work.journal import (
    KEY,
    NO_STORE,
    NOTHING,
    UNREADABLE,
    Action,
    Journal,
    Record,
    State,
    Try,
    decide,
)
from airflow_dicom.work.plan import Plan, Repeat

SAME, OTHER = "this request", "another request"
FIRST = Try(1, 2, retries=2, run_start="monday")
RETRY = replace(FIRST, number=2)
CLEARED = replace(RETRY, max_tries=3, clear_number=1)
#: A clear whose ``max_tries`` comes out as it was; the run, which had ended, has started anew.
CLEARED_RUN = replace(RETRY, retries=1, clear_number=1, run_start="tuesday")

#: Another task of the run was cleared; or this one, and the DAG's file lowered ``retries`` before and raised them after.
IN_DOUBT = replace(RETRY, clear_number=1)

INTENT = Record(SAME, FIRST)
NAMED = Record(SAME, FIRST, "operations/1")
CONSUMED = replace(NAMED, consumed=True)
REFUSED = replace(NAMED, refused=FIRST)

SUBMIT, ADOPT, STOP, REFUSE = Action.SUBMIT, Action.ADOPT, Action.STOP, Action.REFUSE

#: What is found, what the service says, the request to be sent, the tries that it holds for; the actions for SAFE, FAILS, DOUBLES.
ROWS = [
    (NOTHING, None, SAME, (FIRST, RETRY, CLEARED), (SUBMIT, SUBMIT, SUBMIT)),
    (NO_STORE, None, SAME, (FIRST, CLEARED), (SUBMIT, SUBMIT, SUBMIT)),
    (NO_STORE, None, SAME, (RETRY, replace(FIRST, reschedules=1)), (SUBMIT, SUBMIT, REFUSE)),
    (INTENT, None, SAME, (RETRY, CLEARED), (SUBMIT, SUBMIT, REFUSE)),
    (INTENT, None, OTHER, (RETRY, CLEARED), (SUBMIT, SUBMIT, REFUSE)),
    (NAMED, State.RUNS, SAME, (FIRST, RETRY, CLEARED), (ADOPT, ADOPT, ADOPT)),
    (NAMED, State.RUNS, OTHER, (RETRY, CLEARED), (STOP, STOP, REFUSE)),
    (NAMED, State.STOPS, SAME, (RETRY, CLEARED), (STOP, STOP, STOP)),
    (NAMED, State.STOPS, OTHER, (RETRY, CLEARED), (STOP, STOP, STOP)),
    (NAMED, State.DELIVERED, SAME, (FIRST, RETRY), (ADOPT, ADOPT, ADOPT)),
    (NAMED, State.DELIVERED, SAME, (CLEARED, IN_DOUBT), (SUBMIT, ADOPT, ADOPT)),
    (NAMED, State.DELIVERED, OTHER, (RETRY, CLEARED), (SUBMIT, SUBMIT, REFUSE)),
    (NAMED, State.UNDELIVERED, SAME, (RETRY, CLEARED), (SUBMIT, REFUSE, REFUSE)),
    (NAMED, State.UNDELIVERED, OTHER, (RETRY, CLEARED), (SUBMIT, REFUSE, REFUSE)),
    (NAMED, State.FAILED, SAME, (RETRY, CLEARED), (SUBMIT, SUBMIT, REFUSE)),
    (NAMED, State.FAILED, OTHER, (RETRY, CLEARED), (SUBMIT, SUBMIT, REFUSE)),
    (NAMED, State.FAILED_EMPTY, SAME, (RETRY, CLEARED), (SUBMIT, SUBMIT, SUBMIT)),
    (NAMED, State.FAILED_EMPTY, OTHER, (RETRY, CLEARED), (SUBMIT, SUBMIT, SUBMIT)),
    (NAMED, State.UNKNOWN, SAME, (RETRY, CLEARED), (SUBMIT, SUBMIT, REFUSE)),
    (NAMED, State.UNKNOWN, OTHER, (RETRY, CLEARED), (SUBMIT, SUBMIT, REFUSE)),
    (CONSUMED, State.DELIVERED, SAME, (FIRST, RETRY), (ADOPT, ADOPT, ADOPT)),
    (CONSUMED, State.DELIVERED, SAME, (CLEARED, CLEARED_RUN), (SUBMIT, SUBMIT, SUBMIT)),
    (CONSUMED, State.DELIVERED, OTHER, (CLEARED, CLEARED_RUN), (SUBMIT, SUBMIT, SUBMIT)),
    (CONSUMED, State.UNKNOWN, SAME, (CLEARED, CLEARED_RUN), (SUBMIT, SUBMIT, SUBMIT)),
    (CONSUMED, State.UNKNOWN, SAME, (RETRY,), (SUBMIT, SUBMIT, REFUSE)),
    (REFUSED, State.UNKNOWN, SAME, (RETRY,), (SUBMIT, SUBMIT, REFUSE)),
    (REFUSED, State.UNKNOWN, SAME, (CLEARED, CLEARED_RUN), (SUBMIT, SUBMIT, SUBMIT)),
    (replace(INTENT, refused=FIRST), None, SAME, (CLEARED, CLEARED_RUN), (SUBMIT, SUBMIT, SUBMIT)),
    (UNREADABLE, None, SAME, (RETRY, CLEARED), (SUBMIT, SUBMIT, REFUSE)),
]
CASES = [
    pytest.param(found, state, request, now, repeat, action, id=f"{number}-{now.number}/{now.max_tries}-{repeat.value}")
    for number, (found, state, request, tries, actions) in enumerate(ROWS)
    for now in tries
    for repeat, action in zip(Repeat, actions, strict=True)
]


@pytest.mark.parametrize(("found", "state", "wanted", "now", "repeat", "action"), CASES)
def test_the_table(found, state, wanted, now, repeat, action):
    assert decide(found, state, wanted, repeat, now).action is action


def everything():
    records = [
        replace(record, consumed=consumed, refused=refused)
        for record, consumed, refused in itertools.product((INTENT, NAMED), (False, True), (None, FIRST))
    ]
    found = [(NOTHING, None), (NO_STORE, None), (UNREADABLE, None)]
    for record in records:
        found += [(record, state) for state in State] if record.name else [(record, None)]
    return itertools.product(found, (SAME, OTHER), Repeat, (FIRST, RETRY, CLEARED, CLEARED_RUN))


def test_whatever_is_found_there_is_an_answer_and_nothing_is_doubled_unless_a_person_wants_it():
    harmless = (State.FAILED_EMPTY, None)
    for (found, state), request, repeat, now in everything():
        decision = decide(found, state, request, repeat, now)
        if decision.action in (STOP, REFUSE):
            assert decision.reason
        if decision.action is ADOPT:
            assert request == found.request
        if decision.action is SUBMIT and repeat is Repeat.DOUBLES and isinstance(found, Record):
            asked_for = now in (CLEARED, CLEARED_RUN) and (found.consumed or found.refused)
            assert asked_for or (found.name and state in harmless), (found, state, now)


def test_why_a_request_may_fail_that_is_sent_again_is_known():
    """The words come with code 6, "already exists"."""
    for found, state in ((NO_STORE, None), (INTENT, None), (UNREADABLE, None), (NAMED, State.UNKNOWN), (NAMED, State.FAILED)):
        assert decide(found, state, SAME, Repeat.FAILS, RETRY).reason
    assert not decide(NO_STORE, None, SAME, Repeat.FAILS, FIRST).reason


#: Seen on Airflow 3.3: what was done between two tries, the numbers of both, whether a person cleared the task.
#: ``(try_number, max_tries, retries, clear_number)``, and whether the run was started anew.
SEEN = {
    "retry": ((1, 2, 2, 0), (2, 2, 2, 0), False, False),
    "retries raised, retry": ((1, 1, 1, 0), (2, 1, 4, 0), False, False),
    "retries lowered, retry": ((1, 3, 3, 0), (2, 3, 1, 0), False, False),
    "another task cleared, retry": ((1, 2, 2, 0), (2, 2, 2, 1), False, False),
    "resume lost": ((2, 3, 2, 1), (3, 3, 2, 1), False, False),
    "put off, the same try": ((1, 2, 2, 0), (1, 2, 2, 0), False, False),
    "succeeded, clear": ((1, 2, 2, 0), (2, 3, 2, 1), True, True),
    "succeeded, clear again": ((2, 3, 2, 1), (3, 4, 2, 2), True, True),
    "succeeded, clear, the run runs": ((1, 2, 2, 0), (2, 3, 2, 0), False, True),
    "running, clear": ((1, 2, 2, 0), (2, 3, 2, 1), False, True),
    "running, no retries, clear": ((1, 0, 0, 0), (2, 1, 0, 1), False, True),
    "no retries, failed, clear": ((1, 0, 0, 0), (2, 1, 0, 1), True, True),
    "deferred, clear": ((1, 2, 2, 0), (2, 3, 2, 1), False, True),
    "up for retry, clear": ((1, 2, 2, 0), (2, 3, 2, 0), False, True),
    "succeeded, retries lowered, clear": ((1, 3, 3, 0), (2, 3, 2, 1), True, True),
    "up for retry, retries lowered, clear": ((1, 3, 3, 0), (2, 3, 2, 1), False, True),
    "retries raised, clear": ((1, 1, 1, 0), (2, 5, 4, 1), True, True),
    "failed for good, clear": ((1, 3, 2, 0), (2, 4, 2, 1), True, True),
    "failed, retried, failed, clear": ((2, 1, 1, 0), (3, 3, 1, 1), True, True),
    # Nothing tells these two from their opposites above.
    "retries lowered, another task cleared, retry": ((1, 3, 3, 0), (2, 3, 2, 1), False, True),
    "up for retry, retries lowered, clear that leaves the run": ((1, 3, 3, 0), (2, 3, 2, 0), False, False),
}


@pytest.mark.parametrize(("before", "after", "run_anew", "cleared"), SEEN.values(), ids=list(SEEN))
def test_a_clear_is_told_from_a_retry(before, after, run_anew, cleared):
    earlier = Try(*before, run_start="monday")
    later = Try(*after, run_start="tuesday" if run_anew else "monday")
    assert later.was_cleared_since(earlier) is cleared


@pytest.mark.parametrize(
    ("now", "doubtful"),
    [
        (Try(1, 2, retries=2), False),
        (Try(2, 2, retries=2), True),
        (Try(2, 3, retries=2), False),  # cleared after its first try
        (Try(3, 3, retries=2), True),
        (Try(2, 1, retries=0), False),  # without retries, each try but the first comes of a clear
        (Try(2, 3, retries=1), True),  # retries lowered
        (Try(1, 2, retries=2, reschedules=1), True),
    ],
)
def test_without_a_store_a_try_is_a_retry_in_doubt(now, doubtful):
    assert now.may_be_a_retry is doubtful


class Store(dict):
    def set(self, key, value, *, retention=None):
        self[key] = json.loads(json.dumps(value))


PLAN = Plan("dicomStores.export", "store", {"x": 1}, "Export")


def test_what_is_stored_is_found():
    store = Store()
    journal = Journal(store, FIRST)
    assert journal.found() == NOTHING
    journal.store(PLAN)
    assert journal.found() == Record(PLAN.fingerprint, FIRST)
    journal.store(PLAN, "operations/1")
    started = Record(PLAN.fingerprint, FIRST, "operations/1")
    assert journal.found() == started
    later = Journal(store, RETRY)
    later.adopt(started)
    work: Any = SimpleNamespace(is_named=lambda name: name == "operations/1")
    assert later.owns(work)
    assert Journal(store, replace(RETRY, number=3)).owns(work), "it is about to go on with it"
    assert not journal.owns(work), "a later try has it"
    later.consume()
    assert later.found() == replace(started, owner=RETRY, consumed=True)
    later.forget()
    assert later.found() == NOTHING


def test_case_19_what_other_releases_stored():
    journal = Journal(Store(), RETRY)
    journal.store(PLAN, "operations/1")
    stored = journal._store[KEY]
    stored["later"], stored["owner"]["later"] = 1, 2
    assert journal.found() == Record(PLAN.fingerprint, RETRY, "operations/1"), "unknown fields are dropped"
    stored["version"] = 3
    assert journal.found() == UNREADABLE
    # Release 0.1.0; without the operation's name before the answer to WRITE_APPEND came.
    journal._store[KEY] = {"request": "r", "max_tries": 2, "operation": "operations/1"}
    found = journal.found()
    assert isinstance(found, Record)
    assert (found.request, found.name) == ("r", "operations/1")
    assert not RETRY.was_cleared_since(found.owner)
    assert CLEARED.was_cleared_since(found.owner)
    journal._store[KEY] = {"request": "r", "max_tries": 2, "operation": None}
    found = journal.found()
    assert isinstance(found, Record)
    assert found.name == ""


def test_case_19_release_0_1_0_reads_what_this_one_has_stored():
    """A retry on a worker that is not upgraded yet: it takes what it finds for its own if these are as it would write them."""
    journal = Journal(Store(), RETRY)
    for name in ("", "operations/1"):
        journal.store(PLAN, name)
        old = {"request": PLAN.fingerprint, "max_tries": RETRY.max_tries, "operation": name or None}
        assert journal._store[KEY].items() >= old.items()


@pytest.mark.parametrize(
    "stored",
    ["text", ["list"], 1, {"request": "r"}, {"version": 2}, {"version": "x"}, {"version": 2, "owner": 1}, {"version": 3}],
)
def test_what_cannot_be_read_is_refused_until_a_clear(stored):
    journal = Journal(Store({KEY: stored}), FIRST)
    assert journal.found() == UNREADABLE
    assert decide(journal.found(), None, PLAN.fingerprint, Repeat.DOUBLES, FIRST).action is REFUSE
    journal.refuse(PLAN)
    for now, action in ((RETRY, REFUSE), (CLEARED, SUBMIT)):
        assert decide(journal.found(), None, PLAN.fingerprint, Repeat.DOUBLES, now).action is action


def test_without_a_store_nothing_is_kept():
    journal = Journal(None, FIRST)
    journal.store(PLAN)
    journal.store(PLAN, "x")
    journal.consume()
    journal.refuse(PLAN)
    journal.forget()
    assert journal.found() == NO_STORE
    assert not journal.has_store
