"""The emulator as one object: its services, its directory, its port."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from gcp_dicom_emulator.bigquery.service import BigQueryService
from gcp_dicom_emulator.control import Control
from gcp_dicom_emulator.environment import base_url, environment
from gcp_dicom_emulator.healthcare.log_entries import LogEntries
from gcp_dicom_emulator.healthcare.service import HealthcareService
from gcp_dicom_emulator.kept.snapshots import extract_snapshot, write_snapshot
from gcp_dicom_emulator.kept.state import State
from gcp_dicom_emulator.pages.browser import Browser
from gcp_dicom_emulator.pages.overview import Overview
from gcp_dicom_emulator.pages.stores import Stores
from gcp_dicom_emulator.pubsub.service import PubSubService
from gcp_dicom_emulator.rest.batches import Batches
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.faults import Faults
from gcp_dicom_emulator.rest.origins import Origins
from gcp_dicom_emulator.rest.server import LoggedRequest, Server, Service
from gcp_dicom_emulator.rest.tokens import TOKENS
from gcp_dicom_emulator.storage.notifications import BucketNotifications
from gcp_dicom_emulator.storage.service import StorageService
from gcp_dicom_emulator.storage.xml_api import METHODS, XmlApi

if TYPE_CHECKING:
    from gcp_dicom_emulator.pubsub.grpc_front import GrpcFront


class Emulator:
    """Healthcare, Cloud Storage, BigQuery and Pub/Sub on one local port. Also a context manager that starts and stops it.

    :param data_dir: where to keep everything; ``None`` for a temporary directory that is removed at the end.
    :param host: the address to listen on.
    :param port: the port; 0 for a free one.
    :param operation_seconds: how long an operation takes at least, in seconds; its counters move meanwhile.
    :param operation_polls: how often an operation is to be asked for until it is done; its counters move with that.
    :param operation_retention: for how many seconds an operation can be asked for after its end; ``None`` for always.
    :param allow_origins: whose pages may talk to it from a browser, e.g. ``["http://localhost:3000"]``.
    :raises ValueError: something in ``allow_origins`` is not an origin.
    :raises OSError: when ``data_dir`` cannot be used, be it that another emulator uses it.
    """

    #: The emulated services; :meth:`reset` and :meth:`restore` make new ones.
    storage: StorageService
    bigquery: BigQueryService
    healthcare: HealthcareService
    pubsub: PubSubService

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        operation_seconds: float = 0.0,
        operation_polls: int = 0,
        operation_retention: float | None = None,
        allow_origins: Iterable[str] = (),
    ) -> None:
        origins = Origins(host, allow_origins)
        self._progress = (operation_seconds, operation_polls, operation_retention)
        self._state = State(data_dir)
        self.faults = Faults()
        try:
            self._make_services()
        except BaseException:
            self._state.close()
            raise
        stores = Stores(self, self._state)
        endpoints = [
            *Overview(self, self._state, stores).endpoints(),
            *stores.endpoints(),
            *Browser(self, self._state).endpoints(),
            *Control(self).endpoints(),
            *self.faults.endpoints(),
            *LogEntries(self._state).endpoints(),
            *Batches(lambda: self.url).endpoints(),
            *TOKENS,
        ]
        self._server = Server(
            self._services,
            endpoints=endpoints,
            undescribed=METHODS,
            faults=self.faults,
            host=host,
            port=port,
            origins=origins,
            http2_port=self._grpc_port,
        )
        self._started = False
        self._grpc: GrpcFront | None = None
        self._starting_grpc = threading.Lock()

    def _grpc_port(self) -> int:
        """Return the port that gRPC is served on. It starts when it is first needed: loading it takes a second."""
        with self._starting_grpc:
            if self._grpc is None:
                from gcp_dicom_emulator.pubsub.grpc_front import GrpcFront

                self._grpc = GrpcFront(lambda: self.url, lambda ack_ids: self.pubsub.deliveries.still_lent(ack_ids))
            return self._grpc.port

    def _make_services(self) -> None:
        self.pubsub = PubSubService(self._state)
        self.storage = StorageService(self._state)
        self.bigquery = BigQueryService(self._state, self.storage.objects, self.faults)
        self.healthcare = HealthcareService(self._state, self.storage.objects, self.bigquery, self.pubsub.deliveries, self.faults)
        operations = self.healthcare.operations
        operations.seconds, operations.polls, operations.retention = self._progress
        self._services: list[Service] = [
            self.healthcare,
            self.bigquery,
            self.storage,
            self.pubsub,
            BucketNotifications(self._state, self.storage.objects, self.pubsub.topics, self.pubsub.deliveries),
            XmlApi(self.storage, self._state),
        ]
        self._state.sweep()

    def start(self) -> None:
        """Bind the port and serve in the background; go on with what a killed emulator left.

        :raises OSError: when the port is taken. It is then stopped already.
        :raises RuntimeError: it was started before.
        """
        if self._started:
            raise RuntimeError("An emulator starts once. Make another one.")
        self._started = True
        try:
            self.healthcare.start()  # before anyone can cancel what goes on, or start more
            self._server.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop serving and all background work."""
        self.pubsub.release()
        with self._starting_grpc:
            if self._grpc is not None:
                self._grpc.stop()
        self._server.stop()
        self._close_services()
        self._state.close()

    def _close_services(self) -> None:
        for service in self._services:
            service.close()

    def reset(self) -> None:
        """Remove everything that is kept, all faults and the list of requests. Operations and jobs under way end without a word.

        The services are new ones afterwards: what was taken from :attr:`storage` and its like is of no use.
        """
        self.faults.clear()
        self._exchange_services(lambda: self._exchange(lambda: self._state.new_content()))
        self.requests.clear()

    def snapshot(self, file: Path) -> None:
        """Write everything that is kept to a tar file.

        :raises ApiError: 409 while operations or jobs are under way.
        """

        def write() -> list[Service]:
            self._check_idle()
            self._close_services()
            self._state.disconnect()
            try:
                write_snapshot(self._state.directory, file)
            finally:
                self._make_services()
            return self._services

        self._exchange_services(write)
        self.healthcare.start()

    def restore(self, file: Path) -> None:
        """Put what a snapshot holds in place of everything that is kept; see :meth:`reset`.

        :raises ApiError: 400 for a file that is not a snapshot; everything is then as it was.
        """
        columns = self._state.columns()
        self._exchange_services(lambda: self._exchange(lambda: extract_snapshot(file, self._state.new_content(), columns)))
        self.healthcare.start()

    def status(self) -> dict[str, Any]:
        """Return where it is and how much it holds."""
        counts = {
            "dicomStores": "SELECT COUNT(*) FROM healthcare_resources WHERE name LIKE '%/dicomStores/%'",
            "instances": "SELECT COUNT(*) FROM dicom_instances",
            "operationsUnderWay": "SELECT COUNT(*) FROM operations WHERE NOT done",
            "buckets": "SELECT COUNT(*) FROM buckets",
            "objects": "SELECT COUNT(*) FROM objects",
            "tables": "SELECT COUNT(*) FROM bigquery_tables",
            "rowsToStream": "SELECT COUNT(*) FROM streamed_rows",
            "topics": "SELECT COUNT(*) FROM pubsub_topics",
            "subscriptions": "SELECT COUNT(*) FROM pubsub_subscriptions",
            "messages": "SELECT COUNT(*) FROM pubsub_deliveries",
        }
        found = {name: self._state.query(sql)[0][0] for name, sql in counts.items()}
        return {"url": self.url, "dataDirectory": str(self._state.directory), **found, "requests": len(self.requests)}

    def _exchange_services(self, change: Callable[[], list[Service]]) -> None:
        self.pubsub.release()
        self._server.exchange(change)

    def _exchange(self, fill: Callable[[], object]) -> list[Service]:
        fill()
        self._close_services()
        self._state.replace()
        self._make_services()
        return self._services

    def _check_idle(self) -> None:
        operations = self._state.query("SELECT name FROM operations WHERE NOT done")
        jobs = self._state.query(
            "SELECT job_id AS name FROM bigquery_jobs WHERE json_extract(resource, '$.status.state') <> 'DONE'"
        )
        if busy := [row["name"] for row in (*operations, *jobs)]:
            raise ApiError(409, f"Wait for what is under way, or cancel it: {', '.join(busy[:5])}.", status="ABORTED")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    @property
    def url(self) -> str:
        """The base URL of all services."""
        return base_url(self._server.host, self.port)

    @property
    def requests(self) -> deque[LoggedRequest]:
        """The requests that were answered, the latest last."""
        return self._server.requests

    def environment(self) -> dict[str, str]:
        """Return the environment variables that point clients at it."""
        return environment(self.url)
