"""``dicomStores.deidentify`` and ``datasets.deidentify``."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gcp_dicom_emulator.healthcare.dicom.frames import clear_words, has_overlays_in_words
from gcp_dicom_emulator.healthcare.dicom.headers import Header, read_header
from gcp_dicom_emulator.healthcare.dicom.helpers import Helpers
from gcp_dicom_emulator.healthcare.dicom.reading import CannotRead, is_like_a_sequence, read_dataset
from gcp_dicom_emulator.healthcare.dicom.writing import write
from gcp_dicom_emulator.healthcare.instances import Instance, Instances
from gcp_dicom_emulator.healthcare.operations.deidentify_rules import Act, Rules, parse_config
from gcp_dicom_emulator.healthcare.operations.filters import check_filter, filtering
from gcp_dicom_emulator.healthcare.operations.operations import Run
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.rest import lenient_json
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.storage.objects import ObjectStore
from gcp_dicom_emulator.storage.uris import parse_gs_uri

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

_BATCH = 100
_TRANSFER_SYNTAX, _CHARACTER_SET = 0x00020010, 0x00080005
#: What names a study, a series or an instance, so that references stay whole.
_IDENTIFIERS = frozenset(
    {
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
        "MediaStorageSOPInstanceUID",
        "ReferencedSOPInstanceUID",
        "ReferencedSOPInstanceUIDInFile",
        "FailedSOPInstanceUIDList",
        "RequestedSOPInstanceUID",
        "SOPInstanceUIDOfConcatenationSource",
        "MultiFrameSourceSOPInstanceUID",
        "ReferencedColorPaletteInstanceUID",
    }
)
_PLACEHOLDERS: dict[str, Any] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), "ANONYMIZED"),
    **dict.fromkeys(("IS", "DS"), "0"),
    **dict.fromkeys(("FD", "FL", "SL", "SS", "SV", "UL", "US", "UV", "AT"), 0),
    **dict.fromkeys(("OB", "OD", "OF", "OL", "OV", "OW", "UN"), b"\0" * 8),
    "AS": "000D",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "UR": "urn:anonymized",
}


class Deidentifier:
    """Copies instances from one store to another, without what identifies a patient.

    :param state: where blobs are made.
    :param helpers: de-identify many instances.
    """

    def __init__(self, state: State, objects: ObjectStore, instances: Instances, helpers: Helpers) -> None:
        self._state = state
        self._objects = objects
        self._instances = instances
        self._helpers = helpers

    def check(self, body: dict[str, Any]) -> None:
        """Check a request.

        :raises ApiError: 400 for a request that the API refuses, 501 for what the emulator does not do.
        """
        if "config" in body and "gcsConfigUri" in body:
            raise ApiError(400, "Only one of config and gcsConfigUri can be set.")
        if "gcsConfigUri" in body and not parse_gs_uri(body["gcsConfigUri"])[1]:
            raise ApiError(400, "gcsConfigUri must name an object.")
        parse_config(body.get("config", {}))
        if "filterConfig" in body:
            check_filter(body["filterConfig"])

    def run(self, run: Run) -> None:
        """De-identify the stores that the request pairs; count and log what fails one by one."""
        config = self._config(run.request["body"])
        parse_config(config)
        with filtering(run, self._objects, self._instances) as filtered:
            run.pending = total = sum(self._instances.count(source, filtered) for source, _ in run.request["stores"])
            for source, destination in run.request["stores"]:
                for page in self._instances.pages(source, filtered, 1 if run.one_by_one else _BATCH):
                    run.step()
                    made = list(self._deidentified(run, source, page, config, total))
                    self._instances.add(destination, made, "DeidentifyDicomStore")
                    run.count(success=len(made))

    def _config(self, body: dict[str, Any]) -> dict[str, Any]:
        if "gcsConfigUri" not in body:
            return dict(body.get("config", {}))
        bucket, name = parse_gs_uri(body["gcsConfigUri"])
        config = lenient_json.loads(self._objects.get(bucket, name).path.read_bytes())
        if not isinstance(config, dict):
            raise ApiError(400, f"{body['gcsConfigUri']} is not a DeidentifyConfig.")
        return config

    def _deidentified(self, run: Run, store: str, page: list[Instance], config: dict[str, Any], total: int) -> Iterator[Instance]:
        jobs = [Job(instance.path, self._state.new_blob(), instance.uids) for instance in page]
        parts = self._helpers.share(deidentify_all, jobs, config, run.request["secret"], of=total)
        for instance, job, header in zip(page, jobs, chain.from_iterable(parts), strict=True):
            if isinstance(header, Header):
                yield Instance(
                    *header.uids,
                    job.target,
                    job.target.stat().st_size,
                    header.transfer_syntax,
                    instance.storage_class,
                    attributes=header.attributes,
                )
            else:
                job.target.unlink(missing_ok=True)
                run.count(failure=1)
                study, series, uid = instance.uids
                name = f"{store}/dicomWeb/studies/{study}/series/{series}/instances/{uid}"
                run.log("DeidentifyDicomLogEntry", header, resourceName=name)


class Job(NamedTuple):
    """An instance that is to be de-identified.

    :param uids: study, series and instance, as the store knows the source.
    """

    source: Path
    target: Path
    uids: tuple[str, ...]


def deidentify_all(jobs: Sequence[Job], config: dict[str, Any], secret: str) -> list[Header | str]:
    """Write de-identified instances; return their headers, and why where one cannot be made.

    :param config: a ``DeidentifyConfig``.
    """
    rules, new_uids = parse_config(config), NewUids(secret)
    made: list[Header | str] = []
    for job in jobs:
        try:
            deidentify(job, rules, new_uids)
            made.append(read_header(job.target))
        except Exception as error:
            # pydicom raises whatever a broken file makes it stumble over; the other instances go on.
            made.append(str(error) or type(error).__name__)
    return made


class NewUids:
    """New UIDs, always the same for an old one.

    :param secret: what keeps others from telling the old ones.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def __call__(self, uid: str) -> str:
        """Return the new UID; standard ones stay, for they name no patient's data."""
        from pydicom import uid as uids

        is_standard = uids.UID(uid).name != uid
        if not uid or is_standard:
            return uid
        digest = hmac.new(self._secret, uid.encode(), hashlib.sha256).digest()
        return f"2.25.{int.from_bytes(digest[:16])}"


def deidentify(job: Job, rules: Rules, new_uids: NewUids) -> None:
    """Write a de-identified instance.

    :raises Exception: it cannot be read whole, or cannot be written.
    """
    dataset = read_dataset(job.source, job.uids, open_bytes=True)
    if rules.basic_profile and has_overlays_in_words(dataset):
        clear_words(dataset)
    dataset.preamble = bytes(128)  # it may be the header of another format, which says anything
    _clean(dataset.file_meta, rules, new_uids)
    _clean(dataset, rules, new_uids)
    if rules.basic_profile:  # PS3.15, E.1.1 and E.2
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = "Basic Application Level Confidentiality Profile"
        dataset.LongitudinalTemporalInformationModified = "REMOVED"
    write(dataset, job.target)


def _clean(dataset: Dataset, rules: Rules, new_uids: NewUids) -> None:
    """Apply the rules to a data set, or to the item of a sequence. What is kept is not even decoded."""
    from pydicom import DataElement

    for raw in list(dataset.values()):
        vr = str(raw.VR)
        act = rules.act(raw.tag, vr)
        if raw.tag == _TRANSFER_SYNTAX:
            continue  # it says how the file is written
        if raw.tag in _identifiers() and act is not Act.DELETE:
            act = Act.KEEP if rules.keep_ids and vr == "UI" else Act.REGENERATE
        if act is Act.DELETE or (raw.tag == _CHARACTER_SET and act is Act.RESET):
            del dataset[raw.tag]  # there is no dummy of a character set
        elif act is Act.EMPTY:
            dataset[raw.tag] = DataElement(raw.tag, vr, [] if vr == "SQ" else None)
        elif vr == "SQ":
            for item in dataset[raw.tag].value:
                _clean(item, rules.below(act), new_uids)
        elif act in (Act.RESET, Act.REGENERATE):
            value = [new_uids(uid) for uid in _uids(dataset[raw.tag])] if vr == "UI" else _PLACEHOLDERS[vr]
            dataset[raw.tag] = DataElement(raw.tag, vr, value)
        elif is_like_a_sequence(raw.tag, vr, raw.value):
            raise CannotRead(f"{raw.tag} begins as a sequence does and cannot be read as one; what is in it is not known")


def _uids(element: DataElement) -> list[str]:
    return [str(uid) for uid in (element.value if element.VM > 1 else [element.value or ""])]


@cache
def _identifiers() -> frozenset[int]:
    from pydicom import datadict

    return frozenset(tag for keyword in _IDENTIFIERS if (tag := datadict.tag_for_keyword(keyword)) is not None)
