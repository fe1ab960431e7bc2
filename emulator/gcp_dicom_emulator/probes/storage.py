"""Probes of Cloud Storage. The docstring of each is what the documentation leaves open; it returns what was answered."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from gcp_dicom_emulator.probes.endpoint import Endpoint


def composed_type(at: Endpoint) -> str:
    """The `contentType` of a composed object that is given none."""
    at.put("compose/a", b"a")
    body = {"sourceObjects": [{"name": "compose/a"}], "destination": {}}
    found = at.ask("POST", f"/storage/v1/b/{at.bucket}/o/compose%2Fb/compose", body).json
    return f"`{found['contentType']}`." if "contentType" in found else "It has none."


def folders_in_globs(at: Endpoint) -> str:
    """Does `**/` in a `matchGlob` stand for no folder as well?"""
    return "Yes." if _matches(at, "glob**/**/name", "glob/name") else "No."


def slash_in_brackets(at: Endpoint) -> str:
    """Does `[…]` in a `matchGlob` match `/`?"""
    return "Yes." if _matches(at, "brackets[.-0]name", "brackets/name") else "No."


def boundary_of_orthanc(at: Endpoint) -> str:
    """A boundary of a multipart body that is longer than the 70 characters of RFC 2046."""
    return _upload(at, "b" * 73, "b" * 73)


def boundary_in_single_quotes(at: Endpoint) -> str:
    """A boundary in single quotes, which are not in the body."""
    return _upload(at, "'line'", "line")


def _matches(at: Endpoint, glob: str, name: str) -> bool:
    at.put(name, b"")
    found = at.ask("GET", f"/storage/v1/b/{at.bucket}/o?matchGlob={quote(glob, safe='')}").json
    return name in [item["name"] for item in found.get("items", [])]


def _upload(at: Endpoint, said: str, written: str) -> str:
    parts = ['Content-Type: application/json\r\n\r\n{"name": "boundary"}', "Content-Type: text/plain\r\n\r\ntext"]
    body = "".join(f"--{written}\r\n{part}\r\n" for part in parts) + f"--{written}--\r\n"
    path = f"/upload/storage/v1/b/{at.bucket}/o?uploadType=multipart"
    answer = at.ask("POST", path, body.encode(), {"Content-Type": f"multipart/related; boundary={said}"})
    return "It is taken." if answer.status == 200 else f"{answer.status}."


PROBES: list[Callable[[Endpoint], str]] = [
    composed_type,
    folders_in_globs,
    slash_in_brackets,
    boundary_of_orthanc,
    boundary_in_single_quotes,
]
