"""The fixtures that pytest has where the package is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httplib2
import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from googleapiclient.discovery import build
from pydicom.data import get_testdata_file

from gcp_dicom_emulator.pytest_plugin import DicomStore

HEAVY = {"aiohttp", "google", "duckdb", "pydicom", "sqlglot", "gcp_dicom_emulator.emulator"}


def test_the_environment_points_clients_at_the_emulator(dicom_emulator):
    assert os.environ["HEALTHCARE_EMULATOR_HOST"] == dicom_emulator.url
    storage.Client("demo").create_bucket("mine")
    assert [bucket.name for bucket in dicom_emulator.storage.objects.list_buckets("demo")] == ["mine"]


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in many a company: all requests go to a proxy, which does not reach this machine."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "example.com")
    monkeypatch.delenv("no_proxy", raising=False)


def test_no_proxy_comes_between(proxies, dicom_store: DicomStore):
    storage.Client("demo").create_bucket("mine")
    assert requests.get(f"{dicom_store.emulator.url}/healthz").status_code == 200
    assert os.environ["NO_PROXY"].startswith("example.com,")
    if httplib2.socks is None:  # it then refuses to work where a proxy is named, whatever NO_PROXY says
        return
    service = build(
        "healthcare", "v1", credentials=AnonymousCredentials(), client_options={"api_endpoint": dicom_store.emulator.url}
    )
    stores = service.projects().locations().datasets().dicomStores()
    assert stores.get(name=dicom_store.name).execute() == {"name": dicom_store.name}


@pytest.mark.parametrize("time", ["first", "second"])
def test_each_test_finds_it_empty(dicom_emulator, time: str):
    assert dicom_emulator.status()["buckets"] == 0
    assert list(dicom_emulator.requests) == []
    dicom_emulator.storage.objects.create_bucket("mine")


def test_store(dicom_store: DicomStore):
    assert dicom_store.name == "projects/demo/locations/us-central1/datasets/radiology/dicomStores/images"
    answer = requests.get(f"{dicom_store.emulator.url}/v1/{dicom_store.name}:getDICOMStoreMetrics")
    assert answer.json() == {
        "name": dicom_store.name,
        "studyCount": "0",
        "seriesCount": "0",
        "instanceCount": "0",
        "blobStorageSizeBytes": "0",
    }
    file = get_testdata_file("CT_small.dcm")
    assert dicom_store.upload(file, prefix="a/") == ["gs://clinic/a/CT_small.dcm"]
    assert dicom_store.objects() == {"a/CT_small.dcm": Path(file).read_bytes()}
    assert dicom_store.seed(Path(file)) == 1
    assert dicom_store.instances() == ["1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"]


def test_seeded_store(seeded_dicom_store: DicomStore):
    assert len(seeded_dicom_store.instances()) == 3
    assert seeded_dicom_store.objects() == {}


@pytest.mark.slow
def test_pytest_has_them_by_itself(tmp_path: Path):
    (tmp_path / "test_it.py").write_text("def test_it(dicom_store):\n    assert dicom_store.instances() == []\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-W",
        "error::pytest.PytestWarning",
        "-p",
        "no:asyncio",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "1 passed" in ended.stdout, ended.stdout + ended.stderr


def test_it_costs_nothing_where_it_is_not_used():
    script = (
        "import sys, time, pytest\nbefore = set(sys.modules)\nstarted = time.perf_counter()\nimport gcp_dicom_emulator.pytest_plugin\n"
        "print(time.perf_counter() - started, *(set(sys.modules) - before))"
    )
    shortest = float("inf")
    deadline = time.monotonic() + 60
    while shortest > 0.02 and time.monotonic() < deadline:  # the machine may be busy
        seconds, *loaded = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout.split()
        assert HEAVY.isdisjoint(loaded)
        shortest = min(shortest, float(seconds))
    assert shortest <= 0.02
