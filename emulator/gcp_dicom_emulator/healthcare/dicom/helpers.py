"""Processes that help to parse instances, for Python's threads share one core.

A helper is a child process that is asked, and answers, by its standard streams; it ends when they do, however the emulator ends.
``multiprocessing`` would run a user's script again in the child, unless that expects it, or fork a process that has threads.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

#: A helper needs a second to start, and then some 50 MB: not for few items, and not one for each core of a large machine.
_WORTH, _MOST = 1000, 3
_SERVE = f"from {__name__} import serve; serve()"


class Helpers:
    """The helpers, started when there is much to do for the first time. One that is lost is not replaced."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started = False
        self._starting: list[subprocess.Popen[bytes]] = []
        self._free: list[subprocess.Popen[bytes]] = []

    def share(self, work: Callable[..., Any], items: Sequence[Any], *arguments: Any, of: int) -> list[Any]:
        """Return what ``work(part, *arguments)`` returns for each part of the items, in their order.

        The parts are done at the same time, here and by the helpers that are free; one that a helper fails to do is done here.

        :param work: a function of a module; what it gets and returns can be pickled.
        :param of: how many items there are altogether, in this and other calls.
        """
        helpers = self._take() if of >= _WORTH and len(items) > 1 else []
        size = -(-len(items) // (1 + len(helpers))) or 1
        own, *others = [items[start : start + size] for start in range(0, len(items) or 1, size)]
        free = helpers[len(others) :]
        try:
            for helper, part in zip(helpers, others, strict=False):
                _send(helper, (work, part, arguments))
            results = [work(own, *arguments)]
            for helper, part in zip(helpers, others, strict=False):
                try:
                    results.append(_receive(helper))
                except (OSError, EOFError, pickle.UnpicklingError):
                    results.append(work(part, *arguments))
                else:
                    free.append(helper)
        finally:
            with self._lock:
                self._free += free
            # These are dead, or would answer what nobody waits for any more.
            _end([helper for helper in helpers if helper not in free])
        return results

    def close(self) -> None:
        """End the helpers. None is at work."""
        with self._lock:
            _end([*self._starting, *self._free])
            self._starting, self._free = [], []

    def _take(self) -> list[subprocess.Popen[bytes]]:
        """Return those that are ready and free; start them all at the first time, without waiting for them."""
        with self._lock:
            if not self._started:
                self._started = True
                with contextlib.suppress(OSError):  # there is no such Python, or no memory for more of it
                    self._starting += (_start() for _ in range(min((os.cpu_count() or 1) - 1, _MOST)))
            for helper in [helper for helper in self._starting if _has_answered(helper)]:
                self._starting.remove(helper)
                try:
                    _receive(helper)
                except (OSError, EOFError, pickle.UnpicklingError):
                    _end([helper])
                else:
                    self._free.append(helper)
            free, self._free = self._free, []
            return free


def serve() -> None:
    """Be a helper."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the emulator's process gets it as well, and ends this one
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what anything prints is not an answer
    import pydicom  # noqa: F401  takes as long as all else of the start

    answer: Any = "ready"
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            pickle.dump(answer, answers)
            answers.flush()
            work, part, arguments = pickle.load(requests)
            answer = work(part, *arguments)


def _start() -> subprocess.Popen[bytes]:
    # What the child imports is what this process would.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen([sys.executable or "", "-c", _SERVE], stdin=pipe, stdout=pipe, stderr=nothing, env=environment)


def _send(helper: subprocess.Popen[bytes], request: Any) -> None:
    assert helper.stdin is not None
    with contextlib.suppress(OSError):  # it is dead, as its answer will tell
        pickle.dump(request, helper.stdin)
        helper.stdin.flush()


def _has_answered(helper: subprocess.Popen[bytes]) -> bool:
    assert helper.stdout is not None
    return bool(select.select([helper.stdout], [], [], 0)[0])


def _receive(helper: subprocess.Popen[bytes]) -> Any:
    assert helper.stdout is not None
    return pickle.load(helper.stdout)


def _end(helpers: Sequence[subprocess.Popen[bytes]]) -> None:
    for helper in helpers:
        helper.kill()
        helper.wait()
        for stream in (helper.stdin, helper.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()
