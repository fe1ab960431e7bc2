"""When to ask again: the pauses between polls, and between tries of a failed request. No Airflow, no Google library."""

from __future__ import annotations

import json
import math
import random
import time
from typing import Any

from airflow_dicom.exceptions import GoogleApiError, GoogleApiTransientError

#: HTTP status codes that say nothing about the request itself.
TRANSIENT_STATUS_CODES = frozenset({408, 425, 429, 500, 502, 503, 504})

#: The longest pause between two tries of a failed request, in seconds.
MAX_BACKOFF = 64.0

#: The longest pause between two polls, in seconds, unless the user's own interval is longer.
MAX_POLL_INTERVAL = 60.0

#: Seconds after the deadline at which Airflow itself ends a deferred task, should the trigger never answer.
DEADLINE_GRACE = 300

#: No pause is longer, in seconds, whatever is asked for: tests on an emulator, which answers at once, lower it.
LONGEST_PAUSE = math.inf

#: Polls in a row that may be refused (403, 404) before that ends the wait: right after a submit, a replica may not know it yet.
MAX_REFUSALS = 3


#: Reasons of a 403 by which BigQuery says that there were too many requests.
_TOO_MANY = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "jobRateLimitExceeded"})


def is_transient(status_code: int, text: str = "") -> bool:
    """Tell whether an HTTP answer is worth another try.

    :param text: its body: BigQuery may answer 403 where other APIs answer 429.
    """
    return status_code in TRANSIENT_STATUS_CODES or (status_code == 403 and _reason_word(text) in _TOO_MANY)


def _reason_word(text: str) -> str:
    try:
        return str(json.loads(text)["error"]["errors"][0]["reason"])
    except (ValueError, KeyError, TypeError, IndexError):
        return ""


def backoff(attempt: int, retry_after: float | None = None) -> float:
    """Return the seconds to wait after the failed try number ``attempt``, counted from 0.

    Doubles from one second up to :data:`MAX_BACKOFF`, with up to a second of jitter; at least what the answer's ``Retry-After`` says.
    """
    return max(min(2.0 ** min(attempt, 16), MAX_BACKOFF), retry_after or 0.0) + random.random()


def parse_retry_after(value: str | None) -> float | None:
    """Return the seconds of a ``Retry-After`` header; ``None`` for a date, which Google does not send, or nonsense."""
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None


def reason_of(text: str) -> str:
    """Return what an API says of a refusal: the message in Google's form of errors, else the text as it is."""
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return text


def read_answer(text: str, request: str) -> dict[str, Any]:
    """Return the JSON object that an answer of an API holds.

    :param request: what was asked, for the error's text.
    :raises GoogleApiTransientError: it is something else, such as a proxy's page, and says nothing about the request.
    """
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise GoogleApiTransientError(f"{request} was answered by something other than a JSON object: {text[:200]!r}")
    return answer


class PollClock:
    """The pauses of one wait, the same in a worker and in the triggerer.

    :param poll_interval: seconds between two polls, at first; grows to a twentieth of the time waited, at most
        :data:`MAX_POLL_INTERVAL`.
    :param deadline: when to give up, in seconds since the epoch; ``None`` for never.
    """

    def __init__(self, poll_interval: float, deadline: float | None = None) -> None:
        self.poll_interval = poll_interval
        self.deadline = deadline
        self._started = self._due = time.monotonic()
        self._failures = 0
        self._refusals = 0

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.time() >= self.deadline

    def first(self, at_least: float = 0.0) -> float:
        """Return the pause before the first poll: random, so that a thousand waits begun together do not poll together.

        :param at_least: seconds that it must last, even where ``poll_interval`` is shorter.
        """
        return self._until(time.monotonic() + random.uniform(at_least, max(at_least, self.poll_interval)))

    def answered(self) -> float:
        """Return the pause after a poll that was answered.

        Polls keep their beat: what made one late, be it the server or other waits, does not make the next one late too. So polls
        that were held up together, in a busy triggerer, do not stay together.
        """
        self._failures = self._refusals = 0
        now = time.monotonic()
        longest = max(self.poll_interval, MAX_POLL_INTERVAL)
        interval = min(max(self.poll_interval, (now - self._started) / 20), longest)
        due = self._due + interval
        return self._until(due if due > now + interval / 2 else now + interval)

    def pause_after(self, error: GoogleApiError) -> float:
        """Return the pause after a poll that failed: a transient error never ends the wait.

        :raises GoogleApiError: the API has refused :data:`MAX_REFUSALS` polls in a row, which is to be believed.
        """
        if isinstance(error, GoogleApiTransientError):
            pause = backoff(self._failures, error.retry_after)
            self._failures += 1
            return self._until(time.monotonic() + pause)
        self._refusals += 1
        if self._refusals >= MAX_REFUSALS:
            raise error
        return self._until(time.monotonic() + self.poll_interval)

    def _until(self, due: float) -> float:
        """Return the seconds to the next poll, which is due then, or to the deadline if that comes first."""
        self._due = due
        pause = min(max(0.0, due - time.monotonic()), LONGEST_PAUSE)
        return pause if self.deadline is None else max(0.0, min(pause, self.deadline - time.time()))


class LineBudget:
    """How much many waits together may log: a token bucket.

    :param per_second: lines that are earned each second.
    :param burst: lines that can be saved up.
    """

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = self._lines = burst
        self._earned_until = time.monotonic()

    def spend(self) -> bool:
        """Tell whether there is a line left, and take it."""
        now = time.monotonic()
        self._lines = min(self._burst, self._lines + (now - self._earned_until) * self._per_second)
        self._earned_until = now
        if self._lines < 1:
            return False
        self._lines -= 1
        return True
