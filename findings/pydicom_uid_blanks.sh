#!/usr/bin/env bash
# Looking at a UID changes what is written afterwards.
#
# Versions: pydicom 3.0.2
# A guess:  reading a value is only reading: dcmread, a look at StudyInstanceUID, dcmwrite give the file that was read.
# Happens:  without the look the file is written byte for byte; with it, the UID is written without the blank after it, which senders pad with
#           by mistake, and two bytes shorter.
# Matters:  a step in a pipeline that only logs UIDs changes files, so checksums and sizes no longer agree with the store's; whether a file
#           changes depends on which attributes the code has touched.
# Source:   dcmread keeps RawDataElements and dcmwrite writes them as they are; a look replaces one by a DataElement, whose value
#           pydicom/values.py convert_UI has stripped. PS3.5 6.2: a UID is padded by a NULL.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2
"$folder/venv/bin/python" - <<'PYTHON'
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

dataset = Dataset()
dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3.4"
dataset.StudyInstanceUID = "1.2.3.567"
dataset.file_meta = FileMetaDataset()
dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def written(dataset: Dataset) -> bytes:
    file = BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


# As some devices pad: two blanks more than a UID of odd length needs.
right = written(dataset)
padded = right.replace(b"UI\x0a\x001.2.3.567\x00", b"UI\x0c\x001.2.3.567   ")
assert len(padded) == len(right) + 2

untouched = pydicom.dcmread(BytesIO(padded))
looked_at = pydicom.dcmread(BytesIO(padded))
looked_at.get("StudyInstanceUID")

if (written(untouched), written(looked_at)) != (padded, right):
    raise SystemExit(f"not as recorded: {written(untouched)!r}, {written(looked_at)!r}")
print(f"seen: {len(padded)} bytes read and written, {len(right)} after a look at StudyInstanceUID")
PYTHON
