"""What starts Airflow's processes again that end by themselves, as whoever runs Airflow has one."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from demo.stack import Stack

from .rig import report

#: What the scheduler writes when an error ends it, such as a locked database on a busy machine. Then it waits for its executor's
#: tasks, which may be waiting for a test: whoever runs Airflow has a liveness probe for that.
_GIVEN_UP = "Exception when executing SchedulerJob"


@contextlib.contextmanager
def supervised(stack: Stack) -> Iterator[None]:
    """Start again what ends without the test's doing, and say so in the report.

    The LocalExecutor's scheduler, for one, ends when the API answers 500. All tests that follow would wait in vain.
    """
    over = threading.Event()
    log = stack.home / "logs" / "scheduler.log"

    def watch() -> None:
        position = 0
        while not over.wait(1):
            with log.open(errors="replace") as lines:
                lines.seek(position)
                has_given_up = _GIVEN_UP in lines.read()
                position = lines.tell()
            if has_given_up and "scheduler" not in stack.killed:
                stack.processes["scheduler"].kill()
                stack.processes["scheduler"].wait()
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
    report.append(f"started again during {during}: {end.splitlines()[0]} {end.splitlines()[-1][:120]}")
    try:
        stack.restart(name)
    except RuntimeError as error:  # another one has ended meanwhile, which is started next
        report.append(f"  {str(error).splitlines()[0]}")
