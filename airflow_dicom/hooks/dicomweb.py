"""DICOMweb on a DICOM store, for small things: search, retrieve, store, delete.

Sources: PS3.18, sections 10.4 to 10.6; the Healthcare API's DICOM conformance statement.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_dicom import polling
from airflow_dicom.exceptions import HealthcareApiError, HealthcareApiTransientError
from airflow_dicom.filter_paths import FilterPath
from airflow_dicom.hooks.account import credentials_of
from airflow_dicom.hooks.healthcare import HealthcareHook

if TYPE_CHECKING:
    from requests import Response

#: Seconds that one request may take until it says something.
_TIMEOUT = 60.0
#: How many matches to ask for at once.
_PAGE = 1000
_CHUNK = 1 << 20
_JSON = "application/dicom+json"
#: Any transfer syntax: the bytes as they are stored.
_AS_STORED = "application/dicom; transfer-syntax=*"


@dataclass(frozen=True)
class Stored:
    """What became of instances that were sent to a store.

    :param stored: the SOPInstanceUIDs of those that are stored.
    :param refused: the SOPInstanceUIDs of the others; empty for what is not DICOM. One that the store has already is refused.
    """

    stored: Sequence[str]
    refused: Sequence[str]


class DicomWebHook(HealthcareHook):
    """Talk DICOMweb to a DICOM store, with the connection's credentials.

    Endpoint, credentials and patience are those of :class:`~airflow_dicom.hooks.healthcare.HealthcareHook`.

    :param gcp_conn_id: the Google Cloud connection.
    :param impersonation_chain: the service account to impersonate, or a chain of them.
    :param api_version: ``v1`` or ``v1beta1``.
    """

    def search(self, store: str, path: str, filters: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Yield what a search finds, page by page, each as DICOM JSON.

        :param store: the store's name.
        :param path: what to search: ``/studies``, ``/series``, ``/instances``, ``/studies/UID/series``, …
        :param filters: values by keyword or tag; ``includefield`` and ``fuzzymatching`` as well.
        """
        for offset in itertools.count(0, _PAGE):
            query = {**(filters or {}), "limit": _PAGE, "offset": offset}
            page: list[dict[str, Any]] = self._json("GET", store, path, params=query, headers={"Accept": _JSON}) or []
            yield from page
            if len(page) < _PAGE:
                return

    def metadata(self, store: str, path: str) -> list[dict[str, Any]]:
        """Return the metadata of all instances of a study, a series or an instance, as DICOM JSON."""
        found: list[dict[str, Any]] | None = self._json(
            "GET", store, f"{FilterPath.parse(path)}/metadata", headers={"Accept": _JSON}
        )
        return found or []

    def retrieve(self, store: str, path: str) -> Iterator[bytes]:
        """Yield the bytes of one instance, as they are stored, in pieces.

        :param path: ``/studies/UID/series/UID/instances/UID``.
        """
        if FilterPath.parse(path).level != "instance":
            raise ValueError(f"{path!r} does not name one instance.")
        answer = self._request("GET", store, path, headers={"Accept": _AS_STORED}, stream=True)
        with answer:
            yield from answer.iter_content(_CHUNK)

    def store(self, store: str, instances: Iterable[bytes]) -> Stored:
        """Send instances to a store, all in one request.

        :param instances: DICOM files.
        :raises HealthcareApiError: the API refused the request as a whole.
        """
        boundary = secrets.token_hex(16)
        parts = (b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s\r\n" % (boundary.encode(), one) for one in instances)
        headers = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}', "Accept": _JSON}
        body = b"".join((*parts, f"--{boundary}--\r\n".encode()))
        # 409: none was stored; the body says why. Sent again, a request finds what it has stored itself.
        answer = self._json("POST", store, "/studies", data=body, headers=headers, fine=(409,), repeatable=False) or {}
        return Stored(_uids(answer, "00081199"), _uids(answer, "00081198"))

    def delete(self, store: str, path: str) -> dict[str, Any]:
        """Delete a study, a series or an instance; return the operation, or nothing for an instance."""
        deleted: dict[str, Any] | None = self._json("DELETE", store, str(FilterPath.parse(path)))
        return deleted or {}

    def _request(self, verb: str, store: str, path: str, *, repeatable: bool = True, **arguments: Any) -> Response:
        return self._patiently(lambda: self._send_once(verb, _address(store, path), **arguments), repeatable=repeatable)

    def _json(self, verb: str, store: str, path: str, *, repeatable: bool = True, **arguments: Any) -> Any:
        """Return what an answer holds, which is JSON; ``None`` for one without content, as 204 is."""
        address = _address(store, path)
        return self._patiently(
            lambda: _content_of(self._send_once(verb, address, **arguments), f"{verb} {address}"), repeatable=repeatable
        )

    def _send_once(self, verb: str, path: str, *, fine: Sequence[int] = (), **arguments: Any) -> Response:
        import google.auth.exceptions
        import requests
        from google.auth.transport.requests import AuthorizedSession

        session: requests.Session = AuthorizedSession(credentials_of(self))  # type: ignore[no-untyped-call]
        try:
            url = f"{self.api_endpoint}/{self.api_version}/{path}"
            answer: Response = session.request(verb, url, timeout=_TIMEOUT, **arguments)
        except google.auth.exceptions.RefreshError as error:
            kind = HealthcareApiTransientError if error.retryable else HealthcareApiError
            raise kind(f"{verb} {path}: no access token: {error}") from error
        except (requests.RequestException, google.auth.exceptions.TransportError) as error:
            raise HealthcareApiTransientError(f"{verb} {path} got no answer: {type(error).__name__}: {error}") from error
        if answer.status_code < 400 or answer.status_code in fine:
            return answer
        kind = HealthcareApiTransientError if polling.is_transient(answer.status_code) else HealthcareApiError
        raise kind(
            f"{verb} {path} answered {answer.status_code}: {answer.text[:500]}",
            status_code=answer.status_code,
            retry_after=polling.parse_retry_after(answer.headers.get("Retry-After")),
            reason=answer.text[:500],
        )


def _address(store: str, path: str) -> str:
    """Return where a path of a store is, below the API's version."""
    return f"{store}/dicomWeb{path}"


def _content_of(answer: Response, what: str) -> Any:
    """Return an answer's JSON; ``None`` where it has no content.

    :raises HealthcareApiError: it is something else, such as a proxy's page.
    """
    if not answer.content:
        return None
    try:
        content = answer.json()
    except ValueError:
        content = None
    if isinstance(content, (dict, list)):
        return content
    kind = HealthcareApiTransientError if answer.status_code < 400 else HealthcareApiError
    raise kind(
        f"{what} was answered by something other than JSON: {answer.status_code}, {answer.text[:200]!r}",
        status_code=answer.status_code,
        reason=answer.text[:500],
    )


def _uids(answer: Mapping[str, Any], sequence: str) -> list[str]:
    items = answer.get(sequence, {}).get("Value", [])
    return [str(item.get("00081155", {}).get("Value", [""])[0]) for item in items]
