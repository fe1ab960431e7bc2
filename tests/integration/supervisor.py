"""What starts Airflow's processes again that end by themselves, as whoever runs Airflow has one."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from demo.stack import Stack

from .rig import report


@contextlib.contextmanager
def supervised(stack: Stack) -> Iterator[None]:
    """Start again what ends without the test's doing, and say so in the report.

    The LocalExecutor's scheduler, for one, ends when the API answers 500. All tests that follow would wait in vain.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1):
            for name, end in stack.ended().items():
                if name not in stack.killed:
                    _start_again(stack, name, end)

    watcher = threading.Thread(target=watch, name="supervisor", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _start_again(stack: Stack, name: str, end: str) -> None:
    during = os.environ.get("PYTEST_CURRENT_TEST", "").removesuffix(" (call)")
    report.append(f"started again during {during}: {end.splitlines()[0]} {end.splitlines()[-1]}")
    try:
        stack.restart(name)
    except RuntimeError as error:  # another one has ended meanwhile, which is started next
        report.append(f"  {str(error).splitlines()[0]}")
