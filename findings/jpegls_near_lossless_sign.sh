#!/usr/bin/env bash
# JPEG-LS with an error of at most 2 turns -2048 into 2046.
#
# Versions: pyjpegls 1.5.1, numpy 2.4.6
# A guess:  near-lossless with NEAR = 2 changes no pixel by more than 2.
# Happens:  that holds for the unsigned numbers that the codestream has. Signed 12-bit pixels are coded as two's complement, where -2048 (0x800) and
#           2047 (0x7FF) are neighbours: at the extremes the sign flips.
# Matters:  CT pixels are often signed, and scanners pad or clip at the extremes: air outside the field becomes metal. pydicom refuses to encode such
#           pixels, other encoders do not, and nothing in a file shows it.
# Source:   ISO/IEC 14495-1 has no signed samples; DICOM PS3.5 8.2.3 takes Pixel Representation from the data set. pydicom's
#           pixels/encoders/base.py names the range that is safe: from minimum + NEAR to maximum - NEAR.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyjpegls==1.5.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import jpeg_ls
import numpy as np

pixels = np.array([[-2048, 2047, 0, -1] * 4] * 4, np.int16)
words = pixels.view(np.uint16) & 0xFFF

encoded = jpeg_ls.encode_pixel_data(words.tobytes(), lossy_error=2, rows=4, columns=16, samples_per_pixel=1, bits_stored=12)
decoded_words = np.frombuffer(jpeg_ls.decode_pixel_data(bytes(encoded))[0], np.uint16).reshape(words.shape)
decoded = (decoded_words.astype(np.int32) ^ 0x800) - 0x800

unsigned_error = np.abs(decoded_words.astype(np.int32) - words).max()
signed_error = np.abs(decoded - pixels).max()
if (unsigned_error, signed_error) != (2, 4094):
    raise SystemExit(f"not as recorded: {unsigned_error}, {signed_error}")
worst = np.unravel_index(np.abs(decoded - pixels).argmax(), pixels.shape)
print(f"seen: an error of {unsigned_error} as unsigned words, of {signed_error} as pixels: {pixels[worst]} became {decoded[worst]}")
PYTHON
