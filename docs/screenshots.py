"""``make screenshots``: take the documentation's pictures of Airflow's UI, from a real run in ``make ui``.

``python -m docs.screenshots DAG`` takes those of one DAG only.

Needs Chromium and its driver (Debian: ``apt-get install chromium chromium-driver``).
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException, TimeoutException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from demo.airflow_api import AirflowApi
from demo.data import BROKEN, BUCKET, INCOMING

IMAGES = Path(__file__).parent / "images"
DAG_ID = "dicom_filtered_export"
COHORT = "dicom_research_cohort"
#: What a person answers.
ANSWER = {"chosen_options": ["Approve"], "params_input": {}}
TASK_ID = "import_instances"
#: Seconds that the import takes that is shown while it waits.
SLOW = 75


def main(*wanted: str) -> None:
    """Take all pictures, or those of the DAGs that are named."""
    IMAGES.mkdir(exist_ok=True)
    with ui() as (airflow, emulator), browser() as driver:
        api, pictures = AirflowApi(airflow), Pictures(driver, airflow)
        if not wanted or DAG_ID in wanted:
            filtered_export(api, pictures, emulator)
        if not wanted or COHORT in wanted:
            cohort(api, pictures)


def filtered_export(api: AirflowApi, pictures: Pictures, emulator: str) -> None:
    """Take the form, a run that waits, one that succeeds, and one that fails."""
    pictures.take("trigger-form", f"/dags/{DAG_ID}", button="Trigger", until="Files that may fail", height=1000)

    add_fault(emulator, {"kind": "slow", "method": "*.dicomStores.import", "times": 1, "seconds": SLOW})
    waiting = api.trigger(DAG_ID)
    wait_until(lambda: api.task_instances(DAG_ID, waiting)[TASK_ID]["state"] == "deferred", "the import is deferred")
    task = f"/dags/{DAG_ID}/runs/{urllib.parse.quote(waiting)}/tasks"
    pictures.take("links-deferred", f"{task}/{TASK_ID}/details", until="Cloud Storage", height=500)
    wait_until(lambda: api.log(DAG_ID, waiting, TASK_ID).count("pending") > 2, "the log has progress")
    pictures.take("log-progress", f"{task}/{TASK_ID}", until="pending", height=800)
    pictures.take("grid-deferred", f"/dags/{DAG_ID}/runs/{urllib.parse.quote(waiting)}", until="export_metadata", height=600)
    if (state := api.wait(DAG_ID, waiting)) != "success":
        raise RuntimeError(f"The run ended as {state}: {api.task_instances(DAG_ID, waiting)}")
    pictures.take("graph", f"/dags/{DAG_ID}/runs/{urllib.parse.quote(waiting)}", until="export_metadata", graph=True, height=700)
    pictures.take("query", f"{task}/build_filter/rendered_templates", until="SELECT", height=1000)

    broken = api.trigger(DAG_ID, {"gcs_uri": f"gs://{BUCKET}/{BROKEN}**"})
    api.wait(DAG_ID, broken)
    task = f"/dags/{DAG_ID}/runs/{urllib.parse.quote(broken)}/tasks"
    pictures.take("failed-log", f"{task}/{TASK_ID}", until="raise max_failures", first="DicomPartialFailure", height=680)


def cohort(api: AirflowApi, pictures: Pictures) -> None:
    """Take the question that a person is asked, and the graph while it waits."""
    for dag_id in ("dicom_import", COHORT):
        api.wait_for_dag(dag_id)
    api.wait("dicom_import", api.trigger("dicom_import", {"gcs_uri": f"gs://{BUCKET}/{INCOMING}**"}))
    waiting = api.trigger(COHORT, {"where": "Modality = 'CT'\n  AND SAFE_CAST(SliceThickness AS FLOAT64) <= 5"})
    asks = "research_copy.approve"
    wait_until(lambda: api.task_instances(COHORT, waiting)[asks]["state"] == "awaiting_input", "the task asks")
    run = f"/dags/{COHORT}/runs/{urllib.parse.quote(waiting)}"
    pictures.take("approval-form", f"{run}/tasks/{asks}/required_actions", until="Approve", height=900)
    pictures.take("cohort-graph", run, button="Expand all task groups", until="deidentify", graph=True, height=700)
    api.call("PATCH", f"/dags/{COHORT}/dagRuns/{urllib.parse.quote(waiting)}/taskInstances/{asks}/-1/hitlDetails", ANSWER)
    if (state := api.wait(COHORT, waiting)) != "success":
        raise RuntimeError(f"The run ended as {state}: {api.task_instances(COHORT, waiting)}")


@contextmanager
def ui() -> Iterator[tuple[str, str]]:
    """Run ``make ui``, and yield the URLs of Airflow and of the emulator."""
    process = subprocess.Popen([sys.executable, "-m", "demo.ui"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        text = ""
        for line in process.stdout:
            text += line
            if "Ctrl-C" in line:
                break
        urls = dict(re.findall(r"^  (Airflow|emulator) +(http://[^/\s]+)", text, re.MULTILINE))
        yield urls["Airflow"], urls["emulator"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Run a headless Chromium that talks to nobody but this machine."""
    options = Options()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking", "disable-sync"):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


class Pictures:
    """Pictures of Airflow's pages.

    :param url: of Airflow.
    """

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self._driver = driver
        self._url = url

    def take(
        self,
        name: str,
        path: str,
        *,
        until: str,
        height: int,
        button: str | None = None,
        graph: bool = False,
        first: str | None = None,
    ) -> None:
        """Open a page, wait for a text in it, and save what is seen.

        :param height: of the window, in pixels.
        :param button: the name of one to press first.
        :param graph: show the graph of the tasks, not the grid.
        :param first: scroll until this text is the first.
        """
        self._driver.set_window_size(1300, height)
        self._driver.get(self._url)
        settings = {"default_dag_view": "graph" if graph else "grid", "log_wrap": True}
        for key, value in settings.items():
            self._driver.execute_script("localStorage.setItem(arguments[0], arguments[1])", key, json.dumps(value))
        self._driver.get(self._url + path)
        if button:
            # Airflow draws its buttons anew while it loads.
            wait = WebDriverWait(self._driver, 60, ignored_exceptions=[NoSuchElementException, StaleElementReferenceException])
            wait.until(lambda _: self._press(button))
        try:
            WebDriverWait(self._driver, 60).until(lambda driver: until in driver.find_element(By.TAG_NAME, "body").text)
        except TimeoutException as error:
            self._driver.save_screenshot(str(IMAGES / f"{name}-failed.png"))
            raise TimeoutError(f"There is no {until!r} on {path}; see {name}-failed.png.") from error
        time.sleep(3)  # for what is drawn after its text is there
        if first:
            found = self._driver.find_elements(By.XPATH, f"//*[contains(text(), '{first}')]")[-1]
            self._driver.execute_script("arguments[0].scrollIntoView({block: 'start'})", found)
            time.sleep(1)
        self._driver.save_screenshot(str(IMAGES / f"{name}.png"))
        print(f"{name}.png", flush=True)

    def _press(self, name: str) -> bool:
        """Press the button that shows a name, or says it to who cannot see; return whether it is there."""
        for button in self._driver.find_elements(By.TAG_NAME, "button"):
            if name in (button.text, button.get_attribute("aria-label")) and button.is_displayed():
                button.click()
                return True
        return False


def add_fault(emulator: str, fault: dict[str, Any]) -> None:
    """Let something take longer, or go wrong."""
    with urllib.request.urlopen(urllib.request.Request(f"{emulator}/_emulator/faults", json.dumps(fault).encode())) as response:
        response.read()


def wait_until(condition: Any, what: str, seconds: float = 120) -> None:
    """Wait for something.

    :raises TimeoutError: it did not come true.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.5)


if __name__ == "__main__":
    main(*sys.argv[1:])
