"""``make ui``: the demo's emulator and Airflow, kept running, with Airflow's UI and the example DAGs ready to trigger."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from demo.data import ARRIVING, BUCKET, Cloud, fill
from demo.run import DAG_ID, DAGS
from demo.signals import stop_on_signals
from demo.stack import BIN, DEMO_PAUSE, Stack

#: Where the emulator's command and Airflow's would listen; others when these are taken.
PORTS = (9099, 8080)
#: The pool of the example ``dicom_mapped_import``: two operations at a time, whether their tasks are deferred or not.
POOL = {"name": "dicom_operations", "slots": 2, "description": "Operations of the Healthcare API", "include_deferred": True}

#: The examples that start by themselves when something arrives.
ARRIVALS = ("dicom_objects_arrive", "dicom_study_arrives")


def main() -> int:
    """Keep it running until Ctrl-C; return the exit status."""
    parser = argparse.ArgumentParser(prog="make ui", description="Keep the emulator and Airflow running.")
    parser.add_argument("dags", type=Path, nargs="?", help="a folder of DAGs of your own, to be shown beside the examples")
    more_dags: Path | None = parser.parse_args().dags
    if more_dags and not (more_dags := more_dags.expanduser()).is_dir():
        print(f"DAGS={more_dags} is not a folder.", file=sys.stderr)
        return 2
    stop_on_signals()
    print("Starting the emulator and Airflow …", flush=True)
    try:
        with Stack(DAGS, more_dags=more_dags, ports=PORTS, preloaded=True, longest_pause=DEMO_PAUSE, meanwhile=_prepare) as stack:
            stack.api.call("POST", "/pools", POOL)
            for path in sorted(DAGS.glob("*.py")):
                text = path.read_text()
                # The others would start by themselves, or are there on a newer Airflow only.
                if "schedule=None" in text and "\nwith DAG(" in text:
                    stack.api.wait_for_dag(path.stem)
            _show(stack, more_dags)
            _watch(stack)
    except KeyboardInterrupt:
        print("Stopped.")
    except (RuntimeError, TimeoutError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


def _prepare(emulator_url: str) -> None:
    fill(emulator_url)
    Cloud(emulator_url).announce_arrivals()


def _show(stack: Stack, more_dags: Path | None) -> None:
    command = f"{shlex.quote(str(BIN / 'gcp-dicom-emulator'))} env --port {stack.emulator_port}"
    print(f"\n  Airflow    {stack.url}/dags/{DAG_ID}\n  emulator   {stack.emulator_url}\n")
    print("Press Trigger on the DAG's page, and again in its form.")
    if find_spec("airflow.triggers.shared_stream"):  # before Airflow 3.3 there are no such DAGs
        print(f"{' and '.join(ARRIVALS)}, a minute after the switch, import and export what arrives in gs://{BUCKET}/{ARRIVING}.")
    if more_dags:
        print(f"The DAGs of {more_dags} are in the list as well, paused until you trigger them.")
    print(f'To use the emulator in another shell: eval "$({command})"')
    print("Ctrl-C stops everything.", flush=True)


def _watch(stack: Stack) -> NoReturn:
    """Start again what ends, and say so."""
    while True:
        time.sleep(1)
        if ended := stack.ended():
            names = ", ".join(ended)
            print("", *ended.values(), f"Starting {names} again …", sep="\n", flush=True)
            try:
                stack.restart(*ended)
            except RuntimeError:  # something has ended meanwhile: the next round says so
                time.sleep(10)
            else:
                print(f"Started {names} again, with all the data.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
