"""The page at ``/``."""

from __future__ import annotations

import io
import time
from html.parser import HTMLParser
from pathlib import Path

import pydicom
import pytest
import requests
from PIL import Image
from pydicom.data import get_testdata_file

from gcp_dicom_emulator.client import Client
from gcp_dicom_emulator.pytest_plugin import DicomStore
from gcp_dicom_emulator.rest.faults import Fault
from gcp_dicom_emulator.seeding import seed_buckets

HOSTILE = "<script>alert('x')</script>"


class Page(HTMLParser):
    """What a browser makes of a page: its tags, their addresses, and its text."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.ids: list[str] = []
        self.next_address: str | None = None
        self._address = ""
        answer = requests.get(url, headers=headers)
        answer.raise_for_status()
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        addresses = [value or "" for name, value in attrs if name in ("src", "href")]
        self.addresses += addresses
        self._address = addresses[0] if addresses else ""
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if data == "next":
            self.next_address = self._address

    @property
    def text(self) -> str:
        return " ".join(self.words)


def thumbnails(store: DicomStore) -> list[requests.Response]:
    page = Page(store.emulator.url)
    return [requests.get(store.emulator.url + address) for address in page.addresses if "thumbnail" in address]


def with_values(path: Path, **values: str) -> Path:
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


def test_of_nothing(dicom_emulator):
    page = Page(dicom_emulator.url)
    assert page.text.count("None yet.") == 5  # stores, operations, buckets, tables, requests
    assert "Faults" not in page.text
    assert "gcp-dicom-emulator seed" in page.text


def test_its_head_leads_to_all_that_is_there(seeded_dicom_store: DicomStore):
    page = Page(seeded_dicom_store.emulator.url)
    targets = [address.removeprefix("#") for address in page.addresses if address.startswith("#")]
    assert targets == page.ids == ["dicom-stores", "operations", "buckets", "bigquery-tables", "requests"]


def test_what_goes_wrong_on_request_and_by_itself_is_there(dicom_store: DicomStore):
    url = dicom_store.emulator.url
    dicom_store.emulator.faults.add(Fault("status", "storage.buckets.*", times=3))
    requests.get(f"{url}/storage/v1/b/clinic")
    name = requests.post(f"{url}/v1/{dicom_store.name}:import", json={"gcsSource": {"uri": "gs://missing/**"}}).json()["name"]
    while not requests.get(f"{url}/v1/{name}").json().get("done"):
        time.sleep(0.02)
    text = Page(url).text
    for shown in ("Faults", "storage.buckets.*", "1 of 3", "error 5", "missing"):
        assert shown in text


def test_numbers_agree_with_their_nouns(dicom_store: DicomStore):
    dicom_store.seed(Path(str(get_testdata_file("CT_small.dcm"))))
    text = Page(dicom_store.emulator.url).text
    assert "1 study · 1 series · 1 instance · " in text
    assert "CT 2004-01-19" in text


def test_it_shows_all(seeded_dicom_store: DicomStore, tmp_path: Path):
    url = seeded_dicom_store.emulator.url
    seeded_dicom_store.upload(__file__)
    query = {"query": "CREATE TABLE dicom.numbers AS SELECT * FROM UNNEST([1, 2, 3]) AS n", "useLegacySql": False}
    requests.post(f"{url}/bigquery/v2/projects/demo/queries", json=query).raise_for_status()
    requests.get(f"{url}/storage/v1/b/missing")
    text = Page(url).text
    for shown in (
        seeded_dicom_store.name,
        "3 studies",
        "CompressedSamples^CT1",
        "gs://clinic",
        "demo.dicom.numbers",
        "1 success",
        "storage.buckets.get",
        "404",
    ):
        assert shown in text


def test_images_have_thumbnails_and_others_their_modality(seeded_dicom_store: DicomStore):
    kinds = []
    for answer in thumbnails(seeded_dicom_store):
        kinds.append(answer.headers["Content-Type"])
        if answer.headers["Content-Type"] == "image/png":
            with Image.open(io.BytesIO(answer.content)) as image:
                assert image.width <= 160
                low, high = image.getextrema()
                assert high - low > 200
        else:
            assert "RTPLAN" in answer.text
    assert sorted(kinds) == ["image/png", "image/png", "image/svg+xml"]


@pytest.mark.parametrize("values", [{"Rows": 65535, "Columns": 65535}, {"BitsAllocated": 7}, {"PixelData": b"\0"}, {"Rows": 0}])
def test_pixels_that_make_no_picture(dicom_store: DicomStore, tmp_path: Path, values: dict):
    dicom_store.seed(with_values(tmp_path / "ct.dcm", **values))
    [answer] = thumbnails(dicom_store)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/svg+xml")
    assert ">CT<" in answer.text


def test_nothing_that_it_shows_is_html(dicom_store: DicomStore, tmp_path: Path):
    url = dicom_store.emulator.url
    dicom_store.seed(
        with_values(tmp_path / "ct.dcm", PatientName=HOSTILE, StudyDescription=HOSTILE, Modality="<b>", StudyDate="<i>")
    )
    requests.get(f"{url}/{HOSTILE}")
    requests.post(f"{url}/v1/{dicom_store.name}:import", json={"gcsSource": {"uri": f"gs://missing/{HOSTILE}"}})
    page = Page(url)
    assert {"script", "i"}.isdisjoint(page.tags)
    assert HOSTILE in page.text
    [answer] = thumbnails(dicom_store)
    assert "<b>" not in answer.text


def test_it_loads_nothing_from_elsewhere(seeded_dicom_store: DicomStore):
    page = Page(seeded_dicom_store.emulator.url)
    assert page.addresses
    assert all(address.startswith(("/_emulator/", "#")) for address in page.addresses)
    assert {"script", "link", "iframe"}.isdisjoint(page.tags)


def test_it_stays_short(dicom_emulator, tmp_path: Path):
    for number in range(120):
        (tmp_path / f"bucket-{number:03}").mkdir()
    with Client(dicom_emulator.url) as client:
        seed_buckets(client, tmp_path, "demo")
    text = Page(dicom_emulator.url).text
    assert "120, the first 100 of them" in text
    assert "gs://bucket-119" not in text


@pytest.mark.parametrize("blob", ["", "missing", "../metadata.sqlite", "%2e%2e%2flock"])
def test_a_thumbnail_of_nothing_is_404(dicom_emulator, blob: str):
    assert requests.get(f"{dicom_emulator.url}/_emulator/thumbnail?blob={blob}").status_code == 404
