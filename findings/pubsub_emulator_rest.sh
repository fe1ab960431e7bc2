#!/usr/bin/env bash
# The Pub/Sub client cannot make its REST transport where an emulator is set.
#
# Versions: google-cloud-pubsub 2.44.0
# A guess:  with PUBSUB_EMULATOR_HOST set, PublisherClient(transport="rest") speaks HTTP with the emulator, as the same client speaks gRPC.
# Happens:  the client is not even made: "TypeError: PublisherRestTransport.__init__() got an unexpected keyword argument 'channel'". So is it with
#           SubscriberClient. 59 of the 80 system tests of python-pubsub use it, and cannot be run against an emulator for that.
# Matters:  who has HTTP through a proxy only, and no gRPC, cannot test against an emulator with Google's client.
# Source:   google/pubsub_v1/services/publisher/client.py: where the variable is set, any transport gets a channel of gRPC.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check google-cloud-pubsub==2.44.0
cat > "$folder/clients.py" <<'PYTHON'
"""Print what becomes of each client and transport; nothing is sent."""

import os

os.environ["PUBSUB_EMULATOR_HOST"] = "127.0.0.1:9"

from google.cloud import pubsub_v1  # noqa: E402

for client in (pubsub_v1.PublisherClient, pubsub_v1.SubscriberClient):
    for transport in ("grpc", "rest"):
        try:
            client(transport=transport)
        except TypeError as error:
            print(client.__name__, transport, "keyword argument 'channel'" in str(error))
        else:
            print(client.__name__, transport, "made")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/clients.py" 2>"$folder/log" | paste -sd, -)
if [ "$seen" != "PublisherClient grpc made,PublisherClient rest True,SubscriberClient grpc made,SubscriberClient rest True" ]; then
    echo "not as recorded: $seen" >&2
    exit 1
fi
echo "seen: both clients are made with gRPC; with REST they raise a TypeError"
