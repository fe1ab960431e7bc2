"""Waiting for what a service does: an operation of the Healthcare API, or a job of BigQuery. One loop for the worker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from airflow_dicom.exceptions import GoogleApiError
from airflow_dicom.polling import PollClock

if TYPE_CHECKING:
    from airflow_dicom.triggers.dicom import PollingTrigger


class Waitable(Protocol):
    """What runs at a service. Its clients are the worker's; a trigger has its own."""

    @property
    def name(self) -> str:
        """The name that the journal keeps."""

    @property
    def done(self) -> bool:
        """Whether it ended, in whatever way, when it was last seen."""

    def is_named(self, name: str) -> bool:
        """Tell whether a name that the journal keeps is this one's."""

    def poll(self) -> str:
        """Ask the service once; return what has changed, in words, or an empty text.

        :raises GoogleApiError: the service refused, or could not be reached.
        """

    def cancel(self) -> None:
        """Ask the service to stop it.

        :raises GoogleApiError: the service refused, or could not be reached.
        """

    def trigger(self, **waiting: Any) -> PollingTrigger:
        """Return the trigger that waits for it.

        :param waiting: what all triggers take: the connection, the pauses, the deadline.
        """


def wait(work: Waitable, clock: PollClock, log: Any) -> bool:
    """Wait in the worker until the work is done; ``False`` at the deadline. Transient errors never end the wait.

    :raises GoogleApiError: the service has refused several polls in a row.
    """
    pause = clock.first()
    while not work.done:
        if clock.expired:
            return False
        time.sleep(pause)
        try:
            changed = work.poll()
        except GoogleApiError as error:
            pause = clock.pause_after(error)
            log.warning("%s Trying again in %.0f s.", error, pause)
        else:
            pause = clock.answered()
            if changed:
                log.info("%s", changed)
    return True
