"""curl, as Google's how-to guides use it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.conformance.checks import CT, CT_UIDS, PROJECT, equal, new_id, until_done

DATASETS = f"projects/{PROJECT}/locations/us-central1/datasets"
JSON = "Content-Type: application/json; charset=utf-8"


class Curl:
    """Calls curl.

    :param url: where the emulator is.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def raw(self, path: str, *options: str, data: bytes = b"") -> tuple[int, bytes]:
        """Return the status code and the body of the answer."""
        token = ["--header", "Authorization: Bearer token"]
        command = ["curl", "--silent", "--show-error", *token, "--write-out", "\n%{http_code}", *options, f"{self.url}/{path}"]
        output = subprocess.run(command, input=data, check=True, capture_output=True, timeout=60).stdout
        body, _, code = output.rpartition(b"\n")
        return int(code), body

    def __call__(self, path: str, *options: str, data: bytes = b"") -> dict[str, Any]:
        """Return the JSON of an answer that is not an error."""
        code, body = self.raw(path, *options, data=data)
        equal(code, 200, body)
        return dict(json.loads(body))

    def post(self, path: str, body: str = "") -> dict[str, Any]:
        return self(path, "--request", "POST", "--header", JSON, "--data", body)

    def end(self, operation: dict[str, Any]) -> dict[str, Any]:
        return until_done(lambda: self(f"v1/{operation['name']}"))

    def new_store(self) -> str:
        dataset_id = new_id("d")
        self.end(self.post(f"v1/{DATASETS}?datasetId={dataset_id}"))
        return str(self.post(f"v1/{DATASETS}/{dataset_id}/dicomStores?dicomStoreId=s")["name"])

    def new_bucket(self) -> str:
        bucket = new_id("bucket-")
        self.post(f"storage/v1/b?project={PROJECT}", json.dumps({"name": bucket}))
        return bucket

    def upload(self, bucket: str, name: str, data: bytes) -> dict[str, Any]:
        kind = ["--header", "Content-Type: application/dicom"]
        path = f"upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}"
        return self(path, "--request", "POST", *kind, "--data-binary", "@-", data=data)


def connect(url: str) -> Curl:
    return Curl(url)


def check_stores(curl: Curl) -> None:
    store = curl.new_store()
    equal(curl(f"v1/{store}"), {"name": store})
    equal(curl(f"v1/{store.rpartition('/')[0]}"), {"dicomStores": [{"name": store}]})
    body = '{"labels": {"site": "a"}}'
    patched = curl(f"v1/{store}?updateMask=labels", "--request", "PATCH", "--header", JSON, "--data", body)
    equal(patched["labels"], {"site": "a"})
    equal(curl(f"v1/{store}", "--request", "DELETE"), {})


def check_import_and_export(curl: Curl) -> None:
    store, bucket = curl.new_store(), curl.new_bucket()
    equal(curl.upload(bucket, "in%2Fct.dcm", CT)["size"], str(len(CT)))
    ended = curl.end(curl.post(f"v1/{store}:import", json.dumps({"gcsSource": {"uri": f"gs://{bucket}/in/**.dcm"}})))
    equal(ended["metadata"]["counter"], {"success": "1"})
    # The guides' bodies have single quotes.
    curl.end(curl.post(f"v1/{store}:export", f"{{'gcsDestination': {{'uriPrefix': 'gs://{bucket}/out'}}}}"))
    study, series, instance = CT_UIDS
    names = [item["name"] for item in curl(f"storage/v1/b/{bucket}/o?prefix=out/")["items"]]
    equal(names, [f"out/{study}/{series}/{instance}.dcm"])
    code, data = curl.raw(f"storage/v1/b/{bucket}/o/{names[0].replace('/', '%2F')}?alt=media")
    equal((code, data), (200, CT))


def check_dicomweb(curl: Curl) -> None:
    store = curl.new_store()
    web = f"v1/{store}/dicomWeb/studies"
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "ct.dcm")
        file.write_bytes(CT)
        curl(
            web,
            "--header",
            "Content-Type: application/dicom",
            "--header",
            "Accept: application/dicom+json",
            "--data-binary",
            f"@{file}",
        )
    code, body = curl.raw(f"{web}?PatientID=1CT1", "--header", "Accept: application/dicom+json")
    equal((code, [study["0020000D"]["Value"] for study in json.loads(body)]), (200, [[CT_UIDS[0]]]))
    path = f"{web}/{CT_UIDS[0]}/series/{CT_UIDS[1]}/instances/{CT_UIDS[2]}"
    equal(curl.raw(path, "--header", "Accept: application/dicom; transfer-syntax=*"), (200, CT))


def check_query(curl: Curl) -> None:
    body = json.dumps({"query": "SELECT 6 * 7 AS answer", "useLegacySql": False})
    equal(curl.post(f"bigquery/v2/projects/{PROJECT}/queries", body)["rows"], [{"f": [{"v": "42"}]}])


def check_errors(curl: Curl) -> None:
    code, body = curl.raw(f"v1/{DATASETS}/none")
    error = json.loads(body)["error"]
    equal((code, error["code"], error["status"]), (404, 404, "NOT_FOUND"))
    code, body = curl.raw("storage/v1/b/none")
    equal((code, json.loads(body)["error"]["errors"][0]["reason"]), (404, "notFound"))
    code, body = curl.raw(f"bigquery/v2/projects/{PROJECT}/datasets/none")
    equal((code, json.loads(body)["error"]["status"]), (404, "NOT_FOUND"))
