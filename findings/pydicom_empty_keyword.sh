#!/usr/bin/env bash
# An empty keyword is the keyword of an element.
#
# Versions: pydicom 3.0.2
# A guess:  tag_for_keyword returns None for what is not a keyword, as its documentation says; the empty text is not one.
# Happens:  tag_for_keyword("") is (300A,0782), and "" is in keyword_dict: six elements have no keyword, and the last of them wins.
# Matters:  who turns a list of keywords into tags, such as what a de-identification is to remove, and checks each by None, does not see an
#           empty one, as of a template or a trailing comma: another element is removed, and nobody is told.
# Source:   _dicom_dict.py has "" as the keyword of retired and of unnamed elements; datadict.py makes keyword_dict of all entries.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2
"$folder/venv/bin/python" - <<'PYTHON'
from pydicom.datadict import DicomDictionary, tag_for_keyword

without = [tag for tag, entry in DicomDictionary.items() if not entry[4]]
found = tag_for_keyword("")

if (found, len(without), tag_for_keyword("NoSuchKeyword")) != (0x300A0782, 6, None):
    raise SystemExit(f"not as recorded: {found!r}, {without}")
print(f"seen: the empty keyword is that of ({found >> 16:04X},{found & 0xFFFF:04X}), one of {len(without)} elements without a keyword")
PYTHON
