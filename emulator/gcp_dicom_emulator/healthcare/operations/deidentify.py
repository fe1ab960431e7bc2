"""``dicomStores.deidentify`` and ``datasets.deidentify``."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.healthcare.dicom.headers import read_header
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
    from pydicom import DataElement, Dataset, FileDataset

_BATCH = 100
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
    }
)
_STANDARD_UIDS = "1.2.840.10008."
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
    """Copies instances from one store to another, without what identifies a patient."""

    def __init__(self, state: State, objects: ObjectStore, instances: Instances) -> None:
        self._state = state
        self._objects = objects
        self._instances = instances

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
        body = run.request["body"]
        rules = parse_config(self._config(body))
        new_uids = NewUids(run.request["secret"])
        with filtering(run, self._objects, self._instances) as filtered:
            run.pending = sum(self._instances.count(source, filtered) for source, _ in run.request["stores"])
            for source, destination in run.request["stores"]:
                for page in self._instances.pages(source, filtered, 1 if run.one_by_one else _BATCH):
                    run.step()
                    made = list(self._deidentified(run, source, page, rules, new_uids))
                    self._instances.add(destination, made)
                    run.count(success=len(made))

    def _config(self, body: dict[str, Any]) -> dict[str, Any]:
        if "gcsConfigUri" not in body:
            return dict(body.get("config", {}))
        bucket, name = parse_gs_uri(body["gcsConfigUri"])
        config = lenient_json.loads(self._objects.get(bucket, name).path.read_bytes())
        if not isinstance(config, dict):
            raise ApiError(400, f"{body['gcsConfigUri']} is no DeidentifyConfig.")
        return config

    def _deidentified(self, run: Run, store: str, page: list[Instance], rules: Rules, new_uids: NewUids) -> Iterator[Instance]:
        for instance in page:
            blob = self._state.new_blob()
            try:
                deidentify(instance.path, blob, rules, new_uids)
                header = read_header(blob)
            except Exception as error:
                # pydicom raises whatever a broken file makes it stumble over; the other instances go on.
                blob.unlink(missing_ok=True)
                run.count(failure=1)
                study, series, uid = instance.uids
                name = f"{store}/dicomWeb/studies/{study}/series/{series}/instances/{uid}"
                run.log("DeidentifyDicomLogEntry", str(error), resourceName=name)
            else:
                yield Instance(
                    *header.uids,
                    blob,
                    blob.stat().st_size,
                    header.transfer_syntax,
                    instance.storage_class,
                    attributes=header.attributes,
                )


class NewUids:
    """New UIDs, always the same for an old one.

    :param secret: what keeps others from telling the old ones.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def __call__(self, uid: str) -> str:
        """Return the new UID; standard ones stay, for they name no patient's data."""
        if not uid or uid.startswith(_STANDARD_UIDS):
            return uid
        digest = hmac.new(self._secret, uid.encode(), hashlib.sha256).digest()
        return f"2.25.{int.from_bytes(digest[:16])}"


def deidentify(source: Path, target: Path, rules: Rules, new_uids: NewUids) -> tuple[str, str, str]:
    """Write a de-identified instance; return its study, series and instance UIDs.

    :raises Exception: it cannot be read or written.
    """
    import pydicom
    from pydicom import config

    config.settings.reading_validation_mode = config.IGNORE
    dataset = pydicom.dcmread(source)
    dataset.preamble = bytes(128)  # it may be the header of another format, which says anything
    _clean(dataset.file_meta, rules, new_uids)
    _clean(dataset, rules, new_uids)
    if rules.basic_profile:
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = "Basic Application Level Confidentiality Profile"
    dataset.save_as(target, enforce_file_format=True)
    return _uids(dataset)


def _uids(dataset: FileDataset) -> tuple[str, str, str]:
    return str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID)


def _clean(dataset: Dataset, rules: Rules, new_uids: NewUids) -> None:
    """Apply the rules to a data set, or to the item of a sequence."""
    for tag in list(dataset.keys()):
        element = dataset[tag]
        act = rules.act(element)
        if element.keyword in _IDENTIFIERS and act is not Act.DELETE:
            act = Act.KEEP if rules.keep_ids else Act.REGENERATE
        if act is Act.DELETE:
            del dataset[tag]
        elif act is Act.EMPTY:
            element.value = [] if element.VR == "SQ" else None
        elif element.VR == "SQ":
            inner = Rules(lambda element: Act.KEEP, rules.keep_ids) if act is Act.KEEP else rules
            for item in element.value or []:
                _clean(item, inner, new_uids)
        else:
            _change(element, act, new_uids)


def _change(element: DataElement, act: Act, new_uids: NewUids) -> None:
    if element.VR == "UI" and act in (Act.REGENERATE, Act.RESET):
        old = list(element.value) if element.VM > 1 else [element.value or ""]
        element.value = [new_uids(str(uid)) for uid in old]
    elif act is Act.RESET:
        element.value = _PLACEHOLDERS.get(element.VR.split(" or ")[0])
