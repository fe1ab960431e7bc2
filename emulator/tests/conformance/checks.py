"""What the checks of all suites use."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import TestCase

from pydicom.data import get_testdata_file

#: ``equal(found, expected)`` and ``raises(error)``; their failures say what was found.
equal = TestCase().assertEqual
raises = TestCase().assertRaises

PROJECT = "demo"
#: Files of pydicom's: two instances of as many studies, and their study, series and instance UIDs.
SAMPLES = [Path(str(get_testdata_file(name))) for name in ("CT_small.dcm", "MR_small.dcm")]
CT, MR = (path.read_bytes() for path in SAMPLES)
CT_UIDS = (
    "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322",
    "1.3.6.1.4.1.5962.1.3.1.1.20040119072730.12322",
    "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322",
)

_NUMBERS = itertools.count(1)


def new_id(prefix: str) -> str:
    """Return an id that no check has used."""
    return f"{prefix}{next(_NUMBERS)}"


def until_done(get: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return an operation once it is done.

    :param get: asks for it.
    :raises TimeoutError: after a minute.
    """
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (operation := get()).get("done"):
            return operation
        time.sleep(0.02)
    raise TimeoutError("the operation does not end")
