#!/usr/bin/env bash
# dcm2json writes a quarter of all doubles as other doubles.
#
# Versions: dcmtk 3.6.7 (Debian 12's package), pydicom 3.0.2
# A guess:  a number of VR FD in the DICOM JSON model is the number of the file: 17 digits are enough for each double.
# Happens:  dcm2json writes 17 digits, but not always the right ones: of 1000 numbers 242 are read as a neighbour (a relative error of 5e-16 at most).
# Matters:  who compares metadata from dcmtk with those of Cloud Healthcare or pydicom for equality finds differences that are in no file. Compare
#           FD with a tolerance, or take the binary values.
# Source:   dcmdata/libsrc/dcvrfd.cc getOFString, which asks dcmtk's own OFStandard::ftoa (ofstd/libsrc/ofstd.cc) for 17 digits, not the C library.
set -euo pipefail
command -v dcm2json >/dev/null || { echo "dcm2json is missing: install the package dcmtk (apt-get install dcmtk on Debian 12)" >&2; exit 2; }
dcm2json --version | grep --quiet 'v3\.6\.7 ' || { echo "this dcm2json is not 3.6.7, for which this is recorded" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2
"$folder/venv/bin/python" - "$folder/numbers.dcm" <<'PYTHON'
import json
import random
import subprocess
import sys

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

path = sys.argv[1]
generator = random.Random(1)
numbers = [generator.uniform(0, 1) * 10 ** generator.randint(-12, 12) for _ in range(1000)]

dataset = Dataset()
dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3.4"
dataset.RealWorldValueLUTData = numbers
dataset.file_meta = FileMetaDataset()
dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
dataset.save_as(path, enforce_file_format=True)
assert list(pydicom.dcmread(path).RealWorldValueLUTData) == numbers

answer = json.loads(subprocess.run(["dcm2json", path], check=True, capture_output=True).stdout)
written = answer["00409212"]["Value"]
others = [(number, other) for number, other in zip(numbers, written, strict=True) if number != other]

if len(others) != 242:
    raise SystemExit(f"not as recorded: {len(others)}")
print(f"seen: {len(others)} of {len(numbers)} are other numbers: {others[0][0]!r} was written as {others[0][1]!r}")
PYTHON
