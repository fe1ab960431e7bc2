"""dicomweb-client: STOW-RS, QIDO-RS, WADO-RS and deleting."""

from __future__ import annotations

from io import BytesIO

import numpy
import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from PIL import Image

from tests.conformance.checks import CT, CT_UIDS, MR, PROJECT, equal, new_id, raises, until_done

LOCATION = f"projects/{PROJECT}/locations/us-central1"
STUDY, SERIES, INSTANCE = CT_UIDS


def connect(url: str) -> str:
    return f"{url}/v1"


def new_client(base: str) -> DICOMwebClient:
    """A client of a new store that holds the two instances, stored by STOW-RS."""
    dataset_id = new_id("d")
    created = requests.post(f"{base}/{LOCATION}/datasets", params={"datasetId": dataset_id}, json={}, timeout=60).json()
    until_done(lambda: requests.get(f"{base}/{created['name']}", timeout=60).json())
    stores = f"{base}/{LOCATION}/datasets/{dataset_id}/dicomStores"
    requests.post(stores, params={"dicomStoreId": "s"}, json={}, timeout=60).raise_for_status()
    client = DICOMwebClient(f"{stores}/s/dicomWeb")
    client.store_instances([pydicom.dcmread(BytesIO(data)) for data in (CT, MR)])
    return client


def check_store(base: str) -> None:
    client = new_client(base)
    with raises(requests.HTTPError) as caught:
        client.store_instances([pydicom.dcmread(BytesIO(CT))])  # it is there already
    equal(caught.exception.response.status_code, 409)
    equal(len(client.search_for_instances()), 2)


def check_search(base: str) -> None:
    client = new_client(base)
    studies = client.search_for_studies(search_filters={"PatientID": "1CT1"})
    equal([study["0020000D"]["Value"] for study in studies], [[STUDY]])
    equal([series["00080060"]["Value"] for series in client.search_for_series(STUDY)], [["CT"]])
    [found] = client.search_for_instances(STUDY, SERIES, fields=["Rows"])
    equal((found["00080018"]["Value"], found["00280010"]["Value"]), ([INSTANCE], [128]))
    for filters in ({"PatientID": "nobody"}, {"StudyDate": "20040120"}, {"PatientID": "1CT1", "StudyDate": "20040120"}):
        equal(client.search_for_studies(search_filters=filters), [])
    for filters in ({"StudyDate": "20040119"}, {"StudyDate": "20040101-20040131"}, {"StudyInstanceUID": STUDY}):
        found_studies = client.search_for_studies(search_filters=filters)
        equal([study["0020000D"]["Value"] for study in found_studies], [[STUDY]])
    equal([series["0020000D"]["Value"] for series in client.search_for_series(search_filters={"Modality": "CT"})], [[STUDY]])
    equal(client.search_for_series(STUDY, search_filters={"Modality": "MR"}), [])


def check_paging(base: str) -> None:
    client = new_client(base)
    pages = [client.search_for_instances(limit=1, offset=n) for n in range(3)]
    equal([len(page) for page in pages], [1, 1, 0])
    equal(len({page[0]["00080018"]["Value"][0] for page in pages[:2]}), 2)


def check_fuzzy_search(base: str) -> None:
    client = new_client(base)
    found = client.search_for_studies(fuzzymatching=True, search_filters={"PatientName": "compressedsam"})
    equal(len(found), 2)


def check_retrieve(base: str) -> None:
    client = new_client(base)
    original = pydicom.dcmread(BytesIO(CT))
    equal(client.retrieve_instance(STUDY, SERIES, INSTANCE), original)
    equal(client.retrieve_series(STUDY, SERIES), [original])
    equal(client.retrieve_study(STUDY), [original])


def check_metadata(base: str) -> None:
    client = new_client(base)
    for metadata in (client.retrieve_study_metadata(STUDY), client.retrieve_series_metadata(STUDY, SERIES)):
        equal([each["00080018"]["Value"] for each in metadata], [[INSTANCE]])
    found = client.retrieve_instance_metadata(STUDY, SERIES, INSTANCE)
    equal(found["00100020"], {"vr": "LO", "Value": ["1CT1"]})
    pixels = pydicom.dcmread(BytesIO(CT)).PixelData
    equal(client.retrieve_bulkdata(found["7FE00010"]["BulkDataURI"]), [pixels])


def check_frames(base: str) -> None:
    client = new_client(base)
    [frame] = client.retrieve_instance_frames(STUDY, SERIES, INSTANCE, [1])
    equal(frame, pydicom.dcmread(BytesIO(CT)).PixelData)


def check_rendered(base: str) -> None:
    client = new_client(base)
    kinds = {"JPEG": "image/jpeg", "PNG": "image/png"}
    for kind, media_type in kinds.items():
        data = client.retrieve_instance_rendered(STUDY, SERIES, INSTANCE, media_types=(media_type,))
        picture = Image.open(BytesIO(data))
        equal((picture.format, picture.size), (kind, (128, 128)))
        equal(int(numpy.ptp(numpy.asarray(picture))) > 100, True)


def check_delete(base: str) -> None:
    client = new_client(base)
    client.delete_instance(STUDY, SERIES, INSTANCE)
    equal([found["00080060"]["Value"] for found in client.search_for_instances(fields=["Modality"])], [["MR"]])
    with raises(requests.HTTPError) as caught:
        client.retrieve_instance(STUDY, SERIES, INSTANCE)
    equal(caught.exception.response.status_code, 404)
