"""``gs://`` URIs as request bodies hold them."""

from __future__ import annotations

from gcp_dicom_emulator.rest.errors import ApiError


def parse_gs_uri(uri: str) -> tuple[str, str]:
    """Return the bucket and the object name (or prefix; may be empty).

    :raises ApiError: 400 when it is not a ``gs://`` URI with a bucket.
    """
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not bucket:
        raise ApiError(400, f"{uri!r} is not a Cloud Storage URI such as gs://bucket/object.")
    return bucket, name
