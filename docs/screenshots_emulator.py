"""Make ``docs/images/emulator-page.png``: the page of an emulator that holds pydicom's test files and has done something.

Needs selenium, chromium and chromedriver: ``python docs/screenshots_emulator.py``.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import Any

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.cli import DEFAULT_STORE
from gcp_dicom_emulator.client import Client, EmulatorError
from gcp_dicom_emulator.seeding import seed_store
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

PICTURE = Path(__file__).parent / "images" / "emulator-page.png"
WIDTH = 1280
OPTIONS = ("--headless", "--no-sandbox", "--hide-scrollbars", "--no-first-run", "--force-device-scale-factor=1")
#: Neither the browser nor Selenium asks anybody for anything.
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic", "--disable-gpu")


def fill(emulator: Emulator, client: Client) -> None:
    """Seed a store and a bucket, export metadata and instances, run a query, and fail once."""
    import pydicom

    files = Path(pydicom.__file__).parent / "data" / "test_files"
    seed_store(client, DEFAULT_STORE, files)
    for bucket in ("clinic", "exported"):
        client.call("POST", "/storage/v1/b?project=demo", {"name": bucket})
    for file in sorted(files.glob("*.dcm")):
        client.upload("clinic", f"incoming/{file.name}", file)
    emulator.bigquery.catalog.create_dataset("demo", "dicom")
    bodies: list[dict[str, Any]] = [
        {"bigqueryDestination": {"tableUri": "bq://demo.dicom.metadata"}},
        {"gcsDestination": {"uriPrefix": "gs://exported/all"}},
        {"gcsDestination": {"uriPrefix": "gs://missing/all"}},
    ]
    for body in bodies:
        operation = client.call("POST", f"/v1/{DEFAULT_STORE}:export", body)["name"]
        while not client.call("GET", f"/v1/{operation}").get("done"):
            time.sleep(0.2)
    query = "SELECT Modality, COUNT(*) AS n FROM dicom.metadata GROUP BY Modality"
    client.call("POST", "/bigquery/v2/projects/demo/queries", {"query": query, "useLegacySql": False})
    with contextlib.suppress(EmulatorError):
        client.call("GET", f"/v1/{DEFAULT_STORE}x")


def main() -> None:
    """Make the picture."""
    options = Options()
    for option in (*OPTIONS, *QUIET, f"--window-size={WIDTH},2200"):
        options.add_argument(option)
    with Emulator() as emulator, Client(emulator.url) as client:
        fill(emulator, client)
        browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            browser.get(emulator.url)
            time.sleep(5)
            PICTURE.parent.mkdir(exist_ok=True)
            browser.save_screenshot(str(PICTURE))
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
