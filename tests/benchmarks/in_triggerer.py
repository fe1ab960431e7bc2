"""What the triggerer itself loads when it is measured: a trigger that does nothing, one that watches the loop, counted look-ups."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow.secrets import BaseSecretsBackend
from airflow.triggers.base import BaseTrigger, TriggerEvent

#: Seconds that the probe sleeps; what it sleeps longer is the lag of the loop.
_NAP = 0.01


class IdleTrigger(BaseTrigger):
    """Wait for ever: what Airflow itself needs for a trigger."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.IdleTrigger", {"number": self.number}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.Event().wait()
        yield TriggerEvent({})


class ProbeTrigger(BaseTrigger):
    """Write down each second how late the loop was: ``time, number of tasks on the loop, lags in milliseconds …``."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.ProbeTrigger", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while True:
            lags = []
            until = time.monotonic() + 1
            while (begun := time.monotonic()) < until:
                await asyncio.sleep(_NAP)
                lags.append((time.monotonic() - begun - _NAP) * 1000)
            _append("BENCHMARK_PROBE", f"{time.time():.3f} {len(asyncio.all_tasks())} {' '.join(f'{lag:.2f}' for lag in lags)}")
        yield TriggerEvent({})


def _append(variable: str, line: str) -> None:
    """Append a line to the file that an environment variable names."""
    with Path(os.environ[variable]).open("a") as file:
        file.write(f"{line}\n")


class CountedSecrets(BaseSecretsBackend):
    """Knows one connection, and writes down each look-up."""

    def get_conn_value(self, conn_id: str, team_name: str | None = None) -> str | None:
        _append("BENCHMARK_LOOK_UPS", conn_id)
        return os.environ["BENCHMARK_CONNECTION"] if conn_id == "google_cloud_default" else None

    def get_variable(self, key: str, team_name: str | None = None) -> str | None:
        return None
