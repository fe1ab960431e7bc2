"""REST calls for the triggerer, by aiohttp; nothing here blocks the event loop.

Light to import on purpose: the triggerer imports triggers on its loop, and Google's libraries take seconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
import urllib.parse
import urllib.request
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import aiohttp
from asgiref.sync import sync_to_async

from airflow_dicom import polling
from airflow_dicom.exceptions import (
    BigQueryApiError,
    BigQueryApiTransientError,
    GoogleApiError,
    GoogleApiTransientError,
    HealthcareApiError,
    HealthcareApiTransientError,
    PubSubApiError,
    PubSubApiTransientError,
)
from airflow_dicom.hooks.account import credentials_of
from airflow_dicom.hooks.endpoint import (
    BIGQUERY_EMULATOR_HOST,
    HEALTHCARE_EMULATOR_HOST,
    PUBSUB_EMULATOR_HOST,
    resolve_endpoint,
)

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

log = logging.getLogger(__name__)

#: Seconds that one request may take.
_TIMEOUT = 60.0

#: Seconds that a pull may take, which waits for a message.
_PULL_TIMEOUT = 180.0

#: Seconds for which what a connection says is believed: somebody may edit it while a task waits.
_ACCOUNT_LIFETIME = 300.0


class _Account:
    """The credentials of one connection, and where it says the API is, as Airflow's own hook for Google says."""

    def __init__(self, credentials: Credentials, api_endpoint: str | None, *, anonymous: bool) -> None:
        self.api_endpoint = api_endpoint
        self._anonymous = anonymous
        self._credentials = credentials
        self._refreshing = asyncio.Lock()

    @classmethod
    def look_up(cls, gcp_conn_id: str, impersonation_chain: str | Sequence[str] | None) -> _Account:
        """Read the connection. Blocks: the import alone takes seconds."""
        from airflow.providers.google.common.hooks.base_google import GoogleBaseHook
        from google.auth.credentials import AnonymousCredentials

        hook = GoogleBaseHook(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)
        credentials = credentials_of(hook)
        return cls(credentials, hook._get_field("api_endpoint"), anonymous=isinstance(credentials, AnonymousCredentials))

    async def headers(self, *, rejected: str | None = None) -> dict[str, str]:
        """Return the headers that the credentials add, with a token that is good for some minutes at least.

        :param rejected: a token that the API did not accept, so that it is replaced whatever its expiry says.
        """
        credentials = self._credentials
        if self._anonymous:
            return {}
        if not credentials.valid or credentials.token == rejected:
            async with self._refreshing:
                if not credentials.valid or credentials.token == rejected:
                    await sync_to_async(self._refresh, thread_sensitive=False)()
        headers: dict[str, str] = {}
        credentials.apply(headers)  # type: ignore[no-untyped-call]  # the token, and the project that pays for the quota
        return headers

    @property
    def token(self) -> str | None:
        """The token of the latest headers."""
        token: str | None = self._credentials.token
        return token

    def _refresh(self) -> None:
        from google.auth.exceptions import RefreshError, TransportError
        from google.auth.transport.requests import Request

        try:
            self._credentials.refresh(Request())  # type: ignore[no-untyped-call]
        except RefreshError as error:
            raise (GoogleApiTransientError if error.retryable else GoogleApiError)(f"No access token: {error}") from error
        except TransportError as error:
            raise GoogleApiTransientError(f"No access token: {error}") from error


class _LoopResources:
    """What all hooks of one event loop share: one session, with its one TLS context, and one look-up per connection."""

    def __init__(self) -> None:
        self.accounts: dict[tuple[str, str | tuple[str, ...] | None], tuple[float, asyncio.Task[_Account]]] = {}
        self.proxies: dict[str, str | None] = {}
        self.session: aiohttp.ClientSession | None = None
        self.opening = asyncio.Lock()
        self.users = 0

    def proxy_of(self, endpoint: str) -> str | None:
        """Return the proxy that the environment names for an endpoint.

        The session's ``trust_env`` would read the environment and ``.netrc`` again, in a thread, for each poll.
        """
        if endpoint not in self.proxies:
            url = urllib.parse.urlsplit(endpoint)
            bypass = urllib.request.proxy_bypass(url.hostname or "")
            self.proxies[endpoint] = None if bypass else urllib.request.getproxies().get(url.scheme)
        return self.proxies[endpoint]


_resources: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopResources] = weakref.WeakKeyDictionary()


class AsyncRestHook:
    """GET and POST on one Google API. Use as an async context manager.

    :param gcp_conn_id: the Google Cloud connection.
    :param impersonation_chain: the service account to impersonate, or a chain of them.
    """

    #: The API's name in its address.
    service: str
    emulator_variable: str
    error: type[GoogleApiError]
    transient_error: type[GoogleApiTransientError]

    def __init__(self, gcp_conn_id: str = "google_cloud_default", impersonation_chain: str | Sequence[str] | None = None) -> None:
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain

    async def __aenter__(self) -> AsyncRestHook:
        resources = _resources.setdefault(asyncio.get_running_loop(), _LoopResources())
        async with resources.opening:
            if resources.session is None:
                resources.session = aiohttp.ClientSession(
                    # Making a TLS context takes tens of milliseconds, so not on the loop.
                    connector=aiohttp.TCPConnector(ssl=await asyncio.to_thread(_ssl_context), limit=100),
                    timeout=aiohttp.ClientTimeout(total=_TIMEOUT),
                )
            resources.users += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        resources = _resources[asyncio.get_running_loop()]
        resources.users -= 1
        if resources.users == 0 and resources.session is not None:
            session, resources.session = resources.session, None
            await session.close()

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        """Return the JSON answer to a GET.

        :param path: the path, without a slash at its start.
        :param query: the query parameters.
        :raises GoogleApiTransientError: the answer says nothing about the request; try again later.
        :raises GoogleApiError: the API refused.
        """
        return await self._request("GET", path, params=query)

    async def post(self, path: str, **query: str) -> dict[str, Any]:
        """Return the JSON answer to a POST of an empty object; raises as :meth:`get` does."""
        return await self._request("POST", path, params=query, json={})

    async def _request(self, method: str, path: str, **kwargs: Any) -> dict[str, Any]:
        resources = _resources[asyncio.get_running_loop()]
        assert resources.session is not None, "use the hook as a context manager"
        try:
            account = await self._account(resources)
            endpoint = resolve_endpoint(self.emulator_variable, self.service, self._endpoint_of(account))
            url = f"{endpoint}/{path}"
            kwargs["proxy"] = resources.proxy_of(endpoint)
            headers = await account.headers()
            async with resources.session.request(method, url, headers=headers, **kwargs) as response:
                if response.status != 401 or not headers:
                    return await self._read(response, method, url)
            # The token was taken back before it expired.
            headers = await account.headers(rejected=account.token)
            async with resources.session.request(method, url, headers=headers, **kwargs) as response:
                return await self._read(response, method, url)
        except GoogleApiTransientError as error:
            raise self._own(error) from error
        except GoogleApiError as error:
            if error.status_code in (None, 401, 403):
                # The connection may have another key or account by now: whoever asks next looks it up again.
                resources.accounts.pop(self._account_key, None)
            raise self._own(error) from error
        except (aiohttp.ClientError, OSError) as error:
            # asyncio.TimeoutError is an OSError.
            raise self.transient_error(f"{method} {url} got no answer: {type(error).__name__}: {error}") from error

    def _own(self, error: GoogleApiError) -> GoogleApiError:
        """Return an error as one of this API."""
        kind = self.transient_error if isinstance(error, GoogleApiTransientError) else self.error
        return kind(str(error), status_code=error.status_code, retry_after=error.retry_after, reason=error.reason)

    async def _read(self, response: aiohttp.ClientResponse, method: str, url: str) -> dict[str, Any]:
        text = await response.text(errors="replace")
        if response.status >= 400:
            reason = polling.reason_of(text)[:600]
            raise (GoogleApiTransientError if polling.is_transient(response.status, text) else GoogleApiError)(
                f"{method} {url} answered {response.status}: {reason}",
                status_code=response.status,
                retry_after=polling.parse_retry_after(response.headers.get("Retry-After")),
                reason=reason,
            )
        return polling.read_answer(text, f"{method} {url}")

    def _endpoint_of(self, account: _Account) -> str | None:
        return None

    @property
    def _account_key(self) -> tuple[str, str | tuple[str, ...] | None]:
        chain = self.impersonation_chain
        return self.gcp_conn_id, chain if chain is None or isinstance(chain, str) else tuple(chain)

    async def _account(self, resources: _LoopResources) -> _Account:
        key = self._account_key
        looked_up, task = resources.accounts.get(key, (0.0, None))
        failed = task is not None and task.done() and (task.cancelled() or task.exception() is not None)
        if task is None or failed or time.monotonic() - looked_up > _ACCOUNT_LIFETIME:
            earlier = task.result() if task is not None and task.done() and not failed else None
            task = asyncio.ensure_future(self._look_up(earlier))
            resources.accounts[key] = time.monotonic(), task
        if task.done():
            return task.result()
        # Shielded: when the trigger that asked first is cancelled, the others still get their answer.
        return await asyncio.shield(task)

    async def _look_up(self, earlier: _Account | None) -> _Account:
        """Read the connection.

        :param earlier: what it said before: still believed where Airflow, or its secrets backend, cannot tell just now.
        :raises GoogleApiError: it cannot be read, or its credentials cannot be used.
        """
        look_up = sync_to_async(_Account.look_up, thread_sensitive=False)
        try:
            return await look_up(self.gcp_conn_id, self.impersonation_chain)
        except GoogleApiError:
            raise
        except Exception as error:
            what = f"The connection {self.gcp_conn_id!r} cannot be read: {type(error).__name__}: {error}"
            if earlier is None:
                raise GoogleApiError(what) from error
            log.warning("%s Going on with what it said before.", what)
            return earlier


class HealthcareAsyncHook(AsyncRestHook):
    """The Healthcare API's operations for the triggerer.

    :param api_version: ``v1`` or ``v1beta1``.
    """

    service = "healthcare"
    emulator_variable = HEALTHCARE_EMULATOR_HOST
    error = HealthcareApiError
    transient_error = HealthcareApiTransientError

    def __init__(
        self,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        *,
        api_version: str = "v1",
    ) -> None:
        super().__init__(gcp_conn_id, impersonation_chain)
        self.api_version = api_version

    def _endpoint_of(self, account: _Account) -> str | None:
        return account.api_endpoint

    async def get_operation(self, name: str) -> dict[str, Any]:
        """``datasets.operations.get``; raises as :meth:`get` does."""
        return await self.get(f"{self.api_version}/{name}")

    async def list_operations(self, name: str) -> list[dict[str, Any]]:
        """``datasets.operations.list``, all pages; raises as :meth:`get` does."""
        operations, token = [], ""
        while True:
            page = await self.get(f"{self.api_version}/{name}/operations", **({"pageToken": token} if token else {}))
            operations += page.get("operations", [])
            token = page.get("nextPageToken", "")
            if not token:
                return operations

    async def get_dicom_store_metrics(self, name: str) -> dict[str, Any]:
        """``dicomStores.getDICOMStoreMetrics``; raises as :meth:`get` does."""
        return await self.get(f"{self.api_version}/{name}:getDICOMStoreMetrics")

    async def cancel_operation(self, name: str) -> None:
        """``datasets.operations.cancel``; raises as :meth:`get` does."""
        await self.post(f"{self.api_version}/{name}:cancel")


class BigQueryJobAsyncHook(AsyncRestHook):
    """BigQuery's jobs for the triggerer."""

    service = "bigquery"
    emulator_variable = BIGQUERY_EMULATOR_HOST
    error = BigQueryApiError
    transient_error = BigQueryApiTransientError

    async def get_job(self, project_id: str, job_id: str, location: str | None) -> dict[str, Any]:
        """``jobs.get``, without the parts that grow with the query; raises as :meth:`get` does."""
        return await self.get(_job_path(project_id, job_id), fields="jobReference,status", **_location(location))

    async def cancel_job(self, project_id: str, job_id: str, location: str | None) -> None:
        """``jobs.cancel``; raises as :meth:`get` does."""
        await self.post(f"{_job_path(project_id, job_id)}/cancel", **_location(location))


class PubSubAsyncHook(AsyncRestHook):
    """A subscription of Pub/Sub for the triggerer.

    :param subscription: its full name, ``projects/…/subscriptions/…``.
    """

    service = "pubsub"
    emulator_variable = PUBSUB_EMULATOR_HOST
    error = PubSubApiError
    transient_error = PubSubApiTransientError

    def __init__(self, subscription: str, gcp_conn_id: str, impersonation_chain: str | Sequence[str] | None) -> None:
        super().__init__(gcp_conn_id, impersonation_chain)
        self._path = f"v1/{subscription}"

    async def pull(self, most: int, *, wait: bool) -> list[dict[str, Any]]:
        """``subscriptions.pull``; raises as :meth:`get` does.

        :param most: how many messages at most.
        :param wait: whether to wait for one, as long as the service likes.
        :return: ``ReceivedMessage`` dictionaries.
        """
        body = {"maxMessages": most, **({} if wait else {"returnImmediately": True})}
        answer = await self._request("POST", f"{self._path}:pull", json=body, timeout=aiohttp.ClientTimeout(total=_PULL_TIMEOUT))
        received: list[dict[str, Any]] = answer.get("receivedMessages", [])
        return received

    async def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """``subscriptions.acknowledge``; raises as :meth:`get` does."""
        await self._request("POST", f"{self._path}:acknowledge", json={"ackIds": list(ack_ids)})

    async def modify_ack_deadline(self, ack_ids: Sequence[str], seconds: int) -> None:
        """``subscriptions.modifyAckDeadline``; 0 seconds give the messages back. Raises as :meth:`get` does."""
        body = {"ackIds": list(ack_ids), "ackDeadlineSeconds": seconds}
        await self._request("POST", f"{self._path}:modifyAckDeadline", json=body)


def _job_path(project_id: str, job_id: str) -> str:
    return f"bigquery/v2/projects/{project_id}/jobs/{job_id}"


def _location(location: str | None) -> dict[str, str]:
    return {"location": location} if location else {}


def _ssl_context() -> Any:
    import ssl

    return ssl.create_default_context()
