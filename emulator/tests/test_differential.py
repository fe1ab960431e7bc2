"""A few files through everything: nothing that is not explained, also where dcmtk is not installed."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from tests import differential, synthetic


@pytest.mark.slow
def test_nothing_is_unexplained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("CT_small.dcm", "JPEG2000.dcm", "MR_truncated.dcm", "image_dfl.dcm", "reportsi.dcm", "rtplan_truncated.dcm"):
        shutil.copy(str(get_testdata_file(name)), tmp_path)
    for number in range(5):
        (tmp_path / f"{number}.dcm").write_bytes(synthetic.file(random.Random(number)))
    assert differential.main([str(tmp_path)]) == 0, capsys.readouterr().out


def test_what_is_lost_is_seen() -> None:
    ours = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "A"}]}, "00100020": {"vr": "LO", "Value": ["x"]}}
    theirs = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^"}]}, "00100020": {"vr": "LO", "Value": ["y"]}}
    found = {place: why for place, _, _, why in differential.compare(ours, theirs | {"00100030": {"vr": "DA"}})}
    assert found == {"00100010": "blanks and ^ at the end of a group mean nothing", "00100020": "", "00100030": ""}
