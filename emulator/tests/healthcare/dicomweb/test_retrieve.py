"""WADO-RS, by dicomweb-client and by plain requests."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import imagecodecs
import numpy
import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom.pixels.processing import apply_color_lut

from gcp_dicom_emulator.healthcare.dicom import transcoding
from gcp_dicom_emulator.healthcare.instances import Instance, Instances
from gcp_dicom_emulator.healthcare.names import ResourcePath
from tests.healthcare.conftest import World, encoded, instance, sample

EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"


@pytest.fixture
def client(world: World) -> DICOMwebClient:
    return DICOMwebClient(f"{world.emulator.url}/v1/{world.store}/dicomWeb")


def get(world: World, path: str, accept: str = "*/*") -> requests.Response:
    url = f"{world.emulator.url}/v1/{world.store}/dicomWeb/{path}"
    return requests.get(url, headers={"Accept": accept}, timeout=120)


def put(world: World, data: bytes) -> tuple[tuple[str, str, str], str]:
    """Import a file; return its UIDs and its path."""
    world.fill(data)
    dataset = pydicom.dcmread(BytesIO(data), stop_before_pixels=True)
    uids = str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID)
    return uids, "studies/{}/series/{}/instances/{}".format(*uids)


def parts(answer: requests.Response) -> list[bytes]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("multipart/related")
    boundary = answer.headers["Content-Type"].rpartition("boundary=")[2].encode()
    *found, end = answer.content.split(b"--" + boundary)[1:]
    assert end == b"--\r\n"
    return [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in found]


def error(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["message"]


def test_stored_bytes_come_back(world: World) -> None:
    data = sample("JPEG2000.dcm")
    _, path = put(world, data)
    assert get(world, path, "application/dicom; transfer-syntax=*").content == data
    multipart = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    study = "/".join(path.split("/")[:2])
    for resource in (path, study, "/".join(path.split("/")[:4])):
        assert parts(get(world, resource, multipart)) == [data]


def test_explicit_little_endian_is_the_default(world: World) -> None:
    _, path = put(world, sample("JPEG2000.dcm"))
    (part,) = parts(get(world, path))
    dataset = pydicom.dcmread(BytesIO(part))
    assert dataset.file_meta.TransferSyntaxUID == EXPLICIT
    assert (dataset.pixel_array == pydicom.dcmread(BytesIO(sample("JPEG2000.dcm"))).pixel_array).all()
    single = get(world, path, f"application/dicom; transfer-syntax={EXPLICIT}")
    assert single.headers["Content-Type"] == "application/dicom"
    assert single.content == part


@pytest.mark.parametrize(
    ("accept", "syntax"),
    [
        (f"application/dicom; q=0.2; transfer-syntax={EXPLICIT}, application/dicom; transfer-syntax=*; q=0.9", "*"),
        (f"application/dicom; transfer-syntax=*; q=0, application/dicom; transfer-syntax={EXPLICIT}; q=0.001", EXPLICIT),
        (f"text/html, application/dicom; transfer-syntax=*;q=1.0, application/dicom; transfer-syntax={EXPLICIT}", "*"),
        (f"application/dicom; transfer-syntax={EXPLICIT}; q=0.5, */*; q=0", EXPLICIT),
    ],
)
def test_what_is_wanted_most_is_given(world: World, accept: str, syntax: str) -> None:
    data = sample("JPEG2000.dcm")
    _, path = put(world, data)
    found = pydicom.dcmread(BytesIO(get(world, path, accept).content)).file_meta.TransferSyntaxUID
    assert found == (pydicom.dcmread(BytesIO(data)).file_meta.TransferSyntaxUID if syntax == "*" else syntax)


@pytest.mark.parametrize("behind", ["", "/metadata", "/frames/1", "/rendered", "/bulkdata/7FE00010/0"])
def test_what_is_not_accepted_is_not_given(world: World, behind: str) -> None:
    _, path = put(world, sample("JPEG2000.dcm"))
    assert get(world, path + behind, "*/*; q=0").status_code == 406


@pytest.mark.parametrize("behind", ["", "/metadata", "/frames/1", "/rendered", "/frames/1/rendered", "/bulkdata/7FE00010/0"])
def test_parameters_that_would_change_the_answer_are_refused(world: World, behind: str) -> None:
    _, path = put(world, sample("JPEG2000.dcm"))
    code, message = error(get(world, f"{path}{behind}?accept=application/dicom&includefield=all"))
    assert (code, "accept, includefield" in message) == (501, True)
    assert get(world, f"{path}{behind}?key=a&prettyPrint=false").status_code == 200


def test_dicomweb_client_retrieves(world: World, client: DICOMwebClient) -> None:
    world.fill(*(instance("1.2", f"1.3.{n % 2}", f"1.4.{n}", PatientID="A") for n in range(5)))
    assert {found.SOPInstanceUID for found in client.retrieve_study("1.2")} == {f"1.4.{n}" for n in range(5)}
    assert {found.SOPInstanceUID for found in client.retrieve_series("1.2", "1.3.1")} == {"1.4.1", "1.4.3"}
    assert client.retrieve_instance("1.2", "1.3.1", "1.4.3").PatientID == "A"
    assert len(client.retrieve_study_metadata("1.2")) == 5
    assert len(client.retrieve_series_metadata("1.2", "1.3.0")) == 3


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "JPEG2000.dcm",
        "rtplan.dcm",
        "test-SR.dcm",
        "examples_ybr_color.dcm",
    ],
)
def test_metadata_is_that_of_the_file(world: World, client: DICOMwebClient, name: str) -> None:
    uids, path = put(world, sample(name))
    found = pydicom.Dataset.from_json(client.retrieve_instance_metadata(*uids), bulk_data_uri_handler=lambda _: b"")
    expected = pydicom.dcmread(BytesIO(sample(name)))
    assert found.keys() == expected.keys()
    for element in expected:
        if element.VR not in ("OB", "OW", "UN", "OB or OW", "SQ", "DS", "FD", "FL"):
            assert found[element.tag].value == element.value, element
    described = get(world, f"{path}/metadata").json()[0]
    if "PixelData" in expected:
        uri = described["7FE00010"]["BulkDataURI"]
        assert requests.get(uri, headers={"Accept": "application/octet-stream"}, timeout=120).content == expected.PixelData
        assert client.retrieve_bulkdata(uri) == [expected.PixelData]


def test_bulk_data_of_a_nested_element(world: World) -> None:
    inner = pydicom.Dataset()
    inner.EncapsulatedDocument = b"x" * 5000
    outer = instance("1.2", "1.3", "1.4")
    outer.ReferencedStudySequence = [pydicom.Dataset(), inner]
    _, path = put(world, encoded(outer))
    (described,) = get(world, f"{path}/metadata").json()
    uri = described["00081110"]["Value"][1]["00420011"]["BulkDataURI"]
    assert requests.get(uri, headers={"Accept": "application/octet-stream"}, timeout=120).content == b"x" * 5000
    assert error(get(world, f"{path}/bulkdata/00081110/3/00420011/0"))[0] == 404
    assert error(get(world, f"{path}/bulkdata/00100010/0"))[0] == 404
    for bad in ("no/0", "00081110/0/00420011/0", "00081110/x/00420011/0"):
        assert error(get(world, f"{path}/bulkdata/{bad}"))[0] == 400


def test_a_value_that_cannot_be_read_is_left_out(world: World) -> None:
    data = encoded(instance("1.2", "1.3", "1.4", PatientID="A", InstanceNumber=12)).replace(b"IS\x02\x0012", b"IS\x02\x00xy")
    _, path = put(world, data)
    (described,) = get(world, f"{path}/metadata").json()
    assert described["00100020"]["Value"] == ["A"]
    assert described.get("00200013", {}).get("Value") != [12]


def test_frames(world: World, client: DICOMwebClient) -> None:
    expected = numpy.arange(10 * 4 * 6, dtype="uint16").reshape(10, 4, 6)
    description: dict[str, Any] = {"Rows": 4, "Columns": 6, "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15}
    description |= {"SamplesPerPixel": 1, "PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME2"}
    dataset = instance("1.2", "1.3", "1.4", NumberOfFrames=10, **description)
    dataset.add_new("PixelData", "OW", expected.tobytes())
    uids, path = put(world, encoded(dataset))
    found = client.retrieve_instance_frames(*uids, [1, 3])
    assert [
        (numpy.frombuffer(frame, expected.dtype) == expected[n].ravel()).all() for frame, n in zip(found, (0, 2), strict=True)
    ]
    assert parts(get(world, f"{path}/frames/3,1")) == [expected[2].tobytes(), expected[0].tobytes()]
    code, message = error(get(world, f"{path}/frames/11"))
    assert (code, "10 frames" in message) == (404, True)
    for bad in ("0", "1,", "x", "-1"):
        assert error(get(world, f"{path}/frames/{bad}"))[0] == 400


def compressed(*frames: bytes) -> bytes:
    """An image of 64 by 64 pixels, whose frames are compressed by run length."""
    dataset = instance("1.2", "1.3", "1.4", NumberOfFrames=len(frames), Rows=64, Columns=64, BitsAllocated=8, BitsStored=8)
    dataset.HighBit, dataset.SamplesPerPixel, dataset.PixelRepresentation = 7, 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.RLELossless
    dataset.add_new("PixelData", "OB", pydicom.encaps.encapsulate(list(frames)))
    dataset["PixelData"].is_undefined_length = True
    return encoded(dataset)


def run_length(value: int) -> bytes:
    return struct.pack("<16L", 1, 64, *[0] * 14) + b"".join(bytes([129, value]) for _ in range(64 * 64 // 128))


def test_a_frame_is_decoded_without_the_others(world: World) -> None:
    _, path = put(world, compressed(run_length(1), b"broken", run_length(3)))
    assert parts(get(world, f"{path}/frames/3,1")) == [bytes([3] * 64 * 64), bytes([1] * 64 * 64)]
    assert error(get(world, f"{path}/frames/2"))[0] == 406
    code, message = error(get(world, f"{path}/frames/4"))
    assert (code, "3 frames" in message) == (404, True)


def test_a_bomb_of_frames_is_not_decompressed_as_a_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _, path = put(world, compressed(*[run_length(1)] * 3))
    monkeypatch.setattr(transcoding, "_MAX_PIXEL_BYTES", 2 * 64 * 64)
    code, message = error(get(world, path))
    assert (code, "decompressed, it is larger" in message) == (406, True)
    assert parts(get(world, f"{path}/frames/3")) == [bytes([1] * 64 * 64)]


def test_frames_as_they_are_stored(world: World) -> None:
    data = sample("JPEG2000.dcm")
    _, path = put(world, data)
    (raw,) = pydicom.encaps.generate_frames(pydicom.dcmread(BytesIO(data)).PixelData, number_of_frames=1)
    accept = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
    answer = get(world, f"{path}/frames/1", accept)
    assert parts(answer) == [raw]
    assert b"\r\nContent-Type: application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.91\r\n" in answer.content
    (picture,) = parts(get(world, f"{path}/frames/1", 'multipart/related; type="image/png"'))
    assert Image.open(BytesIO(picture)).format == "PNG"


def test_frames_in_jpeg_are_pixels_and_not_pictures(world: World) -> None:
    ramp = numpy.arange(256, dtype="uint8").reshape(16, 16)
    description: dict[str, Any] = {"Rows": 16, "Columns": 16, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    description |= {"SamplesPerPixel": 1, "PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME1"}
    dataset = instance("1.2", "1.3", "1.4", NumberOfFrames=2, WindowCenter=10, WindowWidth=5, **description)
    dataset.add_new("PixelData", "OB", ramp.tobytes() + ramp[::-1].tobytes())
    _, path = put(world, encoded(dataset))
    accept = 'multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50'
    answer = get(world, f"{path}/frames/2,1", accept)
    assert b"\r\nContent-Type: image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50\r\n" in answer.content
    for frame, expected in zip(parts(answer), (ramp[::-1], ramp), strict=True):
        assert abs(numpy.asarray(Image.open(BytesIO(frame))).astype(int) - expected).max() < 8
    (lossless,) = parts(get(world, f"{path}/frames/1", 'multipart/related; type="image/jp2"'))
    assert (imagecodecs.jpeg2k_decode(lossless) == ramp).all()


def test_frames_that_are_stored_in_jpeg_come_as_they_are(world: World) -> None:
    for name, media_type in (("SC_rgb_jpeg_dcmtk.dcm", "image/jpeg"), ("JPEG2000.dcm", "image/jp2")):
        data = sample(name)
        _, path = put(world, data)
        dataset = pydicom.dcmread(BytesIO(data))
        (raw,) = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)
        for syntax in ("*", dataset.file_meta.TransferSyntaxUID):
            assert get(world, f"{path}/frames/1", f"{media_type}; transfer-syntax={syntax}").content == raw


def test_pictures(world: World, client: DICOMwebClient) -> None:
    uids, path = put(world, sample("CT_small.dcm"))
    image = Image.open(BytesIO(client.retrieve_instance_rendered(*uids)))
    assert (image.format, image.size, image.mode) == ("JPEG", (128, 128), "L")
    png = get(world, f"{path}/frames/1/rendered?viewport=50,60", "image/png")
    image = Image.open(BytesIO(png.content))
    assert (image.format, image.size) == ("PNG", (50, 50))
    assert error(get(world, f"{path}/frames/2/rendered"))[0] == 404
    assert error(get(world, f"{path}/frames/1,2/rendered"))[0] == 400
    assert error(get(world, f"{path}/rendered?viewport=1,2,3,4"))[0] == 501
    assert error(get(world, f"{path}/rendered?quality=3"))[0] == 501


def test_a_palette_gives_colours(world: World) -> None:
    _, path = put(world, sample("examples_palette.dcm"))
    image = Image.open(BytesIO(get(world, f"{path}/rendered", "image/png").content))
    dataset = pydicom.dcmread(BytesIO(sample("examples_palette.dcm")))
    colours = apply_color_lut(dataset.pixel_array, dataset) >> 8
    assert image.mode == "RGB"
    assert (numpy.asarray(image) == colours).all()


def test_a_broken_number_of_frames_is_no_picture(world: World) -> None:
    data = encoded(instance("1.2", "1.3", "1.4", NumberOfFrames=12, Rows=2, Columns=2)).replace(b"IS\x02\x0012", b"IS\x02\x00xy")
    _, path = put(world, data)
    for resource in ("rendered", "frames/1", "frames/1/rendered"):
        assert error(get(world, f"{path}/{resource}"))[0] == 406


def test_the_first_alternative_that_can_be_given_is(world: World) -> None:
    data = sample("JPEG2000.dcm")
    _, path = put(world, data)
    accept = 'multipart/related; type="application/dicom"; transfer-syntax={}'
    for bad, code in (("1.2.3", 406), ("1.2.840.10008.1.2.4.201", 501)):
        assert parts(get(world, path, f"{accept.format(bad)}, {accept.format('*')}")) == [data]
        assert error(get(world, path, accept.format(bad)))[0] == code
    accept = accept.replace("dicom", "octet-stream")
    (raw,) = pydicom.encaps.generate_frames(pydicom.dcmread(BytesIO(data)).PixelData, number_of_frames=1)
    assert parts(get(world, f"{path}/frames/1", f"{accept.format('1.2.3')}, {accept.format('*')}")) == [raw]


def test_what_is_deleted_while_it_is_retrieved(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fill(instance("1.2", "1.3", "1.4"), instance("1.2", "1.3", "1.5"))
    below = Instances.below

    def find_and_delete(self: Instances, store: str, path: ResourcePath) -> list[Instance]:
        found = below(self, store, path)
        monkeypatch.undo()  # a deletion asks for them, too
        self.delete(store, ResourcePath("1.2", "1.3", "1.5"))
        return found

    monkeypatch.setattr(Instances, "below", find_and_delete)
    assert error(get(world, "studies/1.2/series/1.3/instances/1.5"))[0] == 404
    monkeypatch.undo()
    world.fill(instance("1.2", "1.3", "1.5"))
    monkeypatch.setattr(Instances, "below", find_and_delete)
    assert [found["00080018"]["Value"] for found in get(world, "studies/1.2/metadata").json()] == [["1.4"]]
    monkeypatch.undo()
    world.fill(instance("1.2", "1.3", "1.5"))
    monkeypatch.setattr(Instances, "below", find_and_delete)
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        get(world, "studies/1.2")


def test_what_is_no_image_has_no_picture(world: World) -> None:
    _, path = put(world, sample("rtplan.dcm"))
    for resource in ("rendered", "frames/1", "frames/1/rendered"):
        code, message = error(get(world, f"{path}/{resource}"))
        assert (code, "pixel" in message) == (406, True)


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("", "text/html"),
        ("", 'multipart/related; type="image/jpeg"'),
        ("/metadata", "application/dicom+xml"),
        ("/rendered", "video/mpeg"),
        ("/frames/1", 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.4.50'),
        ("/frames/1", 'multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.70'),
        ("/frames/1", 'multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50'),
        ("/frames/1", 'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.50'),
        ("/rendered", "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.57"),
        ("/rendered", 'multipart/related; type="image/jpeg"'),
        ("/metadata", 'multipart/related; type="application/dicom+json"'),
        ("/frames/1,1", "application/octet-stream"),
        ("/frames/1", "image/png; transfer-syntax=1.2.840.10008.1.2.4.50"),
    ],
)
def test_what_cannot_be_given_is_refused(world: World, path: str, accept: str) -> None:
    _, resource = put(world, sample("CT_small.dcm"))
    code, message = error(get(world, resource + path, accept))
    assert code == 406
    assert message


def broken() -> bytes:
    """An image whose JPEG 2000 code stream does not begin as one."""
    return sample("JPEG2000.dcm").replace(b"\xff\x4f\xff\x51", bytes(4))


def test_an_instance_that_cannot_be_converted(world: World) -> None:
    _, path = put(world, broken())
    code, message = error(get(world, path))
    assert (code, "transfer-syntax=*" in message) == (406, True)
    assert parts(get(world, path, 'multipart/related; type="application/dicom"; transfer-syntax=*')) == [broken()]
    assert error(get(world, f"{path}/rendered"))[0] == 406


def test_an_answer_that_cannot_be_whole_breaks_off(world: World) -> None:
    good = pydicom.dcmread(BytesIO(sample("JPEG2000.dcm")))
    good.SOPInstanceUID = "1.1"
    world.fill(encoded(good), broken())
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        get(world, f"studies/{good.StudyInstanceUID}")


@pytest.mark.parametrize(
    "path", ["studies/9.9", "studies/1.2/series/9.9/metadata", "studies/1.2/series/1.3/instances/1/rendered"]
)
def test_what_is_not_there(world: World, path: str) -> None:
    assert error(get(world, path))[0] == 404


def bomb(size: int, padding: int = 0, lie: bool = False) -> bytes:
    """A deflated data set, of which one private value inflates to so many bytes.

    :param padding: bytes before the transfer syntax.
    :param lie: whether the group's length leads behind the data set.
    """
    head = encoded(instance("1.2", "1.3", "1.4"))
    prefix = b"\x09\x00\x01\x10OB\x00\x00" + size.to_bytes(4, "little")
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    meta, _, elements = head.partition(b"\x08\x00\x16\x00UI")
    body = deflater.compress(b"\x08\x00\x16\x00UI" + elements + prefix)
    for _ in range(size >> 20):
        body += deflater.compress(bytes(1 << 20))
    body += deflater.flush()
    padded = pydicom.dcmread(BytesIO(meta + b"\x08\x00\x16\x00UI" + elements))
    padded.file_meta.FileMetaInformationVersion = b"\x00\x01" + bytes(padding)
    meta = encoded(padded).partition(b"\x08\x00\x16\x00UI")[0]
    meta = meta.replace(b"\x14\x00" + EXPLICIT.encode() + b"\x00", b"\x16\x00" + DEFLATED.encode())
    length = len(meta) - 128 - 4 - 12 + lie * len(body)
    return meta[:132] + b"\x02\x00\x00\x00UL\x04\x00" + length.to_bytes(4, "little") + meta[144:] + body


@pytest.mark.slow
@pytest.mark.parametrize("disguise", [{}, {"padding": 8000}, {"padding": 2 << 20}, {"lie": True}])
def test_a_deflate_bomb_is_refused_and_a_small_one_is_no_bomb(world: World, disguise: dict[str, Any]) -> None:
    _, path = put(world, bomb(1 << 20, **disguise))
    assert "00091001" in get(world, f"{path}/metadata").json()[0]
    world.put("bomb/1", bomb(300 << 20, **disguise))
    ended = world.end(world.start_import(world.uri("bomb/1")))
    assert ended["metadata"]["counter"] == {"failure": "1"}
    (entry,) = world.logs(ended)
    assert "256 MiB" in str(entry)


def test_a_gigabyte_tag_is_an_error_of_its_instance(world: World) -> None:
    data = encoded(instance("1.2", "1.3", "1.4")) + b"\x09\x00\x01\x10OB\x00\x00\x00\x00\x00\x40" + b"short"
    world.put("big/1", data)
    ended: dict[str, Any] = world.end(world.start_import(world.uri("big/1")))
    assert sum(int(number) for number in ended["metadata"]["counter"].values()) == 1
    answer = get(world, "studies/1.2/series/1.3/instances/1.4/metadata")
    assert answer.status_code in (200, 404)
