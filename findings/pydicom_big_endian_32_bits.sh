#!/usr/bin/env bash
# Big-endian pixels of 32 bits, as those of a dose, are other numbers in pydicom and in dcmtk.
#
# Versions: pydicom 3.0.2 with numpy 2.4.6, dcmtk 3.6.7 (Debian 12's package)
# A guess:  whoever reads Explicit VR Big Endian gets the same numbers.
# Happens:  dcmtk turns the bytes of each word of 16 bits (OW), as PS3.5, 6.2 says; pydicom takes a sample's four bytes as they come. The halves
#           of each sample are exchanged: 1249000 becomes 250085395.
# Matters:  the transfer syntax is retired, but archives have it. A dose that one has converted and the other reads is wrong, without an error;
#           pydicom's own test file rtdose_expb.dcm is one that only pydicom reads as it was meant.
# Source:   pydicom/pixels/utils.py pixel_dtype makes ">u4" of it; dcmdata/libsrc/dcswap.cc swaps by the size of the VR.
set -euo pipefail
command -v dcmconv >/dev/null || { echo "dcmconv is missing: install the package dcmtk (apt-get install dcmtk on Debian 12)" >&2; exit 2; }
dcmconv --version | grep --quiet 'v3\.6\.7 ' || { echo "this dcmconv is not 3.6.7, for which this is recorded" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import subprocess
import sys

import numpy
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTDoseStorage

folder = sys.argv[1]
dataset = Dataset()
dataset.SOPClassUID, dataset.SOPInstanceUID = RTDoseStorage, "1.2.3.4"
dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, 1, 1, "MONOCHROME2"
dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 32, 32, 31, 0
dataset.PixelData = numpy.array([1249000], "<u4").tobytes()
dataset["PixelData"].VR = "OW"
dataset.file_meta = FileMetaDataset()
dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
dataset.save_as(f"{folder}/little.dcm", enforce_file_format=True)

subprocess.run(["dcmconv", "+tb", f"{folder}/little.dcm", f"{folder}/big.dcm"], check=True)
subprocess.run(["dcmconv", "+te", f"{folder}/big.dcm", f"{folder}/back.dcm"], check=True)
seen = [pydicom.dcmread(f"{folder}/{name}.dcm").pixel_array.item() for name in ("little", "big", "back")]

if seen != [1249000, 250085395, 1249000]:
    raise SystemExit(f"not as recorded: {seen}")
print(f"seen: {seen[0]} is read as {seen[1]} from dcmtk's big-endian copy, which dcmtk turns back into {seen[2]}")
PYTHON
