"""The names of topics and subscriptions.

Source: cloud.google.com/pubsub/docs/pubsub-basics, "Resource names".
"""

from __future__ import annotations

import re

from gcp_dicom_emulator.rest.errors import ApiError

_ID = r"(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}"
_PROJECT = r"projects/(?:[a-z0-9.-]+\.[a-z]+:)?[^/\s:]+"
_NAMES = {collection: re.compile(f"{_PROJECT}/{collection}/{_ID}") for collection in ("topics", "subscriptions")}
#: What stands for the topic of a subscription whose topic was deleted.
DELETED_TOPIC = "_deleted-topic_"


def check_name(name: str, collection: str) -> str:
    """Return the full name of a topic or a subscription.

    :param name: e.g. ``projects/demo/topics/arrivals``.
    :param collection: ``topics`` or ``subscriptions``.
    :raises ApiError: 400 for what is not such a name.
    """
    if not _NAMES[collection].fullmatch(name):
        raise ApiError(
            400,
            f"Invalid resource name {name!r}: it must be projects/PROJECT/{collection}/ID, where ID begins with a letter and not "
            "with goog, and has 3 to 255 letters, digits and . _ ~ + % -.",
        )
    return name


def project_of(name: str) -> str:
    """Return the id of the project that a topic or subscription belongs to."""
    return name.split("/")[1]
