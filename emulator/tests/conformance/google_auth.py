"""google-auth: a service account's key file, whose tokens the emulator gives."""

from __future__ import annotations

import os
from typing import Any

import google.auth
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import bigquery, storage
from google.oauth2 import service_account
from googleapiclient.discovery import build

from tests.conformance.checks import PROJECT, equal, new_id, raises

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


def connect(url: str) -> str:
    return url


def credentials() -> Any:
    path = os.environ["GOOGLE_APPLICATION_CREDENTIALS"]
    return service_account.Credentials.from_service_account_file(path, scopes=SCOPES)


def check_token(url: str) -> None:
    found = credentials()
    found.refresh(Request())
    equal((found.valid, found.expired, bool(found.token)), (True, False, True))


def check_default_credentials(url: str) -> None:
    found, project = google.auth.default(scopes=SCOPES)
    equal(project, PROJECT)
    with AuthorizedSession(found) as session:
        answer = session.get(f"{url}/v1/projects/{project}/locations/us-central1")
    equal((answer.status_code, answer.json()["locationId"]), (200, "us-central1"))
    equal(answer.request.headers["Authorization"], f"Bearer {found.token}")


def check_google_api_python_client(url: str) -> None:
    api = build("healthcare", "v1", credentials=credentials(), client_options={"api_endpoint": url})
    equal(api.projects().locations().datasets().list(parent=f"projects/{PROJECT}/locations/us-central1").execute(), {})


def check_google_cloud_storage(url: str) -> None:
    with storage.Client(PROJECT, credentials(), client_options={"api_endpoint": url}) as client:
        blob = client.create_bucket(new_id("bucket-")).blob("b")
        blob.upload_from_string("text")
        equal(blob.download_as_bytes(), b"text")


def check_google_cloud_bigquery(url: str) -> None:
    with bigquery.Client(PROJECT, credentials(), client_options={"api_endpoint": url}) as client:
        equal([tuple(row) for row in client.query("SELECT 1, 'a'").result()], [(1, "a")])


def check_refusal(url: str) -> None:
    found = credentials().with_token_uri(f"{url}/healthz")
    with raises(RefreshError):
        found.refresh(Request())
