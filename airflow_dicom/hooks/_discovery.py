"""What the hooks for workers share: calls by google-api-python-client, whose discovery documents lie in its package."""

from __future__ import annotations

import itertools
import keyword
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

from airflow_dicom import polling
from airflow_dicom.exceptions import GoogleApiError, GoogleApiTransientError
from airflow_dicom.hooks.account import credentials_of
from airflow_dicom.hooks.endpoint import resolve_endpoint

if TYPE_CHECKING:
    from google_auth_httplib2 import AuthorizedHttp
    from googleapiclient.discovery import Resource
    from googleapiclient.http import HttpRequest

Answer = TypeVar("Answer")

#: Seconds that one request may take.
_TIMEOUT = 60.0


class DiscoveryHook(GoogleBaseHook):
    """Call the methods of one Google API by their names in its discovery document.

    Transient answers are tried again with backoff, as often as ``num_retries`` of the connection says (default 5).
    """

    #: The API's name in the client, and in its address.
    service: str
    #: Where its methods are below the address.
    service_path = ""
    api_version: str
    emulator_variable: str
    error: type[GoogleApiError]
    transient_error: type[GoogleApiTransientError]

    _conn: Resource | None = None

    @property
    def api_endpoint(self) -> str:
        """The API's base URL."""
        return resolve_endpoint(self.emulator_variable, self.service, self._endpoint_of_connection())

    def _endpoint_of_connection(self) -> str | None:
        return None

    def get_conn(self) -> Resource:
        """Return the client; nothing is fetched."""
        if self._conn is None:
            from googleapiclient.discovery import build

            try:
                credentials_of(self)
            except GoogleApiError as error:
                raise self.error(str(error)) from error
            self._conn = build(
                self.service,
                self.api_version,
                http=self._authorize(),
                cache_discovery=False,
                static_discovery=True,
                client_options={"api_endpoint": f"{self.api_endpoint}/{self.service_path}"},
            )
        return self._conn

    def call(self, method: str, *, repeatable: bool = True, **parameters: Any) -> dict[str, Any]:
        """Call a method of the API.

        :param method: its collections and its name, such as ``jobs.insert``.
        :param repeatable: whether the request may be sent again when its answer is lost.
        :param parameters: the method's parameters, and ``body``.
        :return: the answer, as JSON has it.
        :raises GoogleApiTransientError: no answer came that says anything about the request.
        :raises GoogleApiError: the API refused.
        """
        *collections, verb = method.split(".")
        resource: Any = self.get_conn()  # its methods are made at run time, so nothing knows their types
        for collection in collections:
            resource = getattr(resource, collection)()
        verb = f"{verb}_" if keyword.iskeyword(verb) else verb  # the client calls import so
        request = getattr(resource, verb)(**parameters)
        return self._patiently(lambda: self._send(request), repeatable=repeatable)

    def _patiently(self, send: Callable[[], Answer], *, repeatable: bool) -> Answer:
        """Send a request until an answer comes that says something about it.

        :param send: sends it once.
        :param repeatable: whether it may be sent again when its answer is lost.
        """
        lost = False
        for attempt in itertools.count():
            try:
                return send()
            except GoogleApiTransientError as error:
                lost = lost or error.status_code != 429
                # Quota is refused before any work is accepted, so even a request that must not be doubled may go out again.
                if attempt >= self.num_retries or not (repeatable or error.status_code == 429):
                    raise _given_up(error, attempt + 1, repeatable) from error
                pause = polling.backoff(attempt, error.retry_after)
                self.log.warning("%s Trying again in %.0f s.", error, pause)
                time.sleep(pause)
            except GoogleApiError as error:
                error.after_lost_answer = lost
                raise
        raise AssertionError("unreachable")

    def _http_once(self) -> AuthorizedHttp:
        from google_auth_httplib2 import AuthorizedHttp

        from airflow_dicom.hooks.http_once import HttpOnce

        return AuthorizedHttp(self.get_credentials(), http=HttpOnce(timeout=_TIMEOUT))

    def _send(self, request: HttpRequest) -> dict[str, Any]:
        import google.auth.exceptions
        import httplib2
        from googleapiclient.errors import HttpError

        what = f"{request.methodId} at {request.uri}"
        try:
            # The client would send a deletion again, too, and say only that there is nothing left to delete.
            once = self._http_once() if request.method in ("POST", "DELETE") else None
            answer: Any = request.execute(http=once, num_retries=0)
        except HttpError as error:
            transient = polling.is_transient(error.status_code, error.content.decode(errors="replace"))
            raise (self.transient_error if transient else self.error)(
                f"{what} answered {error.status_code}: {error.reason}",
                status_code=error.status_code,
                retry_after=polling.parse_retry_after(error.resp.get("retry-after")),
                reason=error.reason,
            ) from error
        except google.auth.exceptions.RefreshError as error:
            raise (self.transient_error if error.retryable else self.error)(f"{what}: no access token: {error}") from error
        except (OSError, httplib2.HttpLib2Error, google.auth.exceptions.TransportError) as error:
            raise self.transient_error(f"{what} got no answer: {type(error).__name__}: {error}") from error
        if not isinstance(answer, dict):  # the client passes on what is not JSON
            raise self.transient_error(f"{what} was answered by something other than a JSON object: {str(answer)[:200]!r}")
        return answer


def _given_up(error: GoogleApiTransientError, tries: int, repeatable: bool) -> GoogleApiTransientError:
    """Return an error that says what to do when a request is not sent again."""
    what = (
        f"It was sent {tries} times. Retry the task later."
        if repeatable
        else "It is not sent again, since the service may have got it: look at the destination first."
    )
    return type(error)(f"{error}\n{what}", status_code=error.status_code, retry_after=error.retry_after, reason=error.reason)
