"""QIDO-RS, by dicomweb-client and by plain requests."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from dicomweb_client.api import DICOMwebClient

from gcp_dicom_emulator.healthcare.dicomweb.search import Search
from gcp_dicom_emulator.healthcare.names import ResourcePath
from tests.healthcare.conftest import World, encoded, instance


@pytest.fixture
def client(world: World) -> DICOMwebClient:
    return DICOMwebClient(f"{world.emulator.url}/v1/{world.store}/dicomWeb")


@pytest.fixture
def filled(world: World) -> World:
    """Two studies of two patients: one with a CT and an MR series, one with a CT series of three instances."""
    ann: dict[str, Any] = {"PatientName": "Foster^Ann", "PatientID": "A", "StudyDate": "20240131", "AccessionNumber": "7"}
    bob: dict[str, Any] = {"PatientName": "Öst_berg^Bob", "PatientID": "B", "StudyDate": "20250601", "SpecificCharacterSet": "ISO_IR 192"}  # fmt: skip  # noqa: E501
    world.fill(
        instance("1.1", "1.1.1", "1.1.1.1", Modality="CT", SeriesDescription="head", **ann),
        instance("1.1", "1.1.2", "1.1.2.1", Modality="MR", **ann),
        *(instance("1.2", "1.2.1", f"1.2.1.{n}", Modality="CT", InstanceNumber=n, Rows=512, **bob) for n in (1, 2, 3)),
    )
    return world


def search(world: World, path: str, accept: str = "application/dicom+json") -> requests.Response:
    url = f"{world.emulator.url}/v1/{world.store}/dicomWeb/{path}"
    return requests.get(url, headers={"Accept": accept}, timeout=120)


def values(results: list[dict[str, Any]], tag: str) -> list[Any]:
    return [result[tag]["Value"][0] for result in results]


STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"


def test_studies(filled: World, client: DICOMwebClient) -> None:
    first, second = client.search_for_studies()
    assert first[STUDY]["Value"] == ["1.1"]
    assert first["00100010"]["Value"] == [{"Alphabetic": "Foster^Ann"}]
    assert first["00080061"]["Value"] == ["CT", "MR"]
    assert (first["00201206"]["Value"], first["00201208"]["Value"]) == ([2], [2])
    assert second["00100010"]["Value"] == [{"Alphabetic": "Öst_berg^Bob"}]
    assert (second["00201206"]["Value"], second["00201208"]["Value"]) == ([1], [3])
    assert first["00081190"]["Value"] == [f"{filled.emulator.url}/v1/{filled.store}/dicomWeb/studies/1.1"]
    assert "00080060" not in first


def test_series_and_instances(filled: World, client: DICOMwebClient) -> None:
    assert values(client.search_for_series(), SERIES) == ["1.1.1", "1.1.2", "1.2.1"]
    assert values(client.search_for_series("1.1"), "00080060") == ["CT", "MR"]
    (of_study,) = client.search_for_series("1.2")
    assert of_study["00201209"]["Value"] == [3]
    assert values(client.search_for_instances(), INSTANCE) == ["1.1.1.1", "1.1.2.1", "1.2.1.1", "1.2.1.2", "1.2.1.3"]
    assert values(client.search_for_instances("1.1"), INSTANCE) == ["1.1.1.1", "1.1.2.1"]
    found = client.search_for_instances("1.2", "1.2.1")
    assert values(found, "00200013") == [1, 2, 3]
    assert values(found, "00280010") == [512] * 3
    assert found[0]["00081190"]["Value"][0].endswith("/studies/1.2/series/1.2.1/instances/1.2.1.1")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("PatientID=A", ["1.1"]),
        ("00100020=B", ["1.2"]),
        ("PatientID=a", []),
        ("PatientID=", ["1.1", "1.2"]),
        ("AccessionNumber=7", ["1.1"]),
        ("StudyInstanceUID=1.2", ["1.2"]),
        ("StudyInstanceUID=1.2,1.1,1.3", ["1.1", "1.2"]),
        ("StudyDate=20240131", ["1.1"]),
        ("StudyDate=20240201-", ["1.2"]),
        ("StudyDate=-20240201", ["1.1"]),
        ("StudyDate=20240131-20250601", ["1.1", "1.2"]),
        ("PatientName=foster^ann", ["1.1"]),
        ("PatientName=foster", []),
        ("PatientName=FOST&fuzzymatching=true", ["1.1"]),
        ("PatientName=ann fos&fuzzymatching=true", ["1.1"]),
        ("PatientName=nn&fuzzymatching=true", []),
        ("PatientName=Öst_&fuzzymatching=true", ["1.2"]),
        ("PatientName=%25&fuzzymatching=true", []),
        ("PatientID=A&StudyDate=20250601", []),
        ("PatientName=foster^ann^^", ["1.1"]),
        ("ModalitiesInStudy=MR", ["1.1"]),
        ("ModalitiesInStudy=CT", ["1.1", "1.2"]),
        ("00080061=PT", []),
        ("ModalitiesInStudy=PT,MR", ["1.1"]),
        ("PatientID=' OR 1=1 --", []),
        ("PatientID=%20A ", ["1.1"]),
        ("AccessionNumber=7%20", ["1.1"]),
        ("StudyDate=20240131%20", ["1.1"]),
        ("StudyDate=20240131 - 20250601", ["1.1", "1.2"]),
        ("StudyInstanceUID=1.2, 1.1%20", ["1.1", "1.2"]),
        ("ModalitiesInStudy=PT, MR%20", ["1.1"]),
        ("limit=1", ["1.1"]),
        ("limit=1&offset=1", ["1.2"]),
        ("offset=2", []),
        ("limit=0", []),
    ],
)
def test_studies_that_match(filled: World, query: str, found: list[str]) -> None:
    answer = search(filled, f"studies?{query}")
    assert answer.status_code == (200 if found else 204), answer.text
    assert (values(answer.json(), STUDY) if found else []) == found


def test_a_date_of_old_is_found_and_what_is_not_a_date_is_in_no_range(world: World) -> None:
    dated = {"1.1": "2024.01.31", "1.2": "unknown", "1.3": "2024", "1.4": ""}
    world.fill(*(_raw_date(study, date) for study, date in dated.items()))
    for query in ("20240131", "20240131-", "-20240131", "20240101-20240201"):
        assert values(search(world, f"studies?StudyDate={query}").json(), STUDY) == ["1.1"]
    assert search(world, "studies?StudyDate=20240201-").status_code == 204


def _raw_date(study: str, date: str) -> bytes:
    """An instance with a study date that pydicom would complain of."""
    data = encoded(instance(study, f"{study}.1", f"{study}.1.1", StudyDate="20000101"))
    padded = date.encode().ljust(len(date) + len(date) % 2)
    return data.replace(b"DA\x08\x0020000101", b"DA" + bytes([len(padded), 0]) + padded)


def test_levels_above_narrow_a_search_too(filled: World) -> None:
    assert values(search(filled, "series?PatientID=A&Modality=CT").json(), SERIES) == ["1.1.1"]
    assert values(search(filled, "instances?Modality=CT").json(), INSTANCE) == ["1.1.1.1", "1.2.1.1", "1.2.1.2", "1.2.1.3"]


def test_fields_can_be_included(filled: World) -> None:
    (found,) = search(filled, "studies?PatientID=A&includefield=SeriesDescription,00080060").json()
    assert found["0008103E"]["Value"] == ["head"]
    assert found["00080060"]["Value"] == ["CT"]
    (found,) = search(filled, "studies?PatientID=A&includefield=all").json()
    assert found["00080018"]["Value"] == ["1.1.1.1"]


@pytest.mark.parametrize(
    ("path", "code", "text"),
    [
        ("studies?Colour=red", 400, "Colour"),
        ("studies?Modality=CT", 400, "Modality"),
        ("studies?PatientSex=F", 400, "PatientSex"),
        ("studies?limit=5001", 400, "5000"),
        ("studies?limit=-1", 400, "limit"),
        ("studies?offset=1000001", 400, "1000000"),
        ("studies?StudyDate=2024", 400, "YYYYMMDD"),
        ("studies?StudyDate=-", 400, "YYYYMMDD"),
        ("studies?fuzzymatching=yes", 400, "fuzzymatching"),
        ("studies?PatientID=A&00100020=B", 400, "twice"),
        ("studies?includefield=", 400, "attribute"),
        ("studies?includefield=PatientID,", 400, "attribute"),
        ("studies?=x", 400, "attribute"),
        ("studies?limit=1&limit=2", 400, "limit is there twice"),
        ("studies?fuzzymatching=true&fuzzymatching=false", 400, "fuzzymatching is there twice"),
        ("studies?PatientID=A*", 501, "wildcard"),
        ("studies?PatientName=" + "a " * 1200 + "&fuzzymatching=true", 400, "1024"),
        ("studies?PatientName=" + "a" * 60_000 + "&fuzzymatching=true", 400, "1024"),
        ("studies?includefield=AvailableTransferSyntaxUID", 400, "AvailableTransferSyntaxUID"),
        ("studies?includefield=PatientID,PixelData", 400, "PixelData"),
        ("studies?includefield=12345678", 400, "12345678"),
        ("studies/1.x/series", 400, "UID"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(filled: World, path: str, code: int, text: str) -> None:
    answer = search(filled, path)
    assert answer.status_code == code, answer.text
    assert text in answer.json()["error"]["message"]


def test_other_media_types_are_refused(filled: World) -> None:
    assert search(filled, "studies", 'multipart/related; type="application/dicom+xml"').status_code == 406
    assert search(filled, "studies", "text/html, */*").status_code == 200


def test_a_store_that_is_not_there(world: World) -> None:
    answer = requests.get(f"{world.emulator.url}/v1/{world.dataset}/dicomStores/no/dicomWeb/studies", timeout=120)
    assert answer.status_code == 404


def test_a_deleted_store_is_forgotten(filled: World) -> None:
    filled.stores.delete(name=filled.store).execute()
    filled.stores.create(parent=filled.dataset, dicomStoreId="s", body={}).execute()
    assert search(filled, "studies").status_code == 204


@pytest.mark.parametrize("path", ["studies", "series?includefield=all", "instances?includefield=PatientID"])
def test_what_is_deleted_while_it_is_searched_for_is_left_out(filled: World, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Search._rows

    def find_and_delete(self: Search, query: Any) -> list[Any]:
        found = rows(self, query)
        filled.emulator.healthcare.instances.delete(filled.store, ResourcePath("1.2"))
        return found

    monkeypatch.setattr(Search, "_rows", find_and_delete)
    answer = search(filled, path)
    assert answer.status_code == 200, answer.text
    assert set(values(answer.json(), "0020000D")) == {"1.1"}


def test_numbers_that_json_does_not_have_are_text(world: World) -> None:
    world.fill(instance("1.2", "1.3", "1.4", PatientID="A", TubeAngle=float("nan"), SpiralPitchFactor=float("inf")))
    for path in ("instances?includefield=all", "studies/1.2/metadata"):
        answer = search(world, path)
        (found,) = json.loads(answer.text, parse_constant=pytest.fail)
        assert found["00100020"]["Value"] == ["A"]
        assert (found["00189303"]["Value"], found["00189311"]["Value"]) == (["NaN"], ["Infinity"])


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ("Wang^XiaoDong", True),
        ("王^小东", True),
        ("Wang^XiaoDong=王^小东", True),
        ("wang^xiaodong^^^=王^小东^=", True),
        ("=王^小东", True),
        ("王^小东=Wang^XiaoDong", False),
        ("Wang^XiaoDong=王^大东", False),
        ("Wang", False),
    ],
)
def test_case_13_names_match_in_any_of_their_groups(world: World, query: str, is_found: bool) -> None:
    world.fill(instance("1.2", "1.3", "1.4", SpecificCharacterSet="ISO_IR 192", PatientName="Wang^XiaoDong^^=王^小东"))
    assert search(world, f"studies?PatientName={query}").status_code == (200 if is_found else 204)


def test_case_13_a_name_without_letters_is_found(world: World) -> None:
    world.fill(instance("1.2", "1.3", "1.4", SpecificCharacterSet="ISO_IR 192", PatientName="=王^小东"))
    for query in ("王^小东", "=王^小东", "小东&fuzzymatching=true"):
        assert search(world, f"studies?PatientName={query}").status_code == 200
