"""What keeps an object from being deleted or replaced: holds, its bucket's retention policy, and a retention of its own.

Sources: the documentation of Cloud Storage on object holds, Bucket Lock and Object Retention Lock.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gcp_dicom_emulator.rest.errors import ApiError
from gcp_dicom_emulator.storage.times import timestamp

if TYPE_CHECKING:
    from gcp_dicom_emulator.storage.objects import Bucket, StoredObject

#: The property that says when an event-based hold ended, from which on the bucket's retention period then counts.
RELEASED = "eventBasedHoldReleased"


def expiration(bucket: Bucket, created: str, properties: dict[str, Any]) -> str | None:
    """Return until when an object is retained by its bucket's policy; ``None`` where it has none, or does not count yet."""
    policy = bucket.properties.get("retentionPolicy")
    if not policy or properties.get("eventBasedHold"):
        return None
    start = datetime.fromisoformat(properties.get(RELEASED) or created)
    return timestamp(start + timedelta(seconds=int(policy["retentionPeriod"])))


def check(bucket: Bucket, found: StoredObject) -> None:
    """Check that an object may be deleted, replaced or archived.

    :raises ApiError: 403.
    """
    name, properties, now = f"{found.bucket}/{found.name}", found.properties, timestamp()
    for hold, words in (("temporaryHold", "Temporary"), ("eventBasedHold", "Event-Based")):
        if properties.get(hold):
            raise ApiError(
                403,
                f"Object '{name}' is under active {words} hold and cannot be deleted, overwritten or archived until hold is removed.",
                reason="objectUnderActiveHold",
            )
    own = (properties.get("retention") or {}).get("retainUntilTime")
    until = max(filter(None, (expiration(bucket, found.created, properties), own)), default=now)
    if until > now:
        raise ApiError(
            403,
            f"Object '{name}' is subject to bucket's retention policy or object retention and cannot be deleted or overwritten "
            f"until {until}",
            reason="retentionPolicyNotMet",
        )


def held(bucket: Bucket, old: dict[str, Any], new: dict[str, Any], *, override: bool = False) -> dict[str, Any]:
    """Return an object's new properties with what holds and retention make of them.

    :param old: its properties so far; ``{}`` for a new object.
    :param override: whether a retention that is not locked may be shortened or removed.
    :raises ApiError: 400 for a retention that the bucket or the API does not know, 403 for one that is shortened.
    """
    new = dict(new)
    _check_custom_time(old.get("customTime"), new.get("customTime"))
    if not old and bucket.properties.get("defaultEventBasedHold"):
        new.setdefault("eventBasedHold", True)
    if RELEASED in old:
        new.setdefault(RELEASED, old[RELEASED])
    if old.get("eventBasedHold") and not new.get("eventBasedHold"):
        new[RELEASED] = timestamp()
    before, after = old.get("retention") or {}, new.get("retention") or {}
    if after != before:
        new["retention"] = _retained(bucket, before, after, override=override)
    return {key: value for key, value in new.items() if value is not None}


def _check_custom_time(before: str | None, after: str | None) -> None:
    """Refuse a custom time that is not a time, and one that is removed or earlier than it was."""
    try:
        moved = datetime.fromisoformat(after).astimezone(UTC) if after else None
    except ValueError:
        raise ApiError(400, f"customTime is {after!r}; it must be a time as of RFC 3339.") from None
    if before and (moved is None or moved < datetime.fromisoformat(before).astimezone(UTC)):
        raise ApiError(400, "The custom time of an object can neither be removed nor be set to an earlier one.")


def _retained(bucket: Bucket, before: dict[str, Any], after: dict[str, Any], *, override: bool) -> dict[str, Any] | None:
    if not bucket.properties.get("objectRetention"):
        raise ApiError(400, "Object retention is not enabled for the bucket: it is made with enableObjectRetention=true.")
    if not after.get("mode") and not after.get("retainUntilTime"):
        after = {}
    elif after.get("mode") not in ("Locked", "Unlocked") or not after.get("retainUntilTime"):
        raise ApiError(400, "A retention has a mode, Locked or Unlocked, and a retainUntilTime.")
    else:
        try:
            until = datetime.fromisoformat(after["retainUntilTime"])
        except ValueError:
            raise ApiError(400, f"retainUntilTime is {after['retainUntilTime']!r}; it must be a time as of RFC 3339.") from None
        after = {**after, "retainUntilTime": timestamp(until.astimezone(UTC))}
    weaker = after.get("retainUntilTime", "") < before.get("retainUntilTime", "")
    unlocked = before.get("mode") == "Locked" and after.get("mode") != "Locked"
    if (weaker or unlocked) and (before["mode"] == "Locked" or not override):
        raise ApiError(
            403, "The object's retention cannot be removed or shortened: it is locked, or overrideUnlockedRetention is not true."
        )
    return after or None
