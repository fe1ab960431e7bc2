"""Times as the JSON APIs write them, and as headers do."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def timestamp(at: datetime | None = None) -> str:
    """Return a time, by default the present, as the API writes it, RFC 3339 with milliseconds."""
    return (at or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def http_time(header: str | None) -> datetime | None:
    """Return the time that a header says; ``None`` for what is not one."""
    try:
        return parsedate_to_datetime(header or "").astimezone(UTC)
    except ValueError:
        return None
