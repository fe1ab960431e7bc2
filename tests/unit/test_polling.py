from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_dicom import polling
from airflow_dicom.exceptions import HealthcareApiError, HealthcareApiTransientError
from airflow_dicom.polling import PollClock


@given(st.integers(0, 10_000), st.none() | st.floats(0, 1000))
def test_backoff_is_bounded_and_honours_retry_after(attempt, retry_after):
    pause = polling.backoff(attempt, retry_after)
    assert pause >= (retry_after or 0)
    assert pause <= max(polling.MAX_BACKOFF, retry_after or 0) + 1


def test_backoff_doubles():
    assert [int(polling.backoff(attempt)) for attempt in range(4)] == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("0.5", 0.5), (None, None), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-3", 0.0)]
)
def test_retry_after(value, seconds):
    assert polling.parse_retry_after(value) == seconds


def test_first_poll_is_spread_over_the_interval():
    pauses = [PollClock(10).first() for _ in range(200)]
    assert all(0 <= pause <= 10 for pause in pauses)
    assert max(pauses) - min(pauses) > 5


def test_the_first_poll_can_be_put_off():
    pauses = [PollClock(10).first(at_least=5) for _ in range(200)]
    assert all(4.9 <= pause <= 10 for pause in pauses)
    assert max(pauses) - min(pauses) > 2.5
    assert PollClock(1).first(at_least=5) == pytest.approx(5, abs=0.1)


def test_the_interval_grows_with_the_time_waited(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = PollClock(10)
    pauses = []
    for waited in (0, 100, 400, 86_400):
        now = 1000.0 + waited
        pauses.append(clock.answered())
    assert pauses == [10, 10, 20, 60]
    assert PollClock(300).answered() == 300


def test_polls_keep_their_beat(monkeypatch):
    """A poll that was answered late does not make the next one late, unless it was later than half an interval."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = PollClock(10)
    now += clock.first() + 1.5
    assert clock.answered() == pytest.approx(8.5)
    now += 8.5 + 0.25
    assert clock.answered() == pytest.approx(9.75)
    now += 9.75 + 6
    assert clock.answered() == 10


def test_no_pause_passes_the_deadline():
    clock = PollClock(10, deadline=time.time() + 3)
    assert clock.answered() <= 3
    assert not clock.expired
    late = PollClock(10, deadline=time.time() - 1)
    assert late.expired
    assert late.answered() == 0


def test_transient_errors_never_end_a_wait():
    clock = PollClock(10)
    pauses = [clock.pause_after(HealthcareApiTransientError("503")) for _ in range(50)]
    assert pauses[0] < 3
    assert pauses[-1] >= polling.MAX_BACKOFF


def test_a_refusal_is_believed_the_third_time_in_a_row():
    clock, refusal = PollClock(10), HealthcareApiError("404", status_code=404)
    clock.pause_after(refusal)
    clock.pause_after(refusal)
    clock.answered()
    clock.pause_after(refusal)
    clock.pause_after(refusal)
    with pytest.raises(HealthcareApiError):
        clock.pause_after(refusal)
