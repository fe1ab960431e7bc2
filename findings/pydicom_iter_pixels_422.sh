#!/usr/bin/env bash
# pydicom's iter_pixels decodes only the first frame it is asked for of uncompressed YBR_FULL_422; the next ones are others, or an exception.
#
# Versions: pydicom 3.0.2 with numpy 2.4.6
# A guess:  iter_pixels yields what pixel_array has, a frame at a time, in the order of its indices.
# Happens:  the second frame of indices=[0, 1] is made of other pixels, without an error; without indices there is a ValueError. Each frame alone
#           is right, and so is pixel_array.
# Matters:  uncompressed ultrasound loops often share their chrominance. Who reads them frame by frame, to save memory, gets stripes from the
#           second frame on. Ask for one index at a time.
# Source:   pydicom/pixels/decoders/base.py _as_array_native: the first frame is expanded, and says that it is YBR_FULL; by that, the runner takes
#           the next frame to be half as long again, and its bytes not to be shared.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6
"$folder/venv/bin/python" - "$folder/loop.dcm" <<'PYTHON'
import sys

import numpy
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import iter_pixels
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage

path = sys.argv[1]
dataset = Dataset()
dataset.SOPClassUID, dataset.SOPInstanceUID = UltrasoundMultiFrameImageStorage, "1.2.3.4"
dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 4, 4, 3
dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "YBR_FULL_422", 0
dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
# Two pixels: two luminances, and one of each chrominance.
dataset.PixelData = b"".join(bytes([grey, grey, 128, 128]) * 8 for grey in (10, 20, 30))
dataset.file_meta = FileMetaDataset()
dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
dataset.save_as(path, enforce_file_format=True)

whole = [frame[0, :2].tolist() for frame in pydicom.dcmread(path).pixel_array]
alone = [next(iter_pixels(path, indices=[index]))[0, :2].tolist() for index in range(3)]
assert whole == alone == [[[grey] * 3] * 2 for grey in (10, 20, 30)]
together = [frame[0, :2].tolist() for frame in iter_pixels(path, indices=[0, 1], raw=True)]
try:
    error = str(list(iter_pixels(path)))
except ValueError as raised:
    error = str(raised)

if together != [[[10, 128, 128], [10, 128, 128]], [[20, 20, 128], [128, 20, 20]]] or "cannot reshape" not in error:
    raise SystemExit(f"not as recorded: {together}, {error}")
print(f"seen: of [0, 1] the second frame begins with {together[1]}, not [[20, 128, 128], [20, 128, 128]]; of all: {error}")
PYTHON
