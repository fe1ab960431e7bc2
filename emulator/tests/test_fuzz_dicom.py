"""Files of DICOM that are broken in any way are read whole or refused: no other error, no hang, and nothing is lost without a word.

``make fuzz`` tries many more than ``make test``; ``FUZZ`` multiplies the number.
"""

from __future__ import annotations

import collections
import os
import random
import struct
import sys
import time
from pathlib import Path

import pytest
from pydicom.data import get_testdata_files

from gcp_dicom_emulator.healthcare.dicom import reading, writing
from gcp_dicom_emulator.healthcare.dicom.headers import NotDicom, read_header
from gcp_dicom_emulator.healthcare.dicom.reading import CannotRead, Element, File, read, read_dataset
from gcp_dicom_emulator.healthcare.dicom.rows import NoRow, make_rows
from gcp_dicom_emulator.healthcare.dicomweb.retrieve import metadata
from gcp_dicom_emulator.healthcare.instances import Instance

FUZZ = int(os.environ.get("FUZZ", "1"))
SEED = 1 if FUZZ == 1 else random.randrange(1 << 30)
FILES = 500 * FUZZ
#: Seconds within which a file of some kilobytes is read in all ways, on a machine that is busy.
PATIENCE = 20.0
#: What is broken.
SMALL = 20_000


def seeds() -> list[tuple[bytes, list[Element]]]:
    """Valid files, and all elements of each."""
    found = []
    for path in sorted(Path(str(name)) for name in get_testdata_files()):
        if path.is_file() and path.stat().st_size < SMALL:
            try:
                read_header(path)
                file = read(path)
            except (NotDicom, CannotRead):
                continue
            found.append((path.read_bytes(), list(everything(file.elements))))
    return found


def everything(elements: dict[int, Element]) -> list[Element]:
    """Elements with those of their items."""
    found = []
    for element in elements.values():
        found.append(element)
        for item in element.items or ():
            found += everything(item.elements)
    return found


def mutated(rng: random.Random, data: bytes, elements: list[Element]) -> bytes:
    """A file with one to three faults: flipped bits, bytes that are missing or too many, a wrong length, an end that is too early."""
    broken = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        place = rng.randrange(132, len(broken))
        kind = rng.randrange(6)
        if kind == 0:
            broken[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del broken[place : place + rng.choice((1, 2, 8, 200))]
        elif kind == 2:
            broken[place:place] = rng.choice((b"\0", b"\xff" * 4, rng.randbytes(8), b"\xfe\xff\x0d\xe0\0\0\0\0"))
        elif kind == 3 and elements:
            start = rng.choice(elements).start
            length = rng.choice((0, 1, 3, 0xFFFF, 0xFFFFFFFF, rng.randrange(1 << 16)))
            wide = rng.random() < 0.5 or length > 0xFFFF
            broken[start - (4 if wide else 2) : start] = struct.pack("<I" if wide else "<H", length)
        elif kind == 4:
            del broken[place:]
            break
        else:
            broken[place : place + 2] = rng.choice((b"  ", b"UN", b"SQ", b"??", b"ZZ", b"OB"))
        if len(broken) <= 133:
            break
    return bytes(broken)


def test_nothing_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, valid = random.Random(SEED), seeds()
    assert len(valid) > 40
    came, path = collections.Counter[str](), tmp_path / "file"
    for number in range(FILES):
        data = mutated(rng, *rng.choice(valid))
        path.write_bytes(data)
        begun = time.monotonic()
        try:
            came[examine(path, tmp_path / "written")] += 1
        except BaseException:
            (Path(os.environ.get("FUZZ_KEEP", str(tmp_path))) / f"{SEED}-{number}.dcm").write_bytes(data)
            raise
        assert time.monotonic() - begun < PATIENCE, f"seed {SEED}, file {number} takes too long"
    with capsys.disabled():
        sys.stdout.write(f"\n{FILES} mutated files: {dict(came)}\n")
    assert min(came["read"], came["refused"]) > FILES / 20


def examine(path: Path, target: Path) -> str:
    """Read a file in all ways that the emulator has, and say what came of it."""
    try:
        header = read_header(path)
    except NotDicom:
        return "refused"
    instance = Instance(*header.uids, path, path.stat().st_size, header.transfer_syntax, "STANDARD")
    assert metadata(path, "http://bulk")
    for flattened in (True, False):
        (line,) = make_rows([instance], flattened, None).lines
        assert not isinstance(line, NoRow), line
    try:
        file = read(path)
    except CannotRead:
        return "cut within its pixels"
    assert is_tiled(file) or is_there_twice(path), "an element is missing"
    writing.write(read_dataset(path, header.uids), target)
    again = read(target)
    assert values(again.elements) == values(file.elements)
    return "read"


def is_tiled(file: File) -> bool:
    """Return whether elements follow each other without a gap, from the first to the end or to nothing but zeros."""
    elements = [*file.elements.values()]
    ends = [element.end + (8 if element.fragments is not None else 0) for element in elements]
    gaps = {after.start - end for end, after in zip(ends, elements[1:], strict=False)}
    return gaps <= {8, 12} and (not ends or not bytes(elements[-1].data[ends[-1] :]).strip(b"\0"))


def is_there_twice(path: Path) -> bool:
    """Return whether an element that is not read is there a second time, with the same value."""
    data, elements = path.read_bytes(), everything(read(path).elements)
    return any(data.count(data[element.start - 8 : element.end]) > 1 for element in elements)


def values(elements: dict[int, Element]) -> list[object]:
    """What is to be the same once it was written: all but group lengths, and the bytes that pad values."""
    found: list[object] = []
    for tag in sorted(elements):
        element = elements[tag]
        if element.items is not None:
            found.append((tag, [values(item.elements) for item in element.items]))
        elif element.fragments is not None:
            found.append((tag, [element.data[start:end].rstrip(b"\0") for start, end in element.fragments[1:]]))
        elif tag & 0xFFFF:
            found.append((tag, element.value.rstrip(b" \0")))
    return found


def test_the_check_would_see_a_loss(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(seeds()[0][0])
    file = reading.read(path)
    assert is_tiled(file)
    del file.elements[list(file.elements)[3]]
    assert not is_tiled(file)
