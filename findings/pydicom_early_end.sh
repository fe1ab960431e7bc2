#!/usr/bin/env bash
# A file that ends too early is read without an exception or a warning.
#
# Versions: pydicom 3.0.2
# A guess:  dcmread raises EOFError, or warns, when a value has fewer bytes than its length says, or a sequence fewer items.
# Happens:  of a structure set of three ROIs that is cut in the last item, three are read, the last without its name; cut in the second, two
#           are read. No warning, and reading_validation_mode=RAISE changes nothing. An exception comes only from cuts in a few places (the
#           tag of an item).
# Matters:  an upload that broke off passes for a whole instance with fewer ROIs. Compare sizes or checksums (Cloud Storage has crc32c): that it can
#           be read does not say that it is all there.
# Source:   pydicom/filereader.py data_element_generator: fewer than eight bytes of a header are "at end of file", and a value is what read(length)
#           returns, however short.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2
"$folder/venv/bin/python" -W error - <<'PYTHON'
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage


def roi(number: int) -> Dataset:
    item = Dataset()
    item.ROINumber, item.ROIName = number, f"ROI {number}"
    return item


dataset = Dataset()
dataset.SOPClassUID, dataset.SOPInstanceUID = RTStructureSetStorage, "1.2.3.4"
dataset.StructureSetROISequence = [roi(1), roi(2), roi(3)]
dataset.file_meta = FileMetaDataset()
dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
file = BytesIO()
pydicom.dcmwrite(file, dataset, enforce_file_format=True)
whole = file.getvalue()

pydicom.config.settings.reading_validation_mode = pydicom.config.RAISE


def names_without(count: int) -> list[str | None]:
    """Return the names that are read when so many bytes at the end are missing."""
    cut = pydicom.dcmread(BytesIO(whole[:-count]))
    return [item.get("ROIName") for item in cut.StructureSetROISequence]


seen = [names_without(2), names_without(10), names_without(40)]
if seen != [["ROI 1", "ROI 2", "ROI"], ["ROI 1", "ROI 2", None], ["ROI 1", None]]:
    raise SystemExit(f"not as recorded: {seen}")
print("seen:", *seen)
PYTHON
