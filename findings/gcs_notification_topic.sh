#!/usr/bin/env bash
# A bucket that tells a topic of a project such as example.com:imaging has notifications that cannot be listed.
#
# Versions: google-cloud-storage 3.17.1
# A guess:  Bucket.list_notifications() lists what the service answers.
# Happens:  the client parses the topic by a pattern of its own, which knows no project ids such as example.com:imaging. It raises a ValueError
#           ("Resource has invalid topic") out of the iteration, so that the other notifications are not seen either.
# Matters:  organisations that are old enough have such projects. A DAG that looks whether a bucket tells a topic of its objects fails there, and a
#           test on an emulator whose project has four letters (demo) does as well.
# Source:   google/cloud/storage/notification.py: _PROJECT_PATTERN, for _parse_topic_path.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check google-cloud-storage==3.17.1
"$folder/venv/bin/python" - <<'PYTHON'
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from google.cloud.storage.notification import BucketNotification

bucket = Client("imaging", credentials=AnonymousCredentials()).bucket("scans")


def topic(project: str) -> str:
    """The name of the topic as the client reads it from what the service says."""
    resource = {"id": "1", "topic": f"//pubsub.googleapis.com/projects/{project}/topics/arrivals", "payload_format": "NONE"}
    try:
        return BucketNotification.from_api_repr(resource, bucket=bucket).topic_name
    except ValueError as error:
        return str(error).split(":")[0]


seen = {project: topic(project) for project in ("imaging", "example.com:imaging", "demo")}
if seen != {"imaging": "arrivals", "example.com:imaging": "Resource has invalid topic", "demo": "Resource has invalid topic"}:
    raise SystemExit(f"not as recorded: {seen}")
print("seen:", "; ".join(f"{project}: {name}" for project, name in seen.items()))
PYTHON
