#!/usr/bin/env bash
# httplib2 cannot use any proxy without PySocks, which it does not ask for.
#
# Versions: httplib2 0.32.1
# A guess:  PySocks is for SOCKS; a plain HTTP proxy in the environment works without it, as with urllib and requests.
# Happens:  "Proxy support missing but proxy use was requested!", for http and https, as soon as http_proxy or https_proxy is set.
# Matters:  google-api-python-client stands on httplib2. In a hospital everything goes through a proxy: the first request of a worker fails, while
#           Google's other clients, which stand on requests, work in the same process.
# Source:   httplib2/__init__.py: HTTPConnectionWithTimeout.connect and HTTPSConnectionWithTimeout.connect; its metadata requires only pyparsing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check httplib2==0.32.1
cat > "$folder/asks.py" <<'PYTHON'
"""Ask through a proxy of this process; print what came of it with urllib and with httplib2."""

import os
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httplib2


class Proxy(BaseHTTPRequestHandler):
    """Answers for all servers, also where it was asked for a tunnel to one, as httplib2 does for http, too."""

    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
Thread(target=server.serve_forever, daemon=True).start()
os.environ["http_proxy"] = f"http://127.0.0.1:{server.server_port}"
for name in ("no_proxy", "NO_PROXY"):
    os.environ.pop(name, None)

with urllib.request.urlopen("http://example.org/") as answer:
    print("urllib", answer.status)
try:
    answer, _ = httplib2.Http().request("http://example.org/")
except httplib2.error.ProxiesUnavailableError as error:
    print("httplib2", error)
else:
    print("httplib2", answer.status)
PYTHON
before=$("$folder/venv/bin/python" "$folder/asks.py" | paste -sd, -)
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check PySocks==1.7.1
after=$("$folder/venv/bin/python" "$folder/asks.py" | paste -sd, -)
if [ "$before" != "urllib 200,httplib2 Proxy support missing but proxy use was requested!" ] || [ "$after" != "urllib 200,httplib2 200" ]; then
    echo "not as recorded: $before; $after" >&2
    exit 1
fi
echo "seen: urllib uses the proxy, httplib2 raises \"${before##*httplib2 }\"; with PySocks both use it"
