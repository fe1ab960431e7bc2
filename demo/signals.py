"""How the demo's commands stop when they are told to: by Ctrl-C, by SIGTERM, or by SIGHUP, when the terminal is closed."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

#: What makes a command of the demo stop all that it has started.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stop_on_signals() -> None:
    """Let Ctrl-C raise KeyboardInterrupt, and the others SystemExit with 128 plus the signal's number; each says at once so."""
    signalled_at = float("-inf")

    def stop(number: int, _frame: object) -> None:
        nonlocal signalled_at
        # make passes on a SIGTERM that the whole group has got. The second one must not interrupt how the first is handled.
        if time.monotonic() - signalled_at < 1:
            return
        signalled_at = time.monotonic()
        _say("\nStopping …\n")
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup wants SIGHUP to be ignored
            signal.signal(number, stop)


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Let a second Ctrl-C not interrupt the stopping, which would leave processes behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    """Write to standard output, also amidst a print; once nobody is there to read it, let no later print raise."""
    try:
        os.write(1, text.encode())
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
