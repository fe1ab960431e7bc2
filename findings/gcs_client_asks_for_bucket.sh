#!/usr/bin/env bash
# The first upload also asks for the bucket, from a thread that outlives the upload and the client.
#
# Versions: google-cloud-storage 3.17.1
# A guess:  upload_from_string() is one request, and nothing goes on when it has returned; client.close() ends what there is.
# Happens:  a daemon thread sends GET of the bucket beside it, for attributes of traces that nobody may have asked for, and goes on after the upload
#           has returned and the client was closed.
# Matters:  that request needs storage.buckets.get, which an account that may only write objects does not have: a 403 in the audit log for each client.
#           A test that counts requests, or takes the server away, sees one more, now and then: it may come before or after the upload.
# Source:   google/cloud/storage/_helpers.py: create_trace_span_helper; _bucket_metadata_cache.py: get_or_queue_fetch.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check google-cloud-storage==3.17.1
"$folder/venv/bin/python" - <<'PYTHON'
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client

asked: list[str] = []
may_answer = threading.Event()


class Service(BaseHTTPRequestHandler):
    """Takes any object; answers a request for the bucket only when it may."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({"name": "report.txt", "bucket": "scans"})

    def do_GET(self) -> None:
        asked.append(self.path.split("?")[0])
        may_answer.wait()
        self.answer({"name": "scans"})

    def answer(self, resource: dict[str, str]) -> None:
        body = json.dumps(resource).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"
client = Client("imaging", credentials=AnonymousCredentials(), client_options={"api_endpoint": address})
client.bucket("scans").blob("report.txt").upload_from_string("nothing found")
client.close()

left = [thread for thread in threading.enumerate() if "_fetch_background" in thread.name]
may_answer.set()
for thread in left:
    thread.join(30)
if len(left) != 1 or asked != ["/storage/v1/b/scans"]:
    raise SystemExit(f"not as recorded: {left}, {asked}")
print("seen: after the upload and close(), a thread still waits for the answer to GET", asked[0])
PYTHON
