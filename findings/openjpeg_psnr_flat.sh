#!/usr/bin/env bash
# A flat image of 8 x 8 pixels, coded by OpenJPEG for 60 dB, comes back with 18 dB.
#
# Versions: imagecodecs 2026.3.6 (OpenJPEG 2.5.4), numpy 2.4.6
# A guess:  the irreversible JPEG 2000 for a PSNR of 60 dB keeps a flat image nearly as it is: nothing is easier to code.
# Happens:  an image full of 255 comes back full of 224, one full of 1 full of 32: 18.3 dB, whatever is asked for (60 or 80). An image full of 128,
#           which the level shift makes 0, is right, and so is 255 in 16 x 16.
# Matters:  icons, thumbnails and test images are small and flat; a test of a transcoding that bounds its loss by the PSNR it asked for fails for no
#           fault of its own, and a small image in a real file can be wrong without an error.
# Source:   imagecodecs gives the PSNR to OpenJPEG as its fixed quality (cp_fixed_quality, tcp_distoratio): a target for the choice of coding passes
#           (src/lib/openjp2/tcd.c), not a bound that is checked. Where exactly the passes are lost, we have not looked for.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check imagecodecs==2026.3.6 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import imagecodecs
import numpy as np


def coded(value: int, size: int, psnr: int) -> list[int]:
    """Return the values that a flat image has after encoding and decoding."""
    image = np.full((size, size), value, np.uint8)
    return np.unique(imagecodecs.jpeg2k_decode(imagecodecs.jpeg2k_encode(image, level=psnr, reversible=False))).tolist()


seen = [coded(255, 8, 60), coded(255, 8, 80), coded(1, 8, 60), coded(128, 8, 60), coded(255, 16, 60)]
if seen != [[224], [224], [32], [128], [255]]:
    raise SystemExit(f"not as recorded: {seen}")
psnr = 10 * np.log10(255**2 / (255 - 224) ** 2)
print(f"seen: 255 became 224 and 1 became 32, {psnr:.1f} dB, with {imagecodecs.jpeg2k_version()}")
PYTHON
