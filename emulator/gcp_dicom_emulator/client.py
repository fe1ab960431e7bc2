"""The few requests that the command and the pytest plugin send to a running emulator. Needs nothing but Python."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

_TIMEOUT = 600


class EmulatorError(Exception):
    """The emulator does not answer, or refuses; the text says why.

    :param status: the HTTP status; ``None`` without an answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """A connection to an emulator; also a context manager that closes it.

    :param url: its base URL.
    :param timeout: how many seconds an answer may take.
    """

    def __init__(self, url: str, timeout: float = _TIMEOUT) -> None:
        self._url = url
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def abort(self) -> None:
        """End a request that another thread waits for, with an :class:`EmulatorError` there."""
        connected = self._connection.sock
        if connected is not None:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def call(self, method: str, path: str, body: dict[str, Any] | Path | None = None) -> dict[str, Any]:
        """Send JSON, or a file, and return the JSON answer.

        :raises EmulatorError: there is no emulator, or it refuses.
        """
        answer = self._ask(method, path, body)
        try:
            found = json.loads(answer.read() or b"{}")
        except ValueError as error:
            raise self._stranger() from error
        return found if isinstance(found, dict) else {}

    def download(self, path: str, file: Path) -> None:
        """Write a tar file that is the answer to a file, as a whole or not at all.

        :raises EmulatorError: there is no emulator, or it refuses.
        :raises OSError: the file cannot be written.
        """
        answer = self._ask("GET", path, None)
        if answer.headers.get_content_type() != "application/x-tar":
            raise self._stranger()
        part = file.with_name(f".{file.name}.part")
        try:
            with part.open("wb") as target:
                shutil.copyfileobj(answer, target, 1 << 20)
            if part.stat().st_size != int(answer.headers["Content-Length"]):
                raise EmulatorError(f"The emulator on {self._url} broke off.")
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)

    def upload(self, bucket: str, name: str, file: Path) -> None:
        """Upload a file to a bucket.

        :raises EmulatorError: there is no emulator, or it refuses.
        """
        self.call("POST", f"/upload/storage/v1/b/{quote(bucket, safe='')}/o?uploadType=media&name={quote(name, safe='')}", file)

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make a resource where there is none; return the answer, ``{}`` where there is one.

        :raises EmulatorError: there is no emulator, or it refuses.
        """
        try:
            return self.call("POST", path, body)
        except EmulatorError as error:
            if error.status != http.HTTPStatus.CONFLICT:
                raise
            return {}

    def _ask(self, method: str, path: str, body: dict[str, Any] | Path | None) -> http.client.HTTPResponse:
        with contextlib.ExitStack() as stack:
            if isinstance(body, Path):
                # What is wrong with the file is said before anything is sent.
                data: Any = stack.enter_context(body.open("rb"))
                headers = {"Content-Length": str(body.stat().st_size)}
            else:
                data, headers = None if body is None else json.dumps(body), {"Content-Type": "application/json"}
            return self._send(method, path, data, headers)

    def _send(self, method: str, path: str, data: Any, headers: dict[str, str]) -> http.client.HTTPResponse:
        try:
            self._connection.request(method, path, data, headers)
            answer = self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            step = "Start it with 'gcp-dicom-emulator start', or say by --host and --port where it is."
            raise EmulatorError(f"No emulator answers on {self._url}: {error}. {step}") from error
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise EmulatorError(self._message(answer.read()), answer.status)
        return answer

    def _message(self, body: bytes) -> str:
        try:
            return str(json.loads(body)["error"]["message"])
        except (ValueError, LookupError, TypeError):
            return str(self._stranger())

    def _stranger(self) -> EmulatorError:
        return EmulatorError(f"What answers on {self._url} is not an emulator. Choose another --port.")
