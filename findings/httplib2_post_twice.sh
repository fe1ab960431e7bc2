#!/usr/bin/env bash
# One POST can arrive twice, with no retries asked for.
#
# Versions: google-api-python-client 2.202.0, httplib2 0.32.1
# A guess:  execute(num_retries=0), the default, sends a POST once and raises if the connection closes before the answer.
# Happens:  httplib2 sends it again on a new connection, also when the one that closed was not an old one. The server has acted twice, the caller
#           knows only of the second operation.
# Matters:  an import or export of a DICOM store that is started so runs twice, and the operation's name that a task keeps is not that of the first.
#           Whoever starts long-running operations has to look for one that runs already.
# Source:   httplib2/__init__.py Http._conn_request: upon BadStatusLine (RemoteDisconnected is one) at the first try, "retry regardless of the number
#           of RETRIES set", whatever the method. RFC 9110 9.2.2 says not to for a method that is not idempotent.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check google-api-python-client==2.202.0 httplib2==0.32.1
"$folder/venv/bin/python" - <<'PYTHON'
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import httplib2
from googleapiclient.discovery import build_from_document

operations: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """Starts an operation at each POST; closes the connection in place of the first answer."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        operations.append(f"operations/{len(operations) + 1}")
        if len(operations) == 1:
            return
        body = json.dumps({"name": operations[-1]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
Thread(target=server.serve_forever, daemon=True).start()
start = {
    "id": "imports.start",
    "path": "v1/import",
    "httpMethod": "POST",
    "request": {"$ref": "Operation"},
    "response": {"$ref": "Operation"},
}
document = {
    "name": "example",
    "version": "v1",
    "rootUrl": f"http://127.0.0.1:{server.server_port}/",
    "servicePath": "",
    "resources": {"imports": {"methods": {"start": start}}},
    "schemas": {"Operation": {"id": "Operation", "type": "object", "properties": {"name": {"type": "string"}}}},
}

answer = build_from_document(document, http=httplib2.Http()).imports().start(body={}).execute(num_retries=0)
if operations != ["operations/1", "operations/2"] or answer != {"name": "operations/2"}:
    raise SystemExit(f"not as recorded: {operations}, {answer}")
print("seen: the server started", *operations, "and the caller knows of", answer["name"])
PYTHON
