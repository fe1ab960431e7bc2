"""Orthanc with its DICOMweb plugin, which stores studies in the emulator, finds them there and gets them back."""

from __future__ import annotations

import atexit
import json
import socket
import subprocess
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import requests
from pydicom.data import get_testdata_file

from tests.conformance.checks import PROJECT, equal, new_id, until_done

PLUGINS = "/usr/share/orthanc/plugins"
LOCATION = f"projects/{PROJECT}/locations/us-central1"
#: Of UIDs that pydicom makes.
ROOT = "1.2.826.0.1.3680043.8.498"
#: Files of pydicom's of several transfer syntaxes, each an instance of a study of its own.
FILES = [
    "CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_expb.dcm",
    "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "JPEG2000.dcm", "SC_rgb_rle.dcm", "SC_rgb_jpeg_dcmtk.dcm",
    "rtplan.dcm", "rtdose.dcm", "reportsi.dcm", "nested_priv_SQ.dcm", "image_dfl.dcm", "ExplVR_BigEnd.dcm",
    "JPGExtended.dcm", "JPEG-lossy.dcm", "waveform_ecg.dcm", "examples_palette.dcm", "examples_rgb_color.dcm", "test-SR.dcm",
    "GDCMJ2K_TextGBR.dcm", "SC_jpeg_no_color_transform.dcm",
]  # fmt: skip


class Orthanc:
    """An Orthanc that holds the files, and knows a store of the emulator as ``emulator``.

    :param url: where the emulator is.
    """

    def __init__(self, url: str) -> None:
        dataset_id = new_id("orthanc-")
        created = requests.post(f"{url}/v1/{LOCATION}/datasets", params={"datasetId": dataset_id}, json={}, timeout=60).json()
        until_done(lambda: requests.get(f"{url}/v1/{created['name']}", timeout=60).json())
        stores = f"{url}/v1/{LOCATION}/datasets/{dataset_id}/dicomStores"
        requests.post(stores, params={"dicomStoreId": "s"}, json={}, timeout=60).raise_for_status()
        folder = Path(tempfile.mkdtemp(prefix="orthanc-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        configuration = {
            "StorageDirectory": str(folder), "IndexDirectory": str(folder), "HttpPort": port, "DicomServerEnabled": False,
            "Plugins": [PLUGINS], "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
            "DicomWeb": {"Enable": True, "Servers": {"emulator": {"Url": f"{stores}/s/dicomWeb/", "HasDelete": False}}},
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        process = subprocess.Popen(["Orthanc", folder / "orthanc.json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        atexit.register(process.terminate)
        self.url = f"http://127.0.0.1:{port}"
        self._wait()
        self.files = {}
        for name in FILES:
            data = _in_a_study_of_its_own(name)
            answer = requests.post(f"{self.url}/instances", data=data, timeout=60)
            if answer.ok:  # what Orthanc does not take is not its to store
                self.files[answer.json()["ParentStudy"]] = data

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                requests.get(f"{self.url}/system", timeout=5).raise_for_status()
                return
            except requests.RequestException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def ask(self, method: str, **body: Any) -> Any:
        """Have Orthanc ask the emulator."""
        answer = requests.post(f"{self.url}/dicom-web/servers/emulator/{method}", json=body, timeout=120)
        answer.raise_for_status()
        return answer.json()


def _in_a_study_of_its_own(name: str) -> bytes:
    file = BytesIO()
    dataset = pydicom.dcmread(str(get_testdata_file(name)))
    # A study of its own, so that each is stored, found and got by itself.
    number = FILES.index(name) + 1
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = (
        f"{ROOT}.{number}.{part}" for part in (1, 2, 3)
    )
    dataset.save_as(file)
    return file.getvalue()


def connect(url: str) -> Orthanc:
    return Orthanc(url)


def check_stores_every_study(orthanc: Orthanc) -> None:
    equal(len(orthanc.files) >= 12, True)
    for study in orthanc.files:
        orthanc.ask("stow", Resources=[study], Synchronous=True)


def check_finds_every_study(orthanc: Orthanc) -> None:
    found = {study["0020000D"]["Value"] for study in orthanc.ask("qido", Uri="/studies", Arguments={})}
    equal(found, {pydicom.dcmread(BytesIO(data)).StudyInstanceUID for data in orthanc.files.values()})


def check_gets_every_study(orthanc: Orthanc) -> None:
    for study, data in orthanc.files.items():
        requests.delete(f"{orthanc.url}/studies/{study}", timeout=60).raise_for_status()
        uid = pydicom.dcmread(BytesIO(data)).StudyInstanceUID
        orthanc.ask("retrieve", Resources=[{"Study": uid}], Synchronous=True)
        [instance] = requests.get(f"{orthanc.url}/studies/{study}/instances", timeout=60).json()
        got = requests.get(f"{orthanc.url}/instances/{instance['ID']}/file", timeout=60).content
        equal(pydicom.dcmread(BytesIO(got)).SOPInstanceUID, pydicom.dcmread(BytesIO(data)).SOPInstanceUID)
