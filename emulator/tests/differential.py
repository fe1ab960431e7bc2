"""Put a folder of DICOM files through everything, and print what differs from the files, and from what dcmtk makes of them.

    python -m tests.differential FOLDER [--all]

Each file goes into an emulator by import and by STOW-RS; metadata, BigQuery rows, exports as they are and transcoded, WADO-RS,
pictures and de-identified instances come out. What differs and is explained is shown with ``--all`` only. dcmtk's ``dcmdump`` and
``dcm2json`` (Debian: ``apt-get install dcmtk``) are asked as well where they are installed; the first line says whether.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import requests

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.client import Client
from gcp_dicom_emulator.healthcare.dicom.charsets import DEFAULT_CHARSET
from gcp_dicom_emulator.healthcare.dicom.dicom_json import inline, to_json
from gcp_dicom_emulator.healthcare.dicom.reading import CannotRead, Element, File, read
from gcp_dicom_emulator.healthcare.names import ResourcePath
from gcp_dicom_emulator.seeding import create_store

DATASET = "projects/demo/locations/l/datasets/d"
STORE, STOWED, CLEANED = (f"{DATASET}/dicomStores/{name}" for name in ("imported", "stowed", "cleaned"))
_DICOMDIR = b"1.2.840.10008.1.3.10"
_CUT_SHORT = re.compile(r"has \d+ bytes, and the file only \d+ more")
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


class Difference(NamedTuple):
    """Something that is not as it might be.

    :param step: what the file was put through.
    :param explanation: why that is right; ``""`` where nobody knows.
    """

    file: str
    step: str
    what: str
    explanation: str = ""


def main(arguments: list[str] | None = None) -> int:
    """Print the table; return 1 where something is not explained."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true", help="show what is explained as well")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    files = sorted(path for path in options.folder.rglob("*") if path.is_file() and path.open("rb").read(132)[128:] == b"DICM")
    peers = " and ".join(name for name in ("dcmdump", "dcm2json") if shutil.which(name)) or "nothing: dcmtk is not installed"
    print(f"{len(files)} files with a DICM prefix, compared with themselves and {peers}")
    found = list(differences(files, options.folder))
    shown = [one for one in found if options.all or not one.explanation]
    for one in shown:
        print(" | ".join((one.file, one.step, one.what, one.explanation or "NOT EXPLAINED")))
    unexplained = sum(not one.explanation for one in found)
    print(f"{len(found) - unexplained} differences are explained, {unexplained} are not")
    return 1 if unexplained else 0


def differences(files: list[Path], folder: Path) -> Iterator[Difference]:
    """Yield what differs, file by file."""
    with tempfile.TemporaryDirectory() as scratch, Emulator() as emulator, Client(emulator.url) as client:
        world = _World(emulator, client, Path(scratch))
        for path in files:
            name = str(path.relative_to(folder))
            yield from (one._replace(file=name) for one in _Examination(world, path).run())


class _World:
    """An emulator with what the operations need."""

    def __init__(self, emulator: Emulator, client: Client, scratch: Path) -> None:
        self.emulator, self.scratch, self._client = emulator, scratch, client
        for store in (STORE, STOWED):
            create_store(client, store)
        client.create("/storage/v1/b?project=demo", {"name": "bucket"})
        client.create("/bigquery/v2/projects/demo/datasets", {"datasetReference": {"datasetId": "d"}})

    def run(self, method: str, body: dict[str, Any]) -> tuple[int, list[str]]:
        """Run an operation; return how many instances succeeded and why others failed."""
        operation = self._client.call("POST", f"/v1/{STORE}:{method}", body)["name"]
        while not (found := self._client.call("GET", f"/v1/{operation}")).get("done"):
            time.sleep(0.005)
        entries = requests.get(found["metadata"]["logsUrl"], timeout=60).json()["entries"]
        reasons = [entry["jsonPayload"]["error"]["message"] for entry in entries]
        return int(found["metadata"].get("counter", {}).get("success", 0)), reasons or [str(found.get("error", ""))]

    def objects(self, prefix: str) -> list[bytes]:
        """Return the content of the objects below a prefix."""
        return [found.path.read_bytes() for found in self.emulator.storage.objects.list("bucket", prefix)]

    def web(self, method: str, store: str, path: str, accept: str, **more: Any) -> requests.Response:
        """Send a request of DICOMweb."""
        url = f"{self.emulator.url}/v1/{store}/dicomWeb/{path}"
        return requests.request(method, url, headers={"Accept": accept, **more.pop("headers", {})}, timeout=600, **more)

    def remove(self, study: str) -> None:
        for store in (STORE, STOWED):
            self.emulator.healthcare.instances.delete(store, ResourcePath(study))


class _Examination:
    """What one file is put through."""

    def __init__(self, world: _World, path: Path) -> None:
        self._world = world
        self._path = path
        self._data = path.read_bytes()
        self._prefix = uuid.uuid4().hex

    def run(self) -> Iterator[Difference]:
        self._world.emulator.storage.objects.put_bytes("bucket", f"{self._prefix}/in", self._data)
        success, reasons = self._world.run("import", {"gcsSource": {"uri": f"gs://bucket/{self._prefix}/in"}})
        if not success:
            yield Difference("", "import", reasons[0], self._why_not_imported(reasons[0]))
            return
        file = read(self._path, cut_pixels=True)
        study, series, instance = (file.uid(tag) for tag in (0x0020000D, 0x0020000E, 0x00080018))
        self._web_path = f"studies/{study}/series/{series}/instances/{instance}"
        try:
            whole = read(self._path)
        except CannotRead as error:
            yield Difference("", "reading", str(error), self._why_not_read(str(error)))
            whole = None
        yield from self._metadata(file)
        yield from self._rows()
        yield from self._as_it_is()
        for syntax in (EXPLICIT, IMPLICIT):
            yield from self._transcoded(syntax, whole)
        yield from self._rendered(file)
        yield from self._deidentified(whole)
        self._world.remove(study)

    def _why_not_imported(self, reason: str) -> str:
        if reason.startswith("invalid ") or _DICOMDIR in self._data:
            return "an instance has UIDs; a DICOMDIR has none"
        return self._why_not_read(reason)

    def _why_not_read(self, reason: str) -> str:
        if _CUT_SHORT.search(reason):
            return "the file is cut short"
        return "" if _dumps(self._path) else "dcmtk cannot read it either"

    def _metadata(self, file: File) -> Iterator[Difference]:
        answer = self._world.web("GET", STORE, f"{self._web_path}/metadata", "application/dicom+json")
        if answer.status_code != 200:
            yield Difference("", "metadata", answer.text)
            return
        missing = {f"{tag:08X}" for tag in file.elements if tag & 0xFFFF} - answer.json()[0].keys()
        if missing:
            yield Difference("", "metadata", f"{sorted(missing)} are missing")
        theirs = _dcm2json(self._path)
        if theirs is not None:
            ours = to_json(file.elements, DEFAULT_CHARSET, lambda element, address: inline(element))
            yield from (
                Difference("", "metadata and dcm2json", f"{place}: {a} and {b}", why)
                for place, a, b, why in compare(ours, theirs)
            )

    def _rows(self) -> Iterator[Difference]:
        for schema in ({}, {"schemaJson": {}}):
            destination = {"tableUri": "bq://demo.d.t", "writeDisposition": "WRITE_TRUNCATE", **schema}
            success, reasons = self._world.run("export", {"bigqueryDestination": destination})
            if not success:
                yield Difference("", f"rows {schema}", reasons[0])

    def _as_it_is(self) -> Iterator[Difference]:
        self._world.run("export", {"gcsDestination": {"uriPrefix": f"gs://bucket/{self._prefix}/as-is"}})
        if self._world.objects(f"{self._prefix}/as-is") != [self._data]:
            yield Difference("", "export as it is", "the bytes differ")
        headers = {"Content-Type": "application/dicom"}
        stored = self._world.web("POST", STOWED, "studies", "application/dicom+json", data=self._data, headers=headers)
        if stored.status_code != 200:
            yield Difference("", "STOW-RS", stored.text)
            return
        answer = self._world.web("GET", STOWED, self._web_path, "application/dicom; transfer-syntax=*")
        if answer.content != self._data:
            yield Difference("", "WADO-RS as it is", "the bytes differ")

    def _transcoded(self, syntax: str, whole: File | None) -> Iterator[Difference]:
        step = f"export as {syntax}"
        destination = {
            "uriPrefix": f"gs://bucket/{self._prefix}/{syntax}",
            "mimeType": f"application/dicom; transfer-syntax={syntax}",
        }
        success, reasons = self._world.run("export", {"gcsDestination": destination})
        if not success:
            yield Difference("", step, reasons[0], self._why_not_converted(reasons[0], whole))
            return
        yield from self._compared(step, self._world.objects(f"{self._prefix}/{syntax}")[0], whole)

    def _compared(self, step: str, data: bytes, whole: File | None) -> Iterator[Difference]:
        """Compare what came out with what went in, but for pixels, and what is said of them."""
        if whole is None:
            why = "it is stored in that transfer syntax, and comes as it is" if data == self._data else ""
            yield Difference("", step, "it came out, though the file is not whole", why)
            return
        path = self._world.scratch / "out.dcm"
        path.write_bytes(data)
        if not _dumps(path):
            yield Difference("", step, "dcmdump cannot read what came out")
        before, after = (dict(_values(file.elements)) for file in (whole, read(path)))
        for place in sorted(before.keys() | after.keys()):
            if before.get(place) != after.get(place) and not _is_of_pixels(place):
                yield Difference("", step, f"{place}: {before.get(place)!r:.80} and {after.get(place)!r:.80}")

    def _rendered(self, file: File) -> Iterator[Difference]:
        answer = self._world.web("GET", STORE, f"{self._web_path}/rendered", "image/png")
        if answer.status_code != 200:
            why = "it has no pixels" if 0x7FE00010 not in file.elements else ""
            reason = answer.json()["error"]["message"]
            yield Difference("", "rendered", reason, why or self._why_not_converted(reason, file))

    def _deidentified(self, whole: File | None) -> Iterator[Difference]:
        store = f"{CLEANED}-{uuid.uuid4().hex[:8]}"
        create_store(Client(self._world.emulator.url), store)
        config = {"dicom": {"filterProfile": "ATTRIBUTE_CONFIDENTIALITY_BASIC_PROFILE"}}
        success, reasons = self._world.run("deidentify", {"destinationStore": store, "config": config})
        if success != (whole is not None):
            yield Difference("", "de-identify", reasons[0])

    def _why_not_converted(self, reason: str, whole: File | None) -> str:
        if whole is None or "CannotRead" in reason:
            return "the file is not whole"
        if "invalid literal" in reason:
            return "what has to be a number is none"
        return "" if _decodes(self._path) else "pydicom by itself cannot decode the pixels either"


def _decodes(path: Path) -> bool:
    import pydicom

    try:
        return pydicom.dcmread(path).pixel_array is not None
    except Exception:  # decoders raise whatever they stumble over
        return False


def _values(elements: dict[int, Element], around: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all values but group lengths by their place, words in little endian, without what pads them."""
    for tag, element in elements.items():
        place = f"{around}{tag:08X}"
        if element.items is not None:
            yield place, len(element.items)
            for number, item in enumerate(element.items, 1):
                yield from _values(item.elements, f"{place}/{number}/")
        elif tag & 0xFFFF:
            described = to_json({tag: element}, DEFAULT_CHARSET, lambda element, address: inline(element))
            yield place, {key: value for key, value in described[f"{tag:08X}"].items() if key != "vr"}


#: Pixels, and what changes with them: their description, what lossy compression was, the offsets of frames.
_OF_PIXELS = re.compile(r"7FE000\d\d|00280004|00280006|00282110|00282112|00282114|002801(00|01|02)")


def _is_of_pixels(place: str) -> bool:
    return bool(_OF_PIXELS.fullmatch(place))


# dcmtk


def _dumps(path: Path) -> bool:
    """Return whether dcmdump reads a file; ``True`` where it is not installed."""
    if not shutil.which("dcmdump"):
        return True
    return subprocess.run(["dcmdump", "-q", str(path)], capture_output=True).returncode == 0


def _dcm2json(path: Path) -> dict[str, Any] | None:
    """Return what dcm2json makes of a file; ``None`` where it makes nothing, or is not installed."""
    if not shutil.which("dcm2json"):
        return None
    done = subprocess.run(["dcm2json", "-q", "-fc", "-ee", str(path)], capture_output=True)
    try:
        found: dict[str, Any] = json.loads(done.stdout, parse_constant=str)
    except ValueError:
        return None
    return found if done.returncode == 0 else None


def compare(ours: dict[str, Any], theirs: dict[str, Any], around: str = "") -> Iterator[tuple[str, Any, Any, str]]:
    """Yield where two data sets in DICOM JSON differ: the place, what each has, and why that is right, if it is."""
    for tag in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(tag), theirs.get(tag)
        if mine == other:
            continue
        if mine and other and mine["vr"] == other["vr"] == "SQ" and len(mine.get("Value", ())) == len(other.get("Value", ())):
            for number, (a, b) in enumerate(zip(mine.get("Value", ()), other.get("Value", ()), strict=True), 1):
                yield from compare(a, b, f"{around}{tag}/{number}/")
        elif explanation := _explained(tag, mine or {}, other or {}):
            yield f"{around}{tag}", mine, other, explanation
        else:
            yield f"{around}{tag}", _short(mine), _short(other), ""


def _short(described: Any) -> str:
    text = json.dumps(described, ensure_ascii=False)
    return text if len(text) < 100 else f"{text[:100]}…"


def _explained(tag: str, mine: dict[str, Any], other: dict[str, Any]) -> str:
    """Say why two descriptions of an element differ rightly; ``""`` where they do not."""
    vr, values, others = mine.get("vr"), mine.get("Value", []), other.get("Value", [])
    if tag.endswith("0000") and not mine:
        return "group lengths are retired, PS3.18 has none of them"
    if tag == "00080005" and others == ["ISO_IR 192"]:
        return "dcm2json says which characters its JSON has, not which the file has"
    if tag == "7FE00010":
        return "dcm2json writes pixels in other ways"
    if {vr, other.get("vr")} & {"UN"} and vr != other.get("vr"):
        return "one knows a private or retired element that the other does not know"
    if vr == other.get("vr") and not values and not any(others):
        return "there are nothing but empty values"
    if vr == other.get("vr") and len(values) == len(others):
        pairs = [(a, b) for a, b in zip(values, others, strict=True) if a != b]
        if vr == "FL" and all(_same_float(a, b) for a, b in pairs):
            return "the same number in 32 bits"
        if vr == "FD" and all(math.isclose(float(a), float(b), rel_tol=1e-15) for a, b in pairs):
            return "dcm2json's last digits of a double are not exact"
        if vr in ("DS", "IS", "SV", "UV", "FD") and all(_same_number(a, b) for a, b in pairs):
            return "the same number, as text where a double does not hold it"
        if vr == "PN" and all(_same_name(a, b) for a, b in pairs):
            return "blanks and ^ at the end of a group mean nothing"
        if all(isinstance(a, str) and isinstance(b, str) and a.strip() == b.strip() for a, b in pairs):
            return "blanks around the value mean nothing"
    return ""


def _same_number(a: Any, b: Any) -> bool:
    try:
        return float(a) == float(b) or str(float(a)) == str(float(b))
    except (TypeError, ValueError):
        return False


def _same_float(a: Any, b: Any) -> bool:
    try:
        return struct.pack("<f", float(a)) == struct.pack("<f", float(b))
    except (TypeError, ValueError, OverflowError):
        return False


def _same_name(a: Any, b: Any) -> bool:
    def plain(name: Any) -> dict[str, str]:
        return {group: text.rstrip("^ ") for group, text in (name or {}).items() if text.rstrip("^ ")}

    return plain(a) == plain(b)


if __name__ == "__main__":
    sys.exit(main())
