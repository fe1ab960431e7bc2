"""The pages behind the one at ``/``: a bucket's objects, a table's rows, a study's instances, an operation and its log."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from aiohttp import web

from gcp_dicom_emulator.bigquery.names import TableName
from gcp_dicom_emulator.bigquery.sql import rows
from gcp_dicom_emulator.pages.html import (
    Html,
    address,
    counted,
    in_thread,
    link,
    moment,
    number,
    page_behind,
    pages_beside,
    size,
    start_of,
    table,
)
from gcp_dicom_emulator.rest.endpoints import Endpoint
from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.storage.objects import behind

if TYPE_CHECKING:
    from gcp_dicom_emulator.bigquery.service import BigQueryService
    from gcp_dicom_emulator.bigquery.sql.types import Field
    from gcp_dicom_emulator.healthcare.service import HealthcareService
    from gcp_dicom_emulator.kept.state import State
    from gcp_dicom_emulator.storage.service import StorageService

BUCKET, TABLE, JOB, LOGS = "/_emulator/bucket", "/_emulator/table", "/_emulator/job", "/_emulator/logs"
STORE, STUDY = "/_emulator/store", "/_emulator/study"
#: The thumbnail of an instance.
THUMBNAIL = "/_emulator/thumbnail"

#: How much a page shows: objects and folders, rows, instances, entries of a log.
_OBJECTS, _ROWS, _INSTANCES, _ENTRIES = 200, 50, 200, 1000
#: From how many columns on a table's columns are folded, and how much of a value is shown.
_FEW_COLUMNS, _LONG = 20, 300

#: What is behind a prefix up to the next slash is a folder; the rest are objects.
_FOLDERS = """
WITH found AS (
    SELECT name, size, updated, instr(substr(name, :length + 1), '/') AS slash FROM objects
    WHERE bucket = :bucket AND name >= :prefix AND name < :behind
)
SELECT CASE slash WHEN 0 THEN name ELSE substr(name, 1, :length + slash) END AS entry, slash > 0 AS folder, COUNT(*) AS objects,
    SUM(size) AS size, MAX(updated) AS updated, COUNT(*) OVER () AS entries
FROM found GROUP BY entry, folder ORDER BY entry, folder LIMIT :limit OFFSET :start
"""

#: What is said of an operation's times (UTC), by the fields of its metadata.
_TIMES = {"started (UTC)": "createTime", "ended (UTC)": "endTime"}
#: What is said of a series, by tags.
_SERIES = {"Modality": "00080060", "SeriesNumber": "00200011", "SeriesDescription": "0008103E"}


class Browsed(Protocol):
    """What the pages need of an :class:`Emulator`."""

    storage: StorageService
    bigquery: BigQueryService
    healthcare: HealthcareService


class Browser:
    """The pages.

    :param emulator: what they show.
    :param state: where that is kept.
    """

    def __init__(self, emulator: Browsed, state: State) -> None:
        self._emulator = emulator
        self._state = state

    def endpoints(self) -> list[Endpoint]:
        """Return their endpoints."""
        return [
            Endpoint("GET", BUCKET, in_thread(self._bucket)),
            Endpoint("GET", TABLE, in_thread(self._table)),
            Endpoint("GET", JOB, in_thread(self._job)),
            Endpoint("GET", STUDY, in_thread(self._study)),
            Endpoint("GET", LOGS, in_thread(self._logs)),
        ]

    def _bucket(self, request: web.Request) -> web.Response:
        bucket, prefix, start = request.query.get("bucket", ""), request.query.get("prefix", ""), start_of(request)
        self._emulator.storage.objects.get_bucket(bucket)
        limits = {"bucket": bucket, "prefix": prefix, "behind": behind(prefix), "length": len(prefix)}
        found = self._state.query(_FOLDERS, {**limits, "limit": _OBJECTS, "start": start})
        cells: list[list[Html | str]] = []
        for row in found:
            name = row["entry"][len(prefix) :] or row["entry"]
            if row["folder"]:
                entry = link(name, BUCKET, bucket=bucket, prefix=row["entry"])
            else:
                path = f"/storage/v1/b/{quote(bucket, safe='')}/o/{quote(row['entry'], safe='')}?alt=media"
                entry = Html(f'<a href="{escape(path)}" download="{escape(name.rpartition("/")[2])}">{escape(name)}</a>')
            objects = counted(row["objects"], "object") if row["folder"] else ""
            cells.append([entry, objects, size(row["size"]), moment(row["updated"])])
        total = found[0]["entries"] if found else 0
        pages = pages_beside(start, len(found), total, _OBJECTS, BUCKET, bucket=bucket, prefix=prefix)
        content = table(("name", "holds", "size", "updated (UTC)"), cells, numbers=(1, 2), further=(3,), kind="mono")
        return page_behind(f"gs://{bucket}/{prefix}", _steps(bucket, prefix), f"{pages}{content if found else ''}")

    def _table(self, request: web.Request) -> web.Response:
        where = {part: request.query.get(part, "") for part in ("project", "dataset", "table")}
        found, start = self._emulator.bigquery.catalog.table(TableName(*where.values())), start_of(request)
        columns = list(_columns(found.fields))
        listed = table(("column", "type", "mode"), columns, kind="mono")
        title = f"Columns <b>{number(len(columns))}</b>"
        content = f"<details{' open' * (len(columns) <= _FEW_COLUMNS)}><summary>{title}</summary>{listed}</details>"
        if found.physical is None:
            query = escape(found.resource.get("view", {}).get("query", ""))
            return page_behind(".".join(where.values()), "A view", f"<h2>Query</h2><pre><code>{query}</code></pre>{content}")
        engine = self._emulator.bigquery.catalog.engine
        page = rows.read_page(engine, found.physical, found.fields, start, _ROWS, rows.timestamp_writer("ISO8601_STRING"))
        cells = [
            [_value(_plain(field, cell["v"])) for field, cell in zip(found.fields, row["f"], strict=True)] for row in page.rows
        ]
        pages = pages_beside(start, len(cells), page.total, _ROWS, TABLE, **where)
        shown = table([field["name"] for field in found.fields], cells, kind="mono")
        return page_behind(".".join(where.values()), "A table", f'{content}<h2>Rows</h2>{pages}<div class="wide">{shown}</div>')

    def _job(self, request: web.Request) -> web.Response:
        project, job_id = request.query.get("project", ""), request.query.get("job", "")
        job = self._emulator.bigquery.jobs.get(project, job_id, request.query.get("location") or None)
        configuration, statistics = job["configuration"], job["statistics"]
        query = configuration.get("query", {})
        cells: list[list[Html | str]] = [["state", job["status"]["state"]]]
        if error := job["status"].get("errorResult"):
            cells.append(["error", error["message"]])
        if "totalBytesBilled" in (counted := statistics.get("query", {})):
            cells.append(["billed", size(int(counted["totalBytesBilled"]))])
        cells += [[name, str(query[name])] for name in ("maximumBytesBilled", "priority") if name in query]
        cells += [["label", f"{name}: {value}"] for name, value in configuration.get("labels", {}).items()]
        text = query.get("query") or json.dumps(configuration, indent=2, ensure_ascii=False)
        content = f"{table(('', ''), cells)}<h2>Query</h2><pre><code>{escape(text)}</code></pre>"
        return page_behind("A job", escape(job["id"]), content)

    def _study(self, request: web.Request) -> web.Response:
        store, study, start = request.query.get("store", ""), request.query.get("study", ""), start_of(request)
        found = self._state.query(
            "SELECT i.*, a.attributes, COUNT(*) OVER () AS instances FROM dicom_instances i"
            " LEFT JOIN dicom_attributes a USING (store, study, series, instance)"
            " WHERE i.store = ? AND i.study = ? ORDER BY i.series, i.instance LIMIT ? OFFSET ?",
            (store, study, _INSTANCES, start),
        )
        if not found and not start:
            raise ApiError(404, f"There is no such study: {store}/dicomWeb/studies/{study}")
        content = "".join(
            self._series(store, study, series, list(instances))
            for series, instances in itertools.groupby(found, key=lambda row: str(row["series"]))
        )
        total = found[0]["instances"] if found else 0
        pages = pages_beside(start, len(found), total, _INSTANCES, STUDY, store=store, study=study)
        return page_behind(f"Study {study}", link(store, STORE, store=store).text, pages + content)

    def _series(self, store: str, study: str, series: str, instances: Sequence[Any]) -> str:
        all_attributes = [json.loads(row["attributes"] or "{}") for row in instances]
        about = " · ".join(text for tag in _SERIES.values() if (text := _attribute(all_attributes[0], tag)))
        cells: list[list[Html | str]] = []
        for row, attributes in zip(instances, all_attributes, strict=True):
            path = f"/v1/{store}/dicomWeb/studies/{study}/series/{series}/instances/{row['instance']}/metadata"
            # Columns, rows, and frames where there are several.
            pixels = [
                text for tag in ("00280011", "00280010", "00280008") if (text := _attribute(attributes, tag)) not in ("", "1")
            ]
            picture = Html(f'<img class="small" src="{address(THUMBNAIL, blob=row["blob"])}" alt="" loading="lazy">')
            uid = Html(f'<a href="{escape(quote(path))}" title="All its attributes, as JSON">{escape(row["instance"])}</a>')
            cells.append(
                [
                    picture,
                    _attribute(attributes, "00200013"),
                    uid,
                    " x ".join(pixels),
                    _name_of(row["transfer_syntax"]),
                    size(row["size"]),
                ]
            )
        head = ("", "number", "SOPInstanceUID", "pixels", "transfer syntax", "size")
        shown = table(head, cells, numbers=(1, 5), further=(3, 4), kind="mono")
        return f'<h3>{escape(series)}<span class="dim">{escape(about)}</span></h3>{shown}'

    def _logs(self, request: web.Request) -> web.Response:
        name = request.query.get("operation", "")
        entries = self._emulator.healthcare.operations.logs(name)
        if "text/html" not in request.headers.get("Accept", ""):
            answer = web.json_response({"entries": entries}, dumps=lambda value: json.dumps(value, indent=2))
            answer.headers["Vary"] = "Accept"
            return answer
        start = start_of(request)
        cells: list[list[Html | str]] = []
        for entry in entries[start : start + _ENTRIES]:
            payload = entry["jsonPayload"]
            source = payload.get("source") or payload.get("resourceName", "")
            cells.append([source, payload["error"]["message"], moment(entry["timestamp"])])
        pages = pages_beside(start, len(cells), len(entries), _ENTRIES, LOGS, operation=name)
        content = table(("source", "message", "time (UTC)"), cells, further=(2,), kind="mono")
        empty = '<p class="dim">No errors of single files or instances.</p>'
        log = f"<h2>Log</h2>{pages + content if entries else empty}"
        return page_behind("An operation", escape(name), self._operation(name) + log)

    def _operation(self, name: str) -> str:
        """Return what an operation was asked to do, and what has become of it."""
        operations = self._emulator.healthcare.operations
        try:
            operation, request = operations.get(name), operations.request(name)
        except ApiError as missing:
            return f"<p>{escape(missing.message)}</p>"
        metadata = operation["metadata"]
        rows: list[list[Html | str]] = [["method", metadata["apiMethodName"]], ["state", state(operation)]]
        if error := operation.get("error"):
            rows.append(["error", error["message"]])
        rows.append(["counters", counters(operation)])
        rows += [[what, moment(metadata[key])] for what, key in _TIMES.items() if key in metadata]
        text = escape(json.dumps(request, indent=2, ensure_ascii=False))
        return f"{table(('', ''), rows)}<h2>Request</h2><pre><code>{text}</code></pre>"


def state(operation: dict[str, Any]) -> Html:
    """Return how an operation, as the API writes it, is doing."""
    if error := operation.get("error"):
        return Html(f'<span class="whole bad">error {error["code"]}</span>')
    return Html('<span class="whole good">done</span>' if operation.get("done") else "running")


def counters(operation: dict[str, Any]) -> str:
    """Return how many instances an operation, as the API writes it, has handled."""
    counter = operation["metadata"].get("counter", {})
    return ", ".join(f"{counter[key]} {key}" for key in ("success", "failure", "pending") if key in counter)


def _steps(bucket: str, prefix: str) -> str:
    """Return the way to a folder, with a link to each that it is in."""
    folders = prefix.split("/")[:-1] if prefix.endswith("/") else prefix.split("/")
    steps = [link(f"gs://{bucket}", BUCKET, bucket=bucket).text]
    if prefix:
        for at, folder in enumerate(folders, 1):
            steps.append(link(folder, BUCKET, bucket=bucket, prefix="/".join(folders[:at]) + "/").text)
    return " / ".join(steps)


def _columns(fields: Sequence[Field], above: str = "") -> Iterator[list[Html | str]]:
    """Yield a table's columns, with those that are nested."""
    for field in fields:
        yield [above + field["name"], field["type"], field.get("mode", "NULLABLE")]
        yield from _columns(field.get("fields", ()), f"{above}{field['name']}.")


def _plain(field: Field, value: Any) -> Any:
    """Return a value in BigQuery's wire form as JSON that people read."""
    if field.get("mode") == "REPEATED":
        return [_plain({**field, "mode": "NULLABLE"}, item["v"]) for item in value]
    if field["type"] == "RECORD" and value is not None:
        return {child["name"]: _plain(child, item["v"]) for child, item in zip(field["fields"], value["f"], strict=True)}
    return value


def _value(value: Any) -> Html | str:
    """Return a cell with a value."""
    if value is None:
        return Html('<span class="dim">NULL</span>')
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"


def _attribute(attributes: dict[str, Any], tag: str) -> str:
    """Return the values of an attribute in DICOM JSON as text."""
    return "\\".join(str(value) for value in attributes.get(tag, {}).get("Value", ()))[:_LONG]


def _name_of(uid: str) -> str:
    """Return the name of a transfer syntax, or the UID of one without."""
    from pydicom import uid as uids

    return str(uids.UID(uid).name)
