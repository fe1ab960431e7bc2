#!/usr/bin/env bash
# A successful answer that is not JSON is returned as text.
#
# Versions: google-api-python-client 2.202.0, httplib2 0.32.1
# A guess:  execute() returns a dict, or raises, when a method's response is an object by the discovery document.
# Happens:  an answer of 200 whose body is an HTML page comes back as a str.
# Matters:  a proxy or a sign-in page in front of healthcare.googleapis.com answers so. Code that asks `"error" in operation` gets an answer from a
#           str too: a failed call passes for one that has been done.
# Source:   googleapiclient/model.py JsonModel.deserialize, which sets body = content upon a JSONDecodeError.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check google-api-python-client==2.202.0 httplib2==0.32.1
"$folder/venv/bin/python" - <<'PYTHON'
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import httplib2
from googleapiclient.discovery import build_from_document

PAGE = b"<html>Sign in</html>"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *arguments: object) -> None:
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
Thread(target=server.serve_forever, daemon=True).start()
get = {"id": "operations.get", "path": "v1/operation", "httpMethod": "GET", "response": {"$ref": "Operation"}}
document = {
    "name": "example",
    "version": "v1",
    "rootUrl": f"http://127.0.0.1:{server.server_port}/",
    "servicePath": "",
    "resources": {"operations": {"methods": {"get": get}}},
    "schemas": {"Operation": {"id": "Operation", "type": "object", "properties": {"name": {"type": "string"}}}},
}

answer = build_from_document(document, http=httplib2.Http()).operations().get().execute()
if answer != PAGE.decode():
    raise SystemExit(f"not as recorded: {answer!r}")
print("seen:", repr(answer))
PYTHON
