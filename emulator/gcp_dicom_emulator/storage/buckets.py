"""The settings of buckets: which are obeyed, which are kept and shown because nothing comes of them here, and which are refused.

Sources: the discovery document ``storage.v1``; the documentation of Cloud Storage on bucket locations, Bucket Lock, object holds,
object versioning and replication.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.rest.labels import check_labels
from gcp_dicom_emulator.storage.objects import Bucket
from gcp_dicom_emulator.storage.times import timestamp

#: What of a bucket the server decides.
_OUTPUT = (
    "kind", "id", "selfLink", "name", "projectNumber", "locationType", "timeCreated", "updated", "generation", "metageneration",
    "etag", "owner", "satisfiesPZI", "satisfiesPZS", "hardDeleteTime", "softDeleteTime",
)  # fmt: skip
#: What is obeyed.
_OBEYED = (
    "location", "customPlacementConfig", "storageClass", "labels", "versioning", "retentionPolicy", "defaultEventBasedHold",
    "objectRetention",
)  # fmt: skip
#: What is kept and shown. It speaks of accounts, which are not asked for, and of who pays, of websites and browsers, which do not
#: come here, of copies elsewhere, or of a later day, which does not come.
_SHOWN = ("acl", "billing", "defaultObjectAcl", "iamConfiguration", "website", "cors", "rpo", "lifecycle")
_MULTI_REGIONS, _DUAL_REGIONS = ("ASIA", "EU", "US"), ("ASIA1", "EUR4", "EUR5", "EUR7", "EUR8", "NAM4")
_PUBLIC_ACCESS_PREVENTION = ("enforced", "inherited", "unspecified")
#: How long uniform access can be switched off again, and how long a retention period may be, in seconds: a hundred years.
_UNIFORM_LOCK, _MAX_RETENTION = timedelta(days=90), 3_155_760_000


#: The classes of today, and those of old buckets.
_CLASSES = ("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE", "MULTI_REGIONAL", "REGIONAL", "DURABLE_REDUCED_AVAILABILITY")


def settle_class(properties: dict[str, Any]) -> None:
    """Write a storage class in capitals.

    :raises ApiError: 400 for one that does not exist.
    """
    name = properties.get("storageClass")
    if name is None:
        return
    if name.upper() not in _CLASSES:
        raise ApiError(400, f"Invalid argument: the storage class {name!r} does not exist.")
    properties["storageClass"] = name.upper()


def check_acl(bucket: Bucket, wanted: str | None) -> None:
    """Refuse a predefined access control list where the bucket has none. Elsewhere nothing comes of it: nobody is asked who he is.

    :raises ApiError: 400.
    """
    uniform = (bucket.properties.get("iamConfiguration") or {}).get("uniformBucketLevelAccess") or {}
    if wanted and uniform.get("enabled"):
        raise ApiError(
            400,
            "Cannot insert legacy ACL for an object when uniform bucket-level access is enabled. "
            "Read more at https://cloud.google.com/storage/docs/uniform-bucket-level-access",
        )


def settings(resource: dict[str, Any]) -> dict[str, Any]:
    """Return what a client may set of the bucket resource that it sent.

    :raises ApiError: 400 for what no bucket has, 501 for what the emulator does not do.
    """
    wanted = {key: value for key, value in resource.items() if key not in _OUTPUT}
    for name, value in wanted.items():
        if name not in (*_OBEYED, *_SHOWN) and _asks_for_something(value):
            raise ApiError(501, f"The emulator's buckets do not do {name}.")
    settle_class(wanted)
    prevention = (wanted.get("iamConfiguration") or {}).get("publicAccessPrevention", "inherited")
    if prevention not in _PUBLIC_ACCESS_PREVENTION:
        raise ApiError(400, f"Invalid argument: publicAccessPrevention is {prevention!r}.")
    return wanted


def _asks_for_something(value: Any) -> bool:
    """Tell whether a setting is more than the absence of one: ``{"enabled": false}`` and ``{"retentionDurationSeconds": "0"}`` are."""
    if isinstance(value, dict):
        return any(map(_asks_for_something, value.values()))
    return bool(value) and value != "0"


def created(properties: dict[str, Any], *, object_retention: bool) -> dict[str, Any]:
    """Return the properties of a bucket that is made.

    :param object_retention: whether its objects may have a retention of their own.
    :raises ApiError: 400 for settings that do not go together.
    """
    properties = {**properties, "location": (properties.get("location") or "US").upper()}
    if object_retention:
        properties["objectRetention"] = {"mode": "Enabled"}
    else:
        properties.pop("objectRetention", None)
    return _settled({}, properties)


def changed(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of a bucket that is changed.

    :raises ApiError: 400 for settings that do not go together, 403 for a retention policy that is locked.
    """
    for fixed in ("location", "customPlacementConfig", "objectRetention"):
        if str(new.get(fixed) or old.get(fixed)).upper() != str(old.get(fixed)).upper():
            raise ApiError(400, f"The {fixed} of a bucket cannot be changed.")
        new = {**new, fixed: old.get(fixed)}
    policy, locked = new.get("retentionPolicy") or {}, old.get("retentionPolicy") or {}
    if locked.get("isLocked") and int(policy.get("retentionPeriod") or 0) < int(locked["retentionPeriod"]):
        raise ApiError(403, "The bucket's retention policy is locked: it cannot be removed, and its period not be reduced.")
    return _settled(old, new)


def _settled(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return properties with what the server adds to them."""
    new = {key: value for key, value in new.items() if value is not None}
    _settle_location(new)
    check_labels(new.get("labels") or {})
    period = (new.pop("retentionPolicy", None) or {}).get("retentionPeriod")
    if period is not None:
        if not 0 < int(period) <= _MAX_RETENTION:
            raise ApiError(400, f"The retention period is {period} seconds; it must be from 1 to {_MAX_RETENTION}.")
        policy = old.get("retentionPolicy") or {"isLocked": False}
        since = policy.get("effectiveTime") if policy.get("retentionPeriod") == period else None
        new["retentionPolicy"] = {**policy, "retentionPeriod": period, "effectiveTime": since or timestamp()}
    uniform = (new.get("iamConfiguration") or {}).get("uniformBucketLevelAccess") or {}
    if uniform.get("enabled") and "lockedTime" not in uniform:
        uniform["lockedTime"] = timestamp(datetime.now(UTC) + _UNIFORM_LOCK)
    return new


def _settle_location(properties: dict[str, Any]) -> None:
    regions = (properties.get("customPlacementConfig") or {}).get("dataLocations") or []
    if regions:
        properties["customPlacementConfig"] = {"dataLocations": [region.upper() for region in regions]}
        if len(regions) != 2 or properties["location"] not in _MULTI_REGIONS:
            raise ApiError(400, "A dual-region is two regions of dataLocations in a location that is ASIA, EU or US.")
    kind, rpo = location_type(properties), properties.get("rpo")
    if rpo not in (None, "DEFAULT", "ASYNC_TURBO") or (rpo == "ASYNC_TURBO" and kind != "dual-region"):
        raise ApiError(400, f"rpo is {rpo!r}; it may be DEFAULT, or ASYNC_TURBO in a dual-region.")
    if kind != "region":
        properties.setdefault("rpo", "DEFAULT")


def location_type(properties: dict[str, Any]) -> str:
    """Return ``region``, ``dual-region`` or ``multi-region``."""
    location = (properties.get("location") or "US").upper()
    if location in _DUAL_REGIONS or properties.get("customPlacementConfig"):
        return "dual-region"
    return "multi-region" if location in _MULTI_REGIONS else "region"


def lock_retention(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of a bucket whose retention policy is locked for ever.

    :raises ApiError: 400 when it has none.
    """
    if not properties.get("retentionPolicy"):
        raise ApiError(400, "The bucket has no retention policy to lock.")
    return {**properties, "retentionPolicy": {**properties["retentionPolicy"], "isLocked": True}}


def resource(bucket: Bucket, base_url: str) -> dict[str, Any]:
    """Return a bucket as the API writes it."""
    return {
        "location": "US",
        "storageClass": "STANDARD",
        **bucket.properties,
        "locationType": location_type(bucket.properties),
        "kind": "storage#bucket",
        "id": bucket.name,
        "name": bucket.name,
        "selfLink": f"{base_url}/storage/v1/b/{bucket.name}",
        "projectNumber": "0",
        "timeCreated": bucket.created,
        "updated": bucket.updated,
        "metageneration": str(bucket.metageneration),
        "etag": bucket.etag,
    }
