"""``make ui``: the demo's emulator and Airflow, kept running, with Airflow's UI and the example DAGs ready to trigger."""

from __future__ import annotations

import signal
import sys

from demo.data import Cloud, Source
from demo.run import DAG_ID, DAGS
from demo.stack import Stack


def main() -> int:
    """Keep it running until Ctrl-C; return the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print("Starting the emulator and Airflow …", flush=True)
    try:
        with Stack(DAGS) as stack:
            Cloud(stack.emulator_url).fill(Source.of_pydicom())
            for path in sorted(DAGS.glob("*.py")):
                if 'schedule="' not in path.read_text():  # one with a timetable would start by itself
                    stack.api.wait_for_dag(path.stem)
            print(f"\n  Airflow    {stack.url}/dags/{DAG_ID}\n  emulator   {stack.emulator_url}\n")
            print('Press Trigger on the DAG\'s page; leave "Files that may fail" empty: some of the files are broken on purpose.')
            print("Ctrl-C stops everything.", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        print("\nStopped.")
    except (RuntimeError, TimeoutError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
