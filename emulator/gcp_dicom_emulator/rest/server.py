"""One HTTP server for all services: finds the method a request means, calls its code, and shapes the answer as Google does."""

from __future__ import annotations

import asyncio
import collections
import errno
import inspect
import json
import logging
import re
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web
from multidict import MultiMapping

from gcp_dicom_emulator.rest import fields, lenient_json
from gcp_dicom_emulator.rest.discovery import Api, Method, find_method
from gcp_dicom_emulator.rest.endpoints import Endpoint
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.faults import REQUEST_KINDS, Fault, Faults
from gcp_dicom_emulator.rest.origins import Origins
from gcp_dicom_emulator.rest.splitter import Splitter

log = logging.getLogger(__name__)

#: APIs whose servers refuse fields they do not know. Cloud Storage ignores them.
_STRICT_BODIES = ("healthcare", "bigquery", "pubsub")
_STRICT_QUERIES = ("healthcare", "pubsub")
#: The fault of a request that is to happen to its answer.
_FAULT: ContextVar[Fault | None] = ContextVar("fault", default=None)
#: How long the request line and each header may be: two names of 1024 bytes each, percent-encoded, and a page token fit easily.
_MAX_HEADER = 64 * 1024
#: Query parameters that Google's servers take in place of a header, and that no log should have.
_SECRETS = re.compile(r"(?<=[?&])(access_token|oauth_token|key)=[^&]*")
#: What ``X-Forwarded-Host`` may be.
_HOST = re.compile(r"[A-Za-z0-9._-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")
#: Seconds that requests under way get to end before the services are exchanged.
_PATIENCE = 2.0


@dataclass
class Call:
    """One request, as the code of a method gets it.

    :param method: the REST method.
    :param path: the path parameters, decoded, by the names of the discovery document (``name``, ``parent``, ``bucket`` …).
    :param query: the query parameters.
    :param headers: the request's headers.
    :param base_url: scheme, host and port under which the client reached the emulator.
    :param body: the JSON body, checked against the discovery document; ``{}`` for uploads and
        ``HttpBody``, whose code reads ``request`` itself.
    :param request: the request itself, for code that streams.
    :param parse: reads and checks a JSON body as ``body`` was, for the code of uploads.
    """

    method: Method
    path: dict[str, str]
    query: MultiMapping[str]
    headers: Mapping[str, str]
    base_url: str
    request: web.Request
    parse: Callable[[bytes], dict[str, Any]]
    body: dict[str, Any] = field(default_factory=dict)


#: The code of a method. A plain function runs in a thread and returns the JSON answer (``None``: 204). A coroutine function runs on
#: the loop, must not block it, and may return a ``web.StreamResponse`` of its own.
Handler = Callable[[Call], Any] | Callable[[Call], Awaitable[Any]]


class Service(Protocol):
    """What the server needs of a service."""

    #: Discovery documents that describe it, e.g. ``["healthcare.v1", "healthcare.v1beta1"]``.
    apis: list[str]

    def handlers(self) -> dict[str, Handler]:
        """Return the code by method id. A method without code answers 501."""

    def close(self) -> None:
        """Stop background work."""


@dataclass(frozen=True)
class LoggedRequest:
    """One answered request, for tests, the page and the log.

    :param method_id: the REST method's id; ``unknown`` where none has this path.
    :param path: path and query as they were sent, without tokens and keys.
    :param verb: ``GET``, ``POST``, …
    :param at: when it came, in seconds since the epoch.
    :param milliseconds: how long the answer took, until its first byte where it is streamed.
    """

    method_id: str
    path: str
    status: int
    verb: str
    at: float
    milliseconds: float


class Server:
    """Serves the services on one port, on an event loop in a thread of its own.

    :param services: what to serve.
    :param endpoints: the emulator's own endpoints.
    :param undescribed: methods that no discovery document describes. They are tried after all others.
    :param faults: what is to go wrong.
    :param host: the address to listen on.
    :param port: the port; 0 for a free one.
    :param origins: whose pages may talk to it from a browser; ``None`` for nobody's.
    :param http2_port: returns the port on this machine where HTTP/2 is spoken, which what comes in HTTP/2 is passed on to.
    """

    def __init__(
        self,
        services: list[Service],
        *,
        endpoints: Iterable[Endpoint] = (),
        undescribed: Sequence[Method] = (),
        faults: Faults | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        origins: Origins | None = None,
        http2_port: Callable[[], int] | None = None,
    ) -> None:
        self._origins = origins or Origins(host)
        self._http2_port = http2_port or _no_http2
        self.host = host
        self.port = port
        self.requests: collections.deque[LoggedRequest] = collections.deque(maxlen=100_000)
        self._faults = faults or Faults()
        self._endpoints: dict[str, dict[str, Endpoint]] = collections.defaultdict(dict)
        for endpoint in (Endpoint("GET", "/healthz", _healthz, waits=False), *endpoints):
            self._endpoints[endpoint.path][endpoint.verb] = endpoint
        self._apis = {name: Api(name) for service in services for name in service.apis}
        self._undescribed = undescribed
        self._handlers = _handlers(services)
        self._threads = _new_threads()
        self._under_way: set[asyncio.Task[Any]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._exchanging = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._splitter: Splitter | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Bind the port and serve in the background.

        :raises OSError: when the port is taken.
        """
        self._thread = threading.Thread(target=self._loop.run_forever, name="emulator-server", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop serving and wait for the requests under way."""
        if self._thread is None:
            self._loop.close()
            return
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._threads.shutdown()
        self._thread = None

    def exchange(self, change: Callable[[], list[Service]]) -> None:
        """Exchange the services for others while no request is under way. What comes meanwhile waits.

        :param change: called in a thread; returns the services from now on. They serve the same APIs.
        :raises RuntimeError: it does not serve.
        """
        if self._thread is None:
            raise RuntimeError("The emulator does not run.")
        asyncio.run_coroutine_threadsafe(self._exchange(change), self._loop).result()

    async def _exchange(self, change: Callable[[], list[Service]]) -> None:
        async with self._exchanging:
            self._open.clear()
            try:
                if self._under_way:
                    await asyncio.wait(self._under_way, timeout=_PATIENCE)
                await _cancel(self._under_way)
                # A thread cannot be cancelled; one that still works for a request uses the old services.
                await self._loop.run_in_executor(None, self._threads.shutdown)
                self._threads = _new_threads()
                self._handlers = _handlers(await self._loop.run_in_executor(None, change))
            finally:
                self._open.set()

    async def _start(self) -> None:
        application = web.Application(client_max_size=1 << 40)
        application.router.add_route("*", r"/{path:[\s\S]*}", self._handle)
        application.on_response_prepare.extend((_isolate, self._origins.share, _before_stream))
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=2, max_line_size=_MAX_HEADER, max_field_size=_MAX_HEADER
        )
        await self._runner.setup()
        assert self._runner.server is not None
        self._splitter = Splitter(self._runner.server, self._http2_port)
        self._listener = await self._loop.create_server(self._splitter, self.host, self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        if self._splitter is not None:
            self._splitter.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw_path = request.raw_path.partition("?")[0]
        try:
            self._origins.check(request)
            if self._origins.is_preflight(request):
                return self._origins.preflight(request)
            endpoint = self._find_endpoint(request.method, raw_path)
        except ApiError as error:
            return _failed(error)
        if endpoint is not None and not endpoint.waits:
            return await _guarded(endpoint.answer(request), raw_path)
        await self._open.wait()
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            if endpoint is not None:
                return await _guarded(endpoint.answer(request), raw_path)
            return await self._handle_method(request, raw_path)
        finally:
            self._under_way.discard(task)

    def _find_endpoint(self, verb: str, raw_path: str) -> Endpoint | None:
        """Return the emulator's own endpoint that is meant; ``None`` for a path of the APIs.

        :raises ApiError: 405 for a verb that the endpoint does not take.
        """
        if raw_path not in self._endpoints:
            return None
        verbs = self._endpoints[raw_path]
        if endpoint := verbs.get("GET" if verb == "HEAD" else verb):
            return endpoint
        allowed = ", ".join(sorted(verbs))
        raise ApiError(405, f"{raw_path} takes {allowed}.", headers={"Allow": allowed})

    async def _handle_method(self, request: web.Request, raw_path: str) -> web.StreamResponse:
        method_id, at, started = "unknown", time.time(), time.perf_counter()
        try:
            found = next((hit for api in self._apis.values() if (hit := api.find(request.method, raw_path))), None)
            found = found or find_method(self._undescribed, request.method, raw_path)
            if found is None:
                raise ApiError(404, f"{request.method} {raw_path}: no method of the emulated APIs has this path.")
            method_id = found[0].method_id
            response = await self._call_with_faults(request, *found)
        except ApiError as error:
            response = _failed(error)
        milliseconds = (time.perf_counter() - started) * 1000
        path = _SECRETS.sub(r"\1=...", request.raw_path)
        self.requests.append(LoggedRequest(method_id, path, response.status, request.method, at, milliseconds))
        log.info("%s %s %s %s %.0f ms", method_id, request.method, path, response.status, milliseconds)
        return response

    async def _call_with_faults(self, request: web.Request, method: Method, path: dict[str, str]) -> web.StreamResponse:
        fault = self._faults.take(REQUEST_KINDS, method.method_id, request.raw_path)
        if fault is None:
            return await self._answer(request, method, path)
        log.warning("fault: %s %s", fault.kind, method.method_id)
        if fault.kind == "status":
            headers = {"Retry-After": f"{fault.seconds:g}"} if fault.seconds else None
            return _failed(ApiError(fault.code, f"The emulator was asked to answer {fault.code}.", headers=headers))
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
            return await self._answer(request, method, path)
        if fault.kind == "reset":
            await _hold_or_lose(request, fault)
            return web.Response()
        _FAULT.set(fault)
        response = await self._answer(request, method, path)
        if not response.prepared:
            await _before_first_byte(request)
        return response

    async def _answer(self, request: web.Request, method: Method, path: dict[str, str]) -> web.StreamResponse:
        return await _guarded(self._call(request, method, path), method.method_id)

    async def _call(self, request: web.Request, method: Method, path: dict[str, str]) -> web.StreamResponse:
        handler = self._handlers.get(method.method_id)
        if handler is None:
            raise ApiError(501, f"The emulator does not do {method.method_id}.")
        query = request.query
        if method.api.startswith(_STRICT_QUERIES) and method.response != "HttpBody":
            # Cloud Storage and BigQuery ignore parameters that they do not know; DICOMweb's own are not in the document.
            query = self._apis[method.api].canonical_query(method, query)
        if query.get("alt", "json") not in ("json", "media"):
            raise ApiError(501, f"The emulator does not answer with alt={query['alt']}.")
        method.check_choices(query)
        selection = fields.parse(query["fields"]) if query.get("fields") else None
        if selection and method.response:
            fields.check(selection, {"$ref": method.response}, self._apis[method.api].schemas)
        call = Call(
            method=method,
            path=path,
            query=query,
            headers=request.headers,
            base_url=self._base_url(request),
            request=request,
            parse=lambda raw: self._parse(method, raw),
        )
        if method.media != "upload" and method.request not in (None, "HttpBody"):
            call.body = call.parse(await request.read())
        if inspect.iscoroutinefunction(handler):
            answer = await handler(call)
        else:
            answer = await self._loop.run_in_executor(self._threads, handler, call)
        if isinstance(answer, web.StreamResponse):
            return answer
        if answer is None:
            return web.Response(status=204)
        return web.Response(text=json.dumps(fields.select(answer, selection)), content_type="application/json")

    def _base_url(self, request: web.Request) -> str:
        """Return scheme, host and port as the client knows them, be it through a proxy that says so."""
        scheme, host = (request.headers.get(f"X-Forwarded-{what}", "") for what in ("Proto", "Host"))
        if scheme not in ("http", "https"):
            scheme = request.scheme
        if _HOST.fullmatch(host):
            return f"{scheme}://{host}"
        # dicomweb-client leaves the port out of its Host.
        host = request.headers.get("Host") or self.host
        return f"{scheme}://{host}" if re.search(r":\d+$", host) else f"{scheme}://{host}:{self.port}"

    def _parse(self, method: Method, raw: bytes) -> dict[str, Any]:
        body = lenient_json.loads(raw)
        if method.request:
            # Before an upload, BigQuery takes unknown fields as well: Google's Node client sends configuration.load.location.
            strict, nulls = method.api.startswith(_STRICT_BODIES) and method.media != "upload", method.http_method == "PATCH"
            try:
                body = self._apis[method.api].canonical_body(method.request, body, strict=strict, nulls=nulls)
            except RecursionError as error:
                raise ApiError(400, "Invalid JSON payload received. It is nested too deeply.") from error
        if not isinstance(body, dict):
            raise ApiError(400, "Invalid JSON payload received. The body must be an object.")
        return body


async def _guarded(answer: Awaitable[web.StreamResponse], what: str) -> web.StreamResponse:
    """Wait for an answer; return an error's envelope where there is none.

    :param what: whose answer it is, for the log.
    """
    try:
        return await answer
    except ApiError as error:
        return _failed(error)
    except ConnectionError:
        return _failed(ApiError(499, "The client closed the connection."))
    except web.RequestPayloadError as error:
        return _failed(ApiError(400, f"The request's body cannot be read: {error}"))
    except Exception as error:
        if _disk_is_full(error):
            # 507 rather than 500, which clients would send again and again.
            return _failed(ApiError(507, f"The disk of the emulator's data directory is full: {error}"))
        log.exception("%s failed", what)
        return _failed(ApiError(500, f"{type(error).__name__}: {error}"))


def _no_http2() -> int:
    raise ConnectionRefusedError("This server speaks HTTP/1.1 only.")


def _disk_is_full(error: Exception) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


async def _before_first_byte(request: web.Request) -> None:
    """Let the fault of an answer happen."""
    if fault := _FAULT.get():
        _FAULT.set(None)
        await _hold_or_lose(request, fault)


async def _before_stream(request: web.Request, _: web.StreamResponse) -> None:
    """Let the fault of an answer happen that its handler streams.

    :raises ConnectionResetError: it is lost; the handler need not go on.
    """
    if _FAULT.get():
        await _before_first_byte(request)
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError


async def _hold_or_lose(request: web.Request, fault: Fault) -> None:
    if fault.kind == "hold_answer":
        await asyncio.sleep(fault.seconds)
    elif request.transport is not None:
        request.transport.abort()


async def _isolate(_: web.Request, response: web.StreamResponse) -> None:
    """Have browsers show what a client stored as somebody else's page, and not run it as the emulator's."""
    response.headers.setdefault("Content-Security-Policy", "sandbox")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")


def _failed(error: ApiError) -> web.Response:
    return web.json_response(error.envelope(), status=error.code, headers=error.headers)


def _handlers(services: list[Service]) -> dict[str, Handler]:
    return {method_id: handler for service in services for method_id, handler in service.handlers().items()}


def _new_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=16, thread_name_prefix="emulator")


async def _cancel_all() -> None:
    """Cancel the requests that are still under way, such as those that are delayed on request."""
    await _cancel([task for task in asyncio.all_tasks() if task is not asyncio.current_task()])


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _healthz(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})
