#!/usr/bin/env bash
# gcsfs asks an emulator of Cloud Storage for gRPC before each operation, and waits for it.
#
# Versions: gcsfs 2026.10.1, google-cloud-storage-control 1.17.0, grpcio 1.85.1
# A guess:  with STORAGE_EMULATOR_HOST set, gcsfs lists a bucket over the JSON API there, in milliseconds, as google-cloud-storage does.
# Happens:  it first asks the Storage Control API for the bucket's layout, over gRPC with TLS, at the emulator's address, though that is http://. An
#           emulator that has only the JSON API refuses; gcsfs tries again for up to a minute (23 and 44 s were seen) and then lists the bucket
#           as if nothing had been. The next operation asks again. GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false turns it off.
# Matters:  Airflow's ObjectStoragePath on gs:// is gcsfs. Tasks that are tested against an emulator seem to hang, with a warning at most.
# Source:   gcsfs/__init__.py (the setting is "true" by default), gcsfs/extended_gcsfs.py _get_bucket_type and _lookup_bucket_type, which keeps no
#           UNKNOWN; gcsfs/retry.py has the 60 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gcsfs==2026.10.1 google-cloud-storage-control==1.17.0 grpcio==1.85.1
cat > "$folder/listing.py" <<'PYTHON'
"""Print how many seconds it takes to list an empty bucket of a server that has the JSON API only."""

import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

EMPTY = b'{"kind": "storage#objects", "items": []}'


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(EMPTY)))
        self.end_headers()
        self.wfile.write(EMPTY)

    def log_message(self, *arguments: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
Thread(target=server.serve_forever, daemon=True).start()
os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{server.server_port}"

import gcsfs  # noqa: E402

files = gcsfs.GCSFileSystem(token="anon")
start = time.monotonic()
assert files.ls("bucket") == []
print(round(time.monotonic() - start))
PYTHON
waited=$("$folder/venv/bin/python" "$folder/listing.py" 2>"$folder/log")
without=$(GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false "$folder/venv/bin/python" "$folder/listing.py" 2>"$folder/log")
if ((waited < 10 || without > 5)); then
    echo "not as recorded: $waited s, $without s with the setting" >&2
    exit 1
fi
echo "seen: an empty bucket is listed in $waited s, and in $without s with GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false"
