"""What pytest has where this package and the emulator are installed: the emulator's fixtures, with a connection for Airflow.

Loading this plugin imports neither Airflow nor the emulator; a fixture does, when a test asks for it.
"""

from __future__ import annotations

import pytest

from airflow_dicom.hooks.endpoint import EMULATOR_CONNECTION


@pytest.fixture(autouse=True)
def airflow_connection_to_dicom_emulator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give Airflow an anonymous connection in the tests that use ``dicom_emulator``, by themselves or through another fixture."""
    if "dicom_emulator" in request.fixturenames:
        for name, value in EMULATOR_CONNECTION.items():
            monkeypatch.setenv(name, value)
