#!/usr/bin/env bash
# dcmtk makes one value of several where the character set is ISO_IR 13, Japanese half-width katakana.
#
# Versions: dcmtk 3.6.7 (Debian 12's package), pydicom 3.0.2
# A guess:  a list of two texts stays a list of two texts when it is converted to UTF-8, or written as JSON.
# Happens:  the byte 5C stands between values (PS3.5, 6.2). In ISO_IR 13 it looks like a yen sign, and dcmtk converts it to one before it looks for
#           values: "dcmconv +U8" writes one value, and dcm2json shows one.
# Matters:  files of Japanese devices lose the number of their values for good: two patient ids become one that nobody has. Split values before
#           converting, as pydicom does, or convert by it.
# Source:   dcmdata/libsrc/dcspchrs.cc convertString: without escape sequences, the text is converted as a whole, whatever stands between values.
set -euo pipefail
command -v dcmconv >/dev/null || { echo "dcmconv is missing: install the package dcmtk (apt-get install dcmtk on Debian 12)" >&2; exit 2; }
dcmconv --version | grep --quiet 'v3\.6\.7 ' || { echo "this dcmconv is not 3.6.7, for which this is recorded" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import subprocess
import sys

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

folder = sys.argv[1]
dataset = Dataset()
dataset.SpecificCharacterSet = "ISO_IR 13"
dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3.4"
dataset.OtherPatientIDs = ["100", "200"]
dataset.file_meta = FileMetaDataset()
dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
dataset.save_as(f"{folder}/katakana.dcm", enforce_file_format=True)

subprocess.run(["dcmconv", "+U8", f"{folder}/katakana.dcm", f"{folder}/utf8.dcm"], check=True)
answer = json.loads(subprocess.run(["dcm2json", f"{folder}/katakana.dcm"], check=True, capture_output=True).stdout)
before, after = (pydicom.dcmread(f"{folder}/{name}.dcm").OtherPatientIDs for name in ("katakana", "utf8"))

if (list(before), after, answer["00101000"]["Value"]) != (["100", "200"], "100¥200", ["100¥200"]):
    raise SystemExit(f"not as recorded: {before}, {after}, {answer['00101000']}")
print(f"seen: {list(before)} is {after!r} in dcmconv's copy in UTF-8, and {answer['00101000']['Value']} for dcm2json")
PYTHON
