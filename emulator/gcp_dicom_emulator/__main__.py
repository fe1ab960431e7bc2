"""``python -m gcp_dicom_emulator``."""

from gcp_dicom_emulator.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
