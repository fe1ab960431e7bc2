"""What has arrived: messages of Pub/Sub about DICOM stores and buckets, as a DAG reads them. No Google library.

Sources: the attributes of a store's and of a bucket's notifications; ``docs/guides/events.md`` says why it is done in this way.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from airflow_dicom.exceptions import PubSubApiError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Asset

log = logging.getLogger(__name__)

#: The version of the events' payload.
SCHEMA = 1
#: How far back an event is looked for that was stored late: two triggerers may commit in another order than they began.
_OVERLAP = timedelta(minutes=5)
#: How many events a run takes, each of up to 500 messages; the next run takes the rest.
_EVENTS = 20
#: How much of a message is shown that cannot be read.
_RAW = 200
_INSTANCE = re.compile(r"(projects/.+/dicomStores/[^/]+)/dicomWeb(/studies/[^/]+)(/series/[^/]+)(/instances/[^/]+)")


def read_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a message of Pub/Sub tells, in few words.

    Of a DICOM store: ``id``, ``action`` (``""`` from an old ``notificationConfig``, which has none), ``path``, the instance's full
    name, and ``updated``. Of a bucket: ``id``, ``action``, ``path``, which is ``gs://bucket/object``, ``generation`` and ``updated``.
    Of what is neither: ``id`` and ``raw``, the beginning of it, so that it is seen.

    :param message: a ``PubsubMessage``, as JSON has it.
    """
    identity, attributes = message.get("messageId", ""), message.get("attributes") or {}
    updated = message.get("publishTime", "")
    if "bucketId" in attributes and "objectId" in attributes:
        return {
            "id": identity,
            "action": attributes.get("eventType", ""),
            "path": f"gs://{attributes['bucketId']}/{attributes['objectId']}",
            "generation": attributes.get("objectGeneration", ""),
            "updated": attributes.get("eventTime", updated),
        }
    data = message.get("data", "")
    try:
        path = base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        path = ""
    if not _INSTANCE.fullmatch(path):
        return {"id": identity, "raw": data[:_RAW]}
    return {"id": identity, "action": attributes.get("action", ""), "path": path, "updated": updated}


def payload(messages: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the payload of an asset event for messages of Pub/Sub, each once."""
    read = {message["id"]: message for message in map(read_message, messages)}
    return {"schema": SCHEMA, "messages": list(read.values())}


def collect_arrivals(asset: Asset, context: Mapping[str, Any], limit: int = _EVENTS) -> dict[str, Any]:
    """Return what has arrived since the DAG last called :func:`advance_arrivals`, for a task that has the asset as an inlet.

    The messages that started the run are not all: Airflow may start one run for several events, and names only the first. So this
    reads the asset's events after a watermark. A message may come again, in this run or another one.

    :param asset: what :func:`~airflow_dicom.assets.arrivals_asset` returned.
    :param context: the task's.
    :param limit: how many events, each of up to 500 messages, one run takes; the next run takes the rest.
    :return: ``messages``, each as :func:`read_message` returns it, and ``watermark``: to be passed on, by XCom, to the other tasks,
        and to :func:`advance_arrivals` in the last one.
    :raises AirflowSkipException: nothing has arrived.
    :raises PubSubApiError: nothing has arrived, and there is no such subscription, or it does not answer.
    """
    from airflow.providers.common.compat.sdk import AirflowSkipException

    messages, watermark = _collect(asset, context, limit)
    if not messages:
        _check_subscriptions(asset)
        raise AirflowSkipException("Nothing has arrived.")
    return {"messages": messages, "watermark": watermark}


def collect_quiet_studies(asset: Asset, context: Mapping[str, Any], *, minutes: float, limit: int = _EVENTS) -> dict[str, Any]:
    """Return the studies that have arrived and to which nothing was added since, for a task that has the asset as an inlet.

    Those that still grow are kept in mind, so that a later run returns them: the DAG's schedule must start one now and then.

    :param asset: what :func:`~airflow_dicom.assets.arrivals_asset` returned, for the subscription of a DICOM store.
    :param context: the task's.
    :param minutes: for how long a study must have been quiet.
    :param limit: as for :func:`collect_arrivals`.
    :return: ``studies``, as lines of a filter, ``/studies/UID``, and ``watermark``, for :func:`advance_arrivals`.
    :raises AirflowSkipException: nothing has arrived, and no study has become quiet.
    :raises PubSubApiError: likewise, and there is no such subscription, or it does not answer.
    """
    from airflow.providers.common.compat.sdk import AirflowSkipException

    messages, watermark = _collect(asset, context, limit)
    growing: dict[str, str] = watermark["growing"]
    for message in messages:
        for study in arrived_studies([message]):
            growing[study] = max(growing.get(study, message["updated"]), message["updated"], key=datetime.fromisoformat)
    since = datetime.now(UTC) - timedelta(minutes=minutes)
    quiet = [study for study, updated in growing.items() if datetime.fromisoformat(updated) <= since]
    if not messages and not quiet:
        _check_subscriptions(asset)
        raise AirflowSkipException("No study has arrived, or become quiet.")
    watermark["growing"] = {study: updated for study, updated in growing.items() if study not in quiet}
    return {"studies": quiet, "watermark": watermark}


def _collect(asset: Asset, context: Mapping[str, Any], limit: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the messages of the asset's events after the watermark, and the watermark behind them."""
    watermark = _state(asset, context).get(_key(context)) or {"at": None, "seen": {}, "growing": {}}
    seen, at = dict(watermark["seen"]), watermark["at"]
    messages: dict[str, dict[str, Any]] = {}
    events = context["inlet_events"][asset]
    if at is not None:
        events = events.after((datetime.fromisoformat(at) - _OVERLAP).isoformat())
    # Those that are read again, in case one before them was late, do not count.
    for event in events.ascending().limit(limit + len(seen)):
        if str(event.id) in seen:
            continue
        stored = event.timestamp.astimezone(UTC).isoformat()
        seen[str(event.id)] = stored
        at = stored if at is None else max(at, stored, key=datetime.fromisoformat)
        extra: Any = event.extra or {}
        found = (extra.get("payload") or {}).get("messages") or []
        messages |= {message["id"]: message for message in found}
    if at is not None:
        oldest = datetime.fromisoformat(at) - _OVERLAP
        seen = {identity: stored for identity, stored in seen.items() if datetime.fromisoformat(stored) >= oldest}
    return list(messages.values()), {"at": at, "seen": seen, "growing": dict(watermark["growing"])}


def _check_subscriptions(asset: Asset) -> None:
    """See that there is a subscription from which something could arrive: nobody else tells that it is missing.

    :raises PubSubApiError: there is none, or it does not answer.
    """
    from airflow_dicom.hooks.pubsub import PubSubHook

    for watcher in getattr(asset, "watchers", []):
        trigger: Any = watcher.trigger
        hook = PubSubHook(gcp_conn_id=trigger.gcp_conn_id, impersonation_chain=trigger.impersonation_chain)
        try:
            hook.get_subscription(trigger.subscription)
        except PubSubApiError as error:
            if error.status_code == 404:
                raise PubSubApiError(
                    f"There is no {trigger.subscription}, so that nothing can arrive. Create it. ({error})", status_code=404
                ) from error
            if error.status_code != 403:
                raise
            log.warning("%s roles/pubsub.viewer would let this task see whether there is %s.", error, trigger.subscription)


def advance_arrivals(asset: Asset, context: Mapping[str, Any], collected: Mapping[str, Any]) -> None:
    """Say that what :func:`collect_arrivals` returned is done. To be called last: a run that fails before leaves it to the next.

    :param asset: the asset, which the task has as an inlet.
    :param context: the task's.
    :param collected: what :func:`collect_arrivals` returned.
    """
    _state(asset, context).set(_key(context), dict(collected["watermark"]))


def arrived_studies(messages: Iterable[Mapping[str, Any]], store: str | None = None) -> list[str]:
    """Return the studies of which instances were stored or imported, as lines of a filter: ``/studies/UID``.

    :param messages: of a DICOM store.
    :param store: the store's full name; by default that of any.
    """
    studies = {}
    for message in messages:
        found = _INSTANCE.fullmatch(message.get("path", ""))
        if found and store in (None, found.group(1)) and not message["action"].startswith(("Delete", "SetBlob")):
            studies[found.group(2)] = True
    return list(studies)


def arrived_uris(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what an import takes to get the objects that have arrived: a URI, and so an operation, for each folder.

    Where one object has arrived in a folder, it is that one; where several have, what their names begin with alike and ``*``. What
    else this means is imported as well, and ignored if the store has it. An import takes the newest generation of each object.

    :param messages: of a bucket.
    """
    folders: dict[str, set[str]] = {}
    for message in messages:
        folder, _, name = message.get("path", "").rpartition("/")
        if name and message["action"] == "OBJECT_FINALIZE":
            folders.setdefault(folder, set()).add(name)
    return sorted({_uri(folder, names) for folder, names in folders.items()})


def _uri(folder: str, names: set[str]) -> str:
    """Return the narrowest URI that means some objects of a folder. A name may have characters that are wildcards in a URI."""
    if wild := re.search(r"[*?]", folder):
        return f"{folder[: wild.start()]}**"
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(min(names), max(names), strict=False))
    common = re.split(r"[*?]", "".join(character for character, _ in alike))[0]
    return f"{folder}/{common}" if names == {common} else f"{folder}/{common}*"


def size(messages: Mapping[str, Any]) -> int:
    """Return how many bytes a payload takes in Airflow's database."""
    return len(json.dumps(messages))


def _state(asset: Asset, context: Mapping[str, Any]) -> Any:
    """Return what Airflow keeps of an asset."""
    return context["asset_state_store"][asset]


def _key(context: Mapping[str, Any]) -> str:
    """Return under which key the watermark is kept: each DAG has its own."""
    return f"airflow_dicom arrivals {context['dag'].dag_id}"
