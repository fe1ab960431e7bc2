"""STOW-RS and deletes, by dicomweb-client, by Google's client, and by whatever is not a multipart message."""

from __future__ import annotations

import socket
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.healthcare.conftest import World, encoded, http_error, instance, sample, wait_for

JSON = "application/dicom+json"


@pytest.fixture
def client(world: World) -> DICOMwebClient:
    return DICOMwebClient(f"{world.emulator.url}/v1/{world.store}/dicomWeb")


def body(*parts: bytes, boundary: str = "b") -> bytes:
    joined = b"".join(b"--b\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts)
    return (joined + b"--b--\r\n").replace(b"--b", b"--" + boundary.encode())


def post(world: World, data: bytes, path: str = "", accept: str = JSON, kind: str | None = None) -> requests.Response:
    kind = kind or 'multipart/related; type="application/dicom"; boundary=b'
    url = f"{world.emulator.url}/v1/{world.store}/dicomWeb/studies{path}"
    return requests.post(url, data, headers={"Content-Type": kind, "Accept": accept}, timeout=120)


def stored(answer: dict[str, Any], tag: str = "00081199") -> list[dict[str, Any]]:
    return answer.get(tag, {}).get("Value", [])


def test_what_dicomweb_client_stores_is_there(world: World, client: DICOMwebClient) -> None:
    ct, mr = sample("CT_small.dcm"), sample("MR_small.dcm")
    client.store_instances([pydicom.dcmread(BytesIO(data)) for data in (ct, mr)])
    assert world.metrics()["instanceCount"] == "2"
    ended = world.end(world.start_export(gcsDestination={"uriPrefix": world.uri("out")}))
    assert ended["metadata"]["counter"] == {"success": "2"}


def test_bytes_are_kept_as_they_were_sent(world: World) -> None:
    data = sample("CT_small.dcm")
    answer = post(world, body(data))
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith(JSON)
    (item,) = stored(answer.json())
    dataset = pydicom.dcmread(BytesIO(data))
    url = f"{world.emulator.url}/v1/{world.store}/dicomWeb"
    path = f"studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}/instances/{dataset.SOPInstanceUID}"
    assert item["00081190"] == {"vr": "UR", "Value": [f"{url}/{path}"]}
    assert item["00081150"]["Value"] == [dataset.SOPClassUID]
    assert item["00081155"]["Value"] == [dataset.SOPInstanceUID]
    world.end(world.start_export(gcsDestination={"uriPrefix": world.uri("out")}))
    assert list(world.files("out/").values()) == [data]


def test_one_that_is_there_is_refused_and_stays(world: World) -> None:
    first = encoded(instance("1.2", "1.3", "1.4", PatientID="first"))
    post(world, body(first))
    answer = post(world, body(encoded(instance("1.2", "1.3", "1.4", PatientID="second"))))
    assert answer.status_code == 409
    (item,) = stored(answer.json(), "00081198")
    assert item["00081197"]["Value"] == [272]
    assert item["00090097"]["Value"] == ["already exists"]
    world.end(world.start_export(gcsDestination={"uriPrefix": world.uri("out")}))
    assert list(world.files("out/").values()) == [first]


def test_some_may_fail_and_the_others_are_stored(world: World) -> None:
    answer = post(world, body(b"no DICOM", encoded(instance("1.2", "1.3", "1.4"))))
    assert answer.status_code == 202
    assert len(stored(answer.json())) == 1
    (failed,) = stored(answer.json(), "00081198")
    assert "not a DICOM file" in failed["00090097"]["Value"][0]
    assert world.metrics()["instanceCount"] == "1"


def test_a_request_for_a_study_takes_only_its_instances(world: World) -> None:
    answer = post(world, body(encoded(instance("1.2", "1.3", "1.4")), encoded(instance("1.9", "1.3", "1.5"))), "/1.2")
    assert answer.status_code == 202
    assert stored(answer.json(), "00081198")[0]["00081155"]["Value"] == ["1.5"]
    assert world.metrics()["studyCount"] == "1"


def test_a_class_that_nobody_knows_has_no_value(world: World) -> None:
    dataset = instance("1.2", "1.3", "1.4")
    del dataset.SOPClassUID
    data = body(encoded(dataset))
    (item,) = stored(post(world, data).json())
    assert item["00081150"] == {"vr": "UI"}
    answer = post(world, data, accept="application/dicom+xml")
    assert '<DicomAttribute tag="00081150" vr="UI" keyword="ReferencedSOPClassUID"></DicomAttribute>' in answer.text


def test_xml_is_the_answer_unless_json_is_asked_for(world: World) -> None:
    answer = post(world, body(b"<&"), accept="*/*")
    assert answer.status_code == 409
    assert answer.headers["Content-Type"].startswith("application/dicom+xml")
    assert 'tag="00081197" vr="US" keyword="FailureReason"><Value number="1">272</Value>' in answer.text


def test_a_single_instance_needs_no_parts(world: World) -> None:
    assert post(world, sample("CT_small.dcm"), kind="application/dicom").status_code == 200
    assert world.metrics()["instanceCount"] == "1"


def test_googles_client_stores(world: World) -> None:
    path = f"{world.store}/dicomWeb/studies"
    request = world.stores.storeInstances(parent=world.store, dicomWebPath="studies", body={})
    assert path in request.uri
    request.body = body(sample("CT_small.dcm"))
    request.body_size = len(request.body)
    request.headers["Content-Type"] = 'multipart/related; type="application/dicom"; boundary=b'
    request.headers["Accept"] = JSON
    request.postproc = lambda response, content: content
    assert b"00081199" in request.execute()


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("application/json", 415),
        ("multipart/related", 400),
        ("multipart/related; boundary=other", 400),
        ("multipart/form-data; boundary=b", 415),
    ],
)
def test_other_bodies_are_refused(world: World, kind: str, code: int) -> None:
    answer = post(world, body(sample("CT_small.dcm")), kind=kind)
    assert answer.status_code == code, answer.text
    assert answer.json()["error"]["message"]


def test_a_part_of_another_type_is_refused(world: World) -> None:
    data = body(b"{}").replace(b"application/dicom", b"application/dicom+json")
    assert post(world, data).status_code == 415


@example(data=b"--b\r\n\x00\r\n\r\n")
@example(data=b"--b\nContent-Transfer-Encoding:b\n\n")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=300), st.lists(st.sampled_from([b"--b", b"--", b"\r\n", b"\n", b":", b"Content-Type: application/dicom", b"Content-Length: 9", b"Content-Transfer-Encoding: base64", b"x", b"\r\n\r\n"]), max_size=20).map(b"".join)))  # fmt: skip  # noqa: E501
def test_no_body_is_more_than_the_parser_can_take(world: World, data: bytes) -> None:
    answer = post(world, data)
    assert answer.status_code in (400, 409, 415, 501), answer.text
    assert world.metrics()["instanceCount"] == "0"


@pytest.mark.parametrize("fault", ["early end", "another type"])
def test_what_comes_before_a_part_that_cannot_be_taken_is_stored_and_told(world: World, fault: str) -> None:
    whole = body(encoded(instance("1.2", "1.3", "1.4")), sample("CT_small.dcm"), encoded(instance("1.2", "1.3", "1.5")))
    if fault == "early end":
        whole, text = whole[:-5000], "closing boundary"
    else:
        whole, text = whole[:300] + whole[300:].replace(b"application/dicom", b"text/plain", 1), "text/plain"
    answer = post(world, whole)
    assert answer.status_code == 202, answer.text
    assert [one["00081155"]["Value"] for one in stored(answer.json())] == [["1.4"]]
    (failed,) = stored(answer.json(), "00081198")
    assert text in failed["00090097"]["Value"][0]
    assert "behind it" in failed["00090097"]["Value"][0]
    assert world.metrics()["instanceCount"] == "1"


def test_a_body_that_ends_within_its_first_part_stores_nothing(world: World) -> None:
    answer = post(world, body(sample("CT_small.dcm"))[:-5000])
    assert answer.status_code == 400, answer.text
    assert world.metrics()["instanceCount"] == "0"


def test_an_answer_in_xml_is_xml_whatever_an_instance_says(world: World) -> None:
    data = encoded(instance("1.2", "1.3", "1.4")).replace(b"1.2.840.10008.5.1.4.1.1.2\x00", b"1.2.840.10008.5.1.4.1.1.\x01\x00")
    for code in (200, 409):
        answer = post(world, body(data), accept="application/dicom+xml")
        assert answer.status_code == code
        assert "ReferencedSOPClassUID" in {one.get("keyword") for one in ElementTree.fromstring(answer.text).iter()}


def test_what_was_sent_whole_before_the_connection_breaks_is_stored_and_nothing_else_stays(world: World) -> None:
    blobs = Path(world.emulator.status()["dataDirectory"]) / "blobs"
    before = sum(1 for _ in blobs.glob("*/*"))
    whole = body(encoded(instance("1.2", "1.3", "1.4")), bytes(1 << 20))
    address = urlsplit(world.emulator.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        head = f"POST /v1/{world.store}/dicomWeb/studies HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(whole)}\r\n"
        head += "Content-Type: multipart/related; boundary=b\r\n\r\n"
        connection.sendall(head.encode() + whole[:-5000])
        wait_for(lambda: sum(1 for _ in blobs.glob("*/*")) == before + 2, "the second part")
    wait_for(lambda: world.metrics()["instanceCount"] == "1", "the first instance")
    wait_for(lambda: sum(1 for _ in blobs.glob("*/*")) == before + 1, "cleaning")


@pytest.mark.parametrize(("path", "left"), [("studies/1.2", {"1.9"}), ("studies/1.2/series/1.3", {"1.5", "1.9"})])
def test_studies_and_series_are_deleted_by_an_operation(world: World, path: str, left: set[str]) -> None:
    world.fill(instance("1.2", "1.3", "1.4"), instance("1.2", "1.4", "1.5"), instance("1.8", "1.3", "1.9"))
    resource = world.stores.studies() if path.count("/") == 1 else world.stores.studies().series()
    ended = world.end(resource.delete(parent=world.store, dicomWebPath=path).execute())
    assert ended["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    assert int(ended["metadata"]["counter"]["success"]) == 3 - len(left)
    assert {found.instance for page in world.emulator.healthcare.instances.pages(world.store, None, 10) for found in page} == left


def test_an_instance_is_deleted_at_once(world: World, client: DICOMwebClient) -> None:
    world.fill(instance("1.2", "1.3", "1.4"), instance("1.2", "1.3", "1.5"))
    client.delete_instance("1.2", "1.3", "1.4")
    assert world.metrics()["instanceCount"] == "1"
    assert [found["00080018"]["Value"] for found in client.search_for_instances()] == [["1.5"]]
    request = world.stores.studies().series().instances()
    code, status, message = http_error(request.delete(parent=world.store, dicomWebPath="studies/1.2/series/1.3/instances/1.4"))
    assert (code, status) == (404, "NOT_FOUND")
    assert "1.4" in message
