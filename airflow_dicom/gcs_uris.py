"""``gs://`` URIs and the wildcards of an import. No Airflow, no Google library.

Source: ``GoogleCloudHealthcareV1DicomGcsSource.uri`` in the Healthcare API's discovery document.
"""

from __future__ import annotations

import re

_OBJECT_END = re.compile(r"\*\*(\.[^*?/]+)?$")


def parse_gs_uri(uri: str, *, argument: str) -> tuple[str, str]:
    """Return the bucket and the object name (or prefix; may be empty) of a ``gs://`` URI.

    :param argument: the name of the argument that holds the URI, for the error's text.
    :raises ValueError: it is not a ``gs://`` URI with a bucket.
    """
    if not isinstance(uri, str):
        raise ValueError(f"{argument} is {uri!r}; it must be one Cloud Storage URI such as gs://bucket/path.")
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not bucket:
        raise ValueError(f"{argument} is {uri!r}; it must be a Cloud Storage URI such as gs://bucket/path.")
    if re.search(r"\s", bucket):
        raise ValueError(f"{argument} is {uri!r}; the name of a bucket has no spaces.")
    if re.search(r"[\r\n]", name):
        raise ValueError(f"{argument} is {uri!r}; the name of an object has no line breaks.")
    if re.search(r"[*?]", bucket):
        raise ValueError(f"{argument} is {uri!r}; wildcards can stand for a part of the object's name, not of the bucket's.")
    return bucket, name


def check_import_uri(uri: str) -> None:
    """Check the ``gcs_uri`` of an import.

    ``*`` stands for characters other than ``/``, ``?`` for one character, ``**`` for any characters: only once, at the end (or
    before a file's extension), and with no other wildcard.

    :raises ValueError: the API would refuse it, or it names no object.
    """
    _, name = parse_gs_uri(uri, argument="gcs_uri")
    if not name or name.endswith("/"):
        raise ValueError(f"gcs_uri is {uri!r}; a folder alone names no object: add a wildcard, such as {uri.rstrip('/')}/**.")
    if "**" in name:
        rest, found = _OBJECT_END.sub("", name), _OBJECT_END.search(name)
        if not found or "*" in rest or "?" in rest:
            raise ValueError(
                f"gcs_uri is {uri!r}; ** must be at the end, or before a file extension, with no other wildcard: "
                "gs://bucket/folder/** or gs://bucket/folder/**.dcm."
            )


def folder_of_import(uri: str) -> str:
    """Return the folder, ``gs://bucket[/folder]``, that holds all objects which the ``gcs_uri`` of an import means."""
    return re.split(r"[*?]", uri)[0].rpartition("/")[0]


def check_object_uri(uri: str, *, argument: str) -> None:
    """Check a URI that must name one object.

    :raises ValueError: it names none, or many.
    """
    _, name = parse_gs_uri(uri, argument=argument)
    if not name or name.endswith("/") or "*" in name:
        raise ValueError(f"{argument} is {uri!r}; it must name one object, without a wildcard, such as gs://bucket/filter.txt.")


def check_folder_uri(uri: str, *, argument: str) -> None:
    """Check a URI that must name a folder to write to.

    :raises ValueError: it has a wildcard, or is not a Cloud Storage URI.
    """
    _, folder = parse_gs_uri(uri, argument=argument)
    if "*" in folder or "?" in folder:
        raise ValueError(f"{argument} is {uri!r}; it is a folder to write to, without wildcards.")
