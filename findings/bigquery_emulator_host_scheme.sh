#!/usr/bin/env bash
# BIGQUERY_EMULATOR_HOST is needed with a scheme by one client of Google's provider, and without one by the other.
#
# Versions: google-cloud-bigquery 3.47.0, gcloud-aio-bigquery 7.3.0, both of which apache-airflow-providers-google 22.8.0 uses
# A guess:  one value of BIGQUERY_EMULATOR_HOST points all operators and sensors of the provider at an emulator.
# Happens:  google-cloud-bigquery takes http://127.0.0.1:9050 and cannot ask 127.0.0.1:9050; gcloud-aio-bigquery puts http:// before whatever it
#           is given, and asks a host with the name http.
# Matters:  with the form that operators need, deferrable tasks that use the other client (BigQueryTableExistenceSensor, the check operators)
#           do not reach the emulator, and the other way round. No form serves both: give the triggerer its own.
# Source:   google/cloud/bigquery/_helpers.py _get_bigquery_host; gcloud/aio/bigquery/bigquery.py init_api_root.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check google-cloud-bigquery==3.47.0 gcloud-aio-bigquery==7.3.0
cat > "$folder/ask.py" <<'PYTHON'
"""Ask a small server, which stands for an emulator, for a table by each client; print who reached it."""

import asyncio
import http.server
import json
import os
import sys
import threading


class Emulator(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"tableReference": {"projectId": "p", "datasetId": "d", "tableId": "t"}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Emulator)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["BIGQUERY_EMULATOR_HOST"] = sys.argv[1] + f"127.0.0.1:{server.server_port}"

import aiohttp  # noqa: E402
from gcloud.aio.auth import Token  # noqa: E402
from gcloud.aio.bigquery import Table  # noqa: E402
from google.auth.credentials import AnonymousCredentials  # noqa: E402
from google.cloud import bigquery  # noqa: E402


class NoToken(Token):
    def __init__(self):
        pass

    async def get(self):
        return "x"


async def aio():
    async with aiohttp.ClientSession() as session:
        return await Table("d", "t", project="p", token=NoToken(), session=session).get()


def official():
    return bigquery.Client("p", AnonymousCredentials()).get_table("p.d.t", retry=None)


def reached(ask):
    try:
        ask()
    except Exception:
        return "no"
    return "yes"


print(reached(official), reached(lambda: asyncio.run(aio())))
PYTHON
with=$("$folder/venv/bin/python" "$folder/ask.py" http:// 2>"$folder/log")
without=$("$folder/venv/bin/python" "$folder/ask.py" "" 2>>"$folder/log")
if [ "$with/$without" != "yes no/no yes" ]; then
    echo "not as recorded: $with/$without" >&2
    exit 1
fi
echo "seen: with http:// google-cloud-bigquery alone reaches the emulator, without it gcloud-aio-bigquery alone"
