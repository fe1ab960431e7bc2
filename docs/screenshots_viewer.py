"""``make screenshots``: take the pictures of OHIF that show a store of the emulator, by the steps of ``docs/guides/viewer.md``.

Needs Chromium and its driver, and npm, which downloads OHIF: ``python -m docs.screenshots_viewer``.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from gcp_dicom_emulator import Emulator
from gcp_dicom_emulator.cli import DEFAULT_STORE
from gcp_dicom_emulator.client import Client
from gcp_dicom_emulator.seeding import seed_store
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.ui import WebDriverWait

from docs.screenshots_emulator import OPTIONS, QUIET

DOCS = Path(__file__).parent
GUIDE, IMAGES = DOCS / "guides" / "viewer.md", DOCS / "images"
FILES = ("CT_small.dcm", "JPEG2000.dcm", "MR_small.dcm", "examples_jpeg2k.dcm", "examples_ybr_color.dcm")
#: The PatientID of the study that is opened.
PATIENT = "204"
#: OHIF draws with WebGL, which Chromium does in software here.
WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--window-size=1280,800")
#: Seconds that a page may take, and that an image may take to be drawn.
PATIENCE, DRAWING = 120, 10


def main() -> None:
    """Take both pictures."""
    with (
        tempfile.TemporaryDirectory() as directory,
        viewer(Path(directory)) as (dist, origin),
        Emulator(allow_origins=[origin]) as emulator,
        browser() as driver,
    ):
        seed(emulator.url)
        (dist / "app-config.js").write_text(config(emulator.url))
        take(driver, origin)


def seed(url: str) -> None:
    """Put some images of pydicom's into the store."""
    from pydicom.data import get_testdata_file

    with Client(url) as client:
        for name in FILES:
            seed_store(client, DEFAULT_STORE, Path(str(get_testdata_file(name))))


def config(url: str) -> str:
    """Return the configuration that the guide shows, for an emulator's address."""
    [block] = re.findall(r"^```js\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    return str(block).replace("http://127.0.0.1:9099", url)


@contextlib.contextmanager
def viewer(directory: Path) -> Iterator[tuple[Path, str]]:
    """Yield OHIF's folder, and the origin at which it is served."""
    [package] = re.findall(r"npm pack (\S+)", GUIDE.read_text())
    subprocess.run(["npm", "pack", "--silent", package], cwd=directory, check=True)
    subprocess.run(["tar", "xzf", *(path.name for path in directory.glob("*.tgz"))], cwd=directory, check=True)
    dist = directory / "package" / "dist"
    handler = functools.partial(Quiet, directory=dist)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield dist, f"http://localhost:{server.server_port}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and logs nothing."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Yield a browser; quit it at the end."""
    options = Options()
    for option in (*OPTIONS, *QUIET, *WEBGL):
        if option != "--disable-gpu":
            options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def take(driver: webdriver.Chrome, origin: str) -> None:
    """Take a picture of the list of studies, and of an image."""
    wait = WebDriverWait(driver, PATIENCE)
    driver.get(origin)
    row = wait.until(expected_conditions.element_to_be_clickable((By.XPATH, f"//*[text()='{PATIENT}']")))
    time.sleep(1)
    driver.save_screenshot(str(IMAGES / "viewer-list.png"))
    row.click()
    button = (By.XPATH, "//*[contains(text(), 'Basic Viewer')]")
    wait.until(expected_conditions.element_to_be_clickable(button)).click()
    wait.until(expected_conditions.presence_of_element_located((By.CSS_SELECTOR, "canvas.cornerstone-canvas")))
    wait.until(expected_conditions.element_to_be_clickable((By.XPATH, "//*[text()='Skip all']"))).click()
    time.sleep(DRAWING)
    driver.save_screenshot(str(IMAGES / "viewer.png"))


if __name__ == "__main__":
    main()
