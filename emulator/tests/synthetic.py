"""Data sets of all value representations, to be put into files and compared: ``python -m tests.synthetic FOLDER COUNT`` writes them.

With ``python -m tests.differential FOLDER`` they go through everything, and through dcmtk.
"""

from __future__ import annotations

import random
import string
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from pydicom.datadict import DicomDictionary

from tests.healthcare import dicom_bytes as b


def data_set(rng: random.Random, depth: int = 0) -> list[bytes]:
    """Return elements, encoded, by tag."""
    found: dict[int, bytes] = {}
    for vr in rng.sample(_VRS, rng.randint(3, 12)):
        if vr == "SQ" and depth > 2:
            continue
        tag = rng.choice(_TAGS[vr])
        if vr == "SQ":
            found[tag] = b.sequence(tag, *(b"".join(data_set(rng, depth + 1)) for _ in range(rng.randint(0, 2))))
        else:
            found[tag] = b.element(tag, vr, _value(rng, vr))
    return [found[tag] for tag in sorted(found)]


def file(rng: random.Random) -> bytes:
    """Return a file with such a data set, in UTF-8."""
    uids = b.uids("1.2", "1.2.3", f"1.2.3.{rng.randrange(1 << 60)}")
    return b.part10([*uids, b.element(0x00080005, "CS", "ISO_IR 192"), *data_set(rng)])


def _value(rng: random.Random, vr: str) -> bytes:
    if rng.random() < 0.1:
        return b""
    if kind := _BINARY.get(vr):
        return b"".join(struct.pack(f"<{kind[0]}", kind[1](rng)) for _ in range(rng.randint(1, 4)))
    single = vr in ("LT", "ST", "UR", "UT")
    values = [_TEXTS[vr](rng) if rng.random() < 0.9 else "" for _ in range(1 if single else rng.choice((1, 1, 1, 2, 3)))]
    return "\\".join(values).encode()


def _integer(low: int, high: int) -> Callable[[random.Random], int]:
    return lambda rng: rng.choice((low, high, 0, rng.randint(low, high)))


def _float(rng: random.Random) -> float:
    return rng.choice((0.0, -0.0, 1.5, rng.uniform(-1e6, 1e6), rng.uniform(-1e-6, 1e-6), 1e30))


_BINARY: dict[str, tuple[str, Callable[[random.Random], float]]] = {
    "AT": ("I", _integer(0, 2**32 - 1)),
    "FD": ("d", _float),
    "FL": ("f", _float),
    "SL": ("i", _integer(-(2**31), 2**31 - 1)),
    "SS": ("h", _integer(-(2**15), 2**15 - 1)),
    "SV": ("q", _integer(-(2**63), 2**63 - 1)),
    "UL": ("I", _integer(0, 2**32 - 1)),
    "US": ("H", _integer(0, 2**16 - 1)),
    "UV": ("Q", _integer(0, 2**64 - 1)),
    **dict.fromkeys(("OB", "OW"), ("H", _integer(0, 2**16 - 1))),
    **dict.fromkeys(("OF", "OL"), ("I", _integer(0, 2**32 - 1))),
    **dict.fromkeys(("OD", "OV"), ("Q", _integer(0, 2**64 - 1))),
}


def _text(rng: random.Random, letters: str, most: int) -> str:
    return "".join(rng.choice(letters) for _ in range(rng.randint(1, most)))


def _name(rng: random.Random) -> str:
    groups = (
        "^".join(_text(rng, letters, 6) for _ in range(rng.randint(1, 5))) for letters in (string.ascii_letters, "王张", "かな")
    )
    return "=".join(group if rng.random() < 0.7 else "" for group in list(groups)[: rng.randint(1, 3)])


_WORDS = string.ascii_letters + string.digits + " äßøあ語\"'<&{}[]/"
_TEXTS: dict[str, Callable[[random.Random], str]] = {
    "AE": lambda rng: _text(rng, string.ascii_uppercase + " _", 16),
    "AS": lambda rng: f"{rng.randrange(1000):03}{rng.choice('DWMY')}",
    "CS": lambda rng: _text(rng, string.ascii_uppercase + string.digits + "_ ", 16),
    "DA": lambda rng: f"{rng.randint(1900, 2030)}{rng.randint(1, 12):02}{rng.randint(1, 28):02}",
    "DS": lambda rng: rng.choice(
        (f"{_float(rng):.6g}", f" {rng.randint(-999, 999)} ", "+1.50", ".5", "1E-3", "123456789012.345", "-0")
    ),
    "DT": lambda rng: rng.choice(("2020", "20200229120000.123456+0100", "202012")),
    "IS": lambda rng: rng.choice(("0", "+7", "-2147483648", "007", str(rng.randint(-(10**6), 10**6)))),
    "LO": lambda rng: _text(rng, _WORDS, 20),
    "LT": lambda rng: _text(rng, _WORDS + "\\\n", 60),
    "PN": _name,
    "SH": lambda rng: _text(rng, _WORDS, 12),
    "ST": lambda rng: _text(rng, _WORDS + "\\\n", 60),
    "TM": lambda rng: rng.choice(("12", "1259", "235959.999999", "000000")),
    "UC": lambda rng: _text(rng, _WORDS, 60),
    "UI": lambda rng: f"1.2.{rng.randrange(10**9)}",
    "UR": lambda _: "https://example.org/a?b=c&d=%20e",
    "UT": lambda rng: _text(rng, _WORDS + "\\\n", 200),
}

_VRS = sorted({*_BINARY, *_TEXTS, "SQ"})
#: Public tags by value representation; what says how others are to be read, and pixels, is not for chance.
_TAGS = {
    vr: [
        tag
        for tag, (dictionary_vr, _, _, retired, _) in sorted(DicomDictionary.items())
        if dictionary_vr == vr and not retired and 0x00080016 < tag < 0x54000000 and tag not in (b.INSTANCE, b.STUDY, b.SERIES)
    ]
    for vr in _VRS
}

if __name__ == "__main__":
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:04}.dcm").write_bytes(file(random.Random(number)))
