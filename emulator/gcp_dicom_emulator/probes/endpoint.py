"""What probes ask: an endpoint with a dataset and a bucket that are made for them, and removed at the end."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

#: Google's own endpoint, of which each API has a host of its own.
GOOGLE = "https://googleapis.com"
_TIMEOUT, _PATIENCE = 60.0, 600.0


@dataclass(frozen=True)
class Answer:
    """What was answered.

    :param status: the HTTP status code.
    """

    status: int
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body; ``{}`` where it is not JSON."""
        with contextlib.suppress(ValueError):
            found = json.loads(self.body)
            if isinstance(found, dict):
                return found
        return {}


class Endpoint:
    """An endpoint; also a context manager that makes a dataset and a bucket there, and removes them.

    :param url: where it is; :data:`GOOGLE` for the service itself.
    :param project: a project that exists there.
    :param location: where the dataset is made.
    """

    def __init__(self, url: str, project: str, location: str = "us-central1") -> None:
        self._url = url.rstrip("/")
        self._name = f"probe-{secrets.token_hex(6)}"
        self.project = project
        self.bucket = self._name
        self.datasets = f"projects/{project}/locations/{location}/datasets"
        self.dataset = f"{self.datasets}/{self._name}"
        self._headers: dict[str, str] = {}
        # What is near needs no proxy.
        self._opener = urllib.request.build_opener(*([] if self._url == GOOGLE else [urllib.request.ProxyHandler({})]))

    def is_emulator(self) -> bool:
        """Tell whether it is an emulator, in which nothing is worth asking for."""
        return self._url != GOOGLE and "requests" in self.ask("GET", "/_emulator/status").json

    def sign_in(self) -> None:
        """Use the default credentials of this machine.

        :raises google.auth.exceptions.GoogleAuthError: there are none.
        """
        import google.auth
        import google.auth.transport.requests

        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        credentials.refresh(google.auth.transport.requests.Request())  # type: ignore[no-untyped-call]
        self._headers = {"Authorization": f"Bearer {credentials.token}"}

    def __enter__(self) -> Self:
        made = self.ask("POST", f"/storage/v1/b?project={self.project}", {"name": self.bucket})
        if made.status == 200:
            made = self.ask("POST", f"/v1/{self.datasets}?datasetId={self._name}", {})
        if made.status != 200:
            self.__exit__()
            raise OSError(f"{made.status}: {made.json.get('error', {}).get('message', '')}")
        self.end(made.json)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.ask("DELETE", f"/v1/{self.dataset}")
        for item in self.ask("GET", f"/storage/v1/b/{self.bucket}/o?versions=true").json.get("items", []):
            path = f"/storage/v1/b/{self.bucket}/o/{quote(item['name'], safe='')}"
            self.ask("DELETE", f"{path}?generation={item['generation']}")
        self.ask("DELETE", f"/storage/v1/b/{self.bucket}")

    def ask(
        self, verb: str, path: str, body: dict[str, Any] | bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request to the API that has such paths.

        :param body: JSON, or bytes.
        """
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        kind = {"Content-Type": "application/json" if isinstance(body, dict) else "application/octet-stream"}
        given = {**kind, **self._headers, **(headers or {})}
        request = urllib.request.Request(self._base(path) + path, data, given, method=verb)
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as answer:
                return Answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read())

    def _base(self, path: str) -> str:
        if self._url != GOOGLE:
            return self._url
        storage = path.startswith(("/storage/", "/upload/storage/"))
        return f"https://{'storage' if storage else 'healthcare'}.{urlsplit(GOOGLE).netloc}"

    def end(self, operation: dict[str, Any]) -> dict[str, Any]:
        """Return an operation once it has ended.

        :raises TimeoutError: it does not.
        """
        deadline, pause = time.monotonic() + _PATIENCE, 0.02
        while time.monotonic() < deadline:
            found = self.ask("GET", f"/v1/{operation['name']}").json
            if found.get("done"):
                return found
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
        raise TimeoutError(f"{operation['name']} does not end")

    def put(self, name: str, content: bytes) -> str:
        """Put an object into the bucket; return its URI."""
        self.ask("POST", f"/upload/storage/v1/b/{self.bucket}/o?uploadType=media&name={quote(name, safe='')}", content)
        return f"gs://{self.bucket}/{name}"

    def names(self, prefix: str) -> list[str]:
        """Return the names of the objects with a prefix."""
        found = self.ask("GET", f"/storage/v1/b/{self.bucket}/o?prefix={quote(prefix, safe='')}").json
        return [item["name"] for item in found.get("items", [])]

    def content(self, name: str) -> bytes:
        """Return an object's content."""
        return self.ask("GET", f"/storage/v1/b/{self.bucket}/o/{quote(name, safe='')}?alt=media").body

    def new_store(self) -> str:
        """Return the name of a new DICOM store."""
        store = f"s{secrets.token_hex(4)}"
        self.ask("POST", f"/v1/{self.dataset}/dicomStores?dicomStoreId={store}", {})
        return f"{self.dataset}/dicomStores/{store}"

    def store(self, *instances: bytes) -> str:
        """Return the name of a new DICOM store that holds some instances."""
        store = self.new_store()
        for content in instances:
            self.ask("POST", f"/v1/{store}/dicomWeb/studies", content, {"Content-Type": "application/dicom"})
        return store

    def run(self, store: str, method: str, body: dict[str, Any]) -> dict[str, Any]:
        """Import into a store, or export from it; return the operation once it has ended.

        :raises Refused: the request was refused.
        """
        answer = self.ask("POST", f"/v1/{store}:{method}", body)
        if answer.status != 200:
            raise Refused(answer)
        return self.end(answer.json)


class Refused(Exception):
    """A request was refused.

    :param answer: in which words.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.status}.")


def instance(number: int = 1) -> bytes:
    """Return a file with an instance of a study of its own, in Implicit VR Little Endian."""
    from io import BytesIO

    from pydicom import FileDataset, uid
    from pydicom.dataset import FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = (f"2.25.{number}{part}" for part in (1, 2, 3))
    dataset.PatientID, dataset.Modality = f"PROBE{number}", "OT"
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
