"""Write the table in ``guides/restarts.md``: what the next try of a task does, as the code that decides it says.

``tests/unit/test_journal.py`` proves each row. Run it after that code changed: ``python docs/restarts_table.py``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from airflow_dicom.work.journal import NO_STORE, NOTHING, UNREADABLE, Action, Record, State, Try, decide
from airflow_dicom.work.plan import Repeat

PAGE = Path(__file__).parent / "guides" / "restarts.md"
_TABLE = re.compile(r"(?<=<!-- table -->\n).*(?=<!-- end of table -->)", re.DOTALL)

_FIRST = Try(1, 2, retries=2)
_RETRY = replace(_FIRST, number=2)
_CLEARED = replace(_RETRY, max_tries=3, clear_number=1)

_SAME, _OTHER = "same", "other"
_INTENT = Record(_SAME, _FIRST)
_NAMED = replace(_INTENT, name="operation")
_CONSUMED = replace(_NAMED, consumed=True)
_REFUSED = replace(_NAMED, refused=_FIRST)

_WORDS = {
    Action.SUBMIT: "sends",
    Action.ADOPT: "goes on with it",
    Action.STOP: "stops it, then decides",
    Action.REFUSE: "**refuses**",
}

#: What happened, in words; what is found, what the service says, the request that is to be sent, and which try asks.
ROWS: tuple[tuple[str, Record | str, State | None, str, Try], ...] = (
    ("The first try", NOTHING, None, _SAME, _FIRST),
    (
        "The worker died, or the answer was lost, before the operation's name was known; retry or clear",
        _INTENT,
        None,
        _SAME,
        _RETRY,
    ),
    ("The worker died or was told to stop while the operation runs; retry", _NAMED, State.RUNS, _SAME, _RETRY),
    ("The task was cleared while the operation runs", _NAMED, State.RUNS, _SAME, _CLEARED),
    ("The same, but the request is another one now (a template, a corrected DAG)", _NAMED, State.RUNS, _OTHER, _RETRY),
    ("The operation is being cancelled", _NAMED, State.STOPS, _SAME, _RETRY),
    ("The operation ended well before the retry began", _NAMED, State.DELIVERED, _SAME, _RETRY),
    ("The same, and the task was cleared", _NAMED, State.DELIVERED, _SAME, _CLEARED),
    ("The operation ended well, and the request is another one now", _NAMED, State.DELIVERED, _OTHER, _RETRY),
    ("The operation ended well, but `verify` misses something", _NAMED, State.UNDELIVERED, _SAME, _RETRY),
    ("The operation failed or was cancelled, and has written something", _NAMED, State.FAILED, _SAME, _RETRY),
    ("The operation failed or was cancelled, and has written nothing", _NAMED, State.FAILED_EMPTY, _SAME, _RETRY),
    (
        "The service does not know the operation, or does not tell (403, 404; asked three times)",
        _NAMED,
        State.UNKNOWN,
        _SAME,
        _RETRY,
    ),
    ("The task succeeded, but the worker died before Airflow knew; retry", _CONSUMED, State.DELIVERED, _SAME, _RETRY),
    ("The task succeeded and was cleared", _CONSUMED, State.DELIVERED, _SAME, _CLEARED),
    ("The run was deleted and made again", NOTHING, None, _SAME, _FIRST),
    ("A try refused, and the task was cleared after that", _REFUSED, State.FAILED, _SAME, _CLEARED),
    ("What earlier tries stored cannot be read, or is of a later release", UNREADABLE, None, _SAME, _RETRY),
    ("Before Airflow 3.3: a clear, or the first try", NO_STORE, None, _SAME, _CLEARED),
    ("Before Airflow 3.3: a retry, or what may be one", NO_STORE, None, _SAME, _RETRY),
)


def table() -> str:
    """Return the table."""
    lines = [
        "| what happened | safe | fails | doubles |",
        "|---|---|---|---|",
        *(
            f"| {what} | {' | '.join(_WORDS[decide(found, state, request, repeat, now).action] for repeat in Repeat)} |"
            for what, found, state, request, now in ROWS
        ),
    ]
    return "".join(f"{line}\n" for line in lines)


def page() -> str:
    """Return the page with the table of today."""
    return _TABLE.sub(lambda _: table(), PAGE.read_text())


if __name__ == "__main__":
    PAGE.write_text(page())
