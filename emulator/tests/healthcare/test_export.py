"""``dicomStores.export``, to Cloud Storage and to BigQuery."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from gcp_dicom_emulator.healthcare.dicom import jpeg
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.storage.objects import ObjectStore
from tests.healthcare.conftest import World, encoded, http_error, instance, sample

DICOM = "application/dicom; transfer-syntax="
FILES = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm")


def path_of(data: bytes) -> str:
    dataset = pydicom.dcmread(BytesIO(data))
    return f"{dataset.StudyInstanceUID}/{dataset.SeriesInstanceUID}/{dataset.SOPInstanceUID}.dcm"


def exported(world: World, **body: Any) -> dict[str, bytes]:
    """Export to Cloud Storage; return the objects by what comes after the prefix."""
    ended = world.end(world.start_export(gcsDestination={"uriPrefix": world.uri("out/")}, **body))
    assert "response" in ended, ended
    files = {name.removeprefix("out/"): data for name, data in world.files("out/").items()}
    assert ended["metadata"]["counter"] == ({"success": str(len(files))} if files else {})
    return files


# Cloud Storage


def test_files_come_out_as_they_went_in(versioned: World) -> None:
    files = {path_of(sample(name)): sample(name) for name in FILES}
    versioned.fill(*files.values())
    assert exported(versioned) == files


@pytest.mark.parametrize(
    ("prefix", "before"), [("", ""), ("/", ""), ("/dir", "dir/"), ("/dir/", "dir/"), ("/a/b", "a/b/"), ("/a//b", "a//b/")]
)
def test_prefixes(world: World, prefix: str, before: str) -> None:
    world.fill(instance("1.2", "1.2.3", "1"))
    world.end(world.start_export(gcsDestination={"uriPrefix": f"gs://{world.bucket}{prefix}"}))
    assert list(world.files()) == [f"{before}1.2/1.2.3/1.dcm"]


def test_objects_are_overwritten(world: World) -> None:
    data = encoded(instance("1.2", "1.2.3", "1"))
    world.fill(data)
    world.put("out/1.2/1.2.3/1.dcm", b"old")
    assert exported(world) == {"1.2/1.2.3/1.dcm": data}
    found = world.emulator.storage.objects.get(world.bucket, "out/1.2/1.2.3/1.dcm")
    assert found.properties["contentType"] == "application/dicom"


def test_an_empty_store(world: World) -> None:
    assert exported(world) == {}


def test_no_such_bucket(world: World) -> None:
    world.fill(instance("1.2", "1.2.3", "1"))
    ended = world.end(world.start_export(gcsDestination={"uriPrefix": "gs://nowhere-at-all/x"}))
    assert ended["error"]["code"] == 5


@pytest.mark.parametrize("mime_type", [DICOM + "*", "application/dicom;transfer-syntax=*"])
def test_the_stored_transfer_syntax(world: World, mime_type: str) -> None:
    world.fill(sample("JPEG2000.dcm"))
    started = world.start_export(gcsDestination={"uriPrefix": world.uri("out"), "mimeType": mime_type})
    assert "response" in world.end(started)
    assert list(world.files("out/").values()) == [sample("JPEG2000.dcm")]


def test_f7_dicom_without_a_transfer_syntax_is_explicit_little_endian(world: World) -> None:
    world.fill(sample("JPEG2000.dcm"), sample("MR_small_implicit.dcm"))
    started = world.start_export(gcsDestination={"uriPrefix": world.uri("out"), "mimeType": "application/dicom"})
    assert "response" in world.end(started)
    written = [pydicom.dcmread(BytesIO(data)) for data in world.files("out/").values()]
    assert [dataset.file_meta.TransferSyntaxUID for dataset in written] == ["1.2.840.10008.1.2.1"] * 2


@pytest.mark.parametrize(
    "syntax",
    ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"],
    ids=["implicit", "explicit", "deflated", "RLE"],
)
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm", "MR_small_RLE.dcm"])
def test_another_transfer_syntax(world: World, name: str, syntax: str) -> None:
    before = pydicom.dcmread(BytesIO(sample(name)))
    world.fill(sample(name))
    started = world.start_export(gcsDestination={"uriPrefix": world.uri("out"), "mimeType": DICOM + syntax})
    ended = world.end(started)
    assert "response" in ended, world.logs(ended)
    [(path, data)] = world.files("out/").items()
    after = pydicom.dcmread(BytesIO(data))
    assert after.file_meta.TransferSyntaxUID == syntax
    assert path == f"out/{path_of(data)}" == f"out/{path_of(sample(name))}"
    assert after.file_meta.MediaStorageSOPInstanceUID == before.SOPInstanceUID
    assert after.PatientName == before.PatientName
    numpy.testing.assert_array_equal(after.pixel_array, before.pixel_array)


def test_an_instance_without_pixels_in_another_transfer_syntax(world: World) -> None:
    world.fill(sample("rtplan.dcm"))
    destination = {"uriPrefix": world.uri("out"), "mimeType": DICOM + "1.2.840.10008.1.2.1"}
    assert "response" in world.end(world.start_export(gcsDestination=destination))
    [data] = world.files("out/").values()
    after, before = pydicom.dcmread(BytesIO(data)), pydicom.dcmread(BytesIO(sample("rtplan.dcm")))
    assert after.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert Dataset(after) == Dataset(before)


JPEG = "1.2.840.10008.1.2.4."


@pytest.mark.parametrize(
    ("name", "syntax", "loss"),
    [
        *((name, JPEG + each, 0) for name in ("CT_small.dcm", "examples_rgb_color.dcm") for each in ("57", "70", "80", "90")),
        ("MR_small_bigendian.dcm", "1.2.840.10008.1.2", 0),
        ("MR_small_bigendian.dcm", "1.2.840.10008.1.2.5", 0),
        ("SC_rgb_jpeg_gdcm.dcm", "1.2.840.10008.1.2.1", 0),
        ("JPEG-lossy.dcm", JPEG + "70", 0),
        ("JPEG-lossy.dcm", JPEG + "51", 4),
        ("SC_rgb_jpeg_gdcm.dcm", JPEG + "50", 4),
        ("CT_small.dcm", JPEG + "81", 2),
        ("CT_small.dcm", JPEG + "91", 100),
        ("examples_ybr_color.dcm", JPEG + "50", 12),
    ],
)
def test_image_compression(world: World, name: str, syntax: str, loss: int) -> None:
    before = pydicom.dcmread(BytesIO(sample(name)))
    jpeg.register_decoders()
    world.fill(sample(name))
    ended = world.end(world.start_export(gcsDestination={"uriPrefix": world.uri("out"), "mimeType": DICOM + syntax}))
    assert "response" in ended, world.logs(ended)
    [data] = world.files("out/").values()
    after = pydicom.dcmread(BytesIO(data))
    assert after.file_meta.TransferSyntaxUID == syntax
    assert after.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID == before.SOPInstanceUID
    difference = abs(after.pixel_array.astype(int) - before.pixel_array.astype(int)).max()
    assert difference <= loss
    assert (after.get("LossyImageCompression") == "01") == (loss > 0 or before.get("LossyImageCompression") == "01")


@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("rtplan.dcm", "1.2.840.10008.1.2.5"),
        ("MR_small_implicit.dcm", JPEG + "50"),
        ("examples_palette.dcm", JPEG + "51"),
        ("liver_1frame.dcm", JPEG + "70"),
        ("rtdose.dcm", JPEG + "90"),
    ],
)
def test_what_cannot_be_converted_fails_alone(world: World, name: str, syntax: str) -> None:
    """No pixels to compress in a plan; 16, 1 and 32 bits; a palette."""
    name_of_good = "examples_rgb_color.dcm"
    world.fill(sample(name_of_good), sample(name))
    destination = {"uriPrefix": world.uri("out"), "mimeType": DICOM + syntax}
    ended = world.end(world.start_export(gcsDestination=destination))
    assert ended["error"]["code"] == 3
    assert ended["error"]["message"].startswith("invalid_argument: exporting one or more instances failed")
    assert ended["metadata"]["counter"] == {"success": "1", "failure": "1"}
    assert list(world.files("out/")) == [f"out/{path_of(sample(name_of_good))}"]
    [entry] = world.logs(ended)
    assert entry["@type"] == "type.googleapis.com/google.cloud.healthcare.logging.ExportDicomLogEntry"
    assert entry["error"]["code"] == 3
    study, series, uid = path_of(sample(name)).removesuffix(".dcm").split("/")
    assert entry["resourceName"] == f"{world.store}/dicomWeb/studies/{study}/series/{series}/instances/{uid}"


# Requests that are refused


def bad_bodies() -> list[Any]:
    gcs, table = {"uriPrefix": "gs://b/x"}, {"tableUri": "bq://p.d.t"}
    return [
        {},
        {"gcsDestination": None},
        {"gcsDestination": gcs, "bigqueryDestination": table},
        {"filterConfig": {"resourcePathsGcsUri": "gs://b/f"}},
        {"gcsDestination": {}},
        {"gcsDestination": {"uriPrefix": "b/x"}},
        {"gcsDestination": {"uriPrefix": "gs:///x"}},
        *(
            {"gcsDestination": {**gcs, "mimeType": mime_type}}
            for mime_type in (
                "text/plain",
                "image/jpeg",
                "image/jpeg; transfer-syntax=*",
                "image/png; transfer-syntax=1.2.840.10008.1.2.1",
                "application/octet-stream",
                "application/octet-stream; transfer-syntax=1.2.840.10008.1.2",
                "application/dicom; transfer-syntax=1.2.840.10008.1.2.2",
                "application/dicom; transfer-syntax=1.2.3",
            )
        ),
        {"bigqueryDestination": {}},
        {"bigqueryDestination": {"tableUri": "p.d.t"}},
        {"bigqueryDestination": {"tableUri": "bq://d.t"}},
        {"bigqueryDestination": {"tableUri": "bq://p.d.t.x"}},
        {"bigqueryDestination": {"tableUri": "bq://p.d." + "t" * 1992}},
        {"bigqueryDestination": {**table, "writeDisposition": "WRITE_MORE"}},
        {"bigqueryDestination": {**table, "force": "maybe"}},
        {"bigqueryDestination": {**table, "schemaFlattened": {}, "schemaJson": {}}},
        {"bigqueryDestination": table, "unknown": {}},
        *(
            {"gcsDestination": gcs, "filterConfig": {"resourcePathsGcsUri": uri}}
            for uri in ("", "b/f", "gs://b", "gs://b/", "gs://b/*", "gs://b/f*.txt")
        ),
        {"gcsDestination": gcs, "filterConfig": {}},
    ]


@pytest.mark.parametrize("body", bad_bodies(), ids=str)
def test_bad_requests(world: World, body: Any) -> None:
    assert http_error(world.stores.export(name=world.store, body=body))[:2] == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    "syntax", [JPEG + "110", JPEG + "111", JPEG + "112", JPEG + "201", JPEG + "203", "1.2.840.10008.1.2.8.1"]
)
def test_codecs_the_emulator_does_not_have(world: World, syntax: str) -> None:
    body = {"gcsDestination": {"uriPrefix": world.uri("out"), "mimeType": DICOM + syntax}}
    assert http_error(world.stores.export(name=world.store, body=body))[:2] == (501, "UNIMPLEMENTED")


# Frames and images


def exported_as(world: World, mime_type: str) -> dict[str, bytes]:
    ended = world.end(world.start_export(gcsDestination={"uriPrefix": world.uri("out"), "mimeType": mime_type}))
    assert "response" in ended, world.logs(ended)
    return world.files("out/")


def stem(name: str) -> str:
    return f"out/{path_of(sample(name)).removesuffix('.dcm')}"


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm", "liver_1frame.dcm"])
def test_raw_pixels(world: World, name: str) -> None:
    world.fill(sample(name))
    mime_type = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
    pixels = pydicom.dcmread(BytesIO(sample(name))).pixel_array
    pixels = pixels.astype(pixels.dtype.newbyteorder("<"))
    [(path, data)] = exported_as(world, mime_type).items()
    assert path == stem(name)
    expected = numpy.packbits(pixels.ravel(), bitorder="little").tobytes() if name.startswith("liver") else pixels.tobytes()
    assert data == expected


def test_raw_pixels_of_several_frames(world: World) -> None:
    world.fill(sample("rtdose.dcm"))
    pixels = pydicom.dcmread(BytesIO(sample("rtdose.dcm"))).pixel_array
    files = exported_as(world, "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1")
    assert files == {f"{stem('rtdose.dcm')}/{number}": frame.tobytes() for number, frame in enumerate(pixels, 1)}
    assert (
        world.emulator.storage.objects.get(world.bucket, next(iter(files))).properties["contentType"]
        == "application/octet-stream"
    )


def test_pixels_as_they_are_stored(world: World) -> None:
    world.fill(sample("examples_ybr_color.dcm"), sample("MR_small_bigendian.dcm"))
    files = exported_as(world, "application/octet-stream; transfer-syntax=*")
    assert files.pop(stem("MR_small_bigendian.dcm")) == pydicom.dcmread(BytesIO(sample("MR_small_bigendian.dcm"))).PixelData
    assert files.keys() == {f"{stem('examples_ybr_color.dcm')}/{number}" for number in range(1, 31)}
    assert all(data.startswith(b"\xff\xd8") for data in files.values())


@pytest.mark.parametrize(
    ("mime_type", "extension", "kind"),
    [("image/png", ".png", "PNG"), ("image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50", ".jpg", "JPEG")],
)
def test_pictures(world: World, mime_type: str, extension: str, kind: str) -> None:
    world.fill(sample("CT_small.dcm"), sample("rtdose.dcm"), sample("examples_rgb_color.dcm"))
    files = exported_as(world, mime_type)
    frames = {f"{stem('rtdose.dcm')}/{number}{extension}" for number in range(1, 16)}
    assert files.keys() == {f"{stem(name)}{extension}" for name in ("CT_small.dcm", "examples_rgb_color.dcm")} | frames
    opened = {name: Image.open(BytesIO(data)) for name, data in files.items()}
    assert {image.format for image in opened.values()} == {kind}
    assert opened[f"{stem('CT_small.dcm')}{extension}"].size == (128, 128)
    assert opened[f"{stem('examples_rgb_color.dcm')}{extension}"].mode == "RGB"
    expected = pydicom.dcmread(BytesIO(sample("CT_small.dcm"))).pixel_array
    shown = numpy.asarray(opened[f"{stem('CT_small.dcm')}{extension}"])
    assert numpy.corrcoef(expected.ravel(), shown.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("mime_type", ["application/octet-stream; transfer-syntax=*", "image/png"])
def test_what_has_no_pixels_has_no_frames(world: World, mime_type: str) -> None:
    broken = pydicom.dcmread(BytesIO(sample("rtdose.dcm")))
    broken.PixelData = broken.PixelData[:100]
    world.fill(sample("rtplan.dcm"), sample("CT_small.dcm"), encoded(broken))
    ended = world.end(world.start_export(gcsDestination={"uriPrefix": world.uri("out"), "mimeType": mime_type}))
    assert ended["metadata"]["counter"] == {"success": "1", "failure": "2"}
    assert [name.partition(".png")[0] for name in world.files("out/")] == [stem("CT_small.dcm")]


def test_an_image_of_gigabytes_is_refused_by_its_header(world: World) -> None:
    bomb = pydicom.dcmread(BytesIO(sample("JPEG2000.dcm")))
    bomb.Rows = bomb.Columns = 65_000
    world.fill(encoded(bomb))
    for mime_type in (
        DICOM + "1.2.840.10008.1.2.1",
        "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1",
        "image/png",
    ):
        ended = world.end(world.start_export(gcsDestination={"uriPrefix": world.uri("out"), "mimeType": mime_type}))
        assert ended["metadata"]["counter"] == {"failure": "1"}
        message = world.logs(ended)[0]["error"]["message"]
        assert "150 MiB" in message or "too large" in message


def test_change_data_capture_is_only_in_v1beta1_and_not_in_the_emulator(world: World, apis: dict[str, Any]) -> None:
    destination = {"tableUri": world.table("t"), "schemaJson": {}, "changeDataCaptureConfig": {}}
    body = {"bigqueryDestination": destination}
    assert http_error(world.stores.export(name=world.store, body=body))[0] == 400
    world.api = apis["v1beta1"]
    assert http_error(world.stores.export(name=world.store, body=body))[0] == 501


# Filters


@pytest.fixture
def two_studies(world: World) -> World:
    world.fill(
        instance("1.2", "1.2.3", "1.2.3.1"),
        instance("1.2", "1.2.3", "1.2.3.2"),
        instance("1.2", "1.2.4", "1.2.4.1"),
        instance("1.5", "1.5.6", "1.5.6.1"),
    )
    return world


STUDY_2 = ["1.2/1.2.3/1.2.3.1", "1.2/1.2.3/1.2.3.2", "1.2/1.2.4/1.2.4.1"]
STUDY_5 = ["1.5/1.5.6/1.5.6.1"]
INSTANCE = "/studies/1.2/series/1.2.3/instances/1.2.3.2"


@pytest.mark.parametrize(
    ("text", "matching"),
    [
        ("/studies/1.2\n", STUDY_2),
        ("/studies/1.2", STUDY_2),
        ("/studies/1.2/series/1.2.3\n", STUDY_2[:2]),
        (f"{INSTANCE}\n", STUDY_2[1:2]),
        (f"/studies/1.5\n{INSTANCE}\n/studies/1.2/series/1.2.4\n", [*STUDY_2[1:], *STUDY_5]),
        (f"{INSTANCE}\n{INSTANCE}\n/studies/1.2/series/1.2.3\n", STUDY_2[:2]),
        ("\n\n/studies/1.5\n\n", STUDY_5),
        ("/studies/1.2\r\n/studies/1.5\r\n", STUDY_2 + STUDY_5),
        ("/studies/9.9\n/studies/1.2/series/1.5.6\n", []),
        ("/studies/1.5/series/1.5.6/instances/1.2.3.1\n", []),
        ("", []),
    ],
)
def test_filters(two_studies: World, text: str, matching: list[str]) -> None:
    two_studies.put("filter.txt", text.encode())
    uri = two_studies.uri("filter.txt")
    assert sorted(exported(two_studies, filterConfig={"resourcePathsGcsUri": uri})) == [f"{path}.dcm" for path in matching]


@pytest.mark.parametrize(
    "line",
    [
        b"f0_",
        b"studies/1.2",
        b"/studies/1.2/",
        b"/studies/1.2 ",
        b"\xef\xbb\xbf/studies/1.2",
        b"/studies/1.02",
        b"/studies/*",
        b"/studies/1.2/series",
        b"/studies/1.2/instances/1.2.3.1",
        b"/STUDIES/1.2",
        b'"/studies/1.2"',
        b"# comment",
        b"\xff",
        b"/studies/1.2\r/studies/1.2",
        b"/studies/1.2\r\r",
    ],
)
def test_lines_that_are_no_path_are_ignored_but_logged(two_studies: World, line: bytes) -> None:
    two_studies.put("filter.txt", line + b"\n/studies/1.5\n")
    uri = two_studies.uri("filter.txt")
    destination = {"uriPrefix": two_studies.uri("out")}
    started = two_studies.start_export(gcsDestination=destination, filterConfig={"resourcePathsGcsUri": uri})
    ended = two_studies.end(started)
    assert "response" in ended
    assert ended["metadata"]["counter"] == {"success": "1"}
    assert list(two_studies.files("out/")) == ["out/1.5/1.5.6/1.5.6.1.dcm"]
    [entry] = two_studies.logs(ended)
    assert entry["error"]["message"].startswith(f"ignored line 1 of {uri}")


@pytest.mark.parametrize("uri", ["gs://nowhere-at-all/f", "gs://{bucket}/none"])
def test_no_such_filter(two_studies: World, uri: str) -> None:
    config = {"resourcePathsGcsUri": uri.format(bucket=two_studies.bucket)}
    started = two_studies.start_export(gcsDestination={"uriPrefix": two_studies.uri("out")}, filterConfig=config)
    assert two_studies.end(started)["error"]["code"] == 5
    assert two_studies.files("out/") == {}


def test_two_filters_at_once_do_not_mix(two_studies: World) -> None:
    two_studies.put("f2", b"/studies/1.2")
    two_studies.put("f5", b"/studies/1.5")
    two_studies.emulator.healthcare.operation_seconds = 0.5
    started = [
        two_studies.start_export(
            gcsDestination={"uriPrefix": two_studies.uri(f"out{name}")},
            filterConfig={"resourcePathsGcsUri": two_studies.uri(name)},
        )
        for name in ("f2", "f5")
    ]
    counters = [two_studies.end(operation)["metadata"]["counter"] for operation in started]
    assert counters == [{"success": "3"}, {"success": "1"}]


def test_a_filter_of_an_export_to_bigquery(two_studies: World) -> None:
    two_studies.put("filter.txt", f"{INSTANCE}\n/studies/1.5".encode())
    config = {"resourcePathsGcsUri": two_studies.uri("filter.txt")}
    ended = two_studies.end(
        two_studies.start_export(bigqueryDestination={"tableUri": two_studies.table("t")}, filterConfig=config)
    )
    assert ended["metadata"]["counter"] == {"success": "2"}
    assert two_studies.rows("t", "SOPInstanceUID", "ORDER BY 1") == [("1.2.3.2",), ("1.5.6.1",)]


def test_the_filter_that_the_documentation_builds(two_studies: World) -> None:
    """Metadata to BigQuery, a query, its result as the filter."""
    two_studies.end(two_studies.start_export(bigqueryDestination={"tableUri": two_studies.table("t")}))
    select = "CONCAT('/studies/', StudyInstanceUID, '/series/', SeriesInstanceUID, '/instances/', SOPInstanceUID)"
    lines = [path for (path,) in two_studies.rows("t", select, "WHERE StudyInstanceUID = '1.2'")]
    two_studies.put("filter.txt", "\n".join(lines).encode())
    uri = two_studies.uri("filter.txt")
    assert sorted(exported(two_studies, filterConfig={"resourcePathsGcsUri": uri})) == [f"{path}.dcm" for path in STUDY_2]


# BigQuery


def to_table(world: World, table: str = "t", **destination: Any) -> dict[str, Any]:
    return world.end(world.start_export(bigqueryDestination={"tableUri": world.table(table), **destination}))


def test_an_export_to_bigquery(versioned: World) -> None:
    versioned.fill(*map(sample, FILES))
    ended = to_table(versioned)
    assert "response" in ended
    assert ended["metadata"]["counter"] == {"success": "3"}
    assert sorted(versioned.rows("t", "Modality")) == [("CT",), ("MR",), ("RTPLAN",)]


@pytest.mark.parametrize(
    ("destination", "on_rows", "on_empty"),
    [
        ({}, 6, 6),
        ({"force": False}, 6, 6),
        ({"writeDisposition": "WRITE_DISPOSITION_UNSPECIFIED"}, 6, 6),
        ({"force": True}, 1, 1),
        ({"writeDisposition": "WRITE_EMPTY"}, 6, 1),
        ({"writeDisposition": "WRITE_EMPTY", "force": True}, 6, 1),
        ({"writeDisposition": "WRITE_TRUNCATE"}, 1, 1),
        ({"writeDisposition": "WRITE_TRUNCATE", "force": False}, 1, 1),
        ({"writeDisposition": "WRITE_APPEND"}, 2, 1),
        ({"writeDisposition": "WRITE_APPEND", "force": True}, 2, 1),
        ({"writeDisposition": "WRITE_DISPOSITION_UNSPECIFIED", "force": True}, 1, 1),
    ],
    ids=str,
)
def test_existing_tables(world: World, destination: dict[str, Any], on_rows: int, on_empty: int) -> None:
    """Of ``on_rows`` and ``on_empty``, 6 is an error's code, and a smaller number that of the table's rows afterwards."""
    to_table(world, "empty")
    world.fill(instance("1.2", "1.2.3", "1"))
    to_table(world, "full")
    for table, expected, before in (("full", on_rows, 1), ("empty", on_empty, 0), ("new", 1, 0)):
        ended = to_table(world, table, **destination)
        if expected == 6:
            assert ended["error"]["code"] == 6
            expected = before
        else:
            assert "response" in ended, ended
        assert len(world.rows(table)) == expected


@pytest.mark.parametrize(("force", "works"), [("true", True), ("false", False)])
def test_booleans_may_be_strings(world: World, force: str, works: bool) -> None:
    world.fill(instance("1.2", "1.2.3", "1"))
    to_table(world)
    assert ("response" in to_table(world, force=force)) is works


def test_appending_adds_columns(world: World) -> None:
    world.fill(instance("1.2", "1.2.3", "1", PatientID="x"))
    to_table(world)
    world.fill(instance("1.2", "1.2.3", "2", Modality="CT"))
    assert "response" in to_table(world, writeDisposition="WRITE_APPEND")
    rows = world.rows("t", "SOPInstanceUID, PatientID, Modality", "ORDER BY SOPInstanceUID, Modality")
    assert rows == [("1", "x", None), ("1", "x", None), ("2", None, "CT")]


def test_truncating_replaces_the_columns(world: World) -> None:
    world.fill(instance("1.2", "1.2.3", "1"))
    to_table(world, schemaJson={})
    assert "response" in to_table(world, writeDisposition="WRITE_TRUNCATE")
    assert [field["name"] for field in world.columns("t")][:2] == ["MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID"]


def test_the_table_of_an_empty_store(world: World) -> None:
    ended = to_table(world)
    assert "response" in ended
    assert ended["metadata"]["counter"] == {}
    assert [field["name"] for field in world.columns("t")] == ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    assert world.rows("t") == []


@pytest.mark.parametrize("disposition", ["WRITE_EMPTY", "WRITE_TRUNCATE", "WRITE_APPEND", None])
def test_no_such_bigquery_dataset(world: World, disposition: str | None) -> None:
    body = {"tableUri": "bq://demo.nowhere.t", **({"writeDisposition": disposition} if disposition else {})}
    ended = world.end(world.start_export(bigqueryDestination=body))
    assert ended["error"]["code"] == 5
    assert "nowhere" in ended["error"]["message"]


def test_another_project(world: World) -> None:
    world.fill(instance("1.2", "1.2.3", "1"))
    world.emulator.bigquery.catalog.create_dataset("other-project", world.tables)
    ended = world.end(world.start_export(bigqueryDestination={"tableUri": f"bq://other-project.{world.tables}.t"}))
    assert "response" in ended


@pytest.mark.parametrize("schema", [{"schemaFlattened": {}}, {}], ids=str)
@pytest.mark.parametrize("source", [True, False])
def test_the_flattened_schema(world: World, schema: dict[str, Any], source: bool) -> None:
    world.fill(instance("1.2", "1.2.3", "1", PatientID="x"))
    to_table(world, **schema, includeSourceStore=source)
    names = [field["name"] for field in world.columns("t")]
    assert names == [
        "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID",
        "TransferSyntaxUID",
        "ImplementationClassUID",
        "ImplementationVersionName",
        "SOPClassUID",
        "SOPInstanceUID",
        "PatientID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        *(["SourceDicomStore"] if source else []),
    ]
    if source:
        assert world.rows("t", "PatientID, SourceDicomStore") == [("x", world.store)]


@pytest.mark.parametrize("source", [True, False])
def test_the_json_schema(world: World, source: bool) -> None:
    data = encoded(instance("1.2", "1.2.3", "1", PatientID="x", PatientName="Yamada^Taro"))
    world.fill(data)
    to_table(world, schemaJson={}, includeSourceStore=source)
    columns = [(field["name"], field["type"], field.get("mode", "NULLABLE")) for field in world.columns("t")]
    assert columns == [
        ("StudyInstanceUID", "STRING", "NULLABLE"),
        ("SeriesInstanceUID", "STRING", "NULLABLE"),
        ("SOPInstanceUID", "STRING", "NULLABLE"),
        *([("SourceDicomStore", "STRING", "NULLABLE")] if source else []),
        ("Metadata", "JSON", "NULLABLE"),
        ("StructuredStorageSize", "INTEGER", "NULLABLE"),
        ("DroppedTags", "STRING", "REPEATED"),
        ("StorageClass", "STRING", "NULLABLE"),
        ("LastUpdated", "TIMESTAMP", "NULLABLE"),
        ("BlobStorageSize", "INTEGER", "NULLABLE"),
        ("Type", "STRING", "NULLABLE"),
    ]
    select = "StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, DroppedTags, StorageClass, BlobStorageSize, Type"
    assert world.rows("t", select) == [("1.2", "1.2.3", "1", [], "STANDARD", len(data), "INSERT")]
    [(metadata, size, updated)] = world.rows("t", "Metadata, StructuredStorageSize, LastUpdated")
    assert metadata["00100020"] == {"vr": "LO", "Value": ["x"]}
    assert metadata["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Taro"}]}
    assert size > 0
    assert updated.tzinfo is not None
    if source:
        assert world.rows("t", "SourceDicomStore") == [(world.store,)]


def test_stores_have_tables_of_their_own(world: World) -> None:
    world.fill(instance("1.2", "1.2.3", "1"))
    first, other = world.store, f"{world.dataset}/dicomStores/other"
    world.stores.create(parent=world.dataset, dicomStoreId="other", body={}).execute()
    world.store = other
    world.fill(instance("1.2", "1.2.3", "2"))
    to_table(world, includeSourceStore=True)
    world.store = first
    to_table(world, includeSourceStore=True, writeDisposition="WRITE_APPEND")
    assert world.rows("t", "SOPInstanceUID, SourceDicomStore", "ORDER BY 1") == [("1", first), ("2", other)]


def test_more_instances_than_a_batch(world: World) -> None:
    world.fill(*(instance("1.2", f"1.{number % 7}", f"1.{number}") for number in range(450)))
    assert len(exported(world)) == 450
    to_table(world)
    assert world.rows("t", "COUNT(*), COUNT(DISTINCT SOPInstanceUID)") == [(450, 450)]


def test_a_bucket_that_is_deleted_meanwhile_leaves_no_files(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fill(*(instance("1.2", "1.3", f"1.4.{number}") for number in range(3)))
    blobs = Path(world.emulator.status()["dataDirectory"]) / "blobs"
    before = set(blobs.glob("*/*"))

    def fail(*_: Any) -> None:
        raise ApiError(404, "The specified bucket does not exist")

    monkeypatch.setattr(ObjectStore, "_replacing", fail)
    ended = world.end(world.start_export(gcsDestination={"uriPrefix": world.uri("out")}))
    assert ended["error"]["code"] == 5
    assert set(blobs.glob("*/*")) <= before
