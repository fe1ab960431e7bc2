"""``python -m airflow_dicom.emulator``."""

from airflow_dicom.emulator.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
